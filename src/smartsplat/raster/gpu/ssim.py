"""The loss with SSIM, on a strip of rows. A program has ``DEEP`` rows of a block of columns, a thread one column.

A strip holds some rows above and below its own, which ``draw`` has put there: the map of SSIM looks five rows away, and
its gradient five more. Its planes are float32 [C, R, pitch] with ``MARGIN`` or more zeros between rows, so that a blur
along x needs no comparisons. Blurs are separable, and limited by loads: 11 a sample along x, 3.5 along y, where the rows
of a thread share them.

Buffers are a strip's, never a picture's. Bytes a sample: 13 (levels), 24 (statistics), 28 (slopes), 24 (blur), 21
(gradient).
"""

import math

import triton
import triton.language as tl

from smartsplat.raster import reference
from smartsplat.raster.gpu.pixels import clamped, error_of, pixel_slope

MARGIN = 32
"""Zeros before the first row, and at least so many between rows: a cache line."""

DEEP = tl.constexpr(4)
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
def _down(plane, first, y, rows, pitch, here):
    """The blur along y of ``DEEP`` rows from row y on, of the columns ``first`` of row 0."""
    sum0, sum1, sum2, sum3 = (tl.where(here, 0.0, 0.0),) * 4
    for place in tl.static_range(TAPS + DEEP - 1):
        row = y + (place - RADIUS)
        value = tl.load(plane + (first + row * pitch), here & (row >= 0) & (row < rows), 0.0)
        if place < TAPS:
            sum0 += value * _weight(place)
        if place >= 1 and place < TAPS + 1:
            sum1 += value * _weight(place - 1)
        if place >= 2 and place < TAPS + 2:
            sum2 += value * _weight(place - 2)
        if place >= 3:
            sum3 += value * _weight(place - 3)
    return sum0, sum1, sum2, sum3


@triton.jit(do_not_specialize=["rows", "width", "blocks", "groups", "first_row"])
def levels(
    image,  # [C, R, pitch] float32, not clamped
    target,  # [H, W, C] uint8
    out,  # [2, C, R, pitch] float32: both in [0, 1]
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
    for deep in tl.static_range(DEEP):
        y = top + deep
        here, at = (x < width) & (y < rows), (c * rows + y) * pitch + x
        goal = target + ((y + first_row).to(tl.int64) * width + x) * channels + c
        tl.store(out + at, clamped(tl.load(image + at, here, 0.0)), here)
        tl.store(out + (channels * rows * pitch + at), tl.load(goal, here, 0).to(tl.float32) * LEVEL, here)


@triton.jit(do_not_specialize=["rows", "width", "blocks", "groups"])
def statistics(
    pair,  # [2, C, R, pitch] float32: x and y, what ``levels`` wrote
    out,  # [4, C, R, pitch] float32: x, y, x^2 + y^2 and x y blurred along x
    rows,
    width,
    pitch,
    blocks,
    groups,
    channels: tl.constexpr,
    block: tl.constexpr,
):
    c, top, x = _group(blocks, groups, block)
    apart = channels * rows * pitch
    for deep in tl.static_range(DEEP):
        here, at = (x < width) & (top + deep < rows), (c * rows + top + deep) * pitch + x
        row_x, row_y = pair + at, pair + (apart + at)
        mean_x, mean_y, squares, product = (tl.where(here, 0.0, 0.0),) * 4
        for tap in tl.static_range(TAPS):
            value, wanted = tl.load(row_x + (tap - RADIUS), here, 0.0), tl.load(row_y + (tap - RADIUS), here, 0.0)
            weighted_x, weighted_y = value * _weight(tap), wanted * _weight(tap)
            mean_x += weighted_x
            mean_y += weighted_y
            squares += weighted_x * value + weighted_y * wanted
            product += weighted_x * wanted
        tl.store(out + at, mean_x, here)
        tl.store(out + (apart + at), mean_y, here)
        tl.store(out + (2 * apart + at), squares, here)
        tl.store(out + (3 * apart + at), product, here)


@triton.jit
def _slope(out, at, apart, mean_x, mean_y, squares, products, here, counted):
    """Writes the derivatives of SSIM at some samples; SSIM where ``counted``, else 0. Only the sum of the two
    variances is needed."""
    product, square = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    top1, top2 = 2 * product + C1, 2 * (products - product) + C2
    bottom1, bottom2 = square + C1, squares - square + C2
    inverse = 1 / (bottom1 * bottom2)
    value = top1 * top2 * inverse
    d_mean = 2 * inverse * (mean_y * (top2 - top1) - value * mean_x * (bottom2 - bottom1))
    tl.store(out + at, d_mean, here)
    tl.store(out + (apart + at), -value * bottom1 * inverse, here)
    tl.store(out + (2 * apart + at), 2 * top1 * inverse, here)
    return tl.where(here & counted, value, 0.0)


@triton.jit(do_not_specialize=["rows", "width", "blocks", "groups", "begin", "end"])
def slopes(
    along,  # [4, C, R, pitch] float32: what ``statistics`` wrote
    out,  # [3, C, R, pitch] float32: the map's derivatives by mean x, E[x^2] and E[x y]
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
    c, y, x = _group(blocks, groups, block)
    here, first, apart = x < width, c * rows * pitch + x, channels * rows * pitch
    mean_x0, mean_x1, mean_x2, mean_x3 = _down(along, first, y, rows, pitch, here)
    mean_y0, mean_y1, mean_y2, mean_y3 = _down(along, apart + first, y, rows, pitch, here)
    square0, square1, square2, square3 = _down(along, 2 * apart + first, y, rows, pitch, here)
    product0, product1, product2, product3 = _down(along, 3 * apart + first, y, rows, pitch, here)
    at, inside0, inside1 = first + y * pitch, (y >= begin) & (y < end), (y + 1 >= begin) & (y + 1 < end)
    inside2, inside3 = (y + 2 >= begin) & (y + 2 < end), (y + 3 >= begin) & (y + 3 < end)
    there0, there1 = here & (y < rows), here & (y + 1 < rows)
    there2, there3 = here & (y + 2 < rows), here & (y + 3 < rows)
    total = _slope(out, at, apart, mean_x0, mean_y0, square0, product0, there0, inside0)
    total += _slope(out, at + pitch, apart, mean_x1, mean_y1, square1, product1, there1, inside1)
    total += _slope(out, at + 2 * pitch, apart, mean_x2, mean_y2, square2, product2, there2, inside2)
    total += _slope(out, at + 3 * pitch, apart, mean_x3, mean_y3, square3, product3, there3, inside3)
    tl.store(sums + tl.program_id(0), tl.sum(total))


@triton.jit(do_not_specialize=["rows", "width", "blocks", "groups"])
def blur(
    slope,  # [3, C, R, pitch] float32
    out,  # [3, C, R, pitch] float32: the same blurred along x
    rows,
    width,
    pitch,
    blocks,
    groups,
    block: tl.constexpr,
):
    plane, top, x = _group(blocks, groups, block)
    for deep in tl.static_range(DEEP):
        here, at = (x < width) & (top + deep < rows), (plane * rows + top + deep) * pitch + x
        row, total = slope + at, tl.where(here, 0.0, 0.0)
        for tap in tl.static_range(TAPS):
            total += tl.load(row + (tap - RADIUS), here, 0.0) * _weight(tap)
        tl.store(out + at, total, here)


@triton.jit
def _descent(image, at, goal, slope0, slope1, slope2, here, counted, l1, l2, ssim):
    """Replaces some samples of a rendering by the loss's gradient; their errors where ``counted``."""
    value, level = clamped(tl.load(image + at, here, 0.0)), tl.load(goal, here, 0)
    error = tl.where(here & counted, error_of(value, level), 0.0)
    similarity = slope0 + 2 * value * slope1 + level.to(tl.float32) * LEVEL * slope2
    tl.store(image + at, pixel_slope(error, l1, l2) - ssim * similarity, here)
    return error


@triton.jit(do_not_specialize=["rows", "width", "blocks", "groups", "first_row", "begin", "end", "l1", "l2", "ssim"])
def gradient(
    image,  # in [C, R, pitch] float32: the rendering; out: the loss's gradient by it
    target,  # [H, W, C] uint8
    blurred,  # [3, C, R, pitch] float32: what ``blur`` wrote
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
    c, y, x = _group(blocks, groups, block)
    here, first, apart = x < width, c * rows * pitch + x, channels * rows * pitch
    mean0, mean1, mean2, mean3 = _down(blurred, first, y, rows, pitch, here)
    square0, square1, square2, square3 = _down(blurred, apart + first, y, rows, pitch, here)
    product0, product1, product2, product3 = _down(blurred, 2 * apart + first, y, rows, pitch, here)
    at, inside0, inside1 = first + y * pitch, (y >= begin) & (y < end), (y + 1 >= begin) & (y + 1 < end)
    inside2, inside3 = (y + 2 >= begin) & (y + 2 < end), (y + 3 >= begin) & (y + 3 < end)
    there0, there1 = here & (y < rows), here & (y + 1 < rows)
    there2, there3 = here & (y + 2 < rows), here & (y + 3 < rows)
    goal, below = target + ((y + first_row).to(tl.int64) * width + x) * channels + c, width * channels
    e0 = _descent(image, at, goal, mean0, square0, product0, there0, inside0, l1, l2, ssim)
    goal += below
    e1 = _descent(image, at + pitch, goal, mean1, square1, product1, there1, inside1, l1, l2, ssim)
    goal += below
    e2 = _descent(image, at + 2 * pitch, goal, mean2, square2, product2, there2, inside2, l1, l2, ssim)
    goal += below
    e3 = _descent(image, at + 3 * pitch, goal, mean3, square3, product3, there3, inside3, l1, l2, ssim)
    tl.store(losses + 2 * tl.program_id(0), tl.sum(tl.abs(e0) + tl.abs(e1) + tl.abs(e2) + tl.abs(e3)))
    tl.store(losses + 2 * tl.program_id(0) + 1, tl.sum(e0 * e0 + e1 * e1 + e2 * e2 + e3 * e3))
