from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import pytest

import smartsplat
from smartsplat.bitstream import container
from smartsplat.bitstream.file import to_file
from smartsplat.bitstream.quantize import Quantizer, fake_quantize
from smartsplat.encoder import fit as fit_module
from smartsplat.encoder.densify import top_by_energy
from smartsplat.encoder.error_weights import WeightPyramid
from smartsplat.encoder.fit import CountPlan, Progress, psnr_of_mean_square
from smartsplat.encoder.rate_control import ByteBudget, ExactCount
from smartsplat.encoder.settings import PAPER, FitSettings
from smartsplat.gaussians import MIN_SCALE, Gaussians
from smartsplat.render import View
from smartsplat.render.cpu import CpuRenderer
from tests.compare import scene
from tests.encoder.fits import fit_of
from tests.samples import landscape

IMAGE = landscape(160, 128)
FLAT = np.full((70, 90, 3), [200, 30, 90], np.uint8)
BLACK = np.zeros((70, 90, 3), np.uint8)


class Result:
    """A fit that has run, and every progress that it reported."""

    def __init__(
        self,
        pixels: np.ndarray,
        plan: CountPlan | int = 300,
        settings: FitSettings | None = None,
        stop: int | None = None,
        threads: int = 1,
        seed: int = 0,
        weights: np.ndarray | None = None,
    ) -> None:
        self.reported: list[Progress] = []
        self.pixels = pixels
        self.renderer = CpuRenderer(threads)
        count = plan if isinstance(plan, int) else plan.count(Gaussians.empty(pixels.shape[2]), None)  # type: ignore[arg-type]
        exact = ExactCount(plan) if isinstance(plan, int) else plan
        settings = settings or FitSettings(steps=50)
        fit = fit_of(
            pixels, exact, count, settings, renderer=self.renderer, threads=threads, seed=seed, weights=weights
        )

        def report(progress: Progress) -> bool | None:
            self.reported.append(progress)
            return False if progress.step == stop else None

        self.gaussians, self.quantizer = fit.run(report)

    @property
    def square_error(self) -> np.ndarray:
        """[H, W, C] of samples in [0, 1]."""
        view = View.whole(self.pixels.shape[1], self.pixels.shape[0])
        image = self.renderer.render(self.gaussians, view).clip(0, 1).astype(float)
        return np.asarray((image - self.pixels / np.iinfo(self.pixels.dtype).max) ** 2)

    @property
    def psnr(self) -> float:
        return psnr_of_mean_square(float(self.square_error.mean()))

    def same(self, other: Result) -> bool:
        return self.quantizer == other.quantizer and all(
            np.array_equal(getattr(self.gaussians, name), getattr(other.gaussians, name))
            for name in ("mean", "scale", "rotation", "color")
        )


def check(gaussians: Gaussians, width: int, height: int) -> None:
    assert all(np.isfinite(field).all() for field in (gaussians.mean, gaussians.scale, gaussians.color))
    assert np.isfinite(gaussians.rotation).all()
    assert ((gaussians.mean >= 0) & (gaussians.mean <= [width, height])).all()
    assert (gaussians.scale >= MIN_SCALE).all()
    assert (gaussians.scale <= max(width, height, 2 * MIN_SCALE)).all()


def test_the_image_gets_better() -> None:
    short, longer = Result(IMAGE, settings=FitSettings(steps=10)), Result(IMAGE, settings=FitSettings(steps=100))
    assert longer.psnr > short.psnr + 1
    assert longer.reported[-1].psnr > longer.reported[0].psnr + 3
    assert longer.reported[-1].psnr == pytest.approx(longer.psnr, abs=0.5)


def test_more_gaussians_are_better() -> None:
    assert Result(IMAGE, 600).psnr > Result(IMAGE, 60).psnr + 1


@pytest.mark.parametrize("densify", [True, False])
@pytest.mark.parametrize("steps", [1, 2, 9, 50])
def test_the_count_is_met(steps: int, densify: bool) -> None:
    settings = FitSettings(steps=steps)
    if not densify:
        settings = dataclasses.replace(settings, densify=None)
    result = Result(IMAGE, 300, settings)
    assert len(result.gaussians) == 300
    counts = [progress.gaussians for progress in result.reported]
    assert counts == sorted(counts)
    assert counts[0] == (300 if not densify or steps == 1 else round(FitSettings().densify.initial_fraction * 300))  # type: ignore[union-attr]


def test_a_plan_may_change_its_mind() -> None:
    @dataclasses.dataclass
    class Wavering:
        asked: int = 0

        def count(self, gaussians: Gaussians, quantizer: Quantizer, approximate: bool = False) -> int:
            self.asked += 1
            return 100 if self.asked > 6 else 400

    plan = Wavering()
    result = Result(IMAGE, plan, FitSettings(steps=60))
    assert max(progress.gaussians for progress in result.reported) > 200
    assert len(result.gaussians) == 100
    check(result.gaussians, 160, 128)


def test_a_budget_sets_the_count() -> None:
    plan = ByteBudget(1500, 160 * 128)
    settings = FitSettings(steps=60)
    fit = fit_of(IMAGE, plan, plan.first_count(), settings)
    gaussians, quantizer = fit.run()
    size = len(container.pack(to_file(gaussians, quantizer)))
    assert 0.9 * 1500 < size < 1.1 * 1500


def test_progress_is_reported_after_every_step() -> None:
    reported = Result(IMAGE, settings=FitSettings(steps=20)).reported
    assert [progress.step for progress in reported] == list(range(1, 21))
    assert {progress.steps for progress in reported} == {20}
    assert all(5 < progress.psnr < 60 for progress in reported)


@pytest.mark.parametrize("stop", [1, 7, 20, 49])
def test_stopping_early_leaves_what_there_is(stop: int) -> None:
    result = Result(IMAGE, stop=stop)
    assert len(result.reported) == stop
    check(result.gaussians, 160, 128)
    assert 1 <= len(result.gaussians) <= 300
    whole = Result(IMAGE)
    assert [p.psnr for p in result.reported] == [p.psnr for p in whole.reported[:stop]], "the same fit up to there"


def test_only_false_stops() -> None:
    calls = []
    for answer in (None, True, 0):
        reported: list[int] = []
        fit = fit_of(BLACK, ExactCount(5), 5, FitSettings(steps=4))
        fit.run(lambda progress, reported=reported, answer=answer: reported.append(progress.step) or answer)  # type: ignore[misc]
        calls.append(len(reported))
    assert calls == [4, 4, 4]


@pytest.mark.parametrize("pixels", [FLAT, BLACK, np.full((70, 90, 1), 255, np.uint8)], ids=["flat", "black", "white"])
@pytest.mark.parametrize(
    "settings", [FitSettings(steps=60), dataclasses.replace(PAPER, steps=60)], ids=["own", "paper"]
)
def test_images_without_features(pixels: np.ndarray, settings: FitSettings) -> None:
    result = Result(pixels, 40, settings)
    check(result.gaussians, 90, 70)
    assert result.psnr > 15
    assert len(result.gaussians) == 40


def test_noise_is_survived() -> None:
    noise = np.random.default_rng(0).integers(0, 2, (64, 80, 3)).astype(np.uint8) * 255
    result = Result(noise, 500, FitSettings(steps=60))
    check(result.gaussians, 80, 64)
    assert all(math.isfinite(progress.psnr) for progress in result.reported)


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
    first = Result(IMAGE)
    assert first.same(Result(IMAGE))
    assert first.same(Result(IMAGE, threads=2))
    assert not first.same(Result(IMAGE, seed=1))


def test_the_quality_follows_the_noise_of_the_settings() -> None:
    """Quantisation noise of a quarter is a step of half the size: eight steps of quality an octave."""
    finer, coarser = (
        Result(IMAGE, settings=FitSettings(steps=20, densify=None, quantization_noise=noise)).quantizer.quality
        for noise in (0.025, 0.1)
    )
    assert abs(finer - coarser - 8) <= 1


def test_a_better_fit_is_quantized_more_finely() -> None:
    noise = np.random.default_rng(0).integers(0, 256, IMAGE.shape).astype(np.uint8)
    assert Result(IMAGE).quantizer.quality > Result(noise).quantizer.quality


def test_colors_that_make_up_for_quantized_shapes_help(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same fits without quantisation-aware fine-tuning are worse at a coarse quality."""
    monkeypatch.setattr(fit_module, "quality_for_error", lambda noise, attributes: 40)

    def error(quantize_from: tuple[float, float], seed: int) -> float:
        settings = FitSettings(steps=80, quantize_from=quantize_from)
        fit = fit_of(IMAGE, ExactCount(200), 200, settings, seed=seed)
        data = container.pack(to_file(*fit.run()))
        return float(((smartsplat.decode(data) - IMAGE.astype(float)) ** 2).mean())

    assert sum(error((0.7, 0.8), seed) for seed in range(8)) < 0.97 * sum(error((1, 1), seed) for seed in range(8))


def test_shapes_end_as_the_file_has_them() -> None:
    result = Result(IMAGE, settings=FitSettings(steps=100))
    quantized = result.renderer.upload(result.gaussians)
    fake_quantize(result.gaussians, result.quantizer, quantized)
    # Colours that have moved since may have changed an energy class, and with it the steps of that Gaussian's shape.
    same = np.isclose(quantized.mean, result.gaussians.mean, atol=1e-3).all(axis=1)
    assert same.mean() > 0.8
    assert not np.allclose(quantized.color, result.gaussians.color, atol=1e-3)


def test_the_rate_term_makes_smaller_files() -> None:
    """At an equal count and quality, and in the image's favour at the bytes that it saves."""

    quantizer = Result(IMAGE).quantizer

    def mean_bytes_and_psnr(rate_weight: float) -> tuple[float, float]:
        results = [
            Result(IMAGE, settings=FitSettings(steps=100, rate_weight=rate_weight), seed=seed) for seed in range(3)
        ]
        sizes = [len(container.pack(to_file(each.gaussians, quantizer))) for each in results]
        return float(np.mean(sizes)), float(np.mean([each.psnr for each in results]))

    with_term, without = mean_bytes_and_psnr(0.2), mean_bytes_and_psnr(0.0)
    assert with_term[0] < 0.98 * without[0]
    assert with_term[1] > without[1] - 0.2


def test_densification_helps() -> None:
    """By more than chance, over four seeds."""

    def psnr(**options: Any) -> float:
        results = [Result(IMAGE, settings=FitSettings(steps=100, **options), seed=seed) for seed in range(4)]
        return float(np.mean([result.psnr for result in results]))

    assert psnr() > psnr(densify=None) + 0.3


def test_decibels() -> None:
    assert psnr_of_mean_square(0.01) == pytest.approx(20)
    assert psnr_of_mean_square(0) == math.inf


LEFT = np.zeros((128, 160), np.uint8)
LEFT[:, :80] = 255


def test_weights_move_quality_to_where_they_are() -> None:
    plain, weighted = Result(IMAGE), Result(IMAGE, weights=np.maximum(LEFT, 13))
    left, right = (
        [psnr_of_mean_square(float(result.square_error[:, part].mean())) for result in (plain, weighted)]
        for part in (slice(0, 80), slice(80, 160))
    )
    assert left[1] > left[0] + 0.7
    assert right[1] < right[0] - 1
    check(weighted.gaussians, 160, 128)


def test_the_reported_error_is_the_weighted_one() -> None:
    result = Result(IMAGE, settings=FitSettings(steps=60), weights=LEFT)
    expected = psnr_of_mean_square(float(result.square_error[:, :80].mean() / 2))
    assert result.reported[-1].psnr == pytest.approx(expected, abs=0.5)


def test_white_weights_fit_as_well_as_none() -> None:
    assert Result(IMAGE, weights=np.full((128, 160), 255, np.uint8)).psnr == pytest.approx(Result(IMAGE).psnr, abs=0.4)


@pytest.mark.parametrize("place", [None, (60, 70), (127, 159)])
def test_weights_that_are_black_nearly_everywhere(place: tuple[int, int] | None) -> None:
    weights = np.zeros((128, 160), np.uint8)
    if place is not None:
        weights[place] = 255
    result = Result(IMAGE, weights=weights)
    check(result.gaussians, 160, 128)
    assert len(result.gaussians) == 300


def test_pruning_goes_by_weight(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def spy(gaussians: Gaussians, count: int, weights: WeightPyramid | None) -> Any:
        seen.append(weights)
        return top_by_energy(gaussians, count, weights)

    monkeypatch.setattr(fit_module, "top_by_energy", spy)
    Result(IMAGE, weights=LEFT)
    assert seen
    assert all(weights is not None and weights.at(scene(1, 1, 1)) == 1 for weights in seen), "white at the left"


def test_weights_do_not_make_results_depend_on_threads() -> None:
    assert Result(IMAGE, weights=LEFT).same(Result(IMAGE, weights=LEFT, threads=2))


DEEP = IMAGE.astype(np.uint16) * np.uint16(257)


def test_images_of_16_bits_fit_as_those_of_8_do() -> None:
    settings = FitSettings(steps=100)
    assert Result(DEEP, settings=settings).psnr == pytest.approx(Result(IMAGE, settings=settings).psnr, abs=0.5)
    assert Result(DEEP).same(Result(DEEP, threads=2))
    check(Result(DEEP).gaussians, 160, 128)


def test_a_good_fit_of_16_bits_is_quantized_more_finely() -> None:
    """Rounding to 8 bits is the least error that an image of 8 bits has; to 16 bits it is 48 dB less."""
    qualities = []
    for pixels in (IMAGE, DEEP):
        fit = fit_of(pixels, ExactCount(300), 300, FitSettings())
        fit.mean_square = 0.0  # as good as can be
        qualities.append(fit._quantizer().quality)
    assert qualities[1] == pytest.approx(qualities[0] + 64, abs=1), "a factor 257, in eighths of an octave"
