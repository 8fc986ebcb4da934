from __future__ import annotations

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms

import smartsplat
from smartsplat import metrics
from smartsplat.encoder import encode as encode_module
from smartsplat.encoder.fit import Progress
from smartsplat.encoder.settings import EFFORT_TRIALS
from smartsplat.errors import ImageError, SettingsError
from smartsplat.images.image import SourceImage
from tests.encoder.fits import quick_encode
from tests.samples import landscape, sources

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
IMAGE = landscape(320, 200)
SMALL = landscape(96, 64)


@pytest.mark.parametrize("ratio", [5, 20, 50, 100, 300])
def test_a_ratio_is_kept_and_its_bytes_are_used(ratio: float) -> None:
    budget = IMAGE.size / ratio
    size = len(quick_encode(IMAGE, ratio=ratio))
    assert 0.95 * budget < size <= budget


def test_a_grey_image_uses_its_budget_too() -> None:
    """A ratio counts three bytes a pixel whatever the number of channels."""
    data = quick_encode(landscape(320, 200, 1), ratio=60)
    assert 0.95 * IMAGE.size / 60 < len(data) <= IMAGE.size / 60
    assert smartsplat.decode(data).shape == (200, 320, 1)


@pytest.mark.parametrize(
    ("options", "budget"),
    [({}, 1920), ({"bpp": 0.3}, 2400), ({"max_bytes": 1234}, 1234), ({"max_bytes": 3000.7}, 3000)],
)
def test_other_targets_in_bytes(options: dict[str, Any], budget: int) -> None:
    assert 0.95 * budget < len(quick_encode(IMAGE, **options)) <= budget


@pytest.mark.parametrize("size", [90, 120, 200, 500, 2000])
def test_small_budgets_are_kept(size: int) -> None:
    data = quick_encode(SMALL, max_bytes=size)
    assert 0.8 * size < len(data) <= size
    assert smartsplat.open(data).info.gaussians > 0


@pytest.mark.parametrize("count", [1, 2, 100, 1000])
@pytest.mark.parametrize("steps", [1, 2, 15])
def test_a_number_of_gaussians_is_met_exactly(count: int, steps: int) -> None:
    assert smartsplat.open(quick_encode(SMALL, gaussians=count, steps=steps)).info.gaussians == count


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 1, 1), (17, 1, 3), (1, 17, 1), (2, 2, 3)])
@pytest.mark.parametrize(
    "options", [{"gaussians": 1}, {"gaussians": 9}, {"max_bytes": 80}, {"max_bytes": 300}, {"psnr": 5}]
)
def test_tiny_images(shape: tuple[int, int, int], options: dict[str, Any]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)
    data = quick_encode(pixels, **options)
    assert smartsplat.decode(data).shape == shape
    assert len(data) <= options.get("max_bytes", math.inf)
    assert smartsplat.open(data).info.gaussians >= 1


def test_one_pixel_is_met_closely() -> None:
    pixels = np.array([[[200, 40, 90]]], np.uint8)
    error = smartsplat.decode(quick_encode(pixels, gaussians=1)).astype(int) - pixels
    assert np.abs(error).max() <= 3


def test_a_file_is_never_much_larger_than_useful() -> None:
    """A budget above the size of the pixels is not filled with Gaussians that gain nothing."""
    data = quick_encode(SMALL, max_bytes=10**12, steps=3)
    assert len(data) < 2 * SMALL.size
    assert smartsplat.open(data).info.gaussians <= 96 * 64


@pytest.mark.parametrize(
    "options", [{"max_bytes": 1}, {"max_bytes": 70}, {"ratio": 1e9}, {"bpp": 1e-9}, {"ratio": 500}]
)
def test_budgets_below_the_smallest_file(options: dict[str, Any]) -> None:
    with pytest.raises(SettingsError, match="too small, a file takes at least") as caught:
        quick_encode(SMALL, **options)
    least = int(str(caught.value).split()[-1])
    assert len(quick_encode(SMALL, max_bytes=least)) <= least


def stopper(at: int, seen: list[Progress]) -> Any:
    def report(progress: Progress) -> bool:
        seen.append(progress)
        return len(seen) < at

    return report


@pytest.mark.parametrize("options", [{"ratio": 30}, {"max_bytes": 300}, {"psnr": 25}, {"psnr": 25, "steps": 200}])
@pytest.mark.parametrize("at", [1, 12])
@pytest.mark.filterwarnings("ignore:stopped at")
def test_stopping_early_gives_a_file_within_the_budget(options: dict[str, Any], at: int) -> None:
    seen: list[Progress] = []
    data = quick_encode(SMALL, progress=stopper(at, seen), **options)
    assert len(seen) == at, "no further fit starts"
    assert smartsplat.decode(data).shape == SMALL.shape
    assert len(data) <= options.get("max_bytes", SMALL.size / options.get("ratio", 1))


def test_same_arguments_same_bytes() -> None:
    options = {"ratio": 40, "steps": 25, "seed": 3}
    first = quick_encode(SMALL, **options)
    assert quick_encode(SMALL, **options) == first
    assert quick_encode(SMALL, threads=2, **options) == first
    assert quick_encode(SMALL, ratio=40, steps=25, seed=4) != first


def test_a_higher_effort_is_never_worse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of several trials the best is kept, whichever it is; all of them are counted in one progress."""
    trials = ((12, 0.04), (12, 2.0), (6, 0.04))
    sizes: dict[str, Any] = {"max_bytes": 900, "tune": "psnr"}
    single = []
    for each in trials:
        monkeypatch.setitem(EFFORT_TRIALS, 5, (each,))
        single.append(metrics.psnr(SMALL, smartsplat.decode(smartsplat.encode(SMALL, effort=5, **sizes))))
    monkeypatch.setitem(EFFORT_TRIALS, 5, trials)
    seen: list[tuple[int, int]] = []

    def report(at: Progress) -> None:
        seen.append((at.step, at.steps))

    data = smartsplat.encode(SMALL, effort=5, progress=report, **sizes)
    assert metrics.psnr(SMALL, smartsplat.decode(data)) == max(single)
    assert seen == [(step + 1, 30) for step in range(30)]


def test_images_come_from_anywhere(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(SMALL).save(path)
    options: dict[str, Any] = {"ratio": 50, "steps": 5, "threads": 1}
    expected = smartsplat.encode(SMALL, **options)
    given = sources(tmp_path, path.read_bytes())
    for source in (*given.values(), io.BytesIO(path.read_bytes()), Image.open(path), SourceImage(SMALL), path):
        assert smartsplat.encode(source, **options) == expected
        if isinstance(source, Image.Image):
            source.close()
    given["path"].unlink()
    with pytest.raises(ImageError):
        smartsplat.encode(given["path"], **options)


def test_grey_stays_grey() -> None:
    assert smartsplat.decode(smartsplat.encode(SMALL[..., 0], ratio=50, steps=5)).shape == (64, 96, 1)


def test_a_profile_is_carried() -> None:
    buffer = io.BytesIO()
    Image.fromarray(SMALL).save(buffer, "png", icc_profile=SRGB)
    assert smartsplat.open(smartsplat.encode(buffer, gaussians=50, steps=3)).icc == SRGB
    assert smartsplat.open(smartsplat.encode(SMALL, gaussians=50, steps=3)).icc is None


def encoded(**options: Any) -> tuple[bytes, list[Progress]]:
    reported: list[Progress] = []
    data = smartsplat.encode(SMALL, threads=1, progress=lambda p: reported.append(p), **options)  # type: ignore[func-returns-value]
    return data, reported


def test_the_paper_preset_fits_with_the_papers_settings() -> None:
    data, reported = encoded(preset="paper", gaussians=200, steps=40)
    assert {progress.gaussians for progress in reported} == {200}, "all are there from the start"
    assert len(reported) == 40
    assert reported[-1].psnr > reported[0].psnr
    assert smartsplat.open(data).info.gaussians == 200
    own, _ = encoded(gaussians=200, steps=40)
    assert own != data


def test_the_paper_preset_meets_a_ratio_too() -> None:
    data, _ = encoded(preset="paper", ratio=50, steps=30)
    # Its count is fixed before anything is coded, so that only finer quantisation can fill what is left.
    assert 0.7 * SMALL.size / 50 < len(data) <= SMALL.size / 50


def test_unknown_settings_are_refused() -> None:
    for options in ({"preset": "fastest"}, {"effort": 0}, {"effort": 10}, {"steps": 0}, {"device": "tpu"}):
        with pytest.raises(SettingsError):
            encoded(**options)


LEFT = np.zeros((64, 96), np.uint8)
LEFT[:, :48] = 255


def halves(data: bytes, image: np.ndarray = SMALL) -> tuple[float, float]:
    """PSNR of the left and of the right half of a file."""
    decoded = smartsplat.decode(data)
    left, right = (metrics.psnr(image[:, part], decoded[:, part]) for part in (slice(0, 48), slice(48, 96)))
    return left, right


@pytest.mark.parametrize("options", [{"max_bytes": 900}, {"gaussians": 200}], ids=str)
def test_weights_move_quality_to_where_they_are(options: dict[str, Any]) -> None:
    masks = (None, np.maximum(LEFT, 25), np.maximum(255 - LEFT, 25))
    plain, left, right = (halves(quick_encode(SMALL, weights=mask, steps=120, **options)) for mask in masks)
    assert left[0] > plain[0] + 0.7
    assert left[1] < plain[1] - 0.7
    assert right[0] < plain[0] - 0.7
    assert right[1] > plain[1] + 0.7


def test_a_psnr_is_that_of_the_whole_image_whatever_the_weights() -> None:
    data = quick_encode(SMALL, weights=np.maximum(LEFT, 60), psnr=20)
    assert metrics.psnr(SMALL, smartsplat.decode(data)) >= 20
    left, right = halves(data)
    assert left > right


def test_weights_come_in_any_form() -> None:
    grey = np.maximum(LEFT, 51)
    expected = quick_encode(SMALL, max_bytes=900, weights=grey)
    assert expected != quick_encode(SMALL, max_bytes=900)
    forms = (
        grey.astype(np.uint16) * np.uint16(257),
        np.repeat(grey[..., None], 3, axis=2),
        np.dstack([np.full_like(grey, 255), grey]),
        Image.fromarray(grey),
        SourceImage(grey[..., None]),
        grey // 51,  # the brightest is 1
    )
    for weights in forms:
        assert quick_encode(SMALL, max_bytes=900, weights=weights) == expected


def test_white_weights_are_as_good_as_none() -> None:
    """Not the same bytes: they thin out random candidates, of which none goes."""
    white = quick_encode(SMALL, max_bytes=900, weights=np.full_like(LEFT, 255))
    plain = quick_encode(SMALL, max_bytes=900)
    assert sum(halves(white)) == pytest.approx(sum(halves(plain)), abs=1.5)


@pytest.mark.parametrize(
    ("weights", "problem"),
    [
        (np.zeros((64, 96), np.uint8), "black everywhere"),
        (LEFT[:, :-1], "weights of 95 x 64 pixels do not fit an image of 96 x 64"),
        (LEFT.T, "do not fit"),
    ],
)
def test_impossible_weights(weights: np.ndarray, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        quick_encode(SMALL, weights=weights)


def test_weights_do_not_go_with_the_paper_preset() -> None:
    with pytest.raises(SettingsError, match="takes no weights"):
        quick_encode(SMALL, weights=LEFT, preset="paper")


def test_weights_of_a_single_pixel() -> None:
    weights = np.zeros_like(LEFT)
    weights[20, 70] = 1
    data = quick_encode(SMALL, max_bytes=700, weights=weights)
    assert len(data) <= 700
    assert np.abs(smartsplat.decode(data)[20, 70].astype(int) - SMALL[20, 70]).max() < 12


def test_weights_and_alpha_are_multiplied() -> None:
    opacity = np.where(np.hypot(*(np.mgrid[:64, :96] - np.array([32, 48])[:, None, None])) < 30, 255, 0)
    image = np.dstack([SMALL, opacity.astype(np.uint8)])
    masks = (None, np.maximum(LEFT, 25))
    plain, weighted = (quick_encode(image, max_bytes=900, steps=120, weights=mask) for mask in masks)
    assert halves(weighted, image)[0] > halves(plain, image)[0] + 0.7
    assert np.array_equal(smartsplat.decode(weighted)[..., 3], opacity)
    hidden = quick_encode(image, max_bytes=900, weights=255 - opacity.astype(np.uint8))
    assert smartsplat.decode(hidden).shape == (64, 96, 4), "nothing that is visible counts"


def test_weights_say_where_the_first_gaussians_are() -> None:
    data = quick_encode(SMALL, gaussians=100, steps=1, weights=np.maximum(LEFT, 8))
    assert (smartsplat.open(data).gaussians().mean[:, 0] < 48).mean() > 0.85


def test_the_best_trial_is_that_with_the_least_weighted_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which is not the one with the highest PSNR."""
    weights = np.maximum(LEFT, 5)
    files = [quick_encode(SMALL, max_bytes=900, steps=120, weights=each) for each in (weights, None)]
    psnrs = [metrics.psnr(SMALL, smartsplat.decode(data)) for data in files]
    assert psnrs[0] < psnrs[1] - 1
    monkeypatch.setitem(EFFORT_TRIALS, 7, ((120, 0.1), (121, 0.1)))
    for options, best in (({"weights": weights}, files[0]), ({"tune": "psnr"}, files[1])):
        left = iter(files)
        monkeypatch.setattr(encode_module, "_encode_to_bytes", lambda *_, left=left: next(left))
        assert smartsplat.encode(SMALL, effort=7, max_bytes=900, **options) == best


# ---- what it is tuned for --------------------------------------------------------------------------------------------


def test_for_the_eye_is_the_default_but_not_for_a_psnr_or_a_preset() -> None:
    options: dict[str, Any] = {"max_bytes": 900, "steps": 30}
    files = {tune: quick_encode(SMALL, tune=tune, **options) for tune in (None, "eye", "psnr")}
    assert files[None] == files["eye"] != files["psnr"]
    for other in ({"psnr": 22}, {"preset": "paper", "max_bytes": 900}):
        assert quick_encode(SMALL, steps=20, **other) == quick_encode(SMALL, steps=20, tune="psnr", **other)


def test_each_tune_is_best_at_its_own() -> None:
    """Quiet ground beside noise: for the eye the ground is closer and the noise further off."""
    quiet = landscape(160, 128, 1)[:, :80] // 4 + 96
    noise = np.random.default_rng(5).integers(0, 256, quiet.shape, dtype=np.uint8)
    image = np.concatenate([quiet, noise], axis=1)
    eye, psnr = (smartsplat.decode(quick_encode(image, max_bytes=800, steps=200, tune=t)) for t in ("eye", "psnr"))
    assert metrics.psnr(image, psnr) > metrics.psnr(image, eye)
    assert metrics.psnr(image[:, :80], eye[:, :80]) > metrics.psnr(image[:, :80], psnr[:, :80]) + 1


def test_the_best_trial_for_the_eye_has_the_least_of_its_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    files = [quick_encode(SMALL, max_bytes=900, steps=200, tune=tune) for tune in ("psnr", "eye")]
    assert metrics.psnr(SMALL, smartsplat.decode(files[0])) > metrics.psnr(SMALL, smartsplat.decode(files[1]))
    monkeypatch.setitem(EFFORT_TRIALS, 7, ((120, 0.1), (121, 0.1)))
    for tune, best in (("psnr", files[0]), ("eye", files[1])):
        left = iter(files)
        monkeypatch.setattr(encode_module, "_encode_to_bytes", lambda *_, left=left: next(left))
        assert smartsplat.encode(SMALL, effort=7, max_bytes=900, tune=tune) == best


def test_weights_and_alpha_go_with_the_eye_and_several_trials(monkeypatch: pytest.MonkeyPatch) -> None:
    image = np.dstack([SMALL, np.full(SMALL.shape[:2], 200, np.uint8)])
    monkeypatch.setitem(EFFORT_TRIALS, 7, ((12, 0.1), (13, 0.1)))
    for weights in (None, LEFT):
        assert (
            smartsplat.decode(smartsplat.encode(image, effort=7, max_bytes=900, weights=weights)).shape == image.shape
        )


def gradient() -> np.ndarray:
    """From side to side fifteen steps of 8 bits."""
    across = np.linspace(20_000, 24_000, 160)
    ramp = np.broadcast_to(across, (96, 160))
    return np.dstack([ramp, ramp / 2, ramp + 3000]).round().astype(np.uint16)


def test_16_bits_have_no_bands() -> None:
    deep = gradient()
    data = quick_encode(deep, max_bytes=900, steps=300)
    decoded = smartsplat.decode(data)
    assert decoded.dtype == np.uint16
    assert smartsplat.open(data).depth == 16
    error = decoded.astype(float) - deep
    assert np.sqrt((error**2).mean()) < 257 / 3, "rounding to 8 bits alone leaves 257 / 3.5"
    for channel in range(3):
        assert len(np.unique(decoded[48, :, channel])) > 100
        assert len(np.unique(smartsplat.decode(data, dtype=np.uint8)[48, :, channel])) < 20
    assert metrics.psnr(deep, decoded) > 48


def test_16_bits_are_better_than_8() -> None:
    deep = gradient()
    shallow = quick_encode((deep >> 8).astype(np.uint8), max_bytes=900, steps=300)
    from_8 = metrics.psnr(deep, smartsplat.decode(shallow, dtype=np.uint16))
    from_16 = metrics.psnr(deep, smartsplat.decode(quick_encode(deep, max_bytes=900, steps=300)))
    assert from_16 > from_8 + 3


@pytest.mark.parametrize("channels", [1, 3])
def test_16_bits_meet_their_targets(channels: int) -> None:
    deep = np.ascontiguousarray(SMALL[..., :channels].astype(np.uint16) * np.uint16(257))
    first, *others = (quick_encode(deep, max_bytes=700, threads=threads) for threads in (1, 2, 5))
    assert 650 < len(first) <= 700
    assert all(other == first for other in others)
    assert metrics.psnr(deep, smartsplat.decode(quick_encode(deep, psnr=22))) >= 22
    assert smartsplat.open(quick_encode(deep, gaussians=77)).info.gaussians == 77
