"""Images read by libvips against the same images read by Pillow."""

from __future__ import annotations

import io
import os
import signal
import struct
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

from smartsplat.errors import ImageError, LimitError
from smartsplat.images import vips_reader
from smartsplat.images.image import SourceImage, read
from smartsplat.limits import Limits
from tests.samples import landscape, png

pyvips = pytest.importorskip("pyvips", reason="pyvips is not installed: pip install smartsplat[large]")

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf tiff:Orientation="6"/></x:xmpmeta>'


def exif(turn: int) -> Any:
    tags = Image.Exif()
    tags[0x0112] = turn
    return tags


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def image(width: int = 101, height: int = 149, mode: str = "RGB") -> Image.Image:
    image = Image.fromarray(landscape(width, height)).convert(mode)
    if mode == "RGBA":
        image.putalpha(Image.fromarray(landscape(width, height, 1, seed=1)[..., 0]))
    return image


def deep(bands: int, format: str, **options: Any) -> bytes:
    """A file of 16 bits a sample, which Pillow cannot write."""
    samples = np.random.default_rng(bands).integers(0, 1 << 16, (70, 31, bands)).astype(np.uint16)
    image = pyvips.Image.new_from_array(samples).copy(interpretation="rgb16")
    return bytes(image.write_to_buffer(format, **options))


def with_late_chunk(data: bytes, kind: bytes, body: bytes) -> bytes:
    """A PNG with a chunk behind its pixels."""
    chunk = struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return data[:-12] + chunk + data[-12:]


@pytest.fixture
def yielded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The first rows of the strips that libvips gave, while every image counts as large."""
    tops: list[int] = []
    strips = vips_reader.strips

    def listening(*arguments: Any) -> Iterator[Any]:
        for top, strip in strips(*arguments):
            tops.append(top)
            yield top, strip

    monkeypatch.setattr(vips_reader, "MIN_LARGE_PIXELS", 1)
    monkeypatch.setattr(vips_reader, "strips", listening)
    return tops


def both(data: bytes, monkeypatch: pytest.MonkeyPatch, **options: Any) -> SourceImage:
    """Read as a large image, after a check that Pillow reads the same."""
    result = read(data, **options)
    with monkeypatch.context() as patch:
        patch.setattr(vips_reader, "MIN_LARGE_PIXELS", 1 << 40)
        expected = read(data, **options)
    assert np.array_equal(result.pixels, expected.pixels)
    assert (result.icc, result.notices) == (expected.icc, expected.notices)
    return result


ORDINARY: dict[str, Callable[[], bytes]] = {
    "png": lambda: saved(image(), "PNG"),
    "png, one pixel": lambda: saved(image(1, 1), "PNG"),
    "png, one row": lambda: saved(image(17, 1), "PNG"),
    "png, one column": lambda: saved(image(1, 170), "PNG"),
    "png, rgba": lambda: saved(image(mode="RGBA"), "PNG"),
    "png, opaque": lambda: saved(image().convert("RGBA"), "PNG"),
    "png, profile": lambda: saved(image(), "PNG", icc_profile=SRGB),
    "png, upright": lambda: saved(image(), "PNG", exif=exif(1)),
    "png, late text": lambda: with_late_chunk(saved(image(), "PNG"), b"tEXt", b"date:create\x002026"),
    "png, 16 bits": lambda: deep(3, ".png"),
    "png, 16 bits, rgba": lambda: deep(4, ".png"),
    "tiff": lambda: saved(image(), "TIFF"),
    "tiff, deflate": lambda: saved(image(), "TIFF", compression="tiff_adobe_deflate", icc_profile=SRGB),
    "tiff, lzw, rgba": lambda: saved(image(mode="RGBA"), "TIFF", compression="tiff_lzw"),
    "tiff, tiles": lambda: bytes(pyvips.Image.new_from_array(landscape(300, 200)).write_to_buffer(".tif", tile=True)),
    "tiff, big": lambda: bytes(pyvips.Image.new_from_array(landscape(30, 20)).write_to_buffer(".tif", bigtiff=True)),
    "tiff, 16 bits": lambda: deep(3, ".tif", compression="lzw", predictor="horizontal"),
    "tiff, 16 bits, rgba": lambda: deep(4, ".tif"),
    "jpeg": lambda: saved(image(), "JPEG", icc_profile=SRGB),
    "jpeg, progressive": lambda: saved(image(), "JPEG", progressive=True, quality=40, exif=exif(1)),
    "jpeg, 4:4:4": lambda: saved(image(), "JPEG", subsampling=0, quality=97),
    "jpeg, rgb": lambda: saved(image(), "JPEG", keep_rgb=True),
}

UNUSUAL: dict[str, Callable[[], bytes]] = {
    "grey": lambda: saved(image(mode="L"), "PNG"),
    "grey with alpha": lambda: saved(image().convert("LA"), "PNG"),
    "palette": lambda: saved(image(mode="P"), "PNG"),
    "cmyk": lambda: saved(image(mode="CMYK"), "JPEG"),
    "a transparent colour": lambda: saved(image(), "PNG", transparency=(0, 0, 0)),
    "webp": lambda: saved(image(), "WEBP", lossless=True),
    "bmp": lambda: saved(image(), "BMP"),
    "interlaced": lambda: bytes(pyvips.Image.new_from_array(landscape(30, 20)).write_to_buffer(".png", interlace=True)),
    "a turned png": lambda: saved(image(), "PNG", exif=exif(6)),
    "a turned jpeg": lambda: saved(image(), "JPEG", exif=exif(3)),
    "a turned tiff": lambda: saved(image(), "TIFF", tiffinfo={274: 8}),
    "turned behind the pixels": lambda: with_late_chunk(
        saved(image(), "PNG"), b"eXIf", exif(6).tobytes().removeprefix(b"Exif\0\0")
    ),
    "turned by xmp": lambda: png(2, 1, 8, 2, bytes(6), iTXt=b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
    "turned by late xmp": lambda: with_late_chunk(saved(image(), "PNG"), b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP),
    "tiff, ycbcr": lambda: saved(image(mode="YCbCr"), "TIFF"),
    "tiff, lab": lambda: saved(image(mode="LAB"), "TIFF"),
}


@pytest.mark.parametrize("kind", ORDINARY)
def test_libvips_reads_what_pillow_reads(kind: str, yielded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    result = both(ORDINARY[kind](), monkeypatch)
    assert yielded == list(range(0, result.height, 64))
    assert result.pixels.flags.c_contiguous


@pytest.mark.parametrize("kind", UNUSUAL)
def test_what_is_unusual_is_left_to_pillow(kind: str, yielded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    both(UNUSUAL[kind](), monkeypatch)
    assert yielded == []


def test_a_coloured_background(yielded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    result = both(saved(image(mode="RGBA"), "PNG"), monkeypatch, background=(255, 0, 0))
    assert result.notices == ("alpha flattened on background 255,0,0",)
    assert yielded


def test_small_images_are_left_to_pillow(yielded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vips_reader, "MIN_LARGE_PIXELS", 101 * 149 + 1)
    read(saved(image(), "PNG"))
    assert yielded == []


def test_limits_come_first(yielded: list[int]) -> None:
    with pytest.raises(LimitError):
        read(saved(image(), "PNG"), limits=Limits(pixels=101 * 149 - 1))
    assert yielded == []


@pytest.mark.parametrize("kind", ["png", "tiff, deflate", "jpeg"])
def test_damaged_files_are_explained_by_pillow(kind: str, yielded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    data = ORDINARY[kind]()
    said = []
    for size in (1, 1 << 40):
        monkeypatch.setattr(vips_reader, "MIN_LARGE_PIXELS", size)
        with pytest.raises(ImageError) as caught:
            read(data[: len(data) // 2])
        said.append(str(caught.value))
    assert said[0] == said[1]


def test_a_header_that_lies_is_left_to_pillow(yielded: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vips_reader._LOADERS, "PNG", "jpegload_source")
    both(saved(image(), "PNG"), monkeypatch)
    monkeypatch.setitem(vips_reader._LOADERS, "PNG", "nothingload_source")
    both(saved(image(), "PNG"), monkeypatch)
    assert yielded == []


class Failing(io.BytesIO):
    """A stream that fails behind a number of bytes."""

    def __init__(self, data: bytes, end: int, error: BaseException) -> None:
        super().__init__(data)
        self.end, self.error = end, error

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > self.end:
            raise self.error
        return super().read(size)


def test_errors_of_the_stream_pass_through(yielded: list[int], capfd: pytest.CaptureFixture[str]) -> None:
    data = saved(Image.fromarray(np.random.default_rng(0).integers(0, 256, (600, 500, 3)).astype(np.uint8)), "JPEG")
    assert len(data) > 100_000, "more than is read at once"
    with pytest.raises(ImageError, match="cannot be read: Input/output error"):
        read(Failing(data, 70_000, OSError(5, "Input/output error")))
    with pytest.raises(KeyboardInterrupt):
        read(Failing(data, 70_000, KeyboardInterrupt()))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["png", "tiff, tiles", "jpeg"])
def test_ctrl_c_while_libvips_reads(
    kind: str, yielded: list[int], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The signal comes while libvips calls back: raised there, it would be lost."""

    class Interrupting(io.BytesIO):
        sent = False

        def read(self, size: int | None = -1, /) -> bytes:
            if threading.current_thread() is not threading.main_thread() and not self.sent:
                self.sent = True
                os.kill(os.getpid(), signal.SIGINT)
            return super().read(size)

    with pytest.raises(KeyboardInterrupt):
        read(Interrupting(ORDINARY[kind]()))
    assert capfd.readouterr() == ("", "")


def test_without_libvips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvips", None)
    monkeypatch.setattr(vips_reader, "MIN_LARGE_PIXELS", 1)
    data = saved(image(), "PNG")
    assert vips_reader.libvips() is None
    assert read(data).notices == ()
    monkeypatch.setattr(vips_reader, "MIN_COSTLY_PIXELS", 1)
    assert "pip install 'smartsplat[large]'" in read(data).notices[0]
    assert np.array_equal(read(data).pixels, np.asarray(image()))
    assert read(UNUSUAL["grey"]()).notices == (), "libvips would not read it either"
