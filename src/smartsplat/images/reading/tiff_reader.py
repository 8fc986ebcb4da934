"""TIFF: its directories are read here, its pixels by libvips, or by other libraries where only those can."""

from __future__ import annotations

from dataclasses import replace
from typing import BinaryIO

from smartsplat.errors import ImageError
from smartsplat.images.reading import vips_reader
from smartsplat.images.reading.extra_reader import tiff_of_extra
from smartsplat.images.reading.pillow_reader import open_with_pillow
from smartsplat.images.reading.sources import SampleStrips, check_page, check_size, plural
from smartsplat.images.reading.stored import StoredImage
from smartsplat.images.reading.tiff_directory import DamagedDirectoryError, Directory, TiffFile
from smartsplat.images.reading.tiff_metadata import metadata_of
from smartsplat.images.reading.tiff_page import (
    COLORS,
    FLOAT,
    LAB,
    PALETTE,
    SIGNED,
    WHITE_IS_ZERO,
    TiffPage,
    decoder_of,
    page_of,
)
from smartsplat.limits import Limits

MARKS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

_SUBDIRECTORIES, _DNG_VERSION = 330, 50706
_RAW_PHOTOMETRICS = (32803, 34892)  # colour filter array, linear raw
_RAW_COMPRESSIONS = (32767, 34713, 65000, 65535)  # Sony, Nikon, Kodak, Pentax
_ASSOCIATED, _UNASSOCIATED = 1, 2  # kinds of extra samples that are alpha


def open_tiff(stream: BinaryIO, name: str, page: int | None, limits: Limits) -> StoredImage:
    """A page of a TIFF, the first that is neither a thumbnail nor a mask unless asked for another.

    Raises ImageError, LimitError.
    """
    try:
        file = TiffFile(stream)
        directories = list(file.directories())
    except DamagedDirectoryError as problem:
        raise ImageError(f"{name}: cannot be read as TIFF: {problem}") from None
    if not directories:
        raise ImageError(f"{name}: cannot be read as TIFF: it has no pages")
    pages = [page_of(file, directory) for directory in directories]
    _refuse_raw(file, directories, pages, name)
    full = [number for number, found in enumerate(pages, 1) if found.is_full]
    check_page(name, page, len(pages))
    number = page or (full or [1])[0]
    chosen, directory = pages[number - 1], directories[number - 1]
    check_size(name, chosen.width, chosen.height, limits)
    if chosen.tile is not None:
        check_size(f"{name}: a tile", *chosen.tile, limits)
    notices = []
    if len(pages) > 1 and page is None:
        others = ", the others are thumbnails or masks" if len(full) == 1 else ""
        notices.append(f"page {number} of {len(pages)} was read{others}")
    if not chosen.is_full and page is None:
        notices.append("what was read is marked as a thumbnail or mask")
    metadata, turn = metadata_of(file, directory)
    if turn != 1 and metadata.geo:
        metadata = replace(metadata, geo=None)
        notices.append("GeoTIFF tags left out: the image is turned upright, and they are of it as it was")
    decoder, words = decoder_of(chosen, name)
    if decoder == "Pillow":
        stored = open_with_pillow(stream, "TIFF", name, number, limits)
        return replace(stored, metadata=metadata, notices=[*notices, *stored.notices])
    stored = replace(_described(chosen, name, notices), turn=turn, metadata=metadata)
    if decoder == "tifffile":
        return tiff_of_extra(stream, stored, chosen, words, name, number)
    return _by_libvips(stream, stored, chosen, number)


def _refuse_raw(file: TiffFile, directories: list[Directory], pages: list[TiffPage], name: str) -> None:
    """A camera raw file has a thumbnail first, and sensor data behind: its development is no decoder's."""
    found = list(pages)
    for directory in directories[:8]:
        for place in file.values(directory, _SUBDIRECTORIES)[:8]:
            try:
                found.append(page_of(file, file.directory_at(int(place))))
            except DamagedDirectoryError:
                continue
    if (
        any(_DNG_VERSION in directory.entries for directory in directories)
        or any(page.photometric in _RAW_PHOTOMETRICS for page in found)
        or file.header[8:10] == b"CR"
        or any(page.compression in _RAW_COMPRESSIONS for page in found)
    ):
        raise ImageError(f"{name}: is a camera raw file; develop it first")


def _described(page: TiffPage, name: str, notices: list[str]) -> StoredImage:
    """What the tags of a page say of its samples; nothing decodes them yet. Raises ImageError."""
    color = COLORS[page.photometric]
    usual = 1 if page.photometric == PALETTE else len(color)
    more = page.samples - usual
    if more < 0:
        raise ImageError(f"{name}: has {plural(page.samples, 'sample')} a pixel, {color} needs {usual}")
    kinds = page.extra or ((_UNASSOCIATED,) if more == 1 else ())
    is_alpha = more > 0 and kinds and kinds[0] in (_ASSOCIATED, _UNASSOCIATED) and page.photometric != PALETTE
    bands = color + ("A" if is_alpha else "")
    if more > len(bands) - len(color):
        notices.append(f"{plural(more - len(bands) + len(color), 'sample')} a pixel beside {bands} left out")
    bits, white = page.bits, None if FLOAT in page.formats else (1 << page.bits) - 1
    if SIGNED in page.formats:  # programs without a type of 16 bits write such files
        bits, white = 16, 65535
        notices.append("32-bit integer samples taken as 0 to 65535")
    return StoredImage(
        page.width,
        page.height,
        bands,
        lambda lenient: iter(()),
        bits=8 if page.photometric == PALETTE else bits,
        white=white,
        from_white=page.photometric == WHITE_IS_ZERO,
        premultiplied=bool(is_alpha) and kinds[0] == _ASSOCIATED,
        notices=notices,
    )


def _by_libvips(stream: BinaryIO, stored: StoredImage, page: TiffPage, number: int) -> StoredImage:
    """The same, decoded by libvips, which widens few bits, turns grey of up to 16 bits and divides by alpha itself."""
    bands = 3 + page.samples - 1 if page.photometric == PALETTE else page.samples

    def strips(lenient: bool) -> SampleStrips:
        return vips_reader.strips(
            stream,
            "tiff",
            (page.height, page.width, bands),
            "none" if lenient else "error",
            space="rgb16" if page.photometric == LAB else None,
            page=number - 1,
        )

    is_wide = stored.white is None or page.bits > 16
    white = 255 if stored.white is not None and page.bits <= 8 else stored.white
    return replace(stored, strips=strips, white=white, from_white=stored.from_white and is_wide, premultiplied=False)
