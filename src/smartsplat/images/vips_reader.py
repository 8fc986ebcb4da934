"""Large images read strip by strip by libvips, the extra ``large``: Pillow holds a copy of four bytes a pixel.

Only what both read to the same pixels goes this way, RGB with or without alpha in PNG, TIFF and JPEG. All else is
Pillow's: grey and palettes, of which it holds a byte a pixel; WebP and AVIF, whose decoders need the whole in any
case; and what is unusual or damaged.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import numpy as np
from PIL import Image, ImageFile

from smartsplat.images.color_modes import raw_mode
from smartsplat.images.pillow_reader import orientation
from smartsplat.images.strips import ROW_MULTIPLE

MIN_LARGE_PIXELS = 1 << 26
"""Pixels from which on libvips reads: smaller images are not worth the import."""

MIN_COSTLY_PIXELS = 1 << 28
"""Pixels of which Pillow's copy takes a gigabyte: whoever has no libvips is told of it."""

_LOADERS = {"PNG": "pngload_source", "TIFF": "tiffload_source", "JPEG": "jpegload_source"}
_TIFF_PHOTOMETRIC, _TIFF_RGB = 262, 2
_TIFF_PLANES, _TIFF_INTERLEAVED = 284, 1
_PNG_TURNS = (b"Raw profile type exif\0", b"XML:com.adobe.xmp\0")  # keywords of texts that can say how to turn it


class Unreadable(Exception):
    """libvips gives up, or does not see the image that Pillow's header promises."""


def libvips() -> Any:
    """The module pyvips, or None where it or its library is not installed."""
    try:
        import pyvips
    except (ImportError, OSError):
        return None
    return pyvips


def advice(image: Image.Image) -> tuple[str, ...]:
    """A notice that Pillow reads an image that libvips would read in far less memory."""
    if image.width * image.height < MIN_COSTLY_PIXELS or libvips() is not None:
        return ()
    return ("read at the cost of 4 bytes a pixel more than needed: pip install 'smartsplat[large]'",)


def is_ordinary(image: ImageFile.ImageFile, stream: BinaryIO) -> bool:
    """Whether an opened image is large, upright and of a kind that libvips reads from its ``stream`` as Pillow does."""
    if image.width * image.height < MIN_LARGE_PIXELS:
        return False
    layout = raw_mode(image).partition(";16")[0]
    if image.mode not in ("RGB", "RGBA") or layout != image.mode or "transparency" in image.info:
        return False
    if image.format == "PNG":
        return not image.info.get("interlace") and _png_is_upright(image, stream)
    if image.format == "TIFF":
        tags: Any = getattr(image, "tag_v2", {})
        kind = tags.get(_TIFF_PHOTOMETRIC), tags.get(_TIFF_PLANES, _TIFF_INTERLEAVED)
        return kind == (_TIFF_RGB, _TIFF_INTERLEAVED) and orientation(image) == 1
    return image.format == "JPEG" and orientation(image) == 1


def _png_is_upright(image: ImageFile.ImageFile, stream: BinaryIO) -> bool:
    """Whether nothing before or after the pixels turns them; without EXIF data Pillow would look by loading them."""
    if "exif" in image.info:
        if orientation(image) != 1:
            return False
    elif "Raw profile type exif" in image.info or "Orientation" in str(image.info.get("XML:com.adobe.xmp")):
        return False
    before = stream.tell()
    try:
        stream.seek(8)
        behind = False
        while len(head := stream.read(8)) == 8:
            size, kind = struct.unpack(">I4s", head)
            start = stream.read(min(size, 32))
            behind |= kind == b"IDAT"
            if behind and (kind == b"eXIf" or start.startswith(_PNG_TURNS)):
                return False
            stream.seek(size - len(start) + 4, 1)
        return True
    finally:
        stream.seek(before)


def strips(image: ImageFile.ImageFile, stream: BinaryIO) -> Iterator[tuple[int, Image.Image]]:
    """Full-width strips of an ordinary image from top to bottom, each after its first row.

    libvips works in a thread of its own, one strip ahead. It calls back into Python, where Ctrl-C would be raised if
    that were the main thread, and be lost. Raises Unreadable, or what the stream raises.
    """
    before = stream.tell()
    decoded = _decoded(image, _Callbacks(stream))
    try:
        with ThreadPoolExecutor(1) as thread:
            ahead = thread.submit(next, decoded, None)
            while (strip := ahead.result()) is not None:
                ahead = thread.submit(next, decoded, None)
                yield strip
    finally:
        stream.seek(before)


def _decoded(image: ImageFile.ImageFile, callbacks: _Callbacks) -> Iterator[tuple[int, Image.Image]]:
    pyvips = libvips()
    if pyvips is None:
        raise Unreadable("pyvips is not installed")
    try:
        source = pyvips.SourceCustom()
        source.on_read(callbacks.read)
        source.on_seek(callbacks.seek)
        decoded = getattr(pyvips.Image, _LOADERS[str(image.format)])(source, access="sequential", fail_on="error")
        if (decoded.width, decoded.height, decoded.bands) != (*image.size, len(image.mode)):
            raise Unreadable("the size differs")
        region = pyvips.Region.new(decoded)
        for top in range(0, decoded.height, ROW_MULTIPLE):
            rows = min(ROW_MULTIPLE, decoded.height - top)
            samples = region.fetch(0, top, decoded.width, rows)
            if callbacks.error is not None:
                raise callbacks.error
            yield top, _strip(samples, decoded.format, (rows, decoded.width, decoded.bands))
    except (pyvips.Error, AttributeError) as error:  # the latter of a libvips that is old or lacks a format
        raise callbacks.error or Unreadable(str(error)) from None


def _strip(samples: Any, kind: str, shape: tuple[int, int, int]) -> Image.Image:
    """Samples as libvips has them; of 16 bits the upper byte is taken, as Pillow does in RGB."""
    if kind == "uchar":
        return Image.fromarray(np.frombuffer(samples, np.uint8).reshape(shape))
    if kind != "ushort":
        raise Unreadable(f"samples are {kind}")
    return Image.fromarray((np.frombuffer(samples, np.uint16) >> 8).astype(np.uint8).reshape(shape))


class _Callbacks:
    """What libvips calls to read a stream; an error cannot pass through it and is kept."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.error: BaseException | None = None

    def read(self, size: int) -> bytes | None:
        try:
            return self._stream.read(size)
        except BaseException as error:
            self.error = error
            return None

    def seek(self, offset: int, whence: int) -> int:
        try:
            return self._stream.seek(offset, whence)
        except BaseException as error:
            self.error = error
            return -1
