"""Grain: noise in the place of texture that a file has lost (docs/format.md, "Grain"). The definition, in numpy."""

from __future__ import annotations

from functools import cache
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from smartsplat.arrays import DoubleArray
from smartsplat.render import Grain, View

GRAIN_BANDS = 3
"""Octave bands, at most: wavelengths of about 2 to 4, 4 to 8 and 8 to 16 pixels."""

NOISE_SIDE = 256
"""Pixels after which the noise repeats, along both axes."""

NOISE_DEVIATION = 32.0
"""Standard deviation of the noise, in each band."""

NUDGE = 1 / 1021
"""Pixels. Whole positions, which symmetric views have, do not hang on how they are rounded."""

Pixels = npt.NDArray[np.int64]
Numbers = TypeVar("Numbers", np.int64, np.float32)
Floats = TypeVar("Floats", np.float32, np.float64)

_NORMS = 1103, 203, 29  # 2^16 times NOISE_DEVIATION over the standard deviation of each band's sums


def smoothed(plane: npt.NDArray[Numbers], distance: int) -> npt.NDArray[Numbers]:
    """The sum of 1, 2, 1 times elements ``distance`` apart, along both axes; beyond its edges the plane repeats."""
    for axis in (0, 1):
        plane = np.roll(plane, distance, axis) + 2 * plane + np.roll(plane, -distance, axis)
    return plane


@cache
def noise_bands() -> npt.NDArray[np.int8]:
    """The noise of each band, [GRAIN_BANDS, NOISE_SIDE, NOISE_SIDE]; integers, and so the same everywhere."""
    bits = np.arange(NOISE_SIDE**2, dtype=np.uint32)
    bits = (bits ^ bits >> np.uint32(16)) * np.uint32(0x7FEB352D)
    bits = (bits ^ bits >> np.uint32(15)) * np.uint32(0x846CA68B)
    bits ^= bits >> np.uint32(16)
    sums = bits.view(np.uint8).reshape(NOISE_SIDE, NOISE_SIDE, 4).sum(axis=2, dtype=np.int64)  # nearly normal
    plane, bands = sums - 510, []
    for band, norm in enumerate(_NORMS):
        smooth = smoothed(plane, 1 << band)
        bands.append(np.clip(((16 * plane - smooth) * norm + (1 << 15)) >> 16, -127, 127).astype(np.int8))
        plane = smooth
    return np.stack(bands)


def band_parts(view: View) -> list[float]:
    """What a view leaves of each band: nothing once a sample averages over what repeats in it."""
    scale = min(view.scale_x, view.scale_y)
    return [min(max((2 << band) * scale - 1, 0.0), 1.0) for band in range(GRAIN_BANDS)]


def grain_at(view: View, grain: Grain) -> DoubleArray:
    """The grain of a view, float64 [rows, columns], before it is fitted to what is rendered.

    That of an image pixel is the sum over bands of noise times strength at its centre. A sample has the grain of the
    pixel that it lies in, or where pixels are enlarged it lies between two.
    """
    top, bottom, along_y = _pixels_of(view.y, view.scale_y, view.rows)
    left, right, along_x = _pixels_of(view.x, view.scale_x, view.columns)
    above, below = (
        _linear(_of_pixels(y, left, view, grain), _of_pixels(y, right, view, grain), along_x[None, :])
        for y in (top, bottom)
    )
    return _linear(above, below, along_y[:, None])


def _of_pixels(y: Pixels, x: Pixels, view: View, grain: Grain) -> DoubleArray:
    """The grain of rows and columns of the image's pixels, [len(y), len(x)]."""
    total = np.zeros((len(y), len(x)))
    for noise, strengths, part in zip(noise_bands(), grain.strengths, band_parts(view), strict=False):
        own = noise[(y % NOISE_SIDE)[:, None], x % NOISE_SIDE].astype(np.float64)
        strength = _between_cells(_between_cells(strengths.T, (x + 0.5) / grain.cell).T, (y + 0.5) / grain.cell)
        total += part / NOISE_DEVIATION * own * strength
    return total


def with_grain(image: DoubleArray, grain: DoubleArray) -> DoubleArray:
    """Grain [rows, columns] added to every channel of a rendering [rows, columns, C], less near black and white."""
    luma = image[..., 0] if image.shape[2] == 1 else image @ [0.25, 0.5, 0.25]
    return image + (room_for_grain(luma) * grain)[..., None]


def room_for_grain(luma: npt.NDArray[Floats]) -> npt.NDArray[Floats]:
    """What is left of grain at a luma in [0, 1]: all of it from 1/4 to 3/4, nothing at black and white."""
    room: npt.NDArray[Floats] = np.clip(4 * np.minimum(luma, 1 - luma), 0, 1)
    return room


def _pixels_of(begin: float, scale: float, count: int) -> tuple[Pixels, Pixels, DoubleArray]:
    """The two pixels that each sample along an axis lies between, and the part of the second: 0 at minification."""
    position: DoubleArray = begin + (np.arange(count, dtype=np.float64) + 0.5) / scale
    at = position - 0.5 if scale > 1 else np.floor(position + NUDGE)
    low = np.floor(at).astype(np.int64)
    return low, low + 1, at - low


def _linear(low: DoubleArray, high: DoubleArray, part: DoubleArray) -> DoubleArray:
    return low * (1 - part) + high * part


def _between_cells(rows: npt.NDArray[np.floating], position: DoubleArray) -> DoubleArray:
    """Rows of cells at positions in cells, linear between their centres; beyond the outermost they go on."""
    at = np.clip(position - 0.5, 0, len(rows) - 1)
    low = at.astype(np.int64)
    part = (at - low)[:, None]
    return _linear(rows[low].astype(np.float64), rows[np.minimum(low + 1, len(rows) - 1)].astype(np.float64), part)
