from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from smartsplat.errors import ImageError
from smartsplat.images.image import SourceImage, from_object, read_image
from smartsplat.images.reading import color_modes
from tests.samples import cmyk_profile, gamma_profile

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def saved(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def opened(image: Image.Image, format: str = "PNG", **options: Any) -> Image.Image:
    return Image.open(io.BytesIO(saved(image, format, **options)))


def random(*shape: int, top: int = 256, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(3).integers(0, top, shape).astype(dtype)


def grey_alpha(array: np.ndarray) -> Image.Image:
    return Image.frombytes("LA", (array.shape[1], array.shape[0]), array.tobytes())


def samples(image: SourceImage) -> np.ndarray:
    """Colours and alpha [H, W, C]."""
    return image.pixels if image.alpha is None else np.dstack([image.pixels, image.alpha])


@pytest.fixture(params=[1 << 18, 40])
def strip(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images in one strip, and in many."""
    monkeypatch.setattr(color_modes, "STRIP_PIXELS", request.param)


pytestmark = pytest.mark.usefixtures("strip")


def test_ordinary_modes_are_exact() -> None:
    for mode, count in (("L", 1), ("LA", 2), ("RGB", 3), ("RGBA", 4)):
        array = random(13, 17, count)
        image = Image.frombytes(mode, (17, 13), array.tobytes())
        result = from_object(image)
        assert np.array_equal(samples(result), array)
        assert result.pixels.flags.c_contiguous
        assert result.notices == ()


def test_one_bit_becomes_grey() -> None:
    array = random(9, 21) > 127
    for image in (Image.fromarray(array), opened(Image.fromarray(array), "BMP")):
        assert np.array_equal(from_object(image).pixels[:, :, 0], array * np.uint8(255))


def test_palette_becomes_rgb() -> None:
    image = Image.fromarray(random(12, 14, 3)).quantize(16)
    assert np.array_equal(from_object(image).pixels, np.asarray(image.convert("RGB")))
    for format in ("PNG", "GIF", "TIFF", "BMP"):
        assert np.array_equal(read_image(saved(image, format)).pixels, np.asarray(image.convert("RGB"))), format


def test_transparent_palette_entries() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([0, 1, 2])
    for transparency in (1, b"\xff\x00\xff"):
        for result in (
            from_object(opened(image, transparency=transparency)),
            read_image(saved(image, transparency=transparency)),
        ):
            assert samples(result)[0].tolist() == [[10, 20, 30, 255], [40, 50, 60, 0], [70, 80, 90, 255]]


def test_alpha_of_a_palette() -> None:
    image = Image.fromarray(random(6, 5, 4)).convert("PA")
    assert np.array_equal(samples(from_object(image)), np.asarray(image.convert("RGBA")))


def test_transparent_colours() -> None:
    rgb = Image.fromarray(np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8))
    assert samples(from_object(opened(rgb, transparency=(1, 2, 3)))).tolist() == [[[1, 2, 3, 0], [4, 5, 6, 255]]]
    grey = Image.fromarray(np.array([[17, 34]], np.uint8))
    assert samples(from_object(opened(grey, transparency=34))).tolist() == [[[17, 255], [34, 0]]]
    bit = Image.fromarray(np.array([[True, False]]))
    assert samples(from_object(opened(bit, transparency=1))).tolist() == [[[255, 0], [0, 255]]]
    deep = Image.fromarray(np.array([[1000, 2000]], np.uint16))
    deep.info["transparency"] = 2000
    assert samples(from_object(deep)).tolist() == [[[1000, 65535], [2000, 0]]]


def test_colours_multiplied_with_alpha() -> None:
    array = random(8, 9, 4)
    plain = Image.fromarray(array)
    result = from_object(plain.convert("RGBa"))
    alpha = array[:, :, 3]
    assert np.array_equal(result.alpha, alpha)
    seen = alpha > 100
    assert np.abs(result.pixels[seen].astype(int) - array[seen][:, :3]).max() <= 2
    assert np.array_equal(from_object(grey_alpha(array[:, :, 2:]).convert("La")).alpha, alpha)


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I"])
def test_deep_grey(mode: str) -> None:
    array = random(9, 31, top=65536, dtype="uint16")
    kind = {"I;16B": ">u2", "I": "<i4"}.get(mode, "<u2")
    result = from_object(Image.frombytes(mode, (31, 9), array.astype(kind).tobytes()))
    assert result.pixels.dtype == np.uint16
    assert np.array_equal(result.pixels[:, :, 0], array)
    assert (result.depth, result.notices) == (16, ())


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_deep_grey_of_files(format: str) -> None:
    array = random(9, 31, top=65536, dtype="uint16")
    data = saved(Image.fromarray(array), format)
    for result in (read_image(data), from_object(Image.open(io.BytesIO(data)))):
        assert np.array_equal(result.pixels[:, :, 0], array)
        assert result.notices == ()


def test_integers_out_of_range() -> None:
    for low, high in ((-5, 3), (0, 65536)):
        with pytest.raises(ImageError, match=f"samples from {low} to {high}; only 0 to 65535"):
            from_object(Image.fromarray(np.array([[low, high]], np.int32)))


def test_floats() -> None:
    result = from_object(Image.fromarray(np.array([[0, 0.25, 1]], np.float32)))
    assert result.pixels[0, :, 0].tolist() == [0, 16384, 65535]
    wide = from_object(Image.fromarray(np.array([[-1, 0, 3]], np.float32)), float_range=(-1, 3))
    assert wide.pixels[0, :, 0].tolist() == [0, 16384, 65535]


def test_what_pillow_has_reduced_is_said() -> None:
    import pyvips

    array = random(4, 5, 3, top=65536, dtype="uint16")
    data = bytes(pyvips.Image.new_from_array(array).copy(interpretation="rgb16").write_to_buffer(".png"))
    assert from_object(Image.open(io.BytesIO(data))).notices == (
        "16 bits per sample reduced to 8 by Pillow: give the file itself to keep them",
    )
    assert read_image(data).notices == ()


@pytest.mark.parametrize("mode", ["YCbCr", "LAB", "HSV"])
def test_other_colour_spaces_become_rgb(mode: str) -> None:
    image = Image.fromarray(random(8, 9, 3, top=200))
    if mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
    else:
        image = image.convert(mode)
    expected = np.asarray(image.convert("RGB"))
    assert np.array_equal(from_object(image).pixels, expected)
    if mode != "HSV":
        result = read_image(saved(image, "TIFF", compression="tiff_lzw"))
        assert np.abs(result.pixels.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("format", ["TIFF", "JPEG"])
def test_cmyk(format: str) -> None:
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    image.paste((0, 0, 0, 0), (8, 0, 16, 16))
    data = saved(image, format, icc_profile=cmyk_profile())
    for result in (read_image(data), from_object(Image.open(io.BytesIO(data)))):
        # Without the profile cyan is (0, 255, 255); in this one every ink is black.
        assert result.pixels[8, 2].max() < 30
        assert result.pixels[8, 13].min() > 240
        assert result.notices == ("CMYK converted to sRGB with its colour profile, which is dropped",)
        assert result.icc is None


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_profile_is_kept(format: str) -> None:
    data = saved(Image.fromarray(random(8, 9, 3)), format, icc_profile=SRGB)
    for result in (read_image(data), from_object(Image.open(io.BytesIO(data)))):
        assert result.icc == SRGB
        assert result.notices == ()


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_profile_of_other_channels_is_dropped(format: str) -> None:
    for shape, profile, kind, space in (((5, 6), SRGB, "RGB", "GRAY"), ((5, 6, 3), gamma_profile(2.2), "GRAY", "RGB")):
        result = read_image(saved(Image.fromarray(random(*shape)), format, icc_profile=profile))
        assert result.icc is None
        assert result.notices == (f"colour profile dropped: it is for {kind}, the image is {space}",)
    grey = saved(Image.fromarray(random(5, 6)), format, icc_profile=gamma_profile(2.2))
    assert read_image(grey).icc == gamma_profile(2.2)
