"""How much grain a file gets: as much texture as it has lost, cell by cell (docs/format.md, "Grain")."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from smartsplat.arrays import FloatArray, SampleArray
from smartsplat.bitstream.container import GRAIN_CELL_LOG2, CodedGrain, Extras
from smartsplat.bitstream.grain import levels_of, to_grain
from smartsplat.decoder import Reader
from smartsplat.encoder.settings import Tune
from smartsplat.errors import SettingsError
from smartsplat.render.grain import GRAIN_BANDS, room_for_grain, smoothed

AUTO_GRAIN = 0.35
"""Strength for the eye: less is hardly seen, and all of what was lost looks like fast film."""

FIRST_CELL_LOG2 = 7
"""Cells have 128 pixels a side, or more where these would take too many bytes."""

MAX_PART, MIN_BYTES, MAX_PART_OF_SMALL = 1 / 200, 48, 1 / 50
"""Of a byte budget: so much of it, but at least so many bytes, unless they are more than so much of it."""

BLOCK = 8
"""Pixels: side of the squares that variances are taken over. A cell has the median of its own: an edge is in few."""

PIECE_PIXELS = 1 << 21
"""Pixels that are looked at at once, about."""

MIN_ROOM = 0.25
"""What grain that is less near black and white is made up for by, at most: four times."""


def grain_of(grain: float | str | None, tune: Tune, min_psnr: float | None) -> float:
    """The strength that was asked for, or with None or "auto" the default: some for the eye, none for a PSNR.

    Raises:
        SettingsError: it is no number from 0 to 1.
    """
    if grain is None or grain == "auto":
        return AUTO_GRAIN if tune == Tune.EYE and min_psnr is None else 0.0
    try:
        strength = float(grain)
    except (TypeError, ValueError):
        strength = -1.0
    if not 0 <= strength <= 1:
        raise SettingsError(f"grain is a number from 0 to 1 or 'auto', not {grain!r}")
    return strength


def byte_limit(max_bytes: int) -> int:
    """What grain may take of a file of so many bytes."""
    limit = max(int(max_bytes * MAX_PART), MIN_BYTES)
    return limit if limit <= max_bytes * MAX_PART_OF_SMALL else 0


def fitted_grain(
    pixels: SampleArray, data: bytes, strength: float, max_bytes: int | None, threads: int
) -> CodedGrain | None:
    """The grain of an image [H, W, C] and its file, which has none yet.

    Args:
        strength: in parts of the standard deviation that was lost.
        max_bytes: that it may take, its entry in the table of contents included; None: any number.

    Returns:
        None where nothing was lost, or nothing fits.
    """
    lost = np.concatenate(list(_lost_variance(pixels, data, threads)), axis=1)
    for cell_log2 in range(FIRST_CELL_LOG2, GRAIN_CELL_LOG2[1] + 1):
        deviation = np.sqrt(_medians(lost, (1 << cell_log2) // BLOCK))
        levels = levels_of((strength * deviation).astype(np.float32))
        if not levels.any():
            return None
        grain = to_grain(levels, cell_log2)
        if max_bytes is None or Extras(grain=grain).size <= max_bytes:
            return grain
    return None


def _lost_variance(pixels: SampleArray, data: bytes, threads: int) -> Iterator[FloatArray]:
    """What the file has less of than the image, in units of [0, 1] squared, never below 0: [bands, rows, columns] of
    blocks, from the image's top to its bottom."""
    height, width, _ = pixels.shape
    rows = max(1, PIECE_PIXELS // width // BLOCK) * BLOCK
    reader = Reader(data, threads=threads)
    for top in range(0, height, rows):
        own = pixels[top : top + rows]
        decoded = reader.read(region=(0, top, width, len(own)), dtype=pixels.dtype)[..., : pixels.shape[2]]
        luma = _luma(decoded)
        room = np.maximum(_block_means(room_for_grain(luma)), MIN_ROOM)
        lost = np.stack([_block_means(a**2 - b**2) for a, b in zip(_bands(_luma(own)), _bands(luma), strict=True)])
        yield np.maximum(lost, 0) / room**2


def _luma(pixels: SampleArray) -> FloatArray:
    """[H, W] in [0, 1], as ``render.grain`` has it."""
    plane = pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    return plane[..., 0] if plane.shape[2] == 1 else (plane[..., 0] + 2 * plane[..., 1] + plane[..., 2]) / 4


def _bands(plane: FloatArray) -> Iterator[FloatArray]:
    """A plane in the bands of the noise."""
    for band in range(GRAIN_BANDS):
        margin = 1 << band
        rows, columns = plane.shape
        padded = np.pad(plane, margin, mode="edge")
        smooth = smoothed(padded, margin)[margin : margin + rows, margin : margin + columns] / np.float32(16)
        yield plane - smooth
        plane = smooth


def _block_means(plane: FloatArray) -> FloatArray:
    """Means over blocks [rows, columns]; those at the right and lower edge are smaller."""
    for axis in (0, 1):
        starts = np.arange(0, plane.shape[axis], BLOCK)
        sizes: FloatArray = np.diff(np.append(starts, plane.shape[axis])).astype(np.float32)
        sums: FloatArray = np.add.reduceat(plane, starts, axis=axis)
        plane = sums / (sizes[:, None] if axis == 0 else sizes)
    return plane


def _medians(lost: FloatArray, side: int) -> FloatArray:
    """Medians over cells of ``side`` blocks a side, [bands, rows, columns]."""
    bands, rows, columns = lost.shape
    padding = ((0, 0), (0, -rows % side), (0, -columns % side))
    padded = np.pad(lost, padding, constant_values=np.nan)
    cells = padded.reshape(bands, -(-rows // side), side, -(-columns // side), side)
    medians: FloatArray = np.nanmedian(cells, axis=(2, 4))
    return medians
