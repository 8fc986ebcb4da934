"""GaussianImage (Zhang et al., ECCV 2024), by rotation and scale or by Cholesky factors, without its codec.

Means are tanh of a parameter that starts at atanh of U(-1, 1); scales are |p + 0.5| and the angle 2 pi sigmoid(p), or
the factor L is p + (0.5, 0, 0.5) with S = L L^T (E2); p and the colours start in U[0, 1), so that a Gaussian is half a
pixel to one and a half wide, whatever their number. No opacity: colours are summed (E4). The mean square error, Adan
at 1e-3 for everything, halved after 40 % and 80 % of the steps (20 000 of 50 000).

Where it differs: see model.py; the chain from the covariance is right, theirs counts its off-diagonal element twice.
Where there are fewer steps (model.py) only means keep their rate.
Guards: means start a little inside of tanh's flat ends, where the original's cannot move.

Two are controls, not methods of its authors. ``Scaled`` starts with scales of one to two base scales (E14) and the
picture's colours, all else as it was. ``ScaledAdam`` is moved by Adam, too, with rates in units of that scale which
fall along a cosine.
"""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from smartsplat.baselines.model import Model, Pixels, uniform
from smartsplat.baselines.optimizers import Adam, Adan, Arrays, Optimizer, Reals, adan_epsilon
from smartsplat.baselines.shapes import covariance_of, shape_gradient, sigmoid
from smartsplat.gaussians import base_scale
from smartsplat.raster.blend import Splats

LARGEST_TANH = 1 - 1e-6
"""Of a mean at the start, or from a file, in [-1, 1]."""


class GaussianImage(Model):
    """What both parametrisations share: means, colours and how they are optimised."""

    own_steps: ClassVar[int] = 50_000
    most_hurry: ClassVar[float] = 500.0
    unhurried: ClassVar[tuple[str, ...]] = ("mean",)  # half a thousandth of the picture a step is far as it is

    def means(self) -> Reals:
        """[N, 2] pixels."""
        size = np.array([self.width, self.height], np.float32)
        mean: Reals = 0.5 * size * (1 + np.tanh(self.parameters["mean"]))
        return mean

    def optimizer(self) -> Optimizer:
        return Adan(tuple(self.columns), epsilon=adan_epsilon(self.width * self.height))

    def factor(self, share: float) -> float:
        return float(0.5 ** int(share / 0.4))

    def splats(self) -> Splats:
        color = self.parameters["color"]
        return Splats(self.means(), self.covariance(), color, np.ones(len(color), color.dtype))

    def chain(self, d: Splats) -> Arrays:
        size = np.array([self.width, self.height], np.float32)
        d_mean = d.mean * 0.5 * size * (1 - np.tanh(self.parameters["mean"]) ** 2)
        return {"mean": d_mean, "color": d.color} | self.shape_chain(d.covariance)

    def stored(self) -> Arrays:
        return self.parameters | {"mean": np.tanh(self.parameters["mean"])}  # rounded where it is seen

    @classmethod
    def restored(cls, width: int, height: int, stored: Arrays) -> Self:
        return cls(width, height, stored | {"mean": np.arctanh(stored["mean"].clip(-LARGEST_TANH, LARGEST_TANH))})

    def covariance(self) -> Reals:
        """[N, 3]."""
        raise NotImplementedError

    def shape_chain(self, d_covariance: Reals) -> Arrays:
        """The gradient by the parameters that ``covariance`` is made of."""
        raise NotImplementedError

    @classmethod
    def seeded(cls, pixels: Pixels, count: int, generator: np.random.Generator) -> Self:
        height, width, channels = pixels.shape
        start: Arrays = {"mean": 2 * uniform(generator, count, 2) - 1}
        for name, size in cls.columns.items():
            if name != "mean":
                start[name] = uniform(generator, count, size or channels)
        return cls.restored(width, height, start)


class RotationScale(GaussianImage):
    """GaussianImage RS."""

    columns: ClassVar[dict[str, int]] = {"mean": 2, "scale": 2, "rotation": 1, "color": 0}

    def covariance(self) -> Reals:
        return covariance_of(np.abs(self.parameters["scale"] + 0.5), self.angle())

    def angle(self) -> Reals:
        """[N] radians."""
        return 2 * np.pi * sigmoid(self.parameters["rotation"][:, 0])

    def shape_chain(self, d_covariance: Reals) -> Arrays:
        raw = self.parameters["scale"] + 0.5
        d_scale, d_rotation = shape_gradient(np.abs(raw), self.angle(), d_covariance)
        share = sigmoid(self.parameters["rotation"][:, 0])
        return {"scale": d_scale * np.sign(raw), "rotation": (d_rotation * 2 * np.pi * share * (1 - share))[:, None]}


class Cholesky(GaussianImage):
    """GaussianImage Cholesky."""

    columns: ClassVar[dict[str, int]] = {"mean": 2, "factor": 3, "color": 0}
    offset: ClassVar[Reals] = np.array([0.5, 0, 0.5], np.float32)

    def factors(self) -> Reals:
        """[N, 3] L11, L21, L22."""
        return self.parameters["factor"] + self.offset

    def covariance(self) -> Reals:
        a, b, c = self.factors().T
        return np.stack([a * a, a * b, b * b + c * c], axis=1)

    def shape_chain(self, d_covariance: Reals) -> Arrays:
        a, b, c = self.factors().T
        xx, xy, yy = d_covariance.T
        return {"factor": np.stack([2 * a * xx + b * xy, a * xy + 2 * b * yy, 2 * c * yy], axis=1)}


class Scaled(RotationScale):
    """The control whose start knows how many Gaussians there are, and what the picture is."""

    @classmethod
    def seeded(cls, pixels: Pixels, count: int, generator: np.random.Generator) -> Self:
        model = super().seeded(pixels, count, generator)
        base = base_scale(model.width, model.height, count)
        model.parameters["scale"] = (base * (1 + uniform(generator, count, 2)) - 0.5).astype(np.float32)
        column, row = np.minimum(model.means(), np.array([model.width, model.height]) - 1).astype(int).T
        model.parameters["color"] = (pixels[row, column] / 255).astype(np.float32)
        return model


class ScaledAdam(Scaled):
    """The control whose rates know it, too."""

    own_steps: ClassVar[int] = 0

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

    def factor(self, share: float) -> float:
        return float(0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * share)))
