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
    enlarged: bool  # whether pixels of the image are, along any axis

    @staticmethod
    def of(launcher: Launcher, grain: Grain, view: View) -> TensorGrain:
        bands = len(grain.strengths)
        parts = np.array(definition.band_parts(view)[:bands], np.float32) / np.float32(definition.NOISE_DEVIATION)
        strengths = grain.strengths * parts[:, None, None]
        noise, enlarged = launcher.upload(definition.noise_bands()[:bands]), max(view.scale_x, view.scale_y) > 1
        return TensorGrain(noise, launcher.upload(strengths), grain.cell, enlarged)


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
def grain_at(column, row, view, noise, strengths, cell, rows, columns, bands: tl.constexpr, enlarged: tl.constexpr):
    """The grain at output pixels, before it is fitted to what is rendered."""
    x, along_x = _pixels_of(column, tl.load(view + VIEW_X), tl.load(view + VIEW_SCALE_X))
    y, along_y = _pixels_of(row, tl.load(view + VIEW_Y), tl.load(view + VIEW_SCALE_Y))
    grain = _of_pixels(x, y, noise, strengths, cell, rows, columns, bands)
    if enlarged:
        right = _of_pixels(x + 1, y, noise, strengths, cell, rows, columns, bands)
        below = _of_pixels(x, y + 1, noise, strengths, cell, rows, columns, bands)
        both = _of_pixels(x + 1, y + 1, noise, strengths, cell, rows, columns, bands)
        grain += along_x * (right - grain)
        below += along_x * (both - below)
        grain += along_y * (below - grain)
    return grain


@triton.jit
def room_for_grain(luma):
    """What is left of grain at a luma."""
    return tl.minimum(tl.maximum(4 * tl.minimum(luma, 1 - luma), 0.0), 1.0)
