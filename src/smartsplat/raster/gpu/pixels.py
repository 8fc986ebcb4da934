"""What happens at the pixels of a tile: drawing, loss and the backward pass. One tile is one program of one warp.

A thread holds eight pixels of a 16 x 16 tile in registers, every other one of a column, so that the eight loads of a
splat and the loop around them are shared by eight evaluations, and sums over a tile need shuffles only, no shared
memory and no barrier. Counted in the machine code for sm_90 (Triton 3.8), a pair takes a warp 88 instructions to draw
and 228 in the backward pass, of which some 30 sum its eight values over the lanes.
Without SSIM, ``fit`` does drawing, loss and the backward pass in one go: neither the rendering nor its gradient ever
exists in memory, and of the picture only its bytes are read.

The two loops, ``blended`` and ``_backward``, are all that would change if small matrix products did their sums.
"""

import triton
import triton.language as tl

from smartsplat import raster
from smartsplat.raster.gpu.bins import SPLAT, TILE

LANES = tl.constexpr(32)
PIXELS = tl.constexpr(TILE.value**2)
DEEP = tl.constexpr(PIXELS.value // LANES.value)  # pixels of a lane, below each other
STRIDE = tl.constexpr(LANES.value // TILE.value)  # rows between them
EDGE = tl.constexpr(raster.EDGE)
LEVEL = tl.constexpr(1 / 255)


@triton.jit
def tile_of(starts, tile, columns):
    """Where the list of a tile begins and ends, and column and row of the first pixel of each lane, [LANES]."""
    lane = tl.arange(0, LANES)
    x, y = tile % columns * TILE + lane % TILE, tile // columns * TILE + lane // TILE
    return tl.load(starts + tile), tl.load(starts + tile + 1), x, y


@triton.jit
def _below():
    """How many rows below the first of its lane a pixel is, [DEEP, LANES]."""
    return tl.zeros([DEEP, LANES], tl.float32) + (tl.arange(0, DEEP) * STRIDE).to(tl.float32)[:, None]


@triton.jit
def _places(tile, columns):
    """Column and row of each pixel of a tile, [PIXELS]; lane by lane, then row by row of lanes.

    What is in memory is reached by one dimension and reshaped: given two, Triton 3.6 deals the pixels out to the
    threads in another way, and then takes 617 instructions a pair instead of 274 to sum over them.
    """
    pixel = tl.arange(0, PIXELS)
    return tile % columns * TILE + pixel % TILE, tile // columns * TILE + pixel // TILE


@triton.jit
def blended(gaussians, begin, end, splats, x, y, channels: tl.constexpr):
    """E4 at the pixels of a tile: up to three channels, [PIXELS] each."""
    center_x, center_y, below = x.to(tl.float32) + 0.5, y.to(tl.float32) + 0.5, _below()
    color0 = tl.zeros([DEEP, LANES], tl.float32)
    color1 = tl.zeros([DEEP, LANES], tl.float32)
    color2 = tl.zeros([DEEP, LANES], tl.float32)
    for at in range(begin, end):
        splat = splats + tl.load(gaussians + at).to(tl.int64) * SPLAT
        dx, dy, r = center_x - tl.load(splat), center_y - tl.load(splat + 1), tl.load(splat + 3)
        u = dx * tl.load(splat + 2)
        v = (dy * r + dx * tl.load(splat + 4))[None, :] + below * r
        weight = tl.maximum(tl.exp2(-((u * u)[None, :] + v * v)) - EDGE, 0.0)
        color0 += weight * tl.load(splat + 5)
        if channels == 3:
            color1 += weight * tl.load(splat + 6)
            color2 += weight * tl.load(splat + 7)
    return tl.reshape(color0, [PIXELS]), tl.reshape(color1, [PIXELS]), tl.reshape(color2, [PIXELS])


@triton.jit
def _backward(
    gaussians, slots, begin, end, splats, partials, x, y, d0, d1, d2, channels: tl.constexpr
):  # dL/d(rendering) of up to three channels, [PIXELS]
    """For each Gaussian of a tile, into its slot: sums of h u, h v, h u^2, h u v, h v^2, and of weight d by channel.

    h = (d . colour) 2^-(u^2 + v^2) inside the window is -2 dL/dq times 1 / (1 - EDGE), which the colour contains.
    """
    d0, d1, d2 = tl.reshape(d0, [DEEP, LANES]), tl.reshape(d1, [DEEP, LANES]), tl.reshape(d2, [DEEP, LANES])
    center_x, center_y, below, places = x.to(tl.float32) + 0.5, y.to(tl.float32) + 0.5, _below(), _reversed()
    for at in range(begin, end):
        splat = splats + tl.load(gaussians + at).to(tl.int64) * SPLAT
        partial = partials + tl.load(slots + at).to(tl.int64) * SPLAT
        dx, dy, r = center_x - tl.load(splat), center_y - tl.load(splat + 1), tl.load(splat + 3)
        u = dx * tl.load(splat + 2)
        v = (dy * r + dx * tl.load(splat + 4))[None, :] + below * r
        gaussian = tl.exp2(-((u * u)[None, :] + v * v))
        weight = tl.maximum(gaussian - EDGE, 0.0)
        h = d0 * tl.load(splat + 5)
        if channels == 3:
            h += d1 * tl.load(splat + 6) + d2 * tl.load(splat + 7)
        h = tl.where(gaussian > EDGE, h * gaussian, 0.0)
        hv = h * v
        # Inside each thread first: u is the same for all its pixels.
        lane_h, lane_hv = tl.sum(h, axis=0), tl.sum(hv, axis=0)
        lane_hu = lane_h * u
        shade0, shade1, shade2 = tl.sum(weight * d0, axis=0), lane_h * 0, lane_h * 0
        if channels == 3:
            shade1, shade2 = tl.sum(weight * d1, axis=0), tl.sum(weight * d2, axis=0)
        sums = _summed(lane_hu, lane_hv, lane_hu * u, lane_hv * u, tl.sum(hv * v, axis=0), shade0, shade1, shade2)
        tl.store(partial + places, sums)


@triton.jit
def _summed(s0, s1, s2, s3, s4, s5, s6, s7):
    """The sums of eight values over the lanes, [8], in the order of ``_reversed``.

    Each of three rounds halves both the lanes that share a value and the values that a lane holds, so that seven
    exchanges and two more sums do what forty exchanges would if each value was summed by itself.
    """
    a, b, c, d = _halved(s0, s1, 16), _halved(s2, s3, 16), _halved(s4, s5, 16), _halved(s6, s7, 16)
    eighth = _halved(_halved(a, b, 8), _halved(c, d, 8), 4)
    return tl.sum(tl.reshape(eighth, [8, 4]), axis=1)


@triton.jit
def _halved(a, b, bit: tl.constexpr):
    """Lanes without the ``bit`` get their own and their partner's ``a``, those with it both ``b``; [LANES] each."""
    lane = tl.arange(0, LANES)
    low = (lane & bit) == 0
    return tl.where(low, a, b) + tl.gather(tl.where(low, b, a), lane ^ bit, axis=0)


@triton.jit
def _reversed():
    """Which value each of the sums of ``_summed`` is, [8]: 0 to 7 with their three bits in reverse."""
    place = tl.arange(0, 8)
    return place // 4 + place // 2 % 2 * 2 + place % 2 * 4


@triton.jit
def clamped(value):
    """To [0, 1]; NaN becomes 0."""
    return tl.minimum(tl.maximum(value, 0.0), 1.0)


@triton.jit
def error_of(value, level):
    """value - level / 255, exactly 0 where both are white or both black, with and without fused multiply-adds: Adam
    would follow what rounding leaves there, however small, in steps of full size."""
    return (value * 255.0 - level.to(tl.float32)) * LEVEL


@triton.jit
def _bytes(value):
    return tl.floor(clamped(value) * 255.0 + 0.5).to(tl.uint8)


@triton.jit(do_not_specialize=["first", "columns", "width", "end_row", "first_row", "down", "across", "apart"])
def draw(
    starts,  # [tiles + 1] int64
    gaussians,  # [total] int32
    splats,  # [N, SPLAT] float32
    out,  # float32, not clamped, or uint8
    first,  # tile of the first program
    columns,  # of tiles
    width,  # of the output, pixels
    first_row,  # row of pixels that ``out`` begins with
    end_row,  # and the one behind its last
    down,  # elements of ``out`` from a row to the next
    across,  # from a pixel to the next
    apart,  # from a channel to the next
    channels: tl.constexpr,
    as_bytes: tl.constexpr,
):
    tile = first + tl.program_id(0)
    begin, end, x, y = tile_of(starts, tile, columns)
    color0, color1, color2 = blended(gaussians, begin, end, splats, x, y, channels)
    pixel = tl.arange(0, PIXELS)
    top, left = tile // columns * TILE, tile % columns * TILE
    here = (pixel // TILE < end_row - top) & (pixel % TILE < width - left)
    inside = pixel // TILE * down + pixel % TILE * across  # a tile's own offsets have 32 bits
    place = out + ((top - first_row).to(tl.int64) * down + left * across) + inside
    if as_bytes:
        tl.store(place, _bytes(color0), here)
        if channels == 3:
            tl.store(place + apart, _bytes(color1), here)
            tl.store(place + 2 * apart, _bytes(color2), here)
    else:
        tl.store(place, color0, here)
        if channels == 3:
            tl.store(place + apart, color1, here)
            tl.store(place + 2 * apart, color2, here)


@triton.jit
def pixel_slope(error, l1, l2):
    """The gradient of l1 |e| + l2 e^2, ``l2`` being given doubled."""
    return tl.where(error > 0, l1, tl.where(error < 0, -l1, 0.0)) + l2 * error


@triton.jit
def errors(color0, color1, color2, target, tile, columns, width, height, channels: tl.constexpr):
    """Rendering - picture [H, W, C] at the pixels of a tile, the rendering clamped; 0 outside, [PIXELS] each."""
    column, row = _places(tile, columns)
    here = (row < height) & (column < width)
    pixel = target + (row.to(tl.int64) * width + column) * channels
    error0 = tl.where(here, error_of(clamped(color0), tl.load(pixel, here, 0)), 0.0)
    error1, error2 = error0, error0
    if channels == 3:
        error1 = tl.where(here, error_of(clamped(color1), tl.load(pixel + 1, here, 0)), 0.0)
        error2 = tl.where(here, error_of(clamped(color2), tl.load(pixel + 2, here, 0)), 0.0)
    return error0, error1, error2


@triton.jit(do_not_specialize=["columns", "width", "height", "l1", "l2"])
def fit(
    starts,  # [tiles + 1] int64
    gaussians,  # [total] int32
    slots,  # [total] int32
    splats,  # [N, SPLAT] float32
    target,  # [H, W, C] uint8
    partials,  # out [total, SPLAT] float32
    losses,  # out [tiles, 2] float32: sums of |e| and e^2
    columns,  # of tiles
    width,  # pixels
    height,
    l1,  # weight of |e| over the number of samples
    l2,  # twice that of e^2
    channels: tl.constexpr,
):
    """Rendering, pixelwise loss and backward pass of a tile."""
    tile = tl.program_id(0)
    begin, end, x, y = tile_of(starts, tile, columns)
    color0, color1, color2 = blended(gaussians, begin, end, splats, x, y, channels)
    error0, error1, error2 = errors(color0, color1, color2, target, tile, columns, width, height, channels)
    absolute, square = tl.abs(error0), error0 * error0
    d0 = pixel_slope(error0, l1, l2)
    d1, d2 = d0, d0
    if channels == 3:
        absolute += tl.abs(error1) + tl.abs(error2)
        square += error1 * error1 + error2 * error2
        d1, d2 = pixel_slope(error1, l1, l2), pixel_slope(error2, l1, l2)
    tl.store(losses + 2 * tile, tl.sum(absolute))
    tl.store(losses + 2 * tile + 1, tl.sum(square))
    _backward(gaussians, slots, begin, end, splats, partials, x, y, d0, d1, d2, channels)


@triton.jit(do_not_specialize=["first", "columns", "width", "end_row", "first_row", "down", "across", "apart"])
def backward(
    starts,  # [tiles + 1] int64
    gaussians,  # [total] int32
    slots,  # [total] int32
    splats,  # [N, SPLAT] float32
    d_image,  # float32, laid out as the output of ``draw``
    partials,  # out [total, SPLAT] float32
    first,
    columns,
    width,
    first_row,
    end_row,
    down,
    across,
    apart,
    channels: tl.constexpr,
):
    """The backward pass of a tile for dL/d(rendering) in memory."""
    tile = first + tl.program_id(0)
    begin, end, x, y = tile_of(starts, tile, columns)
    column, row = _places(tile, columns)
    here = (row < end_row) & (column < width)
    place = d_image + ((row - first_row).to(tl.int64) * down + column * across)
    d0 = tl.load(place, here, 0.0)
    d1, d2 = d0, d0
    if channels == 3:
        d1, d2 = tl.load(place + apart, here, 0.0), tl.load(place + 2 * apart, here, 0.0)
    _backward(gaussians, slots, begin, end, splats, partials, x, y, d0, d1, d2, channels)
