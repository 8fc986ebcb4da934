from __future__ import annotations

import contextlib
import io
import os
import struct
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from smartsplat.errors import ImageError, LimitError
from smartsplat.images.image import from_object, read_image
from smartsplat.limits import Limits
from tests.samples import png

FORMATS = ("PNG", "JPEG", "WEBP", "TIFF", "AVIF", "BMP", "GIF", "PPM", "JPEG2000")


def sample(format: str, width: int = 64, height: int = 48, **options: Any) -> bytes:
    """An image of noise, so that its file has no long run that a cut could fall behind."""
    array = np.random.default_rng(5).integers(0, 256, (height, width, 3)).astype(np.uint8)
    if format == "WEBP":
        options.setdefault("lossless", True)
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format, **options)
    return buffer.getvalue()


def message(source: Any, error: type[Exception] = ImageError, **options: Any) -> str:
    with pytest.raises(error) as caught:
        read_image(source, **options)
    text = str(caught.value)
    assert "\n" not in text
    return text


@pytest.mark.parametrize("format", FORMATS)
def test_every_format_from_every_kind_of_source(format: str, tmp_path: Path) -> None:
    data = sample(format)
    expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    path = tmp_path / "without suffix"
    path.write_bytes(data)
    stream = io.BytesIO(data)
    stream.seek(7)
    for source in (path, str(path), data, bytearray(data), memoryview(data), stream):
        image = read_image(source)
        assert np.array_equal(image.pixels, expected)
        assert image.notices == ()
    assert not stream.closed
    with open(path, "rb") as file:
        read_image(file)
        assert not file.closed


def test_named_pipe_and_unseekable_stream(tmp_path: Path) -> None:
    data = sample("TIFF")
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=(data,))
    writer.start()
    image = read_image(pipe)
    writer.join()
    assert np.array_equal(image.pixels, read_image(data).pixels)

    class Socket(io.BytesIO):
        def seekable(self) -> bool:
            return False

    assert np.array_equal(read_image(Socket(data)).pixels, image.pixels)


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_truncated(format: str, share: float, tmp_path: Path) -> None:
    data = sample(format)
    path = tmp_path / "cut.pic"
    path.write_bytes(data[: int(len(data) * share)])
    assert message(path).startswith(f"{path}: ")
    message(path.read_bytes())


@pytest.mark.parametrize("format", FORMATS)
def test_every_short_prefix_is_an_error(format: str) -> None:
    data = sample(format, 9, 7)
    for length in (*range(1, min(80, len(data) // 2)), *range(80, len(data) // 2, 97)):
        message(data[:length])


@pytest.mark.parametrize("format", FORMATS)
def test_damaged_bytes_never_raise_anything_else(format: str) -> None:
    data = sample(format, 20, 11)
    generator = np.random.default_rng(11)
    for _ in range(400):
        damaged = bytearray(data)
        for place in generator.integers(0, min(len(data), 400), 3):
            damaged[place] = generator.integers(256)
        with contextlib.suppress(ImageError, LimitError):
            read_image(bytes(damaged), limits=Limits(side=4096, pixels=1 << 20))


def test_things_that_are_not_images(tmp_path: Path) -> None:
    empty, text, python = tmp_path / "empty.png", tmp_path / "text.png", tmp_path / "code.py"
    empty.write_bytes(b"")
    text.write_text("this is no image")
    python.write_text("Py = 1")  # begins as a Pillow extension of PPM does
    assert message(empty) == f"{empty}: is empty"
    assert message(b"") == "<bytes>: is empty"
    assert message(text).startswith(f"{text}: is not an image in a known format (PNG, ")
    assert message(python).startswith(f"{python}: cannot be read as PPM")
    assert message(tmp_path) == f"{tmp_path}: cannot be read: Is a directory"
    missing, inside_a_file = tmp_path / "none.png", text / "none.png"
    assert message(missing) == f"{missing}: cannot be read: No such file or directory"
    assert message(inside_a_file) == f"{inside_a_file}: cannot be read: Not a directory"
    assert message("nul\0l").endswith("embedded null byte")
    assert message("two\nlines.png").startswith("two lines.png: ")
    assert message(17).endswith("a path, a binary stream or bytes are needed, not int")
    message(io.StringIO("text"))
    message(b"\0\0\1\0\1\0")  # an icon


def test_unreadable_file(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(sample("PNG"))
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert message(path) == f"{path}: cannot be read: Permission denied"


def test_sizes_in_headers() -> None:
    largest = (1 << 31) - 1
    assert message(png(largest, largest, 8, 2, b""), LimitError) == (
        f"<bytes>: {largest} x {largest} pixels, the limit is 4194304 a side"
    )
    assert message(png(70000, 70000, 8, 2, b""), LimitError) == (
        "<bytes>: 70000 x 70000 pixels, the limit is 4294967296 in all"
    )
    assert message(png(0, 5, 8, 0, b"")) == (
        "<bytes>: cannot be read as PNG: its size is zero or its header is damaged"
    )
    canvas = bytes([0xFF] * 6)  # 2^24 x 2^24, which Pillow would allocate while it opens the file
    webp = b"RIFF" + struct.pack("<I", 22) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + canvas
    assert message(webp, LimitError).startswith("<bytes>: 16777216 x 16777216 pixels")


@pytest.mark.parametrize("format", FORMATS)
def test_limits_of_the_caller(format: str) -> None:
    data = sample(format)
    assert read_image(data, limits=Limits(side=64, pixels=64 * 48)).width == 64
    assert "64 x 48 pixels, the limit is 63 a side" in message(data, LimitError, limits=Limits(side=63))
    assert "the limit is 3071 in all" in message(data, LimitError, limits=Limits(pixels=3071))


def test_limits_of_every_kind_of_webp() -> None:
    for options in ({"lossless": True}, {"lossless": False}, {"lossless": True, "icc_profile": b"x"}):
        data = sample("WEBP", **options)
        assert "64 x 48 pixels" in message(data, LimitError, limits=Limits(pixels=9))


@pytest.mark.parametrize("format", FORMATS)
def test_the_limit_of_pillow_neither_matters_nor_changes(format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data, seen = sample(format), []
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    # A thread switch between two lines would see a change that is only temporary.
    tracer = sys.gettrace()
    sys.settrace(lambda *_: seen.append(Image.MAX_IMAGE_PIXELS))
    try:
        image = read_image(data)
    finally:
        sys.settrace(tracer)
    assert (image.width, image.height) == (64, 48)
    assert image.notices == ()
    assert Image.MAX_IMAGE_PIXELS == 100
    assert set(seen) == {100}
    with pytest.raises(Image.DecompressionBombError):
        Image.open(io.BytesIO(data))


def test_no_warning_between_the_two_limits_of_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    data = sample("GIF", disposal=2)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64 * 48 - 1)
    with pytest.warns(Image.DecompressionBombWarning):
        Image.open(io.BytesIO(data))
    assert read_image(data).notices == ()


def test_larger_than_pillow_allows(tmp_path: Path) -> None:
    path = tmp_path / "large.png"
    Image.new("L", (14000, 13000), 77).save(path, compress_level=1)
    image = read_image(path)
    assert image.pixels.shape == (13000, 14000, 1)
    assert image.notices == ()
    assert (image.pixels == 77).all()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF"])
@pytest.mark.parametrize("value", range(1, 9))
def test_orientation(format: str, value: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = value
    data = sample(format, 30, 17, exif=exif)
    expected = ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")
    assert expected.size == ((30, 17) if value < 5 else (17, 30))
    for image in (read_image(data), from_object(Image.open(io.BytesIO(data)))):
        assert np.array_equal(image.pixels, np.asarray(expected))
        assert image.pixels.flags.c_contiguous


def test_odd_and_damaged_exif_data() -> None:
    short_directory = b"II*\0\x08\0\0\0\xff\xff\x12\x01"
    far_value = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\xff\xff\0\0\0\0\0\0"
    for data, notice in (
        (sample("JPEG", exif=b"Exif\0\0" + short_directory), "Pillow: Corrupt EXIF data"),
        (sample("JPEG", exif=b"Exif\0\0" + far_value), "Pillow: "),
        (png(1, 1, 8, 0, b"\0", eXIf=b"nonsense"), "damaged EXIF data dropped"),
    ):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            image = read_image(data)
        assert any(line.startswith(notice) for line in image.notices)
        assert not any("\n" in line for line in image.notices)
    nine = Image.Exif()
    nine[0x0112] = 9
    assert read_image(sample("JPEG", exif=nine)).notices == ()


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF", "AVIF"])
def test_animations_and_pages(format: str, tmp_path: Path) -> None:
    path, one = tmp_path / "moving", "page" if format == "TIFF" else "frame"
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue")]
    frames[0].save(path, format, save_all=True, append_images=frames[1:])
    first = read_image(path)
    assert first.pixels[0, 0, 0] > 240
    assert first.notices == (f"{one} 1 of 3 was read",)
    last = read_image(path, page=3)
    assert last.pixels[0, 0, 2] > 240
    assert last.notices == ()
    for page in (0, 4):
        assert message(path, page=page) == f"{path}: has 3 {one}s, there is no {one} {page}"


@pytest.mark.parametrize("format", FORMATS)
def test_a_page_of_a_single_image(format: str) -> None:
    data = sample(format)
    assert np.array_equal(read_image(data, page=1).pixels, read_image(data).pixels)
    assert message(data, page=2) == "<bytes>: has 1 page, there is no page 2"


@pytest.mark.parametrize("format", ["BMP", "TGA"])
def test_what_is_left_of_a_damaged_file(format: str, tmp_path: Path) -> None:
    data = sample(format)
    path = tmp_path / "a.tga"
    path.write_bytes(data)
    whole = read_image(path).pixels
    path.write_bytes(data[: len(data) * 3 // 4])
    assert "--accept-damaged" in message(path)
    result = read_image(path, accept_damaged=True)
    assert result.notices[0].startswith("DAMAGED: ")
    same = (result.pixels == whole).all(axis=(1, 2))
    assert 20 < same.sum() < 48


def test_one_frame_of_a_pillow_animation() -> None:
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "blue")]
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    animation = Image.open(buffer)
    animation.seek(1)
    assert from_object(animation).pixels[0, 0].tolist() == [0, 0, 255]
