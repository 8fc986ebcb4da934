from __future__ import annotations

import struct
import sys

import numpy as np
import pytest
from PIL import ImageCms

from smartsplat.arrays import SampleArray
from smartsplat.errors import ImageError
from smartsplat.images.color import color_spaces
from smartsplat.images.color.color_spaces import comparable, in_srgb, same_colors
from smartsplat.metadata import NO_METADATA, Metadata
from tests.samples import gamma_profile, landscape
from tests.samples import matrix_profile as made

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
P3_COLUMNS = ((0.51512, 0.2412, -0.00105), (0.29198, 0.69225, 0.04189), (0.1571, 0.06657, 0.78407))
"""XYZ of red, green and blue of Display P3 under D50."""


def curve(gamma: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 * gamma))


P3_GAMMA = made(*[curve(2.2)] * 3, columns=P3_COLUMNS)


def table_profile() -> bytes:
    """A profile of RGB whose table, of two points a side, turns each channel into L* and a* and b* into 0."""
    ramp = b"".join(struct.pack(">2H", 0, 65535) for _ in range(3))
    corners = b"".join(struct.pack(">3H", 65280 * (corner & 1), 32768, 32768) for corner in range(8))
    matrix = struct.pack(">9i", *(65536 if place % 4 == 0 else 0 for place in range(9)))
    table = b"mft2" + bytes(4) + bytes([3, 3, 2, 0]) + matrix + struct.pack(">HH", 2, 2) + ramp + corners + ramp
    return made(*[curve(2.2)] * 3, columns=P3_COLUMNS, A2B0=table).replace(b"RGB XYZ ", b"RGB Lab ")


def noise(channels: int, dtype: type[np.unsignedinteger] = np.uint16) -> SampleArray:
    return np.random.default_rng(1).integers(0, np.iinfo(dtype).max, (50, 60, channels), dtype, endpoint=True)


def linear_to_srgb(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def test_srgb_stays_as_it_is() -> None:
    pixels = noise(3)
    assert in_srgb(pixels, NO_METADATA) is pixels
    assert in_srgb(pixels, Metadata(primaries=2, transfer=2)) is pixels, "what is not specified is sRGB"
    assert np.abs(in_srgb(pixels, Metadata(SRGB)).astype(int) - pixels).max() <= 40  # of the profile's rounded numbers
    assert np.abs(in_srgb(landscape(60, 50), Metadata(SRGB)).astype(int) - landscape(60, 50)).max() <= 1


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("by_profile", [False, True])
def test_linear_light(channels: int, by_profile: bool, dtype: type[np.unsignedinteger]) -> None:
    """Exact in the shadows, too, where tables of few points are far off; alpha stays."""
    peak = np.iinfo(dtype).max
    values = np.arange(peak + 1, dtype=dtype).reshape(16, -1, 1)
    pixels = np.repeat(values, channels, axis=2)
    white = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.7141))  # sRGB's
    icc = gamma_profile(1.0) if channels < 3 else made(*[curve(1.0)] * 3, columns=white)
    metadata = Metadata(icc) if by_profile else Metadata(transfer=8)
    found = in_srgb(pixels, metadata)
    assert found.dtype == dtype
    expected = peak * linear_to_srgb(values / peak)
    colors = 1 if channels < 3 else 3
    close = 0.52 if dtype == np.uint8 or not by_profile else 12  # of 65535: its numbers are rounded
    assert np.abs(found[:, :, :colors] - expected).max() <= close
    assert np.array_equal(found[:, :, colors:], pixels[:, :, colors:])


@pytest.mark.parametrize("channels", [1, 3])
def test_8_and_16_bits_agree(channels: int) -> None:
    pixels = noise(channels, np.uint8)
    metadata = Metadata(P3_GAMMA if channels == 3 else gamma_profile(1.8))
    deep = in_srgb(pixels.astype(np.uint16) * 257, metadata)
    assert np.abs(in_srgb(pixels, metadata) - deep / 257).max() <= 0.55


def test_a_profile_and_code_points_of_the_same_colours_agree() -> None:
    pixels = noise(3)
    difference = in_srgb(pixels, Metadata(P3_GAMMA)).astype(int) - in_srgb(pixels, Metadata(primaries=12, transfer=4))
    assert np.abs(difference).mean() < 10  # of 65535: the profile's numbers are rounded
    assert np.abs(in_srgb(pixels, Metadata(P3_GAMMA)).astype(int) - pixels).mean() > 1000


def test_a_profile_with_a_table() -> None:
    pixels = np.repeat(np.arange(0, 256, 5, dtype=np.uint8)[:, None, None], 3, axis=2)
    found = in_srgb(pixels, Metadata(table_profile()))
    deep = in_srgb(pixels.astype(np.uint16) * 257, Metadata(table_profile()))
    assert np.abs(found - deep / 257).max() <= 4  # libvips' curves are coarse
    lightness = pixels / 255 * 100
    luminance = np.where(lightness > 8, ((lightness + 16) / 116) ** 3, lightness / 903.3)
    assert np.abs(found - 255 * linear_to_srgb(luminance)).max() <= 2


def test_16_bits_with_a_table_need_libvips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvips", None)
    with pytest.raises(ImageError, match="libvips cannot be loaded"):
        in_srgb(noise(3), Metadata(table_profile()))
    in_srgb(noise(3), Metadata(P3_GAMMA))
    in_srgb(noise(3, np.uint8), Metadata(table_profile()))


def test_white_of_hdr() -> None:
    for transfer, value in ((16, 0.5807), (18, 0.75)):
        for primaries in (1, 9, 12):
            pixels = np.full((2, 2, 3), round(65535 * value), np.uint16)
            found = in_srgb(pixels, Metadata(primaries=primaries, transfer=transfer))
            assert found == pytest.approx(65535, abs=20)
            brighter = in_srgb(pixels + np.uint16(5000), Metadata(primaries=primaries, transfer=transfer))
            assert (brighter == 65535).all(), "clipped"
            grey = in_srgb(pixels[:, :, :1], Metadata(primaries=primaries, transfer=transfer))
            assert grey == pytest.approx(65535, abs=20)


def test_wide_primaries() -> None:
    red = np.array([[[255, 0, 0, 9]]], np.uint8)
    assert np.array_equal(in_srgb(red, Metadata(primaries=9)), red), "what lies outside of the gamut is clipped"
    red_of_srgb = np.array([[[round(255 * linear_to_srgb(np.array(each))) for each in (0.6274, 0.0691, 0.0164)]]])
    found = in_srgb(red_of_srgb.astype(np.uint8), Metadata(primaries=9))
    assert found == pytest.approx(np.array([[[255, 0, 0]]]), abs=8)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_profiles_that_cannot_be_used(dtype: type[np.unsignedinteger]) -> None:
    for channels, icc in ((3, b"damaged"), (3, gamma_profile(2.2)), (1, P3_GAMMA), (4, SRGB[:200])):
        with pytest.raises(ImageError, match="the colour profile cannot be used"):
            in_srgb(noise(channels, dtype), Metadata(icc))


@pytest.mark.parametrize(
    "metadata", [Metadata(P3_GAMMA), Metadata(primaries=9, transfer=18), Metadata(table_profile())]
)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_height_of_the_strips_does_not_matter(
    metadata: Metadata, dtype: type[np.unsignedinteger], monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = noise(4, dtype)
    expected = in_srgb(pixels[::-1], metadata)
    monkeypatch.setattr(color_spaces, "STRIP_SAMPLES", 3 * 60 * 4)
    assert np.array_equal(in_srgb(pixels[::-1], metadata), expected)


def test_images_of_the_same_colours_are_compared_as_they_are() -> None:
    first, second = noise(3), noise(3, np.uint8)
    for metadata in (NO_METADATA, Metadata(P3_GAMMA), Metadata(primaries=9, transfer=16)):
        others = Metadata(metadata.icc, metadata.primaries, metadata.transfer, exif=b"other", density=(1, 1))
        found = comparable(first, metadata, second, others)
        assert found[0] is first
        assert found[1] is second


def test_images_of_other_colours_are_compared_in_srgb() -> None:
    first, second = noise(3), noise(3, np.uint8)
    found = comparable(first, NO_METADATA, second, Metadata(P3_GAMMA))
    assert found[0] is first
    assert np.array_equal(found[1], in_srgb(second, Metadata(P3_GAMMA)))
    found = comparable(first, Metadata(primaries=9, transfer=16), second, Metadata(P3_GAMMA))
    assert np.array_equal(found[0], in_srgb(first, Metadata(primaries=9, transfer=16)))


def test_which_colours_are_the_same() -> None:
    assert same_colors(NO_METADATA, Metadata(exif=b"other"))
    assert same_colors(Metadata(SRGB, primaries=9), Metadata(SRGB)), "a profile outranks the code points"
    assert not same_colors(Metadata(SRGB), NO_METADATA)
    assert not same_colors(Metadata(primaries=9), NO_METADATA)
    assert not same_colors(Metadata(transfer=16), NO_METADATA)
