"""Which images a batch is of, and what each becomes."""

from __future__ import annotations

import glob
import os
import posixpath
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from smartsplat.errors import SettingsError, one_line_of
from smartsplat.stores import fingerprint, is_local, opened_store, url_of

SUFFIXES = {
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".webp", ".avif", ".gif", ".bmp", ".ppm", ".pgm", ".pnm", ".pam"),
    *(".pfm", ".jp2", ".j2k", ".qoi", ".tga", ".heic", ".heif", ".jxl"),
}
"""Of the files that are taken from a folder; a file that is named is taken whatever its name is."""


@dataclass(frozen=True)
class BatchImage:
    """An image to encode.

    Args:
        source: its path or URL.
        output: the name of its file in the folder of outputs, with / between its parts.
        fingerprint: changes when the file does; None: unknown.
    """

    source: str
    output: str
    fingerprint: str | None


def images_of(sources: str | os.PathLike[str] | Iterable[str | os.PathLike[str]]) -> list[BatchImage]:
    """The images that sources stand for, in their order.

    Args:
        sources: files, folders (with all below), globs, ``@`` and a list of such, a line each; paths or URLs.

    Raises:
        SettingsError: a folder, glob or list has none, a list cannot be read, or two images would have one output.
    """
    names = [sources] if isinstance(sources, str | os.PathLike) else sources
    found = [image for name in names for image in _images(os.fspath(name))]
    taken: dict[str, BatchImage] = {}
    for image in found:
        other = taken.setdefault(image.output, image)
        if other.source != image.source:
            raise SettingsError(f"{other.source} and {image.source} would both become {image.output}")
    return list(taken.values())


def _images(source: str, lists: tuple[str, ...] = ()) -> Iterator[BatchImage]:
    """``lists`` are those that the source is from, one in the other."""
    if source.startswith("@"):
        if source in lists:
            raise SettingsError(f"{source}: the list names itself")
        for line in _lines(source[1:]):
            yield from _images(line, (*lists, source))
        return
    if not source:
        raise SettingsError("the name of a source is empty")
    store, path = opened_store(source)
    if glob.has_magic(path) and not (is_local(store) and os.path.exists(path)):
        literal = next(end for end in range(len(path)) if glob.has_magic(path[: end + 1]))
        base = path[:literal].rpartition("/")[0]
        matches = _listed(source, lambda: store.glob(path, detail=True))
        yield from _files(source, store, base, {name: info for name, info in matches.items() if _is_file(info)})
    elif "http" not in str(store.protocol) and store.isdir(path):
        yield from _files(source, store, path, _listed(source, lambda: store.find(path, detail=True)))
    else:
        try:
            info = store.info(path)
        except Exception:  # it cannot be read, which the worker that tries will say
            info = {}
        yield _image(store, path, posixpath.basename(path.rstrip("/")), info)


def _lines(url: str) -> list[str]:
    """Of a list, without empty ones and comments."""
    store, path = opened_store(url)
    try:
        text = store.cat_file(path).decode()
    except Exception as error:  # of every library that fsspec may use
        raise SettingsError(f"@{url}: cannot be read: {one_line_of(error)}") from None
    return [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]


def _listed(source: str, look: Any) -> dict[str, dict[str, Any]]:
    try:
        return dict(sorted(look().items()))
    except Exception as error:  # of every library that fsspec may use
        raise SettingsError(f"{source}: cannot be listed: {one_line_of(error)}") from None


def _is_file(info: dict[str, Any]) -> bool:
    return bool(info.get("type", "file") == "file")


def _files(source: str, store: Any, base: str, found: dict[str, dict[str, Any]]) -> Iterator[BatchImage]:
    """Those that are images by their name and not hidden."""
    root, some = base.rstrip("/") + "/" if base else "", False
    for path, info in found.items():
        name = path.removeprefix(root)
        if os.path.splitext(name)[1].lower() in SUFFIXES and not any(part[:1] == "." for part in name.split("/")):
            some = True
            yield _image(store, path, name, info)
    if not some:
        raise SettingsError(f"{source}: has no images")


def _image(store: Any, path: str, name: str, info: dict[str, Any]) -> BatchImage:
    return BatchImage(url_of(store, path), os.path.splitext(name)[0] + ".sspl", fingerprint(info))
