"""The fit: seeded Gaussians are moved, grown and rounded until they render the picture (E21, E22).

The count starts at a share of its final value and rises in events; the first steps work on the picture at half
size; from ``round_from`` on the values that are drawn are those that the file will hold, while the gradient moves
the unrounded ones (straight-through).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from smartsplat.gaussians import SMALLEST_SCALE, Gaussians
from smartsplat.grow import newcomers, strongest
from smartsplat.quantize import Quantizer, cell_for, quality_for_noise, snap
from smartsplat.raster import StepResult, StepSettings, View
from smartsplat.raster.native import Backend
from smartsplat.seed import seed
from smartsplat.settings import FitSettings

Pixels = npt.NDArray[np.uint8]

SETTLING = (0.75, 0.82, 0.88, 0.93, 0.97)
"""Shares of the steps at which the count is brought in line with the target after growth has ended."""

PIXEL_NOISE = 1 / (12 * 255**2)
"""Mean square error of rounding a rendering to 8 bits: a fit that is better needs no finer Gaussians."""

SMALLEST_COARSE_SIDE = 64
"""Pictures with a shorter side, pixels, are fitted at full size from the start."""


class Plan(Protocol):
    """How many Gaussians the target of an encode allows (rate.py)."""

    def count(self, gaussians: Gaussians, quantizer: Quantizer) -> int:
        """The number to end with, judged by what ``gaussians`` take now."""


@dataclass(frozen=True)
class Progress:
    """Where a fit is."""

    step: int
    steps: int
    gaussians: int
    psnr: float  # of the picture that the step saw: at half size early on


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
        self.generator = np.random.default_rng(np.random.SeedSequence(rng, spawn_key=(2,)))
        self.pixels = pixels
        self.view = View.whole(self.width, self.height)
        share = settings.growth.start if settings.growth and settings.steps > 1 else 1.0
        self.seeded = max(1, min(first_count, round(share * first_count)))
        self.params = backend.upload(seed(pixels, self.seeded, rng=rng, threads=threads))
        self.state = backend.start(self.params)
        self.quantizer: Quantizer | None = None
        self.mean_square = math.inf

    def run(self, listener: Listener | None = None) -> tuple[Gaussians, Quantizer]:
        """All steps, or as many as ``listener`` allows."""
        settings = self.settings
        coarse_steps = round(settings.coarse * settings.steps)
        coarse = self._halved() if coarse_steps and min(self.width, self.height) >= SMALLEST_COARSE_SIDE else None
        growing = self._growth_steps()
        settling = {round(share * settings.steps) for share in SETTLING} if settings.growth else set()
        round_from = round(settings.round_from * settings.steps)
        for step in range(settings.steps):
            target, view = coarse if coarse and step < coarse_steps else (self.pixels, self.view)
            if step == round_from:
                self.quantizer = self._quantizer()
            result = self._step(step, target, view)
            self.mean_square = result.mean_square
            if step in growing:
                self._grow(growing[step], target, view)
            elif step in settling:
                self._settle(target, view)
            progress = Progress(step + 1, settings.steps, len(self.params), psnr_of(result.mean_square))
            if listener is not None and listener(progress) is False:
                break
        return self.backend.download(self.params), self.quantizer or self._quantizer()

    def _step(self, step: int, target: Pixels, view: View) -> StepResult:
        drawn = self.params
        if self.quantizer is not None:
            drawn = self.backend.upload(self.params)
            snap(self.params, self.quantizer, drawn, self.threads)
        return self.backend.step(self.params, drawn, self.state, target, view, self._step_settings(step))

    def _step_settings(self, step: int) -> StepSettings:
        s = self.settings
        rate = s.decay + (1 - s.decay) * 0.5 * (1 + math.cos(math.pi * step / s.steps))
        unit_x, unit_y = (1.0, 1.0) if s.relative else (self.width / 2, self.height / 2)
        return StepSettings(
            l1=s.l1,
            l2=s.l2,
            ssim=s.ssim,
            rate_mean_x=rate * s.rate_mean * unit_x,
            rate_mean_y=rate * s.rate_mean * unit_y,
            rate_scale=rate * s.rate_scale,
            rate_rotation=rate * s.rate_rotation,
            rate_color=rate * s.rate_color,
            beta2=s.beta2,
            relative=s.relative,
            smallest_scale=SMALLEST_SCALE,
            largest_scale=max(self.width, self.height) / 2,
            width=self.width,
            height=self.height,
        )

    def _halved(self) -> tuple[Pixels, View]:
        """The picture averaged over 2 x 2 pixels, and its view; an odd last row or column is repeated."""
        padded = np.pad(self.pixels, ((0, self.height % 2), (0, self.width % 2), (0, 0)), mode="edge")
        image = Image.fromarray(padded[..., 0] if self.channels == 1 else padded)
        half = np.asarray(image.reduce(2)).reshape(padded.shape[0] // 2, padded.shape[1] // 2, self.channels)
        view = View(0, 0, padded.shape[1], padded.shape[0], half.shape[1], half.shape[0])
        return np.ascontiguousarray(half), view

    def _growth_steps(self) -> dict[int, float]:
        """Step of each growth event -> share of the final growth reached after it."""
        growth = self.settings.growth
        if growth is None:
            return {}
        events = min(growth.events, max(1, self.settings.steps // 10))
        last = growth.until * self.settings.steps
        return {round(last * (event + 1) / events): (event + 1) / events for event in range(events)}

    def _quantizer(self) -> Quantizer:
        """Rounding that adds the set share of the current squared error."""
        samples = self.width * self.height * self.channels
        values = (5 + self.channels) * len(self.params)
        quality = self.fixed_quality
        if quality is None:
            quality = quality_for_noise(self.settings.noise * max(self.mean_square, PIXEL_NOISE) * samples, values)
        cell = cell_for(self.width, self.height, self.final_count)
        return Quantizer(quality, cell, self.width, self.height, self.channels)

    def _grow(self, share: float, target: Pixels, view: View) -> None:
        growth = self.settings.growth
        assert growth is not None
        self.final_count = self.plan.count(self.params, self._quantizer())
        wanted = max(1, round(self.seeded + share * (self.final_count - self.seeded)))
        kept = len(self.params) if share == 1 else round((1 - growth.moved) * len(self.params))
        self._resize(min(kept, wanted), wanted, target, view)

    def _settle(self, target: Pixels, view: View) -> None:
        self.final_count = self.plan.count(self.params, self.quantizer or self._quantizer())
        self._resize(min(len(self.params), self.final_count), self.final_count, target, view)

    def _resize(self, kept: int, wanted: int, target: Pixels, view: View) -> None:
        """Keep the ``kept`` strongest Gaussians and place new ones up to ``wanted``."""
        growth = self.settings.growth
        assert growth is not None
        keep = strongest(self.params, kept)
        if not keep.all():
            self.params, self.state = self.params[keep], self.state[keep]
        missing = wanted - len(self.params)
        if missing > 0:
            new = newcomers(self.params, missing, self.final_count, target, view, self.backend, growth, self.generator)
            self.params = self.params.joined(new)
            self.state = self.state.joined(self.backend.start(new))


def psnr_of(mean_square: float) -> float:
    """Decibels below 1 for a mean square error of pixels in [0, 1]."""
    return -10 * math.log10(mean_square) if mean_square > 0 else math.inf
