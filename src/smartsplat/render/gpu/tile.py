"""Tile: rendering, backward pass, and both in one go with the loss between. One tile is one program of one warp.

A lane holds eight pixels of a 16 x 16 tile in registers, every other one of a column, so that the eight loads of a
splat and the loop around them are shared by eight evaluations, and sums over a tile need shuffles only, no shared
memory and no barrier. Counted in the machine code for sm_90 (Triton 3.8), an intersection takes a warp 88 instructions
to render and 228 in the backward pass, of which some 30 sum its eight values over the lanes.
Without SSIM, ``fit`` does rendering, loss and the backward pass in one go: neither the rendering nor its gradient ever
exists in memory, and of the image only its samples are read.

The two loops, ``blended`` and ``_backward``, are all that would change if small matrix products did their sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from smartsplat.render import StepSettings
from smartsplat.render.gpu.bin import TileLists
from smartsplat.render.gpu.constants import EDGE, SPLAT_FLOATS, TILE
from smartsplat.render.gpu.grain import room_for_grain
from smartsplat.render.gpu.launcher import Launcher
from smartsplat.render.gpu.loss import errors, pixel_slope, to_samples, weights_of

LANES = tl.constexpr(32)
TILE_PIXELS = tl.constexpr(TILE.value**2)
PIXELS_PER_LANE = tl.constexpr(TILE_PIXELS.value // LANES.value)  # below each other
LANE_ROWS = tl.constexpr(LANES.value // TILE.value)  # between them


@triton.jit
def tile_of(starts, tile, columns):
    """Where the list of a tile begins and ends, and column and row of the first pixel of each lane, [LANES]."""
    lane = tl.arange(0, LANES)
    x, y = tile % columns * TILE + lane % TILE, tile // columns * TILE + lane // TILE
    return tl.load(starts + tile), tl.load(starts + tile + 1), x, y


@triton.jit
def _rows_below():
    """How many rows below the first of its lane a pixel is, [PIXELS_PER_LANE, LANES]."""
    below = (tl.arange(0, PIXELS_PER_LANE) * LANE_ROWS).to(tl.float32)
    return tl.zeros([PIXELS_PER_LANE, LANES], tl.float32) + below[:, None]


@triton.jit
def pixels_of(tile, columns):
    """Column and row of each pixel of a tile, [TILE_PIXELS]; lane by lane, then row by row of lanes.

    What is in memory is reached by one dimension and reshaped: given two, Triton 3.6 deals the pixels out to the
    threads in another way, and then takes 617 instructions an intersection instead of 274 to sum over them.
    """
    pixel = tl.arange(0, TILE_PIXELS)
    return tile % columns * TILE + pixel % TILE, tile // columns * TILE + pixel // TILE


@triton.jit
def blended(gaussians, begin, end, splats, x, y, channels: tl.constexpr):
    """E4 at the pixels of a tile: up to three channels, [TILE_PIXELS] each."""
    center_x, center_y, below = x.to(tl.float32) + 0.5, y.to(tl.float32) + 0.5, _rows_below()
    color0 = tl.zeros([PIXELS_PER_LANE, LANES], tl.float32)
    color1 = tl.zeros([PIXELS_PER_LANE, LANES], tl.float32)
    color2 = tl.zeros([PIXELS_PER_LANE, LANES], tl.float32)
    for entry in range(begin, end):
        splat = splats + tl.load(gaussians + entry).to(tl.int64) * SPLAT_FLOATS
        dx, dy, factor_y = center_x - tl.load(splat), center_y - tl.load(splat + 1), tl.load(splat + 3)
        white_x = dx * tl.load(splat + 2)
        white_y = (dy * factor_y + dx * tl.load(splat + 4))[None, :] + below * factor_y
        weight = tl.maximum(tl.exp2(-((white_x * white_x)[None, :] + white_y * white_y)) - EDGE, 0.0)
        color0 += weight * tl.load(splat + 5)
        if channels == 3:
            color1 += weight * tl.load(splat + 6)
            color2 += weight * tl.load(splat + 7)
    return tl.reshape(color0, [TILE_PIXELS]), tl.reshape(color1, [TILE_PIXELS]), tl.reshape(color2, [TILE_PIXELS])


@triton.jit
def _backward(
    gaussians, slots, begin, end, splats, partials, x, y, d0, d1, d2, channels: tl.constexpr
):  # dL/d(rendering) of up to three channels, [TILE_PIXELS]
    """For each Gaussian of a tile, into its slot: sums over pixels of h white_x, h white_y, h white_x^2, h white_x
    white_y, h white_y^2, and of weight d by channel.

    h = (d . colour) 2^-(white_x^2 + white_y^2) inside the window is -2 dL/dq times 1 / (1 - EDGE), which the colour
    contains.
    """
    d0 = tl.reshape(d0, [PIXELS_PER_LANE, LANES])
    d1, d2 = tl.reshape(d1, [PIXELS_PER_LANE, LANES]), tl.reshape(d2, [PIXELS_PER_LANE, LANES])
    center_x, center_y, below, order = x.to(tl.float32) + 0.5, y.to(tl.float32) + 0.5, _rows_below(), _reversed_bits()
    for entry in range(begin, end):
        splat = splats + tl.load(gaussians + entry).to(tl.int64) * SPLAT_FLOATS
        partial = partials + tl.load(slots + entry).to(tl.int64) * SPLAT_FLOATS
        dx, dy, factor_y = center_x - tl.load(splat), center_y - tl.load(splat + 1), tl.load(splat + 3)
        white_x = dx * tl.load(splat + 2)
        white_y = (dy * factor_y + dx * tl.load(splat + 4))[None, :] + below * factor_y
        gaussian = tl.exp2(-((white_x * white_x)[None, :] + white_y * white_y))
        weight = tl.maximum(gaussian - EDGE, 0.0)
        h = d0 * tl.load(splat + 5)
        if channels == 3:
            h += d1 * tl.load(splat + 6) + d2 * tl.load(splat + 7)
        h = tl.where(gaussian > EDGE, h * gaussian, 0.0)
        hy = h * white_y
        # Inside each lane first: white_x is the same for all its pixels.
        lane_h, lane_hy, lane_hyy = tl.sum(h, axis=0), tl.sum(hy, axis=0), tl.sum(hy * white_y, axis=0)
        lane_hx = lane_h * white_x
        color0, color1, color2 = tl.sum(weight * d0, axis=0), lane_h * 0, lane_h * 0
        if channels == 3:
            color1, color2 = tl.sum(weight * d1, axis=0), tl.sum(weight * d2, axis=0)
        sums = _summed(lane_hx, lane_hy, lane_hx * white_x, lane_hy * white_x, lane_hyy, color0, color1, color2)
        tl.store(partial + order, sums)


@triton.jit
def _summed(s0, s1, s2, s3, s4, s5, s6, s7):
    """The sums of eight values over the lanes, [8], in the order of ``_reversed_bits``.

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
def _reversed_bits():
    """Which value each of the sums of ``_summed`` is, [8]: 0 to 7 with their three bits in reverse."""
    place = tl.arange(0, 8)
    return place // 4 + place // 2 % 2 * 2 + place % 2 * 4


@triton.jit(
    do_not_specialize=[
        *("first_tile", "columns", "width", "end_row", "first_row"),
        *("row_stride", "column_stride", "channel_stride"),
    ]
)
def render(
    starts,  # [tiles + 1] int64
    gaussians,  # [total] int32
    splats,  # [N, SPLAT_FLOATS] float32
    out,  # float32, not clamped, or uint8 or uint16
    first_tile,  # of the first program
    columns,  # of tiles
    width,  # of the output, pixels
    first_row,  # row of pixels that ``out`` begins with
    end_row,  # and the one behind its last
    row_stride,  # elements of ``out`` from a row to the next
    column_stride,  # from a pixel to the next
    channel_stride,  # from a channel to the next
    grain,  # [rows, width] float32, which samples are given, of the rows of ``out``; None: there is none
    channels: tl.constexpr,
):
    tile = first_tile + tl.program_id(0)
    begin, end, x, y = tile_of(starts, tile, columns)
    color0, color1, color2 = blended(gaussians, begin, end, splats, x, y, channels)
    pixel = tl.arange(0, TILE_PIXELS)
    top, left = tile // columns * TILE, tile % columns * TILE
    valid = (pixel // TILE < end_row - top) & (pixel % TILE < width - left)
    inside = pixel // TILE * row_stride + pixel % TILE * column_stride  # a tile's own offsets have 32 bits
    place = out + ((top - first_row).to(tl.int64) * row_stride + left * column_stride) + inside
    if grain is not None:
        begin_of_tile = (top - first_row).to(tl.int64) * width + left
        added = tl.load(grain + begin_of_tile + (pixel // TILE * width + pixel % TILE), valid, 0.0)
        added *= room_for_grain((color0 + 2 * color1 + color2) / 4 if channels == 3 else color0)
        color0, color1, color2 = color0 + added, color1 + added, color2 + added
    sample: tl.constexpr = out.dtype.element_ty
    if sample == tl.float32:
        tl.store(place, color0, valid)
        if channels == 3:
            tl.store(place + channel_stride, color1, valid)
            tl.store(place + 2 * channel_stride, color2, valid)
    else:
        tl.store(place, to_samples(color0, sample), valid)
        if channels == 3:
            tl.store(place + channel_stride, to_samples(color1, sample), valid)
            tl.store(place + 2 * channel_stride, to_samples(color2, sample), valid)


@triton.jit
def _cell_sums(values):
    """At each pixel the sum over its coarse cell, [TILE_PIXELS] as ``pixels_of`` has them.

    A cell of 4 x 4 is two pixels of each of eight lanes: four beside each other in each of two rows of lanes.
    """
    pairs: tl.constexpr = PIXELS_PER_LANE // 2
    sums = tl.sum(tl.reshape(values, [pairs, 2, LANES]), axis=1)
    lane = tl.zeros([pairs, LANES], tl.int32) + tl.arange(0, LANES)[None, :]
    sums += tl.gather(sums, lane ^ 1, axis=1)
    sums += tl.gather(sums, lane ^ 2, axis=1)
    sums += tl.gather(sums, lane ^ TILE, axis=1)
    return tl.reshape(tl.broadcast_to(sums[:, None, :], [pairs, 2, LANES]), [TILE_PIXELS])


@triton.jit
def _coarse(error, weight, cell_weight):
    """The mean error over its cell at each pixel, and weight times its square, [TILE_PIXELS] each.

    ``cell_weight`` is the sum of ``weight`` over the pixel's cell.
    """
    mean = tl.where(cell_weight > 0, _cell_sums(weight * error) / tl.where(cell_weight > 0, cell_weight, 1.0), 0.0)
    return mean, weight * mean * mean


@triton.jit(do_not_specialize=["columns", "width", "height", "l1", "fine", "coarse"])
def fit(
    starts,  # [tiles + 1] int64
    gaussians,  # [total] int32
    slots,  # [total] int32
    splats,  # [N, SPLAT_FLOATS] float32
    target,  # [H, W, C] uint8 or uint16
    weights,  # [H, W] uint8, of the errors; None: all are 1
    partials,  # out [total, SPLAT_FLOATS] float32
    losses,  # out [tiles, 3] float32: sums of |e|, e^2 and the square of the coarse error, weighted
    columns,  # of tiles
    width,  # pixels
    height,
    l1,  # weight of |e| over the number of samples
    fine,  # twice that of e^2
    coarse,  # twice that of the coarse error's square
    channels: tl.constexpr,
    with_coarse: tl.constexpr,  # otherwise ``coarse`` is 0
):
    """Rendering, pixelwise loss and backward pass of a tile."""
    tile = tl.program_id(0)
    begin, end, x, y = tile_of(starts, tile, columns)
    color0, color1, color2 = blended(gaussians, begin, end, splats, x, y, channels)
    column, row = pixels_of(tile, columns)
    error0, error1, error2 = errors(color0, color1, color2, target, column, row, width, height, channels)
    absolute, square = tl.abs(error0), error0 * error0
    d0 = pixel_slope(error0, l1, fine)
    d1, d2 = d0, d0
    if channels == 3:
        absolute += tl.abs(error1) + tl.abs(error2)
        square += error1 * error1 + error2 * error2
        d1, d2 = pixel_slope(error1, l1, fine), pixel_slope(error2, l1, fine)
    weight = tl.where((row < height) & (column < width), 1.0, 0.0)
    if weights is not None:
        weight = weights_of(weights, column, row, width, height)
    coarse_square = square * 0
    if with_coarse:
        cell_weight = _cell_sums(weight)
        mean0, coarse_square = _coarse(error0, weight, cell_weight)
        d0 += coarse * mean0
        if channels == 3:
            mean1, square1 = _coarse(error1, weight, cell_weight)
            mean2, square2 = _coarse(error2, weight, cell_weight)
            d1, d2 = d1 + coarse * mean1, d2 + coarse * mean2
            coarse_square += square1 + square2
    tl.store(losses + 3 * tile, tl.sum(weight * absolute))
    tl.store(losses + 3 * tile + 1, tl.sum(weight * square))
    tl.store(losses + 3 * tile + 2, tl.sum(coarse_square))
    d0, d1, d2 = weight * d0, weight * d1, weight * d2
    _backward(gaussians, slots, begin, end, splats, partials, x, y, d0, d1, d2, channels)


@triton.jit(
    do_not_specialize=[
        *("first_tile", "columns", "width", "end_row", "first_row"),
        *("row_stride", "column_stride", "channel_stride"),
    ]
)
def backward(
    starts,  # [tiles + 1] int64
    gaussians,  # [total] int32
    slots,  # [total] int32
    splats,  # [N, SPLAT_FLOATS] float32
    d_image,  # float32, laid out as the output of ``render``
    partials,  # out [total, SPLAT_FLOATS] float32
    first_tile,
    columns,
    width,
    first_row,
    end_row,
    row_stride,
    column_stride,
    channel_stride,
    channels: tl.constexpr,
):
    """The backward pass of a tile for dL/d(rendering) in memory."""
    tile = first_tile + tl.program_id(0)
    begin, end, x, y = tile_of(starts, tile, columns)
    column, row = pixels_of(tile, columns)
    valid = (row < end_row) & (column < width)
    place = d_image + ((row - first_row).to(tl.int64) * row_stride + column * column_stride)
    d0 = tl.load(place, valid, 0.0)
    d1, d2 = d0, d0
    if channels == 3:
        d1, d2 = tl.load(place + channel_stride, valid, 0.0), tl.load(place + 2 * channel_stride, valid, 0.0)
    _backward(gaussians, slots, begin, end, splats, partials, x, y, d0, d1, d2, channels)


@dataclass(frozen=True)
class ImageRows:
    """Rows of an image in memory, or of its gradient; strides are in elements."""

    values: Tensor  # float32, uint8 or uint16
    width: int  # pixels
    channels: int
    first_row: int  # of the image, which ``values`` begins with
    row_stride: int
    column_stride: int
    channel_stride: int

    @staticmethod
    def contiguous(values: Tensor, first_row: int = 0) -> ImageRows:
        """Of a tensor [rows, columns, C]."""
        _, width, channels = values.shape
        return ImageRows(values, width, channels, first_row, width * channels, channels, 1)

    @property
    def strides(self) -> tuple[int, int, int]:
        return self.row_stride, self.column_stride, self.channel_stride


def render_rows(
    launcher: Launcher, lists: TileLists, out: ImageRows, begin: int, end: int, grain: Tensor | None = None
) -> None:
    """Render the image's rows ``begin``, which begins a tile, to ``end``; they are those from ``out.first_row`` on.

    Args:
        grain: [end - begin, columns] float32 of these rows, which are all of ``out``, as code values.
    """
    first, last = begin // TILE.value, -(-end // TILE.value)
    arrays = (lists.starts, lists.gaussians, lists.splats, out.values)
    sizes = (first * lists.columns, lists.columns, out.width, out.first_row, end, *out.strides)
    launcher.launch(render, (last - first) * lists.columns, *arrays, *sizes, grain, out.channels, warps=1)


def backward_rows(
    launcher: Launcher, lists: TileLists, d_image: ImageRows, partials: Tensor, begin: int, end: int
) -> None:
    """The backward pass of the image's rows ``begin``, which begins a tile, to ``end``, into their slots."""
    first, last = begin // TILE.value, -(-end // TILE.value)
    arrays = (lists.starts, lists.gaussians, lists.slots, lists.splats, d_image.values, partials)
    sizes = (first * lists.columns, lists.columns, d_image.width, d_image.first_row, end, *d_image.strides)
    launcher.launch(backward, (last - first) * lists.columns, *arrays, *sizes, d_image.channels, warps=1)


def fit_tiles(
    launcher: Launcher,
    lists: TileLists,
    target: Tensor,
    weights: Tensor | None,
    partials: Tensor,
    settings: StepSettings,
) -> Tensor:
    """Rendering, loss without SSIM and backward pass in one kernel.

    Args:
        target: [H, W, C] uint8 or uint16.
        weights: [H, W] uint8, of the errors; None: all are 1.
        partials: written, from ``empty_partials``.

    Returns:
        Weighted sums of |e|, e^2 and the coarse error's square over all samples, and 0 for SSIM's: float64 [4].
    """
    height, width, channels = target.shape
    losses = launcher.empty((lists.tiles, 3))
    arrays = (lists.starts, lists.gaussians, lists.slots, lists.splats, target, weights, partials, losses)
    l1, l2 = settings.l1 / target.numel(), 2 * settings.l2 / target.numel()
    slopes = (l1, (1 - settings.coarse) * l2, settings.coarse * l2)
    form = (channels, settings.coarse > 0)
    launcher.launch(fit, lists.tiles, *arrays, lists.columns, width, height, *slopes, *form, warps=1)
    return torch.nn.functional.pad(losses.sum(dim=0, dtype=torch.float64), (0, 1))


def empty_partials(launcher: Launcher, lists: TileLists) -> Tensor:
    """Room for what the backward pass leaves in the slots, [M, SPLAT_FLOATS] float32."""
    return launcher.empty((lists.intersections, SPLAT_FLOATS.value))
