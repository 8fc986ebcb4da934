"""Grain <-> its chunk (docs/format.md, "Grain"): sixteen levels of strength, coded without loss."""

from __future__ import annotations

import numpy as np

from smartsplat import _native
from smartsplat.arrays import ByteArray, FloatArray
from smartsplat.bitstream.container import CodedGrain
from smartsplat.errors import FormatError

MAX_LEVEL = 15
"""Steps of 3 dB: level 1 has a deviation of half a code value of 8 bits, this one of 64; 0 none."""


def strengths_of(levels: ByteArray) -> FloatArray:
    """Standard deviations in [0, 1] units, float32, of levels."""
    steps = levels.astype(np.float64) - 1
    return np.where(levels > 0, 2.0 ** (steps / 2) / 510, 0).astype(np.float32)


def levels_of(strengths: FloatArray) -> ByteArray:
    """The levels that are nearest to standard deviations in [0, 1] units; less than level 1 by half a step is 0."""
    with np.errstate(divide="ignore"):
        steps = np.round(2 * np.log2(510 * strengths.astype(np.float64)))
    levels: ByteArray = np.clip(steps + 1, 0, MAX_LEVEL).astype(np.uint8)
    return levels


def to_grain(levels: ByteArray, cell_log2: int) -> CodedGrain:
    """Code ``levels`` [bands, rows, columns] of 0 to 15, of cells of 2^cell_log2 pixels a side."""
    return CodedGrain(cell_log2, len(levels), _native.encode_grain(np.ascontiguousarray(levels)))


def grain_levels(grain: CodedGrain, width: int, height: int) -> ByteArray:
    """The levels of an image of so many pixels, [bands, rows, columns].

    Raises:
        FormatError: they are damaged.
    """
    rows, columns = (((side - 1) >> grain.cell_log2) + 1 for side in (height, width))
    levels = np.empty((grain.bands, rows, columns), np.uint8)
    try:
        _native.decode_grain(grain.data, levels)
    except ValueError as error:
        raise FormatError(f"damaged grain: {error}") from None
    return levels
