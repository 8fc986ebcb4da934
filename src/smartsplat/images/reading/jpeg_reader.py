"""JPEG: what it says about the image is read by Pillow, its pixels by libvips, which tells of damage."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, BinaryIO

from PIL import Image, ImageFile

from smartsplat.errors import ImageError
from smartsplat.images.reading import vips_reader
from smartsplat.images.reading.exif import density, density_of, orientation_of, without_mark
from smartsplat.images.reading.photoshop import IPTC_RESOURCE
from smartsplat.images.reading.sources import SampleStrips, Unreadable, length_of, spliced
from smartsplat.images.reading.stored import StoredImage
from smartsplat.metadata import Metadata

_END = b"\xff\xd9"
_BLOCK = 1 << 20  # bytes that are searched at once
_HARMLESS = re.compile("extraneous bytes before marker 0x(?!d[0-7])|unknown JFIF revision")
"""Warnings of libjpeg that are not about pixels: only bytes before a restart marker are some that were lost."""


def open_jpeg(image: ImageFile.ImageFile, stream: BinaryIO, name: str) -> StoredImage:
    """The image in a stream that Pillow has opened; of a camera's file of several, the first.

    Raises ImageError.
    """
    bands = image.mode
    if bands not in ("L", "RGB", "CMYK"):
        raise ImageError(f"{name}: JPEG of {bands} is not supported")
    notices = [] if _has_end(stream) else ["the end marker is missing, the image is complete"]
    length = length_of(stream)
    metadata = jpeg_metadata(image)

    def strips(lenient: bool) -> SampleStrips:
        # Behind a file without an end marker there is one: what libjpeg still misses then is of the image.
        whole = spliced(stream, [(0, length), _END])
        shape = image.height, image.width, len(bands)
        if lenient:
            return vips_reader.strips(whole, "jpeg", shape, "none")
        return _tolerant(whole, shape, notices)

    return StoredImage(
        image.width,
        image.height,
        bands,
        strips,
        turn=orientation_of(metadata.exif),
        metadata=metadata,
        notices=notices,
    )


def _tolerant(stream: BinaryIO, shape: tuple[int, int, int], notices: list[str]) -> Iterator[tuple[int, Any]]:
    """SampleStrips; libjpeg's warnings count as damage but for those that are of no consequence."""
    try:
        yield from vips_reader.strips(stream, "jpeg", shape, "warning")
    except Unreadable as problem:
        if not all(_HARMLESS.search(said) for said in str(problem).split("; ")):
            raise
        notices.append(f"libjpeg: {problem}")
        yield from vips_reader.strips(stream, "jpeg", shape, "error")


def _has_end(stream: BinaryIO) -> bool:
    """Whether the last scan of a JPEG is followed by an end marker; within a scan no such bytes can be."""
    place = _first_scan(stream)
    last = b""
    stream.seek(place)
    while block := stream.read(_BLOCK):
        if _END in last + block:
            return True
        last = block[-1:]
    return False


def _first_scan(stream: BinaryIO) -> int:
    """The byte behind the first start-of-scan segment, or the end: segments before may hold whole small images."""
    place = 2
    while True:
        stream.seek(place)
        head = stream.read(4)
        if len(head) < 4 or head[0] != 0xFF:
            return place
        if head[1] == 0xFF:  # fill
            place += 1
            continue
        place += 2 + int.from_bytes(head[2:], "big")
        if head[1] == 0xDA:
            return place


def jpeg_metadata(image: Image.Image) -> Metadata:
    """What Pillow has found in the application segments."""
    info = image.info
    exif = without_mark(info.get("exif"))
    resources = info.get("photoshop")
    iptc = resources.get(IPTC_RESOURCE) if isinstance(resources, dict) else None
    per_unit = {1: 1 / 0.0254, 2: 100.0}.get(info.get("jfif_unit", 0))
    across, down = info.get("jfif_density", (0, 0))
    stated = density(across * per_unit, down * per_unit) if per_unit else None
    return Metadata(
        icc=info.get("icc_profile"),
        exif=exif,
        xmp=info.get("xmp"),
        iptc=iptc if isinstance(iptc, bytes) else None,
        density=stated or density_of(exif),
    )
