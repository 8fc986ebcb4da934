"""Images read by libvips against the same images read by Pillow."""

from __future__ import annotations

import gc
import io
import os
import signal
import struct
import subprocess
import sys
import textwrap
import threading
import weakref
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np
import PIL
import pytest
import pyvips
from PIL import Image, ImageCms

from smartsplat.errors import ImageError, LimitError
from smartsplat.images.image import read_image
from smartsplat.images.reading import vips_reader
from smartsplat.images.reading.sources import Unreadable
from smartsplat.limits import Limits
from tests.samples import landscape

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


KINDS: dict[str, Callable[[], bytes]] = {
    "png": lambda: saved(image(), "PNG"),
    "png, one pixel": lambda: saved(image(1, 1), "PNG"),
    "png, one row": lambda: saved(image(17, 1), "PNG"),
    "png, one column": lambda: saved(image(1, 170), "PNG"),
    "png, rgba": lambda: saved(image(mode="RGBA"), "PNG"),
    "png, opaque": lambda: saved(image().convert("RGBA"), "PNG"),
    "png, profile": lambda: saved(image(), "PNG", icc_profile=SRGB),
    "png, upright": lambda: saved(image(), "PNG", exif=exif(1)),
    "png, late text": lambda: with_late_chunk(saved(image(), "PNG"), b"tEXt", b"date:create\x002026"),
    "tiff": lambda: saved(image(), "TIFF"),
    "tiff, deflate": lambda: saved(image(), "TIFF", compression="tiff_adobe_deflate", icc_profile=SRGB),
    "tiff, lzw, rgba": lambda: saved(image(mode="RGBA"), "TIFF", compression="tiff_lzw"),
    "tiff, tiles": lambda: bytes(pyvips.Image.new_from_array(landscape(300, 200)).write_to_buffer(".tif", tile=True)),
    "tiff, big": lambda: bytes(pyvips.Image.new_from_array(landscape(30, 20)).write_to_buffer(".tif", bigtiff=True)),
    "jpeg": lambda: saved(image(), "JPEG", icc_profile=SRGB),
    "jpeg, progressive": lambda: saved(image(), "JPEG", progressive=True, quality=40, exif=exif(1)),
    "jpeg, 4:4:4": lambda: saved(image(), "JPEG", subsampling=0, quality=97),
    "jpeg, rgb": lambda: saved(image(), "JPEG", keep_rgb=True),
    "grey": lambda: saved(image(mode="L"), "PNG"),
    "grey with alpha": lambda: saved(image().convert("LA"), "PNG"),
    "palette": lambda: saved(image(mode="P"), "PNG"),
    "a transparent colour": lambda: saved(image(), "PNG", transparency=(0, 0, 0)),
    "gif": lambda: saved(image(mode="P"), "GIF"),
    "tiff, ycbcr": lambda: saved(image(mode="YCbCr"), "TIFF"),
}


@pytest.mark.parametrize("kind", KINDS)
def test_libvips_reads_what_pillow_reads(kind: str) -> None:
    if kind == "tiff, ycbcr" and int(PIL.__version__.partition(".")[0]) < 13:
        pytest.skip("this Pillow cannot read what it wrote")
    data = KINDS[kind]()
    opened = Image.open(io.BytesIO(data))
    expected = np.asarray(opened.convert("RGBA"))
    result = read_image(data)
    assert np.array_equal(np.broadcast_to(result.pixels, expected[:, :, :3].shape), expected[:, :, :3])
    opaque = expected[:, :, 3].min() == 255
    assert (result.alpha is None) == opaque
    assert opaque or np.array_equal(result.alpha, expected[:, :, 3])
    assert result.pixels.flags.c_contiguous
    assert result.notices == ()


@pytest.mark.parametrize("format", [".png", ".tif"])
@pytest.mark.parametrize("bands", [3, 4])
def test_16_bits_are_kept(format: str, bands: int) -> None:
    result = read_image(deep(bands, format))
    samples = np.random.default_rng(bands).integers(0, 1 << 16, (70, 31, bands)).astype(np.uint16)
    assert np.array_equal(result.pixels, samples[:, :, :3])
    assert bands == 3 or np.array_equal(result.alpha, samples[:, :, 3])


def strips_of(data: bytes, loader: str, shape: tuple[int, int, int], **options: Any) -> list[tuple[int, Any]]:
    return list(vips_reader.strips(io.BytesIO(data), loader, shape, **options))


def test_strips_go_from_top_to_bottom() -> None:
    strips = strips_of(saved(image(), "PNG"), "png", (149, 101, 3))
    assert [(top, strip.shape) for top, strip in strips] == [
        (0, (64, 101, 3)), (64, (64, 101, 3)), (128, (21, 101, 3))
    ]  # fmt: skip
    with_alpha = strips_of(saved(image(mode="L"), "PNG"), "png", (149, 101, 4), with_alpha=True)
    assert with_alpha[0][1][:, :, 3].min() == 255


def test_what_it_gives_up_on() -> None:
    data = saved(image(), "PNG")
    for loader, shape, problem in (
        ("png", (149, 101, 4), "it holds 101 x 149 x 3 samples"),
        ("png", (101, 149, 3), "it holds 101 x 149 x 3 samples"),
        ("jpeg", (149, 101, 3), "not in JPEG format|Not a JPEG"),
        ("nothing", (149, 101, 3), "nothing is not supported by this libvips"),
    ):
        with pytest.raises(Unreadable, match=problem):
            strips_of(data, loader, shape)


def test_one_error_does_not_speak_of_another() -> None:
    for cut in (2, 3):
        with pytest.raises(Unreadable) as caught:
            strips_of(KINDS["jpeg"]()[: -2000 * cut], "jpeg", (149, 101, 3))
        assert str(caught.value) == "premature end of JPEG image"


def test_damage_that_is_passed_over() -> None:
    data = KINDS["jpeg"]()
    strips = strips_of(data[: len(data) // 2], "jpeg", (149, 101, 3), fail_on="none")
    assert sum(len(strip) for _, strip in strips) == 149


def test_limits_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vips_reader, "strips", lambda *_, **__: pytest.fail("it is decoded"))
    for kind in KINDS:
        with pytest.raises(LimitError):
            read_image(KINDS[kind](), limits=Limits(side=0))


class Failing(io.BytesIO):
    """A stream that fails behind a number of bytes."""

    def __init__(self, data: bytes, end: int, error: BaseException) -> None:
        super().__init__(data)
        self.end, self.error = end, error

    def read(self, size: int | None = -1, /) -> bytes:
        if self.tell() > self.end:
            raise self.error
        return super().read(size)


def test_errors_of_the_stream_pass_through(capfd: pytest.CaptureFixture[str]) -> None:
    data = saved(Image.fromarray(np.random.default_rng(0).integers(0, 256, (600, 500, 3)).astype(np.uint8)), "JPEG")
    assert len(data) > 100_000, "more than is read at once"
    with pytest.raises(ImageError, match="cannot be read: Input/output error"):
        read_image(Failing(data, 70_000, OSError(5, "Input/output error")))
    with pytest.raises(KeyboardInterrupt):
        read_image(Failing(data, 70_000, KeyboardInterrupt()))
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["png", "tiff, tiles", "jpeg"])
def test_ctrl_c_while_libvips_reads(kind: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The signal comes while libvips calls back: raised there, it would be lost."""

    class Interrupting(io.BytesIO):
        sent = False

        def read(self, size: int | None = -1, /) -> bytes:
            if threading.current_thread() is not threading.main_thread() and not self.sent:
                self.sent = True
                os.kill(os.getpid(), signal.SIGINT)
            return super().read(size)

    with pytest.raises(KeyboardInterrupt):
        read_image(Interrupting(KINDS[kind]()))
    assert capfd.readouterr() == ("", "")


def test_a_stream_is_let_go() -> None:
    stream = Failing(KINDS["png"](), 1 << 40, OSError())
    list(vips_reader.strips(stream, "png", (149, 101, 3)))
    seen = weakref.ref(stream)
    del stream
    gc.collect()
    assert seen() is None


def test_without_libvips(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyvips", None)
    with pytest.raises(ImageError, match=r"libvips cannot be loaded: .*; pip install 'pyvips\[binary\]'"):
        read_image(saved(image(), "PNG"))


DAMAGED_JPEGS = """
import contextlib, gc, io, logging
import numpy as np
from PIL import Image
from smartsplat.errors import SmartSplatError
from smartsplat.images.image import read_image

generator = np.random.default_rng(0)
buffer = io.BytesIO()
Image.fromarray(generator.integers(0, 256, (40, 60, 3), dtype=np.uint8)).save(buffer, "JPEG")
held = []
def damaged():
    data = bytearray(buffer.getvalue())
    for place in generator.integers(0, 400, 3):
        data[place] = generator.integers(256)
    return bytes(data)
"""


def test_garbage_collected_while_libvips_warns() -> None:
    script = DAMAGED_JPEGS + textwrap.dedent("""
        from smartsplat.images.reading.vips_reader import libvips
        class Collect(logging.Handler):
            def emit(self, record):
                gc.collect()
        logging.getLogger("pyvips").addHandler(Collect())
        pyvips = libvips()
        gc.disable()
        for _ in range(60):
            with contextlib.suppress(pyvips.Error):
                image = pyvips.Image.jpegload_buffer(damaged())
                held.append([image])
                held[-1].append(held[-1])  # a circle
                image.avg()
            held.clear()
        for _ in range(300):
            with contextlib.suppress(SmartSplatError):
                read_image(damaged())
        print("alive")
    """)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "alive\n", "")


def test_a_damaged_image_is_let_go_at_once() -> None:
    script = DAMAGED_JPEGS + textwrap.dedent("""
        from smartsplat.images.reading.vips_reader import libvips
        pyvips, failures = libvips(), 0
        gc.collect()
        gc.disable()
        for _ in range(100):
            try:
                read_image(damaged())
            except SmartSplatError:
                failures += 1
        print(failures > 10, sum(isinstance(found, pyvips.Image) for found in gc.get_objects()))
    """)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stdout, result.stderr) == (0, "True 0\n", "")
