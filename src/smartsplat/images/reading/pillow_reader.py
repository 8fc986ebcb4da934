"""Opens image files with Pillow, but without the pixel limit of Image.open.

That limit is global to the process, belongs to the host program and is below 16K. Here the limits are the
caller's; they are checked before pixels are decoded.
"""

from __future__ import annotations

import io
import warnings
from dataclasses import replace
from typing import Any, BinaryIO, cast

from PIL import Image, ImageFile

from smartsplat.errors import ImageError
from smartsplat.images.reading.box_headers import BoxColor, avif_bits, box_color, jpeg2000_bits
from smartsplat.images.reading.color_modes import mend_transparency, mode_of, mode_strips, raw_mode
from smartsplat.images.reading.exif import density, density_of, orientation_of, without_mark
from smartsplat.images.reading.jpeg_reader import jpeg_metadata
from smartsplat.images.reading.sources import (
    HEAD,
    SampleStrips,
    Unreadable,
    check_page,
    check_size,
    length_of,
    line,
    reason,
    spliced,
)
from smartsplat.images.reading.stored import StoredImage
from smartsplat.images.tiff_packing import ORIENTATION
from smartsplat.limits import Limits
from smartsplat.metadata import SRGB_PRIMARIES, SRGB_TRANSFER, Metadata

_PADDED = ("BMP", "PPM", "TGA")
"""Formats whose pixels simply follow each other: where the end is missing, zeros stand for it."""


class _ShortReads(io.BufferedIOBase):
    """Reads at most 16 bytes unless asked for all.

    With no more of a WebP header Pillow cannot apply its own limit to the canvas while it opens the file.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def read(self, size: int | None = -1) -> bytes:
        return self._stream.read() if size is None or size < 0 else self._stream.read(min(size, 16))


def opened(stream: BinaryIO, kind: str, name: str, limits: Limits) -> ImageFile.ImageFile:
    """The image in a stream, its header read by Pillow's reader of ``kind`` but not its pixels.

    Raises ImageError, LimitError.
    """
    stream.seek(0)
    head = stream.read(32)
    Image.preinit()
    if kind not in Image.OPEN:
        Image.init()
    factory, accept = Image.OPEN[kind]
    accepted = accept is None or accept(head[:16])
    if isinstance(accepted, str):  # the reason why this Pillow cannot
        raise ImageError(f"{name}: {line(accepted)}")
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


def frame_notices(image: ImageFile.ImageFile, name: str, page: int | None) -> list[str]:
    """Goes to the page asked for; a notice if there are more and none was. ImageError: there is no such page."""
    count = int(getattr(image, "n_frames", 1)) if getattr(image, "is_animated", False) else 1
    one = "image" if image.format == "MPO" else "frame" if count > 1 else "page"
    number = check_page(name, page, count, one)
    if number > 1:
        image.seek(number - 1)
    return [f"{one} 1 of {count} was read"] if count > 1 and page is None else []


def stored_page(image: ImageFile.ImageFile, name: str, page: int | None, limits: Limits) -> StoredImage:
    """A page of an image that Pillow has opened and decodes. Raises ImageError, LimitError."""
    notices = frame_notices(image, name, page)
    check_size(name, image.width, image.height, limits)
    stored = stored_by_pillow(image)
    stored.notices.extend(notices)
    return stored


def open_with_pillow(stream: BinaryIO, kind: str, name: str, page: int | None, limits: Limits) -> StoredImage:
    """An image that Pillow decodes. Raises ImageError, LimitError."""
    image = opened(stream, kind, name, limits)
    stored = stored_page(image, name, page, limits)
    if kind not in _PADDED:
        return stored
    strict = stored.strips

    def strips(lenient: bool) -> SampleStrips:
        if not lenient:
            return strict(False)
        length = length_of(stream)
        padded = spliced(stream, [(0, length), bytes(8 * image.width * image.height)])
        return stored_by_pillow(opened(padded, kind, name, limits)).strips(False)

    return replace(stored, strips=strips)


def stored_by_pillow(image: Image.Image) -> StoredImage:
    """What Pillow knows of an image that it has opened or made. Raises ImageError."""
    notices: list[str] = []
    head = _head_of(image)
    bits, white = _depth(image, head, notices)
    layout = raw_mode(image)
    if image.format in ("PNG", "TIFF", "PPM") and ";16" in layout and image.mode in ("RGB", "RGBA", "LA", "L"):
        notices.append("16 bits per sample reduced to 8 by Pillow: give the file itself to keep them")
    if image.format == "TIFF" and len(layout) == 1 and max(getattr(image, "tag_v2", {}).get(258, (1,))) > 8:
        raise ImageError("Pillow cannot read 16-bit samples of separate planes: give the file itself")
    mend_transparency(image)
    mode = mode_of(image)
    color = box_color(head)
    metadata = _metadata(image, color)
    turn = _orientation(image, metadata)

    def strips(lenient: bool) -> SampleStrips:
        _load(image)
        return mode_strips(image, mode_of(image))

    return StoredImage(
        image.width,
        image.height,
        mode.bands,
        strips,
        bits=bits,
        white=None if mode.white is None else white or mode.white,
        premultiplied=mode.premultiplied,
        turn=turn,
        metadata=metadata,
        notices=notices,
    )


def _head_of(image: Image.Image) -> bytes:
    """The first part of the file that an image was opened from; nothing if it is closed, or there is none."""
    stream = getattr(image, "fp", None)
    if stream is None or image.format not in ("AVIF", "JPEG2000"):
        return b""
    before = stream.tell()
    stream.seek(0)
    head = stream.read(HEAD)
    stream.seek(before)
    return bytes(head)


def _depth(image: Image.Image, head: bytes, notices: list[str]) -> tuple[int, int | None]:
    """Bits of a sample, and the value that is white if it is an unusual one."""
    deep = image.mode.startswith("I") or image.mode == "F"
    if image.format == "JPEG2000":
        bits = jpeg2000_bits(head)
        held = 16 if deep else 8
        if bits > held:  # it rounds such samples to 8 bits, and white to black
            raise ImageError("Pillow cannot read JPEG 2000 colours of more than 8 bits: give the file itself")
        # Pillow shifts samples of fewer bits up to the most significant ones.
        return min(bits, held), ((1 << bits) - 1) << (held - bits) if bits < held else None
    if image.format == "TIFF" and deep:
        bits = max(getattr(image, "tag_v2", {}).get(258, (16,)))
        return (12, 4095) if bits == 12 else (16, None)
    if image.format == "AVIF" and (bits := avif_bits(head)) > 8:
        notices.append(f"{bits} bits per sample reduced to 8")
    return (16, None) if deep else (8, None)


def _load(image: Image.Image) -> None:
    """Decodes the pixels. Raises Unreadable where the file is damaged."""
    tile_size: tuple[int, int] | None = getattr(image, "_tile_size", None)
    if getattr(image, "tile", None) and tile_size:
        # A TIFF. Where Pillow finds the memory already allocated, it does not apply its own limit.
        image.im = Image.new(image.mode, tile_size, None).im
    try:
        image.load()
    except (MemoryError, Unreadable):
        raise
    except Exception as error:  # a damaged file can make Pillow raise nearly anything
        if isinstance(error, OSError) and error.errno is not None:  # of the stream
            raise
        raise Unreadable(reason(error)) from error


def _metadata(image: Image.Image, color: BoxColor) -> Metadata:
    if image.format in ("JPEG", "MPO"):
        return jpeg_metadata(image)
    info = image.info
    exif = without_mark(_bytes(info.get("exif")))
    dpi = info.get("dpi")
    stated = None
    if isinstance(dpi, tuple) and image.format != "TIFF":
        stated = density(*(float(value) / 0.0254 for value in dpi))
    icc = _bytes(info.get("icc_profile")) or color.icc
    is_named = icc is None and color.primaries and color.transfer
    return Metadata(
        icc=icc,
        primaries=color.primaries if is_named else SRGB_PRIMARIES,
        transfer=color.transfer if is_named else SRGB_TRANSFER,
        exif=exif,
        xmp=_bytes(info.get("xmp")) or _bytes(info.get("XML:com.adobe.xmp")),
        density=stated or density_of(exif),
    )


def _bytes(value: object) -> bytes | None:
    if isinstance(value, str):
        return value.encode()
    return value if isinstance(value, bytes) and value else None


def _orientation(image: Image.Image, metadata: Metadata) -> int:
    """The EXIF orientation, 1 (upright) to 8; Pillow has already turned a TIFF."""
    if image.format == "TIFF":
        return 1
    if metadata.exif is not None:
        return orientation_of(metadata.exif)
    if image.format is not None:
        return 1
    try:
        value: Any = image.getexif().get(ORIENTATION, 1)  # of an image that a program has made
    except Exception as error:  # damaged metadata are no reason to refuse the pixels
        warnings.warn(f"damaged EXIF data: {error}", stacklevel=2)
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1
