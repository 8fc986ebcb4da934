"""Image-GS (Zhang et al., SIGGRAPH 2025), as its authors released it.

Half of the Gaussians start: 30 % anywhere, the others drawn by the squared gradient, with the colour of their pixel
and a scale of 5 pixels, whose inverse is what is trained. A pixel mixes its ten largest weights, divided by their sum.
Loss: mean absolute error plus 0.1 (1 - SSIM). After 500, 1000, 1500 and 2000 steps an eighth of the Gaussians is added,
drawn by the squared error against the blurred picture, with the residual as colour; the optimiser starts anew. Adam at
5e-4 of a side for means, 2e-3 for inverse scales and angles, 5e-3 for colours; a tenth of that once 1000 steps gain
less than 0.1 dB.

Where it differs: see model.py; weights end at three deviations, where theirs go on to the end of a tile. The step
numbers shrink in proportion if there are fewer than 5000, and below 1000 rates, but not of means, rise in proportion,
at most tenfold (model.py). There is no early stop: all rows of a table have equal steps; and the plateau is one of
PSNR, where theirs is of SSIM as well. Rounded is after the fit (files.py), not in it.
Guards: scales stay between a quarter of a pixel and the picture's longer side. Where rates are raised, an inverse scale
falls by at most a tenth in a step: it could leap to 0 and beyond, and its Gaussian across the picture.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter, sobel

from smartsplat import _native
from smartsplat.baselines.model import Model, Pixels
from smartsplat.baselines.optimizers import Adam, Arrays, Optimizer, Reals
from smartsplat.baselines.shapes import covariance_of, shape_gradient
from smartsplat.gaussians import SMALLEST_SCALE
from smartsplat.raster import StepResult
from smartsplat.raster.blend import Backend, Blend, Loss, Splats

FIRST_SCALE = 5.0
"""Pixels, of every new Gaussian."""

MOST_GROWTH = 0.1
"""Of its inverse scale a Gaussian loses at most this in a step whose rates are raised."""

ADDITIONS = 4
"""Events that add an eighth of the Gaussians each."""

STRIP = 1 << 20
"""Pixels whose weights are looked at together, about."""

Places = npt.NDArray[np.intp]


class ImageGS(Model):
    """Means in [0, 1], inverse scales, angles, colours."""

    blend: ClassVar[Blend] = Blend("top")
    loss: ClassVar[Loss] = Loss(l1=1.0, l2=0.0, ssim=0.1)
    own_steps: ClassVar[int] = 1000  # with more, twice the rates give .1 dB at most
    most_hurry: ClassVar[float] = 10.0
    unhurried: ClassVar[tuple[str, ...]] = ("mean",)  # 8 pixels a step in a picture of 16 000
    columns: ClassVar[dict[str, int]] = {"mean": 2, "inverse": 2, "rotation": 1, "color": 0}

    count: int  # at the end
    generator: np.random.Generator
    slow = False  # once a plateau was met
    best_error, best_step = math.inf, 0
    least_inverse: Reals | None = None  # after the step that is being made

    @classmethod
    def seeded(cls, pixels: Pixels, count: int, generator: np.random.Generator) -> Self:
        height, width, _ = pixels.shape
        start = max(count // 2, 1)
        by_gradient = round(0.7 * start)
        drawn = draw(_gradient_strips(pixels), by_gradient, height * width, generator)
        place = np.concatenate([drawn, generator.integers(height * width, size=start - by_gradient)])
        model = cls(width, height, {})
        model.count, model.generator = count, generator
        model.parameters = model.newcomers(place, pixels.reshape(-1, pixels.shape[2])[place] / 255)
        return model

    def newcomers(self, place: Places, color: Reals) -> Arrays:
        """Parameters of Gaussians at those pixels."""
        row, column = np.divmod(place, self.width)
        mean = np.stack([(column + 0.5) / self.width, (row + 0.5) / self.height], axis=1)
        inverse, rotation = np.full((len(place), 2), 1 / FIRST_SCALE), np.zeros((len(place), 1))
        values = {"mean": mean, "inverse": inverse, "rotation": rotation, "color": color}
        return {name: value.astype(np.float32) for name, value in values.items()}

    def scale(self) -> Reals:
        """[N, 2] pixels."""
        longest = max(self.width, self.height, FIRST_SCALE)
        return 1 / np.clip(np.abs(self.parameters["inverse"]), 1 / longest, 1 / SMALLEST_SCALE)

    def splats(self) -> Splats:
        p = self.parameters
        mean = p["mean"] * np.array([self.width, self.height], np.float32)
        covariance = covariance_of(self.scale(), p["rotation"][:, 0])
        return Splats(mean, covariance, p["color"], np.ones(len(mean), mean.dtype))

    def chain(self, d: Splats) -> Arrays:
        scale = self.scale()
        d_scale, d_rotation = shape_gradient(scale, self.parameters["rotation"][:, 0], d.covariance)
        return {
            "mean": d.mean * np.array([self.width, self.height], np.float32),
            "inverse": -d_scale * scale * scale * np.sign(self.parameters["inverse"]),
            "rotation": d_rotation[:, None],
            "color": d.color,
        }

    def optimizer(self) -> Optimizer:
        return Adam({"mean": 5e-4, "inverse": 2e-3, "rotation": 2e-3, "color": 5e-3})

    def factor(self, share: float) -> float:
        return 0.1 if self.slow else 1.0

    def before_move(self, step: int, steps: int, result: StepResult) -> None:
        if steps < self.own_steps:
            self.least_inverse = (1 - MOST_GROWTH) * self.parameters["inverse"]

    def after_step(self, step: int, steps: int, pixels: Pixels, result: StepResult, backend: Backend) -> bool:
        if self.least_inverse is not None:
            np.maximum(self.parameters["inverse"], self.least_inverse, out=self.parameters["inverse"])
        interval = max(1, min(500, steps // 10))
        if result.mean_square < self.best_error * 10**-0.01:  # 0.1 dB
            self.best_error, self.best_step = result.mean_square, step
        event, rest = divmod(step + 1, interval)
        if rest == 0 and event <= ADDITIONS:
            self.best_step = step
            missing = self.count - len(self) if event == ADDITIONS else min(self.count // 8, self.count - len(self))
            self.add(missing, pixels, backend)
            return True
        self.slow = self.slow or step - self.best_step >= 2 * interval
        return False

    def add(self, count: int, pixels: Pixels, backend: Backend) -> None:
        """``count`` more where the error is large."""
        shown = self.render(backend)
        place = draw(_error_strips(pixels, shown), count, self.width * self.height, self.generator)
        channels = pixels.shape[2]
        residual = (pixels.reshape(-1, channels)[place].astype(np.float32) - shown.reshape(-1, channels)[place]) / 255
        for name, values in self.newcomers(place, residual).items():
            self.parameters[name] = np.concatenate([self.parameters[name], values])


def draw(strips: Iterator[Reals], count: int, pixels: int, generator: np.random.Generator) -> Places:
    """``count`` pixels drawn by weight, without replacement, from weights that come in strips of rows.

    Pixels of weight 0 fill up what the others cannot, in any order; more than there are pixels are drawn again.
    """
    times, places, begin = np.zeros(0), np.zeros(0, np.intp), 0
    for strip in strips:
        weight = np.ascontiguousarray(strip, np.float32).ravel()
        time, place = _native.race(weight, min(count, weight.size), int(generator.integers(1 << 63)), math.inf)
        times, places = np.concatenate([times, time]), np.concatenate([places, place + begin])
        first = np.argsort(times, kind="stable")[:count]
        times, places, begin = times[first], places[first], begin + weight.size
    missing = count - len(places)
    return np.concatenate([places, generator.integers(pixels, size=missing)]).astype(np.intp)


def _strips(pixels: Pixels, halo: int) -> Iterator[tuple[slice, slice]]:
    """Rows with a halo around them, and which of those are the strip itself."""
    height, width, _ = pixels.shape
    rows = max(1, STRIP // width)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        above = max(top - halo, 0)
        yield slice(above, min(bottom + halo, height)), slice(top - above, bottom - above)


def _gradient_strips(pixels: Pixels) -> Iterator[Reals]:
    """The squared Sobel gradient of each pixel, summed over channels."""
    for seen, inner in _strips(pixels, 1):
        part = pixels[seen].astype(np.float32)
        yield (sobel(part, axis=0) ** 2 + sobel(part, axis=1) ** 2).sum(axis=2)[inner]


def _error_strips(pixels: Pixels, shown: Pixels) -> Iterator[Reals]:
    """The square of the mean absolute error against the blurred picture."""
    side = round(math.sqrt(pixels.shape[0] * pixels.shape[1]) / 400) // 2 * 2 + 1  # of the window
    sigma = 0.3 * ((side - 1) / 2 - 1) + 0.8 if side > 1 else 0.0
    for seen, inner in _strips(pixels, side // 2):
        blurred = gaussian_filter(pixels[seen].astype(np.float32), (sigma, sigma, 0), radius=(side // 2, side // 2, 0))
        yield np.abs(blurred - shown[seen]).mean(axis=2)[inner] ** 2
