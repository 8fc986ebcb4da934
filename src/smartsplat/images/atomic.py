"""A file that is written whole or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Callable
from typing import BinaryIO


def write_atomically(path: str | os.PathLike[str], write: Callable[[BinaryIO], object]) -> None:
    """Calls ``write`` with an open binary file whose content becomes ``path`` only once ``write`` returns.

    The content is collected beside the destination under a temporary name and renamed over it; after any
    error, Ctrl-C included, the temporary file is gone and an older ``path`` is as it was. A symbolic link is
    followed. An existing file keeps its permissions, a new one gets those of the umask. Devices and named
    pipes cannot be renamed over and are written directly. Errors are OSError, or whatever ``write`` raises.
    """
    try:
        existing = os.stat(path)
    except FileNotFoundError:
        existing = None
    if existing is not None and not stat.S_ISREG(existing.st_mode):
        with open(path, "wb") as file:
            write(file)
        return
    target = os.path.realpath(path)
    if existing is not None and not os.access(target, os.W_OK):  # a rename would ignore a write protection
        raise PermissionError(13, os.strerror(13), target)
    # The name does not contain the destination's, which may already be as long as a name can be.
    temporary = os.path.join(os.path.dirname(target), f".smartsplat-{secrets.token_hex(8)}.tmp")
    try:
        with open(temporary, "xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())  # some file systems report a full disk no earlier than here
        if existing is not None:
            os.chmod(temporary, stat.S_IMODE(existing.st_mode))
        os.replace(temporary, target)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise
