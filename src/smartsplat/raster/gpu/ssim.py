"""The loss with SSIM, on a strip of rows. A program has ``DEEP`` rows of a block of columns, a thread one column.

A strip holds some rows above and below its own, which ``draw`` has put there: the map of SSIM looks five rows away, and
its gradient five more. Its planes are float32 [C, R, pitch] with ``MARGIN`` or more zeros between rows, so that a blur
along x needs no comparisons: the rendering, both pictures in [0, 1], and three derivatives. A row of zeros lies before
them, and columns beyond the last may be read.

Going down, a thread blurs each row along x and adds it, with the weights of the blur along y, to the sums for the rows
around, which it keeps in registers: nothing half blurred is ever in memory. Buffers are a strip's, never a picture's.
Bytes a sample: 13 (levels), 20 (slopes), 21 (gradient).
"""

import math

import triton
import triton.language as tl

from smartsplat.raster import reference
from smartsplat.raster.gpu.pixels import clamped, error_of, pixel_slope

MARGIN = 32
"""Zeros before the first row, and at least so many between rows: a cache line."""

DEEP = tl.constexpr(64)
RADIUS = tl.constexpr(reference.SSIM_RADIUS)
TAPS = tl.constexpr(2 * reference.SSIM_RADIUS + 1)
C1 = tl.constexpr(reference.SSIM_C1)
C2 = tl.constexpr(reference.SSIM_C2)
LEVEL = tl.constexpr(1 / 255)
CURVE = [math.exp(-(i**2) / (2 * reference.SSIM_SIGMA**2)) for i in range(RADIUS.value + 1)]
TOTAL = CURVE[0] + 2 * sum(CURVE[1:])
WEIGHT0, WEIGHT1, WEIGHT2 = (tl.constexpr(value / TOTAL) for value in CURVE[:3])
WEIGHT3, WEIGHT4, WEIGHT5 = (tl.constexpr(value / TOTAL) for value in CURVE[3:])


@triton.jit
def _weight(tap: tl.constexpr):
    """Of the blur's ``tap``: the middle one is ``RADIUS``."""
    if tap == RADIUS:
        weight = WEIGHT0
    elif tap == RADIUS - 1 or tap == RADIUS + 1:
        weight = WEIGHT1
    elif tap == RADIUS - 2 or tap == RADIUS + 2:
        weight = WEIGHT2
    elif tap == RADIUS - 3 or tap == RADIUS + 3:
        weight = WEIGHT3
    elif tap == RADIUS - 4 or tap == RADIUS + 4:
        weight = WEIGHT4
    else:
        weight = WEIGHT5
    return weight


@triton.jit
def _group(blocks, groups, block: tl.constexpr):
    """Channel of a program, the first of its ``DEEP`` rows, and its columns. Offsets inside a strip have 32 bits."""
    group = tl.program_id(0) // blocks
    return group // groups, group % groups * DEEP, tl.program_id(0) % blocks * block + tl.arange(0, block)


@triton.jit
def _shifted(window, value):
    """The blur along y as a program goes down its rows: what it gives for the row ``RADIUS`` above the one that
    ``value`` is of, and the begun sums [TAPS - 1] for the rows behind that."""
    behind = ()
    for i in tl.static_range(TAPS - 2):
        # Triton knows no stars.
        behind = behind + (window[i + 1] + value * _weight(TAPS - 2 - i),)  # type: ignore[assignment]  # noqa: RUF005
    return window[0] + value * _weight(TAPS - 1), behind + (value * _weight(0),)  # noqa: RUF005


@triton.jit
def _along(row, nothing):
    """The blur along x around each element that ``row`` points to."""
    total = nothing
    for tap in tl.static_range(TAPS):
        total += tl.load(row + (tap - RADIUS)) * _weight(tap)
    return total


@triton.jit(do_not_specialize=["rows", "width", "blocks", "groups", "first_row"])
def levels(
    planes,  # [6, C, R, pitch] float32: the rendering, not clamped; out: both in [0, 1]
    target,  # [H, W, C] uint8
    rows,  # R
    width,
    pitch,
    blocks,
    groups,  # of DEEP rows, of a channel
    first_row,  # row of the picture that is the strip's first
    channels: tl.constexpr,
    block: tl.constexpr,
):
    c, top, x = _group(blocks, groups, block)
    here, apart = x < width, channels * rows * pitch
    for y in range(top, tl.minimum(top + DEEP, rows)):
        at = (c * rows + y) * pitch + x
        goal = target + ((y + first_row).to(tl.int64) * width + x) * channels + c
        tl.store(planes + (apart + at), clamped(tl.load(planes + at, here, 0.0)), here)
        tl.store(planes + (2 * apart + at), tl.load(goal, here, 0).to(tl.float32) * LEVEL, here)


@triton.jit(do_not_specialize=["rows", "width", "blocks", "groups", "begin", "end"])
def slopes(
    planes,  # both pictures; out: the map's derivatives by mean x, E[x^2] and E[x y]
    sums,  # out [programs] float32: of the map over the rows begin to end
    rows,
    width,
    pitch,
    blocks,
    groups,
    begin,
    end,
    channels: tl.constexpr,
    block: tl.constexpr,
):
    c, top, x = _group(blocks, groups, block)
    here, apart = x < width, channels * rows * pitch
    nothing = tl.where(here, 0.0, 0.0)
    begun, total = (nothing,) * (TAPS - 1), nothing
    means_x, means_y, all_squares, all_products = begun, begun, begun, begun
    for row in range(top - RADIUS, tl.minimum(top + DEEP, rows) + RADIUS):
        there, line = (row >= 0) & (row < rows), (c * rows + row) * pitch
        row_x = planes + (tl.where(there, apart + line, -pitch) + x)
        row_y = planes + (tl.where(there, 2 * apart + line, -pitch) + x)
        mean_x, mean_y, squares, products = nothing, nothing, nothing, nothing
        for tap in tl.static_range(TAPS):
            value, wanted = tl.load(row_x + (tap - RADIUS)), tl.load(row_y + (tap - RADIUS))
            weighted_x, weighted_y = value * _weight(tap), wanted * _weight(tap)
            mean_x += weighted_x
            mean_y += weighted_y
            squares += weighted_x * value + weighted_y * wanted
            products += weighted_x * wanted
        mean_x, means_x = _shifted(means_x, mean_x)
        mean_y, means_y = _shifted(means_y, mean_y)
        squares, all_squares = _shifted(all_squares, squares)
        products, all_products = _shifted(all_products, products)
        y = row - RADIUS
        out = planes + (3 * apart + (line - RADIUS * pitch) + x)
        value = _slope(out, apart, mean_x, mean_y, squares, products, here & (y >= top))
        total += tl.where(here & (y >= top) & (y >= begin) & (y < end), value, 0.0)
    tl.store(sums + tl.program_id(0), tl.sum(total))


@triton.jit
def _slope(out, apart, mean_x, mean_y, squares, products, here):
    """SSIM at some samples; its derivatives are written. Only the sum of the two variances is needed."""
    product, square = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    top1, top2 = 2 * product + C1, 2 * (products - product) + C2
    bottom1, bottom2 = square + C1, squares - square + C2
    inverse = 1 / (bottom1 * bottom2)
    value = top1 * top2 * inverse
    d_mean = 2 * inverse * (mean_y * (top2 - top1) - value * mean_x * (bottom2 - bottom1))
    tl.store(out, d_mean, here)
    tl.store(out + apart, -value * bottom1 * inverse, here)
    tl.store(out + 2 * apart, 2 * top1 * inverse, here)
    return value


@triton.jit(do_not_specialize=["rows", "width", "blocks", "groups", "first_row", "begin", "end", "l1", "l2", "ssim"])
def gradient(
    planes,  # the rendering and the derivatives; out, in place of the rendering: the loss's gradient by it
    target,  # [H, W, C] uint8
    losses,  # out [programs, 2] float32: sums of |e| and e^2 over the rows begin to end
    rows,
    width,
    pitch,
    blocks,
    groups,
    first_row,
    begin,
    end,
    l1,  # weights over the number of samples, l2 doubled
    l2,
    ssim,
    channels: tl.constexpr,
    block: tl.constexpr,
):
    """E22 and its gradient. The adjoint of a blur with zeros outside is the same blur."""
    c, top, x = _group(blocks, groups, block)
    here, apart = x < width, channels * rows * pitch
    nothing = tl.where(here, 0.0, 0.0)
    begun, absolute, total = (nothing,) * (TAPS - 1), nothing, nothing
    means, squares, products = begun, begun, begun
    for row in range(top - RADIUS, tl.minimum(top + DEEP, rows) + RADIUS):
        there, line = (row >= 0) & (row < rows), (c * rows + row) * pitch
        slope = planes + (tl.where(there, 3 * apart + line, -pitch) + x)
        mean, means = _shifted(means, _along(slope, nothing))
        slope = planes + (tl.where(there, 4 * apart + line, -pitch) + x)
        square, squares = _shifted(squares, _along(slope, nothing))
        slope = planes + (tl.where(there, 5 * apart + line, -pitch) + x)
        product, products = _shifted(products, _along(slope, nothing))
        y = row - RADIUS
        own, place = here & (y >= top), planes + (line - RADIUS * pitch + x)
        goal = target + ((y + first_row).to(tl.int64) * width + x) * channels + c
        value, level = clamped(tl.load(place, own, 0.0)), tl.load(goal, own, 0)
        error = tl.where(own & (y >= begin) & (y < end), error_of(value, level), 0.0)
        similarity = mean + 2 * value * square + level.to(tl.float32) * LEVEL * product
        tl.store(place, pixel_slope(error, l1, l2) - ssim * similarity, own)
        absolute += tl.abs(error)
        total += error * error
    tl.store(losses + 2 * tl.program_id(0), tl.sum(absolute))
    tl.store(losses + 2 * tl.program_id(0) + 1, tl.sum(total))
