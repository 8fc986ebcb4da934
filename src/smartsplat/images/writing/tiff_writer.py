"""TIFF written as pixels come, with 8 or 16 bits: Pillow needs the whole image, and has no colour of 16 bits.

EXIF data are a TIFF structure, and what they hold points to places in it: cameras' own notes do so in ways that only
they know. So such a file begins with the EXIF data as they are, and its directory takes over their entries: every
pointer stays right. In a BigTIFF, the longer header hides what was the first directory's beginning.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from dataclasses import replace
from functools import partial
from itertools import accumulate, chain
from typing import BinaryIO

import numpy as np

from smartsplat.arrays import SampleArray
from smartsplat.images.strips import Strips
from smartsplat.images.tiff_packing import (
    EXIF,
    GPS,
    LONG8,
    Order,
    StoredDirectory,
    Value,
    first_directory,
    geo_values,
    packed_directory,
    packed_values,
    widened,
)
from smartsplat.images.writing.deflate import block_rows, mapped, packer, row_blocks
from smartsplat.metadata import NO_METADATA, Metadata

MAX_CLASSIC_BYTES = 4095 << 20
"""Bytes of pixels and metadata in a TIFF, whose offsets have 32 bits: leaves room for what does not become smaller."""

TILE_SIDE = 256
"""Pixels, as GDAL and image servers have them."""

_BYTE, _SHORT, _LONG, _RATIONAL, _UNDEFINED = 1, 3, 4, 5, 7

_TITLE, _CAMERA, _RESOLUTION, _AUTHOR = (269, 270, 285), (271, 272, 305, 306), (282, 283, 296), (315, 316, 33432)
_RATING, _WINDOWS = (18246, 18249), range(40091, 40096)
_FROM_EXIF = frozenset((*_TITLE, *_CAMERA, *_RESOLUTION, *_AUTHOR, EXIF, GPS, *_RATING, *_WINDOWS))
"""Tags that are taken over: those that describe the image, and not how its samples are stored."""


def write_tiff(
    file: BinaryIO,
    strips: Strips,
    metadata: Metadata = NO_METADATA,
    threads: int = 1,
    smaller: Iterable[Strips] | None = None,
) -> None:
    """Writes a TIFF of deflated strips, or tiles, and its directories behind them.

    Args:
        file: seekable, at its beginning.
        strips: the image; alpha is straight. What may need longer offsets becomes a BigTIFF, of tiles.
        metadata: all but code points of colour, which have no place in a TIFF.
        threads: that take differences and deflate.
        smaller: the same image at 1/2, 1/4, ..., begun one after the other: each is a page, and all are of tiles.

    Raises:
        ValueError: damaged EXIF data or GeoTIFF tags.
        OSError, or whatever ``strips`` raise.
    """
    big, tiled = is_big(strips, metadata, smaller is not None), smaller is not None
    exif = None if not metadata.exif else first_directory(metadata.exif)
    order: Order = "<" if exif is None else exif.order
    start = (metadata.exif or b"").ljust(16 if big else 8, b"\0")
    file.write(start)
    pages, end = list[dict[int, Value]](), len(start)
    if end % 2:
        file.write(b"\0")
        end += 1
    for level in chain((strips,), smaller or ()):
        blocks = level.tiles(TILE_SIDE) if tiled or big else row_blocks(level)
        sizes = []
        for data in mapped(partial(_block, order=order), blocks, threads):
            file.write(data)
            sizes.append(len(data))
        values = _layout(level, is_smaller=bool(pages)) | _blocks(level, end, sizes, tiled or big, big)
        pages.append(values | ({34675: (_UNDEFINED, metadata.icc)} if metadata.icc else {}))
        end += sum(sizes)
    taken, pointed = ({}, b"") if exif is None else _taken(metadata.exif or b"", exif, end, big)
    pages[0] |= _values(metadata)
    geo = geo_values(metadata.geo, order) if metadata.geo else {}
    first = end = end + len(pointed)
    file.write(pointed)
    for number, values in enumerate(pages):
        more, raw = ({}, {}) if number else (geo, taken)
        packed, is_last = packed_values(values, order) | more, number == len(pages) - 1
        directory = packed_directory(packed, raw, order, end, big=big, is_last=is_last)
        file.write(directory)
        end += len(directory)
    file.seek(0)
    mark = b"II" if order == "<" else b"MM"
    file.write(
        struct.pack(f"{order}2sHHHQ", mark, 43, 8, 0, first) if big else struct.pack(f"{order}2sHI", mark, 42, first)
    )


def is_big(strips: Strips, metadata: Metadata, has_smaller: bool) -> bool:
    """Whether an image may become so long that it is written as BigTIFF."""
    height, width, channels = strips.shape
    side = TILE_SIDE if has_smaller else 1
    samples = -(-height // side) * -(-width // side) * side**2 * channels * np.dtype(strips.dtype).itemsize
    known = sum(len(data) for data in (metadata.icc, metadata.exif, metadata.xmp, metadata.iptc, metadata.geo) if data)
    return samples * (3 / 2 if has_smaller else 1) + known > MAX_CLASSIC_BYTES


def fits_big(exif: bytes) -> bool:
    """Whether EXIF data can begin a BigTIFF, whose header is longer: all but the first directory stays where it is."""
    return first_directory(exif).start == 8


def _taken(exif: bytes, directory: StoredDirectory, end: int, big: bool) -> tuple[dict[int, bytes], bytes]:
    """What is taken over from EXIF data, but no pointers to directories outside of them; and directories, if ``big``,
    that are to be at ``end``."""
    taken = {tag: entry for tag, entry in directory.entries.items() if tag in _FROM_EXIF}
    if big:
        return widened(exif, replace(directory, entries=taken), end)
    for pointer in (EXIF, GPS):
        if pointer in taken and struct.unpack_from(f"{directory.order}I", taken[pointer], 8)[0] + 2 > len(exif):
            del taken[pointer]
    return taken, b""


def _layout(strips: Strips, is_smaller: bool) -> dict[int, Value]:
    """How the samples are stored."""
    height, width, channels = strips.shape
    values: dict[int, Value] = {
        256: (_LONG, [width]),
        257: (_LONG, [height]),
        258: (_SHORT, [8 * np.dtype(strips.dtype).itemsize] * channels),  # bits per sample
        259: (_SHORT, [8]),  # deflate
        262: (_SHORT, [1 if channels < 3 else 2]),  # zero is black, or RGB
        277: (_SHORT, [channels]),
        284: (_SHORT, [1]),  # the samples of a pixel are together
        317: (_SHORT, [2]),  # differences from the left neighbour
    }
    if channels in (2, 4):
        values[338] = _SHORT, [2]  # the last is alpha that colours are not multiplied with
    if is_smaller:
        values[254] = _LONG, [1]  # the same image as another page, reduced
    return values


def _blocks(strips: Strips, start: int, sizes: list[int], tiled: bool, big: bool) -> dict[int, Value]:
    """Where strips or tiles of so many bytes are, the first of them at ``start``."""
    places = (LONG8 if big else _LONG), list(accumulate(sizes[:-1], initial=start))
    if tiled:
        return {322: (_LONG, [TILE_SIDE]), 323: (_LONG, [TILE_SIDE]), 324: places, 325: (_LONG, sizes)}
    return {273: places, 278: (_LONG, [block_rows(strips.shape)]), 279: (_LONG, sizes)}


def _values(metadata: Metadata) -> dict[int, Value]:
    values: dict[int, Value] = {}
    if metadata.xmp:
        values[700] = _BYTE, metadata.xmp
    if metadata.iptc:
        values[33723] = _UNDEFINED, metadata.iptc
    if metadata.density is not None:
        inches = [round(0.0254 * each) for each in metadata.density]
        if tuple(round(each / 0.0254) for each in inches) == metadata.density:  # the numbers that people know
            values |= {282: (_RATIONAL, [inches[0], 1]), 283: (_RATIONAL, [inches[1], 1]), 296: (_SHORT, [2])}
        else:  # to the centimetre
            across, down = metadata.density
            values |= {282: (_RATIONAL, [across, 100]), 283: (_RATIONAL, [down, 100]), 296: (_SHORT, [3])}
    return values


def _block(rows: SampleArray, order: Order) -> bytes:
    """Pixels [h, w, C] as differences from their left neighbours, deflated to an even number of bytes."""
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]
    stream = packer(zlib.MAX_WBITS)
    ordered = differences.astype(differences.dtype.newbyteorder(order), copy=False)
    data = stream.compress(ordered.view(np.uint8).data) + stream.flush()
    return data + bytes(len(data) % 2)  # what follows starts on a word
