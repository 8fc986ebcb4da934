"""Rectangles of pixels, and how an image is cut into blocks."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartsplat.arrays import FloatArray

ALIGNMENT = 64
"""Of blocks, pixels: of pyramid levels, cells of errors, and a group's extent."""


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels of an image."""

    x: int
    y: int
    width: int
    height: int

    @property
    def area(self) -> int:
        """Pixels."""
        return self.width * self.height

    @property
    def slices(self) -> tuple[slice, slice]:
        """Of an array [H, W, ...]."""
        return slice(self.y, self.y + self.height), slice(self.x, self.x + self.width)

    def grown(self, margin: int, width: int, height: int) -> Box:
        """With a margin, as far as the image of ``width`` x ``height`` pixels has one."""
        left, top = max(self.x - margin, 0), max(self.y - margin, 0)
        right, bottom = min(self.x + self.width + margin, width), min(self.y + self.height + margin, height)
        return Box(left, top, right - left, bottom - top)

    def within(self, outer: Box) -> Box:
        """The same rectangle, its corner counted from that of another."""
        return Box(self.x - outer.x, self.y - outer.y, self.width, self.height)

    def over(self, side: int) -> Box:
        """In cells of ``side`` pixels: all that it touches."""
        left, top = self.x // side, self.y // side
        return Box(left, top, -(-(self.x + self.width) // side) - left, -(-(self.y + self.height) // side) - top)

    def holds(self, mean: FloatArray) -> npt.NDArray[np.bool_]:
        """Which of the points [N, 2] are inside."""
        x, y = mean[:, 0], mean[:, 1]
        inside = (x >= self.x) & (x < self.x + self.width) & (y >= self.y) & (y < self.y + self.height)
        return np.asarray(inside)

    def is_reached(self, mean: FloatArray, half_extent: FloatArray) -> npt.NDArray[np.bool_]:
        """Which of the windows overlap it: ``half_extent`` [N, 2] around each ``mean`` [N, 2]."""
        (left, top), (right, bottom) = (mean - half_extent).T, (mean + half_extent).T
        reached = (right > self.x) & (left < self.x + self.width) & (bottom > self.y) & (top < self.y + self.height)
        return np.asarray(reached)


def blocks_of(width: int, height: int, side: int) -> list[Box]:
    """The blocks of an image, row by row: about ``side`` pixels a side, all of nearly the same size."""
    return [
        Box(left, top, right - left, bottom - top)
        for top, bottom in itertools.pairwise(_cuts(height, side))
        for left, right in itertools.pairwise(_cuts(width, side))
    ]


def _cuts(length: int, side: int) -> list[int]:
    count = max(1, round(length / side))
    inner = {round(index * length / count / ALIGNMENT) * ALIGNMENT for index in range(1, count)}
    return sorted({0, length, *(cut for cut in inner if 0 < cut < length)})
