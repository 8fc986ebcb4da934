"""What is done to one block at a time, from nothing but arguments: a survey of its pixels, and a round of its fit."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartsplat.arrays import ByteArray, FloatArray, SampleArray
from smartsplat.bitstream.quantize import Quantizer
from smartsplat.encoder.blocks.boxes import Box
from smartsplat.encoder.checkpoint import State
from smartsplat.encoder.compute import Compute
from smartsplat.encoder.error_weights import BUSY_CELL, EYE_UNIT, WeightPyramid, eye_plane, luma_moments
from smartsplat.encoder.fit import Fit, ProgressCallback
from smartsplat.encoder.pyramid import Frame, reduced
from smartsplat.encoder.rate_control import ExactCount
from smartsplat.encoder.settings import FitSettings
from smartsplat.gaussians import Gaussians

COARSE = BUSY_CELL
"""Image pixels a side of one of the coarse fit's: it takes little of the time, and memory for 1/64 of the image."""


@dataclass(frozen=True)
class Population:
    """Gaussians and what Adam knows of them."""

    gaussians: Gaussians
    first: FloatArray  # [N, 5 + C]
    second: FloatArray
    age: npt.NDArray[np.int32]  # [N]

    def __getitem__(self, index: npt.NDArray[np.bool_]) -> Population:
        return Population(self.gaussians[index], self.first[index], self.second[index], self.age[index])

    def __len__(self) -> int:
        return len(self.gaussians)

    @staticmethod
    def empty(channels: int) -> Population:
        """None at all."""
        moments = np.zeros((0, 5 + channels), np.float32)
        return Population(Gaussians.empty(channels), moments, moments, np.zeros(0, np.int32))

    @staticmethod
    def joined(parts: list[Population], channels: int) -> Population:
        """All of them, in their order."""
        if not parts:
            return Population.empty(channels)
        gaussians = Gaussians.concatenated([part.gaussians for part in parts], channels)
        adam = zip(*((part.first, part.second, part.age) for part in parts), strict=True)
        return Population(gaussians, *(np.concatenate(arrays) for arrays in adam))

    def state(self) -> State:
        """As arrays by their names."""
        mean, scale, rotation, color = self.gaussians.arrays()
        own = {"mean": mean, "scale": scale, "rotation": rotation, "color": color}
        return own | {"first": self.first, "second": self.second, "age": self.age}

    @staticmethod
    def from_state(state: State) -> Population:
        """The inverse; also of the state of a ``Fit``, whose fixed Gaussians are left out."""
        gaussians = Gaussians(*(state[name] for name in ("mean", "scale", "rotation", "color")))
        return Population(gaussians, state["first"], state["second"], state["age"])


@dataclass(frozen=True)
class BlockTask:
    """A round of a block: all that it takes but the pixels of ``box``.

    Args:
        core: what the block is responsible for.
        box: the core and its margin, which the fit sees.
        frame: of the box.
        begin, end: steps, the first and that after the last one.
        count: Gaussians in the box at the end of the fit.
        initial: how many there would have been in the beginning, for as many to be added in each step.
        seed: of the random numbers.
        mean_square: of the whole image, and ``noise``: of its quantisation.
        quantizer: None: nothing is quantised yet.
        levels: weights for the eye of the box's cells and of a ring of cells around it, as far as there is one.
        population: Gaussians in the box.
        fixed: those outside that reach into it.
    """

    core: Box
    box: Box
    frame: Frame
    settings: FitSettings
    begin: int
    end: int
    count: int
    initial: int
    seed: np.random.SeedSequence
    mean_square: float
    noise: float
    quantizer: Quantizer | None
    levels: ByteArray | None
    population: Population
    fixed: Gaussians


@dataclass(frozen=True)
class BlockResult:
    """What a task has made: the Gaussians of its core, and the mean square error of its box."""

    population: Population
    mean_square: float


def fit_block(
    task: BlockTask, pixels: SampleArray, compute: Compute, report: ProgressCallback | None = None
) -> BlockResult:
    """One round of a block, from ``pixels`` of its box; ``report`` is told of every step, and may end it."""
    frame, box, population = task.frame, task.box, task.population
    weights = None
    if task.levels is not None:
        weights = WeightPyramid(_plane(task.levels, box), EYE_UNIT, frame)
    fit = Fit(
        pixels,
        population.gaussians,
        ExactCount(task.count),
        task.settings,
        compute,
        final_count=task.count,
        seed=task.seed,
        weights=weights,
        frame=frame,
        fixed=task.fixed,
    )
    state = {"first": population.first, "second": population.second, "age": population.age}
    values = {"step": task.begin, "initial_count": task.initial, "mean_square": task.mean_square, "noise": task.noise}
    fit.restore(fit.state() | state | {name: np.array(value) for name, value in values.items()})
    fit.quantizer = task.quantizer
    fit.run(report, until=task.end)
    fitted = Population.from_state(fit.state())
    had, has = (task.core.holds(inside_of(each.gaussians.mean, frame)) for each in (population, fitted))
    added = fit.origin < 0
    kept = np.where(added, has, had[np.where(added, 0, fit.origin)])
    return BlockResult(fitted[kept], fit.mean_square)


def inside_of(mean: FloatArray, frame: Frame) -> FloatArray:
    """Means [N, 2], those on the image's right and lower edge a little inside."""
    inner: FloatArray = np.minimum(mean, np.array([frame.width - 0.5, frame.height - 0.5], np.float32))
    return inner


def _plane(levels: ByteArray, box: Box) -> ByteArray:
    """The weights of a box's pixels, from those of its cells and of the ring around them."""
    left, top = (BUSY_CELL if begin else 0 for begin in (box.x, box.y))
    return np.ascontiguousarray(eye_plane(levels, top + box.height, left + box.width)[top:, left:])


@dataclass(frozen=True)
class Survey:
    """A box at 1/8: pixels [rows, columns, C], and the moments of luma that weights for the eye are made of."""

    pixels: ByteArray
    mean: FloatArray | None  # [rows, columns]
    square: FloatArray | None


def survey(pixels: SampleArray, for_eye: bool) -> Survey:
    """Of the pixels of a box whose corner is a multiple of 8."""
    moments = luma_moments(pixels) if for_eye else (None, None)
    return Survey(reduced(pixels, COARSE), *moments)
