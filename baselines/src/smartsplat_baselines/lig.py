"""LIG, the level of Gaussian (Zhu et al., AAAI 2025): two levels, each a sum of Gaussians.

An eighth of the Gaussians is fitted to the image at half of its size, the others to what is missing at full size,
the residual brought into [0, 1] by its smallest and largest value, two numbers of the file. Trained are the three
numbers of each covariance as they are, from U[0, 1), means in pixels and colours from 0; mean square error, Adam at
0.018 for everything, half of the steps for each level.

Where it differs: see model.py; the residual, and the coarse level that it is taken from, are rounded to 8 bits, as
every target here is (about 53 dB); the weight of a Gaussian is not held at 0.999.
Guards: a covariance that is not positive definite, which theirs does not render, is rendered with its scales within
bounds (blend.py). With 0.018 pixels a step no mean gets far: LIG is a method for hundreds of thousands of Gaussians a
megapixel.
"""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from PIL import Image

from smartsplat.arrays import ByteArray
from smartsplat_baselines.arrays import ParameterArrays
from smartsplat_baselines.blend import BlendRenderer, CovarianceGaussians
from smartsplat_baselines.model import Model, ProgressCallback, fit, uniform
from smartsplat_baselines.optimizers import Adam, Optimizer

COARSE_FRACTION = 1 / 8
"""Of the Gaussians, those of the coarse level."""

STRIP_ROWS = 256
"""Rows of a strip in which the levels are added."""


class Level(Model):
    """One level: its parameters are the Gaussians by covariance themselves."""

    reference_steps: ClassVar[int] = 25_000

    columns: ClassVar[dict[str, int]] = {"mean": 2, "covariance": 3, "color": 0}

    @classmethod
    def initialized(cls, pixels: ByteArray, count: int, generator: np.random.Generator) -> Self:
        height, width, channels = pixels.shape
        mean = uniform(generator, count, 2) * np.array([width, height], np.float32)
        covariance, color = uniform(generator, count, 3), np.zeros((count, channels), np.float32)
        return cls(width, height, {"mean": mean, "covariance": covariance, "color": color})

    def gaussians(self) -> CovarianceGaussians:
        p = self.parameters
        return CovarianceGaussians(p["mean"], p["covariance"], p["color"], np.ones(len(self), p["mean"].dtype))

    def vjp(self, d: CovarianceGaussians) -> ParameterArrays:
        return {"mean": d.mean, "covariance": d.covariance, "color": d.color}

    def optimizer(self) -> Optimizer:
        return Adam(dict.fromkeys(self.columns, 0.018))


class Lig:
    """Both levels and the minimum and maximum of the residual, in [-1, 1] units."""

    def __init__(self, coarse: Level, fine: Level, minimum: float, maximum: float) -> None:
        self.coarse, self.fine, self.minimum, self.maximum = coarse, fine, minimum, maximum

    @classmethod
    def fitted(
        cls,
        pixels: ByteArray,
        count: int,
        steps: int,
        generator: np.random.Generator,
        renderer: BlendRenderer,
        progress: ProgressCallback | None = None,
    ) -> Self:
        """Both levels, one after the other."""
        coarse_count, coarse_steps = max(1, int(count * COARSE_FRACTION)), steps // 2
        coarse = Level.initialized(halved(pixels), coarse_count, generator)
        fit(coarse, halved(pixels), coarse_steps, renderer, progress)
        residual = pixels.astype(np.int16) - enlarged(coarse.render(renderer), pixels)
        minimum = int(residual.min())
        span = max(int(residual.max()) - minimum, 1)
        code_value = np.rint(np.arange(span + 1) * (255 / span)).astype(np.uint8)
        strips = np.array_split(residual, -(-len(residual) // STRIP_ROWS))
        target = np.concatenate([code_value[rows - minimum] for rows in strips])
        del residual, strips
        fine = Level.initialized(pixels, max(1, count - coarse_count), generator)
        scale = (span / 255) ** 2  # of a square error of the stretched residual, in the image
        shifted = progress and (
            lambda step, number, error: progress(coarse_steps + step, coarse_count + number, scale * error)
        )
        fit(fine, target, steps - coarse_steps, renderer, shifted)
        return cls(coarse, fine, minimum / 255, (minimum + span) / 255)

    def __len__(self) -> int:
        return len(self.coarse) + len(self.fine)

    def render(self, renderer: BlendRenderer) -> ByteArray:
        """uint8 [H, W, C]."""
        fine = renderer.render(self.fine.gaussians(), self.fine.blend, self.fine.width, self.fine.height)
        image = enlarged(self.coarse.render(renderer), fine).copy()
        span, minimum = np.float32(255 * (self.maximum - self.minimum)), np.float32(255 * self.minimum)
        for top in range(0, len(image), STRIP_ROWS):  # the whole image as floats is large enough once
            rows = slice(top, top + STRIP_ROWS)
            values = np.clip(fine[rows], 0, 1) * span + (image[rows] + minimum)
            image[rows] = np.clip(values + np.float32(0.5), 0, 255)
        return image


def halved(pixels: ByteArray) -> ByteArray:
    """Averages of 2 x 2 pixels, the image's edge repeated."""
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    small = np.asarray(image.reduce(2))
    return np.ascontiguousarray(small.reshape(*small.shape[:2], pixels.shape[2]))


def enlarged(small: ByteArray, like: np.ndarray) -> ByteArray:
    """Bilinear, to the size of ``like``."""
    height, width, channels = like.shape
    image = Image.fromarray(small[..., 0] if channels == 1 else small)
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR)).reshape(height, width, channels)
