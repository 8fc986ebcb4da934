"""The files that a command reads and writes; an input is never replaced."""

from __future__ import annotations

import io
import os
import stat
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from smartsplat.errors import ImageError, SettingsError, SmartSplatError, reason_of
from smartsplat.images.writing.atomic import check_writable, write_atomically

HEAD = 16
"""First bytes of a file that tell its kind."""


class NamedBytes(io.BytesIO):
    """All of an input that can be read only once, such as stdin or a pipe.

    Args:
        name: what messages call it.
    """

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


@dataclass(frozen=True)
class Overwriting:
    """What may happen to a file that is there already.

    Args:
        force: replace it, whatever it is.
        never: replace none, not even those that ``replaceable`` allows.
        replaceable: whether a file that begins with such bytes may be replaced without being asked to.
        refusal: what to say of a file that may not.
    """

    force: bool
    never: bool
    replaceable: Callable[[bytes], bool]
    refusal: str

    def __post_init__(self) -> None:
        if self.force and self.never:
            raise SettingsError("--force and --no-overwrite exclude each other")


def input_name(path: str) -> str:
    return "stdin" if path == "-" else path


def output_name(path: str) -> str:
    return "stdout" if path == "-" else path


def named(error: SmartSplatError, name: str) -> SmartSplatError:
    """The error with the file's name in front, unless it says it already."""
    text = str(error)
    return type(error)(text if text.startswith(f"{name}: ") else f"{name}: {text}")


def open_input(path: str) -> str | NamedBytes:
    """The path of a file, or the content of anything that can be read only once. ImageError: it cannot be read."""
    try:
        if path == "-":
            return NamedBytes(sys.stdin.buffer.read(), "stdin")
        if stat.S_ISREG(mode := os.stat(path).st_mode) or stat.S_ISDIR(mode):
            return path
        return NamedBytes(Path(path).read_bytes(), path)
    except (OSError, ValueError) as error:  # a ValueError of a name with a null
        raise ImageError(f"{input_name(path)}: cannot be read: {reason_of(error)}") from None


def head_of(source: str | NamedBytes) -> bytes:
    """The first bytes of an opened input. ImageError: it cannot be read."""
    if isinstance(source, NamedBytes):
        return source.getvalue()[:HEAD]
    try:
        with Path(source).open("rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise ImageError(f"{source}: cannot be read: {reason_of(error)}") from None


def check_output(path: str, inputs: Iterable[str], overwriting: Overwriting) -> None:
    """Complains before the work, not after it, where an output cannot be written or must not be replaced.

    Raises:
        ImageError: the output is one of the inputs, is there and may not be replaced, or has no place.
    """
    name = output_name(path)
    existing = _stat(path, 1)
    if existing is not None and stat.S_ISREG(existing.st_mode):
        for source in inputs:
            found = _stat(source, 0)
            if found is not None and os.path.samestat(found, existing):
                raise ImageError(f"{name}: is an input, which is never replaced")
        if path != "-":
            _check_replaceable(path, existing, overwriting)
    if path == "-":
        return
    try:
        check_writable(path)
    except (OSError, ValueError) as error:
        raise ImageError(f"{name}: cannot be written: {reason_of(error)}") from None


def _check_replaceable(path: str, existing: os.stat_result, overwriting: Overwriting) -> None:
    if overwriting.never:
        raise ImageError(f"{path}: exists, and --no-overwrite keeps it")
    if overwriting.force or existing.st_size == 0:  # an empty file is a place that was made, as by mktemp
        return
    if not overwriting.replaceable(head_of(path)):
        raise ImageError(f"{path}: {overwriting.refusal}; --force replaces it")


def write_bytes(path: str, data: bytes) -> None:
    """ImageError: it cannot be written. BrokenPipeError: whoever read stdout has had enough."""
    try:
        if path == "-":
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            write_atomically(path, lambda file: file.write(data))
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ImageError(f"{output_name(path)}: cannot be written: {reason_of(error)}") from None


def print_result(text: str, stream: TextIO | None = None) -> None:
    """Lines on stdout, or on another stream. ImageError and BrokenPipeError: as ``write_bytes``."""
    try:
        print(text, file=stream or sys.stdout, flush=True)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise ImageError(f"stdout: cannot be written: {reason_of(error)}") from None


def has_content(path: str) -> bool:
    """Whether a file is there, with something in it to lose."""
    found = _stat(path, 1) if path != "-" else None
    return found is not None and stat.S_ISREG(found.st_mode) and found.st_size > 0


def _stat(path: str, stream: int) -> os.stat_result | None:
    try:
        return os.fstat(stream) if path == "-" else os.stat(path)
    except (OSError, ValueError):
        return None
