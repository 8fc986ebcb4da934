"""Bytes <-> header, table of contents and chunks (docs/format.md, "Container").

Everything here treats the bytes as hostile: this is the only module that turns a length or a count from a file
into an allocation, and it checks each first.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from smartsplat import _native
from smartsplat.bitstream.quantize import MAX_POSITION_CELL_LOG2, MAX_QUALITY, Quantizer
from smartsplat.errors import FormatError, LimitError, UnsupportedError
from smartsplat.limits import Limits
from smartsplat.metadata import NO_METADATA, Metadata

SIGNATURE = b"\x89SSP\r\n\x1a\n"
"""As PNG's: a byte above 127, the name, and line ends that a text transfer would change."""

MEDIA_TYPE = "image/x-sspl"
"""Of files: under image/, so that hosts do not compress them, which would break ranges of bytes."""

MAJOR, MINOR = 4, 1
GAUSSIANS, ALPHA, MASK, DENSITY, GRAIN = b"GAUS", b"ALPH", b"MASK", b"dens", b"grai"
"""Chunk types. A capital first letter: a reader that does not know the type must give up."""

PACKED = {b"iccp": "icc", b"exif": "exif", b"xmp ": "xmp", b"iptc": "iptc"}
"""Chunk types whose bodies are zlib streams -> the field of ``Metadata`` that they hold."""

OPAQUE, STRAIGHT = 0, 1
"""Values of the header's field for alpha."""

_HEADER = struct.Struct("<8sBBBBIIBBBBBBBBII")  # signature ... chunks; the table and a CRC-32 follow
_ENTRY = struct.Struct("<4sIII")  # type, stored length, unpacked length, CRC-32
_CRC = struct.Struct("<I")
_GROUP = struct.Struct("<I4H")  # Gaussians, or mixed blocks, and tiles: x and y begin, x and y end
_DENSITY = struct.Struct("<II")  # pixels per metre: across, down
_GRAIN = struct.Struct("<BB")  # log2 of a cell's side, bands

GROUP_HEADER = _GROUP.size
"""Bytes of a group before its coded Gaussians."""

TILE = 64
"""Side, in pixels, of the tiles that a group's extent is given in."""

MAX_CHUNKS = 1 << 16
MIN_GAUSSIAN_BYTES = 1
"""Coded bytes of a Gaussian, at least: bounds what a short file can make a reader allocate."""

MAX_BLOCKS_PER_BYTE = _native.MAX_BLOCKS_PER_BYTE
"""Mixed blocks of a mask for each coded byte, at most: bounds the work that a short file can ask for."""

MAX_DEPTH = 16
"""Bits per sample."""

GRAIN_CELL_LOG2 = 6, 12
"""Least and most of a cell of grain."""

MAX_GRAIN_BANDS = 3


@dataclass(frozen=True)
class Group:
    """Gaussians that are coded together, or a part of a mask, whose ``count`` is of its mixed blocks."""

    count: int
    extent: tuple[int, int, int, int]  # tiles: x begin, y begin, x end, y end
    data: bytes


@dataclass(frozen=True)
class Alpha:
    """Opacity: the sum of grey Gaussians and a mask, whose parts do not overlap."""

    quantizer: Quantizer  # of the Gaussians: one channel
    groups: tuple[Group, ...] = ()
    mask: tuple[Group, ...] = ()


@dataclass(frozen=True)
class CodedGrain:
    """How strong grain is, in bands and cells of 2^cell_log2 pixels a side, coded."""

    cell_log2: int
    bands: int
    data: bytes


Chunk = tuple[bytes, bytes, int]
"""Type, body, and its length when unpacked."""


@dataclass(frozen=True)
class Extras:
    """What a file holds beside its colours.

    Args:
        depth: bits per sample of the image that was encoded.
        metadata: colour space, EXIF and the like.
        alpha: None: the image is opaque.
        grain: None: there is none.
    """

    depth: int = 8
    metadata: Metadata = NO_METADATA
    alpha: Alpha | None = None
    grain: CodedGrain | None = None

    @cached_property
    def chunks(self) -> tuple[Chunk, ...]:
        """They come before the colours: what is left of a file that ends early has its colour space and alpha."""
        metadata, chunks = self.metadata, []
        for kind, field in PACKED.items():
            data = getattr(metadata, field)
            if data:
                chunks.append((kind, zlib.compress(data, 9), len(data)))
        if metadata.density is not None:
            body = _DENSITY.pack(*metadata.density)
            chunks.append((DENSITY, body, len(body)))
        if self.grain is not None:
            body = _GRAIN.pack(self.grain.cell_log2, self.grain.bands) + self.grain.data
            chunks.append((GRAIN, body, len(body)))
        if self.alpha is not None:
            chunks.extend(_group_chunk(MASK, part) for part in self.alpha.mask)
            chunks.extend(_group_chunk(ALPHA, group) for group in self.alpha.groups)
        return tuple(chunks)

    @property
    def size(self) -> int:
        """Bytes that they take in a file, their entries in its table of contents included."""
        return sum(_ENTRY.size + len(body) for _, body, _ in self.chunks)


NO_EXTRAS = Extras()


@dataclass(frozen=True)
class File:
    """A file's whole content, unpacked but not decoded."""

    quantizer: Quantizer
    groups: tuple[Group, ...]
    extras: Extras = NO_EXTRAS

    @property
    def count(self) -> int:
        """Gaussians, those of alpha included."""
        alpha = self.extras.alpha.groups if self.extras.alpha else ()
        return sum(group.count for group in (*self.groups, *alpha))


def overhead(groups: int, extras: Extras = NO_EXTRAS) -> int:
    """Bytes of a file that are not coded colours, of which there are so many groups."""
    return _HEADER.size + _CRC.size + groups * (_ENTRY.size + _GROUP.size) + extras.size


def pack(file: File) -> bytes:
    """The bytes of a file."""
    chunks = [*file.extras.chunks, *(_group_chunk(GAUSSIANS, group) for group in file.groups)]
    q, metadata, alpha = file.quantizer, file.extras.metadata, file.extras.alpha
    header = _HEADER.pack(
        SIGNATURE,
        MAJOR,
        MINOR if file.extras.grain else 0,  # the lowest that has all of it
        q.channels,
        file.extras.depth,
        q.width,
        q.height,
        metadata.primaries,
        metadata.transfer,
        q.quality,
        q.cell_log2,
        OPAQUE if alpha is None else STRAIGHT,
        alpha.quantizer.quality if alpha else 0,
        alpha.quantizer.cell_log2 if alpha else 0,
        0,
        file.count,
        len(chunks),
    )
    table = b"".join(_ENTRY.pack(kind, len(body), size, zlib.crc32(body)) for kind, body, size in chunks)
    head = header + table
    return head + _CRC.pack(zlib.crc32(head)) + b"".join(body for _, body, _ in chunks)


def _group_chunk(kind: bytes, group: Group) -> Chunk:
    body = _GROUP.pack(group.count, *group.extent) + group.data
    return kind, body, len(body)


def unpack(data: bytes, limits: Limits = Limits(), partial: bool = False) -> File:
    """Read a file; if it may be ``partial``, those of its groups that come before its end.

    FormatError, UnsupportedError or LimitError say what is wrong with it.
    """
    if len(data) > limits.file_bytes:
        raise LimitError(f"the file has {len(data)} bytes, the limit is {limits.file_bytes}")
    if data[: len(SIGNATURE)] != SIGNATURE[: len(data)] or not data:
        raise FormatError("not a SmartSplat file: the signature is missing")
    if len(data) > len(SIGNATURE) and data[len(SIGNATURE)] != MAJOR:
        raise UnsupportedError(f"the file has format version {data[len(SIGNATURE)]}, this reader knows version {MAJOR}")
    if len(data) < _HEADER.size + _CRC.size:
        raise FormatError(f"truncated: the file ends after {len(data)} bytes, inside its header")
    chunks = _HEADER.unpack_from(data)[-1]
    if chunks > MAX_CHUNKS:
        raise FormatError(f"the header claims {chunks} chunks, the most is {MAX_CHUNKS}")
    table_end = _HEADER.size + chunks * _ENTRY.size
    if len(data) - _CRC.size < table_end:
        raise FormatError(f"truncated: the file ends after {len(data)} bytes, inside its table of contents")
    if _CRC.unpack_from(data, table_end)[0] != zlib.crc32(data[:table_end]):
        raise FormatError("the header is damaged: its checksum does not match")
    color, alpha, depth, metadata, count = _header(data, limits)
    reading = _Reading(color, alpha, metadata, limits)
    whole = _read_chunks(data, chunks, table_end + _CRC.size, reading, partial)
    file = reading.file(depth)
    if whole and file.count != count:
        raise FormatError(f"the header claims {count} Gaussians, the chunks hold another number")
    return file


def _header(data: bytes, limits: Limits) -> tuple[Quantizer, Quantizer | None, int, Metadata, int]:
    """The header's fields, checked: quantizers of colours and alpha, depth, code points, and Gaussians."""
    _, _, _, channels, depth, width, height, primaries, transfer, *rest = _HEADER.unpack_from(data)
    quality, cell, alpha, alpha_quality, alpha_cell, reserved, count, _ = rest
    if reserved:
        raise FormatError("the header has reserved bits set")
    _check_size(width, height, channels, count, limits)
    if not 1 <= depth <= MAX_DEPTH:
        raise FormatError(f"a depth of {depth} bits is out of range")
    if not primaries or not transfer:
        raise FormatError(f"code points {primaries} and {transfer} of the colour space are out of range")
    if max(quality, alpha_quality) > MAX_QUALITY or max(cell, alpha_cell) > MAX_POSITION_CELL_LOG2:
        raise FormatError(f"quality {quality} or cell size 2^{cell} is out of range, of colours or alpha")
    if alpha > STRAIGHT or (alpha == OPAQUE and (alpha_quality or alpha_cell)):
        raise FormatError(f"alpha of an unknown kind, {alpha}")
    color = Quantizer(quality, cell, width, height, channels)
    of_alpha = None if alpha == OPAQUE else Quantizer(alpha_quality, alpha_cell, width, height, 1)
    return color, of_alpha, depth, Metadata(primaries=primaries, transfer=transfer), count


def _check_size(width: int, height: int, channels: int, count: int, limits: Limits) -> None:
    if not width or not height or channels not in (1, 3):
        raise FormatError(f"impossible image: {width} x {height} pixels, {channels} channels")
    if max(width, height) > limits.side or width * height > limits.pixels:
        raise LimitError(
            f"the image has {width} x {height} pixels, the limits are {limits.side} a side and {limits.pixels} in all"
        )
    if count > limits.gaussians:
        raise LimitError(f"the file claims {count} Gaussians, the limit is {limits.gaussians}")


class _Reading:
    """A file whose chunks are being read."""

    def __init__(self, color: Quantizer, alpha: Quantizer | None, metadata: Metadata, limits: Limits) -> None:
        self._quantizers = color, alpha
        self._metadata = metadata
        self._limits = limits
        self._groups: dict[bytes, list[Group]] = {GAUSSIANS: [], ALPHA: [], MASK: []}
        self._grain: CodedGrain | None = None
        self._masked: npt.NDArray[np.bool_] | None = None  # [rows, columns] tiles that have their part of the mask

    @property
    def shows_something(self) -> bool:
        """Whether there are colours yet."""
        return bool(self._groups[GAUSSIANS])

    def take(self, index: int, kind: bytes, body: bytes, unpacked: int) -> None:
        """One chunk; unknown ancillary ones are skipped."""
        if kind in PACKED:
            self._set(index, PACKED[kind], _inflate(index, PACKED[kind], body, unpacked, self._limits))
            return
        if kind in self._groups or kind in (DENSITY, GRAIN):
            if unpacked != len(body):
                raise FormatError(f"chunk {index} of {len(body)} bytes claims {unpacked}, but is not packed")
            if kind == DENSITY:
                self._set(index, "density", _density(index, body))
                return
            if kind == GRAIN:
                if self._grain is not None:
                    raise FormatError(f"chunk {index} is a second grain")
                self._grain = _grain(index, body)
                return
            if kind != GAUSSIANS and self._quantizers[1] is None:
                raise FormatError(f"chunk {index} is alpha of an image that has none")
            group = _group(index, body, self._limits, kind)
            if kind == MASK:
                self._cover(index, group)
            self._groups[kind].append(group)
        elif not kind[0] & 0x20:
            raise UnsupportedError(f"chunk {index} has the unknown type {kind!r}, which is needed to decode the image")

    def file(self, depth: int) -> File:
        color, of_alpha = self._quantizers
        groups, alpha_groups, mask = (tuple(groups) for groups in self._groups.values())
        alpha = None if of_alpha is None else Alpha(of_alpha, alpha_groups, mask)
        return File(color, groups, Extras(depth, self._metadata, alpha, self._grain))

    def _set(self, index: int, field: str, value: Any) -> None:
        if getattr(self._metadata, field) is not None:  # a file of many would keep a reader busy for long
            raise FormatError(f"chunk {index} is a second {NAMES[field]}")
        self._metadata = replace(self._metadata, **{field: value})

    def _cover(self, index: int, part: Group) -> None:
        """Notes the tiles of a part of the mask, each of which may have one."""
        rows, columns = (-(-side // TILE) for side in (self._quantizers[0].height, self._quantizers[0].width))
        x0, y0, x1, y1 = part.extent
        if not (x0 < x1 <= columns and y0 < y1 <= rows):
            raise FormatError(f"chunk {index} is a mask outside the image, or of nothing")
        if self._masked is None:
            self._masked = np.zeros((rows, columns), bool)
        tiles = self._masked[y0:y1, x0:x1]
        if tiles.any():
            raise FormatError(f"chunk {index} is a second mask of the same place")
        tiles[:] = True


NAMES = {"icc": "ICC profile", "exif": "EXIF block", "xmp": "XMP packet", "iptc": "IPTC block", "density": "density"}
"""Fields of ``Metadata`` -> what messages call them."""


def _read_chunks(data: bytes, chunks: int, start: int, reading: _Reading, partial: bool) -> bool:
    """Every chunk; whether all are there."""
    for index in range(chunks):
        kind, stored, unpacked, crc = _ENTRY.unpack_from(data, _HEADER.size + index * _ENTRY.size)
        if len(data) - start < stored:
            if partial and reading.shows_something:
                return False
            left = len(data) - start
            raise FormatError(
                f"truncated: chunk {index} claims {stored} bytes, the file has {left} left"
                + (", and no colors before it" if partial else "")
            )
        body = data[start : start + stored]
        start += stored
        if zlib.crc32(body) != crc:
            raise FormatError(f"chunk {index} is damaged: its checksum does not match")
        reading.take(index, kind, body, unpacked)
    if start != len(data):
        raise FormatError(f"{len(data) - start} bytes follow the last chunk")
    return True


def _density(index: int, body: bytes) -> tuple[int, int]:
    if len(body) != _DENSITY.size or 0 in (density := _DENSITY.unpack(body)):
        raise FormatError(f"chunk {index} is no density")
    return density[0], density[1]


def _grain(index: int, body: bytes) -> CodedGrain:
    low, high = GRAIN_CELL_LOG2
    if len(body) < _GRAIN.size or not low <= body[0] <= high or not 1 <= body[1] <= MAX_GRAIN_BANDS:
        raise FormatError(f"chunk {index} is no grain")
    return CodedGrain(body[0], body[1], body[_GRAIN.size :])


def _group(index: int, body: bytes, limits: Limits, kind: bytes) -> Group:
    if len(body) < _GROUP.size:
        raise FormatError(f"chunk {index} is too short for a group")
    count, *extent = _GROUP.unpack_from(body)
    coded = body[_GROUP.size :]
    if kind == MASK:
        if count > len(coded) * MAX_BLOCKS_PER_BYTE:
            raise FormatError(f"chunk {index} claims {count} mixed blocks in {len(coded)} bytes")
    elif count > limits.gaussians or len(coded) < count * MIN_GAUSSIAN_BYTES:
        raise FormatError(f"chunk {index} claims {count} Gaussians in {len(coded)} bytes")
    x0, y0, x1, y1 = extent
    if x0 > x1 or y0 > y1:
        raise FormatError(f"chunk {index} claims to reach from tile {x0},{y0} back to {x1},{y1}")
    return Group(count, (x0, y0, x1, y1), coded)


def _inflate(index: int, field: str, body: bytes, size: int, limits: Limits) -> bytes:
    if size > limits.metadata_bytes:
        raise LimitError(f"chunk {index} claims {size} bytes of {NAMES[field]}, the limit is {limits.metadata_bytes}")
    try:
        inflater = zlib.decompressobj()
        content = inflater.decompress(body, size + 1)
    except zlib.error as error:
        raise FormatError(f"chunk {index} is damaged: {error}") from None
    if len(content) != size or not inflater.eof or inflater.unused_data:
        raise FormatError(f"chunk {index} does not unpack to the {size} bytes that it claims")
    return content
