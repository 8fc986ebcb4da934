"""What every renderer is tested on: scenes and steps, with the reference's answers."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import numpy as np

from smartsplat.arrays import ByteArray, DoubleArray, SampleArray
from smartsplat.gaussians import Gaussians
from smartsplat.render import StepResult, StepSettings, View, reference
from tests.compare import scene

FIELDS = ("mean", "scale", "rotation", "color")
HOSTILE = (math.nan, math.inf, -math.inf, 3e38, -3e38, 1e-45, 0.0)
"""Values that no parameter should have."""


def gaussian(
    mean: tuple[float, float],
    scale: tuple[float, float],
    rotation: float = 0,
    color: tuple[float, ...] = (1, 0.5, -0.3),
) -> Gaussians:
    """One Gaussian."""
    return Gaussians(*(np.array([array], np.float32) for array in (mean, scale, rotation, color)))


def thin(width: float, height: float, shorter: float, count: int = 17) -> Gaussians:
    """Aspect 64 at every angle, the centres a little apart: what a quadratic form in float32 would spoil."""
    turns = np.linspace(0, math.pi, count)
    one_by_one = [
        gaussian((width / 2 + turn, height / 2 - turn / 3), (64 * shorter, shorter), turn, (0.2, 0.1, -0.1))
        for turn in turns
    ]
    return Gaussians.concatenated(one_by_one, 3)


SMALL_SCENES: dict[str, tuple[Gaussians, View]] = {
    "1x1": (scene(3, 1, 1), View.whole(1, 1)),
    "1x17": (scene(5, 17, 1), View.whole(17, 1)),
    "17x1 grey": (scene(5, 1, 17, 1), View.whole(1, 17)),
    "41x53": (scene(14, 53, 41), View.whole(53, 41)),
    "33x32 grey": (scene(9, 33, 32, 1), View.whole(33, 32)),
    "no Gaussians": (Gaussians.empty(3), View.whole(20, 18)),
    "all in one small tile": (scene(70, 14, 14, max_scale=2), View.whole(40, 36)),
    "one over all small tiles": (gaussian((50, 40), (75, 45), 0.5), View.whole(70, 60)),
    "thin": (thin(80, 60, 0.25, 9), View.whole(80, 60)),
    "tiny, few": (scene(60, 30, 30, min_scale=0.05, max_scale=0.4), View.whole(30, 30)),
    "huge, few": (scene(4, 40, 30, min_scale=300, max_scale=60_000), View.whole(40, 30)),
    "region": (scene(20, 100, 80), View(10.5, 5, 60, 50, 60, 50)),
    "minified": (scene(30, 300, 200), View.whole(300, 200, 37, 29)),
    "magnified": (scene(6, 40, 30), View(3, 4, 30, 20, 61, 37)),
    "minified x, magnified y": (scene(15, 100, 40), View(0, 5, 100, 20, 23, 37)),
}
"""Those that an interpreter of GPU code can render."""

SCENES: dict[str, tuple[Gaussians, View]] = SMALL_SCENES | {
    "41x341": (scene(60, 341, 41), View.whole(341, 41)),
    "65x64 grey": (scene(25, 65, 64, 1), View.whole(65, 64)),
    "300x270": (scene(90, 300, 270, max_scale=30), View.whole(300, 270)),
    "one": (gaussian((20.3, 11.8), (3, 2), 0.4), View.whole(40, 25)),
    "all in one tile": (scene(150, 40, 40), View.whole(200, 140)),
    "one over all tiles": (gaussian((100, 80), (150, 90), 0.5), View.whole(260, 200)),
    "thin, short": (thin(90, 80, 0.25), View.whole(90, 80)),
    "thin, long": (thin(200, 180, 1.5), View.whole(200, 180)),
    "tiny": (scene(400, 70, 70, min_scale=0.05, max_scale=0.4), View.whole(70, 70)),
    "huge": (scene(8, 100, 90, min_scale=300, max_scale=60_000), View.whole(100, 90)),
    "large region": (scene(40, 100, 80), View(10.5, 5, 60, 50, 60, 50)),
    "minified, many": (scene(60, 300, 200), View.whole(300, 200, 37, 29)),
    "magnified, many": (scene(15, 40, 30), View(3, 4, 30, 20, 91, 67)),
    "minified x, magnified y, many": (scene(30, 100, 40), View(0, 5, 100, 20, 33, 77)),
}


GPU_SCENES = ("41x341", "300x270")
"""Of the larger ones those that GPUs were measured to render within their tolerance."""


@cache
def expected(name: str) -> tuple[DoubleArray, DoubleArray, reference.DoubleGaussians]:
    """The reference's rendering of a scene, a random d_image, and the gradient for it."""
    gaussians, view = SCENES[name]
    params = reference.upload(gaussians)
    image = reference.render(params, view)
    d_image = np.random.default_rng(1).normal(size=image.shape)
    return image, d_image, reference.render_gradient(params, view, d_image.astype(np.float32).astype(np.float64))


# ---- steps ----------------------------------------------------------------------------------------------------------

LOSSES = {
    "l1": StepSettings(l1=1, l2=0),
    "l2": StepSettings(l2=1),
    "l1 and l2": StepSettings(l1=0.3, l2=0.5),
    "coarse": StepSettings(l1=0.3, l2=0.5, coarse=0.6),
    "ssim": StepSettings(l2=0, ssim=1),
    "paper": StepSettings(l1=0.9, l2=0, ssim=0.1, beta2=0.999),
    "l2 and rate": StepSettings(rate_weight=0.01, rate_energy=0.3),
    "all": StepSettings(l1=0.3, l2=0.5, ssim=0.2, rate_weight=0.01, rate_energy=0.003, beta1=0.8),
}
IN_PIXELS = {"relative": False, "lr_mean_x": 0.3, "lr_mean_y": 0.2, "lr_scale": 0.05}
VIEWS = {
    "300x270": View.whole(300, 270),
    "75x53": View.whole(75, 53),
    "41x37": View.whole(41, 37),
    "19x23": View.whole(19, 23),
    "1x17": View.whole(17, 1),
    "1x1": View.whole(1, 1),
    "half size": View.whole(80, 60, 40, 30),
    "half size, small": View.whole(40, 24, 20, 12),
}

StepCase = tuple[str, str, bool, int]  # loss, view, relative, channels

SMALL_STEPS: list[StepCase] = [
    *((loss, "19x23" if LOSSES[loss].ssim else "41x37", True, 3) for loss in ("l1", "l2 and rate", "paper", "all")),
    ("l2 and rate", "1x17", False, 3),
    ("all", "half size, small", False, 3),
    ("all", "1x17", True, 1),
]
STEPS: list[StepCase] = [
    *SMALL_STEPS,
    *((loss, "75x53", relative, 3) for loss in LOSSES for relative in (True, False)),
    *(("all", view, True, 3) for view in ("300x270", "1x17", "1x1", "half size")),
    ("paper", "75x53", False, 1),
    ("paper", "41x37", True, 3),
    ("all", "41x37", True, 3),
]
GPU_STEPS: list[StepCase] = [("paper", "41x37", True, 3), ("all", "41x37", True, 3)]
"""Of the larger ones those that a GPU takes, but no interpreter of its code."""


def fitting(view: View, channels: int = 3, dtype: type = np.uint8) -> tuple[Gaussians, SampleArray]:
    """Gaussians and a target without black and white: there the sign of an error of zero depends on the last digit."""
    width, height = int(view.width), int(view.height)
    gaussians = scene(
        3 + width * height // (200 if width * height < 2000 else 400),
        width,
        height,
        channels,
        min_scale=0.8,
        max_scale=9,
    )
    white = np.iinfo(dtype).max
    target = np.random.default_rng(2).integers(1, white, (view.rows, view.columns, channels), dtype=dtype)
    return gaussians, target


def error_weights(view: View) -> ByteArray:
    """Weights of all sizes, 0 and 255 among them, and an area where all are 0."""
    weights = np.random.default_rng(4).integers(0, 256, (view.rows, view.columns), dtype=np.uint8)
    weights[:, : view.columns // 3] = 0
    weights[view.rows // 2 :, -1] = 255
    return weights


def step_settings(loss: str, view: View, relative: bool = True) -> StepSettings:
    """A large epsilon: with the usual one Adam's first moves are the signs of the gradients, however small."""
    settings = replace(LOSSES[loss], epsilon=1e-6, width=int(view.width), height=int(view.height))
    return settings if relative else replace(settings, **IN_PIXELS)


@cache
def reference_steps(
    loss: str, view_name: str, relative: bool, channels: int
) -> tuple[reference.DoubleGaussians, reference.DoubleAdamState, tuple[StepResult, ...]]:
    """Two steps of the reference: what they lead to, and what they saw."""
    view = VIEWS[view_name]
    gaussians, target = fitting(view, channels)
    params = reference.upload(gaussians)
    adam = reference.adam_state(params)
    settings = step_settings(loss, view, relative)
    results = tuple(reference.step(params, adam, target, view, settings) for _ in range(2))
    return params, adam, results
