"""PNG written strip by strip, with 8 or 16 bits: Pillow needs the whole image, and has no colour of 16 bits."""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

import numpy as np

from smartsplat.arrays import ByteArray, SampleArray
from smartsplat.images.png_chunks import SIGNATURE, png_chunk
from smartsplat.images.strips import Strips
from smartsplat.images.writing.deflate import mapped, packer, row_blocks
from smartsplat.metadata import NO_METADATA, Metadata

_COLOR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""Channels -> the number in the header."""


def write_png(file: BinaryIO, strips: Strips, metadata: Metadata = NO_METADATA, threads: int = 1) -> None:
    """Writes a PNG from its first byte to its last.

    Args:
        file: to write to, in order: it need not be seekable.
        strips: the image; alpha is straight.
        metadata: all but IPTC, which has no place in a PNG. The XMP packet has to be UTF-8.
        threads: that filter and deflate.

    Raises:
        OSError, or whatever ``strips`` raise.
    """
    height, width, channels = strips.shape
    file.write(SIGNATURE)
    bits = 8 * np.dtype(strips.dtype).itemsize
    file.write(png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, _COLOR_TYPES[channels], 0, 0, 0)))
    for kind, data in _ancillary(metadata):
        file.write(png_chunk(kind, data))
    checksum = zlib.adler32(b"")
    start = b"\x78\x01"  # of the one zlib stream that the blocks make up
    for data, filtered in mapped(_block, row_blocks(strips), threads):
        checksum = zlib.adler32(filtered.data, checksum)
        file.write(png_chunk(b"IDAT", start, data))
        start = b""
    file.write(png_chunk(b"IDAT", b"\x03\x00", struct.pack(">I", checksum)))  # an empty last block
    file.write(png_chunk(b"IEND"))


def _ancillary(metadata: Metadata) -> list[tuple[bytes, bytes]]:
    """Types and contents of the chunks between the header and the pixels, in an order that PNG allows."""
    chunks = []
    if metadata.icc:
        chunks.append((b"iCCP", b"ICC Profile\0\0" + zlib.compress(metadata.icc)))
    elif not metadata.is_srgb:
        # matrix 0: the channels are R, G and B themselves; 1: over the full range
        chunks.append((b"cICP", bytes([metadata.primaries, metadata.transfer, 0, 1])))
    if metadata.density is not None:
        chunks.append((b"pHYs", struct.pack(">IIB", *metadata.density, 1)))  # 1: a metre
    if metadata.exif:
        chunks.append((b"eXIf", metadata.exif))
    if metadata.xmp:
        # not compressed, and neither a language nor a translated keyword
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + metadata.xmp))
    return chunks


def _block(rows: SampleArray) -> tuple[bytes, ByteArray]:
    """Filtered rows [h, 1 + bytes of a row], and these as deflate blocks that end on a byte and do not end the stream.

    The first row has filter 1, left neighbours, so that it needs no row of another block, the others 4, Paeth's.
    Filters see bytes: the left neighbour of one is the byte of the same place in the pixel before.
    """
    height, width, channels = rows.shape
    step = channels * rows.dtype.itemsize  # bytes of a pixel
    if rows.dtype == np.uint16:
        rows = rows.astype(">u2")
    flat = rows.view(np.uint8).reshape(height, width * step)
    filtered = np.empty((height, 1 + width * step), np.uint8)
    filtered[0, 0], filtered[1:, 0] = 1, 4
    values = np.zeros((height, step + width * step), np.int16)  # with zeros left of the image
    values[:, step:] = flat
    filtered[0, 1:] = values[0, step:] - values[0, :-step]
    left, up, corner = values[1:, :-step], values[:-1, step:], values[:-1, :-step]
    from_left, from_up = up - corner, left - corner  # distances of left + up - corner from left, and from up
    from_corner = np.abs(from_left + from_up)
    np.abs(from_left, out=from_left)
    np.abs(from_up, out=from_up)
    predicted = np.where(from_up <= from_corner, up, corner)
    np.copyto(predicted, left, where=(from_left <= from_up) & (from_left <= from_corner))
    np.subtract(flat[1:], predicted, out=filtered[1:, 1:], casting="unsafe")
    stream = packer(-zlib.MAX_WBITS)  # without a header
    return stream.compress(filtered.data) + stream.flush(zlib.Z_SYNC_FLUSH), filtered
