from __future__ import annotations

import math
from dataclasses import fields, is_dataclass
from pathlib import Path

import pytest

from smartsplat.encoder import settings
from smartsplat.encoder.settings import (
    COARSE_RANGE,
    EFFORT_TRIALS,
    EYE_COARSE,
    PAPER,
    VISIBLE_ERROR,
    FitSettings,
    Tune,
    coarse_part,
    room,
    trials_of,
    tune_of,
)
from smartsplat.errors import SettingsError
from smartsplat.limits import Limits

ROOT = Path(__file__).resolve().parents[2]


def test_every_dataclass_is_frozen() -> None:
    for item in vars(settings).values():
        if isinstance(item, type) and is_dataclass(item):
            with pytest.raises(AttributeError):
                setattr(item(), fields(item)[0].name, None)


def test_a_higher_effort_takes_longer() -> None:
    assert list(EFFORT_TRIALS) == list(range(1, 10))
    cost = [sum(steps for steps, _ in trials) for trials in EFFORT_TRIALS.values()]
    assert sorted(set(cost)) == cost
    default = FitSettings()
    assert EFFORT_TRIALS[5] == ((default.steps, default.quantization_noise),), "effort 5 is the default of encode"


def test_the_paper_has_no_part_of_what_goes_beyond_it() -> None:
    assert PAPER.densify is None
    assert PAPER.pyramid == ()
    assert (PAPER.lr_hold_fraction, PAPER.lr_final_factor) == (0, 1), "learning rates are constant"
    assert PAPER.quantize_from == (1, 1)
    assert not PAPER.relative
    assert PAPER.rate_weight == PAPER.l2 == 0


def test_the_paper_preset_has_the_numbers_of_the_page() -> None:
    page = " ".join((ROOT / "docs/method.md").read_text().split())
    turns = PAPER.lr_rotation / (2 * math.pi)
    for phrase in (
        f"{PAPER.l1:g} l1 and {PAPER.ssim:g} ssim in the preset `paper`",
        f"{PAPER.steps // 1000} {PAPER.steps % 1000:03} steps at constant learning rates",
        f"means {PAPER.lr_mean * 1e4:g}e-4 of half a side, scales {PAPER.lr_scale:g} pixels",
        f"angles {turns * 1e3:g}e-3 turns, colours {PAPER.lr_color:g}",
    ):
        assert phrase in page, phrase


def test_the_largest_image_fits_the_limits() -> None:
    limits = Limits()
    assert limits.side == 1 << 22
    assert limits.output_pixels <= limits.pixels
    assert 16384 * 16384 <= limits.pixels <= limits.side**2
    assert limits.gaussians < 1 << 31  # 32-bit indices in the renderer


def test_tunes() -> None:
    assert tune_of(None, None, None) == Tune.EYE
    assert tune_of(None, "paper", None) == tune_of(None, None, 40.0) == tune_of("psnr", "paper", None) == Tune.PSNR
    assert tune_of("eye", None, 40.0) == Tune.EYE
    with pytest.raises(SettingsError, match="unknown tune 'ssim': it is 'eye' or 'psnr'"):
        tune_of("ssim", None, None)
    with pytest.raises(SettingsError, match="cannot be tuned"):
        tune_of("eye", "paper", None)
    assert [each.coarse for each in trials_of(7, None, None, Tune.EYE)] == [EYE_COARSE] * 3
    assert [each.coarse for each in trials_of(7, None, None, Tune.PSNR)] == [0] * 3
    assert trials_of(5, "paper", None, Tune.PSNR) == (PAPER,)


def test_the_coarse_part_follows_the_error_and_the_density() -> None:
    visible = VISIBLE_ERROR**2
    assert coarse_part(0, visible) == 0
    assert coarse_part(0.5, 0) == coarse_part(0.5, visible) == 0.5
    assert coarse_part(0.5, 4 * visible) == pytest.approx(0.6)
    assert (coarse_part(0.5, 1e-9), coarse_part(0.5, 1)) == COARSE_RANGE
    assert [room(pixels) for pixels in (1, 8, 16, 24, 200)] == [0, 0, 0.5, 1, 1]


def test_the_trials_of_an_effort() -> None:
    for effort, trials in EFFORT_TRIALS.items():
        assert tuple((each.steps, each.quantization_noise) for each in trials_of(effort, None, None)) == trials
    assert trials_of(5, "paper", None) == (PAPER,)
    assert [each.steps for each in trials_of(1, None, 7)] == [7]
    assert [each.quantization_noise for each in trials_of(9, None, 7)] == [
        0.1,
        0.16,
    ]  # steps alone tell the others from these
    for bad in ((0, None, None), (10, None, None), (5, "fast", None), (5, None, 0), (5, None, -1)):
        with pytest.raises(SettingsError):
            trials_of(*bad)
