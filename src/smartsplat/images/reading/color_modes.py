"""Pillow's modes as samples: what a strip in each of them is, and which need converting."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from smartsplat.images.reading.sources import Samples
from smartsplat.images.strips import row_slices

STRIP_PIXELS = 1 << 18
"""Pixels in a strip. Small, because Image.crop applies the limit that a host program may set in Pillow."""

_DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N")  # one channel of more than 8 bits
_DIRECT = {"L": "L", "RGB": "RGB", "CMYK": "CMYK", "LA": "LA", "RGBA": "RGBA", "La": "LA", "RGBa": "RGBA"}


@dataclass(frozen=True)
class Mode:
    """How the samples of an image are to be understood.

    Args:
        bands: L, LA, RGB, RGBA or CMYK.
        white: the integer of full intensity; None: floats.
        premultiplied: whether colours are multiplied with alpha.
        clear: in grey of more than 8 bits, the value that is transparent.
        convert: Pillow's mode to convert a strip to before.
    """

    bands: str
    white: int | None = 255
    premultiplied: bool = False
    clear: int | None = None
    convert: str | None = None


def mode_of(image: Image.Image) -> Mode:
    """The mode of an opened image; its transparent colour becomes alpha."""
    if image.mode == "F":
        return Mode("L", white=None)
    if image.mode in _DEEP:
        clear = image.info.get("transparency")
        return Mode("LA", 65535, clear=clear) if isinstance(clear, int) else Mode("L", 65535)
    if image.mode in _DIRECT and "transparency" not in image.info:
        return Mode(_DIRECT[image.mode], premultiplied=image.mode in ("La", "RGBa"))
    if image.mode in ("1", "L"):
        target = "LA" if image.has_transparency_data else "L"
    else:
        target = "RGBA" if image.has_transparency_data else "RGB"
    return Mode(target, convert=target)


def mode_strips(image: Image.Image, mode: Mode) -> Iterator[tuple[int, Samples]]:
    """Full-width strips [h, W, C] of a loaded image from top to bottom, each after its first row."""
    for rows in row_slices(image.height, image.width, STRIP_PIXELS):
        is_whole = rows == slice(0, image.height)
        strip = image if is_whole else image.crop((0, rows.start, image.width, rows.stop))
        yield rows.start, _samples(strip, mode)


def _samples(strip: Image.Image, mode: Mode) -> Samples:
    values: Samples = np.asarray(strip if mode.convert is None else strip.convert(mode.convert))
    values = values.reshape(strip.height, strip.width, -1)
    if mode.clear is None:
        return values
    return np.concatenate([values, np.where(values == mode.clear, 0, 65535).astype(values.dtype)], axis=2)


def raw_mode(image: Image.Image) -> str:
    """Pillow's name for the layout of samples in the file; empty once the image is loaded."""
    tile = getattr(image, "tile", None)
    arguments = tile[0][3] if tile else None  # of the codec: the raw mode, alone or first
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments or "")


def mend_transparency(image: Image.Image) -> None:
    """Brings the transparent colour of a PNG (tRNS) from the file's depth to that of Pillow's samples."""
    color, layout = image.info.get("transparency"), raw_mode(image)
    scale = {"1": 255, "L;2": 85, "L;4": 17}.get(layout)
    if isinstance(color, int) and scale is not None:
        image.info["transparency"] = min(color * scale, 255)  # newer versions of Pillow scale one bit themselves
    elif isinstance(color, tuple) and layout == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in color)
