from __future__ import annotations

import numpy as np
import pytest

from smartsplat.images.strips import Strips
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
