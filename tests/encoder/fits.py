"""Fits as ``encode`` makes them, for tests."""

from __future__ import annotations

from typing import Any

import numpy as np

import smartsplat
from smartsplat.encoder.compute import Compute, sampler_of
from smartsplat.encoder.error_weights import WeightPyramid
from smartsplat.encoder.fit import CountPlan, Fit, initial_count
from smartsplat.encoder.initialize import initialize
from smartsplat.encoder.settings import FitSettings
from smartsplat.render import Renderer
from smartsplat.render.cpu import CpuRenderer


def fit_of(
    pixels: np.ndarray,
    plan: CountPlan,
    count: int,
    settings: FitSettings,
    *,
    renderer: Renderer | None = None,
    threads: int = 1,
    seed: int = 0,
    weights: np.ndarray | None = None,
) -> Fit:
    """A fit that has been initialized."""
    renderer = renderer or CpuRenderer(threads)
    compute = Compute(renderer, sampler_of(renderer), threads)
    first = initial_count(count, settings)
    initial = initialize(pixels, first, seed=seed, threads=threads, sampler=compute.sampler, error_weights=weights)
    pyramid = None if weights is None else WeightPyramid(weights)
    return Fit(pixels, initial, plan, settings, compute, final_count=count, seed=seed, weights=pyramid)


def quick_encode(pixels: Any, **options: Any) -> bytes:
    """``encode`` with 30 steps on one thread, unless the options say otherwise."""
    return smartsplat.encode(pixels, **{"steps": 30, "threads": 1} | options)
