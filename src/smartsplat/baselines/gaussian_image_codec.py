"""GaussianImage's codec: a fitted Cholesky model goes on with what a decoder would see, then becomes a real file.

56 bits a Gaussian before entropy coding: both numbers of the mean as half floats, before their tanh; the three of the
factor in 6 bits each, with a step and an offset for each that are trained too (LSQ+); the colour as the sum of two of 8
vectors each (residual vector quantisation), whose codebooks follow the colours they stand for, decay 0.8, while colours
are drawn to them by a commitment of weight 1. As many steps as the fit, at the same rates (which fewer steps raise by
20 at most, those of means and quantisers not at all); the best step of the last tenth is kept, by its error.

Where it differs: see model.py and gaussian_image.py. Their program counts bits of an ANS coder and writes no whole
file; this one writes one: means as they are, symbols by an adaptive arithmetic coder (files.py), codebooks, steps and
offsets as floats. Guards: steps stay above 0; a vector that no colour uses stays where it is.
"""

from __future__ import annotations

import math
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from smartsplat.baselines import files
from smartsplat.baselines.gaussian_image import Cholesky
from smartsplat.baselines.optimizers import Adan, Arrays, Optimizer, Reals, adan_epsilon
from smartsplat.errors import FormatError
from smartsplat.raster import StepResult
from smartsplat.raster.blend import Splats

LEVELS = 63
"""The largest symbol of 6 bits."""

STAGES, VECTORS = 2, 8
MEANS_STEPS = 5  # of k-means, for the first codebooks
DECAY = 0.8
LEAST_STEP = 1e-5
NOMINAL_BITS = 32 + 18 + 6
"""Of a Gaussian, as the authors count them without entropy coding."""

Symbols = npt.NDArray[np.uint8]


class Quantized(Cholesky):
    """A Cholesky model seen through its quantisers. ``parameters`` also holds ``step`` and ``offset``, [1, 3] each."""

    most_hurry: ClassVar[float] = 20.0  # what is fitted already is lost by more
    unhurried: ClassVar[tuple[str, ...]] = ("mean", "step", "offset")  # one step of a quantiser moves all Gaussians
    codebooks: Reals  # [STAGES, VECTORS, C]
    weights: Reals  # [STAGES, VECTORS] colours that each vector stood for of late
    best_error = math.inf
    best: tuple[Arrays, Reals]

    @classmethod
    def of(cls, model: Cholesky, generator: np.random.Generator) -> Self:
        """Quantisers that fit a model that was fitted without."""
        quantized = cls(model.width, model.height, {name: values.copy() for name, values in model.parameters.items()})
        factor, color = quantized.parameters["factor"], quantized.parameters["color"]
        least = factor.min(axis=0, keepdims=True)
        step = np.maximum((factor.max(axis=0, keepdims=True) - least) / LEVELS, LEAST_STEP)
        quantized.parameters |= {"offset": least, "step": step}
        quantized.codebooks = np.zeros((STAGES, VECTORS, color.shape[1]), np.float32)
        quantized.weights = np.ones((STAGES, VECTORS), np.float32)
        rest = color
        for stage in range(STAGES):
            book = rest[generator.choice(len(rest), VECTORS, replace=len(rest) < VECTORS)]
            for _ in range(MEANS_STEPS):
                counts, sums = tally(nearest(rest, book), rest)
                book = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], book)
            quantized.codebooks[stage] = book
            rest = rest - quantized.codebooks[stage][nearest(rest, quantized.codebooks[stage])]
        return quantized

    # What a decoder sees.

    def means(self) -> Reals:
        size = np.array([self.width, self.height], np.float32)
        mean: Reals = 0.5 * size * (1 + np.tanh(self.parameters["mean"].astype(np.float16).astype(np.float32)))
        return mean

    def scaled(self) -> Reals:
        """The factors in units of their step, not yet rounded, [N, 3]."""
        p = self.parameters
        return (p["factor"] - p["offset"]) / np.maximum(p["step"], LEAST_STEP)

    def factors(self) -> Reals:
        symbols = np.rint(self.scaled()).clip(0, LEVELS)
        return symbols * np.maximum(self.parameters["step"], LEAST_STEP) + self.parameters["offset"] + Cholesky.offset

    def codes(self) -> tuple[Symbols, Reals]:
        """The nearest vectors, [STAGES, N], and what is left after each stage, [STAGES + 1, N, C]."""
        rest = [self.parameters["color"]]
        codes = []
        for book in self.codebooks:
            codes.append(nearest(rest[-1], book))
            rest.append(rest[-1] - book[codes[-1]])
        return np.array(codes), np.array(rest)

    def splats(self) -> Splats:
        self.now = self.codes()
        color = self.now[1][0] - self.now[1][-1]
        return Splats(self.means(), self.covariance(), color, np.ones(len(color), np.float32))

    # How it is trained: what is rounded passes the gradient as if it were not.

    def optimizer(self) -> Optimizer:
        return Adan((*self.columns, "step", "offset"), epsilon=adan_epsilon(self.width * self.height))

    def chain(self, d: Splats) -> Arrays:
        gradient = super().chain(d)
        d_factor, scaled = gradient["factor"], self.scaled()
        inside = (scaled >= 0) & (scaled <= LEVELS)
        rounded = np.rint(scaled).clip(0, LEVELS)
        d_step = (d_factor * np.where(inside, rounded - scaled, rounded)).sum(axis=0, keepdims=True)
        rest = self.now[1]
        return gradient | {
            "factor": d_factor * inside,
            "step": d_step,
            "offset": (d_factor * ~inside).sum(axis=0, keepdims=True),
            "color": gradient["color"] + 2 * rest[-1] / rest[-1].size,
        }

    def before_move(self, step: int, steps: int, result: StepResult) -> None:
        if step >= 0.9 * steps and result.mean_square < self.best_error:
            self.best_error = result.mean_square
            self.best = {name: values.copy() for name, values in self.parameters.items()}, self.codebooks.copy()
        codes, rest = self.now
        for stage in range(STAGES):
            counts, sums = tally(codes[stage], rest[stage])
            weights = DECAY * self.weights[stage] + (1 - DECAY) * counts
            used = weights > 1e-3
            moved = DECAY * self.weights[stage][:, None] * self.codebooks[stage] + (1 - DECAY) * sums
            self.codebooks[stage][used] = (moved[used] / weights[used, None]).astype(np.float32)
            self.weights[stage] = np.maximum(weights, 1e-3)

    def finish(self) -> None:
        """Back to the best of the last steps."""
        if math.isfinite(self.best_error):
            self.parameters, self.codebooks = self.best


def nearest(colors: Reals, book: Reals) -> Symbols:
    """Which vector of a codebook [VECTORS, C] is nearest to each of the colours [N, C]; [N]."""
    distance = (book * book).sum(axis=1) - 2 * colors @ book.T
    codes: Symbols = distance.argmin(axis=1).astype(np.uint8)
    return codes


def tally(codes: Symbols, colors: Reals) -> tuple[Reals, Reals]:
    """How many colours each vector stands for, [VECTORS], and their sums, [VECTORS, C]."""
    sums = [np.bincount(codes, column, VECTORS) for column in colors.T]
    return np.bincount(codes, minlength=VECTORS).astype(np.float64), np.stack(sums, axis=1)


def pack(model: Quantized) -> bytes:
    """The file: header, tables, means, and coded symbols."""
    channels = model.parameters["color"].shape[1]
    header = files.HEADER.pack(files.MAGIC, files.CODEC, channels, model.width, model.height, len(model))
    step = np.maximum(model.parameters["step"], LEAST_STEP)
    tables = np.concatenate([step.ravel(), model.parameters["offset"].ravel(), model.codebooks.ravel()])
    symbols = np.rint(model.scaled()).clip(0, LEVELS).astype(np.uint8).T
    mean = model.parameters["mean"].astype("<f2").tobytes()
    codes = model.codes()[0]
    # Each kind of symbol is coded on its own: the coder learns one distribution.
    parts = [files.coded(row.tobytes()) for row in (*symbols, *codes)]
    sizes = np.array([len(part) for part in parts], "<u4").tobytes()
    return header + tables.astype("<f4").tobytes() + mean + sizes + b"".join(parts)


def unpack(data: bytes) -> Cholesky:
    """A model without quantisers that draws what they made of one."""
    _, kind, channels, width, height, count = files.header_of(data)
    if kind != files.CODEC:
        raise FormatError("not a file of GaussianImage's codec")
    at = files.HEADER.size

    def take(kind: str, number: int) -> Reals:
        nonlocal at
        values = np.frombuffer(data, kind, number, at)
        at += values.nbytes
        return values

    step, offset = take("<f4", 3)[None], take("<f4", 3)[None]
    codebooks = take("<f4", STAGES * VECTORS * channels).reshape(STAGES, VECTORS, channels)
    mean = take("<f2", 2 * count).reshape(count, 2).astype(np.float32)
    rows = []
    for size in take("<u4", 3 + STAGES):
        rows.append(np.frombuffer(files.decoded(data[at : at + int(size)], count), np.uint8))
        at += int(size)
    factor = np.stack(rows[:3], axis=1) * step + offset
    color = sum(codebooks[stage][rows[3 + stage]] for stage in range(STAGES))
    parameters = {"mean": mean, "factor": factor, "color": color}
    return Cholesky(width, height, {name: np.asarray(values, np.float32) for name, values in parameters.items()})
