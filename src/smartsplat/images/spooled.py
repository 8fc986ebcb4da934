"""Arrays of images that are larger than what memory is for: in a file without a name, of which only parts are there."""

from __future__ import annotations

import mmap
import os
import tempfile
from typing import Any

import numpy as np
import numpy.typing as npt

from smartsplat.arrays import SampleArray
from smartsplat.errors import ImageError, reason_of

MAX_IN_MEMORY = 1 << 30
"""Bytes of the samples of an image that are held in memory."""


def new_samples(shape: tuple[int, ...], dtype: npt.DTypeLike) -> SampleArray:
    """An array whose values are still to be written: in memory, or on disk if it is large.

    The file is in the folder for temporary files (``TMPDIR``), and gone with the array.

    Raises:
        ImageError: the disk has no room for it.
    """
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(dtype).itemsize
    if size <= MAX_IN_MEMORY:
        return np.empty(shape, dtype)
    try:
        with tempfile.TemporaryFile(prefix="smartsplat-") as file:
            if hasattr(os, "posix_fallocate"):  # else a full disk is a signal, later
                os.posix_fallocate(file.fileno(), 0, size)
            else:
                file.truncate(size)
            mapped = mmap.mmap(file.fileno(), size)
    except OSError as error:
        where = tempfile.gettempdir()
        raise ImageError(
            f"{where}: has no room for the {size / 1e9:.1f} GB of the image's samples: {reason_of(error)}; "
            "set TMPDIR to a folder that has"
        ) from None
    array: SampleArray = np.frombuffer(mapped, dtype).reshape(shape)
    return array


def release(samples: npt.NDArray[Any]) -> None:
    """Have no more of an array on disk in memory than what is used next; what was written to it stays."""
    base: Any = samples
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    if isinstance(base, memoryview):
        base = base.obj
    if isinstance(base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        base.madvise(mmap.MADV_DONTNEED)
