"""Loss: what all kernels that compare a rendering with its target share. The rendering is clamped to [0, 1] first."""

import triton
import triton.language as tl

from smartsplat.render.gpu.constants import CODE_VALUE


@triton.jit
def clamped(value):
    """To [0, 1]; NaN becomes 0."""
    return tl.minimum(tl.maximum(value, 0.0), 1.0)


@triton.jit
def to_bytes(value):
    """Clamped and rounded half up to 8 bits."""
    return tl.floor(clamped(value) * 255.0 + 0.5).to(tl.uint8)


@triton.jit
def error_of(value, code_value):
    """value - code_value / 255, exactly 0 where both are white or both black, with and without fused multiply-adds:
    Adam would follow what rounding leaves there, however small, in steps of full size."""
    return (value * 255.0 - code_value.to(tl.float32)) * CODE_VALUE


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
