"""Meeting a target: how many Gaussians, and how finely rounded, make a file of the wanted size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from smartsplat import container, entropy
from smartsplat.codec import Reader
from smartsplat.container import TILE, File, Group
from smartsplat.errors import SettingsError
from smartsplat.fit import Fit, Listener, Progress
from smartsplat.gaussians import Gaussians, nominal_count
from smartsplat.grow import energy, strongest
from smartsplat.image import Picture, without_profile
from smartsplat.metrics import psnr_of_strips
from smartsplat.quantize import LARGEST_QUALITY, Quantizer, SymbolArray, dequantize, quantize
from smartsplat.raster import Backend
from smartsplat.raster.device import open_backend
from smartsplat.settings import EFFORT_TRIES, PAPER, FitSettings, Limits

DEFAULT_RATIO = 100

TYPICAL_BYTES = 4.6
"""Bytes of a Gaussian before any was coded: the mean over the development pictures."""

AIM = 1.005
"""Share of the budget that a fit aims at: Gaussians lose some energy after the last count, and leaving out a few of the
weakest costs less than what room is left over is worth."""

SAMPLE = 1 << 16
"""Gaussians that are coded for a rough count: off by 0.4 % of 136 000, by 2 % of 1.4 million."""

PROFILE_SHARE = 1 / 8
"""Most of a target in bytes that an ICC profile may take."""

FINEST_GAIN = 48
"""Most steps of quality (eighths of an octave) that a file with room to spare is refined by."""


@dataclass(frozen=True)
class ExactCount:
    """The plan of ``--gaussians``."""

    wanted: int

    def count(self, gaussians: Gaussians, quantizer: Quantizer, rough: bool = False) -> int:
        return self.wanted


@dataclass(frozen=True)
class ByteBudget:
    """The plan of every target in bytes: as many Gaussians as fit, judged by coding those that are there."""

    budget: int
    most: int  # Gaussians: one a pixel, which is more than the bytes of the pixels hold
    icc: bytes | None = None
    threads: int = 1

    def first_count(self) -> int:
        """A start before anything is fitted. SettingsError if not even one Gaussian fits."""
        room = self.budget - container.overhead(1, self.icc)
        if room < 12:
            smallest = container.overhead(1, self.icc) + 12
            raise SettingsError(f"the target of {self.budget} bytes is too small, a file takes at least {smallest}")
        return min(max(1, int(room / TYPICAL_BYTES)), self.most)

    def count(self, gaussians: Gaussians, quantizer: Quantizer, rough: bool = False) -> int:
        fixed = container.overhead(1, self.icc)
        some = _sample(gaussians, quantizer) if rough else gaussians
        size = len(container.pack(to_file(some, quantizer, self.icc, self.threads)))
        each = max((size - fixed) / len(some), 0.5)
        return min(max(1, int((AIM * self.budget - fixed) / each)), self.most)


def _sample(gaussians: Gaussians, quantizer: Quantizer) -> Gaussians:
    """About ``SAMPLE`` Gaussians: those in every so many squares of the picture, which do not line up. All of them if
    there are not many more, or if they crowd in a few squares."""
    every = len(gaussians) // SAMPLE
    if every < 2:
        return gaussians
    side = math.sqrt(quantizer.width * quantizer.height * entropy.GROUP / len(gaussians))
    column, row = (gaussians.mean // side).astype(np.int64).T
    chosen = (column + (every + 1) // 2 * row) % every == 0
    return gaussians[chosen] if chosen.sum() > SAMPLE // 4 else gaussians


def to_file(gaussians: Gaussians, quantizer: Quantizer, icc: bytes | None, threads: int = 1) -> File:
    """Round, order and code Gaussians."""
    groups = entropy.split(quantize(gaussians, quantizer))
    coded = entropy.encode(groups, quantizer, threads)
    packed = tuple(Group(len(group), reach(group, quantizer), data) for group, data in zip(groups, coded, strict=True))
    return File(quantizer, packed, icc)


def reach(symbols: SymbolArray, quantizer: Quantizer) -> tuple[int, int, int, int]:
    """The tiles that a group's Gaussians touch: x begin, y begin, x end, y end."""
    g = dequantize(symbols, quantizer)
    radius = 3 * g.scale.max(axis=1, keepdims=True)
    low = np.floor((g.mean - radius).min(axis=0) / TILE)
    high = np.ceil((g.mean + radius).max(axis=0) / TILE)
    most = np.ceil(np.array([quantizer.width, quantizer.height]) / TILE)
    x0, y0 = np.clip(low, 0, most).astype(int)
    x1, y1 = np.clip(high, 0, most).astype(int)
    return int(x0), int(y0), int(x1), int(y1)


def fill(gaussians: Gaussians, quantizer: Quantizer, budget: int, icc: bytes | None, threads: int = 1) -> bytes:
    """The best file of at most ``budget`` bytes: refined while there is room, or with the weakest left out."""

    def packed(chosen: Gaussians, quality: int) -> bytes:
        q = Quantizer(quality, quantizer.cell_log2, quantizer.width, quantizer.height, quantizer.channels)
        return container.pack(to_file(chosen, q, icc, threads))

    raw = 3 * quantizer.width * quantizer.height
    best = packed(gaussians, quantizer.quality)
    if len(best) <= budget:
        for quality in range(quantizer.quality + 1, min(quantizer.quality + FINEST_GAIN, LARGEST_QUALITY) + 1):
            finer = packed(gaussians, quality)
            if len(finer) > min(budget, raw):
                break
            best = finer
        return best
    fits, too_many, size = 0, len(gaussians), len(best)
    guess = int(too_many * budget / size)
    best = packed(gaussians[:0], quantizer.quality)
    while too_many - fits > max(1, len(gaussians) // 500):
        guess = min(max(guess, fits + 1), too_many - 1)
        data = packed(gaussians[strongest(gaussians, guess)], quantizer.quality)
        if len(data) <= budget:
            fits, best = guess, data
            guess = (fits + too_many) // 2
        else:
            too_many = guess
            guess = int(too_many * budget / len(data))
    if not fits:  # not even one, as fine as this
        for quality in range(quantizer.quality - 8, -1, -8):
            data = packed(gaussians[strongest(gaussians, 1)], quality)
            if len(data) <= budget:
                return data
    if len(best) > budget:
        raise SettingsError(f"the target of {budget} bytes is too small, the smallest file takes {len(best)}")
    return best


def readable(gaussians: Gaussians, quantizer: Quantizer) -> Gaussians:
    """Without those that would make readers refuse the file for its work: see ``Limits.overlap``.

    Only pictures of long stripes come near the limit. Those go that have the least energy for the tiles of their boxes,
    until nine tenths of it lie over each tile of the picture.
    """
    cosine, sine = np.cos(gaussians.rotation), np.sin(gaussians.rotation)
    along, across = gaussians.scale[:, 0], gaussians.scale[:, 1]
    extent = 3 * np.stack([np.hypot(along * cosine, across * sine), np.hypot(along * sine, across * cosine)], axis=1)
    size = -(-np.array([quantizer.width, quantizer.height]) // TILE)
    most = 0.9 * Limits().overlap * size.prod()
    first = np.clip(np.floor((gaussians.mean - extent) / TILE), 0, size - 1)
    last = np.clip(np.floor((gaussians.mean + extent) / TILE), 0, size - 1)
    tiles = (last - first + 1).prod(axis=1, dtype=np.float64)
    if tiles.sum() <= most:
        return gaussians
    best = np.argsort(-energy(gaussians) / tiles, kind="stable")
    return gaussians[np.sort(best[np.cumsum(tiles[best]) <= most])]


@dataclass(frozen=True)
class Target:
    """What an encode is to meet: exactly one of the three."""

    size: int | None = None  # bytes, at most
    psnr: float | None = None  # decibels, at least
    gaussians: int | None = None

    @staticmethod
    def of(
        picture: Picture,
        *,
        ratio: float | None,
        bpp: float | None,
        size: int | None,
        psnr: float | None,
        gaussians: int | None,
    ) -> Target:
        """The target that the caller's arguments name; a ratio of 100 if they name none."""
        given = {"ratio": ratio, "bpp": bpp, "size": size, "psnr": psnr, "gaussians": gaussians}
        named = [name for name, value in given.items() if value is not None]
        if len(named) > 1:
            raise SettingsError(f"{' and '.join(named)} exclude each other: give one target")
        for name in named:
            value = given[name]
            if not (value is not None and math.isfinite(value) and value > 0):
                raise SettingsError(f"{name} must be a positive number, and {value} is not")
        if psnr is not None:
            return Target(psnr=psnr)
        limits = Limits()
        if gaussians is not None:
            if gaussians > limits.gaussians:
                raise SettingsError(f"{gaussians} Gaussians are more than the {limits.gaussians} that readers accept")
            return Target(gaussians=gaussians)
        pixels = picture.width * picture.height
        wanted: float = pixels * bpp / 8 if bpp is not None else 3 * pixels / (ratio or DEFAULT_RATIO)
        return Target(size=int(min(wanted if size is None else size, limits.file_bytes)))


def affordable(picture: Picture, target: Target) -> Picture:
    """The picture, in sRGB if its profile takes too much of a target in bytes or is larger than readers accept."""
    if picture.icc is None:
        return picture
    stored = container.overhead(0, picture.icc) - container.overhead(0, None)
    if len(picture.icc) <= Limits().profile_bytes and (target.size is None or stored <= PROFILE_SHARE * target.size):
        return picture
    return without_profile(picture)


def fit_settings(effort: int, preset: str | None, steps: int | None) -> tuple[FitSettings, ...]:
    """The fits of an effort level, or the one of a preset; ``steps`` overrides their number of steps."""
    if effort not in EFFORT_TRIES:
        raise SettingsError(f"effort must be 1 to {max(EFFORT_TRIES)}, and {effort} is not")
    if preset not in (None, "paper"):
        raise SettingsError(f"there is no preset {preset!r}: the one there is, is 'paper'")
    if steps is not None and steps < 1:
        raise SettingsError(f"a fit takes at least one step, not {steps}")
    tries = (
        (PAPER,) if preset else tuple(FitSettings(steps=count, noise=noise) for count, noise in EFFORT_TRIES[effort])
    )
    return tuple(dict.fromkeys(replace(each, steps=steps) for each in tries)) if steps else tries


def encode_to_target(
    picture: Picture,
    target: Target,
    tries: Sequence[FitSettings],
    rng: int,
    threads: int,
    device: str = "cpu",
    listener: Listener | None = None,
) -> bytes:
    """Fit a picture and write the file that meets the target; of several tries at a size, the best."""
    picture = affordable(picture, target)
    backend = open_backend(device, threads)
    if target.psnr is not None:
        return _encode_to_psnr(picture, target.psnr, tries[0], rng, backend, threads, listener)
    if target.gaussians is not None:
        plan = ExactCount(target.gaussians)
        longest = max(tries, key=lambda settings: settings.steps)
        fit = Fit(picture.pixels, plan, target.gaussians, longest, backend, threads=threads, rng=rng)
        return container.pack(to_file(*_fitted(fit, listener), picture.icc, threads))
    assert target.size is not None
    return _best_of(picture, target.size, tries, rng, backend, threads, listener)


def _best_of(
    picture: Picture,
    size: int,
    tries: Sequence[FitSettings],
    rng: int,
    backend: Backend,
    threads: int,
    listener: Listener | None,
) -> bytes:
    """The file with the highest PSNR, so that a level never falls behind one whose tries it contains."""
    if len(tries) == 1:
        return _encode_to_size(picture, size, tries[0], rng, backend, threads, listener)
    all_steps = sum(settings.steps for settings in tries)
    before, stopped = 0, False
    files: list[tuple[float, bytes]] = []

    def listen(progress: Progress) -> bool:
        nonlocal stopped
        overall = replace(progress, step=before + progress.step, steps=all_steps)
        stopped = listener is not None and listener(overall) is False
        return not stopped

    for settings in tries:
        data = _encode_to_size(picture, size, settings, rng, backend, threads, listen)
        files.append((_decoded_psnr(data, picture, threads), data))
        before += settings.steps
        if stopped:
            break
    return max(files, key=lambda file: file[0])[1]


def _encode_to_size(
    picture: Picture,
    size: int,
    settings: FitSettings,
    rng: int,
    backend: Backend,
    threads: int,
    listener: Listener | None,
) -> bytes:
    plan = ByteBudget(size, picture.width * picture.height, picture.icc, threads)
    count = plan.first_count()
    if settings.growth is None:
        count = nominal_count(picture.width, picture.height, 3 * picture.width * picture.height / size)
    fit = Fit(picture.pixels, plan, count, settings, backend, threads=threads, rng=rng)
    return fill(*_fitted(fit, listener), size, picture.icc, threads)


def _fitted(fit: Fit, listener: Listener | None) -> tuple[Gaussians, Quantizer]:
    gaussians, quantizer = fit.run(listener)
    return readable(gaussians, quantizer), quantizer


PSNR_TOLERANCE = 0.1  # dB
PSNR_HIGHEST = 150.0  # dB, stands for equal pictures: one sample of the largest that differs leaves less
PSNR_TRIALS = 6
PSNR_TRIMS = 12
TRIAL_STEPS = 150
"""Steps of the fits that only look for the size at which a PSNR is reached."""


def _encode_to_psnr(
    picture: Picture,
    wanted: float,
    settings: FitSettings,
    rng: int,
    backend: Backend,
    threads: int,
    listener: Listener | None,
) -> bytes:
    """The smallest file found whose decoded PSNR is at least ``wanted``.

    PSNR rises nearly linearly with the logarithm of the size. Cheap fits find where it crosses the target, full
    ones correct by the last slope until they are within the tolerance above it. Equal fits of different sizes scatter,
    on smooth pictures by more than that: then the weakest Gaussians of the smallest good file are left out.
    """
    stopped = False

    def listen(progress: Progress) -> bool:
        nonlocal stopped
        stopped = listener is not None and listener(progress) is False
        return not stopped

    raw = 3 * picture.width * picture.height
    smallest = container.overhead(1, picture.icc) + 64
    largest = max(raw, smallest)
    slope = 6.0 / math.log(10)  # dB for a factor e: the mean over the development pictures
    size = max(smallest, raw // 200)
    quick = replace(settings, steps=min(settings.steps, TRIAL_STEPS))
    best: bytes | None = None
    best_decibels = 0.0
    reached: list[tuple[float, float]] = []
    for trial in range(PSNR_TRIALS):
        full = trial >= 2 or quick.steps == settings.steps
        data = _encode_to_size(picture, size, settings if full else quick, rng, backend, threads, listen)
        if stopped:
            return best or data
        found = _decoded_psnr(data, picture, threads)
        decibels = min(found, PSNR_HIGHEST)
        if full and decibels >= wanted and (best is None or len(data) < len(best)):
            best, best_decibels = data, found
        if full and wanted <= decibels <= wanted + PSNR_TOLERANCE:
            break
        if reached and abs(math.log(size) - reached[-1][0]) > 0.05:
            slope = min(max((decibels - reached[-1][1]) / (math.log(size) - reached[-1][0]), 1.0), 12.0)
        reached.append((math.log(size), decibels))
        # A full fit aims at the middle of the tolerance.
        step = min(max((wanted + PSNR_TOLERANCE / 2 - decibels) / slope, -2.0), 2.0)
        before, size = size, int(min(max(size * math.exp(step), smallest), largest))
        if full and size == before:
            break
    if best is None:
        most = max(decibels for _, decibels in reached)
        raise SettingsError(
            f"a PSNR of {wanted:g} dB was not reached: the best of {len(reached)} fits got {most:.2f} dB"
        )
    return _trimmed(best, best_decibels, wanted, picture, threads)


def _trimmed(data: bytes, decibels: float, wanted: float, picture: Picture, threads: int) -> bytes:
    """The file, whose PSNR is ``decibels``, with fewer Gaussians if that is too far above ``wanted``."""
    file, gaussians = container.parse(data), Reader(data, threads=threads).gaussians()
    enough, too_few = len(gaussians), 0
    for _ in range(PSNR_TRIMS):
        count = (enough + too_few) // 2
        if count == too_few or decibels <= wanted + PSNR_TOLERANCE:
            break
        fewer = gaussians[strongest(gaussians, count)]
        smaller = container.pack(to_file(fewer, file.quantizer, file.icc, threads))
        reached = _decoded_psnr(smaller, picture, threads)
        if reached >= wanted:
            data, decibels, enough = smaller, reached, count
        else:
            too_few = count
    return data


def _decoded_psnr(data: bytes, picture: Picture, threads: int) -> float:
    return psnr_of_strips(picture.pixels, Reader(data, threads=threads).strips().parts)
