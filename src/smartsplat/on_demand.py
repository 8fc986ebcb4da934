"""A file whose groups are read when a view needs them: a large one on this machine, or one that is elsewhere.

The bytes lie in a mapping as long as the file, of which only what has been read takes memory. Not a mapping of the file
itself: whoever shortens that ends every process that looks at it.
"""

from __future__ import annotations

import mmap
import os
import weakref
from collections.abc import Callable, Iterable, Sequence

from smartsplat.bitstream.container import head_size
from smartsplat.errors import FormatError, LimitError, SettingsError, one_line_of
from smartsplat.limits import Limits

MIN_BYTES = 1 << 20
"""Of a file on this machine that is read on demand: smaller ones are read sooner whole."""

FIRST_BYTES = 1 << 16
"""Read at first: the table of contents and the index of a file of two thousand groups."""

MAX_GAP = 1 << 16
"""Bytes between two ranges that are read along with them: sooner than another request."""

Range = tuple[int, int]
"""Where bytes begin, and how many they are."""

ReadRanges = Callable[[Sequence[Range]], Sequence[bytes]]
"""Reads ranges of a file; raises OSError, or whatever its store raises."""


class OnDemand:
    """The bytes of a file, as far as they have been read; for one thread at a time.

    Args:
        name: what messages call the file.
        size: bytes of the file.
        read: reads ranges of it.
    """

    def __init__(self, name: str, size: int, read: ReadRanges, limits: Limits) -> None:
        """Reads the head. FormatError: it cannot be read. LimitError: the file is too large."""
        if size > limits.file_bytes:
            raise LimitError(f"{name}: the file is above the limit of {limits.file_bytes} bytes")
        self._name, self._read, self.size = name, read, size
        self._there: set[int] = set()  # beginnings of groups
        self._is_whole = False
        self.requests = 0
        self.bytes = mmap.mmap(-1, size) if size else b""
        there = min(size, FIRST_BYTES)
        self._fill([(0, there)])
        while (head := head_size(self.bytes[:there], size)) is not None and head > there:
            self._fill([(there, head - there)])
            there = head
        self.has_index = head is not None

    def fetch(self, groups: Iterable[Range]) -> None:
        """Read groups that are not there yet. FormatError: they cannot be read."""
        missing = sorted(group for group in groups if group[0] not in self._there)
        if missing and not self._is_whole:
            self._fill(merged(missing))
            self._there.update(begin for begin, _ in missing)

    def all(self) -> bytes:
        """Every byte. FormatError: they cannot be read."""
        if not self._is_whole:
            self._fill([(0, self.size)])
        return bytes(self.bytes[:])

    def _fill(self, ranges: Sequence[Range]) -> None:
        """Read ranges into the mapping; or all of the file, from a server that knows no ranges."""
        self.requests += len(ranges)
        try:
            found = self._read(ranges)
        except Exception as error:  # of every library that may do it
            raise FormatError(f"{self._name}: cannot be read: {one_line_of(error)}") from None
        for (begin, count), data in zip(ranges, found, strict=True):
            if len(data) not in (count, self.size):
                raise FormatError(f"{self._name}: cannot be read: {len(data)} bytes came of {count}")
            self._is_whole = self._is_whole or len(data) == self.size
            if count:
                place = begin if len(data) == count else 0
                self.bytes[place : place + len(data)] = data  # type: ignore[index]


def merged(ranges: Sequence[Range]) -> list[Range]:
    """Sorted ranges, with those as one between which little is left out."""
    result: list[Range] = []
    for begin, count in ranges:
        if result and begin - sum(result[-1]) <= MAX_GAP:
            first = result[-1][0]
            result[-1] = first, max(sum(result[-1]), begin + count) - first
        else:
            result.append((begin, count))
    return result


def of_path(path: str, limits: Limits) -> OnDemand | None:
    """A file on this machine, which stays open, as another may take its place; None: it is small.

    OSError: it is not there.
    """
    size = os.stat(path).st_size
    if size < MIN_BYTES:
        return None
    descriptor = os.open(path, os.O_RDONLY)

    def read(ranges: Sequence[Range]) -> list[bytes]:
        return [os.pread(descriptor, count, begin) for begin, count in ranges]

    try:
        file = OnDemand(path, size, read, limits)
    except BaseException:
        os.close(descriptor)
        raise
    weakref.finalize(file, os.close, descriptor)
    return file


def of_url(url: str, limits: Limits) -> OnDemand:
    """A file by an fsspec URL.

    Raises:
        SettingsError: there is no such kind of store here.
        FormatError: the file cannot be read.
        LimitError: it is too large.
    """
    try:
        from smartsplat.stores import opened_store
    except ImportError:
        raise SettingsError(f"{url}: needs fsspec: pip install 'smartsplat[remote]'") from None
    store, path = opened_store(url)
    try:
        size = store.info(path).get("size")
    except Exception as error:  # of every library that fsspec may use
        raise FormatError(f"{url}: cannot be read: {one_line_of(error)}") from None
    if size is None:
        raise FormatError(f"{url}: cannot be read: its server does not say how long it is")

    def read(ranges: Sequence[Range]) -> list[bytes]:
        starts, ends = zip(*((begin, begin + count) for begin, count in ranges), strict=True)
        found: list[bytes] = store.cat_ranges([path] * len(ranges), list(starts), list(ends), on_error="raise")
        return found

    return OnDemand(url, int(size), read, limits)
