"""What became of every image of a batch: JSON lines in the folder of outputs.

A worker leaves a record beside the outputs as soon as a file is there, in ``.records``; whoever gathers them puts each
into the manifest and takes it away. So whatever is killed, and when, nothing that was finished is made again.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from smartsplat.distributed.sources import BatchImage
from smartsplat.errors import ImageError, one_line_of
from smartsplat.stores import is_local, opened_store, write_file

MANIFEST = "manifest.jsonl"
RECORDS = ".records"


@dataclass(frozen=True)
class Record:
    """What became of an image; a line of the manifest.

    Args:
        input: its path or URL.
        output: the name of its file in the folder of outputs.
        fingerprint: of the input, which changes when it does; None: unknown.
        sha256: of the bytes of the input, hexadecimal.
        settings: the options of the encode.
        bytes: of the file.
        ratio: 3 x width x height / bytes.
        psnr: decibels; None: infinite.
        seconds: that it took.
        host: that it was made on.
        notices: what was changed or left out on the way in.
        error: what went wrong; None: nothing did.
    """

    input: str
    output: str
    fingerprint: str | None = None
    sha256: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    bytes: int | None = None
    ratio: float | None = None
    psnr: float | None = None
    seconds: float | None = None
    host: str | None = None
    notices: tuple[str, ...] = ()
    error: str | None = None

    def line(self) -> str:
        """As JSON, with an end of line."""
        return json.dumps(asdict(self), ensure_ascii=False) + "\n"

    @staticmethod
    def of_line(text: Any) -> Record | None:
        """None if it is none: the last line of what was being written when a machine went down."""
        try:
            values = json.loads(text)
            names = {each.name for each in fields(Record)}
            record = Record(**{name: value for name, value in values.items() if name in names})
        except (ValueError, TypeError, AttributeError):
            return None
        return record if isinstance(record.input, str) and isinstance(record.output, str) else None


def record_url(folder: str, output: str) -> str:
    """Where a worker leaves the record of an output."""
    return f"{folder}/{RECORDS}/{hashlib.sha256(output.encode()).hexdigest()[:32]}.json"


class Manifest:
    """The manifest of a folder of outputs, for one process at a time."""

    def __init__(self, folder: str) -> None:
        """What the folder has; it need not be there. ImageError: it cannot be read."""
        self._folder = folder
        self._store, self._root = opened_store(folder)
        self._path = f"{self._root}/{MANIFEST}"
        self._unwritten = False  # of a store to which nothing can be appended
        try:
            lines = self._store.cat_file(self._path).splitlines() if self._store.exists(self._path) else []
            records = [record for line in lines if (record := Record.of_line(line)) is not None]
            self._records = {record.output: record for record in records}
            self._gather()
            self._sizes = {path: info["size"] for path, info in self._files().items()}
        except Exception as error:  # of every library that fsspec may use
            raise ImageError(f"{folder}: cannot be read: {one_line_of(error)}") from None

    def made(self, image: BatchImage, settings: dict[str, Any]) -> Record | None:
        """The record of an image's file, if it is there and was made from that input by these settings.

        Its fingerprint may be another: then only the bytes of the input can tell whether it has changed.
        """
        record = self._records.get(image.output)
        if record is None or record.error is not None or record.bytes is None:
            return None
        if (record.input, record.settings) != (image.source, settings):
            return None
        return record if self._sizes.get(f"{self._root}/{image.output}") == record.bytes else None

    def add(self, record: Record) -> None:
        """Put a record in its place, for good. ImageError: it cannot be written."""
        self._records[record.output] = record
        if not is_local(self._store):
            self._unwritten = True
            return
        try:
            os.makedirs(self._root, exist_ok=True)
            with open(self._path, "a", encoding="utf-8") as file:
                file.write(record.line())
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise ImageError(f"{self._path}: cannot be written: {one_line_of(error)}") from None
        with suppress(OSError):
            os.unlink(record_url(self._root, record.output))

    def save(self) -> None:
        """Write all of it, a line for each image, and take away the records that it has. ImageError: it cannot be."""
        try:
            gathered = self._gather()
        except Exception as error:  # of every library that fsspec may use
            raise ImageError(f"{self._folder}: cannot be read: {one_line_of(error)}") from None
        if not self._records:
            return
        lines = (self._records[output].line() for output in sorted(self._records))
        write_file(f"{self._folder}/{MANIFEST}", "".join(lines).encode())
        self._unwritten = False
        with suppress(Exception):  # what stays is read again, and says the same
            for path in gathered:
                self._store.rm_file(path)
            if is_local(self._store):
                os.rmdir(f"{self._root}/{RECORDS}")

    def save_if_due(self) -> None:
        """The same, where records only gather beside the outputs."""
        if self._unwritten:
            self.save()

    def records(self, outputs: Iterable[str]) -> list[Record]:
        """Those of some outputs that have one."""
        return [self._records[output] for output in outputs if output in self._records]

    def _files(self) -> dict[str, dict[str, Any]]:
        return dict(self._store.find(self._root, detail=True)) if self._store.isdir(self._root) else {}

    def _gather(self) -> list[str]:
        """Take over what workers have left, which is newer than what is here; the paths of their records."""
        folder = f"{self._root}/{RECORDS}"
        self._store.invalidate_cache()
        paths = sorted(self._store.find(folder)) if self._store.isdir(folder) else []
        for path in paths:
            with suppress(FileNotFoundError):
                record = Record.of_line(self._store.cat_file(path))
                if record is not None:
                    self._records[record.output] = record
        return paths
