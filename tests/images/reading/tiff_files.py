"""TIFF files made by hand: every byte order, layout and kind of sample, uncompressed."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

_LETTERS = {1: "B", 2: "s", 3: "H", 4: "I", 5: "I", 7: "s", 13: "I", 16: "Q"}


@dataclass(frozen=True)
class Page:
    """One directory: samples [H, W, C], and tags (number -> type, values) that are added or replace the usual ones."""

    samples: np.ndarray
    photometric: int = 1
    extra: Sequence[int] = ()
    separate: bool = False
    tags: Mapping[int, tuple[int, Sequence[int] | bytes]] = field(default_factory=dict)


def tiff(*pages: Page, order: str = "<", big: bool = False) -> bytes:
    """A file of one directory after another."""
    place_letter, head = ("Q", 16) if big else ("I", 8)
    body = b""
    directories: list[tuple[int, bytes]] = []
    for page in pages:
        samples = page.samples if page.samples.ndim == 3 else page.samples[:, :, None]
        height, width, count = samples.shape
        planes = [samples[:, :, band] for band in range(count)] if page.separate else [samples]
        data = [np.ascontiguousarray(plane).astype(plane.dtype.newbyteorder(order)).tobytes() for plane in planes]
        starts = [head + len(body) + sum(map(len, data[:number])) for number in range(len(data))]
        body += b"".join(data) + bytes(sum(map(len, data)) % 2)
        kind = {"u": 1, "i": 2, "f": 3, "c": 6}[samples.dtype.kind]
        tags: dict[int, tuple[int, Any]] = {
            256: (4, [width]), 257: (4, [height]), 258: (3, [8 * samples.dtype.itemsize] * count), 259: (3, [1]),
            262: (3, [page.photometric]), 273: (16 if big else 4, starts), 277: (3, [count]), 278: (4, [height]),
            279: (4, [len(one) for one in data]), 284: (3, [2 if page.separate else 1]), 339: (3, [kind] * count),
        }  # fmt: skip
        if page.extra:
            tags[338] = (3, list(page.extra))
        tags.update(page.tags)
        entries, body = _entries(tags, order, big, head, body)
        directories.append((head + len(body), entries))
        body += entries + bytes(8 if big else 4)
    for (start, entries), (following, _) in itertools.pairwise(directories):
        place = start + len(entries) - head
        pointer = struct.pack(order + place_letter, following)
        body = body[:place] + pointer + body[place + len(pointer) :]
    mark = b"II" if order == "<" else b"MM"
    first = struct.pack(order + place_letter, directories[0][0])
    version = struct.pack(f"{order}HHH", 43, 8, 0) if big else struct.pack(f"{order}H", 42)
    return mark + version + first + body


def _entries(tags: Mapping[int, tuple[int, Any]], order: str, big: bool, head: int, body: bytes) -> tuple[bytes, bytes]:
    """The directory, and the file with the values that do not fit into it."""
    letter, size = ("Q", 8) if big else ("I", 4)
    entries = struct.pack(order + ("Q" if big else "H"), len(tags))
    for tag, (kind, values) in sorted(tags.items()):
        data = values if isinstance(values, bytes) else struct.pack(f"{order}{len(values)}{_LETTERS[kind]}", *values)
        count = len(data) // struct.calcsize(_LETTERS[kind]) // (2 if kind == 5 else 1)
        if len(data) > size:
            field = struct.pack(order + letter, head + len(body))
            body += data + bytes(len(data) % 2)
        else:
            field = data.ljust(size, b"\0")
        entries += struct.pack(f"{order}HH{letter}", tag, kind, count) + field
    return entries, body
