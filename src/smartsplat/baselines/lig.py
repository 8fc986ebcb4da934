"""LIG, the level of Gaussian (Zhu et al., AAAI 2025): two levels, each a sum of Gaussians.

An eighth of the Gaussians is fitted to the picture at half of its size, the others to what is missing at full size,
the residual brought into [0, 1] by its smallest and largest value, two numbers of the file. Trained are the three
numbers of each covariance as they are, from U[0, 1), means in pixels and colours from 0; mean square error, Adam at
0.018 for everything, half of the steps for each level.

Where it differs: see model.py; the residual, and the coarse level that it is taken from, are rounded to 8 bits, as
every target here is (about 53 dB); the weight of a Gaussian is not held at 0.999.
Guards: a covariance that is none, which theirs does not draw, is drawn with its scales within bounds (raster/blend.py).
With 0.018 pixels a step no mean gets far: it is a method for hundreds of thousands of Gaussians a megapixel.
"""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from PIL import Image

from smartsplat.baselines.model import Listener, Model, Pixels, fit, uniform
from smartsplat.baselines.optimizers import Adam, Arrays, Optimizer
from smartsplat.raster.blend import Backend, Splats

COARSE_SHARE = 1 / 8

STRIP = 256
"""Rows that the levels are added in."""


class Level(Model):
    """One level: its parameters are the splats."""

    own_steps: ClassVar[int] = 25_000

    columns: ClassVar[dict[str, int]] = {"mean": 2, "covariance": 3, "color": 0}

    @classmethod
    def seeded(cls, pixels: Pixels, count: int, generator: np.random.Generator) -> Self:
        height, width, channels = pixels.shape
        mean = uniform(generator, count, 2) * np.array([width, height], np.float32)
        covariance, color = uniform(generator, count, 3), np.zeros((count, channels), np.float32)
        return cls(width, height, {"mean": mean, "covariance": covariance, "color": color})

    def splats(self) -> Splats:
        p = self.parameters
        return Splats(p["mean"], p["covariance"], p["color"], np.ones(len(self), p["mean"].dtype))

    def chain(self, d: Splats) -> Arrays:
        return {"mean": d.mean, "covariance": d.covariance, "color": d.color}

    def optimizer(self) -> Optimizer:
        return Adam(dict.fromkeys(self.columns, 0.018))


class Lig:
    """Both levels and the range of the residual, in [-1, 1] units."""

    def __init__(self, coarse: Level, fine: Level, least: float, most: float) -> None:
        self.coarse, self.fine, self.least, self.most = coarse, fine, least, most

    @classmethod
    def fitted(
        cls,
        pixels: Pixels,
        count: int,
        steps: int,
        generator: np.random.Generator,
        backend: Backend,
        listener: Listener | None = None,
    ) -> Self:
        """Both levels, one after the other."""
        few = max(1, int(count * COARSE_SHARE))
        coarse = Level.seeded(halved(pixels), few, generator)
        fit(coarse, halved(pixels), steps // 2, backend, listener)
        residual = pixels.astype(np.int16) - enlarged(coarse.render(backend), pixels)
        least = int(residual.min())
        span = max(int(residual.max()) - least, 1)
        level = np.rint(np.arange(span + 1) * (255 / span)).astype(np.uint8)
        target = np.concatenate([level[rows - least] for rows in np.array_split(residual, -(-len(residual) // STRIP))])
        del residual
        fine = Level.seeded(pixels, max(1, count - few), generator)
        offset = steps // 2
        share = (span / 255) ** 2  # what an error of the stretched residual is in the picture
        heard = listener and (lambda step, number, error: listener(offset + step, few + number, share * error))
        fit(fine, target, steps - offset, backend, heard)
        return cls(coarse, fine, least / 255, (least + span) / 255)

    def __len__(self) -> int:
        return len(self.coarse) + len(self.fine)

    def render(self, backend: Backend) -> Pixels:
        """uint8 [H, W, C]."""
        fine = backend.render(self.fine.splats(), self.fine.blend, self.fine.width, self.fine.height)
        image = enlarged(self.coarse.render(backend), fine).copy()
        span, least = np.float32(255 * (self.most - self.least)), np.float32(255 * self.least)
        for top in range(0, len(image), STRIP):  # a picture's floats are large enough once
            rows = slice(top, top + STRIP)
            values = np.clip(fine[rows], 0, 1) * span + (image[rows] + least)
            image[rows] = np.clip(values + np.float32(0.5), 0, 255)
        return image


def halved(pixels: Pixels) -> Pixels:
    """Averages of 2 x 2 pixels, the picture's edge repeated."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    small = np.asarray(image.reduce(2))
    return np.ascontiguousarray(small.reshape(*small.shape[:2], pixels.shape[2]))


def enlarged(small: Pixels, like: np.ndarray) -> Pixels:
    """Bilinear, to the size of ``like``."""
    height, width, channels = like.shape
    image = Image.fromarray(small[..., 0] if channels == 1 else small)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).reshape(height, width, channels)
