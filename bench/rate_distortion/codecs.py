"""One class for each codec. All share one protocol: encode into byte budgets, decode to the image's size.

The anchors, which are the codecs that this one is compared with, search for the best PSNR under a budget over three
things: shrinking the image by 1, 2, 4 or 8 before encoding (Lanczos; bicubic enlarging is part of decoding), chroma at
full or half size (JPEG, AVIF), and for each the highest quality that fits. At high ratios every anchor is best when
shrunk, so it may shrink. The few bytes that would tell a decoder the full size are not counted.

Images with alpha go the same way: they are resized premultiplied, and where nothing shows an anchor gets the colours
of what is visible nearby, as SmartSplat takes them, because none of the libraries sees to that as well.
"""

from __future__ import annotations

import io
import itertools
import math
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
from PIL import Image

import smartsplat
from bench.rate_distortion.perceptual import ssimulacra2
from smartsplat.arrays import FloatArray, SampleArray
from smartsplat.encoder.bleed import bled
from smartsplat.errors import SettingsError
from smartsplat.metrics import psnr

SHRINKS = (1, 2, 4, 8)
"""What the sides of an image are divided by before an anchor encodes it."""


@dataclass(frozen=True)
class Encoded:
    """A whole file.

    Args:
        setting: that made it.
        seconds: that it took; of an anchor without search and shrinking.
    """

    data: bytes
    setting: str
    seconds: float


class Codec(Protocol):
    """What the benchmark asks of a codec."""

    @property
    def name(self) -> str: ...

    def encode(self, pixels: SampleArray, byte_budgets: Sequence[int]) -> list[Encoded | None]:
        """For each budget a file of at most so many bytes of uint8 [H, W, 3 or 4]; None if no setting makes one."""

    def decode(self, data: bytes, width: int, height: int) -> SampleArray:
        """The image at its full size, uint8 [height, width, 3], or 4 with alpha."""


def _eye_score(original: SampleArray, decoded: SampleArray) -> float:
    """SSIMULACRA2."""
    score = ssimulacra2(original, decoded)
    if score is None:
        raise ValueError("what is chosen for the eye needs ssimulacra2: pip install smartsplat[bench]")
    return score


class ShrinkingCodec:
    """A codec of Pillow, with the search over quality and shrinking."""

    name: str
    format: ClassVar[str]  # Pillow's name
    options: Mapping[str, object]
    qualities: ClassVar[range] = range(101)
    max_side: ClassVar[int]  # pixels
    samplings: ClassVar[tuple[str, ...]] = ("",)  # of chroma, where the codec has a choice
    score: Callable[[SampleArray, SampleArray], float]  # of the original and what a file decodes to: the most is best

    def __init__(self, shrinks: tuple[int, ...] = SHRINKS) -> None:
        self.shrinks = shrinks
        self.score = psnr

    def encode(self, pixels: SampleArray, byte_budgets: Sequence[int]) -> list[Encoded | None]:
        search = Search(self, pixels, max(byte_budgets))
        return [search.best(byte_budget) for byte_budget in byte_budgets]

    def decode(self, data: bytes, width: int, height: int) -> SampleArray:
        with Image.open(io.BytesIO(data), formats=[self.format]) as image:
            pixels = np.asarray(image.convert("RGBA" if image.has_transparency_data else "RGB"))
        return resized(pixels, width, height, Image.Resampling.BICUBIC)

    def file(self, pixels: SampleArray, sampling: str, quality: int) -> bytes:
        file, image = io.BytesIO(), Image.fromarray(pixels)
        chroma = {"subsampling": sampling} if sampling else {}
        image.save(file, self.format, **self.quality_options(image, quality), **chroma, **self.options)
        return file.getvalue()

    def quality_options(self, image: Image.Image, quality: int) -> dict[str, object]:
        """What Pillow calls the quality."""
        return {"quality": quality}

    def quality_name(self, quality: int) -> str:
        return f"q{quality}"


class Search:
    """An anchor's files of one image: bisections for several budgets share most of them, and each is made once."""

    def __init__(self, anchor: ShrinkingCodec, pixels: SampleArray, max_budget: int) -> None:
        self.anchor = anchor
        self.pixels = pixels
        self.max_budget = max_budget  # bytes
        self.images = {shrink: shrunk(pixels, shrink) for shrink in anchor.shrinks}
        self.files: dict[tuple[int, str, int], Encoded | None] = {}  # by shrink, sampling, quality

    def best(self, byte_budget: int) -> Encoded | None:
        """The best file within the budget."""
        height, width = self.pixels.shape[:2]
        max_score, best = -math.inf, None
        for shrink, sampling in itertools.product(self.images, self.anchor.samplings):
            candidate = self._max_quality(shrink, sampling, byte_budget)
            if candidate is None:
                continue
            score = self.anchor.score(self.pixels, self.anchor.decode(candidate.data, width, height))
            if score > max_score:
                max_score, best = score, candidate
        return best

    def _max_quality(self, shrink: int, sampling: str, byte_budget: int) -> Encoded | None:
        """The file of the highest quality that fits, by bisection; None when even the lowest does not."""
        if max(self.images[shrink].shape[:2]) > self.anchor.max_side:
            return None

        def within_budget(quality: int) -> Encoded | None:
            file = self._file(shrink, sampling, quality)
            return file if file is not None and len(file.data) <= byte_budget else None

        low, high = self.anchor.qualities[0], self.anchor.qualities[-1] + 1  # low fits, high does not
        best = within_budget(low)
        while best is not None and high - low > 1:
            middle = (low + high) // 2
            file = within_budget(middle)
            if file is None:
                high = middle
            else:
                low, best = middle, file
        return best

    def _file(self, shrink: int, sampling: str, quality: int) -> Encoded | None:
        """One file; None for what fits no budget, which is not worth keeping."""
        key = (shrink, sampling, quality)
        if key not in self.files:
            start = time.perf_counter()
            data = self.anchor.file(self.images[shrink], sampling, quality)
            seconds = time.perf_counter() - start
            names = [self.anchor.quality_name(quality), f"s{shrink}", sampling.replace(":", "")]
            encoded = Encoded(data, ":".join(filter(None, names)), seconds)
            self.files[key] = encoded if len(data) <= self.max_budget else None
        return self.files[key]


class Jpeg(ShrinkingCodec):
    name = "jpeg"
    format = "JPEG"
    options: Mapping[str, object] = {"progressive": True, "optimize": True}
    samplings = ("4:2:0", "4:4:4")
    qualities = range(1, 101)
    max_side = 65535


class WebP(ShrinkingCodec):
    name = "webp"
    format = "WEBP"
    options: Mapping[str, object] = {"method": 6}
    max_side = 16383

    def quality_options(self, image: Image.Image, quality: int) -> dict[str, object]:
        return {"quality": quality, "alpha_quality": quality}


class Avif(ShrinkingCodec):
    """libaom at one of its speeds, with libheif's own tuning, which is for the eye, or tuned for PSNR.

    By PSNR the best of its files is chosen all the same, unless the name ends in :eye: then it is by SSIMULACRA2.

    Written by libvips, because Pillow's conversion to YCbCr is off by up to 1.4 of 255 in the mean: on altai that
    alone keeps it below 46.4 dB, where the same encoder reaches 53 dB through libheif.
    """

    format = "AVIF"
    samplings = ("4:2:0", "4:4:4")
    qualities = range(1, 101)
    max_side = 16384
    bits = 8  # of a sample in its files

    def __init__(self, shrinks: tuple[int, ...] = SHRINKS, speed: int = 6, aim: str = "") -> None:
        try:
            import pyvips  # noqa: F401, better now than in the first file
        except ImportError as error:
            raise ValueError("avif needs pyvips: pip install smartsplat[bench]") from error
        super().__init__(shrinks)
        self.name = f"avif:s{speed}{aim}"
        self.options = {"effort": 9 - speed, "tune": "psnr" if aim == ":psnr" else "iq"}
        if aim == ":eye":
            self.score = _eye_score

    def file(self, pixels: SampleArray, sampling: str, quality: int) -> bytes:
        import pyvips

        options = {"Q": quality, "subsample_mode": "on" if sampling == "4:2:0" else "off", **self.options}
        source = pyvips.Image.new_from_array(pixels, interpretation="srgb" if pixels.dtype == np.uint8 else "rgb16")
        return bytes(
            source.heifsave_buffer(compression="av1", encoder="aom", keep="none", bitdepth=self.bits, **options)
        )


class JpegXl(ShrinkingCodec):
    name = "jxl"
    format = "JXL"
    options: Mapping[str, object] = {"effort": 7}
    qualities = range(100)  # libjxl refuses distance 0 in its own colours
    max_side = 1 << 30

    def __init__(self, shrinks: tuple[int, ...] = SHRINKS) -> None:
        try:
            import pillow_jxl  # noqa: F401, its import is what makes Pillow know the format
        except ImportError as error:
            raise ValueError("jxl needs pillow-jxl-plugin: pip install smartsplat[bench]") from error
        super().__init__(shrinks)


class Jpeg2000(ShrinkingCodec):
    """The 9/7 wavelet, colours decorrelated, a bare codestream; a quality stands for a target size."""

    name = "jpeg2000"
    format = "JPEG2000"
    options: Mapping[str, object] = {"irreversible": True, "mct": 1, "no_jp2": True, "quality_mode": "rates"}
    qualities = range(13 * 32)  # each 2 % larger than the one before
    max_side = (1 << 32) - 1

    def quality_options(self, image: Image.Image, quality: int) -> dict[str, object]:
        resolutions = min(8, min(image.size).bit_length())  # OpenJPEG wants a pixel at the coarsest
        return {"quality_layers": [self.rate(quality)], "num_resolutions": resolutions}

    def quality_name(self, quality: int) -> str:
        return f"r{self.rate(quality):.4g}"

    @staticmethod
    def rate(quality: int) -> float:
        """The ratio that OpenJPEG is asked for, of the shrunk image: from 8192 to just over 1."""
        return float(2 ** (13 - quality / 32))


class SmartSplat:
    """This project's codec at one effort; it finds its own settings for the bytes.

    Args:
        aim: nothing, tuned for PSNR; ":eye", or ":grain", which is that with its default grain.
    """

    def __init__(self, effort: int, aim: str = "") -> None:
        self.effort = effort
        self.options = {"tune": "eye" if aim else "psnr", "grain": "auto" if aim == ":grain" else 0}
        self.name = f"smartsplat:e{effort}{aim}"

    def encode(self, pixels: SampleArray, byte_budgets: Sequence[int]) -> list[Encoded | None]:
        return [self._file(pixels, byte_budget) for byte_budget in byte_budgets]

    def decode(self, data: bytes, width: int, height: int) -> SampleArray:
        return smartsplat.decode(data)

    def _file(self, pixels: SampleArray, byte_budget: int) -> Encoded | None:
        start = time.perf_counter()
        try:
            data = smartsplat.encode(pixels, max_bytes=byte_budget, effort=self.effort, **self.options)
        except SettingsError as error:
            print(f"{self.name}: {error}", file=sys.stderr)
            return None
        return Encoded(data, f"e{self.effort}", time.perf_counter() - start)


ANCHORS_BY_NAME = {anchor.name: anchor for anchor in (Jpeg, WebP, JpegXl, Jpeg2000)}
NAMES = (
    f"{', '.join(ANCHORS_BY_NAME)}, avif:s0 to avif:s9, the same with :psnr or :eye, "
    "smartsplat:e1 to smartsplat:e9, or the same with :eye or :grain"
)


def codec(name: str, shrinks: tuple[int, ...] = SHRINKS) -> Codec:
    """The codec that a name of the command line means; an anchor may shrink the image by any of ``shrinks``.

    Raises:
        ValueError: there is no such codec, or a library that it needs is not installed.
    """
    if name in ANCHORS_BY_NAME:
        return ANCHORS_BY_NAME[name](shrinks)
    if avif := re.fullmatch(r"avif:s(\d)(:psnr|:eye|)", name):
        return Avif(shrinks, speed=int(avif[1]), aim=avif[2])
    if own := re.fullmatch(r"smartsplat:e([1-9])(:eye|:grain|)", name):
        return SmartSplat(int(own[1]), own[2])
    raise ValueError(f"unknown codec {name!r}: use {NAMES}")


def shrunk(pixels: SampleArray, shrink: int) -> SampleArray:
    """The image with both sides divided by ``shrink`` and rounded, at least one pixel; uint8 or uint16 [h, w, C].

    With alpha, hidden colours become those of what is visible nearby.
    """
    height, width = (max(1, round(side / shrink)) for side in pixels.shape[:2])
    small = resized(pixels, width, height, Image.Resampling.LANCZOS)
    if small.shape[2] == 4:
        small = np.dstack([bled(small[..., :3], small[..., 3]), small[..., 3]])
    return small


def resized(pixels: SampleArray, width: int, height: int, filter: Image.Resampling) -> SampleArray:
    """The image uint8 [H, W, 3 or 4] or uint16 [H, W, C] at another size; RGBA is premultiplied on the way."""
    if pixels.shape[:2] == (height, width):
        return pixels
    if pixels.dtype == np.uint16:
        planes = (Image.fromarray(plane.astype(np.float32)) for plane in np.moveaxis(pixels, 2, 0))
        small = [np.asarray(plane.resize((width, height), filter, reducing_gap=None)) for plane in planes]
        values: FloatArray = np.dstack(small)
        return np.rint(values).clip(0, 65535).astype(np.uint16)
    image = Image.fromarray(pixels)
    if image.mode != "RGBA":
        return np.asarray(image.resize((width, height), filter, reducing_gap=None))
    premultiplied = image.convert("RGBa").resize((width, height), filter, reducing_gap=None)
    return np.asarray(premultiplied.convert("RGBA"))
