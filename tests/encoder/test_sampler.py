"""Every sampler against the reference: the contract of ``Sampler``."""

from __future__ import annotations

import numpy as np
import pytest

from smartsplat.arrays import ByteArray, SampleArray
from smartsplat.encoder import sampler_reference
from smartsplat.encoder.compute import sampler_of
from smartsplat.encoder.cpu_sampler import CpuSampler
from smartsplat.encoder.sampler import CellRequest, TileBudgets
from smartsplat.render import View, reference
from smartsplat.render.cpu import CpuRenderer
from tests.compare import scene
from tests.encoder.features import noise
from tests.render.renderers import ALL_SUBJECTS, Subject
from tests.render.scenes import error_weights
from tests.samples import landscape

SHAPES = [(1, 1, 3), (1, 17, 1), (17, 1, 3), (23, 31, 3), (30, 41, 1)]


def deep(pixels: ByteArray) -> SampleArray:
    """16 bits, the upper 8 of which are those of ``pixels``."""
    return (pixels.astype(np.uint16) << 8) | np.random.default_rng(9).integers(0, 256, pixels.shape, dtype=np.uint16)


@pytest.mark.parametrize(("window", "is_deep", "weighted"), [(1, False, False), (3, True, True), (5, False, True)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("subject", ALL_SUBJECTS)
def test_pixels_are_sampled_as_by_the_reference(
    subject: Subject, shape: tuple[int, int, int], window: int, is_deep: bool, weighted: bool
) -> None:
    height, width, _ = shape
    pixels = deep(noise(*shape)) if is_deep else noise(*shape)
    weights = error_weights(View.whole(width, height)) if weighted else None
    split = width // 2
    boxes = [(0, 0, split, height), (split, 0, width - split, height)] if split else [(0, 0, width, height)]
    counts = [columns * rows // 3 + 1 for _, _, columns, rows in boxes]
    keys = np.arange(3, 3 + len(boxes), dtype=np.uint64)
    budgets = TileBudgets(np.array(boxes, np.int64), np.array(counts, np.int64), keys)
    expected_mean, expected_weight = sampler_reference.sample_pixels(pixels, budgets, window, 0.9, weights)
    mean, weight = sampler_of(subject.open(threads=1)).sample_pixels(pixels, budgets, window, 0.9, weights)
    np.testing.assert_array_equal(mean, expected_mean)
    np.testing.assert_allclose(weight, expected_weight, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("shape", [*SHAPES, (90, 80, 3)], ids=str)
@pytest.mark.parametrize("subject", ALL_SUBJECTS)
def test_colors_are_the_references_medians(subject: Subject, shape: tuple[int, int, int]) -> None:
    height, width, _ = shape
    generator = np.random.default_rng(0)
    mean = (generator.random((40, 2)) * [width, height]).astype(np.float32)
    radius = np.resize(np.array([0.25, 0.6, 1.3, 4.2, 11.7, 24.0, 31.0, 90.0], np.float32), 40)
    expected = sampler_reference.median_color(noise(*shape), mean, radius)
    actual = sampler_of(subject.open(threads=1)).median_color(noise(*shape), mean, radius)
    # Weights are rounded to 2^-20: a tie to within that may be decided otherwise.
    assert np.count_nonzero(actual != expected) <= 0.01 * actual.size
    assert np.array_equal(sampler_of(subject.open(threads=1)).median_color(deep(noise(*shape)), mean, radius), actual)


@pytest.mark.parametrize("blur", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("cell", [1, 4, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_cells_are_sampled_as_by_the_reference(channels: int, cell: int, blur: float) -> None:
    view, pixels = View.whole(50, 37), landscape(50, 37, channels)
    gaussians = scene(8, 50, 37, channels)
    sampler = CpuSampler(CpuRenderer(1, exact=True))
    weights = error_weights(view) if cell == 4 else None
    cells = -(-50 // cell) * -(-37 // cell)
    for count in (1, max(1, cells // 5), cells, cells + 7):
        expected, actual = (
            each.sample_cells(params, pixels, view, CellRequest(cell, count, blur), np.random.default_rng(3), weights)
            for each, params in ((sampler_reference, reference.upload(gaussians)), (sampler, gaussians))
        )
        np.testing.assert_array_equal(actual.row, expected.row)
        np.testing.assert_array_equal(actual.column, expected.column)
        np.testing.assert_allclose(actual.residual, expected.residual, atol=1e-4)
