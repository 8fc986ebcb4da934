from __future__ import annotations

import io
import struct
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from smartsplat.errors import ImageError
from smartsplat.images import color_modes, vips_reader
from smartsplat.images.image import SourceImage, read
from tests.samples import cmyk_profile, gamma_profile, png, tiff_12_bits

RED = (255, 0, 0)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def saved(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def random(*shape: int, top: int = 256, dtype: str = "uint8") -> np.ndarray:
    return np.random.default_rng(3).integers(0, top, shape).astype(dtype)


def grey_alpha(array: np.ndarray) -> Image.Image:
    return Image.frombytes("LA", (array.shape[1], array.shape[0]), array.tobytes())


def grey_profile() -> bytes:
    """A profile that says GRAY; nothing else of it is read."""
    return SRGB[:16] + b"GRAY" + SRGB[20:]


@pytest.fixture(params=[1 << 18, 40, "large"])
def strip(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images in one strip, in many, and read like large ones."""
    if request.param == "large":
        monkeypatch.setattr(vips_reader, "MIN_LARGE_PIXELS", 1)
    else:
        monkeypatch.setattr(color_modes, "STRIP_PIXELS", request.param)


pytestmark = pytest.mark.usefixtures("strip")


def test_grey_and_rgb_are_exact() -> None:
    for array in (random(13, 17), random(13, 17, 3)):
        result = read(saved(Image.fromarray(array)))
        assert np.array_equal(result.pixels, array.reshape(13, 17, -1))
        assert result.pixels.flags.c_contiguous
        assert result.notices == ()


def test_one_bit_becomes_grey() -> None:
    array = random(9, 21) > 127
    for format in ("PNG", "TIFF", "BMP", "PPM"):
        result = read(saved(Image.fromarray(array), format))
        assert np.array_equal(result.pixels[:, :, 0], array * np.uint8(255)), format


def test_palette_becomes_rgb() -> None:
    image = Image.fromarray(random(12, 14, 3)).quantize(16)
    for format in ("PNG", "GIF", "TIFF", "BMP"):
        assert np.array_equal(read(saved(image, format)).pixels, np.asarray(image.convert("RGB"))), format


def test_alpha_is_flattened_on_the_background() -> None:
    array = random(11, 10, 4)
    result = read(saved(Image.fromarray(array)), background=(200, 100, 0))
    alpha = array[:, :, 3:].astype(float) / 255
    expected = array[:, :, :3] * alpha + np.array([200, 100, 0]) * (1 - alpha)
    assert np.abs(result.pixels - expected).max() <= 0.5 + 1e-9
    assert result.notices == ("alpha flattened on background 200,100,0",)


def test_opaque_alpha_is_dropped_in_silence() -> None:
    array = random(11, 10, 4)
    array[:, :, 3] = 255
    result = read(saved(Image.fromarray(array)), background=RED)
    assert np.array_equal(result.pixels, array[:, :, :3])
    assert result.notices == ()
    grey = read(saved(grey_alpha(array[:, :, 2:])), background=RED)
    assert np.array_equal(grey.pixels, array[:, :, 2:3])
    assert grey.notices == ()


def test_grey_with_alpha() -> None:
    array = random(11, 10, 2)
    data = saved(grey_alpha(array))
    alpha = array[:, :, 1:].astype(float) / 255
    on_grey, on_red = read(data, background=(40, 40, 40)), read(data, background=RED)
    assert on_grey.channels == 1
    assert np.abs(on_grey.pixels - (array[:, :, :1] * alpha + 40 * (1 - alpha))).max() <= 0.5 + 1e-9
    assert on_red.channels == 3
    assert np.abs(on_red.pixels - (array[:, :, :1] * alpha + np.array(RED) * (1 - alpha))).max() <= 0.5 + 1e-9


def test_transparent_palette_entries() -> None:
    image = Image.new("P", (3, 1))
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90])
    image.putdata([0, 1, 2])
    for transparency, expected in ((1, [[10, 20, 30], RED, [70, 80, 90]]), (b"\xff\x00\xff", None)):
        result = read(saved(image, transparency=transparency), background=RED)
        assert result.pixels[0].tolist() == [list(color) for color in expected or [[10, 20, 30], RED, [70, 80, 90]]]
        assert result.notices == ("alpha flattened on background 255,0,0",)


def test_transparent_colour_of_a_png() -> None:
    def key(*values: int) -> bytes:
        return struct.pack(f">{len(values)}H", *values)

    rgb = png(2, 1, 8, 2, bytes([1, 2, 3, 4, 5, 6]), tRNS=key(1, 2, 3))
    assert read(rgb, background=RED).pixels.tolist() == [[[255, 0, 0], [4, 5, 6]]]
    deep = png(2, 1, 16, 2, key(257, 514, 771, 1028, 1285, 1542), tRNS=key(257, 514, 771))
    assert read(deep, background=RED).pixels.tolist() == [[[255, 0, 0], [4, 5, 6]]]
    for bits, row, clear in ((8, b"\x11\x22", 0x22), (4, b"\x12", 2), (2, b"\x60", 2), (1, b"\x40", 1)):
        result = read(png(2, 1, bits, 0, row, tRNS=key(clear)), background=RED)
        assert result.pixels[0, 1].tolist() == [255, 0, 0], bits
        assert len(set(result.pixels[0, 0].tolist())) == 1, bits
    grey = read(png(2, 1, 16, 0, key(1000, 2000), tRNS=key(2000)), background=(7, 7, 7))
    assert grey.pixels[0, :, 0].tolist() == [round(1000 / 257), 7]


@pytest.mark.parametrize("format", ["PNG", "TIFF", "PPM", "JPEG2000"])
def test_16_bit_grey_is_rounded(format: str) -> None:
    array = random(9, 31, top=65536, dtype="uint16")
    array[0, :2] = 0, 65535
    result = read(saved(Image.fromarray(array), format))
    assert np.array_equal(result.pixels[:, :, 0], np.floor(array / 257 + 0.5).astype(np.uint8))
    assert result.notices == ("16 bits per sample reduced to 8",)


def test_16_bit_big_endian_tiff() -> None:
    array = random(5, 6, top=65536, dtype=">u2")
    image = Image.frombytes("I;16B", (6, 5), array.tobytes())
    assert np.array_equal(read(saved(image, "TIFF")).pixels[:, :, 0], np.floor(array / 257 + 0.5))


def test_12_bit_tiff_uses_the_whole_range() -> None:
    result = read(tiff_12_bits([0, 4095, 2048, 1]))
    assert result.pixels[0, :, 0].tolist() == [0, 255, 128, 0]
    assert result.notices == ("12 bits per sample reduced to 8",)


@pytest.mark.parametrize(("color_type", "samples", "channels"), [(2, 3, 3), (6, 4, 3), (4, 2, 1)])
def test_16_bit_png_with_several_samples(color_type: int, samples: int, channels: int) -> None:
    array = random(4, 5, samples, top=65536, dtype=">u2")
    if samples % 2 == 0:
        array[:, :, -1] = 65535
    result = read(png(5, 4, 16, color_type, array.tobytes()))
    assert result.channels == channels
    assert np.array_equal(result.pixels, (array[:, :, :channels] >> 8))  # the high byte is what Pillow keeps
    assert result.notices == ("16 bits per sample reduced to 8",)


def test_16_bit_rgb_ppm() -> None:
    array = random(4, 5, 3, top=65536, dtype=">u2")
    result = read(b"P6 5 4 65535\n" + array.tobytes())
    assert np.abs(result.pixels - array / 257).max() <= 1
    assert result.notices == ("16 bits per sample reduced to 8",)


def test_depth_of_avif_and_jpeg_2000() -> None:
    """Pillow writes neither with more than 8 bits of colour, so the start of such files is made up."""
    image: Any = Image.new("RGB", (1, 1))
    for format, head, bits in (
        ("AVIF", b"....av1C\x81\x00\x0c\x00", 8),
        ("AVIF", b"....av1C\x81\x00\x4c\x00", 10),
        ("AVIF", b"....av1C\x81\x40\x6c\x00", 12),
        ("AVIF", b"....av1C\x81", 8),
        ("JPEG2000", b"..\xff\x4f\xff\x51" + bytes(38) + b"\x07", 8),
        ("JPEG2000", b"..\xff\x4f\xff\x51" + bytes(38) + b"\x0b", 12),
        ("JPEG2000", b"..\xff\x4f\xff\x51", 8),
    ):
        image.format = format
        assert color_modes.inspect(image, head).bits == bits
    flat = color_modes.flatten(image, (255, 255, 255), color_modes.SampleLayout(bits=10))
    assert flat.notices == ("10 bits per sample reduced to 8",)


def test_integers_of_32_bits() -> None:
    array = np.array([[0, 257, 65535]], np.int32)
    result = read(saved(Image.fromarray(array), "TIFF"))
    assert result.pixels[0, :, 0].tolist() == [0, 1, 255]
    assert result.notices == ("32-bit integer samples taken as 0 to 65535 and reduced to 8 bits",)
    for low, high in ((-5, 3), (0, 65536)):
        data = saved(Image.fromarray(np.array([[low, high]], np.int32)), "TIFF")
        with pytest.raises(ImageError, match=f"32-bit integer samples from {low} to {high}; only 0 to 65535"):
            read(data)


def test_floating_point() -> None:
    array = np.array([[0, 0.25, 0.5, 1]], np.float32)
    result = read(saved(Image.fromarray(array), "TIFF"))
    assert result.pixels[0, :, 0].tolist() == [0, 64, 128, 255]
    assert result.notices == ("floating-point samples from 0 to 1 reduced to 8 bits",)
    for bad in (1.5, -0.5, float("inf"), float("nan")):
        with pytest.raises(ImageError, match=r"floating-point samples from .*; only 0 to 1 can be reduced"):
            read(saved(Image.fromarray(np.array([[0.5, bad]], np.float32)), "TIFF"))


@pytest.mark.parametrize("mode", ["YCbCr", "LAB"])
def test_other_colour_spaces_become_rgb(mode: str) -> None:
    image = Image.fromarray(random(8, 9, 3, top=200))
    if mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        image = ImageCms.profileToProfile(image, ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
    else:
        image = image.convert(mode)
    result = read(saved(image, "TIFF", compression="tiff_lzw"))
    assert result.channels == 3
    assert np.abs(result.pixels.astype(int) - np.asarray(image.convert("RGB"))).max() <= 1


def test_cmyk_without_a_profile() -> None:
    image = Image.frombytes("CMYK", (9, 8), random(8, 9, 4).tobytes())
    for profile in (b"", b"nonsense", cmyk_profile()[:200]):
        result = read(saved(image, "TIFF", icc_profile=profile))
        assert np.array_equal(result.pixels, np.asarray(image.convert("RGB")))
        assert result.notices[0] == "CMYK converted to RGB without a colour profile"
        assert result.icc is None


@pytest.mark.parametrize("format", ["TIFF", "JPEG"])
def test_cmyk_is_converted_with_its_profile(format: str) -> None:
    image = Image.new("CMYK", (16, 16), (255, 0, 0, 0))
    image.paste((0, 0, 0, 0), (8, 0, 16, 16))
    result = read(saved(image, format, icc_profile=cmyk_profile()))
    # Without the profile cyan is (0, 255, 255); in this one every ink is black.
    assert result.pixels[8, 2].max() < 30
    assert result.pixels[8, 13].min() > 240
    assert result.notices == ("CMYK converted to sRGB with its colour profile, which is dropped",)
    assert result.icc is None


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_profile_is_kept(format: str) -> None:
    result = read(saved(Image.fromarray(random(8, 9, 3)), format, icc_profile=SRGB))
    assert result.icc == SRGB
    assert result.notices == ()


def test_profile_of_other_channels_is_dropped() -> None:
    def with_profile(shape: tuple[int, ...], profile: bytes, **options: Any) -> SourceImage:
        return read(saved(Image.fromarray(random(*shape)), icc_profile=profile), **options)

    assert with_profile((5, 6), grey_profile()).icc == grey_profile()
    grey = with_profile((5, 6), SRGB)
    assert (grey.icc, grey.notices) == (None, ("colour profile dropped: it is for RGB, the image is GRAY",))
    rgb = with_profile((5, 6, 3), grey_profile())
    assert (rgb.icc, rgb.notices) == (None, ("colour profile dropped: it is for GRAY, the image is RGB",))
    damaged = with_profile((5, 6, 3), b"nonsense")
    assert damaged.icc is None
    assert damaged.notices == ("colour profile dropped: it is damaged, the image is RGB",)


def test_blend_of_arrays_agrees_with_files() -> None:
    array = random(7, 8, 4)
    assert np.array_equal(
        color_modes.blend(array[:, :, :3], array[:, :, 3], RED),
        read(saved(Image.fromarray(array)), background=RED).pixels,
    )


def test_separate_planes_of_16_bits_are_refused() -> None:
    """Pillow takes them for planes of 8 bits and returns noise."""
    entries: list[tuple[int, int, int, Callable[[int], int] | int]] = [
        (256, 4, 1, 1), (257, 4, 1, 1), (258, 3, 3, lambda end: end), (259, 3, 1, 1), (262, 3, 1, 2),
        (273, 4, 3, lambda end: end + 6), (277, 3, 1, 3), (278, 4, 1, 1), (279, 4, 3, lambda end: end + 18),
        (284, 3, 1, 2),
    ]  # fmt: skip
    end = 8 + 2 + 12 * len(entries) + 4
    directory = b"".join(
        struct.pack("<HHII", tag, kind, count, value(end) if callable(value) else value)
        for tag, kind, count, value in entries
    )
    arrays = struct.pack("<3H3I3I", 16, 16, 16, end + 30, end + 32, end + 34, 2, 2, 2) + bytes(6)
    data = struct.pack("<2sHIH", b"II", 42, 8, len(entries)) + directory + bytes(4) + arrays
    with pytest.raises(ImageError, match="16-bit samples in separate uncompressed planes"):
        read(data)


def test_colors_of_a_profile_become_srgb() -> None:
    pixels = random(9, 21, 3)
    same = color_modes.to_srgb(pixels, SRGB)
    assert same is not None
    assert np.abs(same.astype(int) - pixels).max() <= 1
    swapped = SRGB.replace(b"rXYZ", b"----").replace(b"gXYZ", b"rXYZ").replace(b"----", b"gXYZ")
    turned = color_modes.to_srgb(pixels, swapped)
    assert turned is not None
    assert np.abs(turned.astype(int) - pixels[..., [1, 0, 2]]).max() <= 2


def test_greys_of_a_profile_become_srgb() -> None:
    pixels = random(9, 21, 1, top=216) + np.uint8(40)  # near black the curve is too steep for its table
    linear = color_modes.to_srgb(pixels, gamma_profile(1.0))
    assert linear is not None
    assert linear.shape == pixels.shape
    light = pixels / 255.0
    expected = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    assert np.abs(linear - 255 * expected).max() <= 2


def test_an_unusable_profile_converts_nothing() -> None:
    for icc in (b"", b"nonsense", SRGB[:200], gamma_profile(1.0)):
        assert color_modes.to_srgb(random(4, 4, 3), icc) is None
