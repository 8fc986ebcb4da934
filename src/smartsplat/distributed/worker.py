"""What a worker does for one image of a batch."""

from __future__ import annotations

import ctypes
import hashlib
import math
import socket
import sys
import time
import warnings
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import fsspec

from smartsplat import metrics
from smartsplat.decoder import Reader
from smartsplat.distributed.manifest import Record, record_url
from smartsplat.distributed.sources import BatchImage
from smartsplat.encoder.blocks.settings import MAX_WHOLE_PIXELS
from smartsplat.encoder.encode import encode, prepared
from smartsplat.errors import ImageError, SmartSplatError, SmartSplatWarning, one_line_of
from smartsplat.images.image import read_image
from smartsplat.images.reading.formats import open_stored
from smartsplat.limits import Limits
from smartsplat.stores import local_copy, write_file

TARGETS = ("ratio", "bpp", "max_bytes", "psnr", "gaussians")
PREPARING = ("background", "strip")
READING = ("page", "float_range", "accept_damaged")
"""Names of settings: the targets of ``encode``, what ``prepared`` takes, and ``read_image``."""

BASE_BYTES, BYTES_PER_SAMPLE_BYTE = 250 << 20, 4
"""Memory of an encode: what it takes in any case, and for each byte of samples. Measured: .36 GB for 16.8 megapixels
of RGB, .53 with alpha, .71 of 16 bits with alpha, 1.33 for 177 megapixels of RGB."""

BLOCKS_BASE_BYTES, BLOCKS_BYTES_PER_PIXEL = 900 << 20, 2
"""The same of an encode in blocks. Measured at 200 : 1: 2.9 GB for a gigapixel."""

KEPT_BYTES = 256 << 20
"""Of freed memory that a worker keeps, and of an array that gets no mapping of its own."""

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3  # of mallopt


@dataclass(frozen=True)
class EncodeTask:
    """An image to encode, and how.

    Args:
        folder: of outputs.
        settings: options of ``encode`` and of ``read_image``, which the record repeats.
        running: those of ``encode`` that change no bytes: threads and device.
        made: the record of the file that is there and may still be right; None: there is none.
    """

    image: BatchImage
    folder: str
    settings: dict[str, Any]
    running: dict[str, Any]
    made: Record | None = None

    def record(self, **fields: Any) -> Record:
        """Of this image, with what became of it."""
        image = self.image
        return Record(image.source, image.output, image.fingerprint, settings=self.settings, **fields)


@cache
def keep_freed_memory() -> None:
    """Have glibc, where it is the library, keep what one step of a fit frees for the next.

    Dask starts its workers so that it gives memory back at once: on two cores 24 images of .4 megapixels took 28 s so,
    and 22 with this.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(_MMAP_THRESHOLD, KEPT_BYTES)
        mallopt(_TRIM_THRESHOLD, KEPT_BYTES)


def encode_image(task: EncodeTask) -> Record:
    """Encode an image, unless the file that is there was made from the same bytes; errors are in the record."""
    begin = time.perf_counter()
    keep_freed_memory()
    image = task.image
    record = task.record(host=socket.gethostname())
    try:
        with local_copy(image.source) as path:
            digest = _sha256(path)
            if task.made is not None and task.made.sha256 == digest:
                record = replace(task.made, fingerprint=image.fingerprint)
            else:
                record = _encoded(task, replace(record, sha256=digest), path)
                record = replace(record, seconds=round(time.perf_counter() - begin, 3))
        write_file(record_url(task.folder, image.output), record.line().encode())
    except (SmartSplatError, MemoryError) as error:
        text = " ".join(str(error).split()) or "not enough memory"
        named = text if text.startswith(f"{image.source}: ") else f"{image.source}: {text}"
        record = replace(record, error=named, seconds=round(time.perf_counter() - begin, 3))
    return record


def _sha256(path: str) -> str:
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(f"cannot be read: {one_line_of(error)}") from None


def _encoded(task: EncodeTask, record: Record, path: str) -> Record:
    """Write the file of the image at ``path``; the record of it."""
    options = dict(task.settings)
    reading, preparing = (
        {name: options.pop(name) for name in names if name in options} for names in (READING, PREPARING)
    )
    targets = {name: options[name] for name in TARGETS if name in options}
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", SmartSplatWarning)
        try:
            image = prepared(read_image(path, **reading), targets, **preparing)
            data = encode(image, **options, **task.running)
        except SmartSplatError as error:
            raise type(error)(str(error).removeprefix(f"{path}: ")) from None
    said = [str(each.message) for each in caught if issubclass(each.category, SmartSplatWarning)]
    reader = Reader(data, threads=task.running.get("threads"))
    strips = reader.strips(dtype=image.pixels.dtype, grain=False)
    psnr = metrics.psnr_of_strips(image.pixels, strips.parts, image.alpha)
    write_file(f"{task.folder}/{task.image.output}", data)
    return replace(
        record,
        bytes=len(data),
        ratio=round(reader.info.ratio, 3),
        psnr=round(psnr, 4) if math.isfinite(psnr) else None,
        notices=tuple(dict.fromkeys((*image.notices, *said))),
    )


def needed_memory(image: BatchImage) -> int | None:
    """Bytes that encoding an image takes, about, by its header; None if that cannot be read here."""
    try:
        with fsspec.open(image.source, "rb") as stream:
            stored = open_stored(stream, image.source, None, Limits())
    except Exception:  # the worker that tries will say why
        return None
    if stored.width * stored.height > MAX_WHOLE_PIXELS:
        return BLOCKS_BASE_BYTES + BLOCKS_BYTES_PER_PIXEL * stored.width * stored.height
    samples = stored.width * stored.height * len(stored.bands) * (1 if stored.bits <= 8 else 2)
    return BASE_BYTES + BYTES_PER_SAMPLE_BYTE * samples
