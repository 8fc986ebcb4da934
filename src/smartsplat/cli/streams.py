"""stdin, stdout and stderr as they may be found: closed, full, or read by somebody who has had enough."""

from __future__ import annotations

import os
import sys


def open_closed_streams() -> None:
    """Puts something in the place of a stream that is closed, or the next file to be opened would become it.

    What takes the place of stdin cannot be read and that of stdout not be written, so that a command which needs one
    of them fails. Lines for stderr vanish, as whoever closed it wants.
    """
    for descriptor, mode in ((0, os.O_WRONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, mode)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
    sys.stdin = sys.stdin or os.fdopen(0, "r", closefd=False)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


def drop_unwritten() -> None:
    """What a full or closed stream did not take is given up, or the interpreter would try again and exit with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
