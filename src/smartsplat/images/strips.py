"""Images in strips of rows, so that one too large for memory passes through."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from smartsplat.arrays import ByteArray, SampleArray

ROW_MULTIPLE = 64
"""Every strip but the last has a multiple of this many rows."""

_ROUNDED_SAMPLES = 1 << 20
"""Samples that are rounded at once: they need four bytes each on the way."""


def row_slices(height: int, row_size: int, most: int) -> Iterator[slice]:
    """The rows of an image in groups of at most ``most`` samples or pixels, of which a row has ``row_size``."""
    rows = max(1, most // max(1, row_size))
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def rounded_to_8_bits(pixels: SampleArray) -> ByteArray:
    """uint16 samples [H, W, C] as uint8: the nearest, 65535 becomes 255. uint8 is returned as it is."""
    if pixels.dtype == np.uint8:
        return cast(ByteArray, pixels)
    result = np.empty(pixels.shape, np.uint8)
    for rows in row_slices(len(pixels), pixels[:1].size, _ROUNDED_SAMPLES):
        result[rows] = (pixels[rows].astype(np.uint32) + 128) // 257
    return result


@dataclass(frozen=True, eq=False)
class Strips:
    """An image as strips of its rows from top to bottom; they can be gone through once.

    Args:
        shape: H, W, C, with C = 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and alpha).
        parts: [h, W, C] of ``dtype``, C-contiguous, h a multiple of ROW_MULTIPLE in all but the last.
        dtype: np.uint8 or np.uint16.
    """

    shape: tuple[int, int, int]
    parts: Iterable[SampleArray]
    dtype: type[np.unsignedinteger[Any]] = np.uint8

    def tiles(self, side: int) -> Iterator[SampleArray]:
        """Tiles [side, side, C], row by row; those that reach over an edge go on there with the image's last pixels."""
        _, width, _ = self.shape
        for band in self._bands(side):
            missing = (0, side - len(band)), (0, -width % side), (0, 0)
            full = np.pad(band, missing, mode="edge") if any(after for _, after in missing) else band
            for left in range(0, width, side):
                yield full[:, left : left + side]

    def _bands(self, rows: int) -> Iterator[SampleArray]:
        """The image in strips of ``rows`` rows, the last of fewer."""
        band = np.empty((rows, *self.shape[1:]), self.dtype)
        filled = 0
        for part in self.parts:
            top = 0
            while top < len(part):
                taken = part[top : top + rows - filled]
                band[filled : filled + len(taken)] = taken
                filled, top = filled + len(taken), top + len(taken)
                if filled == rows:
                    yield band
                    band, filled = np.empty_like(band), 0
        if filled:
            yield band[:filled]

    def joined(self) -> SampleArray:
        """The whole image, [H, W, C] of ``dtype``."""
        parts = iter(self.parts)
        first = next(parts)
        if first.shape == self.shape:
            return first
        pixels = np.empty(self.shape, self.dtype)
        top = 0
        for part in itertools.chain((first,), parts):
            pixels[top : top + len(part)] = part
            top += len(part)
        return pixels
