from __future__ import annotations

import numpy as np
import pytest

from smartsplat.images.strips import Strips, rounded_to_8_bits
from tests.samples import cut


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_strips_joined_are_the_image(channels: int, dtype: type[np.unsignedinteger]) -> None:
    pixels = np.random.default_rng(0).integers(0, np.iinfo(dtype).max, (129, 7, channels), dtype)
    joined = cut(pixels).joined()
    assert joined.dtype == dtype
    assert np.array_equal(joined, pixels)


def test_the_only_strip_is_not_copied() -> None:
    pixels = np.zeros((129, 7, 3), np.uint8)
    assert Strips((129, 7, 3), [pixels]).joined() is pixels


def test_rounding_is_to_the_nearest() -> None:
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256, 1)
    rounded = rounded_to_8_bits(values)
    assert rounded.dtype == np.uint8
    assert np.array_equal(rounded, np.rint(values / 257))
    assert rounded_to_8_bits(rounded) is rounded
    wide = np.full((3, 700_000, 2), 65535 - 128, np.uint16)
    assert rounded_to_8_bits(wide).min() == 255
