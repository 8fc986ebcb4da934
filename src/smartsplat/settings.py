"""Every default of the codec, as frozen dataclasses."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """What a picture or a file may claim before anything is allocated for it."""

    side: int = 1 << 16  # pixels
    pixels: int = 1 << 30
    gaussians: int = 1 << 26
    file_bytes: int = 1 << 31
    profile_bytes: int = 1 << 24
    overlap: int = 1024  # Gaussians over an output pixel, on average; fits have 10 to 20


@dataclass(frozen=True)
class SeedSettings:
    """How Gaussians are placed before the fit: the paper's values."""

    gradient_share: float = 0.9  # lambda_m of E10
    weighted_share: float = 0.7  # lambda_g of E21: the rest is sampled uniformly
    neighbors: int = 3  # K of E17, the point itself not counted
    tile: int = 1024  # largest side of a sampling tile, pixels
    variance_window: int = 5  # side of the neighbourhood in E9, pixels


@dataclass(frozen=True)
class Growth:
    """How the number of Gaussians rises during a fit, and where new ones go."""

    start: float = 0.15  # share of the final count that is seeded
    until: float = 0.75  # share of the steps after which the count only settles
    events: int = 60  # times at which Gaussians are added and moved
    moved: float = 0.1  # share with the least energy that is moved at each event
    scale: float = 0.6  # of a new Gaussian, in units of the base scale (E14)
    cell: float = 0.6  # side of the cells that the error is averaged over, in units of the base scale
    blur: float = 1.0  # of the error that new places are drawn from, cells


@dataclass(frozen=True)
class FitSettings:
    """The optimisation: E21-E22 and what goes beyond them. The defaults are the codec's, PAPER the paper's."""

    steps: int = 1000
    l1: float = 0.0
    l2: float = 1.0
    ssim: float = 0.0
    size: float = 0.1  # of the size term, in units of the mean square error
    rate_mean: float = 0.1  # of the Gaussian's own scale, a step; [-1, 1] units if not relative
    rate_scale: float = 0.1  # of the log scale; pixels if not relative
    rate_rotation: float = 0.2  # radians
    rate_color: float = 0.035
    relative: bool = True
    hold: float = 0.5  # share of the steps at full rates
    decay: float = 0.02  # the rates' last value, relative to the first; a cosine falls to it
    beta2: float = 0.95
    pyramid: tuple[tuple[int, float], ...] = ((8, 0.2), (4, 0.2), (2, 0.3))
    """Levels before full size, coarsest first: picture pixels a side of one of theirs, and their share of the steps."""
    growth: Growth | None = Growth()
    noise: float = 0.1  # squared error that rounding may add, relative to that of the fit: see Fit._worthwhile_noise
    round_from: tuple[float, float] = (0.92, 0.97)
    """Shares of the steps after which scales and rotations are the file's, and means are; 1: never."""
    rate_closing: float = 0.2  # of those colours, in units of the root mean square error; it falls to nothing


PAPER = FitSettings(
    steps=50_000,
    l1=0.9,
    l2=0.0,
    ssim=0.1,
    size=0.0,
    rate_mean=1e-4,
    rate_scale=5e-2,
    rate_rotation=2 * 3.141592653589793 * 1e-3,  # the paper's parameter is in turns
    rate_color=5e-3,
    relative=False,
    hold=0.0,
    decay=1.0,
    beta2=0.999,
    pyramid=(),
    growth=None,
    round_from=(1.0, 1.0),
)
"""What ``--preset paper`` stands for: the paper's loss, rates and steps, no growth, no rounding in training."""

EFFORT_TRIES: dict[int, tuple[tuple[int, float], ...]] = {
    1: ((100, 0.1),),
    2: ((200, 0.1),),
    3: ((400, 0.1),),
    4: ((600, 0.1),),
    5: ((1000, 0.1),),
    6: ((2000, 0.1),),
    7: ((4000, 0.1), (4000, 0.16), (1000, 0.1)),
    8: ((4000, 0.1), (4000, 0.16), (1000, 0.1), (8000, 0.1)),
    9: ((4000, 0.1), (4000, 0.16), (1000, 0.1), (8000, 0.1), (8000, 0.16)),
}
"""The fits of each effort level, as (steps, noise); the best of them at the target size is kept (docs/effort.md).

Fits of regular patterns end by luck as much as by steps: the short one is there for them.
"""
