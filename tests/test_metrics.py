"""The metrics against scikit-image, frozen values of pytorch-msssim, and strips of other heights."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
from skimage.metrics import structural_similarity

from smartsplat import metrics
from smartsplat.errors import ImageError

ByteArray = npt.NDArray[np.uint8]


def pair(height: int, width: int, channels: int, change: str) -> tuple[ByteArray, ByteArray]:
    """A reference and a changed copy; PCG64's raw stream is fixed for good, unlike numpy's distributions."""
    raw = np.random.PCG64(20 * height + width).random_raw(2 * height * width * channels)
    noise = (raw >> np.uint64(56)).astype(np.int64).reshape(2, height, width, channels)
    row, column, channel = np.ogrid[:height, :width, :channels]
    waves = 127 + 90 * np.sin(row / (7 + 3 * channel)) * np.cos(column / 23 + channel) + (noise[0] - 128) // 8
    reference = np.clip(waves, 0, 255).astype(np.uint8)
    if change == "noise":
        changed = reference.astype(np.int64) + (noise[1] - 128) // 4
    elif change == "coarse":
        changed = reference // 32 * 32 + 16
    elif change == "shift":
        changed = np.roll(reference, 2, axis=1)
    else:  # "negative": structure is anti-correlated, so that factors are cut off at 0
        changed = 255 - reference
    return reference, np.clip(changed, 0, 255).astype(np.uint8)


# pytorch-msssim 1.0.0 with torch 2.13.0 on the CPU, float64: ms_ssim(x, y, data_range=255) of the images of
# pair() as tensors [1, C, H, W]. Odd sides at every scale; 161 is the smallest it takes.
MS_SSIM = [
    ((161, 176, 3, "noise"), 0.9102218772593895),
    ((203, 321, 3, "coarse"), 0.9729175071402351),
    ((384, 256, 1, "shift"), 0.9417641888943514),
    ((171, 165, 3, "shift"), 0.9258060130231033),
    ((180, 200, 3, "negative"), 0.0),
    ((333, 166, 3, "noise"), 0.9111077138489563),
]


@pytest.mark.parametrize(("recipe", "expected"), MS_SSIM)
def test_ms_ssim_equals_pytorch_msssim(recipe: tuple[int, int, int, str], expected: float) -> None:
    assert metrics.ms_ssim(*pair(*recipe)) == pytest.approx(expected, abs=3e-6)


@pytest.mark.parametrize("recipe", [recipe for recipe, _ in MS_SSIM] + [(11, 11, 3, "noise"), (41, 341, 3, "noise")])
def test_ssim_equals_scikit_image(recipe: tuple[int, int, int, str]) -> None:
    assert metrics.ssim(*pair(*recipe)) == pytest.approx(scikit_image_ssim(*pair(*recipe)), abs=1e-6)


@pytest.mark.parametrize("floor", [0, 127, 250])
def test_ssim_keeps_its_digits_where_the_image_is_almost_flat(floor: int) -> None:
    noise = np.random.default_rng(0).integers(0, 2, (2, 200, 150, 3))
    reference, image = (floor + noise).astype(np.uint8)
    assert metrics.ssim(reference, image) == pytest.approx(scikit_image_ssim(reference, image), abs=1e-6)


@pytest.mark.parametrize("rows", [1, 7, 1000])
@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim, metrics.ms_ssim])
def test_the_height_of_the_strips_does_not_matter(
    metric: Callable[[ByteArray, ByteArray], float], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = pair(171, 165, 3, "shift")
    expected = metric(*images)
    monkeypatch.setattr(metrics, "STRIP_ROWS", rows)
    assert metric(*images) == expected


@pytest.mark.parametrize("rows", [1, 7, 64, 170, 171])
def test_psnr_of_strips(rows: int) -> None:
    reference, image = pair(171, 165, 3, "shift")
    parts = [image[top : top + rows] for top in range(0, 171, rows)]
    assert metrics.psnr_of_strips(reference, parts) == metrics.psnr(reference, image)


def test_strips_of_another_image() -> None:
    reference, image = pair(171, 165, 3, "shift")
    for parts in ([], [image[:100]], [image[:100], image[:72]], [image[:, :100]], [image[..., :1]]):
        with pytest.raises(ImageError):
            metrics.psnr_of_strips(reference, parts)


def test_psnr_is_exact() -> None:
    reference = np.zeros((5, 70, 3), np.uint8)
    image = reference.copy()
    image[4, 69, 2] = 255  # one sample of 1050 is off by the peak
    assert metrics.psnr(reference, image) == pytest.approx(10 * np.log10(1050), abs=1e-12)
    assert metrics.psnr(reference, reference + np.uint8(255)) == 0
    assert metrics.psnr(image, image) == np.inf


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 17, 3), (8, 8, 3), (41, 341, 3), (161, 161, 1)])
def test_equal_images_score_exactly_one(shape: tuple[int, int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    assert metrics.compare(image, image) == {"psnr": np.inf, "ssim": 1, "ms_ssim": 1}


def test_constant_images_differ_only_in_luminance() -> None:
    dark, bright = (np.full((200, 200, 1), value, np.uint8) for value in (50, 200))
    floor = 2.55**2
    luminance = (2 * 50 * 200 + floor) / (50**2 + 200**2 + floor)
    assert metrics.ssim(dark, bright) == pytest.approx(luminance, abs=1e-5)


def test_an_image_of_one_pixel_has_no_contrast_term() -> None:
    dark, bright = (np.full((1, 1, 1), value, np.uint8) for value in (50, 200))
    floor = 2.55**2
    luminance = (2 * 50 * 200 + floor) / (50**2 + 200**2 + floor)
    assert metrics.ssim(dark, bright) == pytest.approx(luminance, abs=1e-6)
    assert metrics.ms_ssim(dark, bright) == pytest.approx(luminance, abs=1e-6)


def test_ms_ssim_of_one_scale_is_ssim() -> None:
    images = pair(20, 300, 3, "noise")
    assert metrics.ms_ssim(*images) == pytest.approx(metrics.ssim(*images), abs=1e-12)


def test_ms_ssim_of_two_scales_has_renormalised_weights() -> None:
    reference, image = pair(40, 300, 1, "noise")
    window = np.exp(-0.5 * (np.arange(-5, 6) / 1.5) ** 2)
    window = np.outer(window, window) / window.sum() ** 2

    def factors(first: npt.NDArray[np.float64], second: npt.NDArray[np.float64]) -> tuple[float, float]:
        def local_mean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
            return np.asarray((np.lib.stride_tricks.sliding_window_view(values, (11, 11)) * window).sum((-1, -2)))

        mean_first, mean_second = local_mean(first), local_mean(second)
        covariance = local_mean(first * second) - mean_first * mean_second
        variances = local_mean(first**2 + second**2) - mean_first**2 - mean_second**2
        contrast = (2 * covariance + 7.65**2) / (variances + 7.65**2)
        luminance = (2 * mean_first * mean_second + 2.55**2) / (mean_first**2 + mean_second**2 + 2.55**2)
        return float(contrast.mean()), float((contrast * luminance).mean())

    planes = np.stack([reference, image])[..., 0].astype(np.float64)
    halves = planes.reshape(2, 20, 2, 150, 2).mean((2, 4))
    expected = factors(*planes)[0] ** (0.0448 / 0.3304) * factors(*halves)[1] ** (0.2856 / 0.3304)
    assert metrics.ms_ssim(reference, image) == pytest.approx(expected, abs=1e-6)


def test_no_float_copy_of_the_whole_image_is_made() -> None:
    image = np.zeros((2000, 1000, 3), np.uint8)
    tracemalloc.start()
    metrics.compare(image, image)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2 * image.size  # bytes; one float32 copy would be 4 * size


def test_errors_name_both_shapes() -> None:
    small, large = np.zeros((4, 5, 3), np.uint8), np.zeros((4, 6, 3), np.uint8)
    with pytest.raises(ImageError, match=r"\(4, 5, 3\) and \(4, 6, 3\)"):
        metrics.compare(small, large)
    with pytest.raises(ImageError, match="float32"):
        metrics.ssim(small.astype(np.float32), small)
    with pytest.raises(ImageError, match=r"\(4, 5\)"):
        metrics.ms_ssim(small[..., 0], small[..., 0])


def scikit_image_ssim(reference: ByteArray, image: ByteArray) -> float:
    return float(
        structural_similarity(
            reference,
            image,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=255,
            channel_axis=2,
        )
    )
