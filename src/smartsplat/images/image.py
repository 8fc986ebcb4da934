"""Images in and out: files, streams, arrays and Pillow images to 8-bit pixels, and pixels to files."""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt
from PIL import Image

from smartsplat.arrays import ByteArray
from smartsplat.errors import ImageError
from smartsplat.images import vips_reader
from smartsplat.images.atomic import write_atomically
from smartsplat.images.color_modes import (
    Color,
    Flat,
    alpha_notice,
    blend,
    flatten,
    inspect,
    mend_transparency,
    to_srgb,
)
from smartsplat.images.pillow_reader import (
    HEAD,
    Source,
    check_frames,
    check_size,
    explained,
    load,
    name_of,
    open_image,
    orientation,
    reason,
    stream_of,
)
from smartsplat.images.png_tiff_writer import write_png, write_tiff
from smartsplat.images.strips import Strips
from smartsplat.limits import Limits

WRITABLE = {
    "png": "PNG",
    "jpg": "JPEG",
    "jpeg": "JPEG",
    "webp": "WEBP",
    "tif": "TIFF",
    "tiff": "TIFF",
    "avif": "AVIF",
    "bmp": "BMP",
    "ppm": "PPM",
}
"""Suffix -> Pillow's name of the format."""

_SAVE_OPTIONS: dict[str, dict[str, Any]] = {
    "PNG": {"compress_level": 3},
    "JPEG": {"quality": 95, "subsampling": "4:4:4"},
    "WEBP": {"lossless": True},
    "TIFF": {"compression": "tiff_adobe_deflate"},
    "AVIF": {"quality": 90},
}

_MAX_SIDE = {"WEBP": 16383, "JPEG": 65500, "AVIF": 65536}  # pixels


@dataclass(frozen=True, eq=False)
class SourceImage:
    """Pixels as the encoder takes them, upright and opaque."""

    pixels: ByteArray  # [H, W, C] uint8, C = 1 (grey) or 3 (RGB), C-contiguous
    icc: bytes | None = None  # profile of these channels; None: sRGB
    notices: tuple[str, ...] = ()  # what was changed on the way in, one line each

    def __post_init__(self) -> None:
        array = self.pixels
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] not in (1, 3) or 0 in array.shape:
            raise ImageError(f"pixels must be uint8 [H, W, 1 or 3], not {array.dtype} {list(array.shape)}")
        if not array.flags.c_contiguous:
            raise ImageError("pixels must be C-contiguous")

    @property
    def width(self) -> int:
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        return int(self.pixels.shape[0])

    @property
    def channels(self) -> int:
        return int(self.pixels.shape[2])


def read(source: Source, *, background: Color = (255, 255, 255), limits: Limits = Limits()) -> SourceImage:
    """The image in a file, in a binary stream (from its beginning) or in bytes.

    Grey stays one channel, everything else becomes RGB; alpha is flattened on ``background`` and the EXIF
    orientation is applied. LimitError: more pixels than ``limits`` allow; ImageError: all else.
    """
    name = name_of(source)
    with explained(name) as notices:
        with stream_of(source) as stream:
            flat, turn = _decode(stream, name, background, limits)
        pixels = np.ascontiguousarray(_upright(flat.pixels, turn))
    return SourceImage(pixels, flat.icc, (*flat.notices, *notices))


def _decode(stream: BinaryIO, name: str, background: Color, limits: Limits) -> tuple[Flat, int]:
    """Pixels as they are stored, and their EXIF orientation; Pillow's own copy is freed on return."""
    head = stream.read(HEAD)
    image = open_image(stream, head, name, limits)
    notices = check_frames(image, name)
    layout = inspect(image, head)
    if vips_reader.is_ordinary(image, stream):
        with contextlib.suppress(vips_reader.Unreadable):  # Pillow says why not, or reads it all the same
            flat = flatten(image, background, layout, vips_reader.strips(image, stream))
            return Flat(flat.pixels, flat.icc, (*notices, *flat.notices)), 1
        notices = (*notices, *vips_reader.advice(image))
    mend_transparency(image)
    load(image)
    flat = flatten(image, background, layout)
    return Flat(flat.pixels, flat.icc, (*notices, *flat.notices)), orientation(image)


def from_object(
    image: Source | SourceImage | Image.Image | npt.NDArray[Any],
    *,
    background: Color = (255, 255, 255),
    limits: Limits = Limits(),
) -> SourceImage:
    """The image in whatever a caller has.

    That is an array (uint8 [H, W] or [H, W, 1, 3 or 4]; shared, not copied, if it can be used as it is), a
    Pillow image (its current frame), a SourceImage, or anything that ``read`` takes.
    """
    if isinstance(image, SourceImage):
        check_size("the image", image.width, image.height, limits)
        return image
    if isinstance(image, np.ndarray):
        return _from_array(image, background, limits)
    if not isinstance(image, Image.Image):
        return read(image, background=background, limits=limits)
    name = "the Pillow image"
    with explained(name) as notices:
        check_size(name, image.width, image.height, limits)
        layout = inspect(image, b"")
        load(image)
        flat = flatten(image, background, layout)
        pixels = np.ascontiguousarray(_upright(flat.pixels, orientation(image)))
    return SourceImage(pixels, flat.icc, (*flat.notices, *notices))


def _from_array(array: npt.NDArray[Any], background: Color, limits: Limits) -> SourceImage:
    shaped = array[:, :, None] if array.ndim == 2 else array
    if shaped.dtype != np.uint8 or shaped.ndim != 3 or shaped.shape[2] not in (1, 3, 4):
        given = f"{array.dtype} {list(array.shape)}"
        raise ImageError(f"the array must be uint8 [H, W] or [H, W, 1, 3 or 4], not {given}")
    check_size("the array", shaped.shape[1], shaped.shape[0], limits)
    if shaped.shape[2] < 4:
        return SourceImage(np.ascontiguousarray(shaped))
    color, alpha = shaped[:, :, :3], shaped[:, :, 3]
    if alpha.min() == 255:
        return SourceImage(np.ascontiguousarray(color))
    return SourceImage(blend(color, alpha, background), notices=(alpha_notice(background),))


def without_profile(image: SourceImage) -> SourceImage:
    """The image in sRGB, so that its profile need not be stored, with a notice that says so."""
    if image.icc is None:
        return image
    converted = to_srgb(image.pixels, image.icc)
    if converted is None:
        notice = "colour profile dropped: it cannot be stored, nor be used to convert the image to sRGB"
        return SourceImage(image.pixels, notices=(*image.notices, notice))
    notice = "converted to sRGB: the colour profile takes too much of the file"
    return SourceImage(converted, notices=(*image.notices, notice))


def _upright(pixels: ByteArray, turn: int) -> ByteArray:
    """A view [H, W, C] of the stored pixels that undoes an EXIF orientation from 1 to 8."""
    if turn >= 5:  # stored by columns
        pixels = pixels.swapaxes(0, 1)
    if turn in (3, 4, 7, 8):
        pixels = pixels[::-1]
    if turn in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    return pixels


def write(
    destination: str | os.PathLike[str] | BinaryIO,
    pixels: ByteArray | Strips,
    *,
    icc: bytes | None = None,
    format: str | None = None,
    threads: int = 1,
    **save_options: Any,
) -> None:
    """Writes ``pixels`` (uint8 [H, W, 1 or 3]) in the format of the destination's suffix, or in ``format``.

    A file appears whole or not at all. Strips are written to PNG and TIFF one by one, on ``threads`` threads, and
    joined for every other format. ``save_options`` are Pillow's for that format and override the defaults here.
    BMP and PPM cannot hold a profile. Raises ImageError.
    """
    name = name_of(destination)
    is_path = isinstance(destination, str | os.PathLike)
    kind = _kind(format or (os.path.splitext(name)[1] if is_path else ""), name)
    options = {**_SAVE_OPTIONS.get(kind, {}), **({"icc_profile": icc} if icc else {}), **save_options}
    try:
        if not isinstance(pixels, Strips):
            pixels = SourceImage(np.ascontiguousarray(pixels)).pixels
        height, width, channels = pixels.shape
        if max(width, height) > _MAX_SIDE.get(kind, 1 << 31):
            raise ImageError(f"{kind} ends at {_MAX_SIDE[kind]} pixels a side, the image has {width} x {height}")
        if kind == "AVIF" and channels == 3:
            options.setdefault("subsampling", "4:4:4")

        def save(file: BinaryIO) -> None:
            if isinstance(pixels, Strips) and kind == "PNG":
                write_png(file, pixels, icc, threads)
            elif isinstance(pixels, Strips) and kind == "TIFF" and file.seekable() and file.tell() == 0:
                write_tiff(file, pixels, icc, threads)
            else:
                _save(file, pixels.joined() if isinstance(pixels, Strips) else pixels, kind, options)

        if isinstance(destination, str | os.PathLike):
            write_atomically(destination, save)
        else:
            save(destination)
            destination.flush()
    except Exception as error:  # an encoder can raise nearly anything
        raise ImageError(f"{name}: cannot be written: {reason(error)}") from error


def _save(file: BinaryIO, pixels: ByteArray, kind: str, options: dict[str, Any]) -> None:
    image = Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[:, :, 0])
    image.save(cast(BinaryIO, _Sink(file)), kind, **options)


def _kind(suffix: str, name: str) -> str:
    """Pillow's name of the format to write."""
    kind = WRITABLE.get(suffix.lower().removeprefix("."))
    if kind is None:
        problem = f"{suffix} is not an image format" if suffix else "no image format is given"
        raise ImageError(f"{name}: {problem}; known are {', '.join(WRITABLE)}")
    return kind


class _Sink(io.RawIOBase):
    """Hides the descriptor of a file from Pillow, which takes a short write to a full disk for success."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        return self._file.write(data)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
