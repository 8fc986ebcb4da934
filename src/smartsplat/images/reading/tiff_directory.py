"""Directories of TIFF files and of EXIF data: classic and big, of either byte order."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from smartsplat.images.tiff_packing import Order

_LETTERS = {
    1: "B", 2: "s", 3: "H", 4: "I", 5: "II", 6: "b", 7: "s", 8: "h", 9: "i", 10: "ii", 11: "f", 12: "d", 13: "I",
    16: "Q", 17: "q", 18: "Q",
}  # fmt: skip
"""Type of an entry -> struct's letter of one value."""

MAX_ENTRIES = 1 << 12
MAX_DIRECTORIES = 1 << 16
MAX_VALUE_BYTES = 1 << 24
"""More is no directory of an image: nothing longer is read."""


class DamagedDirectoryError(Exception):
    """The bytes are no TIFF structure; the message says where."""


@dataclass(frozen=True)
class Entry:
    """A tag's values: how many, of which type, and where they are in the file."""

    kind: int
    count: int
    place: int  # bytes from the start of the file

    @property
    def letter(self) -> str:
        return _LETTERS[self.kind]

    @property
    def size(self) -> int:
        """Bytes of all values."""
        return struct.calcsize("=" + self.letter) * self.count


@dataclass(frozen=True)
class Directory:
    """One page, or another list of tags."""

    entries: dict[int, Entry] = field(default_factory=dict)


class TiffFile:
    """Reads the directories of a stream that starts with a TIFF header.

    Raises DamagedDirectoryError.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.header = self._at(0, 16, 8)
        orders: dict[bytes, Order] = {b"II": "<", b"MM": ">"}
        order = orders.get(self.header[:2])
        version = struct.unpack(f"{order}H", self.header[2:4])[0] if order else 0
        if order is None or version not in (42, 43):
            raise DamagedDirectoryError("no TIFF header")
        self.order, self.is_big = order, version == 43
        if self.is_big and len(self.header) < 16:
            raise DamagedDirectoryError("the header is cut off")
        self._first = self._unpack("Q", self.header[8:16]) if self.is_big else self._unpack("I", self.header[4:8])

    def _at(self, place: int, size: int, least: int | None = None) -> bytes:
        self._stream.seek(place)
        data = self._stream.read(size)
        if len(data) < (size if least is None else least):
            raise DamagedDirectoryError(f"the file ends before byte {place + size}")
        return data

    def _unpack(self, letters: str, data: bytes) -> int:
        return int(struct.unpack(self.order + letters, data)[0])

    def directories(self) -> Iterator[Directory]:
        """The main ones, one after the other."""
        place, seen = self._first, set[int]()
        while place and place not in seen:
            if len(seen) >= MAX_DIRECTORIES:
                raise DamagedDirectoryError(f"there are more than {MAX_DIRECTORIES} directories")
            seen.add(place)
            directory, place = self._directory(place)
            yield directory

    def directory_at(self, place: int) -> Directory:
        """The one at a byte of the file that a tag names."""
        return self._directory(place)[0]

    def _directory(self, place: int) -> tuple[Directory, int]:
        """With the place of the next."""
        head, one, letter = (8, 20, "Q") if self.is_big else (2, 12, "I")
        count = self._unpack("Q" if self.is_big else "H", self._at(place, head))
        if count > MAX_ENTRIES:
            raise DamagedDirectoryError(f"the directory at byte {place} is no directory")
        size = 8 if self.is_big else 4
        data = self._at(place + head, count * one + size, count * one)
        entries: dict[int, Entry] = {}
        for number in range(count):
            start = number * one
            tag, kind = struct.unpack_from(f"{self.order}HH", data, start)
            values = self._unpack(letter, data[start + 4 : start + 4 + size])
            inline = place + head + start + one - size
            if kind not in _LETTERS:
                continue
            entry = Entry(kind, values, inline)
            if entry.size > size:
                entry = Entry(kind, values, self._unpack(letter, data[start + one - size : start + one]))
            entries.setdefault(tag, entry)
        behind = data[count * one :]
        return Directory(entries), self._unpack(letter, behind) if len(behind) == size else 0

    def raw(self, directory: Directory, tag: int) -> bytes | None:
        """The bytes of a tag; None where it is absent, too long or cut off."""
        entry = directory.entries.get(tag)
        if entry is None or entry.size > MAX_VALUE_BYTES:
            return None
        try:
            return self._at(entry.place, entry.size)
        except DamagedDirectoryError:
            return None

    def values(self, directory: Directory, tag: int) -> tuple[int | float, ...]:
        """The numbers of a tag, fractions divided; none where it is absent or no number."""
        data, entry = self.raw(directory, tag), directory.entries.get(tag)
        if not data or entry is None:
            return ()
        if entry.letter == "s":
            return tuple(data)
        numbers = struct.unpack(f"{self.order}{len(entry.letter) * entry.count}{entry.letter[0]}", data)
        if len(entry.letter) == 1:
            return numbers if all(map(math.isfinite, numbers)) else ()
        pairs = zip(numbers[::2], numbers[1::2], strict=True)
        return tuple(above / below if below else 0.0 for above, below in pairs)
