"""Bytes <-> header, table of contents and chunks (docs/format.md, "Container").

Everything here treats the bytes as hostile: this is the only module that turns a length or a count from a file
into an allocation, and it checks each first.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from smartsplat.bitstream.quantize import MAX_POSITION_CELL_LOG2, MAX_QUALITY, Quantizer
from smartsplat.errors import FormatError, LimitError, UnsupportedError
from smartsplat.limits import Limits

SIGNATURE = b"\x89SSP\r\n\x1a\n"
"""As PNG's: a byte above 127, the name, and line ends that a text transfer would change."""

MAJOR, MINOR = 3, 0
GAUSSIANS, PROFILE = b"GAUS", b"iccp"
"""Chunk types. A capital first letter: a reader that does not know the type must give up."""

_HEADER = struct.Struct("<8sBBHIIBBBBII")  # signature ... chunks; the table and a CRC-32 follow
_ENTRY = struct.Struct("<4sIII")  # type, stored length, unpacked length, CRC-32
_CRC = struct.Struct("<I")
_GROUP = struct.Struct("<I4H")  # Gaussians, and the tiles that they touch: x and y begin, x and y end

GROUP_HEADER = _GROUP.size
"""Bytes of a group before its coded Gaussians."""

TILE = 64
"""Side, in pixels, of the tiles that a group's extent is given in."""

MAX_CHUNKS = 1 << 16
MIN_GAUSSIAN_BYTES = 1
"""Coded bytes of a Gaussian, at least: bounds what a short file can make a reader allocate."""


@dataclass(frozen=True)
class Group:
    """Gaussians that are coded together."""

    count: int
    extent: tuple[int, int, int, int]  # tiles: x begin, y begin, x end, y end
    data: bytes


@dataclass(frozen=True)
class File:
    """A file's whole content, unpacked but not decoded."""

    quantizer: Quantizer
    groups: tuple[Group, ...]
    icc: bytes | None

    @property
    def count(self) -> int:
        return sum(group.count for group in self.groups)


def overhead(groups: int, icc: bytes | None) -> int:
    """Bytes of a file that are not coded Gaussians."""
    profile = _ENTRY.size + len(zlib.compress(icc, 9)) if icc else 0
    return _HEADER.size + _CRC.size + groups * (_ENTRY.size + _GROUP.size) + profile


def pack(file: File) -> bytes:
    """The bytes of a file."""
    chunks: list[tuple[bytes, bytes, int]] = []
    if file.icc:  # first, so that what is left of a file that ends early has its colours
        chunks.append((PROFILE, zlib.compress(file.icc, 9), len(file.icc)))
    for group in file.groups:
        body = _GROUP.pack(group.count, *group.extent) + group.data
        chunks.append((GAUSSIANS, body, len(body)))
    q = file.quantizer
    header = _HEADER.pack(
        SIGNATURE,
        MAJOR,
        MINOR,
        0,
        q.width,
        q.height,
        q.channels,
        q.quality,
        q.cell_log2,
        0,
        file.count,
        len(chunks),
    )
    table = b"".join(_ENTRY.pack(kind, len(body), size, zlib.crc32(body)) for kind, body, size in chunks)
    head = header + table
    return head + _CRC.pack(zlib.crc32(head)) + b"".join(body for _, body, _ in chunks)


def unpack(data: bytes, limits: Limits = Limits(), partial: bool = False) -> File:
    """Read a file; if it may be ``partial``, those of its groups that come before its end.

    FormatError, UnsupportedError or LimitError say what is wrong with it.
    """
    if len(data) > limits.file_bytes:
        raise LimitError(f"the file has {len(data)} bytes, the limit is {limits.file_bytes}")
    if data[: len(SIGNATURE)] != SIGNATURE[: len(data)] or not data:
        raise FormatError("not a SmartSplat file: the signature is missing")
    if len(data) < _HEADER.size + _CRC.size:
        raise FormatError(f"the file ends after {len(data)} bytes, inside its header")
    _, major, _, flags, width, height, channels, quality, cell_log2, reserved, count, chunks = _HEADER.unpack_from(data)
    if major != MAJOR:
        raise UnsupportedError(f"the file has format version {major}, this reader knows version {MAJOR}")
    if chunks > MAX_CHUNKS:
        raise FormatError(f"the header claims {chunks} chunks, the most is {MAX_CHUNKS}")
    table_end = _HEADER.size + chunks * _ENTRY.size
    if len(data) - _CRC.size < table_end:
        raise FormatError(f"the file ends after {len(data)} bytes, inside its table of contents")
    if _CRC.unpack_from(data, table_end)[0] != zlib.crc32(data[:table_end]):
        raise FormatError("the header is damaged: its checksum does not match")
    if flags or reserved:
        raise FormatError("the header has reserved bits set")
    _check_size(width, height, channels, count, limits)
    if quality > MAX_QUALITY or cell_log2 > MAX_POSITION_CELL_LOG2:
        raise FormatError(f"quality {quality} or cell size 2^{cell_log2} is out of range")
    quantizer = Quantizer(quality, cell_log2, width, height, channels)
    groups, icc, whole = _chunks(data, chunks, table_end + _CRC.size, limits, partial)
    if whole and sum(group.count for group in groups) != count:
        raise FormatError(f"the header claims {count} Gaussians, the chunks hold another number")
    return File(quantizer, tuple(groups), icc)


def _check_size(width: int, height: int, channels: int, count: int, limits: Limits) -> None:
    if not width or not height or channels not in (1, 3):
        raise FormatError(f"impossible image: {width} x {height} pixels, {channels} channels")
    if max(width, height) > limits.side or width * height > limits.pixels:
        raise LimitError(
            f"the image has {width} x {height} pixels, the limits are {limits.side} a side and {limits.pixels} in all"
        )
    if count > limits.gaussians:
        raise LimitError(f"the file claims {count} Gaussians, the limit is {limits.gaussians}")


def _chunks(
    data: bytes, chunks: int, start: int, limits: Limits, partial: bool
) -> tuple[list[Group], bytes | None, bool]:
    """Groups, profile, and whether all chunks are there."""
    groups: list[Group] = []
    icc: bytes | None = None
    for index in range(chunks):
        kind, stored, unpacked, crc = _ENTRY.unpack_from(data, _HEADER.size + index * _ENTRY.size)
        if len(data) - start < stored:
            if partial and groups:
                return groups, icc, False
            raise FormatError(f"chunk {index} claims {stored} bytes, the file has {len(data) - start} left")
        body = data[start : start + stored]
        start += stored
        if zlib.crc32(body) != crc:
            raise FormatError(f"chunk {index} is damaged: its checksum does not match")
        if kind == GAUSSIANS:
            if unpacked != stored:
                raise FormatError(f"chunk {index} of {stored} bytes claims {unpacked}, but is not packed")
            groups.append(_group(index, body, limits))
        elif kind == PROFILE:
            if icc is not None:  # a file of many would keep a reader busy for long
                raise FormatError(f"chunk {index} is a second ICC profile")
            icc = _inflate(index, body, unpacked, limits)
        elif not kind[0] & 0x20:
            raise UnsupportedError(f"chunk {index} has the unknown type {kind!r}, which is needed to decode the image")
    if start != len(data):
        raise FormatError(f"{len(data) - start} bytes follow the last chunk")
    return groups, icc, True


def _group(index: int, body: bytes, limits: Limits) -> Group:
    if len(body) < _GROUP.size:
        raise FormatError(f"chunk {index} is too short for a group of Gaussians")
    count, *extent = _GROUP.unpack_from(body)
    coded = body[_GROUP.size :]
    if count > limits.gaussians or len(coded) < count * MIN_GAUSSIAN_BYTES:
        raise FormatError(f"chunk {index} claims {count} Gaussians in {len(coded)} bytes")
    x0, y0, x1, y1 = extent
    if x0 > x1 or y0 > y1:
        raise FormatError(f"chunk {index} claims to reach from tile {x0},{y0} back to {x1},{y1}")
    return Group(count, (x0, y0, x1, y1), coded)


def _inflate(index: int, body: bytes, size: int, limits: Limits) -> bytes:
    if size > limits.profile_bytes:
        raise LimitError(f"chunk {index} claims {size} bytes of ICC profile, the limit is {limits.profile_bytes}")
    try:
        inflater = zlib.decompressobj()
        profile = inflater.decompress(body, size + 1)
    except zlib.error as error:
        raise FormatError(f"chunk {index} is damaged: {error}") from None
    if len(profile) != size or not inflater.eof or inflater.unused_data:
        raise FormatError(f"chunk {index} does not unpack to the {size} bytes that it claims")
    return profile
