from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from PIL import Image, ImageCms

from smartsplat.errors import ImageError
from smartsplat.images.color.color_profiles import built_profile, cmyk_converter, usable_profile
from smartsplat.images.color.color_spaces import in_srgb
from smartsplat.metadata import Metadata
from tests.samples import cmyk_profile, gamma_profile

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
P3 = (0.3127, 0.329, 0.68, 0.32, 0.265, 0.69, 0.15, 0.06)


def random(*shape: int, top: int = 256, kind: str = "u1") -> np.ndarray:
    return np.random.default_rng(3).integers(0, top, shape).astype(kind)


def srgb_curve(light: np.ndarray) -> np.ndarray:
    return np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)


def test_a_profile_that_fits_is_kept() -> None:
    assert usable_profile(SRGB, "RGB") == (SRGB, ())
    assert usable_profile(SRGB + bytes(9), "RGB") == (SRGB, ()), "padding is no part of it"
    assert usable_profile(gamma_profile(2.2), "GRAY") == (gamma_profile(2.2), ())
    assert usable_profile(cmyk_profile(), "CMYK") == (cmyk_profile(), ())
    assert usable_profile(None, "RGB") == usable_profile(b"", "RGB") == (None, ())


def test_a_profile_that_does_not_fit_is_dropped() -> None:
    far_tag = SRGB[:140] + struct.pack(">I", 1 << 31) + SRGB[144:]
    many_tags = SRGB[:128] + struct.pack(">I", 1 << 20) + SRGB[132:]
    no_tags = struct.pack(">I", 132) + SRGB[4:128] + bytes(4)
    for icc, space, why in (
        (SRGB, "GRAY", "it is for RGB, the image is GRAY"),
        (SRGB, "CMYK", "it is for RGB, the image is CMYK"),
        (gamma_profile(1), "RGB", "it is for GRAY, the image is RGB"),
        (SRGB[:200], "RGB", f"it has 200 of {len(SRGB)} bytes, the image is RGB"),
        (b"nonsense", "RGB", "it is damaged, the image is RGB"),
        (SRGB.replace(b"acsp", b"abcd"), "RGB", "it is damaged, the image is RGB"),
        (far_tag, "RGB", "it is damaged, the image is RGB"),
        (many_tags, "RGB", "it is damaged, the image is RGB"),
        (no_tags, "RGB", "it is damaged, the image is RGB"),
    ):
        assert usable_profile(icc, space) == (None, (f"colour profile dropped: {why}",))


def test_a_built_profile_of_srgb_changes_nothing() -> None:
    pixels = random(20, 30, 3)
    for icc in (built_profile(None, None, False), built_profile(None, None, True)):
        gray = icc[16:20] == b"GRAY"
        assert usable_profile(icc, "GRAY" if gray else "RGB") == (icc, ())
        same = in_srgb(pixels[:, :, :1].copy() if gray else pixels, Metadata(icc=icc))
        assert np.abs(same.astype(int) - (pixels[:, :, :1] if gray else pixels)).max() <= 1


@pytest.mark.parametrize("kind", ["u1", "u2"])
@pytest.mark.parametrize("gray", [False, True])
@pytest.mark.parametrize("gamma", [1.0, 1.8, 2.2])
def test_a_built_profile_says_what_gamma_means(gamma: float, gray: bool, kind: str) -> None:
    full = 255 if kind == "u1" else 65535
    pixels = random(20, 30, 1 if gray else 3, top=full - full // 5, kind=kind) + np.array(full // 6, kind)
    if not gray:
        pixels = np.repeat(pixels[:, :, :1], 3, axis=2).copy()
    icc = built_profile(gamma, None if gray else P3, gray)
    ImageCms.ImageCmsProfile(io.BytesIO(icc))
    converted = in_srgb(pixels, Metadata(icc=icc))
    assert converted.dtype == pixels.dtype
    expected = full * srgb_curve((pixels / full) ** gamma)
    assert np.abs(converted - expected).max() <= (2 if kind == "u1" else 200), "grey is grey under any primaries"


def test_a_built_profile_says_what_the_primaries_mean() -> None:
    icc = built_profile(None, P3, False)
    pixels = np.array([[[0, 65535, 0], [65535, 0, 0], [30000, 40000, 35000]]], np.uint16)
    converted = in_srgb(pixels, Metadata(icc=icc))
    assert converted[0, 0].tolist() == [0, 65535, 0], "out of gamut"
    light = np.where(pixels[0, 2] / 65535 <= 0.04045, 0, ((pixels[0, 2] / 65535 + 0.055) / 1.055) ** 2.4)
    matrix = np.array([[1.2249, -0.2247, 0], [-0.0420, 1.0419, 0], [-0.0197, -0.0786, 1.0979]])  # P3 to BT.709
    assert np.abs(converted[0, 2] - 65535 * srgb_curve(matrix @ light)).max() < 100


def test_chromaticities_that_make_no_sense() -> None:
    for points in ([0.0] * 8, [0.3127, 0.329, *[0.3, 0.3] * 3], [0.3127, 0.329, 0.64, -0.33, 0.3, 0.6, 0.15, 0.06]):
        with pytest.raises(ValueError, match="chromaticities"):
            built_profile(2.2, points, False)


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_colors_of_a_profile_become_srgb(kind: str) -> None:
    unit = 1 if kind == "u1" else 257
    pixels = random(9, 21, 3, kind=kind) * np.array(unit, kind)
    same = in_srgb(pixels, Metadata(icc=SRGB))
    assert same.dtype == pixels.dtype
    assert np.abs(same.astype(int) - pixels).max() <= unit
    swapped = SRGB.replace(b"rXYZ", b"----").replace(b"gXYZ", b"rXYZ").replace(b"----", b"gXYZ")
    turned = in_srgb(pixels, Metadata(icc=swapped))
    assert np.abs(turned.astype(int) - pixels[..., [1, 0, 2]]).max() <= 2 * unit


def test_an_unusable_profile_converts_nothing() -> None:
    for kind in ("u1", "u2"):
        for icc in (b"nonsense", SRGB[:200], gamma_profile(1.0)):
            with pytest.raises(ImageError, match="profile cannot be used"):
                in_srgb(random(4, 4, 3, kind=kind), Metadata(icc=icc))


def test_cmyk() -> None:
    inks = random(9, 8, 4)
    image = Image.frombytes("CMYK", (8, 9), inks.tobytes())
    for icc in (None, b"nonsense", cmyk_profile()[:200]):
        convert, notices = cmyk_converter(icc)
        assert np.array_equal(convert(inks), np.asarray(image.convert("RGB")))
        assert notices == ("CMYK converted to RGB without a colour profile",)
    convert, notices = cmyk_converter(cmyk_profile())
    # Without the profile cyan is (0, 255, 255); in this one every ink is black.
    assert convert(np.array([[[255, 0, 0, 0]]], np.uint8)).max() < 30
    assert convert(np.array([[[0, 0, 0, 0]]], np.uint8)).min() > 240
    assert notices == ("CMYK converted to sRGB with its colour profile, which is dropped",)
