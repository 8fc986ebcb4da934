"""The least work of a kernel, counted from the Gaussians: its time is compared with this.

An evaluation is one Gaussian at one pixel inside the rectangle of its three standard deviations (E8); a wide one is
evaluated at one sample for 4, 16, 64 or 256 pixels (native/render/pyramid.cpp), and is counted so. Rendering counts
as 8 floating-point operations an evaluation: two multiplications for the weight's recurrence and a multiply-add for
each of three channels. The gradient counts as 20: two for the same recurrence, twelve for the two products with each
channel, six for the sums of h, h t and h t^2 down the rows (native/render/tile.cpp). Not counted are the window's
edge, exponentials, lanes beside the Gaussian, SSIM and the loss. A kernel may leave out what the rectangle has around
the ellipse: a fifth of it, more of long thin ones.

Bytes are those that must be read from memory or written to it if the caches held everything else: pixels of a target or
an output once, parameters and moments once in each direction.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from smartsplat._native import MIN_PYRAMID_DEVIATION, MIN_PYRAMID_DEVIATION_PER_COLOR, PYRAMID_LEVELS
from smartsplat.gaussians import CUTOFF, Gaussians
from smartsplat.render import View, filter_variance

PARAMETER_BYTES = 4 * (2 + 2 + 1 + 3)  # of a Gaussian
ADAM_BYTES = 2 * PARAMETER_BYTES + 4  # of a Gaussian: two moments and the age
SYMBOL_BYTES = 4 * 11  # of a Gaussian

MAX_LEVEL = PYRAMID_LEVELS - 1
"""Of the pyramid that wide Gaussians are rendered on; level 0 is full size."""


@dataclass(frozen=True)
class Cost:
    """What a kernel takes for each unit of work, for three channels."""

    evaluation: int = 0  # floating-point operations
    pixel: int = 0  # bytes
    gaussian: int = 0  # bytes


STEP = Cost(8 + 20, 3, 2 * (PARAMETER_BYTES + ADAM_BYTES))
COSTS = {
    "project": Cost(gaussian=PARAMETER_BYTES),
    "forward": Cost(8),
    "loss": Cost(pixel=3),
    "backward": Cost(20),
    "store": Cost(pixel=3),
    "update": Cost(gaussian=STEP.gaussian),
    "render_bytes": Cost(8, 3, PARAMETER_BYTES),
    "render": Cost(8, 12, PARAMETER_BYTES),
    "render_gradient": Cost(20, 12, 2 * PARAMETER_BYTES),
    "step_l2": STEP,
    "step_l1_ssim": STEP,
    "residual": Cost(8, 3, PARAMETER_BYTES),
    "seed": Cost(pixel=3, gaussian=PARAMETER_BYTES),
    "quantize": Cost(gaussian=PARAMETER_BYTES + SYMBOL_BYTES),
    "dequantize": Cost(gaussian=PARAMETER_BYTES + SYMBOL_BYTES),
    "snap": Cost(gaussian=2 * PARAMETER_BYTES),
    "encode_symbols": Cost(),
    "decode_symbols": Cost(),
    "decode": Cost(8, 3),
    "decode_region": Cost(8, 3),
    "decode_preview": Cost(8, 3),
}
"""By the names that tables of results have: "seed" is ``initialize`` and "snap" ``fake_quantize``."""


@dataclass(frozen=True)
class Work:
    """The work of one call; 0 where a number has no meaning."""

    pixels: int = 0  # rendered or read
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
    """Samples of each Gaussian's rectangle that lie in the view, summed: as native/render/project.cpp does it."""
    variance_u, variance_v = np.square(gaussians.scale.astype(np.float64)).T
    cosine, sine = np.cos(gaussians.rotation), np.sin(gaussians.rotation)
    variances = (
        cosine**2 * variance_u + sine**2 * variance_v,
        sine**2 * variance_u + cosine**2 * variance_v,
    )
    covered = 0.25 ** levels(gaussians, view)
    axes = ((view.x, view.scale_x, view.columns), (view.y, view.scale_y, view.rows))
    for axis, (start, scale, side) in enumerate(axes):
        center = (gaussians.mean[:, axis] - start) * scale
        half_extent = CUTOFF * scale * np.sqrt(variances[axis] + filter_variance(scale))
        begin = np.clip(np.ceil(center - half_extent - 0.5), 0, side)
        end = np.clip(np.floor(center + half_extent - 0.5) + 1, 0, side)
        covered *= np.maximum(end - begin, 0)
    return round(covered.sum())


def levels(gaussians: Gaussians, view: View) -> npt.NDArray[np.int64]:
    """The level that each Gaussian is rendered on, [N]; exact for views that do not change the image's proportions."""
    shorter = gaussians.scale.min(axis=1).astype(np.float64)
    samples = np.maximum(MIN_PYRAMID_DEVIATION, MIN_PYRAMID_DEVIATION_PER_COLOR * np.abs(gaussians.color).max(axis=1))
    deviation = view.scale_x * np.sqrt(shorter**2 + filter_variance(view.scale_x))
    return np.clip(np.floor(np.log2(deviation / samples)), 0, MAX_LEVEL).astype(np.int64)
