"""The encoder's pipeline, from an image to the bytes of a .sspl file. Start reading here.

image  ->  target  ->  initialize (E9-E21)  ->  fit (E22: optimise, densify, quantise)
       ->  prune overlap  ->  quantise and entropy-code into the budget  ->  bytes
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from smartsplat.arguments import Background, background_color, thread_count, whole_number
from smartsplat.arrays import SampleArray
from smartsplat.bitstream import container
from smartsplat.bitstream.container import NO_EXTRAS, Alpha, Extras, Group
from smartsplat.bitstream.file import to_file
from smartsplat.bitstream.quantize import Quantizer
from smartsplat.encoder.alpha import AlphaFits, encode_alpha, exact_mask
from smartsplat.encoder.blocks.boxes import Box, blocks_of
from smartsplat.encoder.blocks.fit import BlockFit
from smartsplat.encoder.blocks.runner import BlockRunner, LocalRunner, RunnerOpener
from smartsplat.encoder.blocks.settings import block_side, obstacle_to_blocks
from smartsplat.encoder.checkpoint import Checkpoint, key_of, result_of, result_state
from smartsplat.encoder.compute import open_compute
from smartsplat.encoder.error_weights import (
    WeightPyramid,
    weights_of,
)
from smartsplat.encoder.fit import (
    CountPlan,
    Fit,
    Progress,
    ProgressCallback,
    initial_count,
    psnr_of_mean_square,
    rounding_error,
)
from smartsplat.encoder.flat import flat_file
from smartsplat.encoder.grain import LostTexture, byte_limit, fitted_grain, grain_of, lost_texture
from smartsplat.encoder.initialize import initialize
from smartsplat.encoder.job import EncodeJob, ProgressRelay, mean_square_of
from smartsplat.encoder.metadata_budget import within_budget
from smartsplat.encoder.psnr_search import MIN_ROOM, SHORT_STEPS, search_psnr
from smartsplat.encoder.rate_control import (
    TYPICAL_GAUSSIAN_BYTES,
    ByteBudget,
    ExactCount,
    fill_budget,
    prune_overlap,
)
from smartsplat.encoder.settings import FitSettings, Tune, trials_of, tune_of
from smartsplat.encoder.target import Target
from smartsplat.errors import SettingsError, warn_of
from smartsplat.gaussians import Gaussians, nominal_count
from smartsplat.images.image import SourceImage, flatten, from_object

MIN_TRIAL_STEPS = 50
"""Of the fits that only tell what bytes of opacity are worth; others take a quarter of the steps."""

EXCESS_PARTS = (1 / 64, 1 / 16, 1 / 4)
"""Of the bytes of a file with less error than its source: what may do as well."""


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
    tune: str | None = None,
    grain: float | str | None = None,
    seed: int = 0,
    threads: int | None = None,
    device: str = "auto",
    weights: Any = None,
    background: Background | None = None,
    strip: bool = False,
    progress: ProgressCallback | None = None,
    checkpoint: str | os.PathLike[str] | None = None,
    block: int | None = None,
    runner: RunnerOpener = LocalRunner,
) -> bytes:
    """Compress an image into the bytes of a .sspl file.

    The same arguments give the same bytes on one machine, whatever ``threads`` is. Give at most one of the targets
    ``ratio``, ``bpp``, ``max_bytes``, ``psnr`` and ``gaussians``. What is changed or left out on the way is a
    ``SmartSplatWarning``.

    Args:
        image: a path, the bytes of an image file, an open binary file, a Pillow image, a ``SourceImage``, or an array
            [H, W] or [H, W, 1 to 4] of uint8, uint16 or floats in [0, 1]; 2 and 4 channels have alpha. An array may
            be a memmap, or one of Zarr, h5py or Dask, which is read chunk by chunk.
        ratio: R, for a file of at most 3 H W / R bytes. The default target, with R = 100.
        bpp: at most so many bits per pixel.
        max_bytes: at most so many bytes.
        psnr: at least so many decibels; with alpha, of composites over black and over white.
        gaussians: exactly so many Gaussians, those of alpha included.
        effort: 1 (fast) to 9 (best): docs/effort.md.
        preset: "paper" fits with the paper's settings.
        steps: overrides the number of optimisation steps of the effort or the preset.
        tune: "eye" for what looks right: errors count less where the image is busy and more where they add up over a
            few pixels; "psnr" for the smallest mean square error. The default is "eye", but "psnr" for the target
            ``psnr`` and for a preset.
        grain: 0 to 1: how much of the texture that was lost decoders replace by noise. The default, "auto", is some
            for the eye and none for ``psnr``; no PSNR that is asked for or told counts it.
        seed: of the random numbers.
        threads: on the processor; the default is all.
        device: "cpu", "cuda" or "cuda:N" (docs/gpu.md); "auto" is the first GPU that can be used, or else the CPU.
        weights: how much the errors of each pixel count: a grey image of the same size, in any form that ``image``
            takes, the brightest pixel being 1 and black 0.
        background: red, green and blue, 0 to 255, on which alpha is flattened; the default keeps it.
        strip: leave out EXIF, XMP, IPTC, GeoTIFF tags and density. The colour space stays.
        progress: called after every step with a ``smartsplat.Progress``; returning False ends the fit there, and the
            file holds what there is.
        checkpoint: a file that is written every minute, from which the same call goes on if it is there, to the same
            bytes. It stays: remove it when what is returned is safe.
        block: fit the image in blocks of about so many pixels a side, one after the other, in little memory
            (docs/guides/huge_images.md); 0: never. In blocks there is one fit, whatever the effort, and no alpha,
            weights, preset or target PSNR. The default is 4096 for images of more than 268 megapixels without these,
            and 0 for others.
        runner: opens what fits the blocks; the default does so in this process
            (``smartsplat.distributed.blocks.cluster_runner``: on a cluster).

    Returns:
        The bytes of the file, everything included.

    Raises:
        ImageError: the image, or the checkpoint, cannot be read.
        LimitError: the image is too large.
        SettingsError: an argument makes no sense, a target contradicts another or cannot be met.
        DeviceError: the GPU is not there or too small.
    """
    targets: dict[str, Any] = {"ratio": ratio, "bpp": bpp, "max_bytes": max_bytes, "psnr": psnr, "gaussians": gaussians}
    tuned = tune_of(tune, preset, psnr)
    trials = trials_of(effort, preset, steps, tuned)
    worker_threads, seed = thread_count(threads), whole_number("seed", seed, 0)
    source = prepared(from_object(image), targets, background=background, strip=strip)
    known = image.notices if isinstance(image, SourceImage) else ()
    warn_of(notice for notice in source.notices if notice not in known)
    target = Target.of(source.width, source.height, **targets)
    own_weights = None if weights is None else weights_of(from_object(weights), source)
    if own_weights is not None and preset:
        raise SettingsError(f"the preset {preset!r} takes no weights: its loss has SSIM")
    strength = grain_of(grain, tuned, psnr)
    obstacle = obstacle_to_blocks(source.alpha is not None, own_weights is not None, preset, psnr)
    side = block_side(block, source.width, source.height, obstacle)
    trials = trials[:1] if side else trials
    compute = open_compute(device, worker_threads)
    blocks = blocks_of(source.width, source.height, side) if side else []
    job = EncodeJob.of(source, own_weights, compute, seed, tuned, ProgressRelay(progress), blocks, runner)
    if checkpoint is not None:
        from importlib.metadata import version  # 30 ms, which few calls need

        settings = targets, trials, tuned, strength, side, seed, type(compute.renderer).__name__, version("smartsplat")
        key = key_of(source.pixels, source.alpha, own_weights, source.metadata, source.depth, *settings)
        job = replace(job, checkpoint=Checkpoint(checkpoint, key))
    if target.min_psnr is not None:
        return _with_grain(job, _encode_to_psnr(job, target.min_psnr, trials[0]), strength)
    if target.gaussians is not None:
        data = _encode_count(job, target.gaussians, max(trials, key=lambda trial: trial.steps))
        return _with_grain(job, data, strength)
    assert target.max_bytes is not None
    grain_bytes = byte_limit(target.max_bytes) if strength else 0
    return _with_grain(job, _encode_best(job, target.max_bytes - grain_bytes, trials), strength, grain_bytes)


def check_settings(targets: dict[str, Any], fit: dict[str, Any]) -> None:
    """Complain of arguments of ``encode`` before an image is read.

    Args:
        targets: by the names of ``Target.of``.
        fit: effort, preset, steps, tune, grain and block, None where they are not given.

    Raises:
        SettingsError: one makes no sense, or contradicts another.
    """
    Target.of(1, 1, **targets)
    tuned = tune_of(fit["tune"], fit["preset"], targets["psnr"])
    grain_of(fit["grain"], tuned, targets["psnr"])
    trials_of(fit["effort"], fit["preset"], fit["steps"])
    block_side(fit["block"], 1, 1, obstacle_to_blocks(False, False, fit["preset"], targets["psnr"]))


def prepared(
    source: SourceImage, targets: dict[str, Any], *, background: Background | None = None, strip: bool = False
) -> SourceImage:
    """The image as it is going to be encoded, with notices of what that changes: ``encode`` begins with this.

    Args:
        targets: of the encode, by the names of ``Target.of``: small ones have no room for large metadata.
        background, strip: as ``encode`` takes them.
    """
    if background is not None:
        source = flatten(source, background_color(background))
    if strip:
        stripped = replace(source.metadata, exif=None, xmp=None, iptc=None, geo=None, density=None)
        source = replace(source, metadata=stripped)
    return within_budget(source, Target.of(source.width, source.height, **targets))


def _with_grain(job: EncodeJob, data: bytes, strength: float, max_bytes: int | None = None) -> bytes:
    """The file with grain, as far as it has lost texture, of at most so many bytes."""
    if not strength or max_bytes == 0:
        return data
    grain = fitted_grain(_lost_texture(job, data), strength, max_bytes)
    if grain is None:
        return data
    file = container.unpack(data)
    return container.pack(replace(file, extras=replace(file.extras, grain=grain)))


def _lost_texture(job: EncodeJob, data: bytes) -> LostTexture:
    """What the file has lost of the image."""
    width, height = job.source.width, job.source.height
    if job.runner is None:
        return lost_texture(job.source.pixels, data, Box(0, 0, width, height), job.compute.threads)
    found = LostTexture.empty(width, height)
    for core, part in zip(job.blocks, job.runner.lost_textures(job.blocks, data), strict=True):
        found.put(part, core)
    return found


def _encode_to_bytes(job: EncodeJob, max_bytes: int, settings: FitSettings) -> bytes:
    """One fit, in a file of at most ``max_bytes``, opacity first."""
    if job.alpha is None:
        return _encode_colors(job, max_bytes, settings, job.extras)
    alpha = _encode_alpha(job, job.alpha, max_bytes, settings)
    return _encode_colors(job, max_bytes, settings, replace(job.extras, alpha=alpha))


def _encode_colors(job: EncodeJob, max_bytes: int, settings: FitSettings, extras: Extras) -> bytes:
    """One fit of a plane, in a file that holds ``extras``, too."""
    flat = flat_file(job.source.pixels, extras)
    if flat is not None and len(data := container.pack(flat)) <= max_bytes:
        return data
    width, height = job.source.width, job.source.height
    plan = ByteBudget(max_bytes, width * height, extras, job.compute.threads)
    count = plan.first_count()
    if settings.densify is None:  # the paper counts Gaussians, not bytes
        count = nominal_count(width, height, 3 * width * height / max_bytes)  # E5
    fitted, quantizer, weights = _fit(job, plan, count, settings)
    return fill_budget(fitted, quantizer, max_bytes, extras, job.compute.threads, weights)


def _encode_alpha(job: EncodeJob, opacity: SampleArray, max_bytes: int, settings: FitSettings) -> Alpha:
    """Opacity [H, W] in its share of the bytes of a whole file."""
    plane = job.of_plane(opacity[..., None])
    metadata_bytes = job.extras.size
    short = replace(settings, steps=min(max(settings.steps // 4, MIN_TRIAL_STEPS), SHORT_STEPS, settings.steps))

    def color_error(size: int) -> float:
        data = _encode_colors(job.beside, size + metadata_bytes, short, job.extras)
        return mean_square_of(replace(job, weights=job.plain_weights), data)

    def alpha_error(size: int) -> float:
        return mean_square_of(plane, _encode_colors(plane.beside, size, _for_psnr(short), NO_EXTRAS))

    def groups(size: int) -> tuple[tuple[Group, ...], Quantizer]:
        file = container.unpack(_encode_colors(plane.beside, size, _for_psnr(settings), NO_EXTRAS))
        return file.groups, file.quantizer

    fits = AlphaFits(color_error, alpha_error, groups)
    return encode_alpha(opacity, max_bytes - metadata_bytes, fits, job.compute.threads)


def _for_psnr(settings: FitSettings) -> FitSettings:
    return replace(settings, coarse=0.0, structure=0.0)


def _fit(
    job: EncodeJob, plan: CountPlan, count: int, settings: FitSettings
) -> tuple[Gaussians, Quantizer, WeightPyramid | None]:
    """Fit about ``count`` Gaussians to the source.

    Returns:
        The Gaussians, the quantiser that they were fine-tuned for, and the weights of errors.
    """
    pixels, compute = job.source.pixels, job.compute
    if job.runner is not None:
        return _fit_in_blocks(job, job.runner, plan, count, settings)
    weights = None if settings.ssim else job.weights
    if job.plain_weights is not None:
        settings = replace(settings, structure=0.0)  # SSIM takes no weights
    finished, state = (None, None) if job.checkpoint is None else job.checkpoint.next_fit()
    if finished is not None:
        gaussians, quantizer, mean_square = result_of(finished)
        job.report(Progress(settings.steps, settings.steps, len(gaussians), psnr_of_mean_square(mean_square)))
        return prune_overlap(gaussians, quantizer), quantizer, job.weights
    if state is not None:
        initial, _, _ = result_of(state)
    else:
        initial = initialize(
            pixels,
            initial_count(count, settings),
            seed=job.seed,
            threads=compute.threads,
            sampler=compute.sampler,
            error_weights=None if weights is None else weights.plane,
        )
    fit = Fit(pixels, initial, plan, settings, compute, final_count=count, seed=job.seed, weights=weights)
    if state is not None:
        fit.restore(state)
    gaussians, quantizer = fit.run(job.report, job.checkpoint)
    if job.checkpoint is not None and not job.progress.stopped:
        job.checkpoint.finish(result_state(gaussians, quantizer, fit.mean_square))
    return prune_overlap(gaussians, quantizer), quantizer, job.weights


def _fit_in_blocks(
    job: EncodeJob, runner: BlockRunner, plan: CountPlan, count: int, settings: FitSettings
) -> tuple[Gaussians, Quantizer, WeightPyramid | None]:
    pixels = job.source.pixels
    fit = BlockFit(
        pixels.shape,
        pixels.dtype,
        plan,
        settings,
        job.compute,
        runner,
        first_count=count,
        for_eye=job.tune == Tune.EYE,
        blocks=job.blocks,
        seed=job.seed,
    )
    gaussians, quantizer = fit.run(job.report, job.checkpoint)
    return prune_overlap(gaussians, quantizer), quantizer, fit.weights


def _encode_best(job: EncodeJob, max_bytes: int, trials: Sequence[FitSettings]) -> bytes:
    """The best file by what the fits are tuned for, so that an effort never falls behind one whose trials it has."""
    if len(trials) == 1:
        return _without_excess(job, _encode_to_bytes(job, max_bytes, trials[0]), trials[0])
    job.progress.all_steps = sum(settings.steps for settings in trials)
    files: list[tuple[float, bytes]] = []
    for settings in trials:
        data = _encode_to_bytes(job, max_bytes, settings)
        files.append((job.score_of(data, settings), data))
        job.progress.steps_before += settings.steps
        if job.progress.stopped:
            break
    best = max(range(len(files)), key=lambda index: files[index][0])
    return _without_excess(job, files[best][1], trials[best])


def _without_excess(job: EncodeJob, data: bytes, settings: FitSettings) -> bytes:
    """The file, or a smaller one if that, too, errs by less than the source's own samples: 58.9 dB of 8 bits."""
    enough = psnr_of_mean_square(rounding_error(job.source.pixels.dtype))
    if job.blocks:
        return data
    if job.progress.stopped or job.progress.fit_psnr <= enough or job.psnr_of(data) <= enough:
        return data
    for part in EXCESS_PARTS:
        max_bytes = int(part * len(data))
        if max_bytes > container.overhead(1, job.extras) + MIN_ROOM:
            smaller = _encode_to_bytes(job.beside, max_bytes, settings)
            if job.progress.stopped:
                break
            if len(smaller) < len(data) and job.psnr_of(smaller) > enough:
                return smaller
    return data


def _encode_count(job: EncodeJob, count: int, settings: FitSettings) -> bytes:
    """One fit of exactly ``count`` Gaussians, whatever its bytes."""
    extras = job.extras
    if job.alpha is not None:
        alpha = _alpha_for_count(job, job.alpha, count, settings)
        extras, count = replace(extras, alpha=alpha), count - sum(group.count for group in alpha.groups)
    fitted, quantizer, _ = _fit(job, ExactCount(count), count, settings)
    if len(fitted) != count and not job.progress.stopped:
        raise SettingsError(f"{count} Gaussians would lie too much over each other: readers accept {len(fitted)}")
    return container.pack(to_file(fitted, quantizer, extras, job.compute.threads))


def _alpha_for_count(job: EncodeJob, opacity: SampleArray, count: int, settings: FitSettings) -> Alpha:
    """Opacity [H, W] that leaves at least half of so many Gaussians to the colours."""
    max_bytes = container.overhead(1, job.extras) + int(count * TYPICAL_GAUSSIAN_BYTES)
    try:
        alpha = _encode_alpha(job, opacity, max_bytes, settings)
    except SettingsError:  # few, then: a mask takes none, and its bytes do not matter here
        return exact_mask(opacity, job.compute.threads)
    few = sum(group.count for group in alpha.groups) <= count // 2
    return alpha if few else exact_mask(opacity, job.compute.threads)


def _encode_to_psnr(job: EncodeJob, min_psnr: float, settings: FitSettings) -> bytes:
    """The smallest file found of at least ``min_psnr`` decibels."""
    return search_psnr(
        partial(_encode_to_bytes, job),
        job.psnr_of,
        lambda: job.progress.stopped,
        min_psnr,
        settings,
        job.source,
        job.compute.threads,
        job.weights,
    )
