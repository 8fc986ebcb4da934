"""Images in strips of rows, so that one too large for memory passes through."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from smartsplat.arrays import ByteArray

ROW_MULTIPLE = 64
"""Every strip but the last has a multiple of this many rows."""


@dataclass(frozen=True, eq=False)
class Strips:
    """An image, uint8 [H, W, C], as strips of its rows from top to bottom; they can be gone through once."""

    shape: tuple[int, int, int]  # H, W, C
    parts: Iterable[ByteArray]  # [h, W, C], C-contiguous, h a multiple of ROW_MULTIPLE in all but the last

    def joined(self) -> ByteArray:
        """The whole image."""
        parts = iter(self.parts)
        first = next(parts)
        if first.shape == self.shape:
            return first
        pixels = np.empty(self.shape, np.uint8)
        top = 0
        for part in itertools.chain((first,), parts):
            pixels[top : top + len(part)] = part
            top += len(part)
        return pixels
