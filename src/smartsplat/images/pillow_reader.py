"""Opens image files with Pillow, but without the pixel limit of Image.open.

That limit is global to the process, belongs to the host program and is below 16K. Here the limits are the
caller's; they are checked before pixels are decoded.
"""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from collections.abc import Iterator
from typing import Any, BinaryIO, cast

from PIL import Image, ImageFile

from smartsplat.errors import ImageError, LimitError, SmartSplatError
from smartsplat.limits import Limits

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO

READABLE = ("PNG", "JPEG", "BMP", "GIF", "PPM", "WEBP", "TIFF", "AVIF", "JPEG2000")
"""Pillow's names; JPEG includes the files of several images (MPO) that cameras write."""

HEAD = 1 << 16
"""First bytes of a file that are looked at; they hold the properties of ordinary AVIF and JPEG 2000 files."""

_ORIENTATION_TAG = 0x0112  # of EXIF


class _ShortReads(io.BufferedIOBase):
    """Reads at most 16 bytes unless asked for all.

    With no more of a WebP header Pillow cannot apply its own limit to the canvas while it opens the file.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int | None = -1) -> bytes:
        return self._stream.read() if size is None or size < 0 else self._stream.read(min(size, 16))


@contextlib.contextmanager
def stream_of(source: Source) -> Iterator[BinaryIO]:
    """A seekable stream at its start; a stream of the caller's stays open."""
    if isinstance(source, bytes | bytearray | memoryview):
        yield io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            yield file if file.seekable() else io.BytesIO(file.read())
    elif not hasattr(source, "read"):
        raise TypeError(f"a path, a binary stream or bytes are needed, not {type(source).__name__}")
    elif source.seekable():
        source.seek(0)
        yield source
    else:
        yield io.BytesIO(source.read())


def open_image(stream: BinaryIO, head: bytes, name: str, limits: Limits) -> ImageFile.ImageFile:
    """The image in a stream that begins with ``head``, its header read but not its pixels."""
    if not head:
        raise ImageError(f"{name}: is empty")
    Image.preinit()
    for kind in READABLE:
        if kind not in Image.OPEN:
            Image.init()
        factory, accept = Image.OPEN[kind]
        accepted = accept is None or accept(head[:16])
        if isinstance(accepted, str):  # the reason why this Pillow cannot
            raise ImageError(f"{name}: {line(accepted)}")
        if accepted:
            break
    else:
        raise ImageError(f"{name}: is not an image in a known format ({', '.join(READABLE)})")
    file: BinaryIO = stream
    if kind == "WEBP":  # opening it already allocates the canvas
        check_size(name, *_webp_size(head), limits)
        file = cast(BinaryIO, _ShortReads(stream))
    stream.seek(0)
    try:
        image = factory(file, "")
    except (SyntaxError, ValueError, OSError) as error:
        raise ImageError(f"{name}: cannot be read as {kind}: {reason(error)}") from error
    check_size(name, image.width, image.height, limits)
    return image


def _webp_size(head: bytes) -> tuple[int, int]:
    """Width and height of the canvas that a WebP header states."""

    def number(start: int, size: int) -> int:
        return int.from_bytes(head[start : start + size], "little")

    if head[12:16] == b"VP8X":
        return number(24, 3) + 1, number(27, 3) + 1
    if head[12:16] == b"VP8L":
        return (number(21, 4) & 0x3FFF) + 1, (number(21, 4) >> 14 & 0x3FFF) + 1
    return number(26, 2) & 0x3FFF, number(28, 2) & 0x3FFF


def check_size(name: str, width: int, height: int, limits: Limits) -> None:
    if min(width, height) < 1:
        raise ImageError(f"{name}: has no pixels ({width} x {height})")
    if max(width, height) > limits.side:
        raise LimitError(f"{name}: {width} x {height} pixels, the limit is {limits.side} a side")
    if width * height > limits.pixels:
        raise LimitError(f"{name}: {width} x {height} pixels, the limit is {limits.pixels} in all")


def check_frames(image: ImageFile.ImageFile, name: str) -> tuple[str, ...]:
    """Refuses animations and pages; a notice for the further images in a camera's file."""
    frames = int(getattr(image, "n_frames", 1)) if getattr(image, "is_animated", False) else 1
    if frames == 1:
        return ()
    if image.format != "MPO":
        raise ImageError(f"{name}: has {frames} frames; only single images can be read")
    return (f"the file holds {frames} images, the first was taken",)


def load(image: Image.Image) -> None:
    """Decodes the pixels."""
    tile_size: tuple[int, int] | None = getattr(image, "_tile_size", None)
    if getattr(image, "tile", None) and tile_size:
        # A TIFF. Where Pillow finds the memory already allocated, it does not apply its own limit.
        image.im = Image.new(image.mode, tile_size, None).im
    image.load()


def orientation(image: Image.Image) -> int:
    """The EXIF orientation of a loaded image, 1 (upright) to 8; Pillow has already turned a TIFF."""
    try:
        value: Any = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception as error:  # damaged metadata are no reason to refuse the pixels
        warnings.warn(f"damaged EXIF data: {error}", stacklevel=2)
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


@contextlib.contextmanager
def explained(name: str) -> Iterator[list[str]]:
    """Turns whatever is raised inside into one line of ImageError, and in the end warnings into notices."""
    notices: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            yield notices
        except SmartSplatError:
            raise
        except Exception as error:  # a damaged file can make Pillow raise nearly anything
            raise ImageError(f"{name}: cannot be read: {reason(error)}") from error
        said = (str(warning.message) for warning in caught if issubclass(warning.category, UserWarning))
        notices.extend(dict.fromkeys(f"Pillow: {line(text)}" for text in said))


def reason(error: Exception) -> str:
    """What an exception says, in one line."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    if isinstance(error, OSError) and error.strerror:
        return line(error.strerror)
    if str(error) == "not identified by this driver":  # Pillow, of a header without a size
        return "its size is zero or its header is damaged"
    return line(str(error)) or type(error).__name__


def line(text: str) -> str:
    return " ".join(text.split())


def name_of(source: object) -> str:
    """What messages call a source or a destination."""
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>"
    path = os.fspath(source) if isinstance(source, str | os.PathLike) else getattr(source, "name", None)
    return line(os.fsdecode(path)) if isinstance(path, str | bytes) else "<stream>"
