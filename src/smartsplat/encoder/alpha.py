"""Opacity: as a mask or as Gaussians, whichever leaves the better image in the bytes that it shares with the colours.

A mask has outlines as they are, for a bit or two for each pixel along them, in up to sixteen levels. Gaussians have
what changes slowly. What either costs is taken from the colours; the choice is the one with the least error in all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from smartsplat.arrays import ByteArray, SampleArray
from smartsplat.bitstream import container
from smartsplat.bitstream.container import Alpha, Extras, Group
from smartsplat.bitstream.mask import MAX_LEVEL, to_mask
from smartsplat.bitstream.quantize import Quantizer
from smartsplat.encoder.flat import flat_file
from smartsplat.encoder.rate_control import MIN_CODED_BYTES
from smartsplat.errors import SettingsError

MASK_STEPS = (15, 5, 3, 1)
"""Steps from transparent to opaque that masks are tried with: divisors of the levels of the format."""

COMPOSITE_ERROR = 1 / 3
"""Square error of a composite for a unit of square error of opacity: the mean square distance of colours from black or
from white, both being uniform."""

TYPICAL_EXPONENT = 0.6
"""The square error falls with the bytes to this power: the mean over the development images."""

GAUSSIAN_FRACTIONS = tuple(2.0 ** (-index / 2) for index in range(3, 15))
"""Fractions of the budget, from a third to a hundredth, that Gaussians of opacity may take."""

TRIAL_FRACTIONS = (1 / 64, 1 / 8)
"""Of the budget, for the short fits of opacity that tell what its bytes are worth."""

MIN_ERROR = 1e-9
"""Mean square error that stands for none."""

MAX_CLEAR_FRACTION = 1 / 8
"""Of the budget: a mask within it that shows no error is taken without looking at anything else. It costs the colours
a third of a decibel. Gaussians make sharp outlines by sums far beyond opaque, which shrinking moves."""

MAX_CLEAR_ERROR = 1e-5
"""Mean square error of a composite, 50 dB, that does not show beside the colours': outlines in sixteen levels have
less."""

MAX_MASK_FRACTION = 0.5
"""Of the budget: a mask that takes more leaves too little to the colours."""

GROUP_BYTES = container.overhead(1) - container.overhead(0)
"""Of opacity in Gaussians, in a file, before any is coded."""


@dataclass(frozen=True)
class AlphaFits:
    """What the choice may ask of the encoder.

    Args:
        color_error: mean square error of the colours in so many bytes, by a short fit.
        alpha_error: the same of opacity.
        groups: opacity in Gaussians of at most so many bytes, by a full fit, with their quantiser.
    """

    color_error: Callable[[int], float]
    alpha_error: Callable[[int], float]
    groups: Callable[[int], tuple[tuple[Group, ...], Quantizer]]


def encode_alpha(alpha: SampleArray, max_bytes: int, fits: AlphaFits, threads: int) -> Alpha:
    """Opacity [H, W] in a part of the bytes of a whole file.

    Raises:
        SettingsError: no file of colours and opacity is as small as that.
    """
    flat = flat_file(alpha[..., None])
    if flat is not None:
        return Alpha(flat.quantizer, flat.groups)
    plain = Quantizer(0, 0, alpha.shape[1], alpha.shape[0], 1)
    room = max_bytes - container.overhead(1)  # for coded Gaussians, if there were no opacity
    best: tuple[float, Alpha] | None = None
    color_error: float | None = None
    for levels, error in _masks(alpha):
        mask = Alpha(plain, mask=to_mask(levels, threads))
        size = Extras(alpha=mask).size
        if COMPOSITE_ERROR * error <= MAX_CLEAR_ERROR and size <= MAX_CLEAR_FRACTION * max_bytes:
            return mask
        if size > MAX_MASK_FRACTION * max_bytes or size > room - MIN_CODED_BYTES:
            continue
        color_error = fits.color_error(max_bytes) if color_error is None else color_error
        total = COMPOSITE_ERROR * error + _in_part(color_error, 1 - size / room)
        if best is None or total < best[0]:
            best = total, mask
        if error == 0:  # coarser ones are not smaller
            break
    if room < GROUP_BYTES + 2 * MIN_CODED_BYTES:
        if best is not None:
            return best[1]
        min_bytes = container.overhead(1) + GROUP_BYTES + 2 * MIN_CODED_BYTES
        raise SettingsError(f"the target of {max_bytes} bytes is too small, a file takes at least {min_bytes}")
    color_error = fits.color_error(max_bytes) if color_error is None else color_error
    coded, total = _best_share(room, color_error, fits)
    if best is not None and best[0] <= total:
        return best[1]
    groups, quantizer = fits.groups(coded + container.overhead(1))
    return Alpha(quantizer, groups)


def exact_mask(alpha: SampleArray, threads: int) -> Alpha:
    """Opacity [H, W] in sixteen levels, whatever its bytes."""
    levels, _ = next(_masks(alpha))
    return Alpha(Quantizer(0, 0, alpha.shape[1], alpha.shape[0], 1), mask=to_mask(levels, threads))


def _best_share(room: int, color_error: float, fits: AlphaFits) -> tuple[int, float]:
    """How many of the bytes of coded Gaussians are best those of opacity, and the error that they leave in all."""
    small, large = (max(int(part * room), MIN_CODED_BYTES) for part in TRIAL_FRACTIONS)
    large_error = max(fits.alpha_error(large + container.overhead(1)), MIN_ERROR)
    exponent = TYPICAL_EXPONENT
    if small < large:  # what changes slowly is nearly exact from some number of bytes on
        small_error = max(fits.alpha_error(small + container.overhead(1)), MIN_ERROR)
        exponent = max(math.log(small_error / large_error) / math.log(large / small), 0.0)

    def total(coded: int) -> float:
        error = _in_part(large_error, coded / large, exponent if coded < large else TYPICAL_EXPONENT)
        return COMPOSITE_ERROR * error + _in_part(color_error, (room - GROUP_BYTES - coded) / room)

    shares = {max(int(part * room), MIN_CODED_BYTES) for part in GAUSSIAN_FRACTIONS}
    possible = sorted(coded for coded in shares if room - GROUP_BYTES - coded >= MIN_CODED_BYTES)
    best = min(possible, key=total)
    return best, total(best)


def _in_part(error: float, fraction: float, exponent: float = TYPICAL_EXPONENT) -> float:
    """What an error becomes in a fraction of the bytes."""
    return float(error * fraction**-exponent)


def _masks(alpha: SampleArray) -> Iterator[tuple[ByteArray, float]]:
    """Levels [H, W] with fewer and fewer steps, each with its mean square error."""
    white = int(np.iinfo(alpha.dtype).max)
    codes = np.arange(white + 1, dtype=np.int64)
    counts = sum(np.bincount(row, minlength=white + 1) for row in alpha)  # of rows: it makes wide numbers of them
    for steps in MASK_STEPS:
        rounded = (codes * steps + white // 2) // white
        table = (rounded * (MAX_LEVEL // steps)).astype(np.uint8)
        errors = (codes / white - rounded / steps) ** 2
        yield table[alpha], float(errors @ counts / alpha.size)
