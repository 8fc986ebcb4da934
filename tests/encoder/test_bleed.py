"""Colours under what is transparent: they come from what is visible nearby, and what was there does not matter."""

from __future__ import annotations

import tracemalloc
from typing import Any

import numpy as np
import pytest

from smartsplat.encoder.bleed import BLOCK, MAX_FAINT, bled
from tests.samples import landscape

DTYPES = [np.uint8, np.uint16]


def white(dtype: Any) -> int:
    return int(np.iinfo(dtype).max)


def noise(shape: tuple[int, ...], dtype: Any = np.uint8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, white(dtype), shape, dtype=dtype, endpoint=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 17, 1), (19, 1, 3), (9, 13, 3), (64, 48, 1), (33, 70, 3)], ids=str)
def test_what_is_visible_stays_and_what_is_hidden_does_not_matter(shape: tuple[int, int, int], dtype: Any) -> None:
    pixels, alpha = noise(shape, dtype), noise(shape[:2], dtype, 1)
    alpha[alpha < white(dtype) // 2] = 0
    result = bled(pixels, alpha)
    assert (result.dtype, result.shape) == (dtype, shape)
    np.testing.assert_array_equal(result[alpha > 0], pixels[alpha > 0])
    others = np.where(alpha[..., None] > 0, pixels, white(dtype) - pixels)
    np.testing.assert_array_equal(bled(others, alpha), result)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("color", [1, 77, 254, 255])
def test_one_color_goes_on_exactly(color: int, dtype: Any) -> None:
    """From any opacity, and as far as the image goes."""
    own = white(dtype) - 255 + color
    pixels = np.full((71, 150, 3), own, dtype)
    alpha = np.zeros((71, 150), dtype)
    alpha[:5, :6] = noise((5, 6), dtype) // 2 + white(dtype) // 3
    pixels[alpha == 0] = 9
    assert (bled(pixels, alpha) == own).all()


def test_squares_take_the_mean_by_opacity() -> None:
    pixels, alpha = np.zeros((BLOCK, 2 * BLOCK, 1), np.uint8), np.zeros((BLOCK, 2 * BLOCK), np.uint8)
    pixels[0, 0], alpha[0, 0] = 100, 255
    pixels[1, 1], alpha[1, 1] = 200, 85
    pixels[0, BLOCK], alpha[0, BLOCK] = 11, 40
    result = bled(pixels, alpha)[..., 0]
    left, right = np.split(np.where(alpha == 0, result, 0), 2, axis=1)
    assert np.unique(left).tolist() == [0, 125]
    assert np.unique(right).tolist() == [0, 11]


def test_empty_squares_take_the_colors_around_them() -> None:
    """Beside the gap are 40 and 200; in the gap nothing is outside of that, and each half is as its side is."""
    pixels, alpha = np.zeros((16, 256, 1), np.uint8), np.zeros((16, 256), np.uint8)
    pixels[:, :8], alpha[:, :8] = 40, 255
    pixels[:, -8:], alpha[:, -8:] = 200, 255
    result = bled(pixels, alpha)
    assert result.min() == 40
    assert result.max() == 200
    assert (result[:, :128] == 40).all()
    assert (result[:, 128:] == 200).all()


@pytest.mark.parametrize("dtype", DTYPES)
def test_nothing_visible_at_all(dtype: Any) -> None:
    for shape in ((1, 1), (7, 300), (65, 64)):
        result = bled(noise((*shape, 3), dtype), np.zeros(shape, dtype))
        assert not result.any(), "one colour, whatever was hidden"


def test_everything_visible_is_a_copy() -> None:
    pixels = landscape(30, 20)
    result = bled(pixels, np.full((20, 30), 255, np.uint8))
    np.testing.assert_array_equal(result, pixels)
    assert not np.shares_memory(result, pixels)


@pytest.mark.parametrize("dtype", DTYPES)
def test_faint_pixels_take_the_colors_of_others(dtype: Any) -> None:
    faint = MAX_FAINT * white(dtype) // 255
    pixels = np.full((40, 40, 3), 200, dtype)
    alpha = np.full((40, 40), faint, dtype)
    alpha[:7, :7] = white(dtype)
    pixels[alpha == faint] = [0, 90, 3]
    assert (bled(pixels, alpha) == 200).all()
    alpha[alpha == faint] = faint + 1
    np.testing.assert_array_equal(bled(pixels, alpha), pixels)


def test_an_image_that_is_faint_all_over_keeps_its_colors() -> None:
    pixels = landscape(30, 20)
    np.testing.assert_array_equal(bled(pixels, np.full((20, 30), MAX_FAINT, np.uint8)), pixels)


@pytest.mark.parametrize("dtype", DTYPES)
def test_memory_stays_near_that_of_the_copy(dtype: Any) -> None:
    """Three channels in floats would take twelve bytes a pixel."""
    pixels, alpha = noise((700, 801, 3), dtype), np.zeros((700, 801), dtype)
    alpha[:, :300] = white(dtype)
    tracemalloc.start()
    bled(pixels, alpha)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak - pixels.nbytes < 1.2 * pixels.size
