"""The .sspl files of a folder, found by the paths of requests and kept open while they are asked for."""

from __future__ import annotations

import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import smartsplat
from smartsplat.errors import SmartSplatError
from smartsplat.web.iiif import RequestError
from smartsplat.web.sources import FileSource

CACHE_BYTES = 1 << 29
"""Of opened files, about: their bytes and those of their Gaussians once they are decoded."""

GAUSSIAN_BYTES = 32
"""Of a decoded Gaussian: eight floats."""

MAX_LISTED = 10000


@dataclass(frozen=True)
class ServedFile:
    """A file of the folder.

    Args:
        identifier: its path relative to the folder, with / between its parts.
        version: changes when the file does.
    """

    identifier: str
    path: Path
    size: int
    version: str


class Folder:
    """A folder of .sspl files; nothing outside of it is ever opened."""

    def __init__(self, root: Path, threads: int) -> None:
        """threads: of a rendering."""
        self._root = root.resolve()
        self._threads = threads
        self._lock = threading.Lock()
        self._opened: OrderedDict[str, tuple[str, FileSource, int]] = OrderedDict()  # version, file, bytes

    def find(self, identifier: str) -> ServedFile:
        """The file of an identifier. RequestError: there is none in this folder."""
        missing = RequestError(f"no image {identifier[:200]!r}", 404)
        parts = identifier.split("/")
        if not identifier.endswith(".sspl") or any(not part or part.startswith(".") for part in parts):
            raise missing
        if any(character in part for part in parts for character in "\\:\0"):  # another system's paths
            raise missing
        try:
            path = self._root.joinpath(*parts).resolve()
            found = path.stat()
        except (OSError, ValueError, RuntimeError):
            raise missing from None
        if not path.is_relative_to(self._root) or not stat.S_ISREG(found.st_mode):
            raise missing
        return ServedFile(identifier, path, found.st_size, f"{found.st_ino}-{found.st_mtime_ns}-{found.st_size}")

    def opened(self, entry: ServedFile) -> FileSource | None:
        """The file, if it is open and has not changed."""
        with self._lock:
            version, source, _ = self._opened.get(entry.identifier, (None, None, 0))
            if version != entry.version:
                return None
            self._opened.move_to_end(entry.identifier)
            return source

    def open(self, entry: ServedFile) -> FileSource:
        """The file, opened. RequestError: it cannot be read."""
        if (source := self.opened(entry)) is not None:  # by another request, meanwhile
            return source
        try:
            reader = smartsplat.open(entry.path, threads=self._threads)
        except SmartSplatError as error:
            raise RequestError(f"{entry.identifier}: {str(error).removeprefix(f'{entry.path}: ')}", 500) from None
        source = FileSource(reader)
        size = entry.size + GAUSSIAN_BYTES * reader.info.gaussians
        with self._lock:
            self._opened[entry.identifier] = entry.version, source, size
            self._opened.move_to_end(entry.identifier)
            while len(self._opened) > 1 and sum(size for _, _, size in self._opened.values()) > CACHE_BYTES:
                self._opened.popitem(last=False)
        return source

    def __iter__(self) -> Iterator[ServedFile]:
        """The first files, sorted by name, folder by folder."""
        count = 0
        for folder, folders, names in os.walk(self._root):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                try:
                    entry = self.find(Path(folder, name).relative_to(self._root).as_posix())
                except RequestError:
                    continue
                yield entry
                count += 1
                if count == MAX_LISTED:
                    return
