"""The container of docs/format.md, written from the page alone: the part of the second decoder that reads bytes."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass, field


class Refused(Exception):
    """The file is damaged, unsupported or too large."""


def require(condition: bool, problem: str) -> None:
    if not condition:
        raise Refused(problem)


@dataclass(frozen=True)
class Header:
    """Of the colours, or of alpha."""

    width: int
    height: int
    channels: int
    quality: int
    cell_log2: int

    @property
    def columns(self) -> int:
        return ((self.width - 1) >> self.cell_log2) + 1

    @property
    def rows(self) -> int:
        return ((self.height - 1) >> self.cell_log2) + 1


@dataclass(frozen=True)
class Group:
    count: int
    extent: tuple[int, int, int, int]
    coded: bytes


@dataclass
class Content:
    header: Header
    alpha: Header | None
    depth: int
    code_points: tuple[int, int]
    groups: dict[bytes, list[Group]] = field(default_factory=lambda: {b"GAUS": [], b"ALPH": [], b"MASK": []})
    metadata: dict[bytes, bytes] = field(default_factory=dict)
    grain: bytes | None = None  # cell_log2, bands, coded levels

    @property
    def profile(self) -> bytes | None:
        return self.metadata.get(b"iccp")


ONCE = (b"iccp", b"exif", b"xmp ", b"iptc", b"dens")


def read_container(data: bytes) -> Content:
    require(len(data) <= 1 << 31, "too large")
    require(data[:8] == bytes.fromhex("895353500D0A1A0A"), "no signature")
    require(len(data) >= 40, "no header")
    require(data[8] == 4, "another major version")
    chunks = int.from_bytes(data[32:36], "little")
    require(chunks <= 65536, "too many chunks")
    end = 36 + 16 * chunks
    require(end + 4 <= len(data), "the table ends early")
    require(zlib.crc32(data[:end]) == int.from_bytes(data[end : end + 4], "little"), "the header's CRC")
    content, count = _read_header(data)
    start = end + 4
    for entry in range(chunks):
        kind, stored, unpacked, crc = struct.unpack_from("<4sIII", data, 36 + 16 * entry)
        require(stored <= len(data) - start, "a chunk ends early")
        body = data[start : start + stored]
        start += stored
        require(zlib.crc32(body) == crc, "a chunk's CRC")
        _read_chunk(content, kind, body, unpacked)
    require(start == len(data), "bytes at the end")
    gaussians = sum(group.count for kind in (b"GAUS", b"ALPH") for group in content.groups[kind])
    require(gaussians == count, "the groups do not add up")
    return content


def _read_header(data: bytes) -> tuple[Content, int]:
    (
        channels,
        depth,
        width,
        height,
        primaries,
        transfer,
        quality,
        cell_log2,
        alpha,
        alpha_quality,
        alpha_cell,
        reserved,
    ) = struct.unpack_from("<BBIIBBBBBBBB", data, 10)
    count = int.from_bytes(data[28:32], "little")
    require(reserved == 0, "reserved bits")
    require(1 <= width <= 1 << 22 and 1 <= height <= 1 << 22 and width * height <= 1 << 32, "the image's size")
    longest = max(width, height) - 1
    require(longest >> cell_log2 < 65536 and (not alpha or longest >> alpha_cell < 65536), "cells")
    require(channels in (1, 3) and quality <= 191 and cell_log2 <= 12 and count <= 1 << 26, "a header field")
    require(1 <= depth <= 16 and primaries >= 1 and transfer >= 1, "depth or code points")
    require(alpha <= 1 and alpha_quality <= 191 * alpha and alpha_cell <= 12 * alpha, "alpha")
    of_alpha = Header(width, height, 1, alpha_quality, alpha_cell) if alpha else None
    color = Header(width, height, channels, quality, cell_log2)
    return Content(color, of_alpha, depth, (primaries, transfer)), count


def _read_chunk(content: Content, kind: bytes, body: bytes, unpacked: int) -> None:
    if kind in ONCE:
        require(kind not in content.metadata, "a second one")
        if kind == b"dens":
            require(len(body) == unpacked == 8 and 0 not in struct.unpack("<II", body), "the density")
        content.metadata[kind] = body if kind == b"dens" else _inflated(body, unpacked)
    elif kind == b"grai":
        require(content.grain is None, "a second grain")
        require(len(body) == unpacked >= 2 and 6 <= body[0] <= 12 and 1 <= body[1] <= 3, "the grain")
        content.grain = body
    elif kind in content.groups:
        require(kind == b"GAUS" or content.alpha is not None, "alpha of an opaque image")
        require(unpacked == len(body), "a group that is not packed")
        group = _read_group(body, 4 if kind == b"MASK" else 1)
        if kind == b"MASK":
            _check_mask(content, group)
        content.groups[kind].append(group)
    else:
        require(kind[0] & 0x20 != 0, "an unknown critical chunk")


def _read_group(body: bytes, per_byte: int) -> Group:
    require(len(body) >= 12, "a short group")
    count, *extent = struct.unpack_from("<I4H", body)
    require(count <= per_byte * (len(body) - 12), "more Gaussians or blocks than bytes allow")
    require(extent[0] <= extent[2] and extent[1] <= extent[3], "an extent that ends before it begins")
    return Group(count, (extent[0], extent[1], extent[2], extent[3]), body[12:])


def _check_mask(content: Content, part: Group) -> None:
    x0, y0, x1, y1 = part.extent
    columns, rows = (content.header.width + 63) // 64, (content.header.height + 63) // 64
    require(x0 < x1 <= columns and y0 < y1 <= rows, "a mask of nothing, or outside the image")
    for other in content.groups[b"MASK"]:
        a0, b0, a1, b1 = other.extent
        require(x1 <= a0 or a1 <= x0 or y1 <= b0 or b1 <= y0, "masks that overlap")


def _inflated(body: bytes, unpacked: int) -> bytes:
    require(unpacked <= 1 << 24, "a large profile")
    inflater = zlib.decompressobj()
    try:
        content = inflater.decompress(body, unpacked + 1)
    except zlib.error:
        raise Refused("a damaged zlib stream") from None
    require(inflater.eof and not inflater.unused_data and len(content) == unpacked, "the unpacked length")
    return content
