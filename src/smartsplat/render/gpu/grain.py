"""Grain: the noise of a view, as ``render.grain`` defines it. tile.py adds it to what becomes code values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import triton
import triton.language as tl
from torch import Tensor

from smartsplat.render import Grain, View
from smartsplat.render import grain as definition
from smartsplat.render.gpu.constants import BLOCK
from smartsplat.render.gpu.launcher import Launcher
from smartsplat.render.gpu.project import VIEW_SCALE_X, VIEW_SCALE_Y, VIEW_X, VIEW_Y

NOISE_SIDE = tl.constexpr(definition.NOISE_SIDE)
NUDGE = tl.constexpr(definition.NUDGE)


@dataclass(frozen=True)
class TensorGrain:
    """Grain on the device, for one view."""

    noise: Tensor  # [bands, NOISE_SIDE, NOISE_SIDE] int8
    strengths: Tensor  # [bands, rows, columns] float32; what the view leaves of a band, over the noise's deviation
    cell: int  # their side, image pixels
    enlarged: bool  # whether pixels of the image are, along any axis

    @staticmethod
    def of(launcher: Launcher, given: Grain, view: View) -> TensorGrain:
        bands = len(given.strengths)
        parts = np.array(definition.band_parts(view)[:bands], np.float32) / np.float32(definition.NOISE_DEVIATION)
        strengths = given.strengths * parts[:, None, None]
        noise, enlarged = launcher.upload(definition.noise_bands()[:bands]), max(view.scale_x, view.scale_y) > 1
        return TensorGrain(noise, launcher.upload(strengths), given.cell, enlarged)


@triton.jit
def _pixels_of(sample, begin, scale):
    """The pixels of the image that samples along an axis lie in, or at magnification the first of two, and the part of
    the second."""
    at = begin + (sample + 0.5) / scale + tl.where(scale > 1, -0.5, NUDGE)
    low = tl.floor(at)
    return low.to(tl.int32), tl.where(scale > 1, at - low, 0.0).to(tl.float32)


@triton.jit
def _cells_between(pixel, cell, count):
    """The cells that pixels lie between, along one axis, and the part of the second."""
    at = (pixel.to(tl.float32) + 0.5) / cell - 0.5
    at = tl.minimum(tl.maximum(at, 0.0), (count - 1).to(tl.float32))
    low = at.to(tl.int32)
    return low, tl.minimum(low + 1, count - 1), at - low


@triton.jit
def _of_pixels(x, y, noise, strengths, cell, rows, columns, bands: tl.constexpr):
    """The grain of pixels of the image."""
    left, right, along_x = _cells_between(x, cell, columns)
    top, bottom, along_y = _cells_between(y, cell, rows)
    place = (y & (NOISE_SIDE - 1)) * NOISE_SIDE + (x & (NOISE_SIDE - 1))
    total = tl.zeros(x.shape, tl.float32)
    for band in tl.static_range(bands):
        own = strengths + band * rows * columns
        top_left, bottom_left = tl.load(own + top * columns + left), tl.load(own + bottom * columns + left)
        above = top_left + along_x * (tl.load(own + top * columns + right) - top_left)
        below = bottom_left + along_x * (tl.load(own + bottom * columns + right) - bottom_left)
        value = tl.load(noise + band * NOISE_SIDE * NOISE_SIDE + place).to(tl.float32)
        total += value * (above + along_y * (below - above))
    return total


@triton.jit
def grain(
    noise,  # [bands, NOISE_SIDE, NOISE_SIDE] int8
    strengths,  # [bands, cell_rows, cell_columns] float32
    view,  # [6] float64: project.VIEW_NAMES
    out,  # out [rows, width] float32: before it is fitted to what is rendered
    first_row,  # of the view, which ``out`` begins with
    total,  # elements of ``out``
    width,
    cell,  # image pixels
    cell_rows,
    cell_columns,
    bands: tl.constexpr,
    enlarged: tl.constexpr,  # pixels of the image are, along any axis
    block: tl.constexpr,
):
    i = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    x, along_x = _pixels_of((i % width).to(tl.int32), tl.load(view + VIEW_X), tl.load(view + VIEW_SCALE_X))
    row = first_row + (i // width).to(tl.int32)
    y, along_y = _pixels_of(row, tl.load(view + VIEW_Y), tl.load(view + VIEW_SCALE_Y))
    value = _of_pixels(x, y, noise, strengths, cell, cell_rows, cell_columns, bands)
    if enlarged:
        right = _of_pixels(x + 1, y, noise, strengths, cell, cell_rows, cell_columns, bands)
        below = _of_pixels(x, y + 1, noise, strengths, cell, cell_rows, cell_columns, bands)
        both = _of_pixels(x + 1, y + 1, noise, strengths, cell, cell_rows, cell_columns, bands)
        value += along_x * (right - value)
        below += along_x * (both - below)
        value += along_y * (below - value)
    tl.store(out + i, value, i < total)


@triton.jit
def room_for_grain(luma):
    """What is left of grain at a luma."""
    return tl.minimum(tl.maximum(4 * tl.minimum(luma, 1 - luma), 0.0), 1.0)


def grain_rows(launcher: Launcher, own: TensorGrain, view: Tensor, rows: tuple[int, int], columns: int) -> Tensor:
    """The grain of some rows of a view, [rows, columns] float32.

    Args:
        view: [6] float64, as kernels know it.
    """
    begin, end = rows
    out = launcher.empty((end - begin, columns))
    total = (end - begin) * columns
    sizes = (begin, total, columns, own.cell, *own.strengths.shape[1:])
    form = (len(own.strengths), own.enlarged, BLOCK)
    launcher.launch(grain, -(-total // BLOCK), own.noise, own.strengths, view, out, *sizes, *form)
    return out
