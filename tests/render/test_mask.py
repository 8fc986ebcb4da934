"""A mask at any size against means over boxes, and those against one that is computed pixel by pixel."""

from __future__ import annotations

import math

import numpy as np
import pytest

import smartsplat
from smartsplat.arrays import ByteArray
from smartsplat.bitstream import container
from smartsplat.bitstream.container import Alpha, Extras
from smartsplat.bitstream.file import to_file
from smartsplat.bitstream.mask import MAX_LEVEL, to_mask
from smartsplat.bitstream.quantize import Quantizer
from tests.box_filter import BoxFilter, box_means
from tests.compare import scene

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


def file_with(levels: ByteArray) -> bytes:
    """A file whose opacity is a mask of these levels."""
    height, width = levels.shape
    alpha = Alpha(Quantizer(100, 4, width, height, 1), (), to_mask(levels))
    return container.pack(to_file(scene(9, width, height), Quantizer(90, 3, width, height, 3), Extras(alpha=alpha)))


@pytest.mark.parametrize(
    ("region", "size"),
    [
        ((0, 0, 230, 150), (230, 150)),
        ((0, 0, 230, 150), (61, 40)),
        ((0, 0, 230, 150), (1, 1)),
        ((0, 0, 230, 150), (500, 333)),
        ((7, 11, 100, 90), (100, 90)),
        ((7, 11, 100, 90), (33, 200)),
        ((229, 149, 1, 1), (5, 3)),
    ],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_decoder_gives_these_means(
    region: tuple[int, int, int, int], size: tuple[int, int], dtype: type[np.unsignedinteger]
) -> None:
    levels: ByteArray = np.random.default_rng(2).integers(0, 16, (150, 230), dtype=np.uint8)
    found = smartsplat.decode(file_with(levels), region=region, size=size, dtype=dtype)[..., 3]
    x, y, width, height = region
    rows, columns = BoxFilter.of(y, height, size[1], 150), BoxFilter.of(x, width, size[0], 230)
    (top, bottom), (left, right) = rows.support, columns.support
    white = np.iinfo(dtype).max
    expected = np.floor(box_means(levels[top:bottom, left:right], rows, columns, MAX_LEVEL) * white + 0.5)
    assert np.abs(found - expected).max() <= 1
    assert np.mean(found != expected) < 1e-3, "numbers between two code values may go either way"


def test_a_mask_of_many_parts_is_averaged_piece_by_piece() -> None:
    """More pixels than are averaged at once, and more than one part along both axes."""
    cells: ByteArray = np.random.default_rng(3).integers(0, 16, (375, 325), dtype=np.uint8)
    levels = cells.repeat(8, axis=0).repeat(8, axis=1)
    reader = smartsplat.open(file_with(levels))
    whole = reader.read()[..., 3]
    assert np.array_equal(whole, levels * 17)
    small = reader.read(size=(325, 375))[..., 3]
    assert np.array_equal(small, cells * 17)
