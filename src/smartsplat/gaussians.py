"""The one data structure: a set of 2D Gaussians in the coordinates of the full image (E1, E3, E5 to E8, E14)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartsplat.arrays import FloatArray

NOMINAL_BYTES = 7
"""Bytes for each Gaussian that E5 assumes. Real files differ: only ``len(file)`` is a size."""

MIN_SCALE = 0.25
"""Pixels. A Gaussian with a smaller scale falls between the pixel centres that it is sampled at."""

CUTOFF = 3.0
"""E8: standard deviations at which a Gaussian's window ends. A constant of the file format."""

EDGE = math.exp(-(CUTOFF**2) / 2)
"""What is subtracted from exp(-q / 2), so that the window ends continuously."""


@dataclass(frozen=True, eq=False)
class Gaussians:
    """N Gaussians; arrays are float32 and C-contiguous.

    x runs right, y runs down, pixel (row j, column i) has its centre at (i + 0.5, j + 0.5).
    """

    mean: FloatArray  # [N, 2] x, y in pixels
    scale: FloatArray  # [N, 2] standard deviations along the Gaussian's own axes, pixels, > 0
    rotation: FloatArray  # [N] radians; the first axis points to (cos, sin)
    color: FloatArray  # [N, C] C = 1 or 3; nominal range [0, 1], may be negative or larger

    def __post_init__(self) -> None:
        for name, shape in _shapes(len(self), self.channels).items():
            array = getattr(self, name)
            if array.dtype != np.float32 or array.shape != shape or not array.flags.c_contiguous:
                raise ValueError(
                    f"Gaussians.{name} must be C-contiguous float32 {shape}, not {array.dtype} {array.shape}"
                )
        if self.channels not in (1, 3):
            raise ValueError(f"Gaussians.color must have 1 or 3 channels, not {self.channels}")

    def __len__(self) -> int:
        return int(self.mean.shape[0])

    @property
    def channels(self) -> int:
        return int(self.color.shape[1])

    def arrays(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        """Mean, scale, rotation and color: the arguments of the constructor."""
        return self.mean, self.scale, self.rotation, self.color

    @staticmethod
    def empty(channels: int) -> Gaussians:
        """No Gaussians at all: renders black."""
        return Gaussians.of_size(0, channels)

    @staticmethod
    def of_size(count: int, channels: int) -> Gaussians:
        """``count`` Gaussians whose values are still to be written."""
        return Gaussians(*(np.empty(shape, np.float32) for shape in _shapes(count, channels).values()))

    @staticmethod
    def concatenated(parts: list[Gaussians], channels: int) -> Gaussians:
        """The Gaussians of all ``parts``, each of so many ``channels``, in their order."""
        if not parts:
            return Gaussians.empty(channels)
        by_attribute = zip(*(part.arrays() for part in parts), strict=True)
        return Gaussians(*(np.concatenate(arrays) for arrays in by_attribute))

    def __getitem__(self, index: slice | npt.NDArray[np.integer] | npt.NDArray[np.bool_]) -> Gaussians:
        """The Gaussians that a slice, an index array or a mask selects, in its order."""
        return Gaussians(*(np.ascontiguousarray(array[index]) for array in self.arrays()))

    def joined(self, other: Gaussians) -> Gaussians:
        """These Gaussians followed by ``other``."""
        return Gaussians.concatenated([self, other], self.channels)

    def energy(self) -> FloatArray:
        """|c|^2 times the integral of G^2 (up to pi): what each Gaussian adds to the image's square, [N]."""
        square: FloatArray = (self.color**2).sum(axis=1)
        return square * self.scale[:, 0] * self.scale[:, 1]

    def half_extent(self) -> FloatArray:
        """E8: half the width and height of the box around each Gaussian's window, pixels, [N, 2]."""
        cosine, sine = np.cos(self.rotation), np.sin(self.rotation)
        u, v = self.scale[:, 0], self.scale[:, 1]
        deviation: FloatArray = np.stack([np.hypot(u * cosine, v * sine), np.hypot(u * sine, v * cosine)], axis=1)
        return np.float32(CUTOFF) * deviation


def _shapes(count: int, channels: int) -> dict[str, tuple[int, ...]]:
    return {"mean": (count, 2), "scale": (count, 2), "rotation": (count,), "color": (count, channels)}


def nominal_count(width: int, height: int, ratio: float) -> int:
    """E5: N = floor(3 H W / (7 ratio)), at least one; three bytes a pixel whatever the number of channels."""
    return max(1, int(3 * width * height / (NOMINAL_BYTES * ratio)))


def base_scale(width: int, height: int, count: int) -> float:
    """E14: the scale, in pixels, at which ``count`` discs of three standard deviations tile the image."""
    return float(np.sqrt(width * height / (np.pi * max(count, 1))) / 3)
