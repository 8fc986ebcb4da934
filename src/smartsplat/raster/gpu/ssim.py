"""The loss with SSIM, on a strip of rows: four kernels over its samples, one sample a thread.

A strip is planar float32 [C, R, W] and holds some rows above and below its own, which ``draw`` has put there: the map
of SSIM looks five rows away, and its gradient five more. Blurs are separable: along x, then along y in the kernel that
uses the result. The buffers are a strip's, never a picture's.

Bytes a sample: 5 + 16 (statistics), 16 + 12 (slopes), 12 + 12 (blurred), 12 + 5 + 4 (gradient); a strip that fits the
second-level cache keeps most of them there.
"""

import triton
import triton.language as tl

from smartsplat.raster import reference
from smartsplat.raster.gpu.pixels import clamped, error_of, pixel_slope

TAPS = tl.constexpr(2 * reference.SSIM_RADIUS + 1)
RADIUS = tl.constexpr(reference.SSIM_RADIUS)
C1 = tl.constexpr(reference.SSIM_C1)
C2 = tl.constexpr(reference.SSIM_C2)
LEVEL = tl.constexpr(1 / 255)


@triton.jit
def _sample(rows, width, channels: tl.constexpr, block: tl.constexpr):
    """Number, channel, row of the strip, column, and whether there is such a sample; [block] each."""
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    x = (at % width).to(tl.int32)
    y = (at // width % rows).to(tl.int32)
    return at, (at // width // rows).to(tl.int32), y, x, at < channels * rows.to(tl.int64) * width


@triton.jit
def _goal(target, y, x, c, first_row, width, channels: tl.constexpr):
    """The sample of the picture [H, W, C] for row y of the strip."""
    return target + ((y + first_row).to(tl.int64) * width + x) * channels + c


@triton.jit(do_not_specialize=["rows", "width", "first_row"])
def statistics(
    image,  # [C, R, W] float32, not clamped
    target,  # [H, W, C] uint8
    taps,  # [TAPS] float32
    out,  # [4, C, R, W] float32: x, y, x^2 + y^2 and x y blurred along x
    rows,  # R
    width,
    first_row,  # row of the picture that is the strip's first
    channels: tl.constexpr,
    block: tl.constexpr,
):
    at, c, y, x, here = _sample(rows, width, channels, block)
    mean_x, mean_y = tl.zeros([block], tl.float32), tl.zeros([block], tl.float32)
    squares, product = tl.zeros([block], tl.float32), tl.zeros([block], tl.float32)
    for tap in tl.static_range(TAPS):
        column = x + tap - RADIUS
        there = here & (column >= 0) & (column < width)
        value = clamped(tl.load(image + at + tap - RADIUS, there, 0.0))
        wanted = tl.load(_goal(target, y, column, c, first_row, width, channels), there, 0).to(tl.float32) * LEVEL
        weight = tl.load(taps + tap)
        mean_x += weight * value
        mean_y += weight * wanted
        squares += weight * (value * value + wanted * wanted)
        product += weight * value * wanted
    apart = channels * rows.to(tl.int64) * width
    tl.store(out + at, mean_x, here)
    tl.store(out + apart + at, mean_y, here)
    tl.store(out + 2 * apart + at, squares, here)
    tl.store(out + 3 * apart + at, product, here)


@triton.jit
def _down(plane, at, y, tap, rows, width, here):
    """What ``plane`` holds ``tap`` - RADIUS rows below."""
    row = y + tap - RADIUS
    there = here & (row >= 0) & (row < rows)
    return tl.load(plane + at + (row - y) * width.to(tl.int64), there, 0.0)


@triton.jit(do_not_specialize=["rows", "width", "begin", "end"])
def slopes(
    along,  # [4, C, R, W] float32: what ``statistics`` wrote
    taps,
    out,  # [3, C, R, W] float32: the map's derivatives by mean x, E[x^2] and E[x y]
    sums,  # out [programs] float32: of the map over the rows begin to end
    rows,
    width,
    begin,
    end,
    channels: tl.constexpr,
    block: tl.constexpr,
):
    """The derivatives of SSIM at each sample; only the sum of the two variances is needed."""
    at, _, y, _, here = _sample(rows, width, channels, block)
    apart = channels * rows.to(tl.int64) * width
    mean_x, mean_y = tl.zeros([block], tl.float32), tl.zeros([block], tl.float32)
    squares, products = tl.zeros([block], tl.float32), tl.zeros([block], tl.float32)
    for tap in tl.static_range(TAPS):
        weight = tl.load(taps + tap)
        mean_x += weight * _down(along, at, y, tap, rows, width, here)
        mean_y += weight * _down(along + apart, at, y, tap, rows, width, here)
        squares += weight * _down(along + 2 * apart, at, y, tap, rows, width, here)
        products += weight * _down(along + 3 * apart, at, y, tap, rows, width, here)
    product, square = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    top1, top2 = 2 * product + C1, 2 * (products - product) + C2
    bottom1, bottom2 = square + C1, squares - square + C2
    inverse = 1 / (bottom1 * bottom2)
    value = top1 * top2 * inverse
    d_mean = 2 * inverse * (mean_y * (top2 - top1) - value * mean_x * (bottom2 - bottom1))
    tl.store(out + at, d_mean, here)
    tl.store(out + apart + at, -value * bottom1 * inverse, here)
    tl.store(out + 2 * apart + at, 2 * top1 * inverse, here)
    counted = here & (y >= begin) & (y < end)
    tl.store(sums + tl.program_id(0), tl.sum(tl.where(counted, value, 0.0)))


@triton.jit(do_not_specialize=["rows", "width"])
def blur(
    slope,  # [3, C, R, W] float32
    taps,
    out,  # [3, C, R, W] float32: the same blurred along x
    rows,
    width,
    channels: tl.constexpr,
    block: tl.constexpr,
):
    at, _, _, x, here = _sample(rows, width, 3 * channels, block)
    total = tl.zeros([block], tl.float32)
    for tap in tl.static_range(TAPS):
        column = x + tap - RADIUS
        there = here & (column >= 0) & (column < width)
        total += tl.load(taps + tap) * tl.load(slope + at + tap - RADIUS, there, 0.0)
    tl.store(out + at, total, here)


@triton.jit(do_not_specialize=["rows", "width", "first_row", "begin", "end", "l1", "l2", "ssim"])
def gradient(
    image,  # in [C, R, W] float32: the rendering; out: the loss's gradient by it
    target,  # [H, W, C] uint8
    blurred,  # [3, C, R, W] float32: what ``blur`` wrote
    taps,
    losses,  # out [programs, 2] float32: sums of |e| and e^2 over the rows begin to end
    rows,
    width,
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
    at, c, y, x, here = _sample(rows, width, channels, block)
    apart = channels * rows.to(tl.int64) * width
    slope0, slope1 = tl.zeros([block], tl.float32), tl.zeros([block], tl.float32)
    slope2 = tl.zeros([block], tl.float32)
    for tap in tl.static_range(TAPS):
        weight = tl.load(taps + tap)
        slope0 += weight * _down(blurred, at, y, tap, rows, width, here)
        slope1 += weight * _down(blurred + apart, at, y, tap, rows, width, here)
        slope2 += weight * _down(blurred + 2 * apart, at, y, tap, rows, width, here)
    value = clamped(tl.load(image + at, here, 0.0))
    level = tl.load(_goal(target, y, x, c, first_row, width, channels), here, 0)
    counted = here & (y >= begin) & (y < end)
    error = tl.where(counted, error_of(value, level), 0.0)
    similarity = slope0 + 2 * value * slope1 + level.to(tl.float32) * LEVEL * slope2
    tl.store(image + at, pixel_slope(error, l1, l2) - ssim * similarity, here)
    tl.store(losses + 2 * tl.program_id(0), tl.sum(tl.abs(error)))
    tl.store(losses + 2 * tl.program_id(0) + 1, tl.sum(error * error))
