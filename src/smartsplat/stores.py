"""Folders and files by path or fsspec URL (``s3://``, ``gs://``, ``https://``, ``memory://``)."""

from __future__ import annotations

import os
import posixpath
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import fsspec
from fsspec.implementations.local import LocalFileSystem

from smartsplat.errors import ImageError, SettingsError, one_line_of
from smartsplat.images.writing.atomic import write_atomically

CHANGE_MARKS = ("ETag", "etag", "md5Hash", "mtime", "LastModified", "last_modified", "Last-Modified", "updated")
"""What stores say of a file that changes with its content, by the names that they have for it."""


def opened_store(url: str) -> tuple[fsspec.AbstractFileSystem, str]:
    """The file system of a path or URL, and the path in it. SettingsError: there is no such kind of store here."""
    try:
        store, path = fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise SettingsError(f"{url}: {one_line_of(error)}") from None
    store.invalidate_cache()  # of listings, which other processes change
    return store, path


def is_local(store: fsspec.AbstractFileSystem) -> bool:
    """Whether its files are those of this machine."""
    return isinstance(store, LocalFileSystem)


def url_of(store: fsspec.AbstractFileSystem, path: str) -> str:
    """The whole address of a file; a path if it is local."""
    return path if is_local(store) else str(store.unstrip_protocol(path))


def fingerprint(info: dict[str, Any]) -> str | None:
    """What changes when a file does, without reading it; None if its store says nothing of that kind."""
    marks = [f"{name} {info[name]}" for name in CHANGE_MARKS if info.get(name) is not None]
    return ", ".join([f"size {info.get('size')}", *marks]) if marks else None


@contextmanager
def local_copy(url: str) -> Iterator[str]:
    """The path of a file on this machine, which is a copy that goes away if the file is elsewhere.

    Raises:
        ImageError: it cannot be read.
    """
    store, path = opened_store(url)
    if is_local(store):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="smartsplat-") as folder:
        copy = os.path.join(folder, posixpath.basename(path) or "image")
        try:
            store.get_file(path, copy)
        except Exception as error:  # of every library that fsspec may use
            raise ImageError(f"{url}: cannot be read: {one_line_of(error)}") from None
        yield copy


def write_file(url: str, data: bytes) -> None:
    """A file that is whole or not there; folders are made. ImageError: it cannot be written."""
    store, path = opened_store(url)
    try:
        if is_local(store):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            write_atomically(path, lambda file: file.write(data))
        else:
            store.pipe_file(path, data)
    except Exception as error:  # of every library that fsspec may use
        raise ImageError(f"{url}: cannot be written: {one_line_of(error)}") from None
