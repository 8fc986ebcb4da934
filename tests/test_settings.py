from __future__ import annotations

from dataclasses import fields, is_dataclass

import pytest

from smartsplat import settings
from smartsplat.settings import EFFORT_TRIES, PAPER, FitSettings, Limits


def test_every_dataclass_is_frozen() -> None:
    for item in vars(settings).values():
        if isinstance(item, type) and is_dataclass(item):
            with pytest.raises(AttributeError):
                setattr(item(), fields(item)[0].name, None)


def test_a_higher_effort_takes_longer() -> None:
    assert list(EFFORT_TRIES) == list(range(1, 10))
    cost = [sum(steps for steps, _ in tries) for tries in EFFORT_TRIES.values()]
    assert sorted(set(cost)) == cost
    default = FitSettings()
    assert EFFORT_TRIES[5] == ((default.steps, default.noise),), "effort 5 is the default of encode"


def test_the_paper_has_no_part_of_what_goes_beyond_it() -> None:
    assert PAPER.growth is None
    assert PAPER.pyramid == ()
    assert (PAPER.hold, PAPER.decay) == (0, 1)
    assert PAPER.round_from == (1, 1)
    assert not PAPER.relative
    assert PAPER.size == 0
    assert (PAPER.l1, PAPER.l2, PAPER.ssim) == (0.9, 0.0, 0.1)


def test_the_largest_picture_fits_the_limits() -> None:
    limits = Limits()
    assert limits.side >= 1 << 16
    assert 16384 * 16384 <= limits.pixels <= limits.side**2
    assert limits.gaussians < 1 << 31  # 32-bit indices in the renderer
