"""GaussianImage (Zhang et al., ECCV 2024), by rotation and scale or by Cholesky factors, without its codec.

Means are tanh of a parameter that starts at atanh of U(-1, 1); scales are |p + 0.5| and the angle 2 pi sigmoid(p), or
the factor L is p + (0.5, 0, 0.5) with S = L L^T (E2); p and the colours start in U[0, 1), so that a Gaussian is half a
pixel to one and a half wide, whatever their number. No opacity: colours are summed (E4). The mean square error, Adan
at 1e-3 for everything, halved after 40 % and 80 % of the steps (20 000 of 50 000).

Where it differs: see model.py; the gradient by the covariance is right, theirs counts its off-diagonal element twice.
Where there are fewer steps (model.py) only means keep their learning rate.
Guards: means start a little inside of tanh's flat ends, where the original's cannot move.

Two are ablations, not methods of its authors. ``Scaled`` starts with scales of one to two base scales (E14) and the
image's colours, all else as it was. ``ScaledAdam`` also uses Adam, with learning rates in units of that scale, which
fall along a cosine.
"""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from smartsplat.arrays import ByteArray
from smartsplat.gaussians import base_scale
from smartsplat_baselines.arrays import ParameterArrays, RealArray
from smartsplat_baselines.blend import CovarianceGaussians
from smartsplat_baselines.model import Model, cosine_lr_factor, halving_lr_factor, uniform
from smartsplat_baselines.optimizers import Adam, Adan, Optimizer, adan_epsilon
from smartsplat_baselines.shapes import covariance_of, covariance_vjp, sigmoid

MAX_TANH = 1 - 1e-6
"""Of an initial mean, or one from a file, in [-1, 1]."""


class GaussianImage(Model):
    """What both parametrisations share: means, colours and how they are optimised."""

    reference_steps: ClassVar[int] = 50_000
    max_lr_scale_up: ClassVar[float] = 500.0
    fixed_lr: ClassVar[tuple[str, ...]] = ("mean",)  # half a thousandth of the image a step is far already

    def means(self) -> RealArray:
        """[N, 2] pixels."""
        size = np.array([self.width, self.height], np.float32)
        mean: RealArray = 0.5 * size * (1 + np.tanh(self.parameters["mean"]))
        return mean

    def optimizer(self) -> Optimizer:
        return Adan(tuple(self.columns), epsilon=adan_epsilon(self.width * self.height))

    def lr_factor(self, fraction: float) -> float:
        return halving_lr_factor(fraction)

    def gaussians(self) -> CovarianceGaussians:
        color = self.parameters["color"]
        return CovarianceGaussians(self.means(), self.covariance(), color, np.ones(len(color), color.dtype))

    def vjp(self, d: CovarianceGaussians) -> ParameterArrays:
        size = np.array([self.width, self.height], np.float32)
        d_mean = d.mean * 0.5 * size * (1 - np.tanh(self.parameters["mean"]) ** 2)
        return {"mean": d_mean, "color": d.color} | self.covariance_vjp(d.covariance)

    def stored(self) -> ParameterArrays:
        return self.parameters | {"mean": np.tanh(self.parameters["mean"])}  # quantised where it is visible

    @classmethod
    def restored(cls, width: int, height: int, stored: ParameterArrays) -> Self:
        return cls(width, height, stored | {"mean": np.arctanh(stored["mean"].clip(-MAX_TANH, MAX_TANH))})

    def covariance(self) -> RealArray:
        """[N, 3]."""
        raise NotImplementedError

    def covariance_vjp(self, d_covariance: RealArray) -> ParameterArrays:
        """dL/d(parameters) that ``covariance`` depends on."""
        raise NotImplementedError

    @classmethod
    def initialized(cls, pixels: ByteArray, count: int, generator: np.random.Generator) -> Self:
        height, width, channels = pixels.shape
        stored: ParameterArrays = {"mean": 2 * uniform(generator, count, 2) - 1}
        for name, size in cls.columns.items():
            if name != "mean":
                stored[name] = uniform(generator, count, size or channels)
        return cls.restored(width, height, stored)


class RotationScale(GaussianImage):
    """GaussianImage RS."""

    columns: ClassVar[dict[str, int]] = {"mean": 2, "scale": 2, "rotation": 1, "color": 0}

    def covariance(self) -> RealArray:
        return covariance_of(np.abs(self.parameters["scale"] + 0.5), self.angle())

    def angle(self) -> RealArray:
        """[N] radians."""
        return 2 * np.pi * sigmoid(self.parameters["rotation"][:, 0])

    def covariance_vjp(self, d_covariance: RealArray) -> ParameterArrays:
        raw = self.parameters["scale"] + 0.5
        d_scale, d_rotation = covariance_vjp(np.abs(raw), self.angle(), d_covariance)
        turn = sigmoid(self.parameters["rotation"][:, 0])
        return {"scale": d_scale * np.sign(raw), "rotation": (d_rotation * 2 * np.pi * turn * (1 - turn))[:, None]}


class Cholesky(GaussianImage):
    """GaussianImage Cholesky."""

    columns: ClassVar[dict[str, int]] = {"mean": 2, "factor": 3, "color": 0}
    offset: ClassVar[RealArray] = np.array([0.5, 0, 0.5], np.float32)

    def factors(self) -> RealArray:
        """[N, 3] L11, L21, L22."""
        return self.parameters["factor"] + self.offset

    def covariance(self) -> RealArray:
        a, b, c = self.factors().T
        return np.stack([a * a, a * b, b * b + c * c], axis=1)

    def covariance_vjp(self, d_covariance: RealArray) -> ParameterArrays:
        a, b, c = self.factors().T
        xx, xy, yy = d_covariance.T
        return {"factor": np.stack([2 * a * xx + b * xy, a * xy + 2 * b * yy, 2 * c * yy], axis=1)}


class Scaled(RotationScale):
    """The ablation whose initialization depends on the number of Gaussians and on the image."""

    @classmethod
    def initialized(cls, pixels: ByteArray, count: int, generator: np.random.Generator) -> Self:
        model = super().initialized(pixels, count, generator)
        base = base_scale(model.width, model.height, count)
        model.parameters["scale"] = (base * (1 + uniform(generator, count, 2)) - 0.5).astype(np.float32)
        column, row = np.minimum(model.means(), np.array([model.width, model.height]) - 1).astype(int).T
        model.parameters["color"] = (pixels[row, column] / 255).astype(np.float32)
        return model


class ScaledAdam(Scaled):
    """The ablation whose learning rates depend on the number of Gaussians, too."""

    reference_steps: ClassVar[int] = 0

    def optimizer(self) -> Optimizer:
        base = base_scale(self.width, self.height, len(self))
        return Adam(
            {
                "mean": 0.1 * base / max(self.width, self.height),
                "scale": 0.02 * base,
                "rotation": 0.01,
                "color": 0.01,
            }
        )

    def lr_factor(self, fraction: float) -> float:
        return cosine_lr_factor(fraction)
