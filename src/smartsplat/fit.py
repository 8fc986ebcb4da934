"""The fit: seeded Gaussians are moved, grown and rounded until they render the picture (E21, E22).

The count starts at a share of its final value and rises in events; most steps work on small versions of the
picture, where they cost little. Near the end scales and rotations become those that the file will hold, then means,
and what still moves makes up for what that costs: the colours to the last.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from smartsplat.gaussians import SMALLEST_SCALE, Gaussians, base_scale
from smartsplat.grow import energy, newcomers, strongest
from smartsplat.quantize import Quantizer, cell_for, quality_for_noise, snap
from smartsplat.raster import Backend, StepSettings, View
from smartsplat.seed import seed
from smartsplat.settings import FitSettings

Pixels = npt.NDArray[np.uint8]

SETTLING = (0.8, 0.85, 0.9, 0.94, 0.96)
"""Shares of the steps at which the count is brought in line with the target after growth has ended."""

PIXEL_NOISE = 1 / (12 * 255**2)
"""Mean square error of rounding a rendering to 8 bits: a fit that is better needs no finer Gaussians."""

GROWING = 2.0
"""Noise while the count grows, in units of that of the settings: more and coarser Gaussians than the file will have,
the best of which stay."""

WEAK = 0.2
"""Share of the Gaussians that have less energy than a weak one."""

SMALLEST_COARSE_SIDE = 32
"""Pixels: no level of the pyramid has a shorter side."""

COARSEST = 2.5
"""Base scales (E14, of the final count) that a pixel of the pyramid may have as its side: a picture with many Gaussians
has details from the start that a coarser level does not show."""

STRIP = 256
"""Rows of a level of the pyramid that are made at once."""


class Plan(Protocol):
    """How many Gaussians the target of an encode allows (rate.py)."""

    def count(self, gaussians: Gaussians, quantizer: Quantizer, rough: bool = False) -> int:
        """The number to end with, judged by what ``gaussians`` take now, or, if a ``rough`` one will do, some."""


@dataclass(frozen=True)
class Progress:
    """Where a fit is."""

    step: int
    steps: int
    gaussians: int
    psnr: float  # of the picture that the step saw: a small version of it in most steps


Listener = Callable[[Progress], bool | None]
"""Called after every step; returning False ends the fit there, with what there is."""


class Fit:
    """One picture being fitted. ``run`` returns the Gaussians and the quantiser that they were rounded with."""

    def __init__(
        self,
        pixels: Pixels,
        plan: Plan,
        first_count: int,
        settings: FitSettings,
        backend: Backend,
        *,
        threads: int = 1,
        rng: int = 0,
        quality: int | None = None,
    ) -> None:
        self.height, self.width, self.channels = pixels.shape
        self.settings = settings
        self.backend = backend
        self.plan = plan
        self.threads = threads
        self.fixed_quality = quality
        self.final_count = first_count
        self.round_shapes, self.round_means = (round(share * settings.steps) for share in settings.round_from)
        self.generator = np.random.default_rng(np.random.SeedSequence(rng, spawn_key=(2,)))
        self.pixels = pixels
        self.view = View.whole(self.width, self.height)
        share = settings.growth.start if settings.growth and settings.steps > 1 else 1.0
        self.seeded = max(1, min(first_count, round(share * first_count)))
        self.params = backend.upload(seed(pixels, self.seeded, rng=rng, threads=threads, backend=backend))
        self.state = backend.start(self.params)
        self.quantizer: Quantizer | None = None
        self.mean_square = 0.0  # of the last step
        self.noise = settings.noise * (GROWING if settings.growth else 1.0)

    def run(self, listener: Listener | None = None) -> tuple[Gaussians, Quantizer]:
        """All steps, or as many as ``listener`` allows."""
        settings = self.settings
        levels = self._levels()
        growing = self._growth_steps()
        settling = {round(share * settings.steps) for share in SETTLING} if settings.growth else set()
        for step in range(settings.steps):
            if step in levels:
                target, view = self._shrunk(levels[step])
            if step in (self.round_shapes, self.round_means):
                self._round(means=step >= self.round_means)
            result = self.backend.step(self.params, self.state, target, view, self._step_settings(step))
            self.mean_square = result.mean_square
            if step in growing:
                self._grow(growing[step], target, view)
            elif step in settling:
                self._settle(target, view)
            progress = Progress(step + 1, settings.steps, len(self.params), psnr_of(result.mean_square))
            if listener is not None and listener(progress) is False:
                break
        return self.backend.download(self.params), self.quantizer or self._quantizer()

    def _round(self, means: bool) -> None:
        """Give the Gaussians the scales and rotations that a decoder will see, and the ``means`` if it is time."""
        self.quantizer = self.quantizer or self._quantizer()
        gaussians = self.backend.download(self.params)
        rounded = Gaussians.of_size(len(gaussians), gaussians.channels)
        snap(gaussians, self.quantizer, rounded, self.threads)
        rounded = replace(rounded, color=gaussians.color, mean=rounded.mean if means else gaussians.mean)
        self.params = self.backend.upload(rounded)

    def _step_settings(self, step: int) -> StepSettings:
        s = self.settings
        falling = max(0.0, step / s.steps - s.hold) / (1 - s.hold)
        rate = s.decay + (1 - s.decay) * 0.5 * (1 + math.cos(math.pi * falling))
        rate_shape = rate if self.quantizer is None else 0.0
        rate_color = rate * s.rate_color
        if self.quantizer is not None and step >= self.round_means:
            rate = 0.0
            left = (s.steps - step) / (s.steps - self.round_means)
            rate_color = left * s.rate_closing * math.sqrt(self.mean_square)
        unit_x, unit_y = (1.0, 1.0) if s.relative else (self.width / 2, self.height / 2)
        return StepSettings(
            l1=s.l1,
            l2=s.l2,
            ssim=s.ssim,
            size=s.size * self.mean_square / len(self.params),
            size_floor=(self.quantizer or self._quantizer()).budget ** 2,
            rate_mean_x=rate * s.rate_mean * unit_x,
            rate_mean_y=rate * s.rate_mean * unit_y,
            rate_scale=rate_shape * s.rate_scale,
            rate_rotation=rate_shape * s.rate_rotation,
            rate_color=rate_color,
            beta2=s.beta2,
            relative=s.relative,
            smallest_scale=SMALLEST_SCALE,
            largest_scale=max(self.width, self.height) / 2,
            width=self.width,
            height=self.height,
        )

    def _levels(self) -> dict[int, int]:
        """Step -> how many pixels a side become one from it on."""
        detail = COARSEST * base_scale(self.width, self.height, self.final_count)
        coarsest = min(detail, min(self.width, self.height) / SMALLEST_COARSE_SIDE)
        levels: dict[int, int] = {}
        share = 0.0
        for factor, part in self.settings.pyramid:
            if factor <= coarsest:
                levels[round(share * self.settings.steps)] = factor
                share += part
        levels[round(share * self.settings.steps)] = 1
        return levels

    def _shrunk(self, factor: int) -> tuple[Pixels, View]:
        """The picture averaged over squares of ``factor`` pixels a side (its edge repeats), and its view."""
        if factor == 1:
            return self.pixels, self.view
        rows, columns = -(-self.height // factor), -(-self.width // factor)
        shrunk = np.empty((rows, columns, self.channels), np.uint8)
        for top in range(0, rows, STRIP):
            strip = self.pixels[top * factor : (top + STRIP) * factor]
            missing = ((0, -len(strip) % factor), (0, -self.width % factor), (0, 0))
            padded = np.pad(strip, missing, mode="edge")
            image = Image.fromarray(padded[..., 0] if self.channels == 1 else padded).reduce(factor)
            shrunk[top : top + STRIP] = np.asarray(image).reshape(-1, columns, self.channels)
        return shrunk, View(0, 0, columns * factor, rows * factor, columns, rows)

    def _growth_steps(self) -> dict[int, float]:
        """Step of each growth event -> share of the final growth reached after it."""
        growth = self.settings.growth
        if growth is None:
            return {}
        events = min(growth.events, max(1, self.settings.steps // 10))
        last = growth.until * self.settings.steps
        shares = ((event + 1) / events for event in range(events))
        return {min(round(last * share), self.settings.steps - 1): share for share in shares}

    def _quantizer(self) -> Quantizer:
        """Rounding that adds the set share of the current squared error."""
        values = (5 + self.channels) * len(self.params)
        quality = self.fixed_quality
        if quality is None:
            quality = quality_for_noise(self.noise * self._square_error(), values)
        cell = cell_for(self.width, self.height, self.final_count)
        return Quantizer(quality, cell, self.width, self.height, self.channels)

    def _square_error(self) -> float:
        """Of the whole picture, at least what rounding to bytes leaves."""
        return max(self.mean_square, PIXEL_NOISE) * float(self.width * self.height * self.channels)

    def _worthwhile_noise(self, gaussians: Gaussians) -> float:
        """The squared error that rounding may add, relative to that of the fit.

        A byte gains as much in precision as in more Gaussians if noise / (1 + noise) = alpha P / (2 ln(2) b), where
        P attributes take b bits and the error falls with the count as N^-alpha. On eight pictures at 100 to 2000 : 1
        alpha was 0.2 to 1.8, near 0.7 times the root of N times the energy of a weak Gaussian over the squared error.
        """
        weak = math.pi * float(np.quantile(energy(gaussians), WEAK))
        falls = math.sqrt(weak * len(gaussians) / self._square_error())
        return self.settings.noise * min(max(falls, 0.3), 3.0)

    def _grow(self, share: float, target: Pixels, view: View) -> None:
        growth = self.settings.growth
        assert growth is not None
        self.final_count = self.plan.count(self.backend.download(self.params), self._quantizer(), rough=True)
        wanted = max(1, round(self.seeded + share * (self.final_count - self.seeded)))
        kept = len(self.params) if share == 1 else round((1 - growth.moved) * len(self.params))
        self._resize(min(kept, wanted), wanted, target, view)

    def _settle(self, target: Pixels, view: View) -> None:
        gaussians = self.backend.download(self.params)
        self.noise = self._worthwhile_noise(gaussians)
        self.final_count = self.plan.count(gaussians, self.quantizer or self._quantizer())
        self._resize(min(len(self.params), self.final_count), self.final_count, target, view)

    def _resize(self, kept: int, wanted: int, target: Pixels, view: View) -> None:
        """Keep the ``kept`` strongest Gaussians and place new ones up to ``wanted``."""
        growth = self.settings.growth
        assert growth is not None
        keep = strongest(self.backend.download(self.params), kept)
        if not keep.all():
            self.params, self.state = self.params[keep], self.state[keep]
        missing = wanted - len(self.params)
        if missing > 0:
            found = newcomers(
                self.params, missing, self.final_count, target, view, self.backend, growth, self.generator
            )
            new = self.backend.upload(found)
            self.params = self.params.joined(new)
            self.state = self.state.joined(self.backend.start(new))


def psnr_of(mean_square: float) -> float:
    """Decibels below 1 for a mean square error of pixels in [0, 1]."""
    return -10 * math.log10(mean_square) if mean_square > 0 else math.inf
