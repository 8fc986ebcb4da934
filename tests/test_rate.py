from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ImageCms

import smartsplat
from smartsplat import container, entropy, metrics, rate
from smartsplat.errors import LimitError, SettingsError
from smartsplat.fit import Progress
from smartsplat.gaussians import Gaussians
from smartsplat.image import Picture
from smartsplat.quantize import Quantizer
from smartsplat.rate import ByteBudget, Target, affordable, fill, fit_settings, reach, readable, to_file
from smartsplat.settings import EFFORT_TRIES, PAPER, Limits
from tests.compare import scene
from tests.pictures import landscape

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
PICTURE = landscape(320, 200)
SMALL = landscape(96, 64)
QUANTIZER = Quantizer(80, 3, 320, 200, 3)


def encode(pixels: Any, **options: Any) -> bytes:
    return smartsplat.encode(pixels, **{"steps": 30, "threads": 1} | options)


def target(width: int = 320, height: int = 200, **options: Any) -> Target:
    every: dict[str, Any] = dict.fromkeys(("ratio", "bpp", "size", "psnr", "gaussians"))
    return Target.of(Picture(np.zeros((height, width, 3), np.uint8)), **every | options)


@pytest.mark.parametrize("ratio", [5, 20, 50, 100, 300])
def test_a_ratio_is_kept_and_its_bytes_are_used(ratio: float) -> None:
    budget = PICTURE.size / ratio
    size = len(encode(PICTURE, ratio=ratio))
    assert 0.95 * budget < size <= budget


def test_a_grey_picture_uses_its_budget_too() -> None:
    """A ratio counts three bytes a pixel whatever the number of channels."""
    data = encode(landscape(320, 200, 1), ratio=60)
    assert 0.95 * PICTURE.size / 60 < len(data) <= PICTURE.size / 60
    assert smartsplat.decode(data).shape == (200, 320, 1)


@pytest.mark.parametrize(
    ("options", "budget"), [({}, 1920), ({"bpp": 0.3}, 2400), ({"size": 1234}, 1234), ({"size": 3000.7}, 3000)]
)
def test_other_targets_in_bytes(options: dict[str, Any], budget: int) -> None:
    assert 0.95 * budget < len(encode(PICTURE, **options)) <= budget


@pytest.mark.parametrize("size", [90, 120, 200, 500, 2000])
def test_small_budgets_are_kept(size: int) -> None:
    data = encode(SMALL, size=size)
    assert 0.8 * size < len(data) <= size
    assert smartsplat.open(data).info.gaussians > 0


@pytest.mark.parametrize("count", [1, 2, 100, 1000])
@pytest.mark.parametrize("steps", [1, 2, 15])
def test_a_number_of_gaussians_is_met_exactly(count: int, steps: int) -> None:
    assert smartsplat.open(encode(SMALL, gaussians=count, steps=steps)).info.gaussians == count


def test_a_psnr_is_reached_and_not_by_much() -> None:
    sizes = []
    for wanted in (19, 21):
        data = encode(SMALL, psnr=wanted, steps=80)
        assert wanted <= metrics.psnr(SMALL, smartsplat.decode(data)) < wanted + 1.5
        sizes.append(len(data))
    assert sizes[0] < sizes[1]


def test_a_psnr_that_needs_trials_first() -> None:
    data = encode(SMALL, psnr=20, steps=rate.TRIAL_STEPS + 10)
    assert metrics.psnr(SMALL, smartsplat.decode(data)) >= 20


def test_a_psnr_out_of_reach() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    with pytest.raises(SettingsError, match="not reached"):
        encode(noise, psnr=60, steps=5)


@pytest.mark.parametrize("wanted", [10, 35])
def test_the_psnr_of_a_flat_picture(wanted: float) -> None:
    """Its PSNR can be infinite, and its file cannot shrink for ever."""
    flat = np.full((40, 40, 3), 128, np.uint8)
    assert metrics.psnr(flat, smartsplat.decode(encode(flat, psnr=wanted, steps=60))) >= wanted


def test_a_file_far_above_a_psnr_is_trimmed_to_it() -> None:
    data = encode(PICTURE, ratio=20)
    picture = Picture(PICTURE)
    above = metrics.psnr(PICTURE, smartsplat.decode(data))
    trimmed = rate._trimmed(data, above, above - 3, picture, 1)
    assert above - 3 <= metrics.psnr(PICTURE, smartsplat.decode(trimmed)) <= above - 3 + rate.PSNR_TOLERANCE
    assert len(trimmed) < 0.9 * len(data)
    assert rate._trimmed(data, above, above - 0.05, picture, 1) is data


def test_a_black_picture_reaches_any_psnr() -> None:
    black = np.zeros((40, 40, 3), np.uint8)
    assert not smartsplat.decode(encode(black, psnr=90)).any()


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1, 1), (17, 1, 3), (1, 17, 1), (2, 2, 3)])
@pytest.mark.parametrize("options", [{"gaussians": 1}, {"gaussians": 9}, {"size": 80}, {"size": 300}, {"psnr": 5}])
def test_tiny_pictures(shape: tuple[int, int, int], options: dict[str, Any]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    data = encode(pixels, **options)
    assert smartsplat.decode(data).shape == shape
    assert len(data) <= options.get("size", math.inf)
    assert smartsplat.open(data).info.gaussians >= 1


def test_one_pixel_is_met_closely() -> None:
    pixels = np.array([[[200, 40, 90]]], np.uint8)
    error = smartsplat.decode(encode(pixels, gaussians=1)).astype(int) - pixels
    assert np.abs(error).max() <= 3


def test_a_file_is_never_much_larger_than_useful() -> None:
    """A budget above the size of the pixels is not filled with Gaussians that gain nothing."""
    data = encode(SMALL, size=10**12, steps=3)
    assert len(data) < 2 * SMALL.size
    assert smartsplat.open(data).info.gaussians <= 96 * 64


@pytest.mark.parametrize(
    "options",
    [
        {"ratio": 10, "bpp": 1},
        {"ratio": 10, "size": 100},
        {"size": 1000, "psnr": 30},
        {"psnr": 30, "gaussians": 5},
        {"ratio": 1, "bpp": 1, "size": 1, "psnr": 1, "gaussians": 1},
    ],
)
def test_targets_exclude_each_other(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="exclude each other") as caught:
        encode(SMALL, **options)
    assert all(name in str(caught.value) for name in options)


@pytest.mark.parametrize("name", ["ratio", "bpp", "size", "psnr", "gaussians"])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_targets_must_be_positive_numbers(name: str, value: float) -> None:
    with pytest.raises(SettingsError, match=f"{name} must be"):
        encode(SMALL, **{name: value})


@pytest.mark.parametrize("options", [{"size": 1}, {"size": 70}, {"ratio": 1e9}, {"bpp": 1e-9}, {"ratio": 500}])
def test_budgets_below_the_smallest_file(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="too small, a file takes at least") as caught:
        encode(SMALL, **options)
    least = int(str(caught.value).split()[-1])
    assert len(encode(SMALL, size=least)) <= least


def test_targets_become_bytes() -> None:
    assert target() == Target(size=320 * 200 * 3 // 100)
    assert target(ratio=7) == Target(size=320 * 200 * 3 // 7)
    assert target(bpp=1) == Target(size=320 * 200 // 8)
    assert target(psnr=30) == Target(psnr=30)
    assert target(gaussians=3) == Target(gaussians=3)


@pytest.mark.parametrize("options", [{"ratio": 1e-320}, {"bpp": 1e308}, {"size": 10**30}])
def test_absurd_budgets_end_at_the_largest_file(options: dict[str, Any]) -> None:
    assert target(**options) == Target(size=Limits().file_bytes)


def test_more_gaussians_than_readers_accept() -> None:
    with pytest.raises(SettingsError, match="readers accept"):
        target(gaussians=Limits().gaussians + 1)


def test_fit_settings() -> None:
    for effort, tries in EFFORT_TRIES.items():
        assert tuple((each.steps, each.noise) for each in fit_settings(effort, None, None)) == tries
    assert fit_settings(5, "paper", None) == (PAPER,)
    assert [each.steps for each in fit_settings(1, None, 7)] == [7]
    assert [each.noise for each in fit_settings(9, None, 7)] == [0.1, 0.16]  # steps alone tell the others from these
    for bad in ((0, None, None), (10, None, None), (5, "fast", None), (5, None, 0), (5, None, -1)):
        with pytest.raises(SettingsError):
            fit_settings(*bad)


def test_budgets_count_what_gaussians_take() -> None:
    gaussians = scene(500, 320, 200)
    size = len(container.pack(to_file(gaussians, QUANTIZER, None)))
    plan = ByteBudget(size, 320 * 200)
    assert abs(plan.count(gaussians, QUANTIZER) - 500) < 10
    twice = ByteBudget(2 * size, 320 * 200).count(gaussians, QUANTIZER)
    assert 980 < twice < 1080
    assert ByteBudget(2 * size, 600).count(gaussians, QUANTIZER) == 600
    assert ByteBudget(10**9, 600).first_count() == 600


def test_a_rough_count_codes_a_part_spread_over_the_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    gaussians, quantizer = scene(30_000, 320, 200), QUANTIZER
    plan = ByteBudget(100_000, 10**6)
    exact = plan.count(gaussians, quantizer)
    assert plan.count(gaussians, quantizer, rough=True) == exact, "so few are all coded"
    monkeypatch.setattr(rate, "SAMPLE", 10_000)
    monkeypatch.setattr(entropy, "GROUP", 1000)
    some = rate._sample(gaussians, quantizer)
    assert 7_000 < len(some) < 13_000
    assert (np.ptp(some.mean, axis=0) > [300, 180]).all()
    assert plan.count(gaussians, quantizer, rough=True) == pytest.approx(exact, rel=0.06)
    gaussians.mean[:] = 1, 1
    assert len(rate._sample(gaussians, quantizer)) == 30_000, "they crowd where the sample may not be"


@pytest.mark.parametrize("every", range(2, 13))
def test_sampled_squares_do_not_line_up(monkeypatch: pytest.MonkeyPatch, every: int) -> None:
    gaussians = scene(24_000, 320, 200)
    monkeypatch.setattr(rate, "SAMPLE", 24_000 // every)
    monkeypatch.setattr(entropy, "GROUP", 40)
    some = rate._sample(gaussians, QUANTIZER)
    assert len(some) == pytest.approx(24_000 / every, rel=0.2)
    for axis, size in ((0, 320), (1, 200)):
        strips, _ = np.histogram(some.mean[:, axis], bins=5, range=(0, size))
        assert strips.min() > 0.5 * strips.mean()


@pytest.mark.parametrize("share", [0.99, 0.7, 0.3, 0.05])
def test_fill_leaves_out_the_weakest(share: float) -> None:
    gaussians = scene(600, 320, 200)
    size = int(share * len(container.pack(to_file(gaussians, QUANTIZER, None))))
    data = fill(gaussians, QUANTIZER, size, None)
    assert 0.93 * size < len(data) <= size
    kept = smartsplat.open(data).gaussians()
    energy = (kept.color**2).sum(axis=1) * kept.scale.prod(axis=1)
    everything = (gaussians.color**2).sum(axis=1) * gaussians.scale.prod(axis=1)
    weakest_expected = np.sort(everything)[-len(kept)]
    assert energy.min() > 0.3 * weakest_expected


def test_fill_refines_while_there_is_room() -> None:
    gaussians = scene(300, 320, 200)
    size = len(container.pack(to_file(gaussians, QUANTIZER, None)))
    data = fill(gaussians, QUANTIZER, int(1.2 * size), None)
    info = smartsplat.open(data).info
    assert size < len(data) <= 1.2 * size
    assert info.gaussians == 300
    assert info.quality > QUANTIZER.quality


def test_fill_rounds_the_last_gaussian_more_coarsely_rather_than_leaving_it_out() -> None:
    fine = Quantizer(191, 3, 320, 200, 3)
    one = scene(1, 320, 200)
    size = len(container.pack(to_file(one, fine, None))) - 4
    data = fill(one, fine, size, None)
    assert len(data) <= size
    assert smartsplat.open(data).info.gaussians == 1


def test_fill_of_nothing() -> None:
    data = fill(Gaussians.empty(3), QUANTIZER, 100, None)
    assert smartsplat.open(data).info.gaussians == 0
    with pytest.raises(SettingsError, match="too small"):
        fill(scene(5, 320, 200), QUANTIZER, 30, None)


def stripes(count: int) -> Gaussians:
    """Thin ones across a picture of 256 x 192 pixels, the strongest last."""
    color = np.linspace(0.01, 0.1, count)[:, None]
    fields = (np.tile([128, 96], (count, 1)), np.tile([90, 0.5], (count, 1)), np.full(count, 0.6), color)
    return Gaussians(*(np.ascontiguousarray(field, np.float32) for field in fields))


def test_a_file_is_readable_however_long_its_gaussians_are() -> None:
    quantizer = Quantizer(80, 3, 256, 192, 1)
    crowded = stripes(3000)
    with pytest.raises(LimitError, match="Gaussians lie over each"):
        smartsplat.decode(container.pack(to_file(crowded, quantizer, None)))
    kept = readable(crowded, quantizer)
    assert smartsplat.decode(container.pack(to_file(kept, quantizer, None))).any()
    assert 900 <= len(kept) < 1024  # every box is the whole picture
    np.testing.assert_array_equal(kept.color, crowded.color[-len(kept) :])
    assert readable(kept, quantizer) is kept


def test_reach_covers_every_window() -> None:
    by = Quantizer(110, 3, 640, 400, 3)
    for rng in range(20):
        gaussians = scene(3, 640, 400, rng=rng, largest=60)
        x0, y0, x1, y1 = (container.TILE * edge for edge in reach(to_symbols(gaussians, by), by))
        picture = np.abs(smartsplat.decode(container.pack(to_file(bright(gaussians), by, None)))).any(axis=2)
        rows, columns = np.nonzero(picture)
        assert x0 <= columns.min()
        assert columns.max() < x1
        assert y0 <= rows.min()
        assert rows.max() < y1


def to_symbols(gaussians: Gaussians, by: Quantizer) -> Any:
    from smartsplat.quantize import quantize

    return quantize(gaussians, by)


def bright(gaussians: Gaussians) -> Gaussians:
    gaussians.color[:] = 100
    return gaussians


def stopper(at: int, seen: list[Progress]) -> Any:
    def listen(progress: Progress) -> bool:
        seen.append(progress)
        return len(seen) < at

    return listen


@pytest.mark.parametrize("options", [{"ratio": 30}, {"size": 300}, {"psnr": 25}, {"psnr": 25, "steps": 200}])
@pytest.mark.parametrize("at", [1, 12])
def test_stopping_early_gives_a_file_within_the_budget(options: dict[str, Any], at: int) -> None:
    seen: list[Progress] = []
    data = encode(SMALL, progress=stopper(at, seen), **options)
    assert len(seen) == at, "no further fit starts"
    assert smartsplat.decode(data).shape == SMALL.shape
    assert len(data) <= options.get("size", SMALL.size / options.get("ratio", 1))


def test_a_profile_that_a_target_can_pay_for_is_carried() -> None:
    picture = Picture(PICTURE, SRGB)
    data = encode(picture, size=20_000, steps=5)
    assert smartsplat.open(data).icc == SRGB
    assert len(data) <= 20_000
    assert affordable(picture, Target(size=20_000)) is picture
    assert affordable(picture, Target(psnr=30)) is picture
    assert affordable(picture, Target(gaussians=1)) is picture


def test_a_profile_that_takes_too_much_is_replaced_by_srgb() -> None:
    picture = Picture(PICTURE, SRGB, ("older notice",))
    data = encode(picture, size=1000)
    assert 950 < len(data) <= 1000
    assert smartsplat.open(data).icc is None
    changed = affordable(picture, Target(size=1000))
    assert changed.icc is None
    assert changed.notices[0] == "older notice"
    assert "sRGB" in changed.notices[1]
    assert np.abs(changed.pixels.astype(int) - PICTURE).max() <= 2, "from sRGB to sRGB"
    assert affordable(changed, Target(size=1000)) is changed


def test_a_profile_larger_than_readers_accept_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "Limits", lambda: Limits(profile_bytes=len(SRGB) - 1))
    assert affordable(Picture(PICTURE, SRGB), Target(gaussians=5)).icc is None


def test_same_arguments_same_bytes(tmp_path: Path) -> None:
    options = {"ratio": 40, "steps": 25, "seed": 3}
    first = encode(SMALL, **options)
    assert encode(SMALL, **options) == first
    assert encode(SMALL, threads=2, **options) == first
    assert encode(SMALL, ratio=40, steps=25, seed=4) != first


def test_a_higher_effort_is_never_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several tries the best is kept, whichever it is; all of them are counted in one progress."""
    tries = ((12, 0.04), (12, 2.0), (6, 0.04))
    sizes: dict[str, Any] = {"size": 900}
    single = []
    for each in tries:
        monkeypatch.setitem(EFFORT_TRIES, 5, (each,))
        single.append(metrics.psnr(SMALL, smartsplat.decode(smartsplat.encode(SMALL, effort=5, **sizes))))
    monkeypatch.setitem(EFFORT_TRIES, 5, tries)
    seen: list[tuple[int, int]] = []

    def listen(at: Progress) -> None:
        seen.append((at.step, at.steps))

    data = smartsplat.encode(SMALL, effort=5, progress=listen, **sizes)
    assert metrics.psnr(SMALL, smartsplat.decode(data)) == max(single)
    assert seen == [(step + 1, 30) for step in range(30)]
