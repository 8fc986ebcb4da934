"""PGM, PPM, PAM and PFM of any depth: Pillow reads their colours with 8 bits, and not all of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from smartsplat.errors import ImageError
from smartsplat.images.reading.sources import HEAD, Samples, SampleStrips, Unreadable, check_size, length_of
from smartsplat.images.reading.stored import StoredImage
from smartsplat.images.strips import ROW_MULTIPLE
from smartsplat.limits import Limits

BINARY_MARKS = (b"P5", b"P6", b"P7", b"Pf", b"PF")
PLAIN_MARKS = (b"P2", b"P3")

_BANDS = {b"P2": "L", b"P5": "L", b"P3": "RGB", b"P6": "RGB", b"Pf": "L", b"PF": "RGB"}
_BANDS_OF_COUNT = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
_BANDS_OF_INK = {4: "CMYK", 5: "CMYKA"}
_GAP = rb"(?:\s|#[^\n]*\n)+"
_HEADER = re.compile(rb"(?:P[2356f]|PF)" + 3 * (_GAP + rb"(-?[\d.eE+-]{1,20})") + rb"(?:#[^\n]*\n)*\s")
_BLOCK = 1 << 20  # bytes of text that are read at once


def open_netpbm(stream: BinaryIO, name: str, limits: Limits) -> StoredImage:
    """The image of a file with one of the marks above. Raises ImageError, LimitError."""
    stream.seek(0)
    head = stream.read(HEAD)
    mark = head[:2]
    if mark == b"P7":
        return _open_pam(stream, head, name, limits)
    found = _HEADER.match(head)
    try:
        assert found is not None
        width, height, top = int(found[1]), int(found[2]), float(found[3])
    except (AssertionError, ValueError):
        raise ImageError(f"{name}: cannot be read as PPM: its header is damaged") from None
    if mark in (b"Pf", b"PF"):
        if not top:
            raise ImageError(f"{name}: cannot be read as PFM: its header is damaged")
        return _stored(stream, found.end(), (width, height), _BANDS[mark], top, name, limits)
    return _stored(stream, found.end(), (width, height), _BANDS[mark], int(top), name, limits, mark in PLAIN_MARKS)


def _open_pam(stream: BinaryIO, head: bytes, name: str, limits: Limits) -> StoredImage:
    text, mark, _ = head.partition(b"ENDHDR\n")
    words = dict(re.findall(rb"^\s*([A-Z]+)[ \t]+(\S+)", text, re.MULTILINE))
    try:
        width, height, depth, top = (int(words[key]) for key in (b"WIDTH", b"HEIGHT", b"DEPTH", b"MAXVAL"))
    except (KeyError, ValueError):
        raise ImageError(f"{name}: cannot be read as PAM: its header is damaged") from None
    bands = _BANDS_OF_INK.get(depth) if words.get(b"TUPLTYPE", b"").startswith(b"CMYK") else _BANDS_OF_COUNT.get(depth)
    if bands is None or not mark:
        raise ImageError(f"{name}: cannot be read as PAM: {depth} samples a pixel are not supported")
    return _stored(stream, len(text) + len(mark), (width, height), bands, top, name, limits)


def _stored(
    stream: BinaryIO,
    start: int,
    size: tuple[int, int],
    bands: str,
    top: int | float,
    name: str,
    limits: Limits,
    plain: bool = False,
) -> StoredImage:
    """The image of ``size`` that follows byte ``start``; ``top`` is the largest integer, or PFM's scale, a float."""
    width, height = size
    check_size(name, width, height, limits)
    is_float = isinstance(top, float)
    if not is_float and not 0 < top < 65536:
        raise ImageError(f"{name}: cannot be read as PPM: its largest value is {top}, 1 to 65535 are possible")
    kind = np.dtype("<f4" if top < 0 else ">f4") if is_float else np.dtype(np.uint8 if top < 256 else ">u2")
    row_bytes = width * len(bands) * kind.itemsize

    def strips(lenient: bool) -> SampleStrips:
        if plain:
            yield from _plain_strips(stream, start, (height, width, len(bands)), lenient)
            return
        if not lenient and length_of(stream) < start + row_bytes * height:
            raise Unreadable(f"{start + row_bytes * height - length_of(stream)} bytes are missing")
        for first in range(0, height, ROW_MULTIPLE):
            rows = min(ROW_MULTIPLE, height - first)
            # Floats go from the last row to the first.
            stream.seek(start + row_bytes * (height - first - rows if is_float else first))
            data = stream.read(row_bytes * rows).ljust(row_bytes * rows, b"\0")
            strip = np.frombuffer(data, kind).reshape(rows, width, len(bands))
            yield first, strip[::-1] if is_float else strip

    bits = 32 if is_float else int(top).bit_length()
    return StoredImage(width, height, bands, strips, bits=bits, white=None if isinstance(top, float) else top)


def _plain_strips(stream: BinaryIO, start: int, shape: tuple[int, int, int], lenient: bool) -> SampleStrips:
    """Rows [h, W, C] written as decimal numbers."""
    height, width, channels = shape
    numbers = _numbers(stream, start)
    waiting = np.empty(0, np.uint16)
    for top in range(0, height, ROW_MULTIPLE):
        rows = min(ROW_MULTIPLE, height - top)
        parts, found, needed = [waiting], len(waiting), rows * width * channels
        while found < needed and (more := next(numbers, None)) is not None:
            parts.append(more)
            found += len(more)
        joined = np.concatenate(parts)
        if found < needed:
            if not lenient:
                raise Unreadable("numbers are missing")
            joined = np.pad(joined, (0, needed - found))
        waiting = joined[needed:]
        yield top, joined[:needed].reshape(rows, width, channels)


def _numbers(stream: BinaryIO, start: int) -> Iterator[Samples]:
    """The numbers of a text, a block of it at once."""
    place, rest = start, b""
    while True:
        stream.seek(place)
        block = stream.read(_BLOCK)
        place += len(block)
        text = re.sub(rb"#[^\n]*\n?", b" ", rest + block)
        cut = len(text) if len(block) < _BLOCK else max(text.rfind(space) for space in (b" ", b"\n", b"\t", b"\r")) + 1
        text, rest = text[:cut], text[cut:]
        if len(rest) > HEAD:
            raise Unreadable("there is something else than numbers from 0 to 65535")
        try:
            yield np.array(text.split(), np.uint16)
        except (OverflowError, ValueError):
            raise Unreadable("there is something else than numbers from 0 to 65535") from None
        if len(block) < _BLOCK:
            return
