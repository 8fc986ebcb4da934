"""Images in and out: files, streams, arrays and Pillow images to pixels, and pixels to files."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from PIL import Image

from smartsplat.arguments import Background, background_color
from smartsplat.arrays import SampleArray
from smartsplat.errors import ImageError, SettingsError
from smartsplat.images.color.color_spaces import in_srgb
from smartsplat.images.flatten import STRIP_PIXELS, flattened
from smartsplat.images.reading.formats import open_stored
from smartsplat.images.reading.pillow_reader import stored_by_pillow
from smartsplat.images.reading.sources import (
    SampleStrips,
    Source,
    Unreadable,
    check_size,
    explained,
    name_of,
    stream_of,
)
from smartsplat.images.reading.stored import Assembled, StoredImage, assemble
from smartsplat.images.strips import row_slices
from smartsplat.limits import Limits
from smartsplat.metadata import NO_METADATA, SRGB_PRIMARIES, SRGB_TRANSFER, Metadata

MAX_READ_SAMPLES = 1 << 28
"""Of an array that is read by chunks, at once, at most."""


@runtime_checkable
class ArrayLike(Protocol):
    """What is indexed by slices as an array of numpy's, and has or makes one then."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> Any: ...

    def __getitem__(self, key: Any, /) -> Any: ...


@dataclass(frozen=True, eq=False)
class SourceImage:
    """An image as the encoder takes it, upright.

    Args:
        pixels: [H, W, C] uint8 or uint16, C = 1 (grey) or 3 (RGB), C-contiguous; not multiplied with alpha.
        alpha: [H, W] of the same type, C-contiguous; None: opaque.
        depth: bits per sample in the source, 1 to 8 for uint8 and 9 to 16 for uint16; 0 stands for those of the type.
            Whatever it is, samples cover the full range of their type.
        metadata: colour space, EXIF and the like.
        notices: what was changed on the way in, one line each.
    """

    pixels: SampleArray
    alpha: SampleArray | None = None
    depth: int = 0
    metadata: Metadata = NO_METADATA
    notices: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        array, alpha = self.pixels, self.alpha
        bits = 8 * array.dtype.itemsize
        if (
            array.dtype not in (np.uint8, np.uint16)
            or array.ndim != 3
            or array.shape[2] not in (1, 3)
            or 0 in array.shape
        ):
            raise ImageError(f"pixels must be uint8 or uint16 [H, W, 1 or 3], not {array.dtype} {list(array.shape)}")
        if not array.flags.c_contiguous:
            raise ImageError("pixels must be C-contiguous")
        if alpha is not None and (
            alpha.dtype != array.dtype or alpha.shape != array.shape[:2] or not alpha.flags.c_contiguous
        ):
            raise ImageError(f"alpha must be C-contiguous {array.dtype} {list(array.shape[:2])}")
        if not self.depth:
            object.__setattr__(self, "depth", bits)
        elif not bits - 8 < self.depth <= bits:
            raise ImageError(f"a depth of {self.depth} bits does not go with {array.dtype}")

    @property
    def icc(self) -> bytes | None:
        """Profile of the colour channels."""
        return self.metadata.icc

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def channels(self) -> int:
        return int(self.pixels.shape[2])


def read_image(
    source: Source,
    *,
    page: int | None = None,
    float_range: tuple[float, float] = (0.0, 1.0),
    accept_damaged: bool = False,
    limits: Limits = Limits(),
) -> SourceImage:
    """The image in a file, in a binary stream (from its beginning) or in bytes, upright.

    Grey stays one channel, all other colours become RGB; alpha is kept unless every pixel is opaque.

    Args:
        source: a path, a binary stream or bytes.
        page: which of the pages, frames or images of a file, from 1; None: its main one, with a notice if there
            are others.
        float_range: the floating-point samples of black and white. Samples outside, by up to a tenth of the range,
            are clipped.
        accept_damaged: whether to take what can be read of a damaged file.
        limits: of pixels; they are checked before pixels are decoded.

    Raises LimitError: more pixels than ``limits`` allow; ImageError: all else.
    """
    name = name_of(source)
    check_float_range(float_range)
    with explained(name) as notices, stream_of(source) as stream:
        stored = open_stored(stream, name, page, limits)
        assembled = _assembled(stored, name, float_range, accept_damaged)
    return _source_image(assembled, notices)


def _assembled(stored: StoredImage, name: str, float_range: tuple[float, float], accept_damaged: bool) -> Assembled:
    try:
        return assemble(stored, name, float_range)
    except Unreadable as problem:
        if re.search("not (supported|implemented|configured)", str(problem)):
            raise ImageError(f"{name}: cannot be read: {problem}") from None
        if not accept_damaged:
            raise ImageError(
                f"{name}: is damaged: {problem}; --accept-damaged (accept_damaged=True) reads what is left"
            ) from None
        stored.notices.append(f"DAMAGED: parts of the image are missing or wrong: {problem}")
    try:
        return assemble(stored, name, float_range, lenient=True)
    except Unreadable as problem:
        raise ImageError(f"{name}: is damaged, nothing of it can be read: {problem}") from None


def _source_image(assembled: Assembled, notices: Iterable[str]) -> SourceImage:
    said = tuple(dict.fromkeys((*assembled.notices, *notices)))
    return SourceImage(assembled.pixels, assembled.alpha, assembled.depth, assembled.metadata, said)


def check_float_range(float_range: tuple[float, float]) -> None:
    """SettingsError unless it is two finite numbers, the first below the second."""
    if len(float_range) != 2 or not -np.inf < float_range[0] < float_range[1] < np.inf:
        raise SettingsError(f"the range of floats must be two numbers, the lower first, not {float_range}")


def from_object(
    image: Source | SourceImage | Image.Image | ArrayLike,
    *,
    float_range: tuple[float, float] = (0.0, 1.0),
    limits: Limits = Limits(),
) -> SourceImage:
    """The image in whatever a caller has.

    Args:
        image: an array (bool, uint8, uint16, float32 or float64; [H, W] or [H, W, 1 to 4], where 2 is grey and
            alpha, 4 RGB and alpha, not multiplied with it; shared, not copied, if it can be used as it is), what can
            be indexed as one, such as an array of Zarr, h5py or Dask, which is read by chunks of rows, a Pillow
            image (its current frame), a SourceImage, or anything that ``read_image`` takes.
        float_range: as of ``read_image``.
        limits: of pixels.

    Raises LimitError: more pixels than ``limits`` allow; ImageError: all else.
    """
    if isinstance(image, SourceImage):
        check_size("the image", image.width, image.height, limits)
        return image
    check_float_range(float_range)
    if not isinstance(image, Image.Image):
        if isinstance(image, ArrayLike):
            return _from_array(image, float_range, limits)
        return read_image(image, float_range=float_range, limits=limits)
    name = "the Pillow image"
    with explained(name) as notices:
        check_size(name, image.width, image.height, limits)
        assembled = _assembled(stored_by_pillow(image), name, float_range, accept_damaged=False)
    return _source_image(assembled, notices)


def _from_array(array: ArrayLike, float_range: tuple[float, float], limits: Limits) -> SourceImage:
    kinds = {"bool": 1, "uint8": 255, "uint16": 65535, "float32": None, "float64": None}
    shape = (*array.shape, 1) if len(array.shape) == 2 else tuple(array.shape)
    name_of_type = getattr(array.dtype, "name", str(array.dtype))
    if name_of_type not in kinds or len(shape) != 3 or shape[2] not in (1, 2, 3, 4):
        raise ImageError(
            "the array must be bool, uint8, uint16, float32 or float64 [H, W] or [H, W, 1 to 4], "
            f"not {name_of_type} {list(array.shape)}"
        )
    name = "the array"
    height, width, channels = shape
    check_size(name, width, height, limits)
    dtype = np.dtype(array.dtype)
    if isinstance(array, np.ndarray) and channels in (1, 3) and dtype in (np.uint8, np.uint16) and dtype.isnative:
        return SourceImage(np.ascontiguousarray(array if array.ndim == 3 else array[:, :, None]))

    def strips(lenient: bool) -> SampleStrips:
        for rows in _row_slices(array, height, width):
            yield rows.start, np.asarray(array[rows]).reshape(-1, width, channels)

    bands = ("L", "LA", "RGB", "RGBA")[channels - 1]
    bits = 1 if name_of_type == "bool" else 8 * dtype.itemsize
    stored = StoredImage(width, height, bands, strips, bits, kinds[name_of_type])
    with explained(name):
        assembled = _assembled(stored, name, float_range, accept_damaged=False)
    return _source_image(assembled, ())


def _row_slices(array: ArrayLike, height: int, width: int) -> Iterator[slice]:
    """Rows that are read at once: whole chunks, where the array has them, and no more than ``MAX_READ_SAMPLES``."""
    most = max(1, MAX_READ_SAMPLES // (width * (array.shape[2] if len(array.shape) == 3 else 1)))
    rows = 1
    for chunks in (getattr(array, name, None) for name in ("chunks", "shards")):
        if chunks:
            side = max(chunks[0]) if isinstance(chunks[0], tuple) else int(chunks[0])  # Dask's differ
            rows = side if side <= most else rows
    return row_slices(height, width, rows * width * max(1, STRIP_PIXELS // (rows * width)))


def flatten(image: SourceImage, background: Background) -> SourceImage:
    """The image over a background (r, g, b from 0 to 255), in the image's own colours, with a notice.

    It becomes RGB where it is grey and the background is not. An image without alpha is returned as it is.
    """
    if image.alpha is None:
        return image
    pixels = flattened(image.pixels, image.alpha, background_color(background))
    metadata, notices = image.metadata, image.notices
    if pixels.shape[2] != image.channels and metadata.icc is not None:
        metadata = replace(metadata, icc=None)
        notices = (*notices, "colour profile dropped: it is for GRAY, the image is RGB")
    notice = f"alpha flattened on background {','.join(map(str, background))}"
    return SourceImage(pixels, None, image.depth, metadata, (*notices, notice))


def without_profile(image: SourceImage) -> SourceImage:
    """The image in sRGB, so that its profile need not be stored, with a notice that says so."""
    if image.metadata.icc is None:
        return image
    metadata = replace(image.metadata, icc=None, primaries=SRGB_PRIMARIES, transfer=SRGB_TRANSFER)
    notice = "converted to sRGB: the colour profile takes too much of the file"
    try:
        converted = in_srgb(image.pixels, image.metadata)
    except ImageError:
        converted = image.pixels
        notice = "colour profile dropped: it cannot be stored, nor be used to convert the image to sRGB"
    return SourceImage(converted, image.alpha, image.depth, metadata, (*image.notices, notice))
