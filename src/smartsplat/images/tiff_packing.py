"""Directories of TIFF files, and of EXIF data, which are TIFF files without pixels.

BigTIFF has the same with counts and offsets of 64 bits.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

ORIENTATION = 274
"""The tag."""

GEO_TAGS = (33550, 33922, 34264, 34735, 34736, 34737)
"""Of GeoTIFF: pixel scale, tie points, transformation, keys, and their numbers and texts."""

EXIF, GPS, INTEROPERABILITY = 34665, 34853, 40965
"""Tags that point to directories: the last is in the directory of the first."""

LONG8 = 16
"""The type of 64-bit numbers, which only BigTIFF has."""

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, LONG8: 8}
"""Type of a value -> its bytes."""

GEO_KINDS = (2, 3, 12)
"""Types of their values: text, short and double."""

_LETTERS = {1: "B", 3: "H", 4: "I", 5: "I", 7: "B", LONG8: "Q"}
"""Type -> struct's letter, of those that are written: byte, short, long, rational (two of them), undefined, LONG8."""

Order = Literal["<", ">"]
"""struct's mark of the byte order."""

Value = tuple[int, Sequence[int]]  # type, numbers
Bytes = tuple[int, int, bytes]  # type, count, its numbers in the order of the file


@dataclass(frozen=True)
class StoredDirectory:
    """A directory of a TIFF structure.

    Args:
        order: of the bytes of its numbers.
        start: where it begins, bytes from the beginning of the structure.
        entries: tag -> its twelve bytes as they stand there. What they point to lies inside the structure.
        size: of the directory, bytes, with the link to the next.
    """

    order: Order
    start: int
    entries: Mapping[int, bytes]
    size: int


def first_directory(data: bytes) -> StoredDirectory:
    """Reads the first directory; entries that point outside of ``data`` are left out. ValueError: there is none."""
    orders: dict[bytes, Order] = {b"II*\0": "<", b"MM\0*": ">"}
    order = orders.get(data[:4])
    if order is None or len(data) < 8:
        raise ValueError("it does not begin as a TIFF structure")
    return _directory_at(data, order, *struct.unpack_from(f"{order}I", data, 4))


def _directory_at(data: bytes, order: Order, start: int) -> StoredDirectory:
    if start + 2 > len(data):
        raise ValueError("its first directory lies outside of it")
    (count,) = struct.unpack_from(f"{order}H", data, start)
    size = 2 + 12 * count + 4
    if start + size > len(data):
        raise ValueError("its first directory does not end inside of it")
    entries = {}
    for place in range(start + 2, start + 2 + 12 * count, 12):
        tag, kind, values, offset = struct.unpack_from(f"{order}HHII", data, place)
        length = values * _SIZES.get(kind, len(data))
        if length <= 4 or offset + length <= len(data):
            entries[tag] = data[place : place + 12]
    return StoredDirectory(order, start, entries, size)


def without_orientation(exif: bytes) -> bytes:
    """EXIF data that do not speak of the orientation; all else stays in its place. ValueError: they are damaged."""
    directory = first_directory(exif)
    if ORIENTATION not in directory.entries:
        return exif
    start, order, size = directory.start, directory.order, directory.size
    rows = [exif[place : place + 12] for place in range(start + 2, start + size - 4, 12)]
    left = [row for row in rows if struct.unpack(f"{order}H", row[:2]) != (ORIENTATION,)]
    link = exif[start + size - 4 : start + size]
    shorter = struct.pack(f"{order}H", len(left)) + b"".join(left) + link
    return exif[:start] + shorter.ljust(size, b"\0") + exif[start + size :]


def geo_values(data: bytes, order: Order) -> dict[int, Bytes]:
    """The tags of ``Metadata.geo``, in a byte order. ValueError: it is no little-endian TIFF structure."""
    directory = first_directory(data)
    if directory.order != "<":
        raise ValueError("it is not little-endian")
    values = {}
    for tag, entry in directory.entries.items():
        _, kind, count, place = struct.unpack("<HHII", entry)
        size = _SIZES.get(kind, 0)
        found = entry[8 : 8 + size * count] if size * count <= 4 else data[place : place + size * count]
        if tag in GEO_TAGS and kind in GEO_KINDS and count:
            values[tag] = kind, count, found if order == "<" else _swapped(found, size)
    return values


def packed_geo(values: Mapping[int, Bytes], order: Order) -> bytes:
    """``Metadata.geo`` of tags whose numbers are in a byte order."""
    ready = {
        tag: (kind, count, data if order == "<" else _swapped(data, _SIZES[kind]))
        for tag, (kind, count, data) in values.items()
    }
    return b"II*\0" + struct.pack("<I", 8) + packed_directory(ready, {}, "<", 8)


def _swapped(data: bytes, size: int) -> bytes:
    """Numbers of so many bytes each in the other byte order."""
    return b"".join(data[start : start + size][::-1] for start in range(0, len(data), size))


def packed_values(values: Mapping[int, Value], order: Order) -> dict[int, Bytes]:
    """Values as bytes; rationals are pairs of numbers, one after the other."""
    packed = {}
    for tag, (kind, numbers) in values.items():
        data = struct.pack(f"{order}{len(numbers)}{_LETTERS[kind]}", *numbers)
        packed[tag] = kind, len(data) // _SIZES[kind], data
    return packed


def packed_directory(
    values: Mapping[int, Bytes],
    raw: Mapping[int, bytes],
    order: Order,
    start: int,
    *,
    big: bool = False,
    is_last: bool = True,
) -> bytes:
    """A directory of a file.

    Args:
        values: tag -> what it has, in that order.
        raw: tag -> bytes of an entry that points to what already is in the file; ``values`` go before it.
        order: of the bytes of numbers.
        start: the directory's place in the file, bytes.
        big: that of a BigTIFF.
        is_last: else another directory follows right behind.

    Returns:
        Its entries, and behind them the values that are longer than an entry has room for.
    """
    short, number, room = ("Q", "Q", 8) if big else ("H", "I", 4)
    count = len(raw.keys() | values.keys())
    head = struct.pack(f"{order}{short}", count)
    behind = start + len(head) + (4 + 2 * room) * count + room
    entries, longer = dict(raw), b""
    for tag, (kind, length, data) in values.items():
        place = data.ljust(room, b"\0")
        if len(data) > room:
            place = struct.pack(f"{order}{number}", behind + len(longer))
            longer += data + bytes(len(data) % 2)  # every value starts on a word
        entries[tag] = struct.pack(f"{order}HH{number}", tag, kind, length) + place
    rows = b"".join(entries[tag] for tag in sorted(entries))
    link = struct.pack(f"{order}{number}", 0 if is_last else behind + len(longer))
    return head + rows + link + longer


def widened(data: bytes, directory: StoredDirectory, start: int) -> tuple[dict[int, bytes], bytes]:
    """Entries of a TIFF structure as those of a BigTIFF that begins with the same bytes, its header apart.

    Values stay where they are; what a camera's own note points to is still right. Directories are written anew.

    Args:
        data: the structure.
        directory: the entries in it.
        start: where the directories that entries point to will be, bytes; those that are damaged are left out.

    Returns:
        The entries, and the directories.
    """
    order = directory.order
    inner = {EXIF: (INTEROPERABILITY,), GPS: (), INTEROPERABILITY: ()}
    entries, behind = dict[int, bytes](), b""
    for tag, entry in directory.entries.items():
        _, kind, count, place = struct.unpack(f"{order}HHII", entry)
        if tag in inner:
            try:
                found = _directory_at(data, order, place)
            except ValueError:
                continue
            taken = {each: found.entries[each] for each in found.entries if each not in inner or each in inner[tag]}
            further, below = widened(data, replace(found, entries=taken), start + len(behind))
            behind += below
            value, kind, count = struct.pack(f"{order}Q", start + len(behind)), LONG8, 1
            behind += packed_directory({}, further, order, start + len(behind), big=True)
        else:
            length = count * _SIZES.get(kind, 1)
            inline = entry[8 : 8 + length] if length <= 4 else data[place : place + length]
            value = inline if length <= 8 else struct.pack(f"{order}Q", place)
        entries[tag] = struct.pack(f"{order}HHQ", tag, kind, count) + value.ljust(8, b"\0")
    return entries, behind
