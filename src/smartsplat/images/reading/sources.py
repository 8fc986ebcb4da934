"""What images are read from: files, streams and bytes, their limits, and what messages call them."""

from __future__ import annotations

import contextlib
import io
import os
import warnings
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, BinaryIO, cast

import numpy.typing as npt
from PIL import Image

from smartsplat.errors import ImageError, LimitError, SmartSplatError, one_line_of
from smartsplat.limits import Limits

Source = str | os.PathLike[str] | bytes | bytearray | memoryview | BinaryIO

Samples = npt.NDArray[Any]
"""[h, W, C] of whatever type a file has."""

SampleStrips = Iterator[tuple[int, Samples]]
"""Full-width strips from top to bottom, each after its first row."""

HEAD = 1 << 16
"""First bytes of a file that are looked at; they hold the properties of ordinary AVIF and JPEG 2000 files."""


class Unreadable(Exception):
    """The pixels cannot be decoded whole, or not at all; the message says why."""


@contextlib.contextmanager
def stream_of(source: Source) -> Iterator[BinaryIO]:
    """A seekable stream at its start; a stream of the caller's stays open."""
    if isinstance(source, bytes | bytearray | memoryview):
        yield io.BytesIO(source)
    elif isinstance(source, str | os.PathLike):
        with open(source, "rb") as file:
            yield file if file.seekable() else io.BytesIO(file.read())
    elif not hasattr(source, "read"):
        raise TypeError(f"a path, a binary stream or bytes are needed, not {type(source).__name__}")
    elif source.seekable():
        source.seek(0)
        yield source
    else:
        yield io.BytesIO(source.read())


class _Spliced(io.BufferedIOBase):
    def __init__(self, stream: BinaryIO, pieces: Sequence[bytes | tuple[int, int]]) -> None:
        self._stream, self._pieces = stream, pieces
        sizes = (len(piece) if isinstance(piece, bytes) else piece[1] for piece in pieces)
        self._starts = [0, *accumulate(sizes)]  # of every piece, and the end
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._place

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._starts[-1]}[whence]
        self._place = max(0, base + offset)
        return self._place

    def read(self, size: int | None = -1, /) -> bytes:
        end = self._starts[-1] if size is None or size < 0 else min(self._starts[-1], self._place + size)
        parts = []
        while self._place < end:
            number = bisect_right(self._starts, self._place) - 1
            piece, skipped = self._pieces[number], self._place - self._starts[number]
            wanted = min(end, self._starts[number + 1]) - self._place
            if isinstance(piece, bytes):
                part = piece[skipped : skipped + wanted]
            else:
                self._stream.seek(piece[0] + skipped)
                part = self._stream.read(wanted)
            parts.append(part)
            self._place += len(part)
            if len(part) < wanted:
                break
        return b"".join(parts)


def spliced(stream: BinaryIO, pieces: Sequence[bytes | tuple[int, int]]) -> BinaryIO:
    """A stream of bytes given, and of parts of another stream, each as its start and its length."""
    return cast(BinaryIO, _Spliced(stream, pieces))


def length_of(stream: BinaryIO) -> int:
    """Bytes of a seekable stream; its position is left as it was."""
    before = stream.tell()
    end = stream.seek(0, os.SEEK_END)
    stream.seek(before)
    return end


def check_size(name: str, width: int, height: int, limits: Limits) -> None:
    """ImageError without pixels, LimitError with too many."""
    if min(width, height) < 1:
        raise ImageError(f"{name}: has no pixels ({width} x {height})")
    if max(width, height) > limits.side:
        raise LimitError(f"{name}: {width} x {height} pixels, the limit is {limits.side} a side")
    if width * height > limits.pixels:
        raise LimitError(f"{name}: {width} x {height} pixels, the limit is {limits.pixels} in all")


def check_page(name: str, page: int | None, count: int, one: str = "page") -> int:
    """The page to read, from 1, where the first is what is read unless asked otherwise; ImageError: there is none."""
    if page is not None and not 1 <= page <= count:
        raise ImageError(f"{name}: has {plural(count, one)}, there is no {one} {page}")
    return page or 1


def plural(count: int, one: str) -> str:
    return f"{count} {one}" if count == 1 else f"{count} {one}s"


@contextlib.contextmanager
def explained(name: str) -> Iterator[list[str]]:
    """Turns whatever is raised inside into one line of ImageError, and in the end warnings into notices."""
    notices: list[str] = []
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            yield notices
        except SmartSplatError:
            raise
        except Exception as error:  # a damaged file can make Pillow raise nearly anything
            raise ImageError(f"{name}: cannot be read: {reason(error)}") from error
        said = (str(warning.message) for warning in caught if issubclass(warning.category, UserWarning))
        notices.extend(dict.fromkeys(f"Pillow: {line(text)}" for text in said))


def reason(error: Exception) -> str:
    """What an exception says, in one line."""
    if isinstance(error, MemoryError):
        return "not enough memory"
    if str(error) == "not identified by this driver":  # Pillow, of a header without a size
        return "its size is zero or its header is damaged"
    return one_line_of(error)


def line(text: str) -> str:
    return " ".join(text.split())


def name_of(source: object) -> str:
    """What messages call a source or a destination."""
    if isinstance(source, bytes | bytearray | memoryview):
        return "<bytes>"
    path = os.fspath(source) if isinstance(source, str | os.PathLike) else getattr(source, "name", None)
    return line(os.fsdecode(path)) if isinstance(path, str | bytes) else "<stream>"
