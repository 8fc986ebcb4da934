"""The encoder's pipeline, from an image to the bytes of a .sspl file. Start reading here.

image  ->  target  ->  initialize (E9-E21)  ->  fit (E22: optimise, densify, quantise)
       ->  prune overlap  ->  quantise and entropy-code into the budget  ->  bytes
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from smartsplat.bitstream import container
from smartsplat.bitstream.file import to_file
from smartsplat.bitstream.quantize import Quantizer
from smartsplat.decoder import Reader
from smartsplat.encoder.compute import Compute, open_compute
from smartsplat.encoder.fit import CountPlan, Fit, Progress, ProgressCallback, initial_count
from smartsplat.encoder.initialize import initialize
from smartsplat.encoder.psnr_search import search_psnr
from smartsplat.encoder.rate_control import ByteBudget, ExactCount, drop_large_profile, fill_budget, prune_overlap
from smartsplat.encoder.settings import FitSettings, trials_of
from smartsplat.encoder.target import Target
from smartsplat.errors import SettingsError
from smartsplat.gaussians import Gaussians, nominal_count
from smartsplat.images.image import SourceImage, from_object
from smartsplat.metrics import psnr_of_strips
from smartsplat.threads import available_threads


def encode(
    image: Any,
    *,
    ratio: float | None = None,
    bpp: float | None = None,
    max_bytes: int | None = None,
    psnr: float | None = None,
    gaussians: int | None = None,
    effort: int = 5,
    preset: str | None = None,
    steps: int | None = None,
    seed: int = 0,
    threads: int | None = None,
    device: str = "auto",
    background: tuple[int, int, int] = (255, 255, 255),
    progress: ProgressCallback | None = None,
    size: int | None = None,
) -> bytes:
    """Compress an image into the bytes of a .sspl file.

    The same arguments give the same bytes on one machine, whatever ``threads`` is. Give at most one of the targets
    ``ratio``, ``bpp``, ``max_bytes``, ``psnr`` and ``gaussians``.

    Args:
        image: a path, the bytes of an image file, an open binary file, a Pillow image, or a uint8 array [H, W],
            [H, W, 1], [H, W, 3] or [H, W, 4].
        ratio: R, for a file of at most 3 H W / R bytes. The default target, with R = 100.
        bpp: at most so many bits per pixel.
        max_bytes: at most so many bytes.
        psnr: at least so many decibels.
        gaussians: exactly so many Gaussians.
        effort: 1 (fast) to 9 (best): docs/effort.md.
        preset: "paper" fits with the paper's settings.
        steps: overrides the number of optimisation steps of the effort or the preset.
        seed: of the random numbers.
        threads: on the processor; the default is all.
        device: "cpu", "cuda" or "cuda:N" (docs/gpu.md); "auto" is the first GPU that can be used, or else the CPU.
        background: RGB on which transparency is flattened.
        progress: called after every step with a ``smartsplat.Progress``; returning False ends the fit there, and the
            file holds what there is.
        size: the old name of ``max_bytes``, until version 0.7.

    Returns:
        The bytes of the file, everything included.

    Raises:
        ImageError: the image cannot be read.
        LimitError: the image is too large.
        SettingsError: a target contradicts another or cannot be met.
        DeviceError: the GPU is not there or too small.
    """
    max_bytes = _renamed(size, max_bytes)
    targets: dict[str, Any] = {"ratio": ratio, "bpp": bpp, "max_bytes": max_bytes, "psnr": psnr, "gaussians": gaussians}
    source = from_object(image, background=background)
    target = Target.of(source.width, source.height, **targets)
    source = drop_large_profile(source, target)
    trials = trials_of(effort, preset, steps)
    compute = open_compute(device, threads or available_threads())
    job = _Job(source, compute, seed, _ProgressRelay(progress))
    if target.min_psnr is not None:
        return _encode_to_psnr(job, target.min_psnr, trials[0])
    if target.gaussians is not None:
        return _encode_count(job, target.gaussians, max(trials, key=lambda trial: trial.steps))
    assert target.max_bytes is not None
    return _encode_best(job, target.max_bytes, trials)


def _encode_to_bytes(job: _Job, max_bytes: int, settings: FitSettings) -> bytes:
    """One fit, in a file of at most ``max_bytes``."""
    width, height = job.source.width, job.source.height
    plan = ByteBudget(max_bytes, width * height, job.source.icc, job.compute.threads)
    count = plan.first_count()
    if settings.densify is None:  # the paper counts Gaussians, not bytes
        count = nominal_count(width, height, 3 * width * height / max_bytes)  # E5
    fitted, quantizer = _fit(job, plan, count, settings)
    return fill_budget(fitted, quantizer, max_bytes, job.source.icc, job.compute.threads)


def _fit(job: _Job, plan: CountPlan, count: int, settings: FitSettings) -> tuple[Gaussians, Quantizer]:
    """Fit about ``count`` Gaussians to the source; returns them with the quantiser that they were fine-tuned for."""
    pixels, compute = job.source.pixels, job.compute
    initial = initialize(
        pixels, initial_count(count, settings), seed=job.seed, threads=compute.threads, sampler=compute.sampler
    )
    fit = Fit(pixels, initial, plan, settings, compute, final_count=count, seed=job.seed)
    gaussians, quantizer = fit.run(job.progress)
    return prune_overlap(gaussians, quantizer), quantizer


def _encode_best(job: _Job, max_bytes: int, trials: Sequence[FitSettings]) -> bytes:
    """The file with the highest PSNR, so that an effort level never falls behind one whose trials it contains."""
    if len(trials) == 1:
        return _encode_to_bytes(job, max_bytes, trials[0])
    job.progress.all_steps = sum(settings.steps for settings in trials)
    files: list[tuple[float, bytes]] = []
    for settings in trials:
        data = _encode_to_bytes(job, max_bytes, settings)
        files.append((job.psnr_of(data), data))
        job.progress.steps_before += settings.steps
        if job.progress.stopped:
            break
    return max(files, key=lambda file: file[0])[1]


def _encode_count(job: _Job, count: int, settings: FitSettings) -> bytes:
    """One fit of exactly ``count`` Gaussians, whatever its bytes."""
    fitted, quantizer = _fit(job, ExactCount(count), count, settings)
    return container.pack(to_file(fitted, quantizer, job.source.icc, job.compute.threads))


def _encode_to_psnr(job: _Job, min_psnr: float, settings: FitSettings) -> bytes:
    """The smallest file found of at least ``min_psnr`` decibels."""
    return search_psnr(
        partial(_encode_to_bytes, job),
        job.psnr_of,
        lambda: job.progress.stopped,
        min_psnr,
        settings,
        job.source,
        job.compute.threads,
    )


@dataclass(frozen=True)
class _Job:
    """What stays the same over all fits of an encode."""

    source: SourceImage
    compute: Compute
    seed: int
    progress: _ProgressRelay

    def psnr_of(self, data: bytes) -> float:
        """PSNR, decibels, of a file against the source."""
        strips = Reader(data, threads=self.compute.threads).strips()
        return psnr_of_strips(self.source.pixels, strips.parts)


class _ProgressRelay:
    """Passes the progress of fits on to the caller of ``encode``, and remembers whether that has stopped them.

    Several fits are reported as one of ``all_steps`` steps; those that have ended made ``steps_before`` of them.
    """

    def __init__(self, callback: ProgressCallback | None) -> None:
        self.stopped = False
        self.all_steps: int | None = None
        self.steps_before = 0
        self._callback = callback

    def __call__(self, at: Progress) -> bool:
        if self.all_steps is not None:
            at = replace(at, step=self.steps_before + at.step, steps=self.all_steps)
        self.stopped = self._callback is not None and self._callback(at) is False
        return not self.stopped


def _renamed(size: int | None, max_bytes: int | None) -> int | None:
    """``max_bytes``, which was called ``size`` until version 0.6."""
    if size is None:
        return max_bytes
    warnings.warn("encode(size=) is now encode(max_bytes=)", DeprecationWarning, stacklevel=3)
    if max_bytes is not None:
        raise SettingsError("size is the old name of max_bytes: give one of them")
    return size
