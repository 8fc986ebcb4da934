"""The decoder: from the bytes of a .sspl file to pixels, of any region at any size.

bytes  ->  container  ->  groups that touch the view  ->  symbols  ->  Gaussians  ->  rendered pixels
"""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import InitVar, dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from smartsplat.arrays import ByteArray
from smartsplat.bitstream import container, entropy
from smartsplat.bitstream.container import TILE, File, Group
from smartsplat.errors import FormatError, LimitError, SettingsError
from smartsplat.gaussians import CUTOFF, Gaussians
from smartsplat.images.strips import Strips
from smartsplat.limits import Limits
from smartsplat.render import Renderer, View, filter_variance
from smartsplat.render.device import open_renderer
from smartsplat.threads import available_threads

Region = tuple[int, int, int, int]  # x, y, width, height in pixels of the full image

STRIP_PIXELS = 1 << 24
"""Pixels of a strip, about."""


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
) -> ByteArray:
    """The pixels of a .sspl file.

    The region is taken first, then the size: the order of IIIF. Enlarging renders the Gaussians larger; shrinking is
    anti-aliased exactly.

    Args:
        data: the bytes of a file, a path or an open binary file.
        region: x, y, width, height in pixels of the full image; the default is all of it.
        size: width and height of the output, pixels.
        scale: size of the output relative to the region.
        partial: render what there is of a file that ends early, instead of refusing it. Of a large image the Gaussians
            with the most energy are stored first.
        threads: on the processor; the default is all.
        device: "cpu", "cuda", "cuda:N" or "auto", which is not the default because most files are rendered before
            torch has been imported.
        limits: what the file may claim.

    Returns:
        uint8 [rows, columns, C], C = 1 or 3.

    Raises:
        FormatError, UnsupportedError, LimitError: the bytes cannot be decoded.
        SettingsError: the region or the size makes no sense.
        DeviceError: the GPU is not there or too small.
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
    """Open a file to decode regions and sizes of it without decoding the rest.

    Args:
        source, partial, threads, device, limits: as ``decode`` takes them.

    Returns:
        A reader, which several threads may use.

    Raises:
        FormatError, UnsupportedError, LimitError: the header or a checksum is wrong. Damaged Gaussians are found when
            they are decoded.
    """
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
    count_bits: InitVar[Callable[[], dict[str, float]]]

    def __post_init__(self, count_bits: Callable[[], dict[str, float]]) -> None:
        object.__setattr__(self, "_count_bits", count_bits)

    @cached_property
    def bits_per_gaussian(self) -> dict[str, float]:
        """Coded bits of each attribute, the mean over the Gaussians; the first use decodes the whole file."""
        count_bits: Callable[[], dict[str, float]] = self._count_bits  # type: ignore[attr-defined]
        return count_bits()


class Reader:
    """An opened .sspl file: its size, profile and contents; ``read`` and ``strips`` render it. Made by ``open``."""

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
        self._file: File = container.unpack(data, limits, partial)
        self._size = len(data)
        self._limits = limits
        self._threads = threads or available_threads()
        self._device = device
        self._decoded: dict[int, Gaussians] = {}
        self._rendering = threading.Lock()

    @property
    def width(self) -> int:
        """Pixels."""
        return self._file.quantizer.width

    @property
    def height(self) -> int:
        """Pixels."""
        return self._file.quantizer.height

    @property
    def channels(self) -> int:
        """1, grey, or 3, RGB."""
        return self._file.quantizer.channels

    @property
    def icc(self) -> bytes | None:
        """The image's colour profile; None is sRGB."""
        return self._file.icc

    def read(
        self, *, region: Region | None = None, size: tuple[int, int] | None = None, scale: float | None = None
    ) -> ByteArray:
        """The pixels of a region at a size; decodes only the groups that touch the region.

        Args:
            region, size, scale: as ``decode`` takes them.

        Returns:
            uint8 [rows, columns, C].

        Raises:
            FormatError, LimitError, SettingsError, DeviceError: as ``decode``.
        """
        view = self._view(region, size, scale)
        with self._rendering, self._limit_errors(view):  # the renderer owns the buffers that it works in
            params = self._renderer.upload(self._gaussians(self._touching(view)))
            return self._renderer.render_bytes(params, view, self._limits.overlap)

    def strips(
        self, *, region: Region | None = None, size: tuple[int, int] | None = None, scale: float | None = None
    ) -> Strips:
        """The same pixels in strips of rows, each rendered when it is asked for: the whole need not fit into memory.

        Args:
            region, size, scale: as ``decode`` takes them.

        Returns:
            Strips of about 16 megapixels; they can be gone through once.

        Raises:
            FormatError, LimitError, SettingsError, DeviceError: as ``decode``, before the first strip.
        """
        view = self._view(region, size, scale)
        with self._rendering:
            gaussians = self._gaussians(self._touching(view))
        with self._limit_errors(view):
            renderer = open_renderer(self._device, self._threads)
            params = renderer.upload(gaussians)
            parts = renderer.render_strips(params, view, STRIP_PIXELS, self._limits.overlap)
        return Strips((view.rows, view.columns, self.channels), parts)

    @contextmanager
    def _limit_errors(self, view: View) -> Iterator[None]:
        try:
            yield
        except OverflowError:  # a small file could keep a reader busy for hours
            raise LimitError(
                f"more than {self._limits.overlap} Gaussians lie over each of {view.columns} x {view.rows} pixels"
            ) from None

    def gaussians(self) -> Gaussians:
        """All Gaussians of the file, in its order."""
        return self._gaussians(range(len(self._file.groups)))

    @cached_property
    def info(self) -> Info:
        """What the file holds, from its header and table of contents."""
        file = self._file
        coded = sum(len(group.data) for group in file.groups)
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
            count_bits=lambda: entropy.mean_bits(
                [(group.data, group.count) for group in file.groups], file.quantizer, self._threads
            ),
        )

    @cached_property
    def _renderer(self) -> Renderer:
        return open_renderer(self._device, self._threads)

    def _view(self, region: Region | None, size: tuple[int, int] | None, scale: float | None) -> View:
        x, y, width, height = region or (0, 0, self.width, self.height)
        if x < 0 or y < 0 or width < 1 or height < 1 or x + width > self.width or y + height > self.height:
            raise SettingsError(
                f"region {x},{y},{width},{height} does not lie in the image of {self.width} x {self.height} pixels"
            )
        if size is not None and scale is not None:
            raise SettingsError("give a size or a scale, not both")
        if scale is not None and not (math.isfinite(scale) and scale > 0):
            raise SettingsError(f"a scale must be positive, not {scale}")
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

    def _touching(self, view: View) -> list[int]:
        """Indices of the groups with Gaussians that may touch a view; the pixel filter widens them."""
        margin_x = CUTOFF * math.sqrt(filter_variance(view.scale_x))
        margin_y = CUTOFF * math.sqrt(filter_variance(view.scale_y))

        def touches(group: Group) -> bool:
            x0, y0, x1, y1 = (TILE * edge for edge in group.extent)
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
        return Gaussians.concatenated([self._decoded[index] for index in indices], self.channels)


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
