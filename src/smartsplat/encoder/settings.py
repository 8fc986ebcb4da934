"""Every default of the encoder, as frozen dataclasses; the levels of ``--effort``; the paper's preset."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from enum import StrEnum

from smartsplat.arguments import whole_number
from smartsplat.errors import SettingsError
from smartsplat.render import COARSE_CELL

MAX_VARIANCE_WINDOW = 13
"""Pixels: the compiled module sums the squares of a window in 31 bits."""


@dataclass(frozen=True)
class InitializeSettings:
    """How Gaussians are placed before the fit (E9 to E21). The defaults are the paper's.

    Args:
        gradient_fraction: lambda_m of E10, the gradient's part of the sampling weight; the variance has the rest.
        weighted_fraction: lambda_g of E21, the fraction of the Gaussians sampled by weight; the rest is uniform.
        neighbors: K of E17, the point itself not counted.
        tile: longest side of a sampling tile, pixels.
        variance_window: side of the window of the variance in E9, pixels; odd, at most ``MAX_VARIANCE_WINDOW``.

    Raises:
        SettingsError: a window that cannot be used.
    """

    gradient_fraction: float = 0.9
    weighted_fraction: float = 0.7
    neighbors: int = 3
    tile: int = 1024
    variance_window: int = 5

    def __post_init__(self) -> None:
        if self.variance_window % 2 == 0 or not 0 < self.variance_window <= MAX_VARIANCE_WINDOW:
            raise SettingsError(
                f"variance_window must be odd and at most {MAX_VARIANCE_WINDOW}, not {self.variance_window}"
            )


@dataclass(frozen=True)
class DensifySettings:
    """How the number of Gaussians rises during a fit, and where Gaussians are added (densification).

    Args:
        initial_fraction: of the final count, placed by the initialization.
        stop_fraction: of the steps, after which no densify step follows.
        densify_steps: in a fit, at most.
        relocate_fraction: of the Gaussians, those with the least energy, relocated in each densify step.
        added_scale: of an added Gaussian, in units of the base scale (E14).
        error_cell: side of the cells that the error is averaged over, in units of the base scale.
        blur: standard deviation of the blur of the error before it is sampled, cells.
    """

    initial_fraction: float = 0.15
    stop_fraction: float = 0.75
    densify_steps: int = 60
    relocate_fraction: float = 0.1
    added_scale: float = 0.6
    error_cell: float = 0.6
    blur: float = 1.0


@dataclass(frozen=True)
class FitSettings:
    """The optimisation (E22) and what goes beyond it. The defaults are the codec's, PAPER has the paper's.

    Args:
        steps: optimisation steps.
        l1, l2, ssim: weights of the loss terms |e|, e^2 and 1 - SSIM.
        coarse: part of e^2 that is of mean errors over cells of 4 x 4 pixels (of the pyramid level), where the error
            is just visible; ``coarse_part`` of it where it is not.
        structure: weight of 1 - SSIM of luma of the rendering shrunk by 4, at a level of the pyramid, where the error
            is just visible; ``structure_weight`` of it where it is not. 0 with a user's weights.
        rate_weight: weight of the rate term, which is a mean over the Gaussians, in units of the mean square error.
        lr_mean: learning rate of means, in the Gaussian's own scales; if not ``relative``, in [-1, 1] units.
        lr_scale: learning rate of log scales; if not ``relative``, of scales, pixels.
        lr_rotation: learning rate of rotations, radians.
        lr_color: learning rate of colours, at most.
        lr_color_by_error: the same in units of the root mean square error; the lower one holds.
        relative: learning rates of means and scales are in units of the Gaussian's own scales.
        lr_hold_fraction: of the steps, at full learning rates.
        lr_final_factor: last learning rate relative to the first; a cosine falls to it.
        beta2: of Adam.
        pyramid: levels before full size, coarsest first: image pixels a side of one of their pixels, and their
            fraction of the steps.
        densify: None for a fixed number of Gaussians.
        quantization_noise: squared error that quantisation may add, relative to that of the fit; scaled by how fast
            the error falls with the count.
        quantize_from: fractions of the steps from which on scales and rotations are quantised, and means are; 1: never.
        lr_color_after_quantization: learning rate of colours once means are quantised, in units of the root mean square
            error; it falls linearly to 0.
    """

    steps: int = 500
    l1: float = 0.0
    l2: float = 1.0
    ssim: float = 0.0
    coarse: float = 0.0
    structure: float = 0.0
    rate_weight: float = 0.1
    lr_mean: float = 0.1
    lr_scale: float = 0.1
    lr_rotation: float = 0.2
    lr_color: float = 0.035
    lr_color_by_error: float = 1.75
    relative: bool = True
    lr_hold_fraction: float = 0.5
    lr_final_factor: float = 0.01
    beta2: float = 0.85
    pyramid: tuple[tuple[int, float], ...] = ((8, 0.2), (4, 0.2), (2, 0.3))
    densify: DensifySettings | None = DensifySettings()
    quantization_noise: float = 0.1
    quantize_from: tuple[float, float] = (0.92, 0.97)
    lr_color_after_quantization: float = 0.2


PAPER = FitSettings(
    steps=50_000,
    l1=0.9,
    l2=0.0,
    ssim=0.1,
    rate_weight=0.0,
    lr_mean=1e-4,
    lr_scale=5e-2,
    lr_rotation=2 * math.pi * 1e-3,  # the paper's parameter is in turns
    lr_color=5e-3,
    lr_color_by_error=math.inf,
    relative=False,
    lr_hold_fraction=0.0,
    lr_final_factor=1.0,
    beta2=0.999,
    pyramid=(),
    densify=None,
    quantize_from=(1.0, 1.0),
)
"""What ``--preset paper`` stands for: the paper's loss, learning rates and steps, no densification, no quantisation
during the fit."""

EFFORT_TRIALS: dict[int, tuple[tuple[int, float], ...]] = {
    1: ((100, 0.1),),
    2: ((150, 0.1),),
    3: ((225, 0.1),),
    4: ((350, 0.1),),
    5: ((500, 0.1),),
    6: ((1000, 0.1),),
    7: ((1300, 0.1), (1300, 0.16), (500, 0.1)),
    8: ((1300, 0.1), (1300, 0.16), (500, 0.1), (2600, 0.1)),
    9: ((1300, 0.1), (1300, 0.16), (500, 0.1), (2600, 0.1), (2600, 0.16)),
}
"""The fits of each effort level, as (steps, quantization_noise). The best of them at the target size is kept
(docs/effort.md). Fits of regular patterns end by luck as much as by steps: the short one is there for them."""


EYE_COARSE = 0.5
"""``FitSettings.coarse`` of a fit for the eye: structure counts more than grain."""


COARSE_PER_OCTAVE = 0.1
COARSE_RANGE = (0.2, 0.65)
VISIBLE_ERROR = 1 / 80
"""Root mean square error at which ``FitSettings.coarse`` and ``structure`` hold as they are. The larger the error, the
more of it is grain that no Gaussian will hold; where it is small there is nothing but edges left to sharpen."""


EYE_STRUCTURE = 5 * 0.03**2
"""``FitSettings.structure`` of a fit for the eye. On flat ground, where 1 - SSIM is about e^2 / 0.03^2, an error as
wide as its window weighs five times what it does in the squared error."""


def room(pixels_each: float) -> float:
    """How much of what cells of 4 x 4 pixels have in common is structure, where Gaussians have so many pixels each.

    Where a cell has a Gaussian to itself it is none: all from 24 pixels on, nothing at 8.
    """
    return min(max(pixels_each / COARSE_CELL**2 - 0.5, 0.0), 1.0)


def coarse_part(coarse: float, mean_square: float) -> float:
    """``StepSettings.coarse``, where there is ``room``, for a setting and the current mean square error."""
    if not coarse:
        return 0.0
    low, high = COARSE_RANGE
    if mean_square:  # none yet before the first step
        coarse += COARSE_PER_OCTAVE * math.log2(math.sqrt(mean_square) / VISIBLE_ERROR)
    return min(max(coarse, low), high)


def structure_weight(structure: float, mean_square: float) -> float:
    """``Structure.weight``, where there is ``room``, for a setting and the current mean square error."""
    return structure * math.sqrt(math.sqrt(mean_square) / VISIBLE_ERROR)


class Tune(StrEnum):
    """What a fit is good at."""

    EYE = "eye"
    PSNR = "psnr"


def tune_of(tune: str | None, preset: str | None, min_psnr: float | None) -> Tune:
    """The tune that was asked for, or the default: for the eye, unless there is a preset or the target is a PSNR.

    Raises:
        SettingsError: no such tune, or a preset with another than its own.
    """
    if tune is None:
        return Tune.EYE if preset is None and min_psnr is None else Tune.PSNR
    if tune not in tuple(Tune):
        raise SettingsError(f"unknown tune {tune!r}: it is 'eye' or 'psnr'")
    if preset and tune != Tune.PSNR:
        raise SettingsError(f"the preset {preset!r} cannot be tuned: its loss is the paper's")
    return Tune(tune)


def trials_of(effort: int, preset: str | None, steps: int | None, tune: Tune = Tune.PSNR) -> tuple[FitSettings, ...]:
    """The fits of an effort level, or the one of a preset; ``steps`` overrides their number of steps.

    Raises:
        SettingsError: no such effort level or preset, or no step at all.
    """
    effort = whole_number("effort", effort, 1, max(EFFORT_TRIALS))
    if preset not in (None, "paper"):
        raise SettingsError(f"unknown preset {preset!r}; the only one is 'paper'")
    if steps is not None:
        steps = whole_number("steps", steps, 1)
    if preset:
        trials: tuple[FitSettings, ...] = (PAPER,)
    else:
        base = FitSettings(coarse=EYE_COARSE, structure=EYE_STRUCTURE) if tune == Tune.EYE else FitSettings()
        trials = tuple(replace(base, steps=count, quantization_noise=noise) for count, noise in EFFORT_TRIALS[effort])
    return tuple(dict.fromkeys(replace(trial, steps=steps) for trial in trials)) if steps else trials
