"""Formats of the extra ``formats``: HEIC and JPEG XL by their Pillow plugins, more than 8 bits by imagecodecs.

Each library is loaded only for a file that needs it.
"""

from __future__ import annotations

import importlib
import io
import logging
import re
from dataclasses import replace
from typing import Any, BinaryIO

import numpy as np
from PIL import ImageCms

from smartsplat.errors import ImageError
from smartsplat.images.reading.box_headers import box_color, jpeg2000_bits, jpeg2000_size, jxl_header
from smartsplat.images.reading.color_modes import mode_of
from smartsplat.images.reading.exif import density_of, without_mark
from smartsplat.images.reading.pillow_reader import opened, stored_by_pillow, stored_page
from smartsplat.images.reading.sources import HEAD, Samples, SampleStrips, Unreadable, check_page, check_size, reason
from smartsplat.images.reading.stored import StoredImage
from smartsplat.images.reading.tiff_page import TiffPage
from smartsplat.limits import Limits
from smartsplat.metadata import SRGB_PRIMARIES, SRGB_TRANSFER, Metadata, are_named

_SEGMENT_HEAD = 256  # bytes
_PRIMARIES = {"": 1, "SRG": 1, "202": 9, "DCI": 12}  # libjxl's words for code points
_TRANSFERS = {"SRG": 13, "709": 1, "Lin": 8, "PeQ": 16, "HLG": 18}
_SYCC = b"\x01\0\0\0\0\0\x12"  # start of a JPEG 2000 colour box that says luma and chroma


def _module(name: str) -> Any:
    """A module of the extra; None where it is not installed."""
    try:
        return importlib.import_module(name)
    except (ImportError, OSError):  # the latter if a library it needs is missing
        return None


def _needed(module: str, name: str, format: str) -> Any:
    found = _module(module)
    if found is None:
        raise ImageError(f"{name}: is {format}, which needs an extra: pip install 'smartsplat[formats]'")
    return found


def _whole(samples: Samples) -> Samples:
    """[H, W, C] of what may be [H, W]."""
    return samples if samples.ndim == 3 else samples[:, :, None]


def open_heic(stream: BinaryIO, name: str, page: int | None, limits: Limits) -> StoredImage:
    """An image of a HEIC file, upright as its decoder gives it. Raises ImageError, LimitError."""
    pillow_heif = _needed("pillow_heif", name, "HEIC")
    stream.seek(0)
    try:
        file = pillow_heif.open_heif(stream, convert_hdr_to_8bit=False, hdr_to_16bit=True)
    except Exception as error:
        raise ImageError(f"{name}: cannot be read as HEIC: {reason(error)}") from error
    count = len(file)
    number = check_page(name, page, count, "image")
    image = file[number - 1 if page is not None else file.primary_index]
    width, height = image.size
    check_size(name, width, height, limits)
    notices = [f"the main one of {count} images was read"] if count > 1 and page is None else []
    info = image.info
    bits = int(info.get("bit_depth", 8))
    codes = info.get("nclx_profile") or {}
    primaries, transfer = (int(codes.get(key, 2)) for key in ("color_primaries", "transfer_characteristics"))
    if not are_named(primaries, transfer) or info.get("icc_profile"):
        primaries, transfer = SRGB_PRIMARIES, SRGB_TRANSFER
    exif = without_mark(info.get("exif"))
    color, _, deep = image.mode.partition(";")

    def strips(lenient: bool) -> SampleStrips:
        try:
            yield 0, _whole(np.asarray(image))
        except Exception as error:
            raise Unreadable(reason(error)) from error

    return StoredImage(
        width,
        height,
        {"L": "L", "I": "L", "LA": "LA", "La": "LA", "RGB": "RGB", "RGBA": "RGBA", "RGBa": "RGBA"}[color],
        strips,
        bits=bits if deep else 8,
        white=((1 << bits) - 1) << (16 - bits) if deep else 255,  # shifted up to the most significant bits
        premultiplied=color.endswith("a"),
        metadata=Metadata(info.get("icc_profile"), primaries, transfer, exif, info.get("xmp"), None, density_of(exif)),
        notices=notices,
    )


def open_jxl(stream: BinaryIO, name: str, page: int | None, limits: Limits) -> StoredImage:
    """The image of a JPEG XL, upright as its decoder gives it. Raises ImageError, LimitError."""
    plugin = _needed("pillow_jxl", name, "JPEG XL")
    check_page(name, page, 1)
    stream.seek(0)
    header = jxl_header(stream.read(HEAD))
    if header is None:
        raise ImageError(f"{name}: cannot be read as JPEG XL: its header is damaged, or of a rare kind")
    check_size(name, header.width, header.height, limits)  # the plugin decodes when it opens
    stream.seek(0)
    try:
        image: Any = plugin.JpegXLImagePlugin.JXLImageFile(stream, "")
    except Exception as error:
        raise ImageError(f"{name}: cannot be read as JPEG XL: {reason(error)}") from error
    codecs = _module("imagecodecs") if header.bits > 8 else None
    stored = stored_by_pillow(image)
    stored = replace(stored, turn=1, metadata=_named_color(stored.metadata))
    if codecs is None:
        if header.bits > stored.bits:
            less = f"{header.bits} bits per sample reduced to {stored.bits}"
            stored.notices.append(f"{less}: pip install 'smartsplat[formats]' keeps them")
        return stored

    def strips(lenient: bool) -> SampleStrips:
        stream.seek(0)
        yield 0, _decoded(codecs.jpegxl_decode, stream.read(), image)

    white = None if header.is_float else (1 << header.bits) - 1
    return replace(stored, strips=strips, bits=header.bits, white=white)


def _named_color(metadata: Metadata) -> Metadata:
    """Code points in place of a profile that libjxl has made of nothing else."""
    icc = metadata.icc or b""
    if icc[4:8] != b"jxl ":
        return metadata
    try:
        name = str(ImageCms.ImageCmsProfile(io.BytesIO(icc)).profile.profile_description)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return metadata
    if name == "sRGB":
        name = "RGB_D65_SRG_Rel_SRG"
    found = re.fullmatch("RGB_D65_([^_]+)_[^_]+_([^_]+)", name) or re.fullmatch("Gra_D65_()[^_]+_([^_]+)", name)
    primaries, transfer = (_PRIMARIES.get(found[1]), _TRANSFERS.get(found[2])) if found else (None, None)
    if primaries is None or transfer is None:
        return metadata
    return replace(metadata, icc=None, primaries=primaries, transfer=transfer)


def open_jpeg2000(stream: BinaryIO, name: str, page: int | None, limits: Limits) -> StoredImage:
    """The image of a JPEG 2000; colours of more than 8 bits need imagecodecs. Raises ImageError, LimitError."""
    stream.seek(0)
    head = stream.read(HEAD)
    bits = jpeg2000_bits(head)
    image = opened(stream, "JPEG2000", name, limits)
    mode = mode_of(image)
    if bits <= 8 or mode.bands == "L":
        return stored_page(image, name, page, limits)
    check_page(name, page, 1)
    codecs = _needed("imagecodecs", name, f"JPEG 2000 with colours of {bits} bits")
    if jpeg2000_size(head) != (image.width, image.height, len(mode.bands)):
        raise ImageError(f"{name}: cannot be read as JPEG 2000: its parts state different sizes")
    if _SYCC in head or bits > 16:
        raise ImageError(f"{name}: JPEG 2000 of {bits} bits in luma and chroma is not supported")

    def strips(lenient: bool) -> SampleStrips:
        stream.seek(0)
        yield 0, _decoded(codecs.jpeg2k_decode, stream.read(), image)

    metadata = Metadata(icc=box_color(head).icc)
    return StoredImage(image.width, image.height, mode.bands, strips, bits, (1 << bits) - 1, metadata=metadata)


def tiff_of_extra(
    stream: BinaryIO, stored: StoredImage, page: TiffPage, words: str, name: str, number: int
) -> StoredImage:
    """A page of a TIFF decoded by tifffile and imagecodecs; ``words`` say why. Raises ImageError."""
    tifffile = _needed("tifffile", name, f"a TIFF {words}")
    _needed("imagecodecs", name, f"a TIFF {words}")
    logging.getLogger("tifffile").addHandler(logging.NullHandler())  # else its warnings went to stderr
    if page.samples > len(stored.bands):
        raise ImageError(f"{name}: a TIFF {words} with {page.samples} samples a pixel is not supported")

    def decode(_: bytes) -> Samples:
        stream.seek(0)
        with tifffile.TiffFile(stream) as file:
            found = file.pages[number - 1]
            for place in found.dataoffsets:  # imagecodecs believes whatever size a part of the page states
                stream.seek(place)
                width, height, count = jpeg2000_size(stream.read(_SEGMENT_HEAD)) or (0, 0, 0)
                if width > max(stored.width, found.tilewidth) or height > max(stored.height, found.tilelength):
                    raise Unreadable(f"a part of it has {width} x {height} pixels")
                if count > page.samples:
                    raise Unreadable(f"a part of it has {count} samples a pixel")
            samples: Samples = found.asarray(maxworkers=1)
            return np.moveaxis(samples, 0, 2) if page.is_separate and page.samples > 1 else samples

    def strips(lenient: bool) -> SampleStrips:
        yield 0, _decoded(decode, b"", stored)

    return replace(stored, strips=strips)


def _decoded(decode: Any, data: bytes, header: Any) -> Samples:
    """The samples [H, W, C] of a whole file, of the size that its header says."""
    try:
        samples = _whole(np.asarray(decode(data)))
    except Unreadable:
        raise
    except Exception as error:
        raise Unreadable(reason(error)) from error
    if samples.shape[:2] != (header.height, header.width) or samples.shape[2] not in range(1, 6):
        raise Unreadable(f"it holds {list(samples.shape)} samples")
    return samples
