"""What initialization asks of a GPU, against the CPU: compiled where there is one, else in Triton's interpreter."""

from __future__ import annotations

import numpy as np
import pytest

from tests.render.gpu_device import DEVICE, GPU

# isort: split
from smartsplat.encoder.cpu_sampler import CpuSampler
from smartsplat.encoder.gpu import GpuSampler, weighted_sampling
from smartsplat.encoder.initialize import initialize, place_weighted
from smartsplat.encoder.sampler import TileBudgets
from smartsplat.encoder.sampling_tiles import sampling_tiles
from smartsplat.encoder.settings import InitializeSettings
from smartsplat.render.cpu import CpuRenderer
from smartsplat.render.gpu import GpuRenderer
from tests.encoder.features import tile_features
from tests.samples import landscape

CPU = CpuSampler(CpuRenderer(2))


def gpu() -> GpuSampler:
    return GpuSampler(GpuRenderer(DEVICE))


@pytest.fixture(autouse=True)
def _few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter runs one after the other."""
    if not GPU:
        monkeypatch.setattr(weighted_sampling, "PIXELS_PER_PROGRAM", 2048)


def noise(height: int, width: int, channels: int) -> np.ndarray:
    """The left third flat, the middle black and white, the rest anything."""
    pixels = np.random.default_rng(3).integers(0, 256, (height, width, channels), np.uint8)
    pixels[:, : width // 3] = 90
    middle = slice(width // 3, width // 2)
    pixels[:, middle] = pixels[:, middle] // 128 * 255
    return pixels


WEIGHTS = {  # height, width, side of a tile, channels, window
    "one pixel": (1, 1, 8, 3, 5),
    "1x17 grey": (1, 17, 8, 1, 5),
    "17x1": (17, 1, 8, 3, 5),
    "41x53 grey": (41, 53, 30, 1, 5),
    "41x53": (41, 53, 30, 3, 5),
    "one tile, several programs": (33, 70, 1024, 3, 3),
    "the widest window": (20, 15, 1024, 3, 13),
    "no window": (20, 15, 1024, 1, 1),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_are_the_features_of_the_cpu(name: str) -> None:
    height, width, side, channels, window = WEIGHTS[name]
    pixels = noise(height, width, channels)
    settings = InitializeSettings(tile=side, variance_window=window)
    areas = sampling_tiles(width, height, settings.tile)
    boxes = np.array([(area.x, area.y, area.width, area.height) for area in areas])
    budgets = TileBudgets(boxes, np.zeros(len(areas), np.int64), np.arange(len(areas), dtype=np.uint64))
    launcher = GpuRenderer(DEVICE).launcher
    weights, entries = weighted_sampling.race_entries(launcher, launcher.resident(pixels), None, budgets, window, 0.9)
    for index, area in enumerate(areas):
        expected = tile_features(pixels, area, settings)[2]
        size = expected.size
        assert (entries[index, size:] == weighted_sampling.NO_ENTRY.value).all()
        assert (entries[index, :size] >= 0).all()
        assert float(weights[index, :size].max()) <= 1
        np.testing.assert_allclose(weights[index, :size].cpu(), expected.ravel(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    ("count", "group", "channels"), [(0, 1, 3), (1, 1, 1), (13, 3000, 3), (900, 1 << 24, 3), (41 * 83, 3000, 1)]
)
def test_the_same_pixels_win(monkeypatch: pytest.MonkeyPatch, count: int, group: int, channels: int) -> None:
    """However many tiles are sampled at once, and where only flat pixels are left."""
    monkeypatch.setattr(weighted_sampling, "GROUP_PIXELS", group)
    pixels = noise(41, 83, channels)
    expected, weight = place_weighted(pixels, count, InitializeSettings(tile=45), 7, CPU)
    mean, actual = place_weighted(pixels, count, InitializeSettings(tile=45), 7, gpu())
    assert mean.dtype == actual.dtype == np.float32
    np.testing.assert_array_equal(mean, expected)
    np.testing.assert_allclose(actual, weight, rtol=1e-6, atol=1e-7)


def test_places_outside_a_tile_never_win() -> None:
    boxes = np.array([(0, 0, 3, 2), (3, 0, 9, 8), (0, 2, 3, 6)])
    budgets = TileBudgets(boxes, np.array([6, 0, 18]), np.array([1, 2, 2**64 - 1], np.uint64))
    pixels = noise(8, 12, 3)
    mean, weight = gpu().sample_pixels(pixels, budgets, 5, 0.9)
    expected = CPU.sample_pixels(pixels, budgets, 5, 0.9)
    np.testing.assert_array_equal(mean, expected[0])
    np.testing.assert_allclose(weight, expected[1], rtol=1e-6, atol=1e-7)


def test_the_same_pixels_of_16_bits_win_by_their_weights() -> None:
    """And none without a weight, as long as there are others."""
    budgets = TileBudgets(np.array([(0, 0, 20, 37), (20, 0, 33, 37)]), np.array([90, 200]), np.array([7, 8], np.uint64))
    pixels = noise(37, 53, 3).astype(np.uint16) * 257
    factors = np.random.default_rng(5).integers(0, 256, (37, 53), np.uint8)
    factors[:, 20:40] = 0
    mean, weight = gpu().sample_pixels(pixels, budgets, 3, 0.9, factors)
    expected_mean, expected_weight = CPU.sample_pixels(pixels, budgets, 3, 0.9, factors)
    np.testing.assert_array_equal(mean, expected_mean)
    np.testing.assert_allclose(weight, expected_weight, rtol=1e-6, atol=1e-7)
    assert (mean[90:, 0] > 40).all()


def test_error_weights_that_do_not_fit() -> None:
    budgets = TileBudgets(np.array([(0, 0, 3, 2)]), np.array([1]), np.array([1], np.uint64))
    with pytest.raises(ValueError, match="weights of uint8"):
        gpu().sample_pixels(noise(2, 3, 1), budgets, 1, 0.9, np.ones((3, 2), np.uint8))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 17), (41, 33), (130, 90)])
def test_medians_are_the_cpus(height: int, width: int, channels: int) -> None:
    pixels = noise(height, width, channels)
    # Every square, the lattice, and what lies at the limits of both.
    radii = np.array([0.25, 0.6, 1, 4.2, 6, 6.1, 11.7, 14, 14.1, 24, 24.1, 35.6, 35.7, 90, 1e5], np.float32)
    scale = np.repeat(radii, 3)
    mean = (np.random.default_rng(0).random((len(scale), 2)) * [width, height]).astype(np.float32)
    mean[::3] = np.floor(mean[::3]) + 0.5  # rims go through pixels
    color = gpu().median_color(pixels, mean, scale)
    np.testing.assert_array_equal(color, CPU.median_color(pixels, mean, scale))


def test_no_radius_is_left_out() -> None:
    """The squares hold every disc: a Gaussian that none of them took would keep what was in memory."""
    pixels = np.full((1, 1, 1), 77, np.uint8)
    scale = np.concatenate([np.linspace(0.2, 60, 40), np.geomspace(60, 1e9, 20)]).astype(np.float32)
    color = gpu().median_color(pixels, np.full((len(scale), 2), 0.5, np.float32), scale)
    np.testing.assert_array_equal(color, np.full((len(scale), 1), np.float32(77 / 255)))


def test_hostile_discs_have_colors_of_the_image() -> None:
    pixels = np.full((6, 9, 3), 180, np.uint8)
    hostile = np.array([np.nan, np.inf, -np.inf, 0, -1, 1e30, 1e-30], np.float32)
    mean = np.stack([hostile, np.roll(hostile, 1)], axis=1)
    sampler = gpu()
    with np.errstate(all="ignore"):  # of the interpreter
        for scale in (*hostile, 3):
            color = sampler.median_color(pixels, mean, np.full(len(mean), scale, np.float32))
            assert (color == np.float32(180 / 255)).all()


def test_initial_gaussians_are_those_of_the_cpu() -> None:
    pixels = landscape(90, 70)
    settings = InitializeSettings(tile=50)
    expected = initialize(pixels, 40, settings=settings, seed=4, sampler=CPU)
    actual, again = (initialize(pixels, 40, settings=settings, seed=4, sampler=gpu()) for _ in range(2))
    for field in ("mean", "scale", "rotation", "color"):
        np.testing.assert_array_equal(getattr(actual, field), getattr(again, field))
        np.testing.assert_allclose(getattr(actual, field), getattr(expected, field), rtol=1e-6)


def test_the_image_is_uploaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    renderer, sizes = GpuRenderer(DEVICE), []
    upload = renderer.launcher.upload
    monkeypatch.setattr(renderer.launcher, "upload", lambda array: sizes.append(array.size) or upload(array))
    pixels = noise(40, 50, 3)
    initialize(pixels, 20, sampler=GpuSampler(renderer))
    assert sizes.count(pixels.size) == 1
