"""3D Gaussian splatting (Kerbl et al., 2023) of one image, as the example of gsplat and the paper's baselines run it.

Means in space, log scales, quaternions, opacity and colour behind sigmoids; a camera at distance 8 whose focal length
is half of the image's width; covariances projected by the Jacobian of the perspective, 0.3 square pixels added;
sorted by depth and blended front to back, alpha at most 0.999, down to a transmittance of 1e-4. Mean square error,
Adan at 1e-3, halved after 40 % and 80 %.

``Released`` starts as theirs: means in [-1, 1]^3, which the camera sees in the middle eighth of the image only,
scales at the mean distance to three neighbours, opacity 0.1, on white.
``Tuned`` is ours: means all over the image with its colours, scales at 1.5 base scales (E14) as projected, opacity
0.5, Adam with learning rates in the same unit, which fall along a cosine, on black as in gsplat's example.

Where it differs: see model.py. Colours lie behind a sigmoid, as in gsplat's example; the compared runs have spherical
harmonics, whose 48 coefficients are one colour for a camera that stands still: 14 numbers render all that 59 do, and
are what is counted. The other loss of those runs, 0.7 L1 + 0.3 (1 - SSIM), is not used.
Guards: depth is at least 0.2; directions count up to 1.3 times the field of view; no quaternion is 0.
"""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np
from scipy.spatial import cKDTree

from smartsplat.arrays import ByteArray, IndexArray
from smartsplat.gaussians import base_scale
from smartsplat_baselines.arrays import ParameterArrays, RealArray
from smartsplat_baselines.blend import Blend, CovarianceGaussians
from smartsplat_baselines.model import Model, cosine_lr_factor, halving_lr_factor, uniform
from smartsplat_baselines.optimizers import Adam, Adan, Optimizer, adan_epsilon
from smartsplat_baselines.shapes import logit, sigmoid

DISTANCE = 8.0
MIN_DEPTH = 0.2
MAX_TANGENT = 1.3  # tangent of the direction that the Jacobian is taken at, at most: the image ends at 1
DILATION = 0.3  # squared pixels
INITIAL_OPACITY = -2.1972246  # a tenth, before the sigmoid


class Gaussians3D(Model):
    """Projection and its gradient."""

    columns: ClassVar[dict[str, int]] = {"mean": 3, "scale": 3, "quaternion": 4, "opacity": 1, "color": 0}

    @property
    def focal(self) -> float:
        """Focal length, pixels."""
        return self.width / 2

    def rotations(self) -> tuple[RealArray, RealArray, RealArray]:
        """The unit quaternions [4, N], their lengths [N], and their rotation matrices [3, 3, N]."""
        raw = self.parameters["quaternion"].T
        length = np.maximum(np.sqrt((raw * raw).sum(axis=0)), 1e-8)
        w, a, b, c = raw / length
        rotation = np.array(
            [
                [1 - 2 * (b * b + c * c), 2 * (a * b - w * c), 2 * (a * c + w * b)],
                [2 * (a * b + w * c), 1 - 2 * (a * a + c * c), 2 * (b * c - w * a)],
                [2 * (a * c - w * b), 2 * (b * c + w * a), 1 - 2 * (a * a + b * b)],
            ]
        )
        return raw / length, length, rotation

    def depth(self) -> RealArray:
        """[N]."""
        depth: RealArray = np.maximum(self.parameters["mean"][:, 2] + DISTANCE, MIN_DEPTH)
        return depth

    def camera(self) -> tuple[RealArray, RealArray, RealArray, RealArray, RealArray]:
        """x, y, depth of each mean, and the tangents of its direction that the Jacobian is taken at; [N] each."""
        x, y, _ = self.parameters["mean"].T
        depth = self.depth()
        limit_x, limit_y = MAX_TANGENT, MAX_TANGENT * self.height / self.width
        return x, y, depth, np.clip(x / depth, -limit_x, limit_x), np.clip(y / depth, -limit_y, limit_y)

    def order(self) -> IndexArray:
        """From the front to the back; of equal depths the first in front."""
        depth = self.depth().astype(np.float32)
        # Of positive numbers the bits are in order, too, and sorting whole numbers is faster than a stable argsort.
        keys = np.sort(depth.view(np.uint32).astype(np.uint64) << np.uint64(32) | np.arange(len(self), dtype=np.uint64))
        return (keys & np.uint64(0xFFFFFFFF)).astype(np.intp)

    def projected(self, rotation: RealArray) -> RealArray:
        """J R diag(scale), [2, 3, N]: the covariance is its product with its own transpose."""
        _, _, depth, tangent_x, tangent_y = self.camera()
        flat = np.array([rotation[0] - tangent_x * rotation[2], rotation[1] - tangent_y * rotation[2]])
        projected: RealArray = self.focal / depth * flat * self.scale().T
        return projected

    def scale(self) -> RealArray:
        """[N, 3]."""
        return np.exp(np.clip(self.parameters["scale"], -20, 5))

    def gaussians(self) -> CovarianceGaussians:
        x, y, depth, _, _ = self.camera()
        mean = np.stack([self.focal * x / depth + self.width / 2, self.focal * y / depth + self.height / 2], axis=1)
        rows_x, rows_y = self.projected(self.rotations()[2])
        xx, xy, yy = (rows_x**2).sum(axis=0), (rows_x * rows_y).sum(axis=0), (rows_y**2).sum(axis=0)
        covariance = np.stack([xx + DILATION, xy, yy + DILATION], axis=1)
        color, opacity = sigmoid(self.parameters["color"]), sigmoid(self.parameters["opacity"][:, 0])
        order = self.order()
        return CovarianceGaussians(mean[order], covariance[order], color[order], opacity[order])

    def vjp(self, d: CovarianceGaussians) -> ParameterArrays:
        rank = np.empty(len(self), np.intp)
        rank[self.order()] = np.arange(len(self))
        d = CovarianceGaussians(*(array[rank] for array in d.arrays()))
        unit, length, rotation = self.rotations()
        matrix, scale = self.projected(rotation), self.scale().T
        xx, xy, yy = d.covariance.T
        d_matrix = np.array([2 * xx * matrix[0] + xy * matrix[1], 2 * yy * matrix[1] + xy * matrix[0]])  # [2, 3, N]
        d_flat = d_matrix * scale  # by J R
        x, y, depth, tangent_x, tangent_y = self.camera()
        zoom = self.focal / depth
        d_rotation = zoom * np.array([d_flat[0], d_flat[1], -tangent_x * d_flat[0] - tangent_y * d_flat[1]])
        d_tangent_x, d_tangent_y = (-zoom * (d_flat[axis] * rotation[2]).sum(axis=0) for axis in range(2))
        d_zoom = (d_matrix * matrix).sum(axis=(0, 1)) / zoom
        # Where the direction is clamped, it no longer depends on the mean.
        d_tangent_x, d_tangent_y = d_tangent_x * (tangent_x == x / depth), d_tangent_y * (tangent_y == y / depth)
        mean_x, mean_y = d.mean.T
        d_x, d_y = zoom * mean_x + d_tangent_x / depth, zoom * mean_y + d_tangent_y / depth
        d_depth = -(x * d_x + y * d_y + zoom * d_zoom) / depth
        d_depth = d_depth * (self.parameters["mean"][:, 2] + DISTANCE > MIN_DEPTH)
        d_unit = quaternion_gradient(unit, d_rotation)
        color, opacity = sigmoid(self.parameters["color"]), sigmoid(self.parameters["opacity"])
        return {
            "mean": np.stack([d_x, d_y, d_depth], axis=1),
            "scale": (d_matrix * matrix).sum(axis=0).T,
            "quaternion": ((d_unit - unit * (unit * d_unit).sum(axis=0)) / length).T,
            "opacity": d.opacity[:, None] * opacity * (1 - opacity),
            "color": d.color * color * (1 - color),
        }


def quaternion_gradient(unit: RealArray, d: RealArray) -> RealArray:
    """dL/d(w, a, b, c), [4, N], for dL/d(rotation matrix) [3, 3, N]."""
    w, a, b, c = unit
    d_w = -c * d[0, 1] + b * d[0, 2] + c * d[1, 0] - a * d[1, 2] - b * d[2, 0] + a * d[2, 1]
    d_a = b * (d[0, 1] + d[1, 0]) + c * (d[0, 2] + d[2, 0]) + w * (d[2, 1] - d[1, 2]) - 2 * a * (d[1, 1] + d[2, 2])
    d_b = a * (d[0, 1] + d[1, 0]) + c * (d[1, 2] + d[2, 1]) + w * (d[0, 2] - d[2, 0]) - 2 * b * (d[0, 0] + d[2, 2])
    d_c = a * (d[0, 2] + d[2, 0]) + b * (d[1, 2] + d[2, 1]) + w * (d[1, 0] - d[0, 1]) - 2 * c * (d[0, 0] + d[1, 1])
    return 2 * np.array([d_w, d_a, d_b, d_c])


class Released(Gaussians3D):
    """The initialization and the learning rates of the programs that the paper compares with."""

    reference_steps: ClassVar[int] = 50_000
    blend: ClassVar[Blend] = Blend("alpha", background=1.0)

    @classmethod
    def initialized(cls, pixels: ByteArray, count: int, generator: np.random.Generator) -> Self:
        height, width, channels = pixels.shape
        mean = 2 * uniform(generator, count, 3) - 1
        distance, _ = cKDTree(mean).query(mean, k=min(4, count))
        nearest = distance.reshape(count, -1)[:, 1:].mean(axis=1) if count > 1 else np.ones(1)
        scale = np.log(np.maximum(nearest, 1e-7)).astype(np.float32)
        return cls(
            width,
            height,
            {
                "mean": mean,
                "scale": np.repeat(scale[:, None], 3, axis=1),
                "quaternion": generator.normal(size=(count, 4)).astype(np.float32),
                "opacity": np.full((count, 1), INITIAL_OPACITY, np.float32),
                "color": uniform(generator, count, channels),
            },
        )

    def optimizer(self) -> Optimizer:
        return Adan(tuple(self.columns), epsilon=adan_epsilon(self.width * self.height))

    def lr_factor(self, fraction: float) -> float:
        return halving_lr_factor(fraction)


class Tuned(Released):
    """The same Gaussians, initialized all over the image."""

    reference_steps: ClassVar[int] = 0
    blend: ClassVar[Blend] = Blend("alpha")

    @classmethod
    def initialized(cls, pixels: ByteArray, count: int, generator: np.random.Generator) -> Self:
        model = super().initialized(pixels, count, generator)
        size = np.array([model.width, model.height])
        position = uniform(generator, count, 2) * size
        depth = DISTANCE + model.parameters["mean"][:, 2]
        world = depth / model.focal  # of a pixel
        model.parameters["mean"][:, :2] = (position - size / 2) * world[:, None]
        scale = np.log(1.5 * base_scale(model.width, model.height, count) * world)
        model.parameters["scale"] = np.repeat(scale[:, None], 3, axis=1).astype(np.float32)
        model.parameters["opacity"][:] = 0.0
        column, row = np.minimum(position, size - 1).astype(int).T
        model.parameters["color"] = logit((pixels[row, column] / 255).clip(0.02, 0.98)).astype(np.float32)
        return model

    def optimizer(self) -> Optimizer:
        base = base_scale(self.width, self.height, len(self)) * DISTANCE / self.focal
        return Adam({"mean": 0.05 * base, "scale": 0.02, "quaternion": 0.02, "opacity": 0.03, "color": 0.03})

    def lr_factor(self, fraction: float) -> float:
        return cosine_lr_factor(fraction)
