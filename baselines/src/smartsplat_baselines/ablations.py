"""SmartSplat's own rows: the paper's method, as its released code has it, and with one of its four components left out.

All are the preset ``paper`` (encoder/settings.py) on the codec's fit, and files of its format. The paper reports no fit
of fewer than 1000 steps with its learning rates. Below that, they are scaled up in proportion, at most tenfold; that of
means, which is in units of half a side, to a pixel a step at most. What is left out:

- ``weights``: sampling by gradient and variance (E9 to E13); all positions are uniform, as E15 makes them
- ``exclusion``: the distance of uniform positions from weighted ones (E15, E16)
- ``scales``: sizes by weight and neighbours (E13, E17); every scale is in [0.5, 1.5) pixels, as in GaussianImage
- ``colors``: colours by the image (E18 to E20); every colour is in [0, 1)

``released`` has what docs/method.md calls the released code in the loss, 0.8 L1 + 0.2 (1 - SSIM); in the angles, all
equal at the start and behind a sigmoid, which makes their learning rate a quarter; and in the uniform scales, for which
the point itself is one of the three neighbours. Not taken over: its doubled off-diagonal gradient and the clamp that
stops it, features and exclusion by overlapping tiles, the lattice for colours, windows that end at 1/255, scales
without bounds.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from smartsplat.arrays import ByteArray, FloatArray
from smartsplat.bitstream import container
from smartsplat.bitstream.file import to_file
from smartsplat.bitstream.quantize import Quantizer
from smartsplat.encoder.compute import Compute, open_compute
from smartsplat.encoder.fit import Fit, ProgressCallback
from smartsplat.encoder.initialize import count_weighted, initialize, neighbor_scale, within_bounds
from smartsplat.encoder.rate_control import ExactCount
from smartsplat.encoder.settings import PAPER, FitSettings, InitializeSettings
from smartsplat.gaussians import Gaussians
from smartsplat.threads import available_threads
from smartsplat_baselines.model import lr_scale_up

COMPONENTS = ("weights", "exclusion", "scales", "colors")

REFERENCE_STEPS, MAX_LR_SCALE_UP = 1000, 10.0
"""As those of a model (model.py)."""

MAX_MEAN_PIXELS = 1.0
"""Pixels a step that the learning rate of means is scaled up to at most."""


def fitted(
    pixels: ByteArray,
    count: int,
    steps: int,
    seed: int,
    *,
    without: str | None = None,
    released: bool = False,
    progress: ProgressCallback | None = None,
) -> tuple[Gaussians, Quantizer]:
    """The Gaussians of a fit of so many steps, and the quantiser of their file.

    Args:
        without: one of ``COMPONENTS``, or None.
        released: as the released code has it.
    """
    compute = open_compute("cpu", available_threads())
    initial = initialize_without(without, pixels, count, seed, compute)
    if released:
        initial = as_released(initial, pixels, compute)
    settings = paper_settings(steps, max(pixels.shape[:2]), released)
    return Fit(pixels, initial, ExactCount(count), settings, compute, final_count=count, seed=seed).run(progress)


def paper_settings(steps: int, longer_side: int, released: bool = False) -> FitSettings:
    """``PAPER`` for so many steps, for an image whose longer side has so many pixels."""
    scale_up = lr_scale_up(REFERENCE_STEPS, steps, MAX_LR_SCALE_UP)
    settings = replace(
        PAPER,
        steps=steps,
        lr_mean=min(PAPER.lr_mean * scale_up, max(PAPER.lr_mean, 2 * MAX_MEAN_PIXELS / longer_side)),
        lr_scale=PAPER.lr_scale * scale_up,
        lr_rotation=PAPER.lr_rotation * scale_up,
        lr_color=PAPER.lr_color * scale_up,
    )
    if released:
        settings = replace(settings, l1=0.8, ssim=0.2, lr_rotation=settings.lr_rotation / 4)
    return settings


def initialize_without(component: str | None, pixels: ByteArray, count: int, seed: int, compute: Compute) -> Gaussians:
    """What ``initialize`` makes of an image, with one of ``COMPONENTS`` left out."""
    settings = InitializeSettings(weighted_fraction=0.0) if component == "weights" else InitializeSettings()
    gaussians = initialize(
        pixels, count, settings=settings, seed=seed, threads=compute.threads, sampler=compute.sampler
    )
    generator = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(3,)))
    if component == "exclusion":
        height, width, _ = pixels.shape
        weighted = gaussians.mean[: count_weighted(width, height, count)]
        anywhere = generator.random((count - len(weighted), 2), np.float32) * np.array([width, height], np.float32)
        mean = np.concatenate([weighted, anywhere])
        uniform_scale = neighbor_scale(anywhere, mean, settings.neighbors, compute.threads)
        return with_uniform(replace(gaussians, mean=mean), uniform_scale, pixels, compute)
    if component == "scales":
        return replace(gaussians, scale=0.5 + generator.random(gaussians.scale.shape, np.float32))
    if component == "colors":
        return replace(gaussians, color=generator.random(gaussians.color.shape, np.float32))
    return gaussians


def as_released(gaussians: Gaussians, pixels: ByteArray, compute: Compute) -> Gaussians:
    """Equal angles, and uniform scales that count the point itself: the two nearest of three, times sqrt(2 / 3)."""
    height, width, _ = pixels.shape
    count = len(gaussians)
    uniform = gaussians.mean[count_weighted(width, height, count) :]
    scale = neighbor_scale(uniform, gaussians.mean, 2, compute.threads) * np.float32(np.sqrt(2 / 3))
    return with_uniform(replace(gaussians, rotation=np.full(count, np.pi, np.float32)), scale, pixels, compute)


def with_uniform(gaussians: Gaussians, uniform_scale: FloatArray, pixels: ByteArray, compute: Compute) -> Gaussians:
    """With those scales of the uniform Gaussians, which are the last, and the image's colours for their sizes."""
    height, width, _ = pixels.shape
    weighted_scale = gaussians.scale[: len(gaussians) - len(uniform_scale), 0]
    scale = np.concatenate([weighted_scale, within_bounds(uniform_scale, width, height)])
    color = compute.sampler.median_color(pixels, gaussians.mean, scale)
    return replace(gaussians, scale=np.stack([scale, scale], axis=1), color=color)


def pack(gaussians: Gaussians, quantizer: Quantizer) -> bytes:
    """The file, of the codec's own format."""
    return container.pack(to_file(gaussians, quantizer, threads=available_threads()))
