from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageCms

import smartsplat
from smartsplat.errors import ImageError
from smartsplat.images.color.color_spaces import in_srgb
from smartsplat.metadata import NO_METADATA, Metadata
from smartsplat.web.sources import ArraySource, FileSource, Screen
from tests.samples import gamma_profile, landscape, matrix_profile

P3 = matrix_profile(
    *[b"curv" + bytes(4) + b"\0\0\0\1" + b"\x02\x33"] * 3,
    columns=((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407)),
)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize(
    ("channels", "metadata", "most"),
    [
        (1, Metadata(icc=gamma_profile(1.4)), 1),
        (3, Metadata(icc=P3), 10),
        (3, Metadata(primaries=12, transfer=13), 10),
        (3, Metadata(icc=ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()), 1),
    ],
)
def test_colours_are_converted(channels: int, metadata: Metadata, most: int, dtype: type[np.unsignedinteger]) -> None:
    """As in_srgb does it, which is slower; off only in shadows at the edge of the gamut."""
    colors = landscape(120, 80, channels)
    alpha = landscape(120, 80, 1, seed=1)
    pixels = np.dstack([colors, alpha])
    wide = pixels.astype(np.uint16) * 257 if dtype == np.uint16 else pixels
    found = Screen(channels, metadata).convert(wide)
    assert found.dtype == np.uint8
    expected = in_srgb(colors, metadata)
    errors = np.abs(found[:, :, :channels].astype(int) - expected)
    assert errors.max() <= most
    assert errors.mean() < 0.2
    assert np.array_equal(found[:, :, channels:], alpha)


def test_srgb_is_left_alone() -> None:
    pixels = landscape(12, 8)
    assert Screen(3, NO_METADATA).convert(pixels) is pixels
    assert np.array_equal(Screen(3, NO_METADATA).convert(pixels.astype(np.uint16) * 257), pixels)


def test_a_profile_that_cannot_be_used() -> None:
    with pytest.raises(ImageError, match="cannot be used"):
        Screen(3, Metadata(icc=b"damaged")).convert(landscape(12, 8))


def test_a_file_in_another_colour_space() -> None:
    image = Image.fromarray(landscape(64, 48))
    image.info["icc_profile"] = P3
    reader = smartsplat.open(smartsplat.encode(image, ratio=4, steps=10, threads=1))
    found = FileSource(reader).read((8, 4, 32, 24), (16, 12))
    expected = in_srgb(reader.read(region=(8, 4, 32, 24), size=(16, 12)), reader.metadata)
    assert np.abs(found.astype(int) - expected).mean() < 0.5
    assert np.abs(found.astype(int) - reader.read(region=(8, 4, 32, 24), size=(16, 12))).max() > 4


def test_pixels_in_memory() -> None:
    colors, alpha = landscape(64, 48), landscape(64, 48, 1)[:, :, 0]
    source = ArraySource(colors, alpha, NO_METADATA)
    assert (source.width, source.height) == (64, 48)
    whole = source.read((0, 0, 64, 48), (64, 48))
    assert np.array_equal(whole, np.dstack([colors, alpha]))
    small = source.read((0, 0, 64, 48), (16, 12))
    means = whole.reshape(12, 4, 16, 4, 4).mean(axis=(1, 3))
    assert np.abs(small - means).max() <= 1
    large = source.read((10, 20, 4, 3), (40, 30))
    assert np.array_equal(large[::10, ::10], whole[20:23, 10:14])
    gray = ArraySource(landscape(9, 7, 1), None, NO_METADATA).read((0, 0, 9, 7), (3, 2))
    assert gray.shape == (2, 3, 1)
