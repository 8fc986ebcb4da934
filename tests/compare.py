"""Comparisons that several tests share; each has a test of its own in test_compare.py."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from smartsplat.gaussians import Gaussians


def relative_error(actual: npt.ArrayLike, expected: npt.ArrayLike) -> float:
    """|actual - expected| / |expected| of the flattened arrays; NaN and infinity count as infinitely wrong."""
    a, e = np.asarray(actual, np.float64).ravel(), np.asarray(expected, np.float64).ravel()
    if a.shape != e.shape or not np.isfinite(a).all():
        return float("inf")
    return float(np.linalg.norm(a - e) / max(np.linalg.norm(e), 1e-300)) if e.any() or a.any() else 0.0


def scene(
    count: int,
    width: int,
    height: int,
    channels: int = 3,
    seed: int = 0,
    min_scale: float = 0.6,
    max_scale: float = 6.0,
) -> Gaussians:
    """Gaussians of mixed shapes over and a little beyond an image."""
    random = np.random.default_rng(seed)
    return Gaussians(
        (random.uniform(-0.05, 1.05, (count, 2)) * [width, height]).astype(np.float32),
        np.exp(random.uniform(np.log(min_scale), np.log(max_scale), (count, 2))).astype(np.float32),
        random.uniform(0, 2 * np.pi, count).astype(np.float32),
        random.normal(0.2, 0.3, (count, channels)).astype(np.float32),
    )


def slopes(
    function: Callable[[], float], values: npt.NDArray[np.float64], step: float = 1e-5
) -> npt.NDArray[np.float64]:
    """Central differences of ``function`` by every element of ``values``, which it reads."""
    result = np.empty_like(values)
    for index in np.ndindex(*values.shape):
        value = values[index]
        values[index] = value + step
        above = function()
        values[index] = value - step
        below = function()
        values[index] = value
        result[index] = (above - below) / (2 * step)
    return result
