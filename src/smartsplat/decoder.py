"""The decoder: from the bytes of a .sspl file to pixels, of any region at any size.

bytes  ->  container  ->  groups that touch the view  ->  symbols  ->  Gaussians  ->  rendered pixels

All of it is compiled (``native/decoder``), and also a C library; here are arguments, metadata and backgrounds.
"""

from __future__ import annotations

import functools
import io
import math
import os
from collections.abc import Callable
from dataclasses import InitVar, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np
import numpy.typing as npt

from smartsplat import _native
from smartsplat.arguments import (
    Background,
    background_color,
    positive_number,
    sample_type,
    thread_count,
    whole_number,
    whole_numbers,
)
from smartsplat.array_view import MIN_LEVEL_SIDE, ArrayView
from smartsplat.arrays import SampleArray
from smartsplat.bitstream import entropy
from smartsplat.bitstream.container import MAJOR, metadata_of
from smartsplat.bitstream.quantize import Quantizer
from smartsplat.errors import FormatError, LimitError, SettingsError
from smartsplat.gaussians import Gaussians
from smartsplat.images.flatten import flattened, flattened_channels
from smartsplat.images.strips import Strips
from smartsplat.limits import Limits
from smartsplat.metadata import Metadata
from smartsplat.on_demand import OnDemand, of_path, of_url
from smartsplat.planes import Planes, open_planes
from smartsplat.render import View

MAX_NOTEBOOK_BYTES = 1 << 24
"""Of a file that is shown in a notebook, which keeps it."""

PREVIEW_SIDE = 1024
"""Pixels of the longer side of a preview."""

Region = tuple[int, int, int, int]  # x, y, width, height in pixels of the full image


def decode(
    data: bytes | os.PathLike[str] | str | BinaryIO,
    *,
    region: Region | None = None,
    size: tuple[int, int] | None = None,
    scale: float | None = None,
    partial: bool = False,
    dtype: npt.DTypeLike | None = None,
    background: Background | None = None,
    grain: bool = True,
    preview: bool = False,
    threads: int | None = None,
    device: str = "cpu",
    limits: Limits = Limits(),
) -> SampleArray:
    """The pixels of a .sspl file.

    The region is taken first, then the size: the order of IIIF. Enlarging renders the Gaussians larger; shrinking is
    anti-aliased exactly.

    Args:
        data: the bytes of a file, a path, an fsspec URL (``https://``, ``s3://``, ...) or an open binary file, which is
            read from its beginning.
        region: x, y, width, height in pixels of the full image; the default is all of it.
        size: width and height of the output, pixels.
        scale: size of the output relative to the region.
        partial: render what there is of a file that ends early, instead of refusing it. Of a large image the Gaussians
            with the most energy are stored first.
        dtype: uint8 or uint16; the default is what holds the bits per sample of the image that was encoded.
        background: red, green and blue, 0 to 255, on which opacity is flattened; the default keeps it.
        grain: with the noise that stands for lost texture, if the file has any.
        preview: sooner, if the output is smaller than the region: without those Gaussians that hardly show in it. Half
            of them at 1/8 of the size; 44 dB from the exact pixels or closer.
        threads: on the processor; the default is all.
        device: "cpu", "cuda", "cuda:N" or "auto", which is not the default because most files are rendered before
            torch has been imported.
        limits: what the file may claim.

    Returns:
        [rows, columns, C], C = 1 (grey), 2 (grey and alpha), 3 (RGB) or 4 (RGB and alpha, not multiplied with it).

    Raises:
        FormatError, UnsupportedError, LimitError: the bytes cannot be decoded.
        SettingsError: an argument makes no sense.
        DeviceError: the GPU is not there or too small.
    """
    reader = Reader(data, partial=partial, threads=threads, device=device, limits=limits)
    return reader.read(
        region=region, size=size, scale=scale, dtype=dtype, background=background, grain=grain, preview=preview
    )


def open(
    source: bytes | os.PathLike[str] | str | BinaryIO,
    *,
    partial: bool = False,
    threads: int | None = None,
    device: str = "cpu",
    limits: Limits = Limits(),
) -> Reader:
    """Open a file to decode regions and sizes of it without decoding the rest.

    Of a file of a megabyte or more, by path or URL, only what views need is read, and checked when it is decoded: first
    its table of contents and index, then the groups that touch a region, in few ranges.

    Args:
        source, partial, threads, device, limits: as ``decode`` takes them.

    Returns:
        A reader, which several threads may use.

    Raises:
        FormatError, UnsupportedError, LimitError: the header or a checksum is wrong. Damaged Gaussians are found when
            they are decoded.
        DeviceError: the GPU is not there.
    """
    return Reader(source, partial=partial, threads=threads, device=device, limits=limits)


@dataclass(frozen=True)
class Info:
    """What a file holds, every byte accounted for."""

    width: int
    height: int
    channels: int  # of colour: 1, grey, or 3, RGB
    has_alpha: bool
    depth: int  # bits per sample of the image that was encoded
    gaussians: int  # those of alpha included
    bytes: int
    ratio: float  # 3 H W / bytes
    bpp: float
    version: str
    quality: int  # of the colours
    groups: int  # of Gaussians, those of alpha included
    alpha_bytes: int  # coded
    icc_bytes: int  # unpacked
    metadata_bytes: int  # unpacked, of EXIF, XMP, IPTC and GeoTIFF tags
    grain_bytes: int  # coded
    primaries: int  # code points of ITU-T H.273
    transfer: int
    container_bytes: int  # header, table of contents, group headers, profile, metadata
    count_bits: InitVar[Callable[[], dict[str, float]]]

    def __post_init__(self, count_bits: Callable[[], dict[str, float]]) -> None:
        object.__setattr__(self, "_count_bits", count_bits)

    @cached_property
    def bits_per_gaussian(self) -> dict[str, float]:
        """Coded bits of each attribute, the mean over the colours' Gaussians; the first use decodes them all."""
        count_bits: Callable[[], dict[str, float]] = self._count_bits  # type: ignore[attr-defined]
        return count_bits()


class Reader:
    """An opened .sspl file: its size, profile and contents; ``read`` and ``strips`` render it. Made by ``open``.

    A context manager; copies and pickles hold the bytes of the file, or the path or URL of one that is read on demand.
    """

    def __init__(
        self,
        source: bytes | os.PathLike[str] | str | BinaryIO,
        *,
        partial: bool = False,
        threads: int | None = None,
        device: str = "cpu",
        limits: Limits = Limits(),
    ) -> None:
        self._threads = thread_count(threads)
        self._device = device
        self._limits = limits
        self._partial = partial
        content = _content_of(source, limits, partial)
        self._on_demand = content if isinstance(content, OnDemand) else None
        self._name = source if self._on_demand is not None else None
        data = content.bytes if isinstance(content, OnDemand) else content
        self._container: _native.Container | None = _native.Container(
            data, limits, partial, on_demand=self._on_demand is not None
        )
        self._quantizer = Quantizer(**self._container.color)
        self._depth, self._has_alpha = self._container.depth, self._container.has_alpha
        self._metadata = metadata_of(self._container)
        self._sizes = self._container.sizes
        self._version = f"{MAJOR}.{self._container.minor_version}"
        fetch = None if self._on_demand is None else self._on_demand.fetch
        self._planes: Planes | None = open_planes(self._container, device, self._threads, limits, fetch)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        settings = {"partial": self._partial, "threads": self._threads, "device": self._device, "limits": self._limits}
        return _reopened, (self.data if self._name is None else self._name, settings)

    def close(self) -> None:
        """Give back the memory; what the file says of itself stays, its pixels are gone."""
        self._container = self._planes = self._on_demand = None

    @property
    def data(self) -> bytes:
        """The bytes of the file. SettingsError: the reader is closed."""
        data = self._opened[0].data
        return bytes(data) if self._on_demand is None else self._on_demand.all()

    @property
    def width(self) -> int:
        """Pixels."""
        return self._quantizer.width

    @property
    def height(self) -> int:
        """Pixels."""
        return self._quantizer.height

    @property
    def has_alpha(self) -> bool:
        """Whether the image has opacity."""
        return self._has_alpha

    @property
    def channels(self) -> int:
        """Of what ``read`` gives: 1, grey, 2, grey and alpha, 3, RGB, or 4, RGB and alpha."""
        return self._quantizer.channels + self.has_alpha

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of the whole image as ``read`` gives it: height, width, channels."""
        return self.height, self.width, self.channels

    @property
    def depth(self) -> int:
        """Bits per sample of the image that was encoded."""
        return self._depth

    @property
    def metadata(self) -> Metadata:
        """Colour space, EXIF and the like."""
        return self._metadata

    @property
    def icc(self) -> bytes | None:
        """The image's colour profile; without one the code points of ``metadata`` say what its colours are."""
        return self.metadata.icc

    def read(
        self,
        *,
        region: Region | None = None,
        size: tuple[int, int] | None = None,
        scale: float | None = None,
        dtype: npt.DTypeLike | None = None,
        background: Background | None = None,
        grain: bool = True,
        preview: bool = False,
    ) -> SampleArray:
        """The pixels of a region at a size; decodes only the groups that touch the region.

        Args:
            region, size, scale, dtype, background, grain, preview: as ``decode`` takes them.

        Returns:
            uint8 or uint16 [rows, columns, C].

        Raises:
            FormatError, LimitError, SettingsError, DeviceError: as ``decode``.
        """
        view, kind, ground = self._view(region, size, scale), sample_type(dtype, self.depth), self._ground(background)
        return self._render(view, kind, ground, grain, preview)

    def as_array(
        self,
        *,
        level: int = 0,
        dtype: npt.DTypeLike | None = None,
        background: Background | None = None,
        grain: bool = True,
    ) -> ArrayView:
        """The pixels as an array that is rendered where it is indexed: ``dask.array.from_array`` and napari take it.

        Args:
            level: the image shrunk 2^level times.
            dtype, background, grain: as ``decode`` takes them.

        Returns:
            [rows, columns, C], as ``read(scale=2**-level)`` gives it. There are ``levels`` of them.

        Raises:
            SettingsError: an argument makes no sense.
        """
        level = whole_number("level", level, 0)
        kind, ground = sample_type(dtype, self.depth), self._ground(background)
        columns, rows = (max(1, round(side * 2.0**-level)) for side in (self.width, self.height))
        channels = self.channels
        if ground is not None and self.has_alpha:
            channels = flattened_channels(self._quantizer.channels, ground)

        def render(view: View) -> SampleArray:
            self._check_output(view.columns, view.rows)
            return self._render(view, kind, ground, grain)

        return ArrayView(render, (self.width, self.height), (rows, columns, channels), kind)

    @property
    def levels(self) -> int:
        """Levels of ``as_array`` down to an image of 256 pixels on its longer side: those of a multiscale image."""
        return 1 + max(0, math.floor(math.log2(max(self.width, self.height) / MIN_LEVEL_SIDE)))

    def _render(
        self, view: View, dtype: np.dtype[Any], ground: Background | None, grain: bool, preview: bool = False
    ) -> SampleArray:
        _, planes = self._opened
        pixels = planes.render(view, dtype, grain, preview)
        return pixels if ground is None or not self.has_alpha else _over(pixels, ground)

    def strips(
        self,
        *,
        region: Region | None = None,
        size: tuple[int, int] | None = None,
        scale: float | None = None,
        dtype: npt.DTypeLike | None = None,
        background: Background | None = None,
        grain: bool = True,
    ) -> Strips:
        """The same pixels in strips of rows, each rendered when it is asked for: the whole need not fit into memory.

        Args:
            region, size, scale, dtype, background, grain: as ``decode`` takes them.

        Returns:
            Strips of about 16 megapixels; they can be gone through once.

        Raises:
            FormatError, LimitError, SettingsError, DeviceError: as ``decode``, before the first strip.
        """
        _, planes = self._opened
        view, kind, ground = (
            self._view(region, size, scale, in_strips=True),
            sample_type(dtype, self.depth),
            self._ground(background),
        )
        parts, channels = planes.strips(view, kind, grain), self.channels
        if ground is not None and self.has_alpha:
            parts = map(functools.partial(_over, ground=ground), parts)
            channels = flattened_channels(self._quantizer.channels, ground)
        return Strips((view.rows, view.columns, channels), parts, kind.type)

    def _repr_html_(self) -> str | None:
        """The viewer with this file in a notebook; None where it is too large to be stored in one."""
        from smartsplat.web.page import frame

        return frame(self.data, self.width, self.height) if len(self.data) <= MAX_NOTEBOOK_BYTES else None

    def _repr_png_(self) -> bytes:
        """A preview, which a notebook shows where scripts are off."""
        from smartsplat.images.writing.writer import write

        scale = min(1.0, PREVIEW_SIDE / max(self.width, self.height))
        file = io.BytesIO()
        write(file, self.strips(scale=scale, dtype="uint8"), metadata=Metadata(icc=self.icc), format="png")
        return file.getvalue()

    def gaussians(self) -> Gaussians:
        """All Gaussians of the colours, in the order of the file."""
        return self._opened[1].gaussians()

    @cached_property
    def info(self) -> Info:
        """What the file holds, from its header and table of contents."""
        metadata, sizes = self.metadata, self._sizes
        pixels, size = self.width * self.height, sizes["bytes"]
        return Info(
            width=self.width,
            height=self.height,
            channels=self._quantizer.channels,
            has_alpha=self.has_alpha,
            depth=self.depth,
            gaussians=sizes["gaussians"],
            bytes=size,
            ratio=3 * pixels / size,
            bpp=8 * size / pixels,
            version=self._version,
            quality=self._quantizer.quality,
            groups=sizes["groups"],
            alpha_bytes=sizes["alpha_bytes"],
            icc_bytes=len(metadata.icc or b""),
            metadata_bytes=sum(len(part or b"") for part in (metadata.exif, metadata.xmp, metadata.iptc, metadata.geo)),
            grain_bytes=sizes["grain_bytes"],
            primaries=metadata.primaries,
            transfer=metadata.transfer,
            container_bytes=size - sizes["color_bytes"] - sizes["alpha_bytes"] - sizes["grain_bytes"],
            count_bits=self._mean_bits,
        )

    def _mean_bits(self) -> dict[str, float]:
        if self._on_demand is not None:
            self._on_demand.all()
        groups = [(data, count) for count, _, data in self._opened[0].groups]
        return entropy.mean_bits(groups, self._quantizer, self._threads)

    @property
    def _opened(self) -> tuple[_native.Container, Planes]:
        if self._container is None or self._planes is None:
            raise SettingsError("the reader is closed")
        return self._container, self._planes

    @staticmethod
    def _ground(background: Background | None) -> Background | None:
        return None if background is None else background_color(background)

    def _view(
        self, region: Region | None, size: tuple[int, int] | None, scale: float | None, in_strips: bool = False
    ) -> View:
        x, y, width, height = (0, 0, self.width, self.height)
        if region is not None:
            x, y, width, height = whole_numbers("region", region, ("x", "y", "width", "height"))
        if x < 0 or y < 0 or width < 1 or height < 1 or x + width > self.width or y + height > self.height:
            raise SettingsError(
                f"region {x},{y},{width},{height} does not lie in the image of {self.width} x {self.height} pixels"
            )
        if size is not None and scale is not None:
            raise SettingsError("give a size or a scale, not both")
        columns, rows = (width, height) if size is None else whole_numbers("size", size, ("width", "height"))
        if scale is not None:
            scale = min(positive_number("scale", scale), 2.0 * self._limits.side)  # above every limit, and still a size
            columns, rows = max(1, round(width * scale)), max(1, round(height * scale))
        if columns < 1 or rows < 1:
            raise SettingsError(f"an output of {columns} x {rows} pixels is empty")
        self._check_output(columns, rows, in_strips)
        return View(x, y, width, height, columns, rows)

    def _check_output(self, columns: int, rows: int, in_strips: bool = False) -> None:
        """LimitError: so many output pixels are too many."""
        limits = self._limits
        most = limits.pixels if in_strips else min(limits.pixels, limits.output_pixels)
        if max(columns, rows) > limits.side or columns * rows > most:
            raise LimitError(
                f"an output of {columns} x {rows} pixels is above the limits of {limits.side} a side and {most} in all"
            )


def _over(pixels: SampleArray, ground: Background) -> SampleArray:
    """Pixels with opacity over a background."""
    return flattened(pixels[..., :-1], pixels[..., -1], ground)


def _reopened(source: Any, settings: dict[str, Any]) -> Reader:
    """What a pickle or a copy is made of."""
    return Reader(source, **settings)


def _content_of(source: bytes | os.PathLike[str] | str | BinaryIO, limits: Limits, partial: bool) -> bytes | OnDemand:
    """The bytes of a file; of a large one by path or URL, which is not ``partial``, as they are needed."""
    if isinstance(source, bytes | bytearray | memoryview):
        return bytes(source)
    if isinstance(source, str | os.PathLike):
        name = os.fspath(source)
        if "://" in name:
            file = of_url(name, limits)
            return file if file.has_index and not partial else file.all()
        try:
            found = None if partial else of_path(name, limits)
            if found is not None and found.has_index:
                return found
            if os.stat(name).st_size > limits.file_bytes:
                raise LimitError(f"{name}: the file is above the limit of {limits.file_bytes} bytes")
            return Path(name).read_bytes()
        except OSError as error:
            raise FormatError(f"{name}: {error.strerror or error}") from None
    data = None
    if hasattr(source, "read"):
        if source.seekable():  # from its beginning, as an encoder reads images
            source.seek(0)
        data = source.read(limits.file_bytes + 1)
    if not isinstance(data, bytes | bytearray | memoryview):
        raise SettingsError(f"a file is bytes, a path or an open binary file, not {type(source).__name__}")
    return bytes(data)
