"""A target in decibels: the smallest file that reaches it, found by fits of different sizes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

from smartsplat.bitstream import container
from smartsplat.bitstream.container import Extras
from smartsplat.bitstream.file import to_file
from smartsplat.decoder import Reader
from smartsplat.encoder.densify import top_by_energy
from smartsplat.encoder.error_weights import WeightPyramid
from smartsplat.encoder.settings import FitSettings
from smartsplat.errors import SettingsError, warn_of
from smartsplat.images.image import SourceImage

TOLERANCE = 0.1  # dB above the target that a file may have
MAX_PSNR = 150.0  # dB, stands for equal images: one sample that differs by the least leaves less
MAX_FITS = 6
SHORT_FITS = 2  # that only look for the size
SHORT_STEPS = 150
MAX_PRUNINGS = 12
FIRST_RATIO = 200
TYPICAL_SLOPE = 6.0 / math.log(10)  # dB for a factor e in size: the mean over the development images
SLOPE_RANGE = (1.0, 12.0)  # of what two fits may tell of the slope
MIN_LOG_DISTANCE = 0.05  # between two sizes that tell a slope
MAX_LOG_STEP = 2.0
MIN_ROOM = 64  # bytes of coded Gaussians in the smallest file that is tried


class SecantSearch:
    """Finds the size at which a value that rises nearly linearly with its logarithm reaches a target.

    Args:
        target: the value to reach.
        size: the first to try.
        min_size, max_size: bounds of what is tried.
        slope: of the value by the natural logarithm of the size, until two sizes tell it.
    """

    def __init__(self, target: float, size: int, min_size: int, max_size: int, slope: float) -> None:
        self.size = size
        self._target, self._min_size, self._max_size, self._slope = target, min_size, max_size, slope
        self._last: tuple[float, float] | None = None

    def record(self, value: float) -> bool:
        """Take the value at ``size`` and move on to the next size. False if that is the same."""
        log_size = math.log(self.size)
        if self._last is not None and abs(log_size - self._last[0]) > MIN_LOG_DISTANCE:
            slope = (value - self._last[1]) / (log_size - self._last[0])
            self._slope = min(max(slope, SLOPE_RANGE[0]), SLOPE_RANGE[1])
        self._last = log_size, value
        step = min(max((self._target - value) / self._slope, -MAX_LOG_STEP), MAX_LOG_STEP)
        before, self.size = self.size, int(min(max(self.size * math.exp(step), self._min_size), self._max_size))
        return self.size != before


def search_psnr(
    encode_to_bytes: Callable[[int, FitSettings], bytes],
    psnr_of: Callable[[bytes], float],
    is_stopped: Callable[[], bool],
    min_psnr: float,
    settings: FitSettings,
    source: SourceImage,
    threads: int,
    weights: WeightPyramid | None = None,
) -> bytes:
    """The smallest file found whose decoded PSNR is at least ``min_psnr`` decibels.

    Short fits find the size at which the PSNR crosses the target, full ones correct it until they are within the
    tolerance above it. Equal fits of different sizes scatter, on smooth images by more than that: then the weakest
    Gaussians of the smallest good file are pruned.

    Args:
        encode_to_bytes: one fit, in a file of at most so many bytes.
        psnr_of: of a file, decoded, decibels.
        is_stopped: whether the caller has ended the last fit early.
        weights: of errors, for pruning.

    Raises:
        SettingsError: no fit reached the PSNR.
    """
    raw_bytes = 3 * source.width * source.height
    min_bytes = container.overhead(1, Extras(metadata=source.metadata)) + MIN_ROOM
    search = SecantSearch(
        min_psnr + TOLERANCE / 2,
        max(min_bytes, raw_bytes // FIRST_RATIO),
        min_bytes,
        max(raw_bytes, min_bytes),
        TYPICAL_SLOPE,
    )
    short = replace(settings, steps=min(settings.steps, SHORT_STEPS))
    best: bytes | None = None
    best_psnr = 0.0
    reached: list[float] = []
    for trial in range(MAX_FITS):
        full = trial >= SHORT_FITS or short.steps == settings.steps
        data = encode_to_bytes(search.size, settings if full else short)
        if is_stopped():
            if best is None and (stopped_psnr := psnr_of(data)) < min_psnr:
                warn_of([f"stopped at {stopped_psnr:.2f} dB, short of the {min_psnr:g} dB asked for"])
            return best or data
        decoded_psnr = psnr_of(data)
        psnr = min(decoded_psnr, MAX_PSNR)
        reached.append(psnr)
        if full and psnr >= min_psnr and (best is None or len(data) < len(best)):
            best, best_psnr = data, decoded_psnr
        if full and min_psnr <= psnr <= min_psnr + TOLERANCE:
            break
        if not search.record(psnr) and full:
            break
    if best is None:
        raise SettingsError(
            f"a PSNR of {min_psnr:g} dB was not reached: the best of {len(reached)} fits got {max(reached):.2f} dB"
        )
    return _prune_to_psnr(best, best_psnr, min_psnr, psnr_of, threads, weights)


def _prune_to_psnr(
    data: bytes,
    psnr: float,
    min_psnr: float,
    psnr_of: Callable[[bytes], float],
    threads: int,
    weights: WeightPyramid | None = None,
) -> bytes:
    """The file, whose PSNR is ``psnr``, with fewer Gaussians if that is too far above ``min_psnr``."""
    file, gaussians = container.unpack(data), Reader(data, threads=threads).gaussians()
    enough, too_few = len(gaussians), 0
    for _ in range(MAX_PRUNINGS):
        count = (enough + too_few) // 2
        if count == too_few or psnr <= min_psnr + TOLERANCE:
            break
        kept = gaussians[top_by_energy(gaussians, count, weights)]
        smaller = container.pack(to_file(kept, file.quantizer, file.extras, threads))
        smaller_psnr = psnr_of(smaller)
        if smaller_psnr >= min_psnr:
            data, psnr, enough = smaller, smaller_psnr, count
        else:
            too_few = count
    return data
