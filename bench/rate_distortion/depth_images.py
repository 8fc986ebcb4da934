"""The test images of 16 bits: photographs and drawings averaged, and smooth gradients that are computed.

There are hardly any free images of 16 bits. The mean of sixteen samples of 8 bits has 12; that of a photograph has less
noise than one step of 8 bits in its even parts.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
from PIL import Image

from bench.images import (
    ALTAI,
    ELEPHANTS,
    KLEIBER,
    MILKYWAY,
    PATAK,
    PICOS,
    PIXELS,
    SEEDING,
    PackagedImage,
    flattened,
    original_path,
)
from smartsplat.arrays import DoubleArray, SampleArray

SIDE = 4
"""Pixels: of the squares that are averaged."""


@dataclass(frozen=True)
class AveragedImage:
    """An original at full size, every square of its pixels averaged in integers."""

    original: PackagedImage

    @property
    def id(self) -> str:
        return self.original.id

    @property
    def recipe(self) -> str:
        return f"means of {SIDE}x{SIDE}"

    @property
    def originals(self) -> tuple[PackagedImage, ...]:
        return (self.original,)

    def pixels(self, corpus: Path) -> SampleArray:
        """uint16 [H, W, 3]: code values of 8 bits times 257, the mean rounded; what fills no square is left out."""
        with Image.open(original_path(self.original, corpus)) as image:
            return averaged(np.asarray(flattened(image)))


def averaged(pixels: SampleArray) -> SampleArray:
    """uint16 [H // SIDE, W // SIDE, C] of uint8 [H, W, C]."""
    rows, columns = (side // SIDE for side in pixels.shape[:2])
    squares = pixels[: rows * SIDE, : columns * SIDE].reshape(rows, SIDE, columns, SIDE, -1)
    sums = squares.sum(axis=(1, 3), dtype=np.uint32)
    means: SampleArray = ((sums * 257 + SIDE**2 // 2) // SIDE**2).astype(np.uint16)
    return means


@dataclass(frozen=True)
class DarkSky:
    """A sky that brightens from 6 to 12 % along its rows, with a soft glow; without noise."""

    id: str = "sky"
    recipe: str = "6 to 12 % along the rows, a glow of 2 %"
    originals: ClassVar[tuple[PackagedImage, ...]] = ()
    width: int = 1600
    height: int = 900

    def pixels(self, corpus: Path) -> SampleArray:
        """uint16 [H, W, 3]."""
        y, x = np.ogrid[: self.height, : self.width]
        glow = np.exp(-((x - 0.7 * self.width) ** 2 + (y - 0.65 * self.height) ** 2) / (2 * (self.width / 8) ** 2))
        return tinted(0.06 + 0.06 * x / (self.width - 1) + 0.02 * glow)


@dataclass(frozen=True)
class RadialGradient:
    """A disc that darkens from 30 to 8 % from its middle to the corners; without noise."""

    id: str = "radial"
    recipe: str = "30 to 8 % from the middle to the corners"
    originals: ClassVar[tuple[PackagedImage, ...]] = ()
    width: int = 1600
    height: int = 900

    def pixels(self, corpus: Path) -> SampleArray:
        """uint16 [H, W, 3]."""
        y, x = np.ogrid[: self.height, : self.width]
        center_x, center_y = (self.width - 1) / 2, (self.height - 1) / 2
        distance = np.hypot(x - center_x, y - center_y) / np.hypot(center_x, center_y)
        return tinted(0.30 - 0.22 * distance)


def tinted(level: DoubleArray) -> SampleArray:
    """uint16 [H, W, 3] of a level [H, W], 0 to 1: a bluish grey."""
    pixels: SampleArray = np.rint(65535 * level[..., None] * np.array([0.8, 0.9, 1.0])).astype(np.uint16)
    return pixels


PHOTOGRAPHS = tuple(
    AveragedImage(original) for original in (KLEIBER, SEEDING, PICOS, ELEPHANTS, PATAK, PIXELS, ALTAI, MILKYWAY)
)
GRADIENTS = (DarkSky(), RadialGradient())
