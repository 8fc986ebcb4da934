"""ICC profiles: checked, built from the few numbers of a PNG, and used to convert CMYK to sRGB."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from smartsplat.arrays import ByteArray, DoubleArray
from smartsplat.images.color.code_points import adaptation

D50 = (0.9642, 1.0, 0.8249)
"""XYZ of the white that ICC profiles refer to."""

_HEADER, _ENTRY = 128, 12  # bytes of a profile's header, and of an entry of its table of tags


def usable_profile(icc: bytes | None, space: str) -> tuple[bytes | None, tuple[str, ...]]:
    """A profile that is whole and describes GRAY, RGB or CMYK, cut to the size it states; otherwise why it does not."""
    if not icc:
        return None, ()
    problem = _problem(icc)
    found = icc[16:20].decode("latin-1").strip()
    if problem is None and found == space:
        return icc[: int.from_bytes(icc[:4], "big")], ()
    what = problem or f"it is for {found}"
    return None, (f"colour profile dropped: {what}, the image is {space}",)


def _problem(icc: bytes) -> str | None:
    """What is wrong with the structure of a profile."""
    if len(icc) < _HEADER + 4 or icc[36:40] != b"acsp":
        return "it is damaged"
    size, count = int.from_bytes(icc[:4], "big"), int.from_bytes(icc[_HEADER : _HEADER + 4], "big")
    if size > len(icc):
        return f"it has {len(icc)} of {size} bytes"
    if not 0 < count <= (size - _HEADER - 4) // _ENTRY:
        return "it is damaged"
    for start in range(_HEADER + 4, _HEADER + 4 + count * _ENTRY, _ENTRY):
        place, length = struct.unpack_from(">II", icc, start + 4)
        if place + length > size:
            return "it is damaged"
    return None


def built_profile(gamma: float | None, chromaticities: Sequence[float] | None, gray: bool) -> bytes:
    """The profile (ICC.1:2010, version 4) of a display.

    Args:
        gamma: light = code value ^ gamma; None: the curve of sRGB.
        chromaticities: x and y of white, red, green and blue; None: those of sRGB. Grey needs none.
        gray: whether the image is grey.
    """
    srgb = (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)  # IEC 61966-2-1
    kind, numbers = (3, srgb) if gamma is None else (0, (gamma,))
    curve = b"para" + bytes(4) + struct.pack(">Hxx", kind) + b"".join(map(_fixed, numbers))
    tags = {b"desc": _text("built from a PNG"), b"cprt": _text("public domain"), b"wtpt": _xyz(D50)}
    if gray:
        tags[b"kTRC"] = curve
    else:
        matrix = _to_d50(chromaticities or (0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06))
        for letter, column in zip((b"r", b"g", b"b"), matrix.T, strict=True):
            tags[letter + b"XYZ"], tags[letter + b"TRC"] = _xyz(column), curve
    place = _HEADER + 4 + _ENTRY * len(tags)
    table, bodies = struct.pack(">I", len(tags)), b""
    for name, body in tags.items():
        table += name + struct.pack(">II", place + len(bodies), len(body))
        bodies += body + bytes(-len(body) % 4)
    header = struct.pack(">I4xI4s4s4s", place + len(bodies), 0x04200000, b"mntr", b"GRAY" if gray else b"RGB ", b"XYZ ")
    header += struct.pack(">6H", 2000, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + b"".join(map(_fixed, D50))
    return header.ljust(_HEADER, b"\0") + table + bodies


def _fixed(value: float) -> bytes:
    """A number as s15Fixed16."""
    return struct.pack(">i", round(value * 65536))


def _xyz(values: Sequence[float] | DoubleArray) -> bytes:
    return b"XYZ " + bytes(4) + b"".join(map(_fixed, values))


def _text(text: str) -> bytes:
    encoded = text.encode("utf-16-be")
    return b"mluc" + bytes(4) + struct.pack(">II4sII", 1, 12, b"enUS", len(encoded), 28) + encoded


def _to_d50(chromaticities: Sequence[float]) -> DoubleArray:
    """From RGB to XYZ [3, 3] under D50, adapted after Bradford; ValueError if the colours span nothing."""
    x, y = np.array(chromaticities, np.float64).reshape(4, 2).T
    if not (y > 0).all():
        raise ValueError("chromaticities without light")
    xyz = np.stack([x / y, np.ones(4), (1 - x - y) / y])  # [XYZ, white red green blue]
    try:
        primaries = xyz[:, 1:] * np.linalg.solve(xyz[:, 1:], xyz[:, 0])
    except np.linalg.LinAlgError:
        raise ValueError("chromaticities on a line") from None
    result: DoubleArray = adaptation(xyz[:, 0], np.array(D50)) @ primaries
    if not np.abs(result).max() < 32:
        raise ValueError("chromaticities out of range")
    return result


def cmyk_converter(icc: bytes | None) -> tuple[Callable[[npt.NDArray[Any]], ByteArray], tuple[str, ...]]:
    """What turns CMYK [h, W, 4] uint8 to sRGB [h, W, 3], and what is to be said about it."""
    transform: ImageCms.ImageCmsTransform | None = None
    if icc:
        try:
            profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
            transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), "CMYK", "RGB")
        except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
            transform = None

    def convert(strip: npt.NDArray[Any]) -> ByteArray:
        height, width, _ = strip.shape
        image = Image.frombytes("CMYK", (width, height), np.ascontiguousarray(strip).tobytes())
        return np.asarray(image.convert("RGB") if transform is None else ImageCms.applyTransform(image, transform))

    if transform is None:
        return convert, ("CMYK converted to RGB without a colour profile",)
    return convert, ("CMYK converted to sRGB with its colour profile, which is dropped",)
