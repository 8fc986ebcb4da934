"""Header, table of contents and chunks <-> bytes (docs/format.md, "Container").

Files are read by ``native/bitstream/container.cpp``, which treats their bytes as hostile, and written here.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from dataclasses import dataclass
from functools import cached_property

from smartsplat import _native
from smartsplat.bitstream.quantize import Quantizer
from smartsplat.errors import FormatError
from smartsplat.limits import Limits
from smartsplat.metadata import NO_METADATA, Metadata

SIGNATURE = b"\x89SSP\r\n\x1a\n"
"""As PNG's: a byte above 127, the name, and line ends that a text transfer would change."""

MEDIA_TYPE = "image/x-sspl"
"""Of files: under image/, so that hosts do not compress them, which would break ranges of bytes."""

MAJOR = _native.MAJOR_VERSION
GRAIN_MINOR, INDEX_MINOR = 1, 2
"""The minor versions that a file has, at least: with grain, and with an index or GeoTIFF tags."""

GAUSSIANS, ALPHA, MASK = GROUPS = b"GAUS", b"ALPH", b"MASK"
DENSITY, GRAIN, INDEX = b"dens", b"grai", b"indx"
"""Chunk types. A capital first letter: a reader that does not know the type must give up."""

MIN_INDEXED_GROUPS = 64
"""Groups from which on a file has an index: about a megabyte, of which it takes .07 %."""

PACKED = {b"iccp": "icc", b"exif": "exif", b"xmp ": "xmp", b"iptc": "iptc", b"geot": "geo"}
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

TILE = _native.EXTENT_TILE
"""Side, in pixels, of the tiles that a group's extent is given in."""

GRAIN_CELL_LOG2 = _native.GRAIN_CELL_LOG2
"""Least and most of a cell of grain."""


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
    """Bytes of a file without an index that are not coded colours, of which there are so many groups."""
    return _HEADER.size + _CRC.size + groups * (_ENTRY.size + _GROUP.size) + extras.size


def pack(file: File, min_indexed_groups: int = MIN_INDEXED_GROUPS) -> bytes:
    """The bytes of a file.

    Args:
        min_indexed_groups: groups, those of alpha and parts of a mask included, from which on it has an index.
    """
    chunks = [*file.extras.chunks, *(_group_chunk(GAUSSIANS, group) for group in file.groups)]
    headers = [body[: _GROUP.size] for kind, body, _ in chunks if kind in GROUPS]
    has_index = len(headers) >= max(min_indexed_groups, 1)
    if has_index:
        index = b"".join(headers)
        chunks.insert(0, (INDEX, index, len(index)))
    q, metadata, alpha = file.quantizer, file.extras.metadata, file.extras.alpha
    minor = INDEX_MINOR if has_index or metadata.geo else GRAIN_MINOR if file.extras.grain else 0
    header = _HEADER.pack(
        SIGNATURE,
        MAJOR,
        minor,
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


def head_size(data: bytes, size: int) -> int | None:
    """How much of a file is to be read before its groups can be read one by one.

    Args:
        data: the first bytes of the file.
        size: bytes of the file.

    Returns:
        Bytes before the first group; of the table of contents, if ``data`` does not have all of that. None: the file
        has no index, or is none that can be read so.
    """
    if len(data) < _HEADER.size or not data.startswith(SIGNATURE) or data[len(SIGNATURE)] != MAJOR:
        return None
    chunks = int(_HEADER.unpack_from(data)[-1])
    table_end = _HEADER.size + chunks * _ENTRY.size + _CRC.size
    if not chunks or table_end > size:
        return None
    if table_end > len(data):
        return table_end
    entries = list(_ENTRY.iter_unpack(data[_HEADER.size : table_end - _CRC.size]))
    before = list(itertools.takewhile(lambda entry: entry[0] not in GROUPS, entries))
    if entries[0][0] != INDEX or any(kind not in GROUPS for kind, *_ in entries[len(before) :]):
        return None
    ends = [table_end + sum(length for _, length, *_ in part) for part in (before, entries)]
    return ends[0] if ends[1] == size else None


def _group_chunk(kind: bytes, group: Group) -> Chunk:
    body = _GROUP.pack(group.count, *group.extent) + group.data
    return kind, body, len(body)


def unpack(data: bytes, limits: Limits = Limits(), partial: bool = False) -> File:
    """Read a file; if it may be ``partial``, those of its groups that come before its end.

    FormatError, UnsupportedError or LimitError say what is wrong with it.
    """
    return file_of(_native.Container(data, limits, partial))


def file_of(container: _native.Container) -> File:
    """What has been read of a file. FormatError: a packed chunk is damaged."""
    alpha = None
    if container.has_alpha:
        alpha = Alpha(Quantizer(**container.alpha), _groups(container.alpha_groups), _groups(container.mask))
    grain = None if container.grain is None else CodedGrain(*container.grain)
    extras = Extras(container.depth, metadata_of(container), alpha, grain)
    return File(Quantizer(**container.color), _groups(container.groups), extras)


def _groups(found: list[tuple[int, tuple[int, int, int, int], bytes]]) -> tuple[Group, ...]:
    return tuple(Group(*group) for group in found)


def metadata_of(container: _native.Container) -> Metadata:
    """Colour space and the like of a file that has been read. FormatError: a packed chunk is damaged."""
    fields = zip(PACKED.values(), container.packed, strict=True)
    unpacked = {field: _inflate(*chunk) for field, chunk in fields if chunk is not None}
    density = container.density if all(container.density) else None
    return Metadata(primaries=container.primaries, transfer=container.transfer, density=density, **unpacked)


def _inflate(index: int, body: bytes, size: int) -> bytes:
    try:
        inflater = zlib.decompressobj()
        content = inflater.decompress(body, size + 1)
    except zlib.error as error:
        raise FormatError(f"chunk {index} is damaged: {error}") from None
    if len(content) != size or not inflater.eof or inflater.unused_data:
        raise FormatError(f"chunk {index} does not unpack to the {size} bytes that it claims")
    return content


NAMES = {
    "icc": "ICC profile",
    "exif": "EXIF block",
    "xmp": "XMP packet",
    "iptc": "IPTC block",
    "geo": "GeoTIFF tags",
    "density": "density",
}
"""Fields of ``Metadata`` -> what messages call them."""
