"""One class for each codec. All share one protocol: encode into a byte budget, decode to the picture's size.

The peers search for the best PSNR under the budget over three things: shrinking the picture by 1, 2, 4 or 8
before encoding (Lanczos; bicubic enlarging is part of decoding), chroma at full or half size (JPEG, AVIF), and for
each the largest quality that fits. At high ratios every peer is best when shrunk: a comparison without that is none.
The few bytes that would tell a decoder the full size are not charged to the peers.
"""

from __future__ import annotations

import io
import itertools
import re
import sys
from collections.abc import Mapping
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from smartsplat.errors import SettingsError
from smartsplat.metrics import psnr

ByteArray = npt.NDArray[np.uint8]

SHRINKS = (1, 2, 4, 8)


class BudgetError(Exception):
    """No setting of the codec makes a file small enough; the results table then says 'none'."""


class Codec(Protocol):
    """What the benchmark asks of a codec."""

    @property
    def name(self) -> str: ...

    def encode(self, pixels: ByteArray, byte_budget: int) -> tuple[bytes, str]:
        """A whole file of at most ``byte_budget`` bytes for uint8 [H, W, 3], and the setting that made it."""

    def decode(self, data: bytes, width: int, height: int) -> ByteArray:
        """The picture at its full size, uint8 [height, width, 3]."""


class ShrinkingCodec:
    """A codec of Pillow, with the search over quality and shrinking."""

    name: ClassVar[str]
    format: ClassVar[str]  # Pillow's name
    options: ClassVar[Mapping[str, object]]
    qualities: ClassVar[range]
    largest_side: ClassVar[int]  # pixels
    samplings: ClassVar[tuple[str, ...]] = ("",)  # of chroma, where the codec has a choice

    def __init__(self, shrinks: tuple[int, ...] = SHRINKS) -> None:
        self.shrinks = shrinks

    def encode(self, pixels: ByteArray, byte_budget: int) -> tuple[bytes, str]:
        height, width = pixels.shape[:2]
        best, data, setting = -1.0, b"", ""
        for shrink, sampling in itertools.product(self.shrinks, self.samplings):
            fitting = self._largest_quality(shrunk(pixels, shrink), sampling, byte_budget)
            if fitting is None:
                continue
            quality, candidate = fitting
            value = psnr(pixels, self.decode(candidate, width, height))
            if value > best:
                best, data = value, candidate
                setting = ":".join([f"q{quality}", f"s{shrink}", *filter(None, [sampling.replace(":", "")])])
        if not data:
            raise BudgetError(f"no {self.name} file of {width}x{height} has {byte_budget} bytes or fewer")
        return data, setting

    def decode(self, data: bytes, width: int, height: int) -> ByteArray:
        with Image.open(io.BytesIO(data), formats=[self.format]) as image:
            pixels = image.convert("RGB")
        if pixels.size != (width, height):
            pixels = pixels.resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(pixels)

    def _largest_quality(self, image: Image.Image, sampling: str, byte_budget: int) -> tuple[int, bytes] | None:
        """The largest quality that fits, by bisection, and its file; None when even the lowest does not."""
        if max(image.size) > self.largest_side:
            return None
        low, high = self.qualities[0], self.qualities[-1] + 1  # low fits, high does not
        best = self._file(image, low, sampling)
        if len(best) > byte_budget:
            return None
        while high - low > 1:
            middle = (low + high) // 2
            data = self._file(image, middle, sampling)
            if len(data) <= byte_budget:
                low, best = middle, data
            else:
                high = middle
        return low, best

    def _file(self, image: Image.Image, quality: int, sampling: str) -> bytes:
        file = io.BytesIO()
        chroma = {"subsampling": sampling} if sampling else {}
        image.save(file, self.format, quality=quality, **chroma, **self.options)
        return file.getvalue()


class Jpeg(ShrinkingCodec):
    name = "jpeg"
    format = "JPEG"
    options: ClassVar[Mapping[str, object]] = {"progressive": True, "optimize": True}
    samplings = ("4:2:0", "4:4:4")
    qualities = range(1, 101)
    largest_side = 65535


class WebP(ShrinkingCodec):
    name = "webp"
    format = "WEBP"
    options: ClassVar[Mapping[str, object]] = {"method": 6}
    qualities = range(101)
    largest_side = 16383


class Avif(ShrinkingCodec):
    name = "avif"
    format = "AVIF"
    options: ClassVar[Mapping[str, object]] = {"speed": 6}
    samplings = ("4:2:0", "4:4:4")
    qualities = range(101)
    largest_side = 32768


class SmartSplat:
    """This project's codec at one effort; it finds its own settings for the byte target."""

    def __init__(self, effort: int) -> None:
        self.effort = effort
        self.name = f"smartsplat:e{effort}"

    def encode(self, pixels: ByteArray, byte_budget: int) -> tuple[bytes, str]:
        import smartsplat

        try:
            data = smartsplat.encode(pixels, size=byte_budget, effort=self.effort)
        except SettingsError as error:
            print(f"{self.name}: {error}", file=sys.stderr)
            raise BudgetError(str(error)) from error
        return data, f"e{self.effort}"

    def decode(self, data: bytes, width: int, height: int) -> ByteArray:
        import smartsplat

        return np.asarray(smartsplat.decode(data))


PEERS = {peer.name: peer for peer in (Jpeg, WebP, Avif)}


def codec(name: str) -> Codec:
    """The codec that a name of the command line means: jpeg, webp, avif or smartsplat:e1 to smartsplat:e9."""
    if name in PEERS:
        return PEERS[name]()
    effort = re.fullmatch(r"smartsplat:e([1-9])", name)
    if effort is None:
        raise ValueError(f"unknown codec {name!r}: use {', '.join(PEERS)} or smartsplat:e1 to smartsplat:e9")
    return SmartSplat(int(effort[1]))


def shrunk(pixels: ByteArray, shrink: int) -> Image.Image:
    """The picture with both sides divided by ``shrink`` and rounded, at least one pixel."""
    image = Image.fromarray(pixels)
    if shrink == 1:
        return image
    sides = (max(1, round(image.width / shrink)), max(1, round(image.height / shrink)))
    return image.resize(sides, Image.Resampling.LANCZOS, reducing_gap=None)
