"""Boxes of ISO base media files, that AVIF, JPEG 2000 and JPEG XL are made of: colour, depth and size."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from smartsplat.metadata import are_named

_FOLDERS = (b"meta", b"iprp", b"ipco", b"jp2h")
_JPEG2000_START = b"\xff\x4f\xff\x51"  # of a codestream


@dataclass(frozen=True)
class BoxColor:
    """What the first colour boxes say; None and 0: nothing."""

    icc: bytes | None = None
    primaries: int = 0
    transfer: int = 0


def boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Name and body of every box from the start on, also of those inside; the last may be cut off."""
    place = 0
    while place + 8 <= len(data):
        size, kind = struct.unpack_from(">I4s", data, place)
        head = 8
        if size == 1 and place + 16 <= len(data):
            size, head = struct.unpack_from(">Q", data, place + 8)[0], 16
        elif size == 0:
            size = len(data) - place
        if size < head:
            return
        body = data[place + head : place + size]
        yield kind, body
        if kind in _FOLDERS:
            yield from boxes(body[4:] if kind == b"meta" else body)
        place += size


def box_color(head: bytes) -> BoxColor:
    """The colour of an image, from the first part of its file."""
    icc, codes = None, (0, 0)
    for kind, body in boxes(head):
        if kind != b"colr":
            continue
        if body[:4] == b"nclx" and len(body) >= 10 and codes == (0, 0):
            primaries, transfer = struct.unpack_from(">HH", body, 4)
            if are_named(primaries, transfer):
                codes = primaries, transfer
        elif body[:4] in (b"prof", b"rICC"):
            icc = icc or body[4:]
        elif body[:1] == b"\2" and len(body) > 3:  # of JPEG 2000: a restricted profile
            icc = icc or body[3:]
    return BoxColor(icc, *codes)


def avif_bits(head: bytes) -> int:
    """Bits of a sample, from the first part of an AVIF file."""
    start = head.find(b"av1C")
    if not 0 <= start < len(head) - 6:
        return 8
    flags = head[start + 6]  # with high_bitdepth and twelve_bit of the AV1 sequence header
    return 8 if not flags & 0x40 else 12 if flags & 0x20 else 10


def jpeg2000_size(head: bytes) -> tuple[int, int, int] | None:
    """Width, height and components of a JPEG 2000 codestream, from the first part of its file; None: there is none."""
    start = head.find(_JPEG2000_START)
    if not 0 <= start <= len(head) - 42:
        return None
    right, bottom, left, top = struct.unpack_from(">4I", head, start + 8)
    return right - left, bottom - top, struct.unpack_from(">H", head, start + 40)[0]


def jpeg2000_bits(head: bytes) -> int:
    """Bits of a sample of the first component, from the first part of a JPEG 2000 file."""
    start = head.find(_JPEG2000_START)
    return (head[start + 42] & 0x7F) + 1 if 0 <= start < len(head) - 42 else 8


class _Bits:
    """Reads bits from the least significant one on, as JPEG XL does."""

    def __init__(self, data: bytes) -> None:
        self._value, self._left = int.from_bytes(data, "little"), 8 * len(data)

    def read(self, count: int) -> int:
        if count > self._left:
            raise ValueError("the header is cut off")
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return value

    def choice(self, *options: tuple[int, int]) -> int:
        """One of four: a number, and how many bits are added to it."""
        base, bits = options[self.read(2)]
        return base + self.read(bits)


@dataclass(frozen=True)
class JxlHeader:
    """Pixels and bits of a sample of a JPEG XL, as they are stored."""

    width: int
    height: int
    bits: int
    is_float: bool


def jxl_header(head: bytes) -> JxlHeader | None:
    """The header of a JPEG XL codestream (ISO 18181-1), bare or in a box; None if it is not in the first part."""
    codestream = head if head[:2] == b"\xff\x0a" else None
    for kind, body in boxes(head) if codestream is None else ():
        if kind in (b"jxlc", b"jxlp"):
            codestream = body[4:] if kind == b"jxlp" else body
            break
    if codestream is None or codestream[:2] != b"\xff\x0a":
        return None
    bits = _Bits(codestream[2:64])
    try:
        width, height = _jxl_size(bits)
        return JxlHeader(width, height, *_jxl_bits(bits))
    except ValueError:
        return None


def _jxl_size(bits: _Bits) -> tuple[int, int]:
    small = bits.read(1)
    sizes = ((1, 9), (1, 13), (1, 18), (1, 30))
    height = 8 * (bits.read(5) + 1) if small else bits.choice(*sizes)
    ratio = bits.read(3)
    if ratio:
        above, below = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
        return height * above // below, height
    return (8 * (bits.read(5) + 1) if small else bits.choice(*sizes)), height


def _jxl_bits(bits: _Bits) -> tuple[int, bool]:
    """Of a sample, and whether it is a float."""
    if bits.read(1):  # all is as usual
        return 8, False
    if bits.read(1):  # extra fields
        bits.read(3)  # orientation
        if bits.read(1):
            _jxl_size(bits)
        if bits.read(1):
            raise ValueError("previews are not supported")
        if bits.read(1):  # animation: ticks, loops and timecodes
            bits.choice((100, 0), (1000, 0), (1, 10), (1, 30))
            bits.choice((1, 0), (1001, 0), (1, 8), (1, 10))
            bits.choice((0, 0), (0, 3), (0, 16), (0, 32))
            bits.read(1)
    if bits.read(1):
        return bits.choice((32, 0), (16, 0), (24, 0), (1, 6)), True
    return bits.choice((8, 0), (10, 0), (12, 0), (1, 6)), False
