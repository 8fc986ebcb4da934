"""The image pyramid: levels are means of the image and of its weights, and cost little memory."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from smartsplat.encoder import pyramid
from smartsplat.encoder.pyramid import MIN_LEVEL_SIDE, pyramid_level, pyramid_steps
from smartsplat.encoder.settings import PAPER, FitSettings

RANDOM = np.random.default_rng(0)


def squares(samples: np.ndarray, factor: int) -> np.ndarray:
    """Means over squares in float64, edges repeating, [rows, columns, C]."""
    height, width, channels = samples.shape
    padded = np.pad(samples, ((0, -height % factor), (0, -width % factor), (0, 0)), mode="edge").astype(float)
    return padded.reshape(len(padded) // factor, factor, -1, factor, channels).mean(axis=(1, 3))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("factor", [2, 4, 8])
@pytest.mark.parametrize("shape", [(1, 1), (1, 17), (40, 64), (41, 67)], ids=str)
def test_levels_are_means(shape: tuple[int, int], factor: int, channels: int, dtype: Any) -> None:
    pixels = RANDOM.integers(0, np.iinfo(dtype).max, (*shape, channels), dtype=dtype, endpoint=True)
    pixels[: shape[0] // 2] = np.iinfo(dtype).max  # where sums are largest
    weights = RANDOM.integers(0, 256, shape, dtype=np.uint8)
    level = pyramid_level(pixels, factor, weights)
    assert level.pixels.dtype == np.uint8
    unit = np.iinfo(dtype).max // 255
    assert np.abs(level.pixels - squares(pixels, factor) / unit).max() <= (0.5 if unit == 1 else 1), "rounded twice"
    assert level.weights is not None
    assert level.weights.dtype == np.uint8
    assert np.abs(level.weights - squares(weights[..., None], factor)[..., 0]).max() <= 0.5
    assert all(array.flags.c_contiguous for array in (level.pixels, level.weights))
    view = level.view
    assert (view.rows, view.columns) == level.weights.shape == level.pixels.shape[:2]
    assert (view.x, view.y, view.width, view.height) == (0, 0, factor * view.columns, factor * view.rows)
    assert pyramid_level(pixels, factor).weights is None


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_strips_change_nothing(monkeypatch: pytest.MonkeyPatch, dtype: Any) -> None:
    pixels = RANDOM.integers(0, 256, (75, 31, 3)).astype(dtype) * dtype(np.iinfo(dtype).max // 255)
    weights = RANDOM.integers(0, 256, (75, 31), dtype=np.uint8)
    whole = pyramid_level(pixels, 4, weights)
    monkeypatch.setattr(pyramid, "STRIP_ROWS", 3)
    strips = pyramid_level(pixels, 4, weights)
    np.testing.assert_array_equal(strips.pixels, whole.pixels)
    np.testing.assert_array_equal(strips.weights, whole.weights)  # type: ignore[arg-type]


def test_full_size_is_the_image_itself() -> None:
    pixels, weights = np.zeros((5, 7, 3), np.uint16), np.ones((5, 7), np.uint8)
    level = pyramid_level(pixels, 1, weights)
    assert level.pixels is pixels
    assert level.weights is weights
    assert (level.view.columns, level.view.rows, level.view.scale_x) == (7, 5, 1)


def test_levels_follow_each_other_down_to_full_size() -> None:
    settings = FitSettings(steps=100)
    assert pyramid_steps(800, 600, 100, settings) == {0: 8, 20: 4, 40: 2, 70: 1}
    assert pyramid_steps(800, 600, 100, PAPER) == {0: 1}


def test_small_images_and_many_gaussians_start_at_finer_levels() -> None:
    settings = FitSettings(steps=100)
    assert pyramid_steps(800, 4 * MIN_LEVEL_SIDE, 20, settings) == {0: 4, 20: 2, 50: 1}
    assert pyramid_steps(800, 2 * MIN_LEVEL_SIDE - 1, 20, settings) == {0: 1}
    assert pyramid_steps(800, 600, 800 * 600, settings) == {0: 1}


def test_a_level_without_steps_is_skipped() -> None:
    settings = dataclasses.replace(FitSettings(steps=1))
    assert list(pyramid_steps(800, 600, 100, settings)) == [0, 1]
