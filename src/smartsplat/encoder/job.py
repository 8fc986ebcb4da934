"""What stays the same over all fits of an encode, and how their files are judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from smartsplat.arrays import ByteArray, SampleArray
from smartsplat.bitstream.container import Extras
from smartsplat.decoder import Reader
from smartsplat.encoder.bleed import bled
from smartsplat.encoder.blocks.boxes import Box
from smartsplat.encoder.blocks.runner import BlockRunner, LocalRunner, RunnerOpener
from smartsplat.encoder.checkpoint import Checkpoint
from smartsplat.encoder.compute import Compute
from smartsplat.encoder.error_weights import (
    EYE_UNIT,
    WeightPyramid,
    alpha_weights,
    eye_weights,
    mean_square_error,
    product,
)
from smartsplat.encoder.fit import Progress, ProgressCallback
from smartsplat.encoder.pyramid import reduced_luma
from smartsplat.encoder.settings import FitSettings, Tune
from smartsplat.images.image import SourceImage
from smartsplat.metrics import psnr_of_strips, ssim
from smartsplat.render import COARSE_CELL


@dataclass(frozen=True)
class EncodeJob:
    """What stays the same over all fits of an encode."""

    source: SourceImage  # of colours; what is transparent has those of what is visible nearby
    original: SampleArray  # pixels of the source before that: what PSNR is measured against
    alpha: SampleArray | None  # [H, W]
    weights: WeightPyramid | None  # of errors: those below, times those for the eye; of blocks each has its own
    plain_weights: WeightPyramid | None  # those given times those of opacity
    extras: Extras  # without alpha
    compute: Compute
    seed: int
    progress: ProgressRelay
    report: ProgressCallback  # of the fit at hand
    own_weights: ByteArray | None  # those that the caller gave
    tune: Tune
    blocks: list[Box]  # that the image is fitted in; none: whole
    runner: BlockRunner | None  # of these
    checkpoint: Checkpoint | None = None

    @staticmethod
    def of(
        source: SourceImage,
        weights: ByteArray | None,
        compute: Compute,
        seed: int,
        tune: Tune,
        progress: ProgressRelay,
        blocks: Sequence[Box] = (),
        runner: RunnerOpener = LocalRunner,
    ) -> EncodeJob:
        original, alpha, own = source.pixels, source.alpha, weights
        if alpha is not None:
            source = replace(source, pixels=bled(source.pixels, alpha), alpha=None)
            weights = product(weights, alpha_weights(alpha))
        plain = pyramid = None if weights is None else WeightPyramid(weights)
        if tune == Tune.EYE and not blocks:
            pyramid = WeightPyramid(eye_weights(source.pixels, weights), EYE_UNIT)
        extras = Extras(source.depth, source.metadata)
        opened = runner(source.pixels, compute) if blocks else None
        return EncodeJob(
            source=source,
            original=original,
            alpha=alpha,
            weights=pyramid,
            plain_weights=plain,
            extras=extras,
            compute=compute,
            seed=seed,
            progress=progress,
            report=progress,
            own_weights=own,
            tune=tune,
            blocks=list(blocks),
            runner=opened,
        )

    def of_plane(self, pixels: SampleArray) -> EncodeJob:
        """The same for another plane, [H, W, 1], by the caller's weights alone."""
        plane = SourceImage(np.ascontiguousarray(pixels))
        own = EncodeJob.of(plane, self.own_weights, self.compute, self.seed, Tune.PSNR, self.progress)
        return replace(own, checkpoint=self.checkpoint)

    @property
    def beside(self) -> EncodeJob:
        """The same for a fit beside those whose steps are counted."""
        return replace(self, report=self.progress.beside)

    def psnr_of(self, data: bytes) -> float:
        """PSNR, decibels, of a file against the source, opacity included."""
        strips = Reader(data, threads=self.compute.threads).strips(dtype=self.source.pixels.dtype)
        return psnr_of_strips(self.original, strips.parts, self.alpha)

    def score_of(self, data: bytes, settings: FitSettings) -> float:
        """What the best of several files has most of: PSNR; with weights given, or for the eye, less of its loss.

        With alpha it is PSNR even for the eye: that of composites, which opacity is a part of.
        """
        if self.own_weights is None and (self.tune == Tune.PSNR or self.alpha is not None):
            return self.psnr_of(data)
        loss = mean_square_of(self, data, settings.coarse)
        if settings.structure and self.plain_weights is None:
            loss += settings.structure * _structure_error(self, data)
        return -loss


class ProgressRelay:
    """Passes the progress of fits on to the caller of ``encode``, and remembers whether that has stopped them.

    Several fits are reported as one of ``all_steps`` steps; those that have ended made ``steps_before`` of them. Fits
    beside them are told of without a step. Once stopped, every fit ends after its first step. ``fit_psnr`` is the
    highest PSNR that a fit ended with, decibels.
    """

    def __init__(self, callback: ProgressCallback | None) -> None:
        self.stopped = False
        self.all_steps: int | None = None
        self.steps_before = 0
        self.fit_psnr = 0.0
        self._callback = callback

    def __call__(self, at: Progress) -> bool:
        if at.step == at.steps:
            self.fit_psnr = max(self.fit_psnr, at.psnr)
        return self._tell(at, at.step)

    def beside(self, at: Progress) -> bool:
        """The progress of a fit that the steps do not count."""
        return self._tell(at, 0)

    def _tell(self, at: Progress, step: int) -> bool:
        if self._callback is not None and not self.stopped:
            at = replace(at, step=self.steps_before + step, steps=self.all_steps or at.steps)
            self.stopped = self._callback(at) is False
        return not self.stopped


def mean_square_of(job: EncodeJob, data: bytes, coarse: float = 0.0) -> float:
    """Mean square error of the colours of a file, samples in [0, 1], by the weights of the job."""
    pixels, weights = job.source.pixels, job.weights
    strips = Reader(data, threads=job.compute.threads).strips(dtype=pixels.dtype)
    parts = (part[..., : pixels.shape[2]] for part in strips.parts)
    if weights is None:
        return mean_square_error(pixels, parts, None, coarse)
    return weights.mean_square_error(pixels, parts, coarse)


def _structure_error(job: EncodeJob, data: bytes) -> float:
    """1 - SSIM of luma of a file, shrunk as in a fit's term of structure."""
    pixels = job.source.pixels
    strips = Reader(data, threads=job.compute.threads).strips(dtype=pixels.dtype)
    small = np.concatenate([reduced_luma(part, COARSE_CELL) for part in strips.parts])
    return 1 - ssim(reduced_luma(pixels, COARSE_CELL), small)
