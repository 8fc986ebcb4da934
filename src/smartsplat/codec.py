"""The codec's pipeline, one line a step: start reading here.

encode: picture -> fit (seed, grow, move, round) -> fill the budget -> bytes
decode: bytes -> container -> symbols -> Gaussians -> pixels
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import numpy.typing as npt

from smartsplat import container, entropy
from smartsplat.container import TILE, File, Group
from smartsplat.errors import FormatError, LimitError, SettingsError
from smartsplat.gaussians import Gaussians
from smartsplat.raster import CUTOFF, Backend, View, filter_variance
from smartsplat.raster.device import open_backend
from smartsplat.raster.native import available_threads, fields
from smartsplat.settings import Limits
from smartsplat.strips import Strips

if TYPE_CHECKING:
    from smartsplat.fit import Listener

Pixels = npt.NDArray[np.uint8]
Region = tuple[int, int, int, int]  # x, y, width, height in pixels of the full picture

STRIP = 1 << 24
"""Pixels of a strip, about."""


def encode(
    picture: Any,
    *,
    ratio: float | None = None,
    bpp: float | None = None,
    size: int | None = None,
    psnr: float | None = None,
    gaussians: int | None = None,
    effort: int = 5,
    preset: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    threads: int | None = None,
    device: str = "auto",
    background: tuple[int, int, int] = (255, 255, 255),
    progress: Listener | None = None,
) -> bytes:
    """Compress a picture into the bytes of a .sspl file.

    ``picture`` is a path, the bytes of a picture file, an open binary file, a Pillow image, or a uint8 array
    [H, W], [H, W, 1], [H, W, 3] or [H, W, 4]; transparency is flattened on ``background``.

    At most one target: ``ratio`` R, a file of at most 3 H W / R bytes (the default, R = 100); ``bpp``, at most
    that many bits for each pixel; ``size``, at most that many bytes; ``psnr``, at least that many decibels;
    ``gaussians``, exactly that many. ``effort`` is 1 to 9 (docs/effort.md); ``preset="paper"`` fits with the
    paper's settings; ``steps`` overrides the number of steps of either. The same arguments give the same
    bytes on one machine, whatever ``threads`` is. ``device`` is "cpu", "cuda" or "cuda:N" (docs/gpu.md); "auto" is the
    first GPU that can be used, or else the CPU. ``progress`` is called after every step with a
    ``smartsplat.fit.Progress`` and may return False to end the fit there.

    Raises PictureError for what cannot be read, LimitError for what is too large, SettingsError for a target
    that contradicts another or cannot be met, DeviceError for a GPU that is not there or too small.
    """
    from smartsplat import image, rate

    source = image.from_object(picture, background=background)
    target = rate.Target.of(source, ratio=ratio, bpp=bpp, size=size, psnr=psnr, gaussians=gaussians)
    tries = rate.fit_settings(effort, preset, steps)
    return rate.encode_to_target(source, target, tries, seed, threads or available_threads(), device, progress)


def decode(
    data: bytes | os.PathLike[str] | str | BinaryIO,
    *,
    region: Region | None = None,
    size: tuple[int, int] | None = None,
    scale: float | None = None,
    partial: bool = False,
    threads: int | None = None,
    device: str = "cpu",
    limits: Limits = Limits(),
) -> Pixels:
    """The pixels of a .sspl file (its bytes, a path or an open binary file), uint8 [H, W, C], C = 1 or 3.

    First ``region`` (x, y, width, height in pixels of the full picture), then ``size`` (width, height) or
    ``scale``: the order of IIIF. Enlarging renders the Gaussians larger; shrinking is anti-aliased exactly. A file that
    ends early is refused, unless it may be ``partial``: then what there is of it is drawn, the strongest Gaussians of
    a large picture being stored first. ``device`` may also be "cuda" or "cuda:N"; "auto" is not the default, because
    most files are drawn before torch has been imported.

    Raises FormatError, UnsupportedError or LimitError for bytes that cannot be decoded, SettingsError for a
    region or size that makes no sense, DeviceError for a GPU that is not there or too small.
    """
    reader = Reader(data, partial=partial, threads=threads, device=device, limits=limits)
    return reader.read(region=region, size=size, scale=scale)


def open(
    source: bytes | os.PathLike[str] | str | BinaryIO,
    *,
    partial: bool = False,
    threads: int | None = None,
    device: str = "cpu",
    limits: Limits = Limits(),
) -> Reader:
    """A reader that decodes regions and sizes of one file without decoding the rest. The arguments are ``decode``'s."""
    return Reader(source, partial=partial, threads=threads, device=device, limits=limits)


@dataclass(frozen=True)
class Info:
    """What a file holds, every byte accounted for."""

    width: int
    height: int
    channels: int
    gaussians: int
    bytes: int
    ratio: float  # 3 H W / bytes
    bpp: float
    version: str
    quality: int
    groups: int
    icc_bytes: int  # unpacked
    container_bytes: int  # header, table of contents, group headers, profile
    bits_per_gaussian: dict[str, float]


class Reader:
    """An opened .sspl file: ``width``, ``height``, ``channels``, ``icc``, ``info``, ``read`` and ``strips``."""

    def __init__(
        self,
        source: bytes | os.PathLike[str] | str | BinaryIO,
        *,
        partial: bool = False,
        threads: int | None = None,
        device: str = "cpu",
        limits: Limits = Limits(),
    ) -> None:
        data = _bytes_of(source, limits)
        self._file: File = container.parse(data, limits, partial)
        self._size = len(data)
        self._limits = limits
        self._threads = threads or available_threads()
        self._device = device
        self._decoded: dict[int, Gaussians] = {}
        self._drawing = threading.Lock()

    @property
    def width(self) -> int:
        return self._file.quantizer.width

    @property
    def height(self) -> int:
        return self._file.quantizer.height

    @property
    def channels(self) -> int:
        return self._file.quantizer.channels

    @property
    def icc(self) -> bytes | None:
        return self._file.icc

    def read(
        self, *, region: Region | None = None, size: tuple[int, int] | None = None, scale: float | None = None
    ) -> Pixels:
        """Pixels of a region at a size: see ``decode``. Decodes only the groups that reach the region."""
        view = self._view(region, size, scale)
        with self._drawing, self._overlap_named(view):  # the backend owns the buffers that it works in
            params = self._backend.upload(self._gaussians(self._reaching(view)))
            return self._backend.render_bytes(params, view, self._limits.overlap)

    def strips(
        self, *, region: Region | None = None, size: tuple[int, int] | None = None, scale: float | None = None
    ) -> Strips:
        """The same pixels in strips of rows, each drawn when it is asked for: the whole need not fit into memory."""
        view = self._view(region, size, scale)
        with self._drawing:
            gaussians = self._gaussians(self._reaching(view))
        with self._overlap_named(view):
            backend = open_backend(self._device, self._threads)
            parts = backend.render_strips(backend.upload(gaussians), view, STRIP, self._limits.overlap)
        return Strips((view.rows, view.columns, self.channels), parts)

    @contextmanager
    def _overlap_named(self, view: View) -> Iterator[None]:
        try:
            yield
        except OverflowError:  # a small file could keep a reader busy for hours
            raise LimitError(
                f"more than {self._limits.overlap} Gaussians lie over each of {view.columns} x {view.rows} pixels"
            ) from None

    def gaussians(self) -> Gaussians:
        """All Gaussians of the file, in its order."""
        return self._gaussians(range(len(self._file.groups)))

    @property
    def info(self) -> Info:
        file = self._file
        bits = np.zeros(len(entropy.ATTRIBUTES))
        for group in file.groups:
            bits += entropy.account(group.data, group.count, file.quantizer)
        coded = sum(len(group.data) for group in file.groups)
        each = bits / max(file.count, 1)
        return Info(
            width=self.width,
            height=self.height,
            channels=self.channels,
            gaussians=file.count,
            bytes=self._size,
            ratio=3 * self.width * self.height / self._size,
            bpp=8 * self._size / (self.width * self.height),
            version=f"{container.MAJOR}.{container.MINOR}",
            quality=file.quantizer.quality,
            groups=len(file.groups),
            icc_bytes=len(file.icc or b""),
            container_bytes=self._size - coded,
            bits_per_gaussian={name: float(value) for name, value in zip(entropy.ATTRIBUTES, each, strict=True)},
        )

    @cached_property
    def _backend(self) -> Backend:
        return open_backend(self._device, self._threads)

    def _view(self, region: Region | None, size: tuple[int, int] | None, scale: float | None) -> View:
        x, y, width, height = region or (0, 0, self.width, self.height)
        if x < 0 or y < 0 or width < 1 or height < 1 or x + width > self.width or y + height > self.height:
            raise SettingsError(
                f"region {x},{y},{width},{height} does not lie in the picture of {self.width} x {self.height} pixels"
            )
        if size is not None and scale is not None:
            raise SettingsError("give a size or a scale, not both")
        if scale is not None and not (math.isfinite(scale) and scale > 0):
            raise SettingsError(f"a scale must be positive, and {scale} is not")
        columns, rows = size or (width, height)
        if scale is not None:
            scale = min(scale, 2.0 * self._limits.side)  # above every limit, and still a size
            columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
        if columns < 1 or rows < 1:
            raise SettingsError(f"an output of {columns} x {rows} pixels is empty")
        if max(columns, rows) > self._limits.side or columns * rows > self._limits.pixels:
            raise LimitError(
                f"an output of {columns} x {rows} pixels is above the limits of {self._limits.side} a side "
                f"and {self._limits.pixels} in all"
            )
        return View(x, y, width, height, columns, rows)

    def _reaching(self, view: View) -> list[int]:
        """Indices of the groups with Gaussians that may touch a view; the pixel filter widens them."""
        margin_x = CUTOFF * math.sqrt(filter_variance(view.scale_x))
        margin_y = CUTOFF * math.sqrt(filter_variance(view.scale_y))

        def touches(group: Group) -> bool:
            x0, y0, x1, y1 = (TILE * edge for edge in group.reach)
            return (
                x0 < view.x + view.width + margin_x
                and x1 > view.x - margin_x
                and y0 < view.y + view.height + margin_y
                and y1 > view.y - margin_y
            )

        return [index for index, group in enumerate(self._file.groups) if touches(group)]

    def _gaussians(self, indices: Sequence[int]) -> Gaussians:
        missing = [index for index in indices if index not in self._decoded]
        if missing:
            groups = [(self._file.groups[index].data, self._file.groups[index].count) for index in missing]
            whole = entropy.decode_gaussians(groups, self._file.quantizer, self._threads)
            end = 0
            for index, (_, count) in zip(missing, groups, strict=True):
                self._decoded[index] = whole[end : end + count]
                end += count
            if len(missing) == len(indices):
                return whole
        if len(indices) == 1:
            return self._decoded[indices[0]]
        empty = Gaussians.empty(self.channels)
        parts = [fields(self._decoded[index]) for index in indices] or [fields(empty)]
        return Gaussians(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True)))


def _bytes_of(source: bytes | os.PathLike[str] | str | BinaryIO, limits: Limits) -> bytes:
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        try:
            if path.stat().st_size > limits.file_bytes:
                raise LimitError(f"{path}: the file is above the limit of {limits.file_bytes} bytes")
            return path.read_bytes()
        except OSError as error:
            raise FormatError(f"{path}: {error.strerror or error}") from None
    return source.read(limits.file_bytes + 1)
