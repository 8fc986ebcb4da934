"""Image-GS (Zhang et al., SIGGRAPH 2025), as its authors released it.

Half of the Gaussians are there from the start: 30 % of them anywhere, the others sampled by the squared gradient, with
the colour of their pixel and a scale of 5 pixels, whose inverse is the parameter. Top-K blending: a pixel mixes its ten
largest weights, divided by their sum. Loss: mean absolute error plus 0.1 (1 - SSIM). After 500, 1000, 1500 and 2000
steps an eighth of the Gaussians is added, sampled by the squared error against the blurred image, with the residual as
colour; the optimiser starts anew. Adam at 5e-4 of a side for means, 2e-3 for inverse scales and angles, 5e-3 for
colours; a tenth of that once 1000 steps gain less than 0.1 dB.

Where it differs: see model.py; weights end at three deviations, where theirs go on to the end of a tile. With fewer
than 5000 steps the densify steps come earlier in proportion. With fewer than 1000 the learning rates, but not those of
means, are scaled up in proportion, at most tenfold (model.py). There is no early stop: all rows of a table have equal
steps. The plateau is one of PSNR, where theirs is of SSIM as well. Parameters are quantised after the fit (files.py),
not in it.
Guards: scales stay between a quarter of a pixel and the image's longer side. Where learning rates are scaled up, an
inverse scale falls by at most a tenth in a step: it could leap to 0 and beyond, and its Gaussian across the image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Self

import numpy as np
from scipy.ndimage import gaussian_filter, sobel

from smartsplat.arrays import ByteArray, IndexArray
from smartsplat.encoder.error_sampling import race
from smartsplat.gaussians import MIN_SCALE
from smartsplat.render import StepResult
from smartsplat_baselines.arrays import ParameterArrays, RealArray
from smartsplat_baselines.blend import Blend, BlendRenderer, CovarianceGaussians, Loss
from smartsplat_baselines.model import Model
from smartsplat_baselines.optimizers import Adam, Optimizer
from smartsplat_baselines.shapes import covariance_of, covariance_vjp

INITIAL_SCALE = 5.0
"""Of every added Gaussian, pixels."""

MAX_INVERSE_DECREASE = 0.1
"""Fraction of its inverse scale that a Gaussian loses at most in a step whose learning rates are scaled up."""

DENSIFY_STEPS = 4
"""Each adds an eighth of the Gaussians."""

STRIP_PIXELS = 1 << 20
"""Pixels of a strip of weights, about."""


class ImageGS(Model):
    """Means in [0, 1], inverse scales, angles, colours."""

    blend: ClassVar[Blend] = Blend("top-k")
    loss: ClassVar[Loss] = Loss(l1=1.0, l2=0.0, ssim=0.1)
    reference_steps: ClassVar[int] = 1000  # with more, doubling them gives 0.1 dB at most
    max_lr_scale_up: ClassVar[float] = 10.0
    fixed_lr: ClassVar[tuple[str, ...]] = ("mean",)  # 8 pixels a step in an image of 16 000
    columns: ClassVar[dict[str, int]] = {"mean": 2, "inverse": 2, "rotation": 1, "color": 0}

    count: int  # at the end
    generator: np.random.Generator
    lr_reduced = False  # once a plateau was reached
    best_error, best_step = math.inf, 0
    min_inverse: RealArray | None = None  # [N, 2] after the current step

    @classmethod
    def initialized(cls, pixels: ByteArray, count: int, generator: np.random.Generator) -> Self:
        height, width, _ = pixels.shape
        initial_count = max(count // 2, 1)
        by_gradient = round(0.7 * initial_count)
        sampled = sample(_gradient_strips(pixels), by_gradient, height * width, generator)
        place = np.concatenate([sampled, generator.integers(height * width, size=initial_count - by_gradient)])
        model = cls(width, height, {})
        model.count, model.generator = count, generator
        model.parameters = model.added_gaussians(place, pixels.reshape(-1, pixels.shape[2])[place] / 255)
        return model

    def added_gaussians(self, place: IndexArray, color: RealArray) -> ParameterArrays:
        """Parameters of Gaussians at those pixels."""
        row, column = np.divmod(place, self.width)
        mean = np.stack([(column + 0.5) / self.width, (row + 0.5) / self.height], axis=1)
        inverse, rotation = np.full((len(place), 2), 1 / INITIAL_SCALE), np.zeros((len(place), 1))
        values = {"mean": mean, "inverse": inverse, "rotation": rotation, "color": color}
        return {name: value.astype(np.float32) for name, value in values.items()}

    def scale(self) -> RealArray:
        """[N, 2] pixels."""
        longer_side = max(self.width, self.height, INITIAL_SCALE)
        return 1 / np.clip(np.abs(self.parameters["inverse"]), 1 / longer_side, 1 / MIN_SCALE)

    def gaussians(self) -> CovarianceGaussians:
        p = self.parameters
        mean = p["mean"] * np.array([self.width, self.height], np.float32)
        covariance = covariance_of(self.scale(), p["rotation"][:, 0])
        return CovarianceGaussians(mean, covariance, p["color"], np.ones(len(mean), mean.dtype))

    def vjp(self, d: CovarianceGaussians) -> ParameterArrays:
        scale = self.scale()
        d_scale, d_rotation = covariance_vjp(scale, self.parameters["rotation"][:, 0], d.covariance)
        return {
            "mean": d.mean * np.array([self.width, self.height], np.float32),
            "inverse": -d_scale * scale * scale * np.sign(self.parameters["inverse"]),
            "rotation": d_rotation[:, None],
            "color": d.color,
        }

    def optimizer(self) -> Optimizer:
        return Adam({"mean": 5e-4, "inverse": 2e-3, "rotation": 2e-3, "color": 5e-3})

    def lr_factor(self, fraction: float) -> float:
        return 0.1 if self.lr_reduced else 1.0

    def before_update(self, step: int, steps: int, result: StepResult) -> None:
        if steps < self.reference_steps:
            self.min_inverse = (1 - MAX_INVERSE_DECREASE) * self.parameters["inverse"]

    def after_step(self, step: int, steps: int, pixels: ByteArray, result: StepResult, renderer: BlendRenderer) -> bool:
        if self.min_inverse is not None:
            np.maximum(self.parameters["inverse"], self.min_inverse, out=self.parameters["inverse"])
        interval = max(1, min(500, steps // 10))
        if result.mean_square < self.best_error * 10**-0.01:  # 0.1 dB
            self.best_error, self.best_step = result.mean_square, step
        densify_step, remainder = divmod(step + 1, interval)
        if remainder == 0 and densify_step <= DENSIFY_STEPS:
            self.best_step = step
            missing = self.count - len(self)
            added = missing if densify_step == DENSIFY_STEPS else min(self.count // 8, missing)
            self.densify(added, pixels, renderer)
            return True
        self.lr_reduced = self.lr_reduced or step - self.best_step >= 2 * interval
        return False

    def densify(self, count: int, pixels: ByteArray, renderer: BlendRenderer) -> None:
        """Add ``count`` Gaussians where the error is large."""
        rendered = self.render(renderer)
        place = sample(_error_strips(pixels, rendered), count, self.width * self.height, self.generator)
        row, column = np.divmod(place, self.width)
        residual = (pixels[row, column].astype(np.float32) - rendered[row, column]) / 255
        for name, values in self.added_gaussians(place, residual).items():
            self.parameters[name] = np.concatenate([self.parameters[name], values])


def sample(strips: Iterator[RealArray], count: int, pixels: int, generator: np.random.Generator) -> IndexArray:
    """``count`` pixels sampled by weight, without replacement, from weights that come in strips of rows.

    Pixels of weight 0 fill up what the others cannot, in any order; those beyond the number of pixels are uniform.
    """
    times, places, begin = np.zeros(0), np.zeros(0, np.intp), 0
    for strip in strips:
        weight = np.ascontiguousarray(strip, np.float32).ravel()
        time, place = race(weight, min(count, weight.size), generator)
        times, places = np.concatenate([times, time]), np.concatenate([places, place + begin])
        first = np.argsort(times, kind="stable")[:count]
        times, places, begin = times[first], places[first], begin + weight.size
    missing = count - len(places)
    return np.concatenate([places, generator.integers(pixels, size=missing)]).astype(np.intp)


def _strips(pixels: ByteArray, halo: int) -> Iterator[tuple[slice, slice]]:
    """Rows with a halo around them, and which of those are the strip itself."""
    height, width, _ = pixels.shape
    rows = max(1, STRIP_PIXELS // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        above = max(top - halo, 0)
        yield slice(above, min(bottom + halo, height)), slice(top - above, bottom - above)


def _gradient_strips(pixels: ByteArray) -> Iterator[RealArray]:
    """The squared Sobel gradient of each pixel, summed over channels."""
    for rows, inner in _strips(pixels, 1):
        part = pixels[rows].astype(np.float32)
        yield (sobel(part, axis=0) ** 2 + sobel(part, axis=1) ** 2).sum(axis=2)[inner]


def _error_strips(pixels: ByteArray, rendered: ByteArray) -> Iterator[RealArray]:
    """The square of the mean absolute error against the blurred image."""
    side = round(math.sqrt(pixels.shape[0] * pixels.shape[1]) / 400) // 2 * 2 + 1  # of the window
    sigma = 0.3 * ((side - 1) / 2 - 1) + 0.8 if side > 1 else 0.0
    for rows, inner in _strips(pixels, side // 2):
        blurred = gaussian_filter(pixels[rows].astype(np.float32), (sigma, sigma, 0), radius=(side // 2, side // 2, 0))
        yield np.abs(blurred - rendered[rows]).mean(axis=2)[inner] ** 2
