"""Weighted medians of the colours in discs (E18-E20).

A program has one disc. It keeps the weights of the disc's pixels in registers and finds the code value at half of their
sum by halving the range eight times. Sums are integers: their order does not matter.
"""

import math

import torch
import triton
import triton.language as tl
from torch import Tensor

from smartsplat.encoder.gpu.features import upper_bits
from smartsplat.render.gpu.launcher import Launcher

DISC_SIDES = (16, 32, 64)
"""Of the squares that hold a disc's pixels: 51 is the most."""

THREAD_PIXELS, WARP_THREADS = 8, 32
"""Eight pixels a thread keep the code short and its registers few."""

# Discs and their weights, as in native/encoder/median_color.cpp.
FULL_RADIUS = tl.constexpr(24.0)  # pixels
LATTICE_STEP = tl.constexpr(math.sqrt(math.pi / 1000))  # of a larger disc, in radii
UNIT_WEIGHT = tl.constexpr(2.0**20)
MIN_RADIUS = tl.constexpr(1e-3)
MAX_RADIUS = tl.constexpr(1e9)


@triton.jit
def _home_pixel(coordinate, length):
    """The pixel that contains a coordinate, or the nearest one of the image; 0 for NaN."""
    last = (length - 1).to(tl.float64)
    return tl.where(coordinate > 0, tl.minimum(tl.floor(coordinate), last), 0.0).to(tl.int64)


@triton.jit(do_not_specialize=["width", "height", "smaller_side"])
def medians(
    image,  # [H, W, C] uint8 or uint16
    mean,  # [N, 2] float32
    radius,  # [N] float32
    code_values,  # out [N, C] uint8: the upper bits of samples
    width,
    height,
    smaller_side,  # of the next smaller square
    channels: tl.constexpr,
    side: tl.constexpr,
):
    """E18-E20, for the discs that fit this square and no smaller one."""
    i = tl.program_id(0).to(tl.int64)
    given = tl.load(radius + i).to(tl.float64)
    r = tl.where(given > MIN_RADIUS, tl.minimum(given, MAX_RADIUS), MIN_RADIUS)
    step = tl.where(r <= FULL_RADIUS, 1.0, tl.ceil(r * LATTICE_STEP)).to(tl.int64)
    radius_steps = tl.ceil(r).to(tl.int64) // step + 1
    if (2 * radius_steps < side) & (2 * radius_steps >= smaller_side):
        x, y = tl.load(mean + 2 * i).to(tl.float64), tl.load(mean + 2 * i + 1).to(tl.float64)
        place = tl.arange(0, side * side)
        right, down = place % side - side // 2, place // side - side // 2
        column, row = _home_pixel(x, width) + right * step, _home_pixel(y, height) + down * step
        dx, dy = column.to(tl.float64) + 0.5 - x, row.to(tl.float64) + 0.5 - y
        squared = dx * dx + dy * dy
        # A disc smaller than a pixel may contain no pixel centre: its own pixel always belongs.
        belongs = (squared <= r * r) | ((right == 0) & (down == 0))
        belongs = belongs & (column >= 0) & (column < width) & (row >= 0) & (row < height)
        exact = tl.exp(-squared / (2 * r * r)) * UNIT_WEIGHT
        weight = tl.where(exact >= 1, exact + 0.5, 1.0).to(tl.int32)  # 1 for NaN
        weight = tl.where(belongs, weight, 0)
        total = tl.sum(weight)
        half = total // 2 + total % 2
        pixel = image + (row * width + column) * channels
        for c in tl.static_range(channels):
            value = upper_bits(tl.load(pixel + c, belongs, 0))
            median = total * 0
            for bit in tl.static_range(8):
                higher = median + (128 >> bit)
                below = tl.sum(tl.where(value < higher, weight, 0))
                median = tl.where(below < half, higher, median)
            tl.store(code_values + channels * i + c, median.to(tl.uint8))


def median_code_values(launcher: Launcher, image: Tensor, mean: Tensor, radius: Tensor) -> Tensor:
    """``Sampler.median_color`` of an image on the device, uint8 or uint16 [H, W, C], as code values: uint8 [N, C]."""
    height, width, channels = image.shape
    code_values = launcher.empty((len(mean), channels), torch.uint8)
    for smaller_side, side in zip((0, *DISC_SIDES), DISC_SIDES, strict=False):
        arrays, sizes = (image, mean, radius, code_values), (width, height, smaller_side)
        launcher.launch(medians, len(mean), *arrays, *sizes, channels, side, warps=warps_for(side))
    return code_values


def warps_for(side: int) -> int:
    """Of a program of ``medians``."""
    return side * side // (THREAD_PIXELS * WARP_THREADS)
