"""Tables of results: tab-separated files that runs extend row by row, several processes at once if need be."""

from __future__ import annotations

import csv
import fcntl
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

REPOSITORY = Path(__file__).resolve().parents[1]

RESULTS = REPOSITORY / "results/v0.5"
"""Folder of the tables that the docs show."""

ALPHA_AND_DEPTH_RESULTS = REPOSITORY / "results/v0.7"
"""Folder of the tables of images with alpha and of 16 bits, which came later."""

VIEWER_RESULTS = REPOSITORY / "results/v0.8"
"""Folder of the tables of the viewer and of the image server."""

EYE_RESULTS = REPOSITORY / "results/v0.9"
"""Folder of the table of what is tuned for the eye."""

EFFORT_RESULTS = REPOSITORY / "results/v0.10"
"""Folder of the tables of efforts, since fits need half the steps, and of kernels on a processor with AVX2."""

RELIABILITY_RESULTS = REPOSITORY / "results/v0.9"
"""Folder of the tables of promises and of endurance."""

SCALE_RESULTS = REPOSITORY / "results/v0.10"
"""Folder of the tables of images of up to a gigapixel."""

Row = dict[str, str]
Key = tuple[str, ...]


class Table:
    """A table whose rows are added as they are made.

    Several processes may extend it: each locks a file in a folder beside it while it writes or claims a row. The system
    frees a lock when its process dies.

    Args:
        path: of the file, which need not exist.
        columns: in the order of the file.
        keys: the columns that tell rows apart; the others are measured.
    """

    def __init__(self, path: Path, columns: Sequence[str], keys: Sequence[str] = ()) -> None:
        self.path = path
        self.columns = tuple(columns)
        self.keys = tuple(keys)

    def rows(self) -> list[Row]:
        """The rows in the file; none if there is no file.

        Raises:
            ValueError: the file has other columns.
        """
        return self._parsed(self.path.read_bytes() if self.path.exists() else b"")

    def finished(self) -> set[Key]:
        """The keys of the rows in the file, from which a last line that was cut short is removed.

        Raises:
            ValueError: the file has other columns.
        """
        with self._locked("table"):
            data = self.path.read_bytes() if self.path.exists() else b""
            complete = data[: data.rfind(b"\n") + 1]
            if complete != data:
                self.path.write_bytes(complete)
        return {self._key(row) for row in self._parsed(complete)}

    def append(self, *rows: Mapping[str, object]) -> None:
        """Add rows, and the header before the first one; a column that a row lacks is empty.

        Raises:
            ValueError: a row has another column.
        """
        with self._locked("table"), self.path.open("a", newline="", encoding="utf-8") as file:
            self._write(file, rows, header=file.tell() == 0)

    def write(self, rows: Iterable[Mapping[str, object]] = ()) -> None:
        """Replace the file by these rows."""
        with self._locked("table"):
            unfinished = self.path.with_suffix(f".{os.getpid()}.part")
            with unfinished.open("w", newline="", encoding="utf-8") as file:
                self._write(file, rows, header=True)
            unfinished.replace(self.path)

    def replace(self, rows: Iterable[Row]) -> None:
        """Add rows; one whose keys are in the file takes the place of the old row.

        Raises:
            ValueError: the file has other columns.
        """
        self.write({self._key(row): row for row in (*self.rows(), *rows)}.values())

    @contextmanager
    def claimed(self, key: Key) -> Iterator[bool]:
        """Whether this process is to make the row of a key: no other process is at it, and it is not in the file."""
        with self._locked("_".join(key), wait=False) as claimed:
            yield claimed and key not in self.finished()

    def _parsed(self, data: bytes) -> list[Row]:
        reader = csv.DictReader(data.decode("utf-8").splitlines(), delimiter="\t")
        if data and tuple(reader.fieldnames or ()) != self.columns:
            raise ValueError(f"{self.path} has other columns than this version writes; use another --table")
        return list(reader)

    def _key(self, row: Mapping[str, str]) -> Key:
        return tuple(row[name] for name in self.keys)

    def _write(self, file: TextIO, rows: Iterable[Mapping[str, object]], header: bool) -> None:
        writer = csv.DictWriter(file, self.columns, delimiter="\t", lineterminator="\n", restval="")
        if header:
            writer.writeheader()
        writer.writerows(rows)

    @contextmanager
    def _locked(self, name: str, wait: bool = True) -> Iterator[bool]:
        """Whether the lock of that name is this process's now."""
        locks = self.path.with_suffix(".locks")
        locks.mkdir(parents=True, exist_ok=True)
        with (locks / name).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True


def read_rows(path: Path) -> list[Row]:
    """The rows of any table."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter="\t"))
