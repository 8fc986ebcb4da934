"""The metrics against scikit-image, frozen values of pytorch-msssim, and strips of other heights."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from skimage.metrics import structural_similarity

from smartsplat import metrics
from smartsplat.arrays import SampleArray
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


def deep_pair(channels: int) -> tuple[SampleArray, SampleArray]:
    """A reference and an image of 16 bits whose lower bits matter, [171, 165, channels]."""
    images = pair(171, 165, channels, "noise")
    noise = np.random.default_rng(4).integers(0, 257, (2, 171, 165, channels))
    first, second = ((image * 256.0 + lower).clip(0, 65535) for image, lower in zip(images, noise, strict=True))
    return first.astype(np.uint16), second.astype(np.uint16)


def test_psnr_of_16_bits_is_exact() -> None:
    reference = np.zeros((5, 70, 3), np.uint16)
    image = reference.copy()
    image[4, 69, 2] = 65535
    assert metrics.psnr(reference, image) == pytest.approx(10 * np.log10(1050), abs=1e-12)
    assert metrics.psnr(reference, reference + np.uint16(65535)) == 0
    image[4, 69, 2] = 1
    assert metrics.psnr(reference, image) == pytest.approx(10 * np.log10(1050 * 65535**2), abs=1e-12)
    first, second = deep_pair(3)
    difference = first.astype(object) - second.astype(object)
    expected = 10 * np.log10(65535**2 * first.size / int((difference**2).sum()))
    assert metrics.psnr(first, second) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim, metrics.ms_ssim])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_8_bits_are_widened_to_16(metric: Callable[[SampleArray, SampleArray], float], channels: int) -> None:
    first, second = pair(171, 165, channels, "noise")
    wide_first, wide_second = first.astype(np.uint16) * 257, second.astype(np.uint16) * 257
    close = pytest.approx(metric(first, second), abs=1e-9)
    assert metric(wide_first, wide_second) == close
    assert metric(wide_first, second) == close
    assert metric(first, wide_second) == close


def test_ssim_of_16_bits_equals_scikit_image() -> None:
    first, second = deep_pair(3)
    assert metrics.ssim(first, second) == pytest.approx(scikit_image_ssim(first, second, 65535), abs=1e-6)


def over(image: SampleArray, ground: float) -> npt.NDArray[np.float64]:
    """An image with alpha over a ground of 0 or 1, as values of 0 to 1."""
    values = image / np.iinfo(image.dtype).max
    alpha = values[..., -1:]
    return np.asarray(values[..., :-1] * alpha + ground * (1 - alpha))


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_images_with_alpha_are_compared_over_black_and_over_white(
    channels: int, dtype: type[np.unsignedinteger]
) -> None:
    first, second = pair(171, 165, channels, "noise") if dtype == np.uint8 else deep_pair(channels)
    grounds = [(over(first, ground), over(second, ground)) for ground in (0, 1)]
    errors = [np.square(one - other).mean() for one, other in grounds]
    assert metrics.psnr(first, second) == pytest.approx(-10 * np.log10(np.mean(errors)), abs=1e-9)
    expected = np.mean([scikit_image_ssim(one, other, 1.0) for one, other in grounds])
    assert metrics.ssim(first, second) == pytest.approx(expected, abs=1e-5)


def test_ms_ssim_of_images_with_alpha() -> None:
    """Where alpha is 0 or all, composites have 8 bits and can be compared as images of their own."""
    first, second = pair(171, 165, 4, "noise")
    first[..., 3], second[..., 3] = np.where(first[..., 3] > 90, 255, 0), np.where(second[..., 3] > 120, 255, 0)
    grounds = [[(255 * over(each, ground)).astype(np.uint8) for each in (first, second)] for ground in (0, 1)]
    assert metrics.ms_ssim(first, second) == pytest.approx(
        np.mean([metrics.ms_ssim(*each) for each in grounds]), abs=1e-6
    )
    assert metrics.compare(first, second) == {
        "psnr": metrics.psnr(first, second),
        "ssim": metrics.ssim(first, second),
        "ms_ssim": metrics.ms_ssim(first, second),
    }


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 3])
def test_an_image_without_alpha_is_opaque(channels: int, dtype: type[np.unsignedinteger]) -> None:
    first, second = pair(171, 165, channels, "noise") if dtype == np.uint8 else deep_pair(channels)
    full = np.full((171, 165, 1), np.iinfo(dtype).max, dtype)
    opaque = np.concatenate([second, full], axis=2)
    expected = metrics.compare(first, second)
    assert metrics.compare(first, opaque) == pytest.approx(expected, abs=1e-9)
    assert metrics.compare(opaque, first) == pytest.approx(metrics.compare(second, first), abs=1e-9)
    clear = np.concatenate([second, full // 2], axis=2)
    assert metrics.psnr(first, clear) < expected["psnr"]


def test_colours_that_nobody_sees_do_not_count() -> None:
    first, second = pair(64, 50, 4, "negative")
    first[..., 3] = second[..., 3] = 0
    assert metrics.compare(first, second) == {"psnr": np.inf, "ssim": 1, "ms_ssim": 1}


def test_alpha_alone_counts() -> None:
    black, clear = np.zeros((20, 20, 4), np.uint8), np.zeros((20, 20, 4), np.uint8)
    black[..., 3] = 255
    assert metrics.psnr(black, clear) == pytest.approx(10 * np.log10(2)), "equal over black, the peak apart over white"


def test_composites_of_16_bits_are_exact() -> None:
    """A peak's difference over white, squared, has 64 bits; the smallest over black is one part in 2^32."""
    clear, opaque = np.zeros((70, 3, 2), np.uint16), np.zeros((70, 3, 2), np.uint16)
    opaque[..., 1] = 65535
    assert metrics.psnr(clear, opaque) == pytest.approx(10 * np.log10(2), abs=1e-12)
    faint = clear.copy()
    faint[69, 2] = 1, 1  # over black 1, over white 1 - 65535
    expected = 10 * np.log10(2 * 65535**4 * 210 / (1 + 65534**2))
    assert metrics.psnr(clear, faint) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("rows", [1, 7, 64, 171])
@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_psnr_of_strips_with_alpha(rows: int, channels: int, dtype: type[np.unsignedinteger]) -> None:
    first, second = pair(171, 165, channels, "noise") if dtype == np.uint8 else deep_pair(channels)
    color, alpha = first[..., :-1], first[..., -1]

    def parts(image: SampleArray) -> list[SampleArray]:
        return [image[top : top + rows] for top in range(0, 171, rows)]

    assert metrics.psnr_of_strips(color, parts(second), alpha) == metrics.psnr(first, second)
    assert metrics.psnr_of_strips(color, parts(second)) == metrics.psnr(color, second)
    assert metrics.psnr_of_strips(color, parts(second[..., :-1]), alpha) == metrics.psnr(first, second[..., :-1])
    assert metrics.psnr_of_strips(color, parts(second[..., :-1])) == metrics.psnr(color, second[..., :-1])


@pytest.mark.parametrize("rows", [1, 7, 1000])
@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim, metrics.ms_ssim])
def test_the_height_of_the_strips_does_not_matter_with_alpha(
    metric: Callable[[SampleArray, SampleArray], float], rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = deep_pair(4)
    expected = metric(*images)
    monkeypatch.setattr(metrics, "STRIP_ROWS", rows)
    assert metric(*images) == expected


def test_no_composite_of_the_whole_image_is_made() -> None:
    image = np.zeros((2000, 1000, 4), np.uint16)
    tracemalloc.start()
    metrics.compare(image, image)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.5 * image.nbytes


def test_images_that_do_not_go_together() -> None:
    for first, second in (
        ((4, 5, 1), (4, 5, 3)),
        ((4, 5, 2), (4, 5, 3)),
        ((4, 5, 4), (4, 5, 2)),
        ((4, 5, 4), (5, 4, 4)),
    ):
        with pytest.raises(ImageError, match="cannot compare images of shapes"):
            metrics.compare(np.zeros(first, np.uint8), np.zeros(second, np.uint16))
    for shape in ((4, 5, 5), (0, 5, 3), (4, 5)):
        with pytest.raises(ImageError, match="metrics need uint8 or uint16"):
            metrics.compare(np.zeros(shape, np.uint8), np.zeros(shape, np.uint8))
    reference = np.zeros((4, 5, 3), np.uint8)
    for alpha in (reference[..., 0].astype(np.uint16), reference[:2, :, 0], reference):
        with pytest.raises(ImageError, match="an alpha of"):
            metrics.psnr_of_strips(reference, [reference], alpha)
    with pytest.raises(ImageError, match="a reference beside its alpha"):
        metrics.psnr_of_strips(np.zeros((4, 5, 4), np.uint8), [reference])


def scikit_image_ssim(reference: npt.NDArray[Any], image: npt.NDArray[Any], peak: float = 255) -> float:
    return float(
        structural_similarity(
            reference,
            image,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
            data_range=peak,
            channel_axis=2,
        )
    )
