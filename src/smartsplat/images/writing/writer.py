"""Pixels out: arrays and strips to image files.

PNG, TIFF and PPM are written here, strip by strip and with 8 or 16 bits; all other formats are Pillow's, which has the
whole image in memory and writes colour with 8 bits only, AVIF included.
"""

from __future__ import annotations

import dataclasses
import io
import os
import struct
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

import numpy as np
from PIL import Image

from smartsplat.arrays import SampleArray
from smartsplat.errors import DeviceError, FormatError, ImageError, LimitError
from smartsplat.images.color.color_spaces import in_srgb
from smartsplat.images.reading.sources import name_of, reason
from smartsplat.images.strips import Strips, rounded_to_8_bits
from smartsplat.images.tiff_packing import first_directory, geo_values, without_orientation
from smartsplat.images.writing.atomic import write_atomically
from smartsplat.images.writing.png_writer import write_png
from smartsplat.images.writing.tiff_writer import fits_big, is_big, write_tiff
from smartsplat.metadata import NO_METADATA, Metadata

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

_ANY = 1 << 31
_JPEG_MARKER = 65533  # bytes that one holds
_IPTC_HEAD = b"Photoshop 3.0\0" + b"8BIM" + b"\x04\x04" + b"\0\0"  # of an APP13 marker, before a size of four bytes


@dataclass(frozen=True)
class _Format:
    """What a format has a place for.

    Args:
        suffix: its name in messages.
        deep: 16 bits per sample.
        alpha: transparency.
        widened: channels of grey images that become RGB, whose profile is of RGB.
        max_side: pixels.
        room: field of Metadata -> the longest it may be, bytes; fields that are not named have no place.
        density: pixels per metre.
        code_points: those of colour.
        parsed_exif: EXIF data are looked into, and must not be damaged.
        options: of Pillow.
    """

    suffix: str
    deep: bool = False
    alpha: bool = False
    widened: tuple[int, ...] = ()
    max_side: int = _ANY
    room: Mapping[str, int] = field(default_factory=dict)
    density: bool = False
    code_points: bool = False
    parsed_exif: bool = False
    options: Mapping[str, Any] = field(default_factory=dict)


_FORMATS = {
    "PNG": _Format(
        "png", deep=True, alpha=True, room={"icc": _ANY, "exif": _ANY, "xmp": _ANY}, density=True, code_points=True
    ),
    "TIFF": _Format(
        "tif",
        deep=True,
        alpha=True,
        room={"icc": _ANY, "exif": _ANY, "xmp": _ANY, "iptc": _ANY, "geo": _ANY},
        density=True,
        parsed_exif=True,
    ),
    "PPM": _Format("ppm", deep=True),
    "JPEG": _Format(
        "jpg",
        max_side=65500,
        room={
            "icc": 255 * (_JPEG_MARKER - 14),  # in as many markers as can be numbered
            "exif": _JPEG_MARKER - len(b"Exif\0\0"),
            "xmp": _JPEG_MARKER - 29,
            "iptc": _JPEG_MARKER - len(_IPTC_HEAD) - 5,  # its size, and perhaps a byte to make it even
        },
        density=True,
        options={"quality": 95, "subsampling": "4:4:4"},
    ),
    "WEBP": _Format(
        "webp",
        alpha=True,
        widened=(1, 2),
        max_side=16383,
        room={"icc": _ANY, "exif": _ANY, "xmp": _ANY},
        options={"lossless": True, "exact": True},  # exact: colours under no alpha, too
    ),
    "AVIF": _Format(
        "avif",
        alpha=True,
        widened=(2,),
        max_side=65536,
        room={"icc": _ANY, "exif": _ANY, "xmp": _ANY},
        parsed_exif=True,
        options={"quality": 90},
    ),
    "BMP": _Format("bmp", density=True),
}
"""Pillow's name -> what the format holds."""

_WORDS = {
    "icc": "colour profile",
    "exif": "EXIF data",
    "xmp": "XMP packet",
    "iptc": "IPTC records",
    "geo": "GeoTIFF tags",
}


def write(
    destination: str | os.PathLike[str] | BinaryIO,
    pixels: SampleArray | Strips,
    *,
    metadata: Metadata = NO_METADATA,
    format: str | None = None,
    threads: int = 1,
    smaller: Iterable[Strips] | None = None,
    **save_options: Any,
) -> tuple[str, ...]:
    """Writes an image in the format of the destination's suffix, or in ``format``.

    A file appears whole or not at all. PNG, TIFF and PPM take strips one by one; for every other format they are
    joined. Formats of 8 bits get rounded samples.

    Args:
        destination: a path, or a binary stream, which need not be seekable.
        pixels: uint8 or uint16 [H, W, C] with C = 1 (grey), 2 (grey and straight alpha), 3 (RGB) or 4.
        metadata: written as far as the format has a place for it.
        format: a suffix, such as "png"; a stream has no other.
        threads: that write PNG and TIFF.
        smaller: the same image at 1/2, 1/4, ..., for a pyramid, which TIFF alone has. None: no pyramid.
        save_options: Pillow's for JPEG, WebP, AVIF and BMP; they override what is set here.

    Returns:
        What the format could not hold, one line each.

    Raises:
        ImageError: the format is not known, has no alpha or ends at fewer pixels, or the file cannot be written.
        BrokenPipeError: whoever reads the stream has had enough.
        FormatError, LimitError, DeviceError: of the strips.
    """
    name = name_of(destination)
    is_path = isinstance(destination, str | os.PathLike)
    kind = _kind(format or (os.path.splitext(name)[1] if is_path else ""), name)
    form = _FORMATS[kind]
    try:
        strips = pixels if isinstance(pixels, Strips) else _as_strips(pixels)
        _check(form, strips, save_options)
        if smaller is not None and kind != "TIFF":
            raise ImageError(f"{form.suffix} holds no pyramid: tif does")
        kept, notices = _kept(form, metadata)
        if kind == "TIFF" and kept.exif and is_big(strips, kept, smaller is not None) and not fits_big(kept.exif):
            kept = dataclasses.replace(kept, exif=None)
            notices += ("BigTIFF has no place for EXIF data that do not begin with their directory: left out",)
        if strips.dtype != np.uint8 and not form.deep:
            verb = "is written with" if kind == "AVIF" else "holds"  # it could hold 12 bits, which Pillow cannot write
            notices += (f"{form.suffix} {verb} 8 bits: rounded from 16",)
            strips = Strips(strips.shape, map(rounded_to_8_bits, strips.parts))
        if kept.icc and strips.shape[2] in form.widened:
            notices += (f"{form.suffix} holds RGB in place of grey, and no profile of grey: converted to sRGB",)
            strips = Strips(strips.shape, (in_srgb(part, metadata) for part in strips.parts))
            kept = dataclasses.replace(kept, icc=None)
        save = _saver(kind, strips, kept, threads, smaller, save_options)
        if isinstance(destination, str | os.PathLike):
            write_atomically(destination, save)
        else:
            save(destination)
            destination.flush()
    except (BrokenPipeError, FormatError, LimitError, DeviceError):  # of a reader of the output, or of the input
        raise
    except Exception as error:  # an encoder can raise nearly anything
        raise ImageError(f"{name}: cannot be written: {reason(error)}") from error
    return notices


def _as_strips(pixels: SampleArray) -> Strips:
    """An array as one strip."""
    if (
        pixels.dtype not in (np.uint8, np.uint16)
        or pixels.ndim != 3
        or pixels.shape[2] not in (1, 2, 3, 4)
        or 0 in pixels.shape
    ):
        raise ImageError(f"pixels must be uint8 or uint16 [H, W, 1 to 4], not {pixels.dtype} {list(pixels.shape)}")
    height, width, channels = pixels.shape
    return Strips((height, width, channels), [np.ascontiguousarray(pixels)], pixels.dtype.type)


def _kind(suffix: str, name: str) -> str:
    """Pillow's name of the format to write."""
    kind = WRITABLE.get(suffix.lower().removeprefix("."))
    if kind is None:
        problem = f"{suffix} is not an image format" if suffix else "no image format is given"
        raise ImageError(f"{name}: {problem}; known are {', '.join(WRITABLE)}")
    return kind


def _check(form: _Format, strips: Strips, save_options: Mapping[str, Any]) -> None:
    height, width, channels = strips.shape
    if channels in (2, 4) and not form.alpha:
        raise ImageError(f"{form.suffix} holds no alpha: give a background to flatten it on (--background)")
    if max(width, height) > form.max_side:
        raise ImageError(f"{form.suffix} ends at {form.max_side} pixels a side, the image has {width} x {height}")
    if save_options and form.deep:
        raise ImageError(f"{form.suffix} takes no options, not {', '.join(save_options)}")


def _kept(form: _Format, metadata: Metadata) -> tuple[Metadata, tuple[str, ...]]:
    """What a format has a place for, and what is left out."""
    left_out: dict[str, str] = {}  # field of Metadata -> the reason
    for name, words in _WORDS.items():
        data, room = getattr(metadata, name), form.room.get(name, 0)
        if data and len(data) > room:
            left_out[name] = f"holds at most {room} bytes of {words}" if room else f"holds no {words}"
    if metadata.exif and form.parsed_exif and "exif" not in left_out:
        try:
            first_directory(metadata.exif)
        except ValueError as error:
            left_out["exif"] = f"needs EXIF data that are not damaged ({error})"
    if metadata.geo and "geo" not in left_out:
        try:
            geo_values(metadata.geo, "<")
        except ValueError as error:
            left_out["geo"] = f"needs GeoTIFF tags that are not damaged ({error})"
    if metadata.xmp and form.suffix == "png" and not _is_text(metadata.xmp):
        left_out["xmp"] = "needs an XMP packet in UTF-8"
    if metadata.density is not None and (problem := _density_problem(form, metadata.density)):
        left_out["density"] = problem
    if not form.density and "exif" not in left_out and _says_density(metadata.exif):
        left_out.pop("density", None)  # it is not lost
    notices = [f"{form.suffix} {problem}: left out" for problem in left_out.values()]
    if not form.code_points and not metadata.icc and not metadata.is_srgb:
        points = f"{metadata.primaries}/{metadata.transfer}"
        notices.append(f"{form.suffix} cannot say that its colours are those of CICP {points}: left out")
    without: dict[str, Any] = dict.fromkeys(left_out)
    return dataclasses.replace(metadata, **without), tuple(notices)


def _density_problem(form: _Format, density: tuple[int, int]) -> str | None:
    """Why a density has no place; None: it has one."""
    if not form.density:
        return "holds no density of pixels"
    if form.suffix == "jpg" and not all(1 <= dots <= 65535 for dots in _dots_per_inch(density)):
        return "holds 1 to 65535 pixels per inch"
    return None if all(1 <= each < _ANY for each in density) else f"holds 1 to {_ANY - 1} pixels per metre"


def _says_density(exif: bytes | None) -> bool:
    """Whether EXIF data have a resolution."""
    try:
        return exif is not None and {282, 283} <= first_directory(exif).entries.keys()
    except ValueError:
        return False


def _is_text(data: bytes) -> bool:
    """Whether bytes are UTF-8 without zeros, which would end a text."""
    try:
        return "\0" not in data.decode()
    except UnicodeDecodeError:
        return False


def _dots_per_inch(density: tuple[int, int]) -> tuple[int, int]:
    return round(0.0254 * density[0]), round(0.0254 * density[1])


def _saver(
    kind: str,
    strips: Strips,
    metadata: Metadata,
    threads: int,
    smaller: Iterable[Strips] | None,
    save_options: Mapping[str, Any],
) -> Callable[[BinaryIO], None]:
    """What writes the image into a file."""

    def save(file: BinaryIO) -> None:
        if kind == "PNG":
            write_png(file, strips, metadata, threads)
        elif kind == "PPM":
            _write_ppm(file, strips)
        elif kind != "TIFF":
            _write_with_pillow(file, kind, strips, metadata, save_options)
        elif file.seekable() and file.tell() == 0:
            write_tiff(file, strips, metadata, threads, smaller)
        else:
            buffer = io.BytesIO()
            write_tiff(buffer, strips, metadata, threads, smaller)
            file.write(buffer.getbuffer())

    return save


def _write_ppm(file: BinaryIO, strips: Strips) -> None:
    """A PGM or a PPM, whose samples of 16 bits have the upper byte first."""
    height, width, channels = strips.shape
    file.write(b"P%d\n%d %d\n%d\n" % (5 if channels == 1 else 6, width, height, np.iinfo(strips.dtype).max))
    for part in strips.parts:
        file.write(part.astype(part.dtype.newbyteorder(">"), copy=False).view(np.uint8).data)


def _write_with_pillow(
    file: BinaryIO, kind: str, strips: Strips, metadata: Metadata, save_options: Mapping[str, Any]
) -> None:
    """Writes 8 bits in one of the formats that are Pillow's."""
    pixels = strips.joined()
    channels = pixels.shape[2]
    options: dict[str, Any] = {**_FORMATS[kind].options, "icc_profile": metadata.icc, "xmp": metadata.xmp}
    if metadata.exif:
        options["exif"] = metadata.exif
    if kind == "JPEG":
        if metadata.exif:
            options["exif"] = b"Exif\0\0" + metadata.exif
        if metadata.iptc:
            records = struct.pack(">I", len(metadata.iptc)) + metadata.iptc + bytes(len(metadata.iptc) % 2)
            size = struct.pack(">H", 2 + len(_IPTC_HEAD) + len(records))
            options["extra"] = b"\xff\xed" + size + _IPTC_HEAD + records
        if metadata.density:
            options["dpi"] = _dots_per_inch(metadata.density)
    elif kind == "BMP":
        options["dpi"] = tuple(each / 39.3701 for each in metadata.density or (0, 0))  # Pillow's factor; 0: not known
    elif kind == "AVIF":
        options["subsampling"] = "4:0:0" if channels < 3 else "4:4:4"
        if metadata.exif:  # Pillow would write EXIF data anew to take the orientation out
            options["exif"] = without_orientation(metadata.exif)
    present = {name: value for name, value in options.items() if value is not None}
    image = Image.fromarray(pixels[:, :, 0] if channels == 1 else pixels)
    image.save(cast(BinaryIO, _Sink(file)), kind, **{**present, **save_options})


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
