"""Loss: what all kernels that compare a rendering with its target share. The rendering is clamped to [0, 1] first.

Samples have 8 or 16 bits, as the type of the pointer to them says; ``peak`` is their largest code value.
"""

import triton
import triton.language as tl

WEIGHT_STEP = tl.constexpr(1 / 255)
"""What a step of the weight of an error stands for."""


@triton.jit
def clamped(value):
    """To [0, 1]; NaN becomes 0."""
    return tl.minimum(tl.maximum(value, 0.0), 1.0)


@triton.jit
def to_samples(value, sample: tl.constexpr):
    """Clamped and rounded half up to code values of a type."""
    peak: tl.constexpr = (1 << sample.primitive_bitwidth) - 1.0
    return tl.floor(clamped(value) * peak + 0.5).to(sample)


@triton.jit
def value_of(code_value):
    """code_value / peak."""
    peak: tl.constexpr = (1 << code_value.dtype.primitive_bitwidth) - 1.0
    return code_value.to(tl.float32) * (1 / peak)


@triton.jit
def error_of(value, code_value):
    """value - code_value / peak, exactly 0 where both are white or both black, with and without fused multiply-adds:
    Adam would follow what rounding leaves there, however small, in steps of full size."""
    peak: tl.constexpr = (1 << code_value.dtype.primitive_bitwidth) - 1.0
    return (value * peak - code_value.to(tl.float32)) * (1 / peak)


@triton.jit
def weights_of(weights, column, row, width, height):
    """The weights [H, W] uint8 of the errors of some pixels, in [0, 1]; 0 outside the image."""
    place = weights + (row.to(tl.int64) * width + column)
    return tl.load(place, (row < height) & (column < width), 0).to(tl.float32) * WEIGHT_STEP


@triton.jit
def pixel_slope(error, l1, l2):
    """The gradient of l1 |e| + l2 e^2, ``l2`` being given doubled."""
    return tl.where(error > 0, l1, tl.where(error < 0, -l1, 0.0)) + l2 * error


@triton.jit
def errors(color0, color1, color2, target, column, row, width, height, channels: tl.constexpr):
    """Rendering - target [H, W, C] at some pixels by column and row, 0 outside the image; up to three channels."""
    valid = (row < height) & (column < width)
    pixel = target + (row.to(tl.int64) * width + column) * channels
    error0 = tl.where(valid, error_of(clamped(color0), tl.load(pixel, valid, 0)), 0.0)
    error1, error2 = error0, error0
    if channels == 3:
        error1 = tl.where(valid, error_of(clamped(color1), tl.load(pixel + 1, valid, 0)), 0.0)
        error2 = tl.where(valid, error_of(clamped(color2), tl.load(pixel + 2, valid, 0)), 0.0)
    return error0, error1, error2
