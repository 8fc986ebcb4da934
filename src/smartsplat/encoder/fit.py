"""The fit: gradient descent on the Gaussians until they render the image (E22).

The number of Gaussians starts at a fraction of its final value and rises in densify steps; most steps work on a coarse
level of the image pyramid. Near the end scales and rotations are quantised, then means (quantisation-aware
fine-tuning): what is not quantised yet makes up for what that costs, the colours to the last step.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from smartsplat.arrays import FloatArray, SampleArray
from smartsplat.bitstream.quantize import Quantizer, fake_quantize, position_cell_log2, quality_for_error
from smartsplat.encoder.checkpoint import Checkpoint, State, result_of, result_state
from smartsplat.encoder.compute import Compute
from smartsplat.encoder.densify import added_gaussians, top_by_energy, weighted_energy
from smartsplat.encoder.error_weights import WeightPyramid
from smartsplat.encoder.pyramid import Frame, PyramidLevel, luma_level, pyramid_level, pyramid_steps
from smartsplat.encoder.settings import FitSettings, coarse_part, room, structure_weight
from smartsplat.gaussians import MIN_SCALE, Gaussians
from smartsplat.render import COARSE_CELL, StepSettings, Structure

SETTLE_FRACTIONS = (0.8, 0.85, 0.9, 0.94, 0.96)
"""Of the steps: when the count is brought in line with the target after densification has ended."""

DENSIFY_QUANTIZATION_NOISE_FACTOR = 2.0
"""Quantisation noise while the count rises, in units of that of the settings: more and coarser Gaussians than the file
will have, the best of which stay."""

DENSIFY_STEPS_PER_COUNT = 2
"""Densify steps from one estimate of the final count to the next, which codes the Gaussians."""

WEAK_ENERGY_QUANTILE = 0.2
"""Fraction of the Gaussians that have less energy than a weak one."""


MAX_STRUCTURE_FACTOR = 2
"""Image pixels a side of one of a level, beyond which structure has no term of its own."""

MIN_STRUCTURE_SIDE = 16
"""Pixels that a quarter of a level needs for SSIM to see more than its edge."""


class CountPlan(Protocol):
    """How many Gaussians the target of an encode allows (rate_control.py)."""

    def count(self, gaussians: Gaussians, quantizer: Quantizer, approximate: bool = False) -> int:
        """The number to end with, judged by what ``gaussians`` take now, or by what some of them do."""


@dataclass(frozen=True)
class Progress:
    """Where a fit is.

    Args:
        step: steps made.
        steps: steps in all.
        gaussians: their number.
        psnr: decibels, of the level of the pyramid that the step saw.
    """

    step: int
    steps: int
    gaussians: int
    psnr: float


ProgressCallback = Callable[[Progress], bool | None]
"""Called after every step; returning False ends the fit there, with what there is."""


def initial_count(final_count: int, settings: FitSettings) -> int:
    """How many Gaussians a fit that ends with ``final_count`` starts from."""
    fraction = settings.densify.initial_fraction if settings.densify and settings.steps > 1 else 1.0
    return max(1, min(final_count, round(fraction * final_count)))


class Fit:
    """One image being fitted; ``run`` does it.

    Args:
        pixels: uint8 or uint16 [H, W, C].
        initial: the Gaussians to start from, about ``initial_count`` of them.
        plan: decides on the number of Gaussians, if the settings densify.
        final_count: first estimate of the number of Gaussians at the end.
        seed: of the random numbers, or a stream of them.
        weights: of the errors of each pixel; None: all are 1.
        frame: where the pixels are in an image; None: they are all of it.
        fixed: Gaussians beside those that are fitted: rendered, but never changed.

    ``origin`` tells of each fitted Gaussian which of the initial ones it was; -1 if it was added.
    """

    def __init__(
        self,
        pixels: SampleArray,
        initial: Gaussians,
        plan: CountPlan,
        settings: FitSettings,
        compute: Compute,
        *,
        final_count: int,
        seed: int | np.random.SeedSequence = 0,
        weights: WeightPyramid | None = None,
        frame: Frame | None = None,
        fixed: Gaussians | None = None,
    ) -> None:
        self.frame = frame or Frame.whole(pixels, final_count)
        self.channels = pixels.shape[2]
        self.pixels = pixels
        self.weights = weights
        self.plan = plan
        self.settings = settings
        self.compute = compute
        self.renderer = compute.renderer
        self.final_count = final_count
        self.initial_count = len(initial)
        levels = pyramid_steps(self.frame.width, self.frame.height, self.frame.count, settings)
        self._levels = {step: max(factor, self.frame.factor) for step, factor in levels.items()}
        self.quantize_shapes_from, self.quantize_means_from = (
            round(fraction * settings.steps) for fraction in settings.quantize_from
        )
        if not isinstance(seed, np.random.SeedSequence):
            seed = np.random.SeedSequence(seed, spawn_key=(2,))
        self.generator = np.random.default_rng(seed)
        self.fixed = self.renderer.upload(fixed or Gaussians.empty(self.channels))
        self.params = self.fixed.joined(self.renderer.upload(initial))  # the fixed ones first
        self.origin = np.arange(len(initial))
        self.weight_sum = self._weight_sum(initial)
        self.adam = self.renderer.adam_state(self.params)
        self.step = 0  # the next one
        self.quantizer: Quantizer | None = None  # once something is quantised
        self.mean_square = 0.0  # of the last step
        self.quantization_noise = settings.quantization_noise * (
            DENSIFY_QUANTIZATION_NOISE_FACTOR if settings.densify else 1.0
        )

    def run(
        self,
        progress: ProgressCallback | None = None,
        checkpoint: Checkpoint | None = None,
        until: int | None = None,
    ) -> tuple[Gaussians, Quantizer]:
        """All steps, or as many as ``progress`` allows: the Gaussians, and the quantiser they were made ready for.

        Args:
            until: the step before which to end; None: that after the last one.
        """
        settings = self.settings
        growth = densify_steps(settings)
        count_steps = {*list(growth)[::DENSIFY_STEPS_PER_COUNT], *list(growth)[-1:]}
        settle_steps = {round(part * settings.steps) for part in SETTLE_FRACTIONS} if settings.densify else set()
        plane = None if self.weights is None else self.weights.plane
        factor = 0  # of no level yet
        while self.step < (settings.steps if until is None else until):
            step = self.step
            if self._factor(step) != factor:
                factor = self._factor(step)
                level = pyramid_level(self.pixels, factor, plane, self.frame)
                coarser = self._structure_level(factor)
            if step in (self.quantize_shapes_from, self.quantize_means_from):
                self._quantize(means=step >= self.quantize_means_from)
            step_settings = self._step_settings(step)
            structure = None if coarser is None else self._structure(coarser)
            result = self.renderer.step(
                self.params, self.adam, level.pixels, level.view, step_settings, level.weights, structure
            )
            self.mean_square = result.mean_square * self._weight_unit
            if len(self.fixed):
                self.params = self.fixed.joined(self._free)
            if step in growth:
                self._densify(growth[step], level, recount=step in count_steps)
            elif step in settle_steps:
                self._settle(level)
            self.step += 1
            at = Progress(self.step, settings.steps, len(self._free), psnr_of_mean_square(self.mean_square))
            if progress is not None and progress(at) is False:
                if checkpoint is not None:
                    checkpoint.save_if_worth(self.state)
                break
            if checkpoint is not None:
                checkpoint.save_if_due(self.state)
        return self.gaussians, self.quantizer or self._quantizer()

    @property
    def _free(self) -> Any:
        """Those of ``params`` that are fitted."""
        return self.params[len(self.fixed) :] if len(self.fixed) else self.params

    @property
    def gaussians(self) -> Gaussians:
        """A copy of those that are fitted."""
        return self.renderer.download(self._free)

    # ---- checkpoints -----------------------------------------------------------------------------------------------

    def state(self) -> State:
        """All that changes during a fit."""
        params = self.gaussians
        first, second, age = (array[len(self.fixed) :] for array in self.renderer.download_adam(self.adam))
        counts = {"step": self.step, "final_count": self.final_count, "initial_count": self.initial_count}
        values = {"mean_square": self.mean_square, "noise": self.quantization_noise, "weight_sum": self.weight_sum}
        generator = json.dumps(self.generator.bit_generator.state).encode()
        return (
            result_state(params, self.quantizer or self._quantizer(), self.mean_square)
            | {"first": first, "second": second, "age": age, "quantizes": np.array(self.quantizer is not None)}
            | {name: np.array(value) for name, value in (counts | values).items()}
            | {"generator": np.frombuffer(generator, np.uint8)}
        )

    def restore(self, state: State) -> None:
        """Go on from what ``state`` returned."""
        params, quantizer, self.mean_square = result_of(state)
        self.params = self.fixed.joined(self.renderer.upload(params))
        adam = self.renderer.upload_adam(state["first"], state["second"], state["age"])
        self.adam = self.renderer.adam_state(self.fixed).joined(adam)
        self.quantizer = quantizer if state["quantizes"] else None
        self.step, self.final_count, self.initial_count = (
            int(state[name]) for name in ("step", "final_count", "initial_count")
        )
        self.quantization_noise, self.weight_sum = float(state["noise"]), float(state["weight_sum"])
        self.generator.bit_generator.state = json.loads(bytes(state["generator"]))

    # ---- learning rates --------------------------------------------------------------------------------------------

    def _step_settings(self, step: int) -> StepSettings:
        s = self.settings
        falling = max(0.0, step / s.steps - s.lr_hold_fraction) / (1 - s.lr_hold_fraction)
        factor = s.lr_final_factor + (1 - s.lr_final_factor) * 0.5 * (1 + math.cos(math.pi * falling))
        shape_factor = factor if self.quantizer is None else 0.0
        error = math.sqrt(self.mean_square)  # 0 before the first step
        lr_color = factor * (min(s.lr_color, s.lr_color_by_error * error) if error else s.lr_color)
        if self.quantizer is not None and step >= self.quantize_means_from:
            factor = 0.0
            left = (s.steps - step) / (s.steps - self.quantize_means_from)
            lr_color = left * s.lr_color_after_quantization * error
        unit_x, unit_y = (1.0, 1.0) if s.relative else (self.frame.width / 2, self.frame.height / 2)
        return StepSettings(
            l1=s.l1,
            l2=s.l2,
            ssim=s.ssim,
            coarse=coarse_part(s.coarse, self.mean_square) * self._room,
            rate_weight=s.rate_weight * self.mean_square / self._weight_unit / len(self.params),
            rate_energy=(self.quantizer or self._quantizer()).error_budget ** 2,
            lr_mean_x=factor * s.lr_mean * unit_x,
            lr_mean_y=factor * s.lr_mean * unit_y,
            lr_scale=shape_factor * s.lr_scale,
            lr_rotation=shape_factor * s.lr_rotation,
            lr_color=lr_color,
            beta2=s.beta2,
            relative=s.relative,
            min_scale=MIN_SCALE,
            max_scale=max(self.frame.width, self.frame.height) / 2,
            width=self.frame.width,
            height=self.frame.height,
        )

    def _factor(self, step: int) -> int:
        """How many image pixels a side are one of the level that a step is on."""
        return self._levels[max(begin for begin in self._levels if begin <= step)]

    # ---- structure -------------------------------------------------------------------------------------------------

    @property
    def _room(self) -> float:
        return room(self._area / self.final_count)

    def _structure_level(self, factor: int) -> PyramidLevel | None:
        """What the structure of a level is compared on, a quarter of its size; None where that is not done.

        A level of a quarter or less has been there itself: its own errors are what structure is made of.
        """
        coarser = factor * COARSE_CELL
        if not self.settings.structure or factor > MAX_STRUCTURE_FACTOR:
            return None
        if self.frame.factor * min(self.pixels.shape[:2]) < coarser * MIN_STRUCTURE_SIDE:
            return None
        return luma_level(self.pixels, coarser, self.frame)

    def _structure(self, level: PyramidLevel) -> Structure | None:
        weight = structure_weight(self.settings.structure, self.mean_square) * self._room / self._weight_unit
        return Structure(level.pixels, level.view, weight) if weight else None

    # ---- densification ---------------------------------------------------------------------------------------------

    def _densify(self, fraction: float, level: PyramidLevel, recount: bool) -> None:
        """Prune the weakest, and add Gaussians up to that ``fraction`` of the way to the final count."""
        densify = self.settings.densify
        assert densify is not None
        if recount:
            self.final_count = self.plan.count(self.gaussians, self._quantizer(), approximate=True)
        count = max(1, round(self.initial_count + fraction * (self.final_count - self.initial_count)))
        own = len(self._free)
        kept = own if fraction == 1 else round((1 - densify.relocate_fraction) * own)
        self._resize(min(kept, count), count, level)

    def _settle(self, level: PyramidLevel) -> None:
        """Bring the count in line with the target."""
        gaussians = self.gaussians
        energy = weighted_energy(gaussians, self.weights)
        self.quantization_noise = worthwhile_noise(self.settings, energy, self._squared_error())
        self.final_count = self.plan.count(gaussians, self.quantizer or self._quantizer())
        self._resize(min(len(gaussians), self.final_count), self.final_count, level)

    def _resize(self, kept: int, count: int, level: PyramidLevel) -> None:
        """Keep the ``kept`` Gaussians with the most energy and add new ones up to ``count``."""
        densify = self.settings.densify
        assert densify is not None
        keep = top_by_energy(self.gaussians, kept, self.weights)
        missing = count - int(np.count_nonzero(keep))
        self.origin = np.concatenate([self.origin[keep], np.full(max(missing, 0), -1)])
        if not keep.all():
            keep = np.concatenate([np.ones(len(self.fixed), bool), keep])
            self.params, self.adam = self.params[keep], self.adam[keep]
        if missing > 0:
            sampler = self.compute.sampler
            added = self.renderer.upload(
                added_gaussians(self.params, missing, self.final_count, level, sampler, densify, self.generator)
            )
            self.params = self.params.joined(added)
            self.adam = self.adam.joined(self.renderer.adam_state(added))
        self.weight_sum = self._weight_sum(self.gaussians)

    # ---- quantisation ----------------------------------------------------------------------------------------------

    def _quantize(self, means: bool) -> None:
        """Give the Gaussians the scales and rotations that a decoder will see, and the ``means`` if it is time."""
        self.quantizer = self.quantizer or self._quantizer()
        gaussians = self.renderer.download(self.params)
        quantized = Gaussians.of_size(len(gaussians), gaussians.channels)
        fake_quantize(gaussians, self.quantizer, quantized, self.compute.threads)
        quantized = replace(quantized, color=gaussians.color, mean=quantized.mean if means else gaussians.mean)
        self.params = self.renderer.upload(quantized)

    def _quantizer(self) -> Quantizer:
        """Quantisation that adds the set fraction of the current squared error, both by weights."""
        attributes = (5 + self.channels) * self.weight_sum
        quality = quality_for_error(self.quantization_noise * self._squared_error(), attributes)
        height, width = (self.frame.factor * side for side in self.pixels.shape[:2])
        cell = position_cell_log2(width, height, self.final_count)
        return Quantizer(quality, cell, self.frame.width, self.frame.height, self.channels)

    @property
    def _area(self) -> int:
        """Of what the fit sees, image pixels."""
        rows, columns = self.pixels.shape[:2]
        return int(rows * columns * self.frame.factor**2)

    @property
    def _weight_unit(self) -> float:
        """By what the renderer's mean square, whose weights are of 255, is to be multiplied."""
        return 1.0 if self.weights is None else 255 / self.weights.unit

    def _weight_sum(self, gaussians: Gaussians) -> float:
        """The sum over Gaussians of the weight where they are: what an error of all of them counts."""
        return float(len(gaussians)) if self.weights is None else float(self.weights.at(gaussians).sum())

    def _squared_error(self) -> float:
        """Of all that the fit sees, at least what rounding to code values leaves."""
        return max(self.mean_square, rounding_error(self.pixels.dtype)) * float(self._area * self.channels)


def densify_steps(settings: FitSettings) -> dict[int, float]:
    """Densify step -> fraction of the way from the initial to the final count that is reached after it."""
    densify = settings.densify
    if densify is None:
        return {}
    count = min(densify.densify_steps, max(1, settings.steps // 10))
    last = densify.stop_fraction * settings.steps
    fractions = ((index + 1) / count for index in range(count))
    return {min(round(last * fraction), settings.steps - 1): fraction for fraction in fractions}


def worthwhile_noise(settings: FitSettings, energy: FloatArray, squared_error: float) -> float:
    """The squared error that quantisation may add, relative to that of the fit.

    A byte gains as much in precision as in more Gaussians if noise / (1 + noise) = alpha P / (2 ln(2) b), where
    P attributes take b bits and the error falls with the count as N^-alpha. On eight images at 100 to 2000 : 1
    alpha was 0.2 to 1.8, near 0.7 times the root of N times the energy of a weak Gaussian over the squared error.

    Args:
        energy: of each Gaussian, [N], by weights.
        squared_error: of all that they are fitted to.
    """
    weak = math.pi * float(np.quantile(energy, WEAK_ENERGY_QUANTILE))
    alpha = math.sqrt(weak * len(energy) / squared_error)
    return settings.quantization_noise * min(max(alpha, 0.3), 3.0)


def rounding_error(dtype: np.dtype[Any]) -> float:
    """Mean square error of rounding samples in [0, 1] to code values: a better fit needs no finer Gaussians."""
    return 1 / (12 * float(np.iinfo(dtype).max) ** 2)


def psnr_of_mean_square(mean_square: float) -> float:
    """Decibels below 1 for a mean square error of pixels in [0, 1]."""
    return -10 * math.log10(mean_square) if mean_square > 0 else math.inf
