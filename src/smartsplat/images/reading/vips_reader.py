"""Pixels decoded by libvips, strip by strip: it keeps 16 bits, and beside the result only a strip is in memory.

It reads the pixels of PNG, JPEG and TIFF, and of AVIF with more than 8 bits. What the files say beside their pixels is
read elsewhere.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO

import numpy as np

from smartsplat.errors import ImageError
from smartsplat.images.reading.sources import Samples, Unreadable, line
from smartsplat.images.strips import ROW_MULTIPLE

_TYPES = {
    "uchar": np.uint8, "char": np.int8, "ushort": np.uint16, "short": np.int16, "uint": np.uint32, "int": np.int32,
    "float": np.float32, "double": np.float64,
}  # fmt: skip


def libvips() -> Any:
    """The module pyvips; ImageError where it or its library is not installed."""
    # Else libvips writes to stderr what is also in its errors, and so would a logger without a handler.
    os.environ.setdefault("VIPS_WARNING", "1")
    logging.getLogger("pyvips").addHandler(logging.NullHandler())
    is_first = "pyvips" not in sys.modules
    try:
        import pyvips
    except (ImportError, OSError) as error:
        raise ImageError(f"libvips cannot be loaded: {line(str(error))}; pip install 'pyvips[binary]'") from None
    if is_first and (remove := getattr(pyvips, "_remove_log_handler", None)) is not None:
        # It logs in Python. If garbage is collected there, with an image in it that has a warning of its own, GLib ends
        # the process. Whoever has loaded pyvips for other purposes keeps the handler.
        remove()
    return pyvips


def strips(
    stream: BinaryIO,
    loader: str,
    shape: tuple[int, int, int],
    fail_on: str = "error",
    space: str | None = None,
    with_alpha: bool = False,
    **options: Any,
) -> Iterator[tuple[int, Samples]]:
    """Full-width strips [h, W, C] from top to bottom, each after its first row.

    libvips works in a thread of its own, one strip ahead. It calls back into Python, where Ctrl-C would be raised if
    that were the main thread, and be lost.

    Args:
        stream: the file, from its start.
        loader: libvips' name of the format, such as ``png``.
        shape: H, W and C that the file's header says.
        fail_on: from which kind of damage on to give up: none, truncated, error or warning.
        space: libvips' name of a colour space to convert to.
        with_alpha: whether to make every image RGBA, as ``shape`` says, whatever it is in the file.
        options: of the loader.

    Raises Unreadable, or what the stream raises.
    """
    wanted = "srgb" if with_alpha else space
    decoded = _decoded(_Callbacks(stream), loader, shape, wanted, with_alpha, {"fail_on": fail_on, **options})
    with ThreadPoolExecutor(1) as thread:
        ahead = thread.submit(next, decoded, None)
        try:
            while (strip := ahead.result()) is not None:
                ahead = thread.submit(next, decoded, None)
                yield strip
        finally:
            del ahead  # its error leads back to this frame: a circle, which would keep the image until it is found


def _decoded(
    callbacks: _Callbacks,
    loader: str,
    shape: tuple[int, int, int],
    space: str | None,
    with_alpha: bool,
    options: dict[str, Any],
) -> Iterator[tuple[int, Samples]]:
    pyvips = libvips()
    try:
        pyvips.vips_lib.vips_error_clear()  # of what an earlier read has left
        source = pyvips.SourceCustom()
        source.on_read(callbacks.read)
        source.on_seek(callbacks.seek)
        decoded = getattr(pyvips.Image, f"{loader}load_source")(source, access="sequential", **options)
        if space is not None:
            decoded = decoded.colourspace(space)
        if with_alpha and not decoded.hasalpha():
            decoded = decoded.addalpha()
        if (decoded.height, decoded.width, decoded.bands) != shape:
            raise Unreadable(f"it holds {decoded.width} x {decoded.height} x {decoded.bands} samples")
        region = pyvips.Region.new(decoded)
        for top in range(0, decoded.height, ROW_MULTIPLE):
            rows = min(ROW_MULTIPLE, decoded.height - top)
            samples = region.fetch(0, top, decoded.width, rows)
            if callbacks.error is not None:
                raise callbacks.error
            yield top, np.frombuffer(samples, _TYPES[decoded.format]).reshape(rows, decoded.width, decoded.bands)
    except AttributeError:  # of a libvips that was built without the format
        raise callbacks.error or Unreadable(f"{loader} is not supported by this libvips") from None
    except pyvips.Error as error:
        raise callbacks.error or Unreadable(_reason(str(error))) from None


def _reason(text: str) -> str:
    """What libvips' message says, in one line, its parts divided by semicolons."""
    said = [line(entry) for entry in text.splitlines()]
    said = [entry for entry in said if entry and not re.search(r"bad seek|^unable to (call|write|load|fetch)", entry)]
    return "; ".join(dict.fromkeys(re.sub(r"^\w+: ", "", entry) for entry in said)) or line(text) or "no reason given"


class _Callbacks:
    """What libvips calls to read a stream; an error cannot pass through it and is kept."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.error: BaseException | None = None
        stream.seek(0)

    def read(self, size: int) -> bytes | None:
        try:
            return self._stream.read(size)
        except BaseException as error:
            self.error = error
            return None

    def seek(self, offset: int, whence: int) -> int:
        try:
            return self._stream.seek(offset, whence)
        except BaseException as error:
            self.error = error
            return -1
