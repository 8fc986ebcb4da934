"""Images in strips of rows, so that one too large for memory passes through."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from smartsplat.arrays import SampleArray

ROW_MULTIPLE = 64
"""Every strip but the last has a multiple of this many rows."""


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
