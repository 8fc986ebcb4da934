"""A mask at any size against a mean over boxes that is computed pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest

from smartsplat.arrays import ByteArray
from smartsplat.render.mask import BoxFilter, box_means

VIEWS = [
    (0, 40, 40),
    (0, 40, 7),
    (0, 40, 113),
    (3, 20, 20),
    (3, 20, 9),
    (10, 30, 77),
    (39, 1, 1),
    (39, 1, 5),
    (0, 1, 3),
    (2, 30, 1),
]


def mean_over_box(line: np.ndarray, low: float, high: float) -> float:
    """Of pixels that go on beyond both ends."""
    total = 0.0
    for pixel in range(math.floor(low), math.ceil(high)):
        inside = min(high, pixel + 1) - max(low, pixel)
        total += inside * float(line[min(max(pixel, 0), len(line) - 1)])
    return total / (high - low)


@pytest.mark.parametrize(("begin", "extent", "count"), VIEWS)
def test_means_are_those_over_each_box(begin: int, extent: int, count: int) -> None:
    line = np.random.default_rng(0).random(40).astype(np.float32)
    boxes = BoxFilter.of(begin, extent, count, 40)
    first, last = boxes.support
    means = boxes.means(line[first:last, None])[:, 0]
    step = extent / count
    for i, mean in enumerate(means):
        center, half = begin + (i + 0.5) * step, max(step, 1) / 2
        assert mean == pytest.approx(mean_over_box(line, center - half, center + half), abs=1e-6)


def test_the_size_of_the_image_gives_its_pixels() -> None:
    boxes = BoxFilter.of(5, 20, 20, 40)
    assert boxes.is_identity
    assert boxes.support == (5, 25)
    assert not BoxFilter.of(5, 20, 10, 40).is_identity
    assert not BoxFilter.of(5.5, 20, 20, 40).is_identity


def test_parts_of_the_rows_are_parts_of_the_whole() -> None:
    levels: ByteArray = np.random.default_rng(1).integers(0, 16, (40, 30), dtype=np.uint8)
    rows, columns = BoxFilter.of(0, 40, 13, 40), BoxFilter.of(0, 30, 30, 30)
    whole = box_means(levels, rows, columns, 15)
    assert whole.shape == (13, 30)
    for begin, end in ((0, 4), (4, 5), (5, 13)):
        part = rows[begin:end]
        top, bottom = part.support
        np.testing.assert_allclose(box_means(levels[top:bottom], part, columns, 15), whole[begin:end], atol=1e-6)
