"""The IIIF Image API 3.0 at level 2: the words of a request, and the pixels that they ask for.

https://iiif.io/api/image/3.0/. Nothing here knows of HTTP but the status codes.
"""

from __future__ import annotations

import io
import math
import re
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image

from smartsplat.arrays import ByteArray
from smartsplat.images.flatten import flattened

CONTEXT = "http://iiif.io/api/image/3/context.json"
PROTOCOL = "http://iiif.io/api/image"
PROFILE = "http://iiif.io/api/image/3/level2.json"

TILE_SIDE = 512
QUALITIES = ("default", "color", "gray", "bitonal")
MEDIA_TYPES = {"jpg": "image/jpeg", "png": "image/png", "webp": "image/webp"}

_SAVED: dict[str, dict[str, Any]] = {
    "jpg": {"format": "JPEG", "quality": 88},
    "png": {"format": "PNG", "compress_level": 3},
    "webp": {"format": "WEBP", "quality": 88, "method": 2},
}
"""Pillow's options for each format: small files, quickly made."""

_NUMBER = re.compile(r"\d{1,9}(\.\d{1,9})?|\.\d{1,9}", re.ASCII)
_WHOLE = re.compile(r"\d{1,9}", re.ASCII)
_WHITE = (255, 255, 255)


class RequestError(Exception):
    """A request that cannot be met: a line that says why, and the status code."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


class Source(Protocol):
    """An image that parts are asked of."""

    width: int
    height: int

    def read(self, region: tuple[int, int, int, int], size: tuple[int, int]) -> ByteArray:
        """A region (x, y, width, height) as [rows, columns, C] of the size (columns, rows): sRGB, 1 to 4 channels."""


@dataclass(frozen=True)
class ImageRequest:
    """A request, understood: every number is one of pixels of this image.

    Args:
        region: x, y, width, height, inside the image.
        size: width and height of what is rendered, before it is turned.
        turns: quarter turns clockwise.
        mirrored: left and right exchanged, before it is turned.
    """

    region: tuple[int, int, int, int]
    size: tuple[int, int]
    mirrored: bool
    turns: int
    quality: str
    form: str
    canonical: str


def parse(path: str, width: int, height: int, max_area: int) -> ImageRequest:
    """The request of a path ``{region}/{size}/{rotation}/{quality}.{format}`` to an image.

    Raises RequestError.
    """
    parts = path.split("/")
    if len(parts) != 4:
        raise RequestError("a request is region/size/rotation/quality.format", 404)
    region = _region(parts[0], width, height)
    size = _size(parts[1], region, max_area)
    mirrored, turns = _rotation(parts[2])
    quality, _, form = parts[3].rpartition(".")
    if quality not in QUALITIES:
        raise RequestError(f"quality {quality[:40]!r} is not one of {', '.join(QUALITIES)}")
    if form not in MEDIA_TYPES:
        raise RequestError(f"format {form[:40]!r} is not one of {', '.join(MEDIA_TYPES)}")
    words = (
        "full" if region == (0, 0, width, height) else ",".join(map(str, region)),
        _canonical_size(region, size, max_area),
        f"{'!' * mirrored}{90 * turns}",
        f"{quality}.{form}",
    )
    return ImageRequest(region, size, mirrored, turns, quality, form, "/".join(words))


def _region(text: str, width: int, height: int) -> tuple[int, int, int, int]:
    if text == "full":
        return 0, 0, width, height
    if text == "square":
        side = min(width, height)
        return (width - side) // 2, (height - side) // 2, side, side
    if text.startswith("pct:"):
        x, y, across, down = _numbers(text[4:], 4, _NUMBER, "region", text)
        left, top = _rounded(x * width / 100), _rounded(y * height / 100)
        right, bottom = _rounded((x + across) * width / 100), _rounded((y + down) * height / 100)
        if across and down:  # a share of less than a pixel is one
            right, bottom = max(right, left + 1), max(bottom, top + 1)
    else:
        left, top, across, down = map(int, _numbers(text, 4, _WHOLE, "region", text))
        right, bottom = left + across, top + down
    right, bottom = min(right, width), min(bottom, height)
    if left >= right or top >= bottom:
        raise RequestError(f"region {text[:80]} has no pixels of the image, which is {width} x {height}")
    return left, top, right - left, bottom - top


def _size(text: str, region: tuple[int, int, int, int], max_area: int) -> tuple[int, int]:
    _, _, across, down = region
    upscaled = text.startswith("^")
    word = text.removeprefix("^")
    if word == "max":
        factor = math.sqrt(max_area / (across * down))
        return _scaled(across, down, factor if upscaled else min(1.0, factor), max_area)
    if word.startswith("pct:"):
        (share,) = _numbers(word[4:], 1, _NUMBER, "size", text)
        width, height = _rounded(across * share / 100), _rounded(down * share / 100)
        width, height = max(width, 1) if share else 0, max(height, 1) if share else 0
    elif word.startswith("!"):
        max_width, max_height = map(int, _numbers(word[1:], 2, _WHOLE, "size", text))
        factor = min(max_width / across, max_height / down)
        if factor > 1 and not upscaled:
            raise RequestError(f"size {text[:80]} enlarges the region, {across} x {down}; ^ in front of it allows that")
        factor = min(factor, math.sqrt(max_area / (across * down)))
        width, height = (max(1, math.floor(side * factor + 1e-6)) if factor else 0 for side in (across, down))
    elif match := re.fullmatch(r"([0-9]{0,9}),([0-9]{0,9})", word):
        width, height = (int(part) if part else -1 for part in match.groups())
        if width < 0 and height < 0:
            raise RequestError(f"size {text[:80]!r} has neither width nor height")
        if width < 0:
            width = max(1, _rounded(across * height / down)) if height else 0
        elif height < 0:
            height = max(1, _rounded(down * width / across)) if width else 0
    else:
        raise RequestError(f"size {text[:80]!r} cannot be understood")
    if width < 1 or height < 1:
        raise RequestError(f"size {text[:80]} has no pixels")
    if not upscaled and (width > across or height > down):
        raise RequestError(f"size {text[:80]} enlarges the region, {across} x {down}; ^ in front of it allows that")
    if width * height > max_area:
        raise RequestError(f"size {width} x {height} is above the limit of {max_area} pixels")
    return width, height


def _rotation(text: str) -> tuple[bool, int]:
    mirrored = text.startswith("!")
    (degrees,) = _numbers(text.removeprefix("!"), 1, _NUMBER, "rotation", text)
    if degrees > 360:
        raise RequestError(f"rotation {text[:40]!r} is above 360")
    if degrees % 90:
        raise RequestError(f"rotation by {text[:40]} is not supported, only by multiples of 90", 501)
    return mirrored, int(degrees // 90) % 4


def _numbers(text: str, count: int, pattern: re.Pattern[str], what: str, whole: str) -> list[float]:
    parts = text.split(",")
    if len(parts) != count or not all(pattern.fullmatch(part) for part in parts):
        raise RequestError(f"{what} {whole[:80]!r} cannot be understood")
    return [float(part) for part in parts]


def _rounded(value: float) -> int:
    return math.floor(value + 0.5)


def _scaled(across: int, down: int, factor: float, max_area: int) -> tuple[int, int]:
    """Both sides by a factor, below the limit."""
    width, height = (max(1, math.floor(side * factor)) for side in (across, down))
    return (width, height) if width * height <= max_area else (min(width, max_area), 1)


def _canonical_size(region: tuple[int, int, int, int], size: tuple[int, int], max_area: int) -> str:
    _, _, across, down = region
    if size == _size("max", region, max_area):
        return "max"
    upscaled = size[0] > across or size[1] > down
    return f"{'^' * upscaled}{size[0]},{size[1]}"


def scale_factors(width: int, height: int) -> list[int]:
    """1, 2, 4 ... until the image fits into a tile."""
    factors = [1]
    while max(width, height) / factors[-1] > TILE_SIDE:
        factors.append(2 * factors[-1])
    return factors


def information(identifier: str, width: int, height: int, max_area: int) -> dict[str, Any]:
    """The image's description, info.json."""
    factors = scale_factors(width, height)
    sizes = [(-(-width // factor), -(-height // factor)) for factor in reversed(factors)]
    return {
        "@context": CONTEXT,
        "id": identifier,
        "type": "ImageService3",
        "protocol": PROTOCOL,
        "profile": "level2",
        "width": width,
        "height": height,
        "maxArea": max_area,
        "sizes": [{"width": w, "height": h} for w, h in sizes if w * h <= max_area],
        "tiles": [{"width": TILE_SIDE, "height": TILE_SIDE, "scaleFactors": factors}],
        "preferredFormats": ["webp", "jpg"],
        "extraFormats": ["webp"],
        "extraQualities": ["color", "gray", "bitonal"],
        "extraFeatures": ["canonicalLinkHeader", "mirroring", "profileLinkHeader", "sizeUpscaling"],
    }


def render(source: Source, request: ImageRequest) -> bytes:
    """The image file that a request asks for."""
    pixels = source.read(request.region, request.size)
    if request.mirrored:
        pixels = pixels[:, ::-1]
    pixels = np.rot90(pixels, -request.turns)
    channels = pixels.shape[2]
    if channels in (2, 4) and (request.form == "jpg" or request.quality == "bitonal"):
        pixels = flattened(np.ascontiguousarray(pixels[:, :, :-1]), pixels[:, :, -1], _WHITE)
    mode = ("L", "LA", "RGB", "RGBA")[pixels.shape[2] - 1]
    image = Image.fromarray(np.ascontiguousarray(pixels if pixels.shape[2] > 1 else pixels[:, :, 0]), mode)
    if request.quality == "gray":
        image = image.convert("LA" if mode in ("LA", "RGBA") else "L")
    elif request.quality == "bitonal":
        image = image.convert("L").point(lambda value: 255 * (value >= 128))
        image = image.convert("1") if request.form == "png" else image
    file = io.BytesIO()
    image.save(file, **_SAVED[request.form])
    return file.getvalue()
