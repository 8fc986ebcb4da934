from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from smartsplat.bitstream.quantize import (
    MAX_POSITION_CELL_LOG2,
    MAX_QUALITY,
    Quantizer,
    dequantize,
    fake_quantize,
    position_cell_log2,
    quality_for_error,
    quantize,
)
from smartsplat.gaussians import Gaussians
from smartsplat.render import View
from smartsplat.render.cpu import CpuRenderer
from tests.compare import scene

WIDTH, HEIGHT = 512, 384
FIELDS = ("mean", "scale", "rotation", "color")
ENERGY, ANGLE, COLOR = 2, 5, slice(6, 9)  # columns of the symbols


def quantizer(quality: int, channels: int = 3, cell_log2: int = 4) -> Quantizer:
    return Quantizer(quality, cell_log2, WIDTH, HEIGHT, channels)


def inner_scene(count: int, channels: int = 3, seed: int = 0) -> Gaussians:
    """Gaussians that lie wholly inside the image, of energies at which no step is at its bound."""
    random = np.random.default_rng(seed)
    return Gaussians(
        (random.uniform(0.2, 0.8, (count, 2)) * [WIDTH, HEIGHT]).astype(np.float32),
        np.exp(random.uniform(np.log(1.5), np.log(12), (count, 2))).astype(np.float32),
        random.uniform(-4, 4, count).astype(np.float32),
        random.normal(0, 0.3, (count, channels)).astype(np.float32),
    )


def quantized(gaussians: Gaussians, by: Quantizer, threads: int = 1) -> Gaussians:
    out = Gaussians(*(np.full_like(getattr(gaussians, name), np.nan) for name in FIELDS))
    fake_quantize(gaussians, by, out, threads)
    return out


def covariance(gaussians: Gaussians) -> np.ndarray:
    """[N, 2, 2]: the same for both orders of the axes."""
    cosine, sine = np.cos(gaussians.rotation, dtype=float), np.sin(gaussians.rotation, dtype=float)
    axes = np.stack([np.stack([cosine, -sine], -1), np.stack([sine, cosine], -1)], -2)
    return axes @ (gaussians.scale[:, :, None].astype(float) ** 2 * np.swapaxes(axes, 1, 2))


def square_error(first: Gaussians, second: Gaussians) -> float:
    """Of the unclamped renderings, summed over pixels and channels."""
    renderer, view = CpuRenderer(1), View.whole(WIDTH, HEIGHT)
    difference = renderer.render(first, view).astype(float) - renderer.render(second, view)
    return float((difference**2).sum())


def test_the_budget_is_the_formats() -> None:
    assert [quantizer(quality).error_budget for quality in (64, 72, 0)] == [1, 0.5, 256]


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [64, 80, 96])
def test_each_attribute_adds_the_error_that_the_quality_stands_for(quality: int, channels: int) -> None:
    gaussians, by = inner_scene(300, channels), quantizer(quality, channels)
    rounded = quantized(gaussians, by)
    allowed = 2.0 ** ((64 - quality) / 4) / 12  # K^2 / 12
    for name, values in {"mean": 2, "scale": 2, "rotation": 1, "color": channels}.items():
        changed = dataclasses.replace(gaussians, **{name: getattr(rounded, name)})
        relative_error = square_error(changed, gaussians) / (len(gaussians) * values * allowed)
        assert 0.5 < relative_error < 2, name
    total = square_error(rounded, gaussians) / (len(gaussians) * (5 + channels) * allowed)
    assert 0.5 < total < 2


def test_the_finest_quality_changes_almost_nothing() -> None:
    gaussians = inner_scene(200)
    rounded = quantized(gaussians, quantizer(MAX_QUALITY))
    assert np.abs(rounded.mean - gaussians.mean).max() < 0.01
    assert np.abs(np.log(rounded.scale / gaussians.scale)).max() < 0.01
    assert np.abs(rounded.color - gaussians.color).max() < 1e-4


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [0, 40, 73, 96, MAX_QUALITY])
def test_fake_quantize_shows_what_a_decoder_sees(quality: int, channels: int) -> None:
    gaussians = scene(400, WIDTH, HEIGHT, channels)
    by = quantizer(quality, channels)
    fake, decoded = quantized(gaussians, by), dequantize(quantize(gaussians, by), by)
    assert (decoded.scale[:, 0] >= decoded.scale[:, 1]).all()
    longer_first = gaussians.scale[:, 0] >= gaussians.scale[:, 1]
    kept = fake.scale[:, 0] >= fake.scale[:, 1]
    assert (kept == longer_first)[fake.scale[:, 0] != fake.scale[:, 1]].all(), "fake_quantize keeps the axes"

    def rows(which: Gaussians) -> np.ndarray:
        scale = np.sort(which.scale, axis=1)
        table = np.concatenate([which.mean, scale, which.color], axis=1)
        order = np.lexsort(table.T)
        # A covariance is not compared exactly: the rotations differ by half a turn or a quarter of one.
        return np.concatenate([table, covariance(which).reshape(-1, 4)], axis=1)[order]

    fake_rows, decoded_rows = rows(fake), rows(decoded)
    split = 4 + channels
    assert np.array_equal(fake_rows[:, :split], decoded_rows[:, :split])
    assert np.allclose(fake_rows[:, split:], decoded_rows[:, split:], rtol=1e-4, atol=1e-4)


def test_fake_quantize_does_not_depend_on_threads() -> None:
    gaussians, by = scene(5000, WIDTH, HEIGHT), quantizer(80)
    one, four = quantized(gaussians, by, 1), quantized(gaussians, by, 4)
    assert all(np.array_equal(getattr(one, name), getattr(four, name)) for name in FIELDS)


@pytest.mark.parametrize("quality", [64, 80, 110])
def test_quantizing_again_changes_only_what_crosses_into_another_energy_class(quality: int) -> None:
    """The class is worked out from the colour and the scales, so that rounding them can move it to the next one,
    whose steps differ. Within a class, rounded values round to themselves."""
    by = quantizer(quality)
    first = quantize(inner_scene(2000), by)
    again = quantize(dequantize(first, by), by)
    drift = again[:, ENERGY] != first[:, ENERGY]  # the cells stay, and with them the order
    assert np.array_equal(again[:, :2], first[:, :2])
    assert np.array_equal(again[~drift], first[~drift])
    assert drift.mean() < 0.3
    assert np.abs(again[:, ENERGY] - first[:, ENERGY])[(first[:, COLOR] != 0).any(axis=1)].max() <= 1


def interleaved(x: int, y: int) -> int:
    return sum((x >> bit & 1) << 2 * bit | (y >> bit & 1) << 2 * bit + 1 for bit in range(17))


def test_symbols_follow_the_morton_curve() -> None:
    symbols = quantize(scene(3000, WIDTH, HEIGHT), quantizer(80, cell_log2=3))
    codes = [interleaved(int(x), int(y)) for x, y in symbols[:, :2]]
    assert codes == sorted(codes)
    assert symbols[:, 0].max() == (WIDTH - 1) // 8
    assert symbols[:, 1].max() == (HEIGHT - 1) // 8


def test_gaussians_of_one_cell_keep_their_order() -> None:
    gaussians = scene(50, WIDTH, HEIGHT)
    gaussians.mean[:] = 100
    by = quantizer(100)
    decoded = dequantize(quantize(gaussians, by), by)
    assert np.abs(decoded.color - gaussians.color).max() < 0.1
    assert (np.ptp(gaussians.color, axis=0) > 0.5).all()


def test_means_beyond_the_image_come_back_to_it() -> None:
    gaussians = scene(4, WIDTH, HEIGHT)
    gaussians.mean[:] = [[-50, -1e9], [1e9, 10], [3, 1e30], [WIDTH, HEIGHT]]
    by = quantizer(90)
    mean = dequantize(quantize(gaussians, by), by).mean
    assert (mean > -1).all()
    assert (mean < [WIDTH + 16, HEIGHT + 16]).all()


@pytest.mark.parametrize("quality", [0, 80, MAX_QUALITY])
@pytest.mark.parametrize("value", [0.25, 1e-6, 65536.0, 1e30])
def test_scales_end_at_the_bounds_of_the_format(quality: int, value: float) -> None:
    gaussians, by = scene(20, WIDTH, HEIGHT), quantizer(quality)
    gaussians.scale[:] = value
    expected = min(max(value, 0.25), 65536)
    rounded = quantized(gaussians, by)
    assert np.abs(np.log2(rounded.scale / expected)).max() <= 0.5 if quality else np.isfinite(rounded.scale).all()
    assert np.isfinite(rounded.color).all()


@pytest.mark.parametrize("quality", [0, 80, MAX_QUALITY])
def test_zero_colors_stay_zero(quality: int) -> None:
    gaussians, by = scene(30, WIDTH, HEIGHT), quantizer(quality)
    gaussians.color[:] = 0
    symbols = quantize(gaussians, by)
    assert not symbols[:, COLOR].any()
    assert not dequantize(symbols, by).color.any()


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_becomes_a_gaussian_without_color(field: str, value: float) -> None:
    gaussians, by = scene(3, WIDTH, HEIGHT), quantizer(80)
    getattr(gaussians, field)[1] = value
    rounded = quantized(gaussians, by)
    assert all(np.isfinite(getattr(rounded, name)).all() for name in FIELDS)
    assert not rounded.color[1].any()
    assert rounded.color[[0, 2]].any(axis=1).all()
    dequantize(quantize(gaussians, by), by)  # all in range


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_a_scale_that_is_not_positive_becomes_a_gaussian_without_color(value: float) -> None:
    gaussians = scene(3, WIDTH, HEIGHT)
    gaussians.scale[1, 0] = value
    assert not quantized(gaussians, quantizer(80)).color[1].any()


@pytest.mark.parametrize("channels", [1, 3])
def test_no_gaussians(channels: int) -> None:
    by = quantizer(80, channels)
    symbols = quantize(Gaussians.empty(channels), by)
    assert symbols.shape == (0, 11)
    assert len(dequantize(symbols, by)) == 0
    assert len(quantized(Gaussians.empty(channels), by)) == 0


@pytest.mark.parametrize("column", range(11))
@pytest.mark.parametrize("value", [-(2**31), -(2**22), 2**22, 2**31 - 1])
def test_symbols_out_of_range_are_refused(column: int, value: int) -> None:
    by = quantizer(80)
    symbols = quantize(scene(5, WIDTH, HEIGHT), by)
    symbols[2, column] = value
    with pytest.raises(ValueError, match="out of range"):
        dequantize(symbols, by)


@pytest.mark.parametrize(
    "change",
    [
        {"quality": -1},
        {"quality": MAX_QUALITY + 1},
        {"cell_log2": MAX_POSITION_CELL_LOG2 + 1},
        {"channels": 2},
        {"width": 0},
    ],
)
def test_impossible_settings_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="settings"):
        quantize(scene(5, WIDTH, HEIGHT), dataclasses.replace(quantizer(80), **change))


def test_channels_must_agree() -> None:
    with pytest.raises(ValueError, match="channels"):
        quantize(scene(5, WIDTH, HEIGHT, 1), quantizer(80, 3))


def test_an_image_of_one_pixel() -> None:
    by = Quantizer(100, 0, 1, 1, 3)
    decoded = dequantize(quantize(scene(3, 1, 1), by), by)
    assert ((decoded.mean >= 0) & (decoded.mean <= 1)).all()


def test_there_are_about_six_cells_for_each_gaussian() -> None:
    """9 pi / 2.2^2 of them, up to a factor of two: sides are powers of two."""
    assert position_cell_log2(1024, 1024, 1 << 30) == 0
    assert position_cell_log2(65536, 65536, 1) == MAX_POSITION_CELL_LOG2
    for count in (1000, 10_000, 100_000):
        cells = (1024 / 2 ** position_cell_log2(1024, 1024, count)) ** 2
        assert 0.5 <= cells / count / (9 * math.pi / 2.2**2) <= 2.0001


def test_quality_follows_the_noise_that_is_allowed() -> None:
    assert quality_for_error(1000 / 12, 1000) == 64  # K = 1
    assert quality_for_error(1000 / 12 / 4, 1000) == 72  # half the step
    assert quality_for_error(0, 1000) == MAX_QUALITY
    assert quality_for_error(1e30, 1) == 0
    assert 0 <= quality_for_error(0, 0) <= MAX_QUALITY
