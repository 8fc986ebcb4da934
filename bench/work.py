"""What a kernel has to do at least, counted from the Gaussians: what its time is held against.

An evaluation is one Gaussian at one pixel inside the rectangle of its three standard deviations (E8); a wide one is
evaluated at one sample for 4, 16, 64 or 256 pixels (native/levels.cpp), and is counted so. Drawing counts
as 8 floating-point operations an evaluation: two multiplications for the weight's recurrence and a multiply-add for
each of three channels. The gradient counts as 20: two for the same recurrence, twelve for the two products with each
channel, six for the sums of h, h t and h t^2 down the rows (native/kernels.cpp). What else a kernel does is its own
affair: the window's edge, exponentials, lanes beside the Gaussian, SSIM and the loss. In exchange a kernel may leave
out what the rectangle has around the ellipse: a fifth of it, more of long thin ones.

Bytes are those that must come from memory or go there if the caches held everything else: pixels of a target or an
output once, parameters and moments once in each direction that they go.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartsplat.gaussians import Gaussians
from smartsplat.raster import CUTOFF, View, filter_variance

PARAMETERS = 4 * (2 + 2 + 1 + 3)  # bytes of a Gaussian in memory
MOMENTS = 2 * PARAMETERS + 4  # Adam's two and the age
SYMBOLS = 4 * 11

WIDE, STEEP = 4.0, 13.4  # kWide and kSteep of native/project.cpp
COARSEST = 4  # the highest level of native/kernels.h


@dataclass(frozen=True)
class Cost:
    """Of a kernel, for three channels."""

    evaluation: int = 0  # floating-point operations
    pixel: int = 0  # bytes
    gaussian: int = 0  # bytes


STEP = Cost(8 + 20, 3, 2 * (PARAMETERS + MOMENTS))
COSTS = {
    "project": Cost(gaussian=PARAMETERS),
    "forward": Cost(8),
    "loss": Cost(pixel=3),
    "backward": Cost(20),
    "store": Cost(pixel=3),
    "update": Cost(gaussian=STEP.gaussian),
    "render_bytes": Cost(8, 3, PARAMETERS),
    "render": Cost(8, 12, PARAMETERS),
    "render_gradient": Cost(20, 12, 2 * PARAMETERS),
    "step_l2": STEP,
    "step_l1_ssim": STEP,
    "residual": Cost(8, 3, PARAMETERS),
    "seed": Cost(pixel=3, gaussian=PARAMETERS),
    "quantize": Cost(gaussian=PARAMETERS + SYMBOLS),
    "dequantize": Cost(gaussian=PARAMETERS + SYMBOLS),
    "snap": Cost(gaussian=2 * PARAMETERS),
    "encode_symbols": Cost(),
    "decode_symbols": Cost(),
    "decode": Cost(8, 3),
    "decode_region": Cost(8, 3),
    "decode_preview": Cost(8, 3),
}


@dataclass(frozen=True)
class Work:
    """Of one call; 0 where it has no meaning."""

    pixels: int = 0  # drawn or read
    evaluations: int = 0
    flop: float = 0
    traffic: float = 0  # bytes
    coded: int = 0  # bytes of a file or of coded symbols


def work_of(kernel: str, pixels: int, gaussians: int, evaluations: int, coded: int = 0) -> Work:
    """The least work of a kernel or a stage."""
    cost = COSTS.get(kernel, Cost())
    return Work(
        pixels=pixels if cost.pixel or cost.evaluation else 0,
        evaluations=evaluations if cost.evaluation else 0,
        flop=cost.evaluation * evaluations,
        traffic=cost.pixel * pixels + cost.gaussian * gaussians,
        coded=coded,
    )


def evaluations(gaussians: Gaussians, view: View) -> int:
    """Samples of each Gaussian's rectangle that lie in the view, summed: as native/project.cpp does it."""
    u2, v2 = np.square(gaussians.scale.astype(np.float64)).T
    cosine, sine = np.cos(gaussians.rotation), np.sin(gaussians.rotation)
    variances = (cosine**2 * u2 + sine**2 * v2, sine**2 * u2 + cosine**2 * v2)
    covered = 0.25 ** levels(gaussians, view)
    axes = ((view.x, view.scale_x, view.columns), (view.y, view.scale_y, view.rows))
    for axis, (start, scale, side) in enumerate(axes):
        center = (gaussians.mean[:, axis] - start) * scale
        reach = CUTOFF * scale * np.sqrt(variances[axis] + filter_variance(scale))
        begin = np.clip(np.ceil(center - reach - 0.5), 0, side)
        end = np.clip(np.floor(center + reach - 0.5) + 1, 0, side)
        covered *= np.maximum(end - begin, 0)
    return round(covered.sum())


def levels(gaussians: Gaussians, view: View) -> npt.NDArray[np.int64]:
    """The level that each Gaussian is drawn on, [N]; exact for views that do not change the picture's proportions."""
    shorter = gaussians.scale.min(axis=1).astype(np.float64)
    samples = np.maximum(WIDE, STEEP * np.abs(gaussians.color).max(axis=1))
    deviation = view.scale_x * np.sqrt(shorter**2 + filter_variance(view.scale_x))
    return np.clip(np.floor(np.log2(deviation / samples)), 0, COARSEST).astype(np.int64)
