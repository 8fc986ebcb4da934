"""GaussianImage's codec: quantisation-aware fine-tuning of a fitted Cholesky model, then a real file.

56 bits a Gaussian before entropy coding: both numbers of the mean as half floats, before their tanh; the three of the
factor in 6 bits each, with a step and an offset for each that are trained too (LSQ+); the colour as the sum of two of 8
vectors each (residual vector quantisation). Each vector follows the mean of the colours it stands for, with a decay of
0.8, while a commitment term of weight 1 pulls colours to it. As many steps as the fit, at the same learning rates,
scaled up at most twentyfold where there are fewer steps, those of means and quantisers not at all. The best step of the
last tenth is kept, by its error.

Where it differs: see model.py and gaussian_image.py. Their program counts bits of an ANS coder and writes no whole
file; this one writes one: means as they are, symbols by an adaptive arithmetic coder (files.py), codebooks, steps and
offsets as floats. Guards: steps stay above 0; a vector that no colour uses stays where it is.
"""

from __future__ import annotations

import math
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from smartsplat.errors import FormatError
from smartsplat.render import StepResult
from smartsplat_baselines import files
from smartsplat_baselines.arrays import ParameterArrays, RealArray
from smartsplat_baselines.blend import CovarianceGaussians
from smartsplat_baselines.gaussian_image import Cholesky
from smartsplat_baselines.optimizers import Adan, Optimizer, adan_epsilon

MAX_SYMBOL = 63
"""The largest symbol of 6 bits."""

STAGES, VECTORS = 2, 8
KMEANS_STEPS = 5  # for the initial codebooks
CODEBOOK_DECAY = 0.8
MIN_STEP = 1e-5
NOMINAL_BITS = 32 + 18 + 6
"""Of a Gaussian, as the authors count them without entropy coding."""

Symbols = npt.NDArray[np.uint8]


class Quantized(Cholesky):
    """A Cholesky model seen through its quantisers. ``parameters`` also holds ``step`` and ``offset``, [1, 3] each."""

    max_lr_scale_up: ClassVar[float] = 20.0  # more would undo the fit
    fixed_lr: ClassVar[tuple[str, ...]] = ("mean", "step", "offset")  # one step of a quantiser moves all Gaussians
    codebooks: RealArray  # [STAGES, VECTORS, C]
    weights: RealArray  # [STAGES, VECTORS] colours that each vector stood for, a running mean
    best_error = math.inf
    best: tuple[ParameterArrays, RealArray]

    @classmethod
    def of(cls, model: Cholesky, generator: np.random.Generator) -> Self:
        """Quantisers that fit a model that was fitted without."""
        quantized = cls(model.width, model.height, {name: values.copy() for name, values in model.parameters.items()})
        factor, color = quantized.parameters["factor"], quantized.parameters["color"]
        minimum = factor.min(axis=0, keepdims=True)
        step = np.maximum((factor.max(axis=0, keepdims=True) - minimum) / MAX_SYMBOL, MIN_STEP)
        quantized.parameters |= {"offset": minimum, "step": step}
        quantized.codebooks = np.zeros((STAGES, VECTORS, color.shape[1]), np.float32)
        quantized.weights = np.ones((STAGES, VECTORS), np.float32)
        residual = color
        for stage in range(STAGES):
            book = residual[generator.choice(len(residual), VECTORS, replace=len(residual) < VECTORS)]
            for _ in range(KMEANS_STEPS):
                counts, sums = tally(nearest(residual, book), residual)
                book = np.where(counts[:, None] > 0, sums / np.maximum(counts, 1)[:, None], book)
            quantized.codebooks[stage] = book
            residual = residual - quantized.codebooks[stage][nearest(residual, quantized.codebooks[stage])]
        return quantized

    # ---- what a decoder sees -----------------------------------------------------------------------------------------

    def means(self) -> RealArray:
        size = np.array([self.width, self.height], np.float32)
        mean: RealArray = 0.5 * size * (1 + np.tanh(self.parameters["mean"].astype(np.float16).astype(np.float32)))
        return mean

    def scaled(self) -> RealArray:
        """The factors in units of their step, before rounding, [N, 3]."""
        p = self.parameters
        return (p["factor"] - p["offset"]) / np.maximum(p["step"], MIN_STEP)

    def factors(self) -> RealArray:
        symbols = np.rint(self.scaled()).clip(0, MAX_SYMBOL)
        return symbols * np.maximum(self.parameters["step"], MIN_STEP) + self.parameters["offset"] + Cholesky.offset

    def codes(self) -> tuple[Symbols, RealArray]:
        """The nearest vectors, [STAGES, N], and the residual colours around the stages, [STAGES + 1, N, C]."""
        residuals = [self.parameters["color"]]
        codes = []
        for book in self.codebooks:
            codes.append(nearest(residuals[-1], book))
            residuals.append(residuals[-1] - book[codes[-1]])
        return np.array(codes), np.array(residuals)

    def gaussians(self) -> CovarianceGaussians:
        self.current_codes = self.codes()
        residuals = self.current_codes[1]
        color = residuals[0] - residuals[-1]
        return CovarianceGaussians(self.means(), self.covariance(), color, np.ones(len(color), np.float32))

    # ---- training: rounding passes the gradient unchanged ------------------------------------------------------------

    def optimizer(self) -> Optimizer:
        return Adan((*self.columns, "step", "offset"), epsilon=adan_epsilon(self.width * self.height))

    def vjp(self, d: CovarianceGaussians) -> ParameterArrays:
        gradient = super().vjp(d)
        d_factor, scaled = gradient["factor"], self.scaled()
        inside = (scaled >= 0) & (scaled <= MAX_SYMBOL)
        rounded = np.rint(scaled).clip(0, MAX_SYMBOL)
        d_step = (d_factor * np.where(inside, rounded - scaled, rounded)).sum(axis=0, keepdims=True)
        commitment = self.current_codes[1][-1]
        return gradient | {
            "factor": d_factor * inside,
            "step": d_step,
            "offset": (d_factor * ~inside).sum(axis=0, keepdims=True),
            "color": gradient["color"] + 2 * commitment / commitment.size,
        }

    def before_update(self, step: int, steps: int, result: StepResult) -> None:
        if step >= 0.9 * steps and result.mean_square < self.best_error:
            self.best_error = result.mean_square
            self.best = {name: values.copy() for name, values in self.parameters.items()}, self.codebooks.copy()
        codes, residuals = self.current_codes
        for stage in range(STAGES):
            counts, sums = tally(codes[stage], residuals[stage])
            weights = CODEBOOK_DECAY * self.weights[stage] + (1 - CODEBOOK_DECAY) * counts
            used = weights > 1e-3
            moved = CODEBOOK_DECAY * self.weights[stage][:, None] * self.codebooks[stage] + (1 - CODEBOOK_DECAY) * sums
            self.codebooks[stage][used] = (moved[used] / weights[used, None]).astype(np.float32)
            self.weights[stage] = np.maximum(weights, 1e-3)

    def finish(self) -> None:
        """Go back to the best of the last steps."""
        if math.isfinite(self.best_error):
            self.parameters, self.codebooks = self.best


def nearest(colors: RealArray, book: RealArray) -> Symbols:
    """Which vector of a codebook [VECTORS, C] is nearest to each of the colours [N, C]; [N]."""
    distance = (book * book).sum(axis=1) - 2 * colors @ book.T
    codes: Symbols = distance.argmin(axis=1).astype(np.uint8)
    return codes


def tally(codes: Symbols, colors: RealArray) -> tuple[RealArray, RealArray]:
    """How many colours each vector stands for, [VECTORS], and their sums, [VECTORS, C]."""
    sums = [np.bincount(codes, column, VECTORS) for column in colors.T]
    return np.bincount(codes, minlength=VECTORS).astype(np.float64), np.stack(sums, axis=1)


def pack(model: Quantized) -> bytes:
    """The file: header, tables, means, and coded symbols."""
    channels = model.parameters["color"].shape[1]
    header = files.HEADER.pack(files.MAGIC, files.CODEC, channels, model.width, model.height, len(model))
    step = np.maximum(model.parameters["step"], MIN_STEP)
    tables = np.concatenate([step.ravel(), model.parameters["offset"].ravel(), model.codebooks.ravel()])
    symbols = np.rint(model.scaled()).clip(0, MAX_SYMBOL).astype(np.uint8).T
    mean = model.parameters["mean"].astype("<f2").tobytes()
    codes = model.codes()[0]
    # Each kind of symbol is coded on its own: the coder learns one distribution.
    parts = [files.coded(row.tobytes()) for row in (*symbols, *codes)]
    sizes = np.array([len(part) for part in parts], "<u4").tobytes()
    return header + tables.astype("<f4").tobytes() + mean + sizes + b"".join(parts)


def unpack(data: bytes) -> Cholesky:
    """A model without quantisers that renders what the file's model did."""
    _, kind, channels, width, height, count = files.header_of(data)
    if kind != files.CODEC:
        raise FormatError("not a file of GaussianImage's codec")
    at = files.HEADER.size

    def take(dtype: str, length: int) -> RealArray:
        nonlocal at
        values = np.frombuffer(data, dtype, length, at)
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
