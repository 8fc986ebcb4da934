"""SSIM: the loss with it, on a strip of rows. A program has ``ROWS_PER_PROGRAM`` rows of a block of columns, a thread
one column.

A strip holds some rows above and below its own, which ``tile.render`` has put there: the map of SSIM looks five rows
away, and its gradient five more. Its planes are float32 [C, R, pitch] with ``MARGIN`` or more zeros between rows, so
that a blur along x needs no comparisons: the rendering, both images in [0, 1], and three derivatives. A row of zeros
lies before them, and columns beyond the last may be read.

Going down, a thread blurs each row along x and adds it, with the weights of the blur along y, to the sums for the rows
around, which it keeps in registers: nothing half blurred is ever in memory. Buffers are a strip's, never an image's.
Bytes a sample: 13 (prepare), 20 (slopes), 21 (gradient), of a target of 8 bits.
"""

import math
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from smartsplat.render import StepSettings, reference
from smartsplat.render.gpu.bin import TileLists
from smartsplat.render.gpu.constants import TILE
from smartsplat.render.gpu.launcher import Launcher
from smartsplat.render.gpu.loss import clamped, error_of, pixel_slope, value_of
from smartsplat.render.gpu.tile import ImageRows, backward_rows, render_rows

STRIP_PIXELS = 1 << 23
"""Of a strip, about: its buffers take 72 bytes each."""

COLUMNS_PER_PROGRAM = 128
"""One a thread, so that loads of any offset are whole cache lines."""

MARGIN = 32
"""Zeros before the first row, and at least so many between rows: a cache line."""

ROWS_PER_PROGRAM = tl.constexpr(64)
RADIUS = tl.constexpr(reference.SSIM_RADIUS)
TAPS = tl.constexpr(2 * reference.SSIM_RADIUS + 1)
C1 = tl.constexpr(reference.SSIM_C1)
C2 = tl.constexpr(reference.SSIM_C2)
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
    """Channel of a program, the first of its rows, and its columns. Offsets inside a strip have 32 bits."""
    group = tl.program_id(0) // blocks
    columns = tl.program_id(0) % blocks * block + tl.arange(0, block)
    return group // groups, group % groups * ROWS_PER_PROGRAM, columns


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
def _blurred_along_x(row, zero):
    """The blur along x around each element that ``row`` points to."""
    total = zero
    for tap in tl.static_range(TAPS):
        total += tl.load(row + (tap - RADIUS)) * _weight(tap)
    return total


@triton.jit(do_not_specialize=["rows", "width", "blocks", "groups", "first_row"])
def prepare(
    planes,  # [6, C, R, pitch] float32: the rendering; out: both images, as SSIM sees them
    target,  # [H, W, C] uint8 or uint16
    rows,  # R
    width,
    pitch,
    blocks,
    groups,  # of ROWS_PER_PROGRAM rows, of a channel
    first_row,  # row of the image that is the strip's first
    channels: tl.constexpr,
    block: tl.constexpr,
    clamp: tl.constexpr,  # the rendering to [0, 1]
):
    c, top, x = _group(blocks, groups, block)
    valid, plane = x < width, channels * rows * pitch
    for y in range(top, tl.minimum(top + ROWS_PER_PROGRAM, rows)):
        place = (c * rows + y) * pitch + x
        sample = target + ((y + first_row).to(tl.int64) * width + x) * channels + c
        value = tl.load(planes + place, valid, 0.0)
        tl.store(planes + (plane + place), clamped(value) if clamp else value, valid)
        tl.store(planes + (2 * plane + place), value_of(tl.load(sample, valid, 0)), valid)


@triton.jit(do_not_specialize=["rows", "width", "blocks", "groups", "begin", "end"])
def slopes(
    planes,  # both images; out: the map's derivatives by mean x, E[x^2] and E[x y]
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
    valid, plane = x < width, channels * rows * pitch
    zero = tl.where(valid, 0.0, 0.0)
    begun, total = (zero,) * (TAPS - 1), zero
    means_x, means_y, all_squares, all_products = begun, begun, begun, begun
    for row in range(top - RADIUS, tl.minimum(top + ROWS_PER_PROGRAM, rows) + RADIUS):
        inside, line = (row >= 0) & (row < rows), (c * rows + row) * pitch
        row_x = planes + (tl.where(inside, plane + line, -pitch) + x)
        row_y = planes + (tl.where(inside, 2 * plane + line, -pitch) + x)
        mean_x, mean_y, squares, products = zero, zero, zero, zero
        for tap in tl.static_range(TAPS):
            actual, expected = tl.load(row_x + (tap - RADIUS)), tl.load(row_y + (tap - RADIUS))
            weighted_x, weighted_y = actual * _weight(tap), expected * _weight(tap)
            mean_x += weighted_x
            mean_y += weighted_y
            squares += weighted_x * actual + weighted_y * expected
            products += weighted_x * expected
        mean_x, means_x = _shifted(means_x, mean_x)
        mean_y, means_y = _shifted(means_y, mean_y)
        squares, all_squares = _shifted(all_squares, squares)
        products, all_products = _shifted(all_products, products)
        y = row - RADIUS
        out = planes + (3 * plane + (line - RADIUS * pitch) + x)
        value = _slope(out, plane, mean_x, mean_y, squares, products, valid & (y >= top))
        total += tl.where(valid & (y >= top) & (y >= begin) & (y < end), value, 0.0)
    tl.store(sums + tl.program_id(0), tl.sum(total))


@triton.jit
def _slope(out, plane, mean_x, mean_y, squares, products, valid):
    """SSIM at some samples; its derivatives are written. Only the sum of the two variances is needed."""
    product, square = mean_x * mean_y, mean_x * mean_x + mean_y * mean_y
    top1, top2 = 2 * product + C1, 2 * (products - product) + C2
    bottom1, bottom2 = square + C1, squares - square + C2
    inverse = 1 / (bottom1 * bottom2)
    value = top1 * top2 * inverse
    d_mean = 2 * inverse * (mean_y * (top2 - top1) - value * mean_x * (bottom2 - bottom1))
    tl.store(out, d_mean, valid)
    tl.store(out + plane, -value * bottom1 * inverse, valid)
    tl.store(out + 2 * plane, 2 * top1 * inverse, valid)
    return value


@triton.jit(do_not_specialize=["rows", "width", "blocks", "groups", "first_row", "begin", "end", "l1", "l2", "ssim"])
def gradient(
    planes,  # the rendering and the derivatives; out, in place of the rendering: the loss's gradient by it
    target,  # [H, W, C] uint8 or uint16
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
    clamp: tl.constexpr,
):
    """E22 and its gradient. The adjoint of a blur with zeros outside is the same blur."""
    c, top, x = _group(blocks, groups, block)
    valid, plane = x < width, channels * rows * pitch
    zero = tl.where(valid, 0.0, 0.0)
    begun, absolute, total = (zero,) * (TAPS - 1), zero, zero
    means, squares, products = begun, begun, begun
    for row in range(top - RADIUS, tl.minimum(top + ROWS_PER_PROGRAM, rows) + RADIUS):
        inside, line = (row >= 0) & (row < rows), (c * rows + row) * pitch
        slope = planes + (tl.where(inside, 3 * plane + line, -pitch) + x)
        mean, means = _shifted(means, _blurred_along_x(slope, zero))
        slope = planes + (tl.where(inside, 4 * plane + line, -pitch) + x)
        square, squares = _shifted(squares, _blurred_along_x(slope, zero))
        slope = planes + (tl.where(inside, 5 * plane + line, -pitch) + x)
        product, products = _shifted(products, _blurred_along_x(slope, zero))
        y = row - RADIUS
        own, place = valid & (y >= top), planes + (line - RADIUS * pitch + x)
        sample = target + ((y + first_row).to(tl.int64) * width + x) * channels + c
        value, code_value = tl.load(place, own, 0.0), tl.load(sample, own, 0)
        if clamp:
            value = clamped(value)
        error = tl.where(own & (y >= begin) & (y < end), error_of(value, code_value), 0.0)
        similarity = mean + 2 * value * square + value_of(code_value) * product
        tl.store(place, pixel_slope(error, l1, l2) - ssim * similarity, own)
        absolute += tl.abs(error)
        total += error * error
    tl.store(losses + 2 * tl.program_id(0), tl.sum(absolute))
    tl.store(losses + 2 * tl.program_id(0) + 1, tl.sum(total))


@dataclass(frozen=True)
class Strip:
    """Rows of the image with their neighbours, in ``planes``."""

    first_row: int  # of the image
    rows: int
    begin: int  # of its own rows, counted from ``first_row``
    end: int


def fit_strips(
    launcher: Launcher, lists: TileLists, target: Tensor, partials: Tensor, settings: StepSettings, clamp: bool = True
) -> Tensor:
    """``tile.fit_tiles`` with SSIM: rendering, three kernels and the backward pass, for one strip after the other.

    Args:
        clamp: the loss sees the rendering clamped to [0, 1].

    Returns:
        Sums of |e| and e^2, 0 for the coarse error's, and that of SSIM over all samples: float64 [4].
    """
    height, width, channels = target.shape
    tile = TILE.value
    strip_rows = max(1, STRIP_PIXELS // width // tile) * tile
    pitch = -(-width // MARGIN) * MARGIN + MARGIN
    max_samples = channels * min(height, strip_rows + 2 * tile) * pitch
    before, behind = pitch + MARGIN, COLUMNS_PER_PROGRAM + MARGIN
    planes = launcher.zeros((before + 6 * max_samples + behind,))[before:]
    sums = launcher.zeros((4,), torch.float64)
    for top in range(0, height, strip_rows):
        bottom = min(top + strip_rows, height)
        first_row, end_row = max(0, top - tile), min(height, bottom + tile)  # with what SSIM sees around it
        strip = Strip(first_row, end_row - first_row, top - first_row, bottom - first_row)
        rows = ImageRows(planes, width, channels, first_row, pitch, 1, strip.rows * pitch)
        render_rows(launcher, lists, rows, first_row, end_row)
        sums += _strip_gradient(launcher, planes, target, strip, pitch, settings, clamp)
        backward_rows(launcher, lists, rows, partials, top, bottom)
    return sums


def _strip_gradient(
    launcher: Launcher,
    planes: Tensor,
    target: Tensor,
    strip: Strip,
    pitch: int,
    settings: StepSettings,
    clamp: bool,
) -> Tensor:
    """Replaces the rendering, the first of the ``planes``, by the loss's gradient; sums over the strip's own rows."""
    _, width, channels = target.shape
    blocks, groups = -(-width // COLUMNS_PER_PROGRAM), -(-strip.rows // ROWS_PER_PROGRAM.value)
    programs = channels * groups * blocks
    sizes, form = (strip.rows, width, pitch, blocks, groups), (channels, COLUMNS_PER_PROGRAM)
    own, samples = (strip.begin, strip.end), target.numel()
    weights = (settings.l1 / samples, 2 * settings.l2 / samples, settings.ssim / samples)
    similarities, losses = launcher.empty((programs,)), launcher.empty((programs, 2))
    launcher.launch(prepare, programs, planes, target, *sizes, strip.first_row, *form, clamp)
    launcher.launch(slopes, programs, planes, similarities, *sizes, *own, *form)
    launcher.launch(gradient, programs, planes, target, losses, *sizes, strip.first_row, *own, *weights, *form, clamp)
    pixelwise = torch.nn.functional.pad(losses.sum(dim=0, dtype=torch.float64), (0, 1))
    return torch.cat([pixelwise, similarities.sum(dtype=torch.float64).reshape(1)])
