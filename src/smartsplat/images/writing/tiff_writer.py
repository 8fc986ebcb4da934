"""TIFF written strip by strip, with 8 or 16 bits: Pillow needs the whole image, and has no colour of 16 bits.

EXIF data are a TIFF structure, and what they hold points to places in it: cameras' own notes do so in ways that only
they know. So such a file begins with the EXIF data as they are, and its directory takes over their entries: every
pointer stays right.
"""

from __future__ import annotations

import struct
import zlib
from functools import partial
from typing import BinaryIO

import numpy as np

from smartsplat.arrays import SampleArray
from smartsplat.images.strips import Strips
from smartsplat.images.tiff_packing import Order, Value, first_directory, geo_values, packed_directory
from smartsplat.images.writing.deflate import block_rows, mapped, packer
from smartsplat.metadata import NO_METADATA, Metadata

MAX_TIFF_BYTES = 4095 << 20
"""Bytes of pixels and metadata in a TIFF, whose offsets have 32 bits: leaves room for what does not become smaller."""

_BYTE, _SHORT, _LONG, _RATIONAL, _UNDEFINED = 1, 3, 4, 5, 7

_TITLE, _CAMERA, _RESOLUTION, _AUTHOR = (269, 270, 285), (271, 272, 305, 306), (282, 283, 296), (315, 316, 33432)
_EXIF, _GPS, _RATING, _WINDOWS = 34665, 34853, (18246, 18249), range(40091, 40096)
_FROM_EXIF = frozenset((*_TITLE, *_CAMERA, *_RESOLUTION, *_AUTHOR, _EXIF, _GPS, *_RATING, *_WINDOWS))
"""Tags that are taken over: those that describe the image, and not how its samples are stored."""


def write_tiff(file: BinaryIO, strips: Strips, metadata: Metadata = NO_METADATA, threads: int = 1) -> None:
    """Writes a TIFF of deflated strips and its directory behind them.

    Args:
        file: seekable, at its beginning.
        strips: the image; alpha is straight.
        metadata: all but code points of colour, which have no place in a TIFF.
        threads: that take differences and deflate.

    Raises:
        ValueError: too many pixels, or damaged EXIF data or GeoTIFF tags.
        OSError, or whatever ``strips`` raise.
    """
    size = np.dtype(strips.dtype).itemsize  # bytes of a sample
    known = sum(len(data) for data in (metadata.icc, metadata.exif, metadata.xmp, metadata.iptc, metadata.geo) if data)
    height, width, channels = strips.shape
    if height * width * channels * size + known > MAX_TIFF_BYTES:
        raise ValueError(f"TIFF ends at {MAX_TIFF_BYTES >> 20} MB of pixels")
    order: Order = "<"
    start, taken = bytes(8), dict[int, bytes]()
    if metadata.exif:
        order, taken = _entries(metadata.exif)
        start = metadata.exif + bytes(len(metadata.exif) % 2)
    file.write(start)
    places, sizes = [len(start)], []
    for data in mapped(partial(_block, order=order), strips, threads):
        file.write(data)
        sizes.append(len(data))
        places.append(places[-1] + len(data))
    end = places.pop()
    values = _layout(strips) | _values(metadata)
    values |= {273: (_LONG, places), 279: (_LONG, sizes)}
    geo = geo_values(metadata.geo, order) if metadata.geo else {}
    file.write(packed_directory(values, geo, taken, order, end))
    file.seek(0)
    file.write(struct.pack(f"{order}2sHI", b"II" if order == "<" else b"MM", 42, end))


def _entries(exif: bytes) -> tuple[Order, dict[int, bytes]]:
    """The byte order of EXIF data, and what is taken over from them, but no pointers to directories outside of them."""
    found = first_directory(exif)
    taken = {tag: entry for tag, entry in found.entries.items() if tag in _FROM_EXIF}
    for pointer in (_EXIF, _GPS):
        if pointer in taken and struct.unpack_from(f"{found.order}I", taken[pointer], 8)[0] + 2 > len(exif):
            del taken[pointer]
    return found.order, taken


def _layout(strips: Strips) -> dict[int, Value]:
    """How the samples are stored."""
    height, width, channels = strips.shape
    values: dict[int, Value] = {
        256: (_LONG, [width]),
        257: (_LONG, [height]),
        258: (_SHORT, [8 * np.dtype(strips.dtype).itemsize] * channels),  # bits per sample
        259: (_SHORT, [8]),  # deflate
        262: (_SHORT, [1 if channels < 3 else 2]),  # zero is black, or RGB
        277: (_SHORT, [channels]),
        278: (_LONG, [block_rows(strips.shape)]),
        284: (_SHORT, [1]),  # the samples of a pixel are together
        317: (_SHORT, [2]),  # differences from the left neighbour
    }
    if channels in (2, 4):
        values[338] = _SHORT, [2]  # the last is alpha that colours are not multiplied with
    return values


def _values(metadata: Metadata) -> dict[int, Value]:
    values: dict[int, Value] = {}
    if metadata.icc:
        values[34675] = _UNDEFINED, metadata.icc
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
    """Rows [h, W, C] as differences from their left neighbours, deflated to an even number of bytes."""
    differences = rows.copy()
    differences[:, 1:] -= rows[:, :-1]
    stream = packer(zlib.MAX_WBITS)
    ordered = differences.astype(differences.dtype.newbyteorder(order), copy=False)
    data = stream.compress(ordered.view(np.uint8).data) + stream.flush()
    return data + bytes(len(data) % 2)  # what follows starts on a word
