"""GIF: pages and size are read by Pillow, pixels by libvips, which gives what there is of a damaged file."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from smartsplat.images.reading import vips_reader
from smartsplat.images.reading.pillow_reader import frame_notices, opened
from smartsplat.images.reading.sources import SampleStrips
from smartsplat.images.reading.stored import StoredImage
from smartsplat.limits import Limits

_EXTENSION, _FRAME = b"!", b","


@dataclass(frozen=True)
class _Rectangle:
    """Where on the canvas a frame is, pixels."""

    left: int
    top: int
    right: int
    bottom: int


def open_gif(stream: BinaryIO, name: str, page: int | None, limits: Limits) -> StoredImage:
    """A frame of a GIF, on its canvas. Raises ImageError, LimitError."""
    image = opened(stream, "GIF", name, limits)
    width, height = image.size
    notices = frame_notices(image, name, page)
    number = page or 1
    # Around the first frame there is nothing yet, which libvips makes black where no frame has a transparent colour.
    drawn = _first_frame(stream) if number == 1 else None

    def strips(lenient: bool) -> SampleStrips:
        fail_on = "none" if lenient else "error"
        shape = height, width, 4
        for top, strip in vips_reader.strips(stream, "gif", shape, fail_on, with_alpha=True, page=number - 1):
            samples = strip
            if drawn is not None and drawn != _Rectangle(0, 0, width, height):
                samples = strip.copy()
                alpha = samples[:, :, 3].copy()
                samples[:, :, 3] = 0
                rows = slice(max(0, drawn.top - top), max(0, drawn.bottom - top))
                columns = slice(drawn.left, drawn.right)
                samples[rows, columns, 3] = alpha[rows, columns]
            yield top, samples

    return StoredImage(width, height, "RGBA", strips, notices=notices)


def _first_frame(stream: BinaryIO) -> _Rectangle | None:
    """Where the first frame is; None where the file ends before."""

    def table_bytes(flags: int) -> int:
        return 3 << ((flags & 7) + 1) if flags & 0x80 else 0

    stream.seek(10)
    flags = stream.read(1)
    if not flags:
        return None
    stream.seek(13 + table_bytes(flags[0]))
    while (kind := stream.read(1)) == _EXTENSION:
        stream.seek(1, 1)
        while size := stream.read(1):
            if size == b"\0":
                break
            stream.seek(size[0], 1)
    place = stream.read(8)
    if kind != _FRAME or len(place) < 8:
        return None
    left, top, width, height = struct.unpack("<4H", place)
    return _Rectangle(left, top, left + width, top + height)
