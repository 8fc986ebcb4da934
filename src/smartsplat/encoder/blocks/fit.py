"""The fit of an image in blocks: a coarse fit of the whole, then round after round of every block."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from smartsplat.arrays import ByteArray, DoubleArray, FloatArray
from smartsplat.bitstream.quantize import Quantizer, position_cell_log2, quality_for_error
from smartsplat.encoder.blocks.boxes import ALIGNMENT, Box
from smartsplat.encoder.blocks.runner import BlockRunner
from smartsplat.encoder.blocks.task import COARSE, BlockResult, BlockTask, Population, inside_of
from smartsplat.encoder.checkpoint import Checkpoint, State
from smartsplat.encoder.compute import Compute
from smartsplat.encoder.densify import top_by_energy, weighted_energy
from smartsplat.encoder.error_weights import BUSY_CELL, EYE_UNIT, WeightPyramid, eye_levels
from smartsplat.encoder.fit import (
    DENSIFY_QUANTIZATION_NOISE_FACTOR,
    CountPlan,
    Fit,
    Progress,
    ProgressCallback,
    densify_steps,
    initial_count,
    rounding_error,
    worthwhile_noise,
)
from smartsplat.encoder.initialize import initialize
from smartsplat.encoder.pyramid import Frame
from smartsplat.encoder.rate_control import ExactCount
from smartsplat.encoder.settings import FitSettings
from smartsplat.gaussians import Gaussians

COARSE_PART, MIN_COARSE_PART = 0.2, 0.04
"""Of the steps, those of the coarse fit: as many as other fits make at this size; fewer where Gaussians are many."""

MIN_COARSE_PIXELS = 4
"""Pixels of the coarse image that each Gaussian has there, at least: more of them would have nothing to fit."""

ROUND_ENDS = (0.4, 0.6, 0.7, 0.76, 0.82, 0.87, 0.92, 0.96, 1.0)
"""Of the steps: when the blocks are put together. On 8 megapixels in blocks of 1024, against a fit of the whole at
equal bytes: these -.01 dB, five rounds -.23 dB."""

MIN_MARGIN, MAX_MARGIN, MAX_MARGIN_PART = 128, 512, 1 / 4
"""Pixels around a block that its fit sees, and that in parts of its side. As far as its Gaussians reach, in between:
against 128 that gave .2 dB on a mosaic of 177 megapixels, and .8 dB at 1000 : 1 on a part of it, for an eighth of the
time. On a map, 64 cost .25 dB."""

FAR_PART = 0.003
"""Of a block's Gaussians, those that may reach farther than its margin."""

SPARE_PART, SPARE = 0.01, 2
"""Gaussians that are added beyond those wanted, in parts of these and for each block: those that blocks have added in
their margins are lost. The weakest go when their number no longer rises."""

ERROR_CELL = 16
"""Side of the cells that the error of the coarse fit is measured in, its pixels."""


@dataclass(frozen=True)
class Surroundings:
    """Gaussians that some blocks have to do with: with ``half_extent`` [N, 2], and whether each is ``kept`` [N]."""

    population: Population
    half_extent: FloatArray
    kept: npt.NDArray[np.bool_]


class BlockFit:
    """An image of ``shape`` [H, W, C] being fitted in blocks; ``run`` does it.

    Args:
        dtype: of its samples.
        plan: decides on the number of Gaussians.
        first_count: first estimate of it.
        for_eye: whether errors have weights for the eye.
        blocks: of the image.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        dtype: npt.DTypeLike,
        plan: CountPlan,
        settings: FitSettings,
        compute: Compute,
        runner: BlockRunner,
        *,
        first_count: int,
        for_eye: bool,
        blocks: list[Box],
        seed: int = 0,
    ) -> None:
        self.height, self.width, self.channels = shape
        self.dtype = np.dtype(dtype)
        assert settings.densify is not None  # only a preset has none, and that is no fit in blocks
        self.densify = settings.densify
        self.plan, self.settings, self.compute, self.runner = plan, settings, compute, runner
        self.for_eye, self.seed = for_eye, seed
        self._first_count = self.count = first_count
        self.blocks = blocks
        self.weights: WeightPyramid | None = None  # for the eye, of the whole image at 1/8
        self.quantizer: Quantizer | None = None
        self.population = Population.empty(self.channels)  # before the round at hand
        self.results: list[BlockResult] = []  # of the round, so far
        self.round = 0
        self.errors: DoubleArray = np.zeros(0)  # of blocks, mean squares, by weights
        self.mean_square = 0.0
        self.noise = settings.quantization_noise * DENSIFY_QUANTIZATION_NOISE_FACTOR
        self.stopped = False
        self._step = 0

    def run(self, progress: ProgressCallback, checkpoint: Checkpoint | None = None) -> tuple[Gaussians, Quantizer]:
        """All rounds, or as many as ``progress`` allows: the Gaussians, and the quantiser they were made ready for."""
        small = self._survey()
        saved = None if checkpoint is None else checkpoint.next_fit()[1]
        if saved is None:
            self._fit_coarsely(small, progress)
            checkpoint = None if self.stopped else checkpoint  # of half a coarse fit there is none
        else:
            self._restore(saved)
        rounds = list(itertools.pairwise(self._ends()))
        while self.round < len(rounds) and not self.stopped:
            begin, end = rounds[self.round]
            for result in self.runner.fits(self._tasks(begin, end), partial(self._tell_round, begin, end, progress)):
                if self.stopped:
                    break
                self.results.append(result)
                if checkpoint is not None:
                    checkpoint.save_if_due(self._state)
            if not self.stopped:
                self._put_together(end)
        if self.stopped and checkpoint is not None:
            checkpoint.save_if_worth(self._state)
        gaussians = self.population.gaussians
        return gaussians, self.quantizer or self._quantizer(gaussians)

    # ---- the coarse fit ---------------------------------------------------------------------------------------------

    def _survey(self) -> ByteArray:
        """The image at 1/8; sets the weights for the eye."""
        shape = -(-self.height // COARSE), -(-self.width // COARSE)
        small = np.empty((*shape, self.channels), np.uint8)
        mean, square = (np.empty(shape if self.for_eye else (0, 0), np.float32) for _ in range(2))
        for box, found in zip(self.blocks, self.runner.surveys(self.blocks, self.for_eye), strict=True):
            cells = box.over(COARSE).slices
            small[cells] = found.pixels
            if self.for_eye:
                mean[cells], square[cells] = found.mean, found.square
        if self.for_eye:
            frame = Frame(0, 0, self.width, self.height, self.count, COARSE)
            self.weights = WeightPyramid(eye_levels(mean, square), EYE_UNIT, frame)
        return small

    def _fit_coarsely(self, small: ByteArray, progress: ProgressCallback) -> None:
        """The first steps, on the whole image at 1/8."""
        count, frame = self._coarse_count(), Frame(0, 0, self.width, self.height, self.count, COARSE)
        plane = None if self.weights is None else self.weights.plane
        initial = initialize(
            small,
            initial_count(count, self.settings),
            seed=self.seed,
            threads=self.compute.threads,
            sampler=self.compute.sampler,
            error_weights=plane,
        )
        initial = replace(initial, mean=initial.mean * np.float32(COARSE), scale=initial.scale * np.float32(COARSE))
        options: dict[str, Any] = {"final_count": count, "seed": self.seed, "weights": self.weights, "frame": frame}
        fit = Fit(small, initial, ExactCount(count), self.settings, self.compute, **options)
        fit.run(lambda at: self._tell(at.step, at, progress), until=self._ends()[0])
        self.population, self.mean_square = Population.from_state(fit.state()), fit.mean_square
        cells = fit.renderer.residual(fit.params, small, frame.view(small, COARSE), ERROR_CELL, plane)[..., -1]
        boxes = (core.grown(MIN_MARGIN, self.width, self.height) for core in self.blocks)
        self.errors = np.array([cells[box.over(COARSE * ERROR_CELL).slices].mean() for box in boxes])

    def _ends(self) -> list[int]:
        """Steps: the first of each round, and that after the last one."""
        steps = self.settings.steps
        return sorted({max(1, round(part * steps)) for part in (self._coarse_part(), COARSE_PART, *ROUND_ENDS)})

    def _coarse_part(self) -> float:
        """Of the steps, those of the coarse fit: fewer if the count would rise beyond what its pixels can tell."""
        most = self._coarse_limit() / self._first_count
        risen = (most - self.densify.initial_fraction) / (1 - self.densify.initial_fraction)
        return min(max(risen * self.densify.stop_fraction, MIN_COARSE_PART), COARSE_PART)

    def _coarse_count(self) -> int:
        """What the coarse fit's count rises towards: less than all if even its first Gaussians would be too many."""
        return max(1, min(self._first_count, int(self._coarse_limit() / self.densify.initial_fraction)))

    def _coarse_limit(self) -> float:
        """Gaussians that the pixels of the coarse fit can tell from each other."""
        return self.width * self.height / COARSE**2 / MIN_COARSE_PIXELS

    # ---- rounds -----------------------------------------------------------------------------------------------------

    def _tasks(self, begin: int, end: int) -> Iterator[BlockTask]:
        """Those of the round at hand that have no result yet."""
        risen, part, goal = self._risen(begin), 1.0, self.count
        if risen < 1:
            part = (self._risen(end) - risen) / (1 - risen)  # of the Gaussians that are still to come
            goal += round(SPARE_PART * self.count) + SPARE * len(self.blocks)
        elif len(self.population) < goal:
            goal += SPARE * len(self.blocks)
        kept, added = self._kept(begin, end, round(len(self.population) + part * (goal - len(self.population))))
        errors = self.errors / max(np.average(self.errors, weights=[core.area for core in self.blocks]), 1e-30)
        whole = Surroundings(self.population, self.population.gaussians.half_extent(), kept)
        row, top = whole, -1
        for number, core in list(enumerate(self.blocks))[len(self.results) :]:
            if core.y != top:  # fewer to look through for each block
                row, top = self._around(whole, Box(0, core.y, self.width, core.height)), core.y
            around = self._around(row, core)
            gaussians = around.population.gaussians
            box = core.grown(_margin(core, gaussians.mean, around.half_extent), self.width, self.height)
            frame = Frame(box.x, box.y, self.width, self.height, self.count)
            inside = box.holds(inside_of(gaussians.mean, frame))
            # What it would have after this round in a fit of the whole, and at the end if it went on so.
            now = int(np.count_nonzero(inside))
            then = np.count_nonzero(around.kept & inside) + added * errors[number] * box.area / (
                self.width * self.height
            )
            count = max(1, round(then / 2), round(now + (then - now) / part))
            cells = box.grown(BUSY_CELL, self.width, self.height).over(BUSY_CELL)
            yield BlockTask(
                core=core,
                box=box,
                frame=frame,
                settings=self.settings,
                begin=begin,
                end=end,
                count=count,
                initial=round((now - risen * count) / (1 - risen)) if risen < 1 else count,
                seed=np.random.SeedSequence(self.seed, spawn_key=(3, self.round, number)),
                mean_square=self.mean_square,
                noise=self.noise,
                quantizer=self.quantizer,
                levels=None if self.weights is None else self.weights.plane[cells.slices].copy(),
                population=around.population[inside],
                fixed=gaussians[box.is_reached(gaussians.mean, around.half_extent) & ~inside],
            )

    def _around(self, whole: Surroundings, core: Box) -> Surroundings:
        """Those of the Gaussians that are in a block and its margin, or reach in there."""
        box = core.grown(MAX_MARGIN, self.width, self.height)  # which is no less than a margin can be
        inner = inside_of(whole.population.gaussians.mean, Frame(0, 0, self.width, self.height, self.count))
        near = box.is_reached(inner, whole.half_extent)
        return Surroundings(whole.population[near], whole.half_extent[near], whole.kept[near])

    def _risen(self, step: int) -> float:
        """How far a step is on the way from the initial to the final count, 0 to 1."""
        return min(step / (self.densify.stop_fraction * self.settings.steps), 1.0)

    def _kept(self, begin: int, end: int, total: int) -> tuple[npt.NDArray[np.bool_], int]:
        """Which of the Gaussians a fit of the whole would keep from ``begin`` to ``end``, and how many it would add to
        have ``total``: it prunes the weakest of all, and adds where the error is."""
        events = sum(begin <= step < end for step, risen in densify_steps(self.settings).items() if risen < 1)
        kept = min(total, round(len(self.population) * (1 - self.densify.relocate_fraction) ** events))
        return top_by_energy(self.population.gaussians, kept, self.weights), total - kept

    def _put_together(self, end: int) -> None:
        """The round's end: all Gaussians, and what every block takes for granted in the next one."""
        self.population = Population.joined([result.population for result in self.results], self.channels)
        self.errors = np.array([result.mean_square for result in self.results])
        self.mean_square = float(np.average(self.errors, weights=[core.area for core in self.blocks]))
        self.results, self.round = [], self.round + 1
        if self._risen(end) == 1:
            self.population = self.population[top_by_energy(self.population.gaussians, self.count, self.weights)]
            energy = weighted_energy(self.population.gaussians, self.weights)
            self.noise = worthwhile_noise(self.settings, energy, self._squared_error())
        gaussians = self.population.gaussians
        quantizer = self.quantizer or self._quantizer(gaussians)
        self.count = self.plan.count(gaussians, quantizer)
        if end >= round(self.settings.quantize_from[0] * self.settings.steps):
            self.quantizer = quantizer

    def _quantizer(self, gaussians: Gaussians) -> Quantizer:
        total = float(len(gaussians)) if self.weights is None else float(self.weights.at(gaussians).sum())
        quality = quality_for_error(self.noise * self._squared_error(), (5 + self.channels) * total)
        cell = position_cell_log2(self.width, self.height, self.count)
        return Quantizer(quality, cell, self.width, self.height, self.channels)

    def _squared_error(self) -> float:
        size = float(self.width * self.height * self.channels)
        return max(self.mean_square, rounding_error(self.dtype)) * size

    def _tell_round(self, begin: int, end: int, progress: ProgressCallback, at: Progress) -> bool:
        """Tell of a step of the block at hand."""
        done = len(self.results) + (at.step - begin) / (end - begin)
        return self._tell(begin + (end - begin) * done / len(self.blocks), at, progress)

    def _tell(self, step: float, at: Progress, progress: ProgressCallback) -> bool:
        """Tell of ``step`` of the whole, at which a block is; whether to go on."""
        steps = self.settings.steps
        self._step = min(max(self._step, int(step)), steps)
        self.stopped = progress(Progress(self._step, steps, at.gaussians, at.psnr)) is False
        return not self.stopped

    # ---- checkpoints ------------------------------------------------------------------------------------------------

    def _state(self) -> State:
        """All that the round at hand depends on, and what it has come to."""
        values: dict[str, Any] = {"round": self.round, "count": self.count, "mean_square": self.mean_square}
        values |= {"noise": self.noise, "quantizer": [-1, 0]}
        if self.quantizer is not None:
            values["quantizer"] = [self.quantizer.quality, self.quantizer.cell_log2]
        values["told"] = [(len(result.population), result.mean_square) for result in self.results]
        done = Population.joined([result.population for result in self.results], self.channels)
        return (
            self.population.state()
            | {f"done.{name}": array for name, array in done.state().items()}
            | {"errors": self.errors}
            | {name: np.array(value) for name, value in values.items()}
        )

    def _restore(self, state: State) -> None:
        """Go on from what ``_state`` returned."""
        self.round, self.count = int(state["round"]), int(state["count"])
        self.mean_square, self.noise = float(state["mean_square"]), float(state["noise"])
        quality, cell_log2 = (int(value) for value in state["quantizer"])
        if quality >= 0:
            self.quantizer = Quantizer(quality, cell_log2, self.width, self.height, self.channels)
        self.errors = state["errors"]
        self.population = Population.from_state(state)
        done = {name.removeprefix("done."): array for name, array in state.items() if name.startswith("done.")}
        begin = 0
        for count, mean_square in state["told"]:
            end = begin + int(count)
            part = Population.from_state({name: array[begin:end] for name, array in done.items()})
            self.results.append(BlockResult(part, float(mean_square)))
            begin = end


def _margin(core: Box, mean: FloatArray, half_extent: FloatArray) -> int:
    """Pixels around a block that its fit sees, when windows of ``half_extent`` [N, 2] are around each ``mean``."""
    own = core.holds(mean)
    if not own.any():
        return MIN_MARGIN
    begin, end = np.array([core.x, core.y]), np.array([core.x + core.width, core.y + core.height])
    beyond = np.maximum(begin - mean[own], mean[own] - end) + half_extent[own]
    reach = float(np.quantile(beyond.max(axis=1), 1 - FAR_PART))
    return max(MIN_MARGIN, min(-int(-reach // ALIGNMENT) * ALIGNMENT, max_margin(core)))


def max_margin(core: Box) -> int:
    """The widest margin that a block may have, pixels."""
    part = int(MAX_MARGIN_PART * min(core.width, core.height)) // ALIGNMENT * ALIGNMENT
    return max(MIN_MARGIN, min(MAX_MARGIN, part))
