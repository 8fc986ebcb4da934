"""SmartSplat's own rows: the paper's method, as its released code has it, and with one of its four ingredients off.

All are the preset ``paper`` (settings.py) on this package's fit, and files of its format. Below 1000 steps, the fewest
that the paper reports with its rates, these rise in proportion, at most tenfold, and that of means, a share of half a
side, to a pixel at most. What is turned off:

- ``weights``: no drawing by gradient and variance (E9 to E13); all positions are uniform, as E15 makes them
- ``exclusion``: uniform positions come as near to weighted ones as chance has it (E15, E16)
- ``scales``: every scale is drawn from [0.5, 1.5) pixels, as GaussianImage does (instead of E13, E17)
- ``colors``: every colour is drawn from [0, 1) (instead of E18 to E20)

``released`` has what docs/method.md calls the released code in the loss, 0.8 L1 + 0.2 (1 - SSIM), in the angles, all
equal at the start and behind a sigmoid, which makes their rate a quarter, and in the uniform scales, for which the
point itself is one of the three neighbours. Not taken over: its doubled off-diagonal gradient and the clamp that stops
it, features and exclusion by overlapping tiles, the lattice for colours, windows that end at 1/255, scales without
bounds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from smartsplat import container
from smartsplat.baselines.model import hurry_of
from smartsplat.fit import Fit, Listener
from smartsplat.gaussians import SMALLEST_SCALE, Gaussians
from smartsplat.quantize import Quantizer
from smartsplat.raster.native import Backend, available_threads
from smartsplat.rate import ExactCount, to_file
from smartsplat.seed import neighbor_scale, seed
from smartsplat.settings import PAPER, SeedSettings

INGREDIENTS = ("weights", "exclusion", "scales", "colors")

OWN_STEPS, MOST_HURRY = 1000, 10.0
"""As those of a model (model.py)."""

MOST_MEAN = 1.0
"""Pixels a step that the rate of means is raised to at most."""


def fitted(
    pixels: np.ndarray,
    count: int,
    steps: int,
    rng: int,
    *,
    without: str | None = None,
    released: bool = False,
    listener: Listener | None = None,
) -> tuple[Gaussians, Quantizer]:
    """The Gaussians of a fit of so many steps, and how a file would round them."""
    hurry = hurry_of(OWN_STEPS, steps, MOST_HURRY)
    rates = {name: getattr(PAPER, name) * hurry for name in ("rate_scale", "rate_rotation", "rate_color")}
    mean = min(PAPER.rate_mean * hurry, max(PAPER.rate_mean, 2 * MOST_MEAN / max(pixels.shape[:2])))
    settings = replace(PAPER, steps=steps, rate_mean=mean, **rates)
    if released:
        settings = replace(settings, l1=0.8, ssim=0.2, rate_rotation=settings.rate_rotation / 4)
    threads = available_threads()
    fit = Fit(pixels, ExactCount(count), count, settings, Backend(), threads=threads, rng=rng)
    if without is not None or released:
        start = seed_without(pixels, count, rng, without, threads)
        fit.params = as_released(start, pixels, threads) if released else start
        fit.state = fit.backend.start(fit.params)
    return fit.run(listener)


def seed_without(pixels: np.ndarray, count: int, rng: int, without: str | None, threads: int) -> Gaussians:
    """What ``seed`` makes, with one of ``INGREDIENTS`` left out."""
    if without == "weights":
        return seed(pixels, count, settings=SeedSettings(weighted_share=0.0), rng=rng, threads=threads)
    gaussians = seed(pixels, count, rng=rng, threads=threads)
    random = np.random.default_rng(np.random.SeedSequence(rng, spawn_key=(3,)))
    if without == "exclusion":
        weighted = int(SeedSettings().weighted_share * count + 0.5)
        size = np.array(pixels.shape[1::-1], np.float32)
        gaussians.mean[weighted:] = random.random((count - weighted, 2), np.float32) * size
        if count > 1:
            near = neighbor_scale(gaussians.mean[weighted:], gaussians.mean, SeedSettings().neighbors, threads)
            gaussians.scale[weighted:] = near.clip(SMALLEST_SCALE, max(pixels.shape[:2]) / 2)[:, None]
        gaussians.color[:] = Backend(threads).median_color(pixels, gaussians.mean, gaussians.scale[:, 0].copy())
    elif without == "scales":
        gaussians.scale[:] = 0.5 + random.random(gaussians.scale.shape, np.float32)
    elif without == "colors":
        gaussians.color[:] = random.random(gaussians.color.shape, np.float32)
    return gaussians


def as_released(gaussians: Gaussians, pixels: np.ndarray, threads: int) -> Gaussians:
    """Equal angles, and uniform scales that count the point itself: the two nearest of three, times sqrt(2 / 3)."""
    count = len(gaussians)
    weighted = int(SeedSettings().weighted_share * count + 0.5)
    gaussians.rotation[:] = np.pi
    if count > 1:
        near = neighbor_scale(gaussians.mean[weighted:], gaussians.mean, 2, threads) * np.float32(np.sqrt(2 / 3))
        gaussians.scale[weighted:] = near.clip(SMALLEST_SCALE, max(pixels.shape[:2]) / 2)[:, None]
        gaussians.color[:] = Backend(threads).median_color(pixels, gaussians.mean, gaussians.scale[:, 0].copy())
    return gaussians


def pack(gaussians: Gaussians, quantizer: Quantizer) -> bytes:
    """The file, of this package's own format."""
    return container.pack(to_file(gaussians, quantizer, None, available_threads()))
