"""Any Pillow image as 8-bit grey or RGB: depth, palette, transparency, CMYK and colour profile.

Works on strips, so that beside Pillow's own copy of the image only the result is in memory.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from smartsplat.arrays import ByteArray

Color = tuple[int, int, int]

STRIP_PIXELS = 1 << 18
"""Pixels in a strip. Small, because Image.crop applies the limit that a host program may set in Pillow."""

_DEEP = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")  # one channel of more than 8 bits
_GREY = ("1", "L", "LA", "La", *_DEEP)


@dataclass(frozen=True)
class SampleLayout:
    """What the file's header says and Pillow forgets when it loads the pixels."""

    bits: int = 8  # per sample
    grey_alpha: bool = False  # grey with alpha that Pillow widens to RGBA


@dataclass(frozen=True)
class Flat:
    """An image without palette, alpha and depth."""

    pixels: ByteArray  # [H, W, C] uint8, C = 1 or 3
    icc: bytes | None  # profile of these very channels
    notices: tuple[str, ...]


def inspect(image: Image.Image, head: bytes) -> SampleLayout:
    """Depth of an image that is opened but not loaded; ``head`` is the first part of its file."""
    rawmode = raw_mode(image)
    if image.format == "PNG":
        return SampleLayout(16 if rawmode.endswith(";16B") else 8, grey_alpha=rawmode.startswith("LA"))
    if image.format == "TIFF":
        tags = getattr(image, "tag_v2", {})
        bits = max(tags.get(258, (1,)))  # BitsPerSample
        if bits > 8 and len(rawmode) == 1:  # Pillow reads such planes as if they had 8 bits
            raise ValueError(f"{bits}-bit samples in separate uncompressed planes are not supported")
        return SampleLayout(bits)
    if image.format == "PPM" and image.mode in ("I", "RGB"):
        tile = getattr(image, "tile", None)
        if tile and isinstance(tile[0][3], tuple):
            return SampleLayout(int(tile[0][3][1]).bit_length())  # maxval
        return SampleLayout(16 if image.mode == "I" else 8)
    if image.format == "AVIF":
        flags = _byte(head, b"av1C", 6)  # with high_bitdepth and twelve_bit of the AV1 sequence header
        return SampleLayout(8 if not flags & 0x40 else 12 if flags & 0x20 else 10)
    if image.format == "JPEG2000":
        return SampleLayout((_byte(head, b"\xff\x4f\xff\x51", 42, 7) & 0x7F) + 1)  # Ssiz of the first component
    return SampleLayout()


def _byte(head: bytes, mark: bytes, offset: int, otherwise: int = 0) -> int:
    """The byte ``offset`` behind the start of ``mark``."""
    start = head.find(mark)
    return head[start + offset] if 0 <= start < len(head) - offset else otherwise


def raw_mode(image: Image.Image) -> str:
    """Pillow's name for the layout of samples in the file; empty once the image is loaded."""
    tile = getattr(image, "tile", None)
    arguments = tile[0][3] if tile else None  # of the codec: the raw mode, alone or first
    return str(arguments[0] if isinstance(arguments, tuple) and arguments else arguments or "")


def mend_transparency(image: Image.Image) -> None:
    """Brings the transparent colour of a PNG (tRNS) from the file's depth to that of Pillow's samples."""
    color, rawmode = image.info.get("transparency"), raw_mode(image)
    scale = {"1": 255, "L;2": 85, "L;4": 17}.get(rawmode)
    if isinstance(color, int) and scale is not None:
        image.info["transparency"] = min(color * scale, 255)  # newer versions of Pillow scale one bit themselves
    elif isinstance(color, tuple) and rawmode == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in color)


def flatten(
    image: Image.Image,
    background: Color,
    layout: SampleLayout,
    strips: Iterable[tuple[int, Image.Image]] | None = None,
) -> Flat:
    """The loaded ``image`` as grey or RGB; raises ValueError where samples cannot be brought to 8 bits.

    With ``strips``, each after its first row, an image in RGB or RGBA need not be loaded.
    """
    grey = image.mode in _GREY or layout.grey_alpha
    transform = _cmyk_transform(image)
    colored = len(set(background)) > 1
    channels = 1 if grey and not (colored and _is_transparent(image, layout)) else 3
    pixels = np.empty((image.height, image.width, channels), np.uint8)
    transparent = False
    for top, strip in strips or _strips(image):
        color, alpha = _split(image, strip, layout, transform)
        if alpha is not None and alpha.min(initial=255) < 255:
            transparent = True
            color = _blend(color, alpha, np.array(background[:channels], np.uint16))
        pixels[top : top + strip.height] = color
    notices = []
    if layout.bits > 8 or image.mode in _DEEP:
        notices.append(_depth_notice(image, layout))
    if transparent:
        notices.append(alpha_notice(background))
    if image.mode == "CMYK" and transform is None:
        notices.append("CMYK converted to RGB without a colour profile")
    icc, dropped = _profile(image, channels, transform is not None)
    return Flat(pixels, icc, (*notices, *dropped))


def alpha_notice(background: Color) -> str:
    """The notice that an image had transparent pixels."""
    return f"alpha flattened on background {','.join(map(str, background))}"


def _depth_notice(image: Image.Image, layout: SampleLayout) -> str:
    if image.mode == "F":
        return "floating-point samples from 0 to 1 reduced to 8 bits"
    if image.mode == "I" and layout.bits in (8, 32):
        return "32-bit integer samples taken as 0 to 65535 and reduced to 8 bits"
    return f"{layout.bits if layout.bits > 8 else 16} bits per sample reduced to 8"


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Full-width strips from top to bottom, each with its first row."""
    rows = max(1, STRIP_PIXELS // image.width)
    if rows >= image.height:
        yield 0, image
        return
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _is_transparent(image: Image.Image, layout: SampleLayout) -> bool:
    if not image.has_transparency_data:
        return False
    alphas = (_split(image, strip, layout, None)[1] for _, strip in _strips(image))
    return any(alpha is not None and alpha.min(initial=255) < 255 for alpha in alphas)


def _split(
    image: Image.Image, strip: Image.Image, layout: SampleLayout, transform: ImageCms.ImageCmsTransform | None
) -> tuple[ByteArray, ByteArray | None]:
    """Colour [h, w, 1 or 3] and alpha [h, w] (None: opaque) of a strip, both uint8."""
    if strip.mode in _DEEP:
        return _split_deep(image, strip, layout)
    if transform is not None:
        return np.asarray(ImageCms.applyTransform(strip, transform)), None
    grey = strip.mode in _GREY or layout.grey_alpha
    if not strip.has_transparency_data:
        converted = np.asarray(strip.convert("L" if grey else "RGB"))
        return converted.reshape(strip.height, strip.width, -1), None
    if grey:
        bands = (strip if strip.mode in ("LA", "RGBA") else strip.convert("LA")).split()
        return np.asarray(bands[0])[:, :, None], np.asarray(bands[-1])
    converted = np.asarray(strip.convert("RGBA"))
    return converted[:, :, :3], converted[:, :, 3]


def _split_deep(image: Image.Image, strip: Image.Image, layout: SampleLayout) -> tuple[ByteArray, ByteArray | None]:
    """Rounds one channel of 16 or 32 bits to 8; ``image`` is the whole that the strip is from."""
    values = np.asarray(strip)
    # Pillow leaves the 12 bits of a TIFF as they are and scales every other depth to 16.
    top = 1 if strip.mode == "F" else 4095 if layout.bits == 12 and image.format == "TIFF" else 65535
    if not (values.min() >= 0 and values.max() <= top):  # in this form also true of NaN
        low, high = image.getextrema() if strip.mode in ("I", "F") else (values.min(), values.max())
        kind = {"F": "floating-point", "I": "32-bit integer"}.get(strip.mode, f"{layout.bits}-bit")
        raise ValueError(f"{kind} samples from {low} to {high}; only 0 to {top} can be reduced to 8 bits")
    if strip.mode == "F":
        return np.rint(values * np.float32(255)).astype(np.uint8)[:, :, None], None
    rounded = ((values.astype(np.uint32) * 255 + top // 2) // top).astype(np.uint8)
    clear = image.info.get("transparency")
    alpha = np.where(values == clear, 0, 255).astype(np.uint8) if isinstance(clear, int) else None
    return rounded[:, :, None], alpha


def _blend(color: ByteArray, alpha: ByteArray, background: npt.NDArray[np.uint16]) -> ByteArray:
    """Colour [h, w, C] over the background [C or 1], rounded; 255 * 255 + 127 still fits 16 bits."""
    weight = alpha[:, :, None].astype(np.uint16)
    return ((color * weight + background * (255 - weight) + 127) // 255).astype(np.uint8)


def blend(color: ByteArray, alpha: ByteArray, background: Color) -> ByteArray:
    """Colour [H, W, 3] with alpha [H, W] over the background, row by row to keep the intermediate small."""
    ground = np.array(background, np.uint16)
    result = np.empty(color.shape, np.uint8)
    for row in range(color.shape[0]):
        result[row : row + 1] = _blend(color[row : row + 1], alpha[row : row + 1], ground)
    return result


def _cmyk_transform(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """From the CMYK profile of an image to sRGB; None for other images and without a usable profile."""
    icc = image.info.get("icc_profile")
    if image.mode != "CMYK" or not icc:
        return None
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        return ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), "CMYK", "RGB")
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None


def to_srgb(pixels: ByteArray, icc: bytes) -> ByteArray | None:
    """Pixels [H, W, C] in the colours of a profile as sRGB, perceptual intent; None if the profile is unusable."""
    grey = pixels.shape[2] == 1
    rows = max(1, STRIP_PIXELS // pixels.shape[1])
    result = np.empty_like(pixels)
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        transform = ImageCms.buildTransform(profile, ImageCms.createProfile("sRGB"), "L" if grey else "RGB", "RGB")
        for top in range(0, pixels.shape[0], rows):
            strip = Image.fromarray(pixels[top : top + rows, :, 0] if grey else pixels[top : top + rows])
            converted = np.asarray(ImageCms.applyTransform(strip, transform))
            result[top : top + rows] = converted[:, :, 1:2] if grey else converted
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        return None
    return result


def _profile(image: Image.Image, channels: int, converted: bool) -> tuple[bytes | None, tuple[str, ...]]:
    """The image's ICC profile if it still describes the channels; otherwise why it does not."""
    icc = image.info.get("icc_profile")
    if not isinstance(icc, bytes) or not icc:
        return None, ()
    if converted:
        return None, ("CMYK converted to sRGB with its colour profile, which is dropped",)
    expected, space = (
        ("GRAY", "RGB")[channels // 2],
        icc[16:20].decode("latin-1").strip(),
    )  # ICC.1: colour space
    if icc[36:40] == b"acsp" and space == expected:
        return icc, ()
    kind = f"for {space}" if icc[36:40] == b"acsp" else "damaged"
    return None, (f"colour profile dropped: it is {kind}, the image is {expected}",)
