"""Weights of errors: what opacity and masks make of them, means and lookups, errors that they weigh."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from smartsplat.encoder.error_weights import (
    EYE_UNIT,
    MIN_ALPHA_WEIGHT,
    QUIET_DEVIATION,
    STRIP_ROWS,
    WeightPyramid,
    alpha_weights,
    eye_weights,
    mean_square_error,
    product,
    weights_of,
)
from smartsplat.errors import SettingsError
from smartsplat.gaussians import CUTOFF, Gaussians
from smartsplat.images.image import SourceImage, from_object
from smartsplat.render import StepSettings, reference
from tests.samples import landscape

RANDOM = np.random.default_rng(0)
TALL = 2 * STRIP_ROWS + 5
"""Rows of what is worked on in three strips."""


def gaussians(mean: Any, scale: Any) -> Gaussians:
    """Grey Gaussians at ``mean`` [N, 2] of both scales ``scale`` [N]."""
    centers = np.asarray(mean, np.float32)
    sides = np.broadcast_to(np.asarray(scale, np.float32).reshape(-1, 1), centers.shape).copy()
    return Gaussians(centers, sides, np.zeros(len(centers), np.float32), np.ones((len(centers), 1), np.float32))


@pytest.mark.parametrize("unit", [1, 257])
def test_weights_of_opacity_are_its_squares(unit: int) -> None:
    codes = np.resize(np.arange(256), (TALL, 3))
    weights = alpha_weights((codes * unit).astype(np.uint8 if unit == 1 else np.uint16))
    assert weights.dtype == np.uint8
    np.testing.assert_array_equal(weights, np.maximum(np.rint(codes**2 / 255), MIN_ALPHA_WEIGHT))
    assert (weights.min(), weights.max()) == (MIN_ALPHA_WEIGHT, 255)


def test_products() -> None:
    first, second = RANDOM.integers(0, 256, (2, TALL, 7), dtype=np.uint8)
    first[:3] = second[:2] = 255
    first[5], second[6] = 0, 0
    result = product(first, second)
    assert result is not None
    exact = first * second.astype(float) / 255
    raised = (exact > 0) & (exact < 0.5)
    assert np.abs(result - exact)[~raised].max() <= 0.5
    assert (result[raised] == 1).all()
    np.testing.assert_array_equal(result[:2], first[:2])
    np.testing.assert_array_equal(result == 0, (first == 0) | (second == 0))
    assert product(None, None) is None
    assert product(first, None) is first
    assert product(None, second) is second


def source(height: int, width: int) -> SourceImage:
    return SourceImage(np.zeros((height, width, 3), np.uint8))


MASK = np.resize(np.arange(256, dtype=np.uint8), (TALL, 4))


@pytest.mark.parametrize(
    "given",
    [
        MASK,
        MASK[..., None],
        MASK.astype(np.uint16) * np.uint16(257),
        MASK / np.float32(255),
        np.repeat(MASK[..., None], 3, axis=2),
        np.dstack([np.full_like(MASK, 255), MASK]),
    ],
    ids=["grey", "channel", "16 bits", "floats", "colour", "opacity"],
)
def test_masks_of_all_kinds(given: np.ndarray) -> None:
    weights = weights_of(from_object(given), source(TALL, 4))
    assert weights.dtype == np.uint8
    np.testing.assert_array_equal(weights, MASK)


def test_colors_weigh_by_their_luma() -> None:
    colors = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], np.uint8)
    np.testing.assert_array_equal(weights_of(SourceImage(colors), source(1, 4)), [[76, 150, 29, 255]])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_brightest_is_one(dtype: Any) -> None:
    """Weights weigh places against each other: dark ones, even the darkest of 16 bits, are no less than bright ones."""
    mask = SourceImage(np.array([[[0], [1], [2], [4]]], dtype))
    np.testing.assert_array_equal(weights_of(mask, source(1, 4)), [[0, 64, 128, 255]])


@pytest.mark.parametrize("shape", [(5, 6), (6, 4), (1, 1)])
def test_a_mask_of_another_size_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(SettingsError, match=f"weights of {shape[1]} x {shape[0]} pixels do not fit an image of 5 x 6"):
        weights_of(SourceImage(np.full((*shape, 1), 255, np.uint8)), source(6, 5))


@pytest.mark.parametrize(
    "mask",
    [
        SourceImage(np.zeros((6, 5, 1), np.uint8)),
        SourceImage(np.zeros((6, 5, 3), np.uint16)),
        SourceImage(np.full((6, 5, 1), 255, np.uint8), np.zeros((6, 5), np.uint8)),
    ],
    ids=["grey", "colour", "transparent"],
)
def test_a_mask_that_is_black_everywhere_is_refused(mask: SourceImage) -> None:
    with pytest.raises(SettingsError, match="black everywhere"):
        weights_of(mask, source(6, 5))


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("rows", [1, 7, TALL])
def test_mean_square_errors(rows: int, dtype: Any) -> None:
    """By definition, whatever strips the image comes in."""
    white = np.iinfo(dtype).max
    reference, image = RANDOM.integers(0, white, (2, TALL, 9, 3), dtype=dtype, endpoint=True)
    weights = RANDOM.integers(0, 256, (TALL, 9), dtype=np.uint8)
    square = ((reference.astype(float) - image) / white) ** 2
    parts = [image[top : top + rows] for top in range(0, TALL, rows)]
    assert mean_square_error(reference, parts, None) == pytest.approx(square.mean(), rel=1e-5)
    weighted = (square * weights[..., None] / 255).mean()
    assert mean_square_error(reference, parts, weights) == pytest.approx(weighted, rel=1e-5)
    assert mean_square_error(reference, [reference], weights) == 0


@pytest.mark.parametrize("shape", [(64, 64), (37, 53), (TALL, 21)], ids=str)
@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_weights_are_means_over_squares(shape: tuple[int, int], level: int) -> None:
    weights = RANDOM.integers(1, 256, shape, dtype=np.uint8)
    height, width = shape
    side = 2**level
    row, column = (corner.ravel() for corner in np.mgrid[0:height:side, 0:width:side])
    here = gaussians(np.stack([column + 0.5, row + 0.5], axis=1), side / CUTOFF)
    padded = np.pad(weights, ((0, -height % side), (0, -width % side)), mode="edge").astype(float)
    means = padded.reshape(len(padded) // side, side, -1, side).mean(axis=(1, 3)).ravel()
    at = WeightPyramid(weights).at(here)
    assert np.abs(255 * at - means).max() <= max(level / 2, 0.001), "a rounding for each level, and edges that repeat"


@pytest.mark.parametrize("shape", [(TALL, 9, 3), (6, 5, 1), (3, 2, 3)], ids=str)
@pytest.mark.parametrize("weighted", [False, True])
def test_coarse_errors_are_the_loss_of_the_reference(shape: tuple[int, ...], weighted: bool) -> None:
    target, image = RANDOM.integers(0, 256, (2, *shape), dtype=np.uint8)
    weights = RANDOM.integers(0, 256, shape[:2], dtype=np.uint8) if weighted else None
    expected, _, _ = reference.loss(image / 255, target, StepSettings(l2=1, coarse=0.7), weights)
    parts = [image[top : top + 64] for top in range(0, len(image), 64)]
    assert mean_square_error(target, parts, weights, 0.7) == pytest.approx(expected, rel=1e-4)


def test_what_stands_for_one() -> None:
    target, image = RANDOM.integers(0, 256, (2, 9, 7, 3), dtype=np.uint8)
    pyramid = WeightPyramid(np.full((9, 7), 48, np.uint8), 32)
    assert pyramid.at(gaussians([[4, 4]], 1)) == np.float32(1.5)
    assert pyramid.mean_square_error(target, [image]) == pytest.approx(1.5 * mean_square_error(target, [image], None))


# ---- for the eye -----------------------------------------------------------------------------------------------------


def half_noise(height: int, width: int, channels: int, dtype: Any = np.uint8) -> np.ndarray:
    """Grey on the left, noise on the right."""
    pixels = np.full((height, width, channels), 128, np.uint8)
    pixels[:, width // 2 :] = RANDOM.integers(0, 256, (height, width - width // 2, 1))
    return pixels.astype(dtype) * (1 if dtype == np.uint8 else 257)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_errors_weigh_less_where_it_is_busy(channels: int, dtype: Any) -> None:
    weights = eye_weights(half_noise(TALL, 200, channels, dtype), None)
    assert (weights.shape, weights.dtype) == ((TALL, 200), np.uint8)
    assert weights.mean() == pytest.approx(EYE_UNIT, rel=0.1)
    flat, busy = weights[:, :60].mean(), weights[:, 140:].mean()
    noise = half_noise(64, 64, 1)[:, 32:].std() / 255
    assert flat / busy == pytest.approx(noise / QUIET_DEVIATION, rel=0.25)


def test_an_edge_on_flat_ground_is_not_busy() -> None:
    """One line of squares with an edge takes less than two thirds of the weight, noise more than four fifths."""
    pixels = np.zeros((160, 160, 1), np.uint8)
    pixels[:, 84:] = 255
    weights = eye_weights(pixels, None).astype(float)
    assert weights[:, 80:88].min() > weights.max() / 4
    noise = eye_weights(half_noise(160, 160, 1), None).astype(float)
    assert noise[:, 120:].max() < noise.max() / 4


def test_weights_for_the_eye_multiply_given_ones() -> None:
    pixels = half_noise(80, 160, 3)
    given = np.zeros((80, 160), np.uint8)
    given[:, 80:] = 255
    weights = eye_weights(pixels, given)
    assert (weights[:, :80] == 0).all()
    assert weights[:, 80:].mean() == pytest.approx(EYE_UNIT, rel=0.05), "1 in the mean of what counts"
    assert (eye_weights(pixels, np.zeros_like(given)) == 0).all()


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 3), (7, 1, 3), (9, 8, 1)], ids=str)
def test_small_and_flat_images_weigh_the_same_everywhere(shape: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(eye_weights(np.full(shape, 77, np.uint8), None), np.full(shape[:2], EYE_UNIT))


def test_images_of_a_row_have_no_means() -> None:
    weights = np.array([[10, 20, 30, 40, 50]], np.uint8)
    at = WeightPyramid(weights).at(gaussians([[0.5, 0.5], [2.5, 0.5], [4.5, 0.5]], [0.3, 5, 1000]))
    np.testing.assert_array_equal(np.rint(255 * at), [10, 30, 50])


def test_black_is_not_nothing() -> None:
    """Of Gaussians without any weight the ones with more energy are still to be kept."""
    at = WeightPyramid(np.zeros((9, 9), np.uint8)).at(gaussians([[4, 4]], 1))
    assert at == np.float32(1 / 255)


def test_gaussians_over_the_edge_have_the_weight_of_the_edge() -> None:
    weights = np.full((20, 30), 9, np.uint8)
    weights[0, 0], weights[0, -1], weights[-1, 0], weights[-1, -1] = 10, 20, 30, 40
    outside = [[-5, -7], [30, 0], [0, 20], [30, 20], [29.999, 19.999], [1e9, 1e9]]
    at = WeightPyramid(weights).at(gaussians(outside, 0.3))
    np.testing.assert_array_equal(np.rint(255 * at), [10, 20, 30, 40, 40, 40])


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (37, 53)], ids=str)
def test_hostile_gaussians_have_some_weight(shape: tuple[int, int]) -> None:
    """Fits can end in numbers that are none; those are pruned, not looked up with."""
    hostile = np.array([np.nan, np.inf, -np.inf, 3e38, -3e38, 0, -1, 1e-40], np.float32)
    mean = np.stack(np.meshgrid(hostile, hostile), axis=-1).reshape(-1, 2)
    pyramid = WeightPyramid(RANDOM.integers(1, 256, shape, dtype=np.uint8))
    for scale in hostile:
        at = pyramid.at(gaussians(mean, np.full(len(mean), scale)))
        assert np.isfinite(at).all()
        assert ((at > 0) & (at <= 1)).all()


def test_no_gaussians() -> None:
    assert WeightPyramid(landscape(8, 8, 1)[..., 0]).at(Gaussians.empty(3)).shape == (0,)
