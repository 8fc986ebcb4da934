from __future__ import annotations

import io
import sys
from typing import Any

import numpy as np
import pytest
from PIL import Image

from smartsplat.errors import ImageError, LimitError
from smartsplat.images.image import read_image
from smartsplat.images.reading.extra_reader import _named_color
from smartsplat.limits import Limits
from smartsplat.metadata import Metadata
from tests.samples import landscape


def ramp(bits: int, channels: int = 3) -> np.ndarray:
    unit = np.linspace(0, 1, 48 * 64 * channels).reshape(48, 64, channels)
    return np.rint(unit * ((1 << bits) - 1)).astype(np.uint8 if bits <= 8 else np.uint16)


def scaled(array: np.ndarray, bits: int) -> np.ndarray:
    full = 255 if bits <= 8 else 65535
    return np.floor(array.astype(float) * full / ((1 << bits) - 1) + 0.5)


def heic(array: np.ndarray, mode: str, **options: Any) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif", reason="pip install smartsplat[formats]")
    buffer = io.BytesIO()
    size = array.shape[1], array.shape[0]
    pillow_heif.from_bytes(mode=mode, size=size, data=array.tobytes()).save(buffer, quality=-1, **options)
    return buffer.getvalue()


def jxl(image: Image.Image, **options: Any) -> bytes:
    pytest.importorskip("pillow_jxl", reason="pip install smartsplat[formats]")
    buffer = io.BytesIO()
    image.save(buffer, "JXL", lossless=True, **options)
    return buffer.getvalue()


@pytest.fixture
def imagecodecs() -> Any:
    return pytest.importorskip("imagecodecs", reason="pip install smartsplat[formats]")


def test_heic() -> None:
    array = landscape(64, 48)
    exif = Image.Exif()
    exif[271] = "Maker"
    data = heic(array, "RGB", exif=exif.tobytes(), chroma=444)
    result = read_image(data)
    assert np.abs(result.pixels.astype(int) - array).max() <= 6
    assert (result.depth, result.alpha, result.notices) == (8, None, ())
    assert b"Maker" in (result.metadata.exif or b"")
    with_alpha = np.dstack([array, landscape(64, 48, 1, seed=1)])
    assert read_image(heic(with_alpha, "RGBA")).alpha is not None
    assert read_image(heic(array[:, :, 0].copy(), "L")).channels == 1


def test_heic_of_10_bits() -> None:
    array = ramp(10)
    result = read_image(heic(array << np.uint16(6), "RGB;16"))
    assert np.abs(result.pixels - scaled(array, 10)).max() <= 65
    assert result.depth == 10
    gray = array[:, :, :1]
    result = read_image(heic(gray << np.uint16(6), "I;16"))
    assert np.abs(result.pixels - scaled(gray, 10)).max() <= 65
    assert (result.depth, result.channels) == (10, 1)


def test_heic_is_checked_before_it_is_decoded() -> None:
    data = heic(landscape(64, 48), "RGB")
    with pytest.raises(LimitError):
        read_image(data, limits=Limits(pixels=64 * 48 - 1))
    with pytest.raises(ImageError, match="has 1 image, there is no image 2"):
        read_image(data, page=2)
    with pytest.raises(ImageError, match="is damaged"):
        read_image(data[: len(data) * 2 // 3])
    with pytest.raises(ImageError, match="cannot be read as HEIC"):
        read_image(data[:60])


def test_jpeg_xl() -> None:
    array = landscape(64, 48)
    exif = Image.Exif()
    exif[274] = 6
    result = read_image(jxl(Image.fromarray(array), exif=exif.tobytes()))
    assert np.array_equal(result.pixels, array), "EXIF does not turn a JPEG XL"
    assert result.metadata.is_srgb
    assert result.notices == ()
    assert result.metadata.exif is not None
    with_alpha = np.dstack([array, landscape(64, 48, 1, seed=1)])
    assert np.array_equal(read_image(jxl(Image.fromarray(with_alpha))).alpha, with_alpha[:, :, 3])
    assert np.array_equal(read_image(jxl(Image.fromarray(array[:, :, 0]))).pixels, array[:, :, :1])


def test_jpeg_xl_is_checked_before_it_is_decoded() -> None:
    data = jxl(Image.fromarray(landscape(64, 48)))
    with pytest.raises(LimitError, match="64 x 48 pixels"):
        read_image(data, limits=Limits(pixels=64 * 48 - 1))
    with pytest.raises(ImageError, match="has 1 page, there is no page 2"):
        read_image(data, page=2)
    for damaged in (data[: len(data) // 2], b"\xff\x0a"):
        with pytest.raises(ImageError, match="cannot be read as JPEG XL"):
            read_image(damaged)


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_jpeg_xl_keeps_its_bits(bits: int, channels: int, imagecodecs: Any) -> None:
    pytest.importorskip("pillow_jxl")
    array = ramp(bits, channels)
    data = imagecodecs.jpegxl_encode(array.squeeze(), lossless=True, bitspersample=bits)
    result = read_image(data)
    assert np.array_equal(result.pixels, scaled(array[:, :, : channels - (channels % 2 == 0)], bits))
    assert (result.alpha is None) == (channels % 2 == 1)
    assert result.depth == bits
    assert (result.icc, result.metadata.transfer) == (None, 8)


def test_jpeg_xl_of_floats(imagecodecs: Any) -> None:
    pytest.importorskip("pillow_jxl")
    array = np.linspace(0, 1, 48 * 64 * 3).reshape(48, 64, 3).astype(np.float32)
    result = read_image(imagecodecs.jpegxl_encode(array, lossless=True))
    assert np.abs(result.pixels - array * 65535.0).max() <= 1
    assert "floating-point samples" in result.notices[0]


def test_names_of_a_profile_of_libjxl() -> None:
    other = Metadata(icc=b"\0\0\0\0lcms" + bytes(200))
    assert _named_color(other) is other
    damaged = Metadata(icc=b"\0\0\0\0jxl " + bytes(200))
    assert _named_color(damaged) is damaged


@pytest.mark.parametrize("bits", [9, 10, 12, 16])
@pytest.mark.parametrize("channels", [2, 3, 4])
def test_jpeg_2000_keeps_its_bits(bits: int, channels: int, imagecodecs: Any) -> None:
    array = ramp(bits, channels)
    data = imagecodecs.jpeg2k_encode(array, codecformat="jp2", bitspersample=bits, reversible=True, level=0)
    result = read_image(data)
    assert np.array_equal(result.pixels, scaled(array[:, :, : channels - (channels % 2 == 0)], bits))
    assert result.depth == bits
    assert result.notices == ()
    with pytest.raises(ImageError, match="is damaged"):
        read_image(data[: len(data) // 2])


def test_jpeg_2000_whose_parts_state_different_sizes(imagecodecs: Any) -> None:
    data = imagecodecs.jpeg2k_encode(ramp(12), codecformat="jp2", bitspersample=12, reversible=True, level=0)
    start = data.index(b"\xff\x4f\xff\x51") + 8
    with pytest.raises(ImageError, match="its parts state different sizes"):
        read_image(data[:start] + (1 << 20).to_bytes(4, "big") + data[start + 4 :])


@pytest.mark.parametrize("bits", [1, 4, 7, 8])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_2000_of_few_bits_uses_the_whole_range(bits: int, channels: int, imagecodecs: Any) -> None:
    array = ramp(bits, channels).squeeze()
    data = imagecodecs.jpeg2k_encode(array, codecformat="jp2", bitspersample=bits, reversible=True, level=0)
    result = read_image(data)
    assert np.array_equal(result.pixels.squeeze(), scaled(array, bits))
    assert result.depth == bits


def test_without_the_libraries(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("pillow_heif", "pillow_jxl", "imagecodecs"):
        monkeypatch.setitem(sys.modules, name, None)
    for data, format in (
        (b"\0\0\0\x18ftypheic" + bytes(50), "HEIC"),
        (b"\xff\x0a" + bytes(50), "JPEG XL"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(50), "JPEG XL"),
    ):
        with pytest.raises(ImageError) as caught:
            read_image(data)
        assert str(caught.value) == f"<bytes>: is {format}, which needs an extra: pip install 'smartsplat[formats]'"


def test_more_than_8_bits_without_imagecodecs(imagecodecs: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    data = imagecodecs.jpeg2k_encode(ramp(12), codecformat="jp2", bitspersample=12, reversible=True, level=0)
    monkeypatch.setitem(sys.modules, "imagecodecs", None)
    with pytest.raises(ImageError, match="JPEG 2000 with colours of 12 bits, which needs an extra"):
        read_image(data)
    grey = io.BytesIO()
    Image.fromarray(ramp(16, 1)[:, :, 0]).save(grey, "JPEG2000")
    assert np.array_equal(read_image(grey.getvalue()).pixels, ramp(16, 1)), "Pillow keeps 16 bits of grey"
