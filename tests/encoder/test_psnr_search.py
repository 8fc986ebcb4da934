from __future__ import annotations

import math

import numpy as np
import pytest

import smartsplat
from smartsplat import metrics
from smartsplat.encoder import psnr_search
from smartsplat.encoder.psnr_search import SecantSearch
from smartsplat.errors import SettingsError
from tests.encoder.fits import quick_encode
from tests.samples import landscape

IMAGE = landscape(320, 200)
SMALL = landscape(96, 64)


def test_a_psnr_is_reached_and_not_by_much() -> None:
    sizes = []
    for min_psnr in (19, 21):
        data = quick_encode(SMALL, psnr=min_psnr, steps=80)
        assert min_psnr <= metrics.psnr(SMALL, smartsplat.decode(data)) < min_psnr + 1.5
        sizes.append(len(data))
    assert sizes[0] < sizes[1]


def test_a_psnr_that_needs_trials_first() -> None:
    data = quick_encode(SMALL, psnr=20, steps=psnr_search.SHORT_STEPS + 10)
    assert metrics.psnr(SMALL, smartsplat.decode(data)) >= 20


def test_a_psnr_out_of_reach() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    with pytest.raises(SettingsError, match="not reached"):
        quick_encode(noise, psnr=60, steps=5)


@pytest.mark.parametrize("min_psnr", [10, 35])
def test_the_psnr_of_a_flat_image(min_psnr: float) -> None:
    """Its PSNR can be infinite, and its file cannot shrink for ever."""
    flat = np.full((40, 40, 3), 128, np.uint8)
    assert metrics.psnr(flat, smartsplat.decode(quick_encode(flat, psnr=min_psnr, steps=60))) >= min_psnr


def test_a_file_far_above_a_psnr_is_pruned_to_it() -> None:
    data = quick_encode(IMAGE, ratio=20)

    def psnr_of(data: bytes) -> float:
        return metrics.psnr(IMAGE, smartsplat.decode(data))

    above = psnr_of(data)
    pruned = psnr_search._prune_to_psnr(data, above, above - 3, psnr_of, 1)
    assert above - 3 <= metrics.psnr(IMAGE, smartsplat.decode(pruned)) <= above - 3 + psnr_search.TOLERANCE
    assert len(pruned) < 0.9 * len(data)
    assert psnr_search._prune_to_psnr(data, above, above - 0.05, psnr_of, 1) is data


def test_a_black_image_reaches_any_psnr() -> None:
    black = np.zeros((40, 40, 3), np.uint8)
    assert not smartsplat.decode(quick_encode(black, psnr=90)).any()


@pytest.mark.parametrize("slope", [1.5, 3.0, 9.0])
@pytest.mark.parametrize("target", [20.0, 31.0, 45.0])
def test_a_secant_search_finds_where_a_line_is_crossed(target: float, slope: float) -> None:
    """Whatever the first guess of the slope: PSNR against the logarithm of the size is nearly a line."""
    search = SecantSearch(target, 5000, 1, 10**12, slope=2.6)

    def value(size: int) -> float:
        return 25 + slope * math.log(size / 5000)

    for _ in range(12):
        if not search.record(value(search.size)):
            break
    assert value(search.size) == pytest.approx(target, abs=0.05)


def test_a_secant_search_keeps_to_its_bounds() -> None:
    search = SecantSearch(100, 50, 40, 60, slope=1)
    assert search.record(10)
    assert search.size == 60
    assert not search.record(11), "there is nothing larger to try"
    search = SecantSearch(-100, 50, 40, 60, slope=1)
    assert search.record(10)
    assert search.size == 40


def test_a_secant_search_believes_no_absurd_slope() -> None:
    """Two fits of nearly one size, or of the same quality, tell nothing."""
    for size, value in ((5100, 39.0), (6000, 20.0)):
        search = SecantSearch(30, 5000, 10, 10**9, slope=2.6)
        search.record(20)
        search.size = size
        search.record(value)
        assert abs(math.log(search.size / size)) < 2.001
