from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

import smartsplat
from smartsplat import container
from smartsplat.errors import SettingsError
from smartsplat.fit import Fit, Plan, Progress, psnr_of
from smartsplat.gaussians import SMALLEST_SCALE, Gaussians
from smartsplat.quantize import Quantizer, snap
from smartsplat.raster import View
from smartsplat.raster.native import Backend
from smartsplat.rate import ByteBudget, ExactCount, to_file
from smartsplat.settings import PAPER, FitSettings
from tests.pictures import landscape

PICTURE = landscape(160, 128)
FLAT = np.full((70, 90, 3), [200, 30, 90], np.uint8)
BLACK = np.zeros((70, 90, 3), np.uint8)


class Result:
    """A fit that has run, and every progress that it told."""

    def __init__(
        self,
        pixels: np.ndarray,
        plan: Plan | int = 300,
        settings: FitSettings | None = None,
        stop: int | None = None,
        threads: int = 1,
        rng: int = 0,
    ) -> None:
        self.heard: list[Progress] = []
        self.pixels = pixels
        self.backend = Backend(threads)
        count = plan if isinstance(plan, int) else plan.count(Gaussians.empty(pixels.shape[2]), None)  # type: ignore[arg-type]
        exact = ExactCount(plan) if isinstance(plan, int) else plan
        settings = settings or FitSettings(steps=50)
        fit = Fit(pixels, exact, count, settings, self.backend, threads=threads, rng=rng)

        def listen(progress: Progress) -> bool | None:
            self.heard.append(progress)
            return False if progress.step == stop else None

        self.gaussians, self.quantizer = fit.run(listen)

    @property
    def psnr(self) -> float:
        view = View.whole(self.pixels.shape[1], self.pixels.shape[0])
        image = self.backend.render(self.gaussians, view).clip(0, 1)
        return psnr_of(float(((image - self.pixels / 255.0) ** 2).mean()))

    def same(self, other: Result) -> bool:
        return self.quantizer == other.quantizer and all(
            np.array_equal(getattr(self.gaussians, name), getattr(other.gaussians, name))
            for name in ("mean", "scale", "rotation", "color")
        )


def check(gaussians: Gaussians, width: int, height: int) -> None:
    assert all(np.isfinite(field).all() for field in (gaussians.mean, gaussians.scale, gaussians.color))
    assert np.isfinite(gaussians.rotation).all()
    assert ((gaussians.mean >= 0) & (gaussians.mean <= [width, height])).all()
    assert (gaussians.scale >= SMALLEST_SCALE).all()
    assert (gaussians.scale <= max(width, height, 2 * SMALLEST_SCALE)).all()


def test_the_picture_gets_better() -> None:
    short, longer = Result(PICTURE, settings=FitSettings(steps=10)), Result(PICTURE, settings=FitSettings(steps=100))
    assert longer.psnr > short.psnr + 1
    assert longer.heard[-1].psnr > longer.heard[0].psnr + 3
    assert longer.heard[-1].psnr == pytest.approx(longer.psnr, abs=0.5)


def test_more_gaussians_are_better() -> None:
    assert Result(PICTURE, 600).psnr > Result(PICTURE, 60).psnr + 1


@pytest.mark.parametrize("growth", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 9, 50])
def test_the_count_is_met(steps: int, growth: bool) -> None:
    settings = FitSettings(steps=steps)
    if not growth:
        settings = dataclasses.replace(settings, growth=None)
    result = Result(PICTURE, 300, settings)
    assert len(result.gaussians) == 300
    counts = [progress.gaussians for progress in result.heard]
    assert counts == sorted(counts)
    assert counts[0] == (300 if not growth or steps == 1 else round(FitSettings().growth.start * 300))  # type: ignore[union-attr]


def test_a_plan_may_change_its_mind() -> None:
    @dataclasses.dataclass
    class Wavering:
        asked: int = 0

        def count(self, gaussians: Gaussians, quantizer: Quantizer, rough: bool = False) -> int:
            self.asked += 1
            return 100 if self.asked > 6 else 400

    plan = Wavering()
    result = Result(PICTURE, plan, FitSettings(steps=60))
    assert max(progress.gaussians for progress in result.heard) > 200
    assert len(result.gaussians) == 100
    check(result.gaussians, 160, 128)


def test_a_budget_sets_the_count() -> None:
    plan = ByteBudget(1500, 160 * 128)
    settings = FitSettings(steps=60)
    fit = Fit(PICTURE, plan, plan.first_count(), settings, Backend(1))
    gaussians, quantizer = fit.run()
    size = len(container.pack(to_file(gaussians, quantizer, None)))
    assert 0.9 * 1500 < size < 1.1 * 1500


def test_progress_is_told_after_every_step() -> None:
    heard = Result(PICTURE, settings=FitSettings(steps=20)).heard
    assert [progress.step for progress in heard] == list(range(1, 21))
    assert {progress.steps for progress in heard} == {20}
    assert all(5 < progress.psnr < 60 for progress in heard)


@pytest.mark.parametrize("stop", [1, 7, 20, 49])
def test_stopping_early_leaves_what_there_is(stop: int) -> None:
    result = Result(PICTURE, stop=stop)
    assert len(result.heard) == stop
    check(result.gaussians, 160, 128)
    assert 1 <= len(result.gaussians) <= 300
    whole = Result(PICTURE)
    assert [p.psnr for p in result.heard] == [p.psnr for p in whole.heard[:stop]], "the same fit up to there"


def test_only_false_stops() -> None:
    calls = []
    for answer in (None, True, 0):
        heard: list[int] = []
        fit = Fit(BLACK, ExactCount(5), 5, FitSettings(steps=4), Backend(1))
        fit.run(lambda progress, heard=heard, answer=answer: heard.append(progress.step) or answer)  # type: ignore[misc]
        calls.append(len(heard))
    assert calls == [4, 4, 4]


@pytest.mark.parametrize("pixels", [FLAT, BLACK, np.full((70, 90, 1), 255, np.uint8)], ids=["flat", "black", "white"])
@pytest.mark.parametrize(
    "settings", [FitSettings(steps=60), dataclasses.replace(PAPER, steps=60)], ids=["own", "paper"]
)
def test_pictures_without_features(pixels: np.ndarray, settings: FitSettings) -> None:
    result = Result(pixels, 40, settings)
    check(result.gaussians, 90, 70)
    assert result.psnr > 15
    assert len(result.gaussians) == 40


def test_noise_is_survived() -> None:
    noise = np.random.default_rng(0).integers(0, 2, (64, 80, 3)).astype(np.uint8) * 255
    result = Result(noise, 500, FitSettings(steps=60))
    check(result.gaussians, 80, 64)
    assert all(math.isfinite(progress.psnr) for progress in result.heard)


@pytest.mark.parametrize(
    "shape", [(1, 1, 3), (1, 17, 1), (17, 1, 3), (2, 2, 1), (41, 141, 3), (65, 64, 1), (64, 65, 3)]
)
@pytest.mark.parametrize("count", [1, 50])
def test_odd_shapes(shape: tuple[int, int, int], count: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    result = Result(pixels, count, FitSettings(steps=20))
    assert len(result.gaussians) == count
    check(result.gaussians, shape[1], shape[0])


def test_the_result_does_not_depend_on_threads_or_on_the_clock() -> None:
    first = Result(PICTURE)
    assert first.same(Result(PICTURE))
    assert first.same(Result(PICTURE, threads=2))
    assert not first.same(Result(PICTURE, rng=1))


def test_a_fixed_quality_is_kept() -> None:
    fit = Fit(PICTURE, ExactCount(50), 50, FitSettings(steps=20), Backend(1), quality=77)
    assert fit.run()[1].quality == 77


def test_a_better_fit_is_rounded_more_finely() -> None:
    noise = np.random.default_rng(0).integers(0, 256, PICTURE.shape).astype(np.uint8)
    assert Result(PICTURE).quantizer.quality > Result(noise).quantizer.quality


def test_colors_that_make_up_for_rounded_shapes_help() -> None:
    """The same fits without that phase are worse at a coarse quality."""

    def error(round_from: tuple[float, float], rng: int) -> float:
        settings = FitSettings(steps=80, round_from=round_from)
        fit = Fit(PICTURE, ExactCount(200), 200, settings, Backend(1), quality=40, rng=rng)
        data = container.pack(to_file(*fit.run(), None))
        return float(((smartsplat.decode(data) - PICTURE.astype(float)) ** 2).mean())

    assert sum(error((0.7, 0.8), rng) for rng in range(8)) < 0.97 * sum(error((1, 1), rng) for rng in range(8))


def test_shapes_end_as_the_file_has_them() -> None:
    result = Result(PICTURE, settings=FitSettings(steps=100))
    rounded = result.backend.upload(result.gaussians)
    snap(result.gaussians, result.quantizer, rounded)
    # Colours that have moved since may have changed an energy class, and with it the steps of that Gaussian's shape.
    same = np.isclose(rounded.mean, result.gaussians.mean, atol=1e-3).all(axis=1)
    assert same.mean() > 0.8
    assert not np.allclose(rounded.color, result.gaussians.color, atol=1e-3)


def test_the_size_term_makes_smaller_files() -> None:
    """At an equal count and quality, and in the picture's favour at the bytes that it saves."""

    quantizer = Result(PICTURE).quantizer

    def mean_bytes_and_psnr(size: float) -> tuple[float, float]:
        results = [Result(PICTURE, settings=FitSettings(steps=100, size=size), rng=rng) for rng in range(3)]
        sizes = [len(container.pack(to_file(each.gaussians, quantizer, None))) for each in results]
        return float(np.mean(sizes)), float(np.mean([each.psnr for each in results]))

    with_term, without = mean_bytes_and_psnr(0.2), mean_bytes_and_psnr(0.0)
    assert with_term[0] < 0.98 * without[0]
    assert with_term[1] > without[1] - 0.2


def test_growth_helps() -> None:
    grown = Result(PICTURE, settings=FitSettings(steps=100))
    fixed = Result(PICTURE, settings=FitSettings(steps=100, growth=None))
    assert grown.psnr > fixed.psnr


def encoded(**options: Any) -> tuple[bytes, list[Progress]]:
    heard: list[Progress] = []
    data = smartsplat.encode(PICTURE, threads=1, progress=lambda p: heard.append(p), **options)  # type: ignore[func-returns-value]
    return data, heard


def test_the_paper_preset_fits_with_the_papers_settings() -> None:
    data, heard = encoded(preset="paper", gaussians=200, steps=40)
    assert {progress.gaussians for progress in heard} == {200}, "all are there from the start"
    assert len(heard) == 40
    assert heard[-1].psnr > heard[0].psnr
    assert smartsplat.open(data).info.gaussians == 200
    own, _ = encoded(gaussians=200, steps=40)
    assert own != data


def test_the_paper_preset_meets_a_ratio_too() -> None:
    data, _ = encoded(preset="paper", ratio=50, steps=30)
    # Its count is fixed before anything is coded, so that only finer rounding can fill what is left.
    assert 0.7 * PICTURE.size / 50 < len(data) <= PICTURE.size / 50


def test_unknown_settings_are_refused() -> None:
    for options in ({"preset": "fastest"}, {"effort": 0}, {"effort": 10}, {"steps": 0}, {"device": "tpu"}):
        with pytest.raises(SettingsError):
            encoded(**options)


def test_decibels() -> None:
    assert psnr_of(0.01) == pytest.approx(20)
    assert psnr_of(0) == math.inf
