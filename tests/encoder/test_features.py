"""Tiles partition the image, features equal their definition, and no tile or image border shows."""

import numpy as np
import pytest

from smartsplat import _native
from smartsplat.encoder.sampling_tiles import SamplingTile, sampling_tiles
from smartsplat.encoder.settings import MAX_VARIANCE_WINDOW, InitializeSettings
from smartsplat.errors import SettingsError
from tests.encoder.features import noise, sampling_weight, tile_features

BOXES = [(0, 0, 70, 37), (0, 0, 1, 1), (69, 36, 1, 1), (7, 5, 33, 1), (1, 2, 5, 30), (31, 9, 39, 28)]
SIZES = [(1, 1), (1, 17), (17, 1), (41, 341), (1024, 1024), (1025, 2048), (2048, 1025), (3000, 1)]


def gradient_and_variance(
    pixels: np.ndarray, tile: SamplingTile, settings: InitializeSettings
) -> tuple[np.ndarray, np.ndarray]:
    gradient, variance, _ = tile_features(pixels, tile, settings)
    return gradient, variance


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("side", [1024, 100])
def test_tiles_hold_every_pixel_exactly_once(width: int, height: int, side: int) -> None:
    visits = np.zeros((height, width), np.int32)
    areas = sampling_tiles(width, height, side)
    for area in areas:
        visits[area.y : area.y + area.height, area.x : area.x + area.width] += 1
    assert (visits == 1).all()
    assert sum(area.width * area.height for area in areas) == width * height
    for lengths in ({area.width for area in areas}, {area.height for area in areas}):
        assert 1 <= min(lengths) <= max(lengths) <= side
        assert max(lengths) - min(lengths) <= 1


def naive_features(pixels: np.ndarray, x: int, y: int, window: int) -> tuple[float, float]:
    """E9 for one pixel, in float64; coordinates beyond the image are clamped to it."""
    height, width, channels = pixels.shape

    def at(column: int, row: int, channel: int) -> float:
        return float(pixels[min(max(row, 0), height - 1), min(max(column, 0), width - 1), channel])

    gradients, variances = [], []
    offsets = range(-(window // 2), window // 2 + 1)
    for channel in range(channels):
        smoothing = {-1: 1, 0: 2, 1: 1}
        along_x = sum(k * (at(x + 1, y + d, channel) - at(x - 1, y + d, channel)) for d, k in smoothing.items())
        along_y = sum(k * (at(x + d, y + 1, channel) - at(x + d, y - 1, channel)) for d, k in smoothing.items())
        gradients.append(np.hypot(along_x, along_y) / 8)
        variances.append(np.var([at(x + i, y + j, channel) for i in offsets for j in offsets]))
    return float(np.mean(gradients)), float(np.mean(variances))


@pytest.mark.parametrize("window", [1, 3, 5, 7])
@pytest.mark.parametrize(("height", "width", "channels"), [(9, 12, 3), (12, 5, 1), (1, 1, 3), (1, 17, 1)])
def test_features_equal_a_naive_loop(height: int, width: int, channels: int, window: int) -> None:
    pixels = noise(height, width, channels)
    settings = InitializeSettings(variance_window=window)
    gradient, variance = gradient_and_variance(pixels, SamplingTile(0, 0, width, height), settings)
    expected = np.array([[naive_features(pixels, x, y, window) for x in range(width)] for y in range(height)])
    assert gradient.dtype == variance.dtype == np.float32
    np.testing.assert_allclose(gradient, expected[..., 0], rtol=1e-6)
    np.testing.assert_allclose(variance, expected[..., 1], rtol=1e-6)


def sum_of_windows(plane: np.ndarray, height: int, width: int) -> np.ndarray:
    """Of each window that fits, [height, width]."""
    return np.lib.stride_tricks.sliding_window_view(plane, np.subtract(plane.shape, (height - 1, width - 1))).sum(
        axis=(2, 3)
    )


def features_in_float32(pixels: np.ndarray, tile: SamplingTile, window: int) -> tuple[np.ndarray, np.ndarray]:
    """E9 for a tile with every rounding where the kernels have it: sums in integers, then single operations."""
    halo = max(window // 2, 1)
    padded = np.pad(pixels, ((halo, halo), (halo, halo), (0, 0)), mode="edge").astype(np.int64)
    patch = padded[tile.y : tile.y + tile.height + 2 * halo, tile.x : tile.x + tile.width + 2 * halo]
    inner = patch[halo - 1 : patch.shape[0] - halo + 1, halo - 1 : patch.shape[1] - halo + 1]
    gradient, spread = np.zeros((tile.height, tile.width), np.float32), 0
    trim = halo - window // 2
    for channel in range(pixels.shape[2]):
        plane = inner[:, :, channel]
        smoothed_along_y = plane[:-2] + 2 * plane[1:-1] + plane[2:]
        smoothed_along_x = plane[:, :-2] + 2 * plane[:, 1:-1] + plane[:, 2:]
        squared = (smoothed_along_y[:, 2:] - smoothed_along_y[:, :-2]) ** 2 + (
            smoothed_along_x[2:] - smoothed_along_x[:-2]
        ) ** 2
        gradient += np.sqrt(squared.astype(np.float32)) / np.float32(8)
        plane = patch[trim : patch.shape[0] - trim, trim : patch.shape[1] - trim, channel]
        total, total_of_squares = (sum_of_windows(p, tile.height, tile.width) for p in (plane, plane * plane))
        spread = spread + window**2 * total_of_squares - total**2
    channels = np.float32(pixels.shape[2])
    return gradient / channels, np.asarray(spread).astype(np.float32) / (np.float32(window**4) * channels)


@pytest.mark.parametrize("window", [1, 3, 5, 13])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("tile", [SamplingTile(*box) for box in BOXES])
def test_features_have_the_bits_of_their_formulas(tile: SamplingTile, channels: int, window: int) -> None:
    pixels = noise(37, 70, channels, seed=1)
    pixels[:, 20:40] = pixels[:, 20:40] // 128 * 255  # the largest sums
    gradient, variance, weight = tile_features(pixels, tile, InitializeSettings(variance_window=window))
    expected = features_in_float32(pixels, tile, window)
    np.testing.assert_array_equal(gradient, expected[0])
    np.testing.assert_array_equal(variance, expected[1])
    gradient_fraction = np.float32(0.9)
    parts = [feature / feature.max() if feature.any() else feature for feature in expected]
    np.testing.assert_array_equal(weight, gradient_fraction * parts[0] + (1 - gradient_fraction) * parts[1])


@pytest.mark.parametrize("box", [(-1, 0, 2, 2), (0, 0, 5, 1), (3, 3, 1, 2), (0, 0, 0, 1), (2**62, 0, 2**62, 1)])
def test_a_tile_beyond_the_image_is_refused(box: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="tile"):
        _native.tile_features(noise(4, 4), box, 5, 0.9)


def test_gradient_is_a_derivative() -> None:
    ramp = np.broadcast_to(3 * np.arange(40, dtype=np.uint8)[:, None, None], (40, 30, 3))
    gradient, _ = gradient_and_variance(ramp, SamplingTile(0, 5, 30, 30), InitializeSettings())
    assert (gradient == 3).all()


def test_gradients_of_channels_do_not_cancel() -> None:
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, 4:, 0] = 200
    pixels[:, :4, 1] = 200  # the mean over the channels is the same on both sides
    gradient, _ = gradient_and_variance(pixels, SamplingTile(0, 0, 8, 8), InitializeSettings())
    np.testing.assert_allclose(gradient[:, 3:5], 2 * 100 / 3, rtol=1e-6)
    assert not gradient[:, [0, 1, 2, 5, 6, 7]].any()


def test_variance_of_the_widest_window_does_not_overflow() -> None:
    pixels = 255 * (np.indices((40, 40)).sum(0) % 2).astype(np.uint8)[:, :, None]
    _, variance = gradient_and_variance(pixels, SamplingTile(0, 0, 40, 40), InitializeSettings(variance_window=13))
    fraction = 84 / 169
    np.testing.assert_allclose(variance[10:30, 10:30], 255**2 * fraction * (1 - fraction), rtol=1e-6)


@pytest.mark.parametrize(("width", "height", "side"), [(97, 61, 16), (33, 40, 1), (41, 341, 64)])
def test_tiles_have_no_seams(width: int, height: int, side: int) -> None:
    pixels = noise(height, width)
    settings = InitializeSettings(tile=side)
    whole = gradient_and_variance(pixels, SamplingTile(0, 0, width, height), settings)
    for area in sampling_tiles(width, height, settings.tile):
        rows, columns = slice(area.y, area.y + area.height), slice(area.x, area.x + area.width)
        for feature, expected in zip(gradient_and_variance(pixels, area, settings), whole, strict=True):
            np.testing.assert_array_equal(feature, expected[rows, columns])


def test_the_border_of_the_image_is_no_edge() -> None:
    pixels = np.full((20, 20, 3), 255, np.uint8)
    for feature in gradient_and_variance(pixels, SamplingTile(0, 0, 20, 20), InitializeSettings()):
        assert not feature.any()


@pytest.mark.parametrize("gradient_fraction", [0.0, 0.3, 0.9, 1.0])
def test_weight_combines_the_features_of_the_tile(gradient_fraction: float) -> None:
    pixels = noise(50, 70)
    pixels[:, :30] //= 16
    settings = InitializeSettings(gradient_fraction=gradient_fraction)
    for tile in (SamplingTile(3, 5, 25, 40), SamplingTile(20, 0, 50, 50)):
        gradient, variance = gradient_and_variance(pixels, tile, settings)
        weight = sampling_weight(pixels, tile, settings)
        expected = gradient_fraction * (gradient / gradient.max()) + (1 - gradient_fraction) * (
            variance / variance.max()
        )
        assert weight.shape == (tile.height, tile.width)
        assert weight.dtype == np.float32
        assert weight.min() >= 0
        assert weight.max() <= 1
        np.testing.assert_allclose(weight, expected, rtol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_weight_of_a_flat_tile_is_uniform(channels: int) -> None:
    pixels = np.full((30, 30, channels), 77, np.uint8)
    assert not sampling_weight(pixels, SamplingTile(0, 0, 30, 30), InitializeSettings()).any()


@pytest.mark.parametrize("window", [0, -1, 4, 15])
def test_an_impossible_window_is_refused(window: int) -> None:
    with pytest.raises(SettingsError, match="variance_window"):
        InitializeSettings(variance_window=window)
    with pytest.raises(ValueError, match="odd"):
        _native.tile_features(noise(4, 4), (0, 0, 4, 4), window, 0.9)


def test_the_longest_window_is_the_compiled_modules() -> None:
    assert MAX_VARIANCE_WINDOW == _native.MAX_VARIANCE_WINDOW
