"""Masks: every level comes back, in parts, from any rectangle; what is damaged is refused."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from smartsplat import _native
from smartsplat.arrays import ByteArray
from smartsplat.bitstream import mask
from smartsplat.bitstream.mask import MAX_LEVEL, mask_levels, to_mask
from smartsplat.errors import FormatError

MAX_BLOCKS_PER_BYTE = _native.format_constants()["MAX_BLOCKS_PER_BYTE"]


def outline(height: int, width: int, steps: int = 15, seed: int = 0) -> ByteArray:
    """Levels of smooth shapes, at their edges in so many steps."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=(height, width)), 6)
    opacity = np.clip(0.5 + field / (0.3 * field.std() + 1e-9), 0, 1) if steps > 1 else field > 0
    return (np.rint(opacity * steps) * (MAX_LEVEL // steps)).astype(np.uint8)


SHAPES = [(1, 1), (1, 17), (8, 8), (9, 7), (64, 64), (65, 130), (200, 33)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["noise", "outline", "binary", "transparent", "opaque", "half"])
def test_levels_come_back(kind: str, shape: tuple[int, int]) -> None:
    levels = {
        "noise": np.random.default_rng(1).integers(0, 16, shape, dtype=np.uint8),
        "outline": outline(*shape),
        "binary": outline(*shape, steps=1),
        "transparent": np.zeros(shape, np.uint8),
        "opaque": np.full(shape, MAX_LEVEL, np.uint8),
        "half": np.full(shape, 8, np.uint8),
    }[kind]
    parts = to_mask(levels)
    assert (len(parts) == 0) == (not levels.any())
    assert np.array_equal(mask_levels(parts, (0, 0, shape[1], shape[0]), shape[::-1], 1), levels)
    for part in parts:
        assert part.count <= MAX_BLOCKS_PER_BYTE * len(part.data)


def test_any_rectangle_is_that_of_the_whole_whatever_the_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mask, "PART_SIDE", 64)
    levels = outline(150, 230)
    parts = to_mask(levels, threads=3)
    assert [part.data for part in parts] == [part.data for part in to_mask(levels)]
    assert len(parts) == 12
    for x, y, width, height in ((0, 0, 230, 150), (63, 64, 1, 1), (60, 100, 110, 50), (229, 149, 1, 1)):
        found = mask_levels(parts, (x, y, width, height), (230, 150), 2)
        assert np.array_equal(found, levels[y : y + height, x : x + width])


def test_a_binary_outline_takes_few_bits_and_what_is_flat_next_to_none() -> None:
    binary = outline(300, 300, steps=1)
    edges = np.count_nonzero(np.diff(binary.astype(int), axis=0)) + np.count_nonzero(
        np.diff(binary.astype(int), axis=1)
    )
    (part,) = to_mask(binary)
    assert len(part.data) * 8 < 3 * edges
    (flat,) = to_mask(np.full((2048, 2048), MAX_LEVEL, np.uint8))
    assert len(flat.data) < 128


def test_uniform_levels_are_padded_to_what_a_reader_accepts() -> None:
    (half,) = to_mask(np.full((2048, 2048), 7, np.uint8))
    assert half.count == 256 * 256
    assert len(half.data) == half.count // MAX_BLOCKS_PER_BYTE


def test_damaged_parts_are_refused() -> None:
    levels = outline(64, 64)
    (part,) = to_mask(levels)
    box = 0, 0, 64, 64
    for data, count in ((part.data[:-3], part.count), (part.data + b"\1", part.count), (part.data, part.count + 1)):
        damaged = type(part)(count, part.extent, data)
        with pytest.raises(FormatError, match="damaged mask"):
            mask_levels([damaged], box, (64, 64), 1)


@pytest.mark.parametrize("bad", [np.zeros((0, 4), np.uint8), np.full((3, 3), 16, np.uint8)])
def test_levels_that_cannot_be_coded(bad: ByteArray) -> None:
    with pytest.raises(ValueError, match=r"empty|range"):
        _native.encode_mask(bad)
