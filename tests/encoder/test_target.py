from __future__ import annotations

import math
from typing import Any

import pytest

from smartsplat.encoder.target import Target
from smartsplat.errors import SettingsError
from smartsplat.limits import Limits
from tests.encoder.fits import quick_encode
from tests.samples import landscape

SMALL = landscape(96, 64)


def target(width: int = 320, height: int = 200, **options: Any) -> Target:
    return Target.of(width, height, **options)


@pytest.mark.parametrize(
    "options",
    [
        {"ratio": 10, "bpp": 1},
        {"ratio": 10, "max_bytes": 100},
        {"max_bytes": 1000, "psnr": 30},
        {"psnr": 30, "gaussians": 5},
        {"ratio": 1, "bpp": 1, "max_bytes": 1, "psnr": 1, "gaussians": 1},
    ],
)
def test_targets_exclude_each_other(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="exclude each other") as caught:
        quick_encode(SMALL, **options)
    assert all(name in str(caught.value) for name in options)


@pytest.mark.parametrize("name", ["ratio", "bpp", "max_bytes", "psnr", "gaussians"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_targets_must_be_positive_numbers(name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=f"{name} must be"):
        quick_encode(SMALL, **{name: value})


def test_targets_become_bytes() -> None:
    assert target() == Target(max_bytes=320 * 200 * 3 // 100)
    assert target(ratio=7) == Target(max_bytes=320 * 200 * 3 // 7)
    assert target(bpp=1) == Target(max_bytes=320 * 200 // 8)
    assert target(psnr=30) == Target(min_psnr=30)
    assert target(gaussians=3) == Target(gaussians=3)


@pytest.mark.parametrize("options", [{"ratio": 1e-320}, {"bpp": 1e308}, {"max_bytes": 10**30}])
def test_absurd_budgets_end_at_the_largest_file(options: dict[str, Any]) -> None:
    assert target(**options) == Target(max_bytes=Limits().file_bytes)


def test_more_gaussians_than_readers_accept() -> None:
    with pytest.raises(SettingsError, match="readers accept"):
        target(gaussians=Limits().gaussians + 1)
