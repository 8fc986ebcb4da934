"""Grain at the pixels of a tile, as ``render.grain`` defines it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import triton
import triton.language as tl
from torch import Tensor

from smartsplat.render import Grain, View
from smartsplat.render import grain as definition
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

    @staticmethod
    def of(launcher: Launcher, grain: Grain, view: View) -> TensorGrain:
        bands = len(grain.strengths)
        parts = np.array(definition.band_parts(view)[:bands], np.float32) / np.float32(definition.NOISE_DEVIATION)
        strengths = grain.strengths * parts[:, None, None]
        return TensorGrain(launcher.upload(definition.noise_bands()[:bands]), launcher.upload(strengths), grain.cell)


@triton.jit
def _noise_place(position, scale):
    """Where samples lie in the noise, along one axis: two places, and the part of the second."""
    at = position + tl.where(scale > 1, -0.5, NUDGE)
    whole = tl.floor(at)
    low = whole.to(tl.int32) & (NOISE_SIDE - 1)
    return low, (low + 1) & (NOISE_SIDE - 1), tl.where(scale > 1, at - whole, 0.0).to(tl.float32)


@triton.jit
def _cells_between(position, cell, count):
    """The cells that samples lie between, along one axis, and the part of the second."""
    at = tl.minimum(tl.maximum(position / cell - 0.5, 0.0), (count - 1).to(tl.float64))
    low = at.to(tl.int32)
    return low, tl.minimum(low + 1, count - 1), (at - low).to(tl.float32)


@triton.jit
def _between(values, row_low, row_high, row_part, low, high, part):
    """Linear between four elements of a plane; the rows are given by where they begin."""
    above_low, above_high = tl.load(values + row_low + low), tl.load(values + row_low + high)
    below_low, below_high = tl.load(values + row_high + low), tl.load(values + row_high + high)
    above = above_low.to(tl.float32) + part * (above_high.to(tl.float32) - above_low.to(tl.float32))
    below = below_low.to(tl.float32) + part * (below_high.to(tl.float32) - below_low.to(tl.float32))
    return above + row_part * (below - above)


@triton.jit
def grain_at(column, row, view, noise, strengths, cell, rows, columns, bands: tl.constexpr):
    """The grain at output pixels, before it is fitted to what is rendered."""
    scale_x, scale_y = tl.load(view + VIEW_SCALE_X), tl.load(view + VIEW_SCALE_Y)
    x = tl.load(view + VIEW_X) + (column + 0.5) / scale_x
    y = tl.load(view + VIEW_Y) + (row + 0.5) / scale_y
    low, high, part = _noise_place(x, scale_x)
    row_low, row_high, row_part = _noise_place(y, scale_y)
    cell_low, cell_high, cell_part = _cells_between(x, cell, columns)
    cell_row_low, cell_row_high, cell_row_part = _cells_between(y, cell, rows)
    total = tl.zeros(column.shape, tl.float32)
    for band in tl.static_range(bands):
        plane = noise + band * NOISE_SIDE * NOISE_SIDE
        value = _between(plane, row_low * NOISE_SIDE, row_high * NOISE_SIDE, row_part, low, high, part)
        own = strengths + band * rows * columns
        from_low, from_high = cell_row_low * columns, cell_row_high * columns
        total += value * _between(own, from_low, from_high, cell_row_part, cell_low, cell_high, cell_part)
    return total


@triton.jit
def room_for_grain(luma):
    """What is left of grain at a luma."""
    return tl.minimum(tl.maximum(4 * tl.minimum(luma, 1 - luma), 0.0), 1.0)
