"""A file that is written whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import stat
import tempfile
from collections.abc import Callable
from typing import BinaryIO

_REFUSED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBUSY, errno.EXDEV)
"""What a folder answers that takes no new file, or that lets a file be written but not be replaced: one that belongs
to another user, or a file that is itself a mount, as containers have them."""

_unfinished: set[str] = set()
"""Temporary files that are being written."""


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Calls ``write`` with an open binary file whose content becomes ``path`` only once ``write`` returns.

    The content is collected beside the destination under a temporary name and renamed over it; after any
    error, Ctrl-C included, the temporary file is gone and an older ``path`` is as it was. A symbolic link is
    followed. An existing file keeps its permissions, a new one gets those of the umask. Where a file may be written
    but not replaced, its content is overwritten once all of the new one is there. Devices and named pipes are
    written directly. Errors are OSError, or whatever ``write`` raises.
    """
    existing = _existing(path)
    if existing is not None and not stat.S_ISREG(existing.st_mode):
        with open(path, "wb") as file:
            write(file)
        return
    target = os.path.realpath(path)
    temporary = _temporary_name(target)
    _unfinished.add(temporary)
    try:
        with _collecting(temporary, existing) as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())  # some file systems report a full disk no earlier than here
            if not os.path.exists(temporary):
                _overwrite(target, file)
                return
        if not _replaced(target, temporary, existing):
            with open(temporary, "rb") as file:
                _overwrite(target, file)
    finally:
        _discard(temporary)


def check_writable(path: str | os.PathLike[str]) -> None:
    """Raises the OSError with which ``write_atomically`` would fail at once; leaves everything as it is."""
    existing = _existing(path)
    target = os.path.realpath(path)
    if existing is not None:
        if stat.S_ISDIR(existing.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), target)
        if stat.S_ISREG(existing.st_mode):
            with open(target, "r+b"):
                pass
        elif not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), target)
        return
    temporary = _temporary_name(target)
    _unfinished.add(temporary)
    try:
        with open(temporary, "xb"):
            pass
    finally:
        _discard(temporary)


def discard_unfinished() -> None:
    """Deletes all temporary files, for a process that is about to end without unwinding; other threads may be at it."""
    for temporary in list(_unfinished):
        _discard(temporary)


def _existing(path: str | os.PathLike[str]) -> os.stat_result | None:
    """What is there; PermissionError for a file that is write-protected, which a rename would ignore."""
    try:
        existing = os.stat(path)
    except FileNotFoundError:
        if not os.fspath(path):
            raise
        if os.fspath(path).endswith(os.sep):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), os.fspath(path)) from None
        return None
    if stat.S_ISREG(existing.st_mode) and not os.access(path, os.W_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), os.fspath(path))
    return existing


def _temporary_name(target: str) -> str:
    """A name beside the destination that does not contain the destination's, which may be as long as one can be."""
    return os.path.join(os.path.dirname(target), f".smartsplat-{os.urandom(8).hex()}.tmp")


def _collecting(temporary: str, existing: os.stat_result | None) -> BinaryIO:
    """The temporary file, or one elsewhere if only the existing file may be written and not its folder."""
    try:
        return open(temporary, "x+b")
    except OSError as error:
        if existing is None or error.errno not in _REFUSED:
            raise
        return tempfile.TemporaryFile()


def _discard(temporary: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(temporary)
    _unfinished.discard(temporary)


def _replaced(target: str, temporary: str, existing: os.stat_result | None) -> bool:
    """Whether the temporary file could take the destination's place."""
    if existing is not None:
        if hasattr(os, "chown"):
            with contextlib.suppress(OSError):  # the owner, where this user may give files away
                os.chown(temporary, existing.st_uid, existing.st_gid)
        os.chmod(temporary, stat.S_IMODE(existing.st_mode))
    try:
        os.replace(temporary, target)
    except OSError as error:
        if existing is None or error.errno not in _REFUSED:
            raise
        return False
    return True


def _overwrite(target: str, content: BinaryIO) -> None:
    """Copies a finished file into an existing one; there is room for it before the first old byte is gone."""
    size = content.seek(0, os.SEEK_END)
    content.seek(0)
    with open(target, "r+b") as file:
        _reserve(file.fileno(), size)
        shutil.copyfileobj(content, file, 1 << 20)
        file.truncate(size)
        file.flush()
        os.fsync(file.fileno())


def _reserve(descriptor: int, size: int) -> None:
    """Makes room for ``size`` bytes in a file, or leaves it as it was; some file systems cannot, and go without."""
    before = os.fstat(descriptor).st_size
    if size <= before or not hasattr(os, "posix_fallocate"):
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        os.ftruncate(descriptor, before)
        if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
            raise
