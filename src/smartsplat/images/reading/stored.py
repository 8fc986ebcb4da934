"""An image as its file stores it, and how its strips become the pixels of a SourceImage.

Every reader gives its samples in strips; here they are scaled to 8 or 16 bits, cleared of ink and of premultiplied
alpha, and turned upright. Beside the result only a strip is in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from smartsplat.arrays import SampleArray
from smartsplat.errors import ImageError
from smartsplat.images.color.color_profiles import cmyk_converter, usable_profile
from smartsplat.images.reading.exif import upright_exif, upright_xmp
from smartsplat.images.reading.sources import Samples, SampleStrips
from smartsplat.images.spooled import new_samples, release
from smartsplat.metadata import NO_METADATA, Metadata

ALPHA = "A"
FLOAT_TOLERANCE = 0.1
"""Floats may lie outside of their range by this part of it; they are clipped."""


@dataclass(frozen=True, eq=False)
class StoredImage:
    """What a file says before its pixels are decoded.

    Args:
        width, height: pixels, as stored.
        bands: a letter for each sample of a pixel that is used: L, LA, RGB, RGBA, CMYK or CMYKA; more may follow.
        strips: decodes; its argument says whether damage is passed over. Raises Unreadable.
        bits: of a sample in the file.
        white: the integer of full intensity; None: floats.
        from_white: whether 0 is white, in grey.
        premultiplied: whether colours are multiplied with alpha.
        turn: EXIF orientation to undo, 1 to 8.
        metadata: as they are in the file, with its profile unchecked.
        notices: what was passed over; a reader may add to them while it decodes.
    """

    width: int
    height: int
    bands: str
    strips: Callable[[bool], SampleStrips]
    bits: int = 8
    white: int | None = 255
    from_white: bool = False
    premultiplied: bool = False
    turn: int = 1
    metadata: Metadata = NO_METADATA
    notices: list[str] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Assembled:
    """The fields of a SourceImage."""

    pixels: SampleArray  # [H, W, 1 or 3]
    alpha: SampleArray | None  # [H, W]
    depth: int
    metadata: Metadata
    notices: tuple[str, ...]


def assemble(
    stored: StoredImage, name: str, float_range: tuple[float, float] = (0.0, 1.0), lenient: bool = False
) -> Assembled:
    """Decodes an image.

    Args:
        stored: what its header said.
        name: what messages call it.
        float_range: the floats of black and white.
        lenient: whether damage is passed over.

    Raises Unreadable where a file is damaged, ImageError for floats out of range.
    """
    color, depth = stored.bands.rstrip(ALPHA), 16 if stored.white is None else min(stored.bits, 16)
    kind: Any = np.uint8 if depth <= 8 else np.uint16
    is_ink = color == "CMYK"
    if is_ink:
        kind, depth = np.uint8, 8
    scale = _Scale(stored, kind, name, float_range)
    icc, notices = usable_profile(stored.metadata.icc, {"L": "GRAY", "RGB": "RGB", "CMYK": "CMYK"}[color])
    to_rgb, told = cmyk_converter(icc) if is_ink else (None, ())
    pixels = _Canvas(stored, 1 if color == "L" else 3, kind)
    alpha: _Canvas | None = None
    opaque = np.iinfo(kind).max
    for top, strip in stored.strips(lenient):
        colors = scale(strip[:, :, : len(color)])
        if stored.bands.endswith(ALPHA):
            opacity = scale.opacity(strip[:, :, len(color)])
            if alpha is None and opacity.min() < opaque:
                alpha = _Canvas(stored, 1, kind)
                alpha.stored[:] = opaque
            if alpha is not None:
                alpha.stored[top : top + len(strip), :, 0] = opacity
            if stored.premultiplied:
                colors = _divided(colors, opacity)
        pixels.stored[top : top + len(strip)] = colors if to_rgb is None else to_rgb(colors)
        release(pixels.upright)
    scale.check()
    metadata = replace(
        stored.metadata,
        icc=None if is_ink else icc,
        exif=upright_exif(stored.metadata.exif),
        xmp=upright_xmp(stored.metadata.xmp),
    )
    if stored.metadata.exif and metadata.exif is None:
        notices = (*notices, "damaged EXIF data dropped")
    said = (*stored.notices, *scale.notices(), *told, *notices)
    return Assembled(pixels.upright, None if alpha is None else alpha.upright[:, :, 0], depth, metadata, said)


class _Canvas:
    """An image under construction: ``upright`` [H, W, C] is new, ``stored`` the same memory as the file sees it."""

    def __init__(self, image: StoredImage, channels: int, kind: Any) -> None:
        height, width, turn = image.height, image.width, image.turn
        shape = (width, height, channels) if turn >= 5 else (height, width, channels)
        self.upright: SampleArray = new_samples(shape, kind)
        view = self.upright
        if turn in (2, 3, 6, 7):
            view = view[:, ::-1]
        if turn in (3, 4, 7, 8):
            view = view[::-1]
        if turn >= 5:  # stored by columns
            view = view.swapaxes(0, 1)
        self.stored = view


def _divided(colors: SampleArray, opacity: SampleArray) -> SampleArray:
    """Colours [h, W, C] that were multiplied with alpha [h, W], as they were before; 0 where alpha is 0."""
    full = np.iinfo(colors.dtype).max
    weight = np.maximum(opacity, 1).astype(np.uint64)[:, :, None]
    divided = (colors.astype(np.uint64) * full + weight // 2) // weight
    result: SampleArray = np.minimum(divided, full).astype(colors.dtype)
    return result


class _Scale:
    """Brings samples of any type to the full range of uint8 or uint16."""

    def __init__(self, stored: StoredImage, kind: Any, name: str, float_range: tuple[float, float]) -> None:
        self._stored, self._kind, self._name, self._range = stored, kind, name, float_range
        self._full = int(np.iinfo(kind).max)
        self._low, self._high = np.inf, -np.inf  # of the floats
        self._bad, self._bad_place, self._row = 0, (0, 0), 0  # floats that are no numbers, and where the first is
        white = stored.white
        self._table: SampleArray | None = None
        if white is not None and white != self._full and white <= 0xFFFF:
            values = np.arange(white + 1, dtype=np.uint64)
            self._table = ((values * self._full + white // 2) // white).astype(kind)

    def __call__(self, samples: Samples) -> SampleArray:
        """Colours [h, W, C]."""
        scaled = self._of_floats(samples) if self._stored.white is None else self._of_integers(samples)
        return self._full - scaled if self._stored.from_white else scaled

    def opacity(self, samples: Samples) -> SampleArray:
        """Alpha [h, W], in floats always from 0 to 1."""
        if self._stored.white is not None:
            return self._of_integers(samples)
        clipped = np.nan_to_num(samples, nan=1.0).clip(0, 1)
        return np.rint(clipped * np.float64(self._full)).astype(self._kind)

    def _of_integers(self, samples: Samples) -> SampleArray:
        white = self._stored.white
        assert white is not None
        if (samples.dtype.kind == "i" and samples.min(initial=0) < 0) or samples.max(initial=0) > white:
            low, high = samples.min(), samples.max()
            raise ImageError(f"{self._name}: samples from {low} to {high}; only 0 to {white} can be read")
        if samples.dtype == bool:
            samples = samples.view(np.uint8)
        if white == self._full:
            return samples.astype(self._kind, copy=False)
        if self._table is not None:
            return self._table[samples]
        wide = samples.astype(np.uint64)
        return ((wide * self._full + white // 2) // white).astype(self._kind)

    def _of_floats(self, samples: Samples) -> SampleArray:
        finite = np.isfinite(samples)
        if not finite.all():
            row, column = np.argwhere(~finite.all(axis=2))[0]
            if self._bad == 0:
                self._bad_place = int(column), self._row + int(row)
            self._bad += int((~finite).sum())
            samples = np.where(finite, samples, self._range[0])
        self._row += len(samples)
        self._low, self._high = min(self._low, float(samples.min())), max(self._high, float(samples.max()))
        low, high = self._range
        unit = (samples.astype(np.float64) - low) / (high - low)
        result: SampleArray = np.rint(unit.clip(0, 1) * self._full).astype(self._kind)
        return result

    def check(self) -> None:
        """ImageError for floats that are none, or out of range."""
        if self._stored.white is not None:
            return
        if self._bad:
            column, row = self._bad_place
            raise ImageError(
                f"{self._name}: {self._bad} of the samples are not finite, the first at x {column}, y {row}"
            )
        low, high = self._range
        margin = FLOAT_TOLERANCE * (high - low)
        if self._low < low - margin or self._high > high + margin:
            found = f"{self._low:.6g} to {self._high:.6g}"
            raise ImageError(
                f"{self._name}: floating-point samples from {found}, expected {low:g} to {high:g}: "
                f"give the range of black to white (--float-range {self._low:.6g},{self._high:.6g})"
            )

    def notices(self) -> tuple[str, ...]:
        stored, (low, high) = self._stored, self._range
        if stored.bands.startswith("CMYK") and stored.bits > 8:
            return (f"CMYK of {stored.bits} bits reduced to 8",)
        if stored.white is None:
            said = f"floating-point samples from {low:g} to {high:g} taken as 16 bits"
            if self._low < low or self._high > high:
                return (said, f"floating-point samples from {self._low:.9g} to {self._high:.9g} clipped to this range")
            return (said,)
        return (f"{stored.bits}-bit samples reduced to 16 bits",) if stored.bits > 16 else ()
