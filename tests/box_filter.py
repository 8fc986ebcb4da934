"""A mask at any size: the mean of its pixels over a box as wide as an output pixel, or as a mask's if that is wider.

The definition in numpy, which ``native/decoder/box_filter.cpp`` and the test vectors are held against.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from smartsplat.arrays import ByteArray, DoubleArray, FloatArray


@dataclass(frozen=True)
class BoxFilter:
    """The boxes of consecutive output pixels along one axis.

    Args:
        low, high: edges of each box, pixels of the image; boxes may reach beyond it, where its edge repeats.
        length: of the image, pixels.
    """

    low: DoubleArray  # [n]
    high: DoubleArray  # [n]
    length: int

    @staticmethod
    def of(begin: float, extent: float, count: int, length: int) -> BoxFilter:
        """``count`` output pixels over ``extent`` pixels of the image from ``begin`` on."""
        step = extent / count
        if step >= 1:  # boxes side by side, with the same number for an edge that two have
            edges: DoubleArray = begin + np.arange(count + 1, dtype=np.float64) * step
            return BoxFilter(edges[:-1], edges[1:], length)
        center: DoubleArray = begin + (np.arange(count, dtype=np.float64) + 0.5) * step
        return BoxFilter(center - 0.5, center + 0.5, length)

    def __getitem__(self, rows: slice) -> BoxFilter:
        return BoxFilter(self.low[rows], self.high[rows], self.length)

    @property
    def support(self) -> tuple[int, int]:
        """First and last (exclusive) pixel of the image that the boxes see."""
        begin = min(max(math.floor(self.low[0]), 0), self.length - 1)
        return begin, max(min(math.ceil(self.high[-1]), self.length), begin + 1)

    @property
    def is_identity(self) -> bool:
        """Whether every box is one pixel of the image."""
        begin, _ = self.support
        return bool(np.array_equal(self.low, begin + np.arange(len(self.low))) and np.all(self.high - self.low == 1))

    @property
    def is_partition(self) -> bool:
        """Whether each box begins where the one before ends: at minification, where none reaches beyond the image."""
        return bool(np.array_equal(self.low[1:], self.high[:-1]))

    def means(self, values: npt.NDArray[Any]) -> FloatArray:
        """Means over each box, [n, m], of the pixels of ``support``, [s, m], integers or floats."""
        if self.is_identity:
            return values.astype(np.float32, copy=False)
        begin, _ = self.support
        if self.is_partition:
            return self._means_side_by_side(values, begin)
        sums = np.zeros((len(values) + 1, values.shape[1]))
        np.cumsum(values, axis=0, out=sums[1:])
        total = self._integral(values, sums, self.high - begin) - self._integral(values, sums, self.low - begin)
        return (total / (self.high - self.low)[:, None]).astype(np.float32)

    def _means_side_by_side(self, values: npt.NDArray[Any], begin: int) -> FloatArray:
        """Sums of whole pixels, which is one pass over them, and then the parts at both edges of each box."""
        edges = np.append(self.low, self.high[-1]) - begin
        first = np.clip(np.ceil(edges), 0, len(values)).astype(np.intp)  # pixel that begins at or behind each edge
        kind = np.uint32 if values.dtype == np.uint8 else np.float64
        starts = first[:-1][first[:-1] < len(values)]
        total = np.zeros((len(self.low), values.shape[1]))
        total[: len(starts)] = np.add.reduceat(values, starts, axis=0, dtype=kind)
        total[first[:-1] == first[1:]] = 0  # reduceat gives a pixel where there is none
        before = values[np.maximum(first - 1, 0)] * (first - edges)[:, None]  # of the pixel that each edge cuts
        total += before[:-1] - before[1:]
        return (total / (self.high - self.low)[:, None]).astype(np.float32)

    @staticmethod
    def _integral(values: npt.NDArray[Any], sums: DoubleArray, to: DoubleArray) -> DoubleArray:
        """From the first pixel's edge up to each place, [n, m]; beyond either end the last pixel goes on."""
        pixel = np.clip(np.floor(to), 0, len(values) - 1).astype(np.intp)
        integral: DoubleArray = sums[pixel] + (to - pixel)[:, None] * values[pixel]
        return integral


def box_means(levels: ByteArray, rows: BoxFilter, columns: BoxFilter, max_level: int) -> FloatArray:
    """Opacity in [0, 1], float32 [rows, columns], of the levels of both filters' ``support``."""
    means = columns.means(np.ascontiguousarray(rows.means(levels).T)).T
    return np.ascontiguousarray(means * np.float32(1 / max_level))
