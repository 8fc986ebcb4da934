"""The initial Gaussians: exact counts, each step against its definition by brute force, and determinism."""

import numpy as np
import pytest

from smartsplat import _native
from smartsplat.encoder.cpu_sampler import CpuSampler
from smartsplat.encoder.initialize import (
    _tile_counts,
    exclusion_radius,
    initialize,
    neighbor_scale,
    place_uniform,
    place_weighted,
)
from smartsplat.encoder.sampling_tiles import SamplingTile, sampling_tiles
from smartsplat.encoder.settings import InitializeSettings
from smartsplat.errors import SettingsError
from smartsplat.gaussians import MIN_SCALE, Gaussians, base_scale
from smartsplat.render.cpu import CpuRenderer
from tests.encoder.features import noise, sampling_weight

SAMPLER = CpuSampler(CpuRenderer(1))


def textured(height: int, width: int) -> np.ndarray:
    """Left half flat, right half noise."""
    pixels = noise(height, width)
    pixels[:, : width // 2] = 90
    return pixels


def distances(points: np.ndarray, others: np.ndarray) -> np.ndarray:
    return np.linalg.norm(points[:, None].astype(np.float64) - others[None], axis=2)


def assert_equal(first: Gaussians, second: Gaussians) -> None:
    for field in ("mean", "scale", "rotation", "color"):
        np.testing.assert_array_equal(getattr(first, field), getattr(second, field))


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 17), (17, 1), (41, 341), (64, 50)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 3, 4, 5, 100, 6000])
def test_count_is_exact_and_values_are_in_range(height: int, width: int, channels: int, count: int) -> None:
    gaussians = initialize(noise(height, width, channels), count, settings=InitializeSettings(tile=32))
    assert len(gaussians) == count
    assert gaussians.channels == channels
    assert ((gaussians.mean >= 0) & (gaussians.mean < [width, height])).all()
    assert ((gaussians.scale >= MIN_SCALE) & (gaussians.scale <= max(width, height) / 2)).all()
    assert (gaussians.scale[:, 0] == gaussians.scale[:, 1]).all()
    assert ((gaussians.rotation >= 0) & (gaussians.rotation < 2 * np.pi)).all()
    assert ((gaussians.color >= 0) & (gaussians.color <= 1)).all()


def test_a_negative_count_is_refused() -> None:
    with pytest.raises(SettingsError, match="-1"):
        initialize(noise(4, 4), -1)


@pytest.mark.parametrize("fraction", [0.0, 0.5, 0.7, 1.0])
def test_the_split_follows_weighted_fraction(fraction: float) -> None:
    gaussians = initialize(noise(60, 80), 1000, settings=InitializeSettings(weighted_fraction=fraction))
    at_centres = (gaussians.mean % 1 == 0.5).all(axis=1)
    assert at_centres[: round(fraction * 1000)].all()
    assert not at_centres[round(fraction * 1000) :].any()


def test_a_single_uniform_point_spans_the_image() -> None:
    gaussians = initialize(noise(20, 30), 1, settings=InitializeSettings(weighted_fraction=0))
    assert (gaussians.scale == 15).all()


@pytest.mark.parametrize("count", [1, 2, 7, 999, 63 * 95 - 1, 63 * 95])
def test_weighted_points_are_distinct_pixels_shared_by_area(count: int) -> None:
    pixels = noise(63, 95)
    pixels[:, :40] = 0  # whole tiles without any weight must still give their part
    mean, weight = place_weighted(pixels, count, InitializeSettings(tile=32), 0, SAMPLER)
    assert (mean.shape, weight.shape) == ((count, 2), (count,))
    assert len(np.unique(mean, axis=0)) == count
    for top, bottom in ((0, 31), (31, 63)):
        for left, right in ((0, 31), (31, 63), (63, 95)):
            inside = (mean >= [left, top]).all(axis=1) & (mean < [right, bottom]).all(axis=1)
            assert abs(inside.sum() - count * (right - left) * (bottom - top) / (63 * 95)) < 1


def test_weights_belong_to_their_points() -> None:
    pixels = noise(40, 30)
    mean, weight = place_weighted(pixels, 200, InitializeSettings(), 0, SAMPLER)
    column, row = mean.astype(int).T
    np.testing.assert_array_equal(
        weight, sampling_weight(pixels, SamplingTile(0, 0, 30, 40), InitializeSettings())[row, column]
    )


def uniform_numbers(key: int, count: int) -> np.ndarray:
    """splitmix64, the published algorithm: the upper 53 bits of each number as a fraction in [0, 1)."""
    z = np.uint64(key) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(11)) / 2**53


@pytest.mark.parametrize("count", [1, 2, 5, 64, 500, 45 * 30 - 1, 45 * 30])
@pytest.mark.parametrize("key", [0, 1, 2**64 - 1])
def test_the_winners_of_the_race_are_sampled(key: int, count: int) -> None:
    pixels = textured(50, 60)
    tile = SamplingTile(10, 3, 45, 30)
    weight = sampling_weight(pixels, tile, InitializeSettings()).ravel()
    assert not weight.all()
    time = -np.log(1 - uniform_numbers(key, weight.size)) / np.maximum(weight, np.float32(1e-30)).astype(np.float64)
    winners = np.sort(np.argsort(time, kind="stable")[:count])
    boxes = np.array([(tile.x, tile.y, tile.width, tile.height)])
    mean, sampled_weight = _native.sample_pixels(
        pixels, None, boxes, np.array([count]), np.array([key], np.uint64), 5, 0.9, 1
    )
    np.testing.assert_array_equal(mean, np.stack([10.5 + winners % 45, 3.5 + winners // 45], axis=1))
    np.testing.assert_array_equal(sampled_weight, weight[winners])


def test_tiles_are_sampled_in_turn_whatever_the_threads() -> None:
    pixels = noise(70, 90)
    areas = sampling_tiles(90, 70, 16)
    boxes = np.array([(area.x, area.y, area.width, area.height) for area in areas])
    counts = np.arange(len(areas)) % 4 * 13
    keys = np.arange(len(areas), dtype=np.uint64) << np.uint64(60)
    samples = [_native.sample_pixels(pixels, None, boxes, counts, keys, 5, 0.9, threads) for threads in (1, 2, 5)]
    for other in samples[1:]:
        np.testing.assert_array_equal(other[0], samples[0][0])
        np.testing.assert_array_equal(other[1], samples[0][1])
    at = 0
    for box, count, key in zip(boxes, counts, keys, strict=True):
        mean, weight = _native.sample_pixels(pixels, None, box[None], np.array([count]), np.array([key]), 5, 0.9, 1)
        np.testing.assert_array_equal(samples[0][0][at : at + count], mean)
        np.testing.assert_array_equal(samples[0][1][at : at + count], weight)
        at += count


@pytest.mark.parametrize(
    ("boxes", "counts", "window", "problem"),
    [
        ([(0, 0, 8, 9)], [1], 5, "inside"),
        ([(0, 0, 8, 8)], [65], 5, "fewer pixels"),
        ([(0, 0, 8, 8)], [-1], 5, "fewer pixels"),
        ([(0, 0, 8, 8)], [1, 1], 5, "differ"),
        ([(0, 0, 8, 8)], [1], 4, "odd"),
    ],
)
def test_impossible_budgets_are_refused(boxes: list[object], counts: list[int], window: int, problem: str) -> None:
    keys = np.zeros(len(boxes), np.uint64)
    with pytest.raises(ValueError, match=problem):
        _native.sample_pixels(noise(8, 8), None, np.array(boxes), np.array(counts), keys, window, 0.9, 1)


def test_pixels_without_weight_come_last_and_at_random() -> None:
    pixels = textured(64, 64)
    weighted = np.count_nonzero(sampling_weight(pixels, SamplingTile(0, 0, 64, 64), InitializeSettings()))
    assert 0 < weighted < 64 * 64
    _, weight = place_weighted(pixels, weighted, InitializeSettings(), 0, SAMPLER)
    assert (weight > 0).all()
    mean, weight = place_weighted(pixels, weighted + 400, InitializeSettings(), 0, SAMPLER)
    assert np.count_nonzero(weight == 0) == 400
    np.testing.assert_allclose(mean[weight == 0].mean(axis=0), [15, 32], atol=3)


def test_points_are_sampled_in_proportion_to_their_weight() -> None:
    pixels = noise(32, 32, 1)
    weight = sampling_weight(pixels, SamplingTile(0, 0, 32, 32), InitializeSettings()).ravel()
    hits = np.zeros(32 * 32)
    for seed in range(1500):
        column, row = place_weighted(pixels, 1, InitializeSettings(), seed, SAMPLER)[0].astype(int)[0]
        hits[32 * row + column] += 1
    order = np.argsort(weight)
    for part in np.array_split(order, 4):
        expected = 1500 * weight[part].sum() / weight.sum()
        assert abs(hits[part].sum() - expected) < 4 * np.sqrt(expected)


def test_detail_gets_more_and_smaller_gaussians() -> None:
    gaussians = initialize(textured(128, 128), 600)
    right = gaussians.mean[:, 0] > 64
    assert np.count_nonzero(right) > 1.5 * np.count_nonzero(~right)
    assert np.median(gaussians.scale[right]) < np.median(gaussians.scale[~right])


def test_weighted_scales_fall_with_the_weight() -> None:
    pixels = noise(60, 80)
    gaussians = initialize(pixels, 100)
    _, weight = place_weighted(pixels, 70, InitializeSettings(), 0, SAMPLER)
    expected = base_scale(80, 60, 100) * np.exp(-weight.astype(np.float64) / 2)
    assert expected.min() > MIN_SCALE
    np.testing.assert_allclose(gaussians.scale[:70, 0], expected, rtol=1e-6)


def test_uniform_points_keep_their_distance() -> None:
    pixels = noise(60, 80)
    gaussians = initialize(pixels, 500)
    weighted, uniform = gaussians.mean[:350], gaussians.mean[350:]
    radius = base_scale(80, 60, 500)
    assert distances(uniform, weighted).min() >= radius
    unconstrained = np.random.default_rng(0).random((150, 2)) * [80, 60]
    assert distances(unconstrained, weighted).min() < radius


def test_uniform_points_cover_the_image_evenly() -> None:
    points = place_uniform(200, 100, 8000, np.zeros((0, 2), np.float32), 1.0, np.random.default_rng(0), 1)
    counts, _, _ = np.histogram2d(*points.T, bins=(8, 4), range=((0, 200), (0, 100)))
    assert abs(counts - 250).max() < 4 * np.sqrt(250)


def test_a_radius_that_leaves_no_room_is_relaxed() -> None:
    weighted, _ = place_weighted(noise(10, 10), 100, InitializeSettings(), 0, SAMPLER)
    uniform = place_uniform(10, 10, 50, weighted, 40.0, np.random.default_rng(0), 1)
    assert uniform.shape == (50, 2)
    assert distances(uniform, weighted).min() > 0.3


def test_exclusion_radius_is_the_larger_of_base_and_median() -> None:
    scales = np.array([1, 2, 9], np.float32)
    assert exclusion_radius(1.5, scales) == 2
    assert exclusion_radius(3.0, scales) == 3
    assert exclusion_radius(3.0, scales[:0]) == 3


@pytest.mark.parametrize("neighbors", [1, 3, 8])
@pytest.mark.parametrize("count", [2, 3, 4, 300])
def test_uniform_scale_is_the_distance_of_the_nearest_others(neighbors: int, count: int) -> None:
    among = np.random.default_rng(0).random((count, 2), np.float32) * np.float32(90)
    points = among[count // 2 :]
    # Column 0 of the sorted distances is the point itself.
    nearest = np.sort(distances(points, among), axis=1)[:, 1 : neighbors + 1]
    expected = np.sqrt(np.mean(nearest**2, axis=1))
    np.testing.assert_allclose(neighbor_scale(points, among, neighbors, 1), expected, rtol=1e-6)


def test_uniform_scales_are_measured_in_the_complete_set() -> None:
    gaussians = initialize(noise(60, 80), 200)
    nearest = np.sort(distances(gaussians.mean[140:], gaussians.mean), axis=1)[:, 1:4]
    np.testing.assert_allclose(gaussians.scale[140:, 0], np.sqrt(np.mean(nearest**2, axis=1)), rtol=1e-6)


def disc(pixels: np.ndarray, mean: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """E18-E19 by definition: the code values [P, C] of the disc's pixels and their weights [P], float64."""
    height, width, _ = pixels.shape
    row, column = np.mgrid[:height, :width]
    squared = (column + 0.5 - mean[0]) ** 2 + (row + 0.5 - mean[1]) ** 2
    belongs = squared <= scale**2
    belongs[min(int(mean[1]), height - 1), min(int(mean[0]), width - 1)] = True
    return pixels[belongs].astype(np.float64), np.exp(-squared[belongs] / (2 * scale**2))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 17), (41, 33), (60, 50)])
def test_color_minimises_the_weighted_absolute_error(height: int, width: int, channels: int) -> None:
    pixels = noise(height, width, channels)
    generator = np.random.default_rng(0)
    mean = (generator.random((60, 2)) * [width, height]).astype(np.float32)
    scale = np.repeat(np.array([0.25, 0.6, 1.3, 4.2, 11.7, 24.0], np.float32), 10)
    color = SAMPLER.median_color(pixels, mean, scale)
    assert color.shape == (60, channels)
    code_values = np.arange(256)
    for n in range(60):
        values, weight = disc(pixels, mean[n].astype(np.float64), float(scale[n]))
        for channel in range(channels):
            cost = (weight[:, None] * abs(values[:, channel, None] - code_values)).sum(axis=0)
            # The weights are rounded to 2^-20, so only a tie to within that may be decided otherwise.
            chosen = round(float(color[n, channel]) * 255)
            assert cost[chosen] <= cost.min() + 255 * 2**-20 * len(weight)
            assert chosen in values[:, channel]


def test_the_lower_of_two_medians_is_taken() -> None:
    pixels = np.array([[40, 10], [30, 20]], np.uint8)[:, :, None]
    color = SAMPLER.median_color(pixels, np.array([[1, 1]], np.float32), np.ones(1, np.float32))
    assert color[0, 0] == np.float32(20 / 255)


def test_the_disc_includes_its_rim_and_ends_there() -> None:
    cross = np.full((5, 5, 1), 200, np.uint8)
    cross[2, 1:4] = cross[1:4, 2] = 7
    cross[2, 2] = 9
    centre = np.array([[2.5, 2.5]], np.float32)
    assert SAMPLER.median_color(cross, centre, np.array([1], np.float32))[0, 0] == np.float32(7 / 255)
    assert SAMPLER.median_color(cross, centre, np.array([0.999], np.float32))[0, 0] == np.float32(9 / 255)


def test_the_middle_of_the_disc_weighs_more() -> None:
    pixels = np.zeros((3, 3, 1), np.uint8)
    pixels[1, :] = pixels[2, 1] = 100
    color = SAMPLER.median_color(pixels, np.array([[1.5, 1.5]], np.float32), np.array([1.5], np.float32))
    # 100 has the centre and three sides, 1 + 3 * 0.801; 0 has a side and four corners, 0.801 + 4 * 0.641.
    assert color[0, 0] == np.float32(100 / 255)


def test_a_disc_over_the_border_sees_the_image_only() -> None:
    pixels = np.full((6, 9, 3), 180, np.uint8)
    mean = np.array([[0, 0], [8.99, 5.99], [0, 5.5], [4, 3]], np.float32)
    for scale in (0.25, 3, 30, 1000):
        color = SAMPLER.median_color(pixels, mean, np.full(4, scale, np.float32))
        assert (color == np.float32(180 / 255)).all()


def test_a_large_disc_is_sampled_close_to_its_median() -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 256).astype(np.uint8)[None, :, None], (256, 256, 1))
    pixels = np.clip(ramp + np.random.default_rng(0).normal(0, 10, ramp.shape), 0, 255).astype(np.uint8)
    mean = np.array([[128, 128], [60, 100], [200, 50], [0.2, 255.9]], np.float32)
    for scale in (24.5, 40.0, 100.0):
        color = SAMPLER.median_color(pixels, mean, np.full(4, scale, np.float32))
        for n in range(4):
            values, weight = disc(pixels, mean[n].astype(np.float64), scale)
            order = np.argsort(values[:, 0], kind="stable")
            half = np.searchsorted(np.cumsum(weight[order]), weight.sum() / 2)
            assert abs(color[n, 0] * 255 - values[order[half], 0]) < 6


def test_hostile_input_gives_colors_of_the_image() -> None:
    pixels = np.full((6, 9, 3), 180, np.uint8)
    hostile = np.array([np.nan, np.inf, -np.inf, 0, -1, 1e30, 1e-30], np.float32)
    mean = np.stack(np.meshgrid(hostile, hostile), axis=-1).reshape(-1, 2)
    for scale in (*hostile, 3):
        color = SAMPLER.median_color(pixels, mean, np.full(len(mean), scale, np.float32))
        assert (color == np.float32(180 / 255)).all()


def test_initial_colors_are_the_medians_of_their_discs() -> None:
    pixels = noise(60, 80)
    gaussians = initialize(pixels, 150)
    expected = SAMPLER.median_color(pixels, gaussians.mean, gaussians.scale[:, 0].copy())
    np.testing.assert_array_equal(gaussians.color, expected)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_number_of_threads_changes_nothing(channels: int) -> None:
    pixels = noise(150, 170, channels)
    settings = InitializeSettings(tile=50)
    first = initialize(pixels, 3000, settings=settings, seed=5, threads=1)
    assert_equal(first, initialize(pixels, 3000, settings=settings, seed=5, threads=1))
    assert_equal(first, initialize(pixels, 3000, settings=settings, seed=5, threads=2))
    assert_equal(first, initialize(pixels, 3000, settings=settings, seed=5, threads=7))


def test_another_seed_gives_other_gaussians() -> None:
    first, second = (initialize(noise(64, 64), 100, seed=seed) for seed in (0, 1))
    assert not (first.mean == second.mean).all(axis=1).any()
    assert not (first.rotation == second.rotation).any()


def test_tiles_are_sampled_independently() -> None:
    tile = noise(32, 32)
    mean, _ = place_weighted(np.tile(tile, (1, 2, 1)), 40, InitializeSettings(tile=32), 0, SAMPLER)
    assert not np.array_equal(mean[:20], mean[20:] - [32, 0])


@pytest.mark.parametrize("channels", [1, 3])
def test_a_flat_image_has_gaussians_everywhere_in_its_color(channels: int) -> None:
    gaussians = initialize(np.full((64, 96, channels), 51, np.uint8), 400)
    assert (gaussians.color == np.float32(0.2)).all()
    np.testing.assert_allclose(gaussians.scale[:280], base_scale(96, 64, 400), rtol=1e-6)
    counts, _, _ = np.histogram2d(*gaussians.mean.T, bins=(3, 2), range=((0, 96), (0, 64)))
    assert counts.min() > 30


def test_weights_of_errors_say_where_gaussians_start() -> None:
    pixels = noise(80, 120)
    weights = np.full((80, 120), 8, np.uint8)
    weights[:, 40:80] = 255
    plain = initialize(pixels, 600)
    gaussians = initialize(pixels, 600, error_weights=weights)
    assert len(gaussians) == 600
    for part, least in ((slice(0, 420), 0.9), (slice(420, 600), 0.9)):  # weighted ones, uniform ones
        inside = (gaussians.mean[part, 0] >= 40) & (gaussians.mean[part, 0] < 80)
        assert inside.mean() > least
        assert (~inside).any(), "few, but some"
        assert ((plain.mean[part, 0] >= 40) & (plain.mean[part, 0] < 80)).mean() < 0.5


def test_white_weights_of_errors_change_no_weighted_one() -> None:
    pixels = noise(60, 80)
    white = initialize(pixels, 300, error_weights=np.full((60, 80), 255, np.uint8))
    np.testing.assert_array_equal(white.mean[:210], initialize(pixels, 300).mean[:210])


def test_nearly_black_weights_of_errors_still_give_every_gaussian() -> None:
    pixels, weights = noise(60, 80), np.zeros((60, 80), np.uint8)
    weights[30, 40] = 1
    for threads in (1, 2):
        gaussians = initialize(pixels, 500, error_weights=weights, threads=threads)
        assert len(gaussians) == 500
        assert ((gaussians.mean >= 0) & (gaussians.mean < [80, 60])).all()
        assert [40.5, 30.5] in gaussians.mean[:350].tolist()


def test_images_of_16_bits_start_like_those_of_8() -> None:
    pixels, weights = noise(60, 80), noise(60, 80, 1)[..., 0]
    assert_equal(
        initialize(pixels.astype(np.uint16) * np.uint16(257), 300, error_weights=weights),
        initialize(pixels, 300, error_weights=weights),
    )


def test_dark_weights_of_errors_do_not_take_candidates_without_end() -> None:
    class Counting(np.random.Generator):
        drawn = 0

        def random(self, size: object = None, *arguments: object) -> np.ndarray:  # type: ignore[override]
            numbers: np.ndarray = super().random(size, *arguments)  # type: ignore[call-overload]
            Counting.drawn += numbers.size
            return numbers

    weights = np.zeros((200, 300), np.uint8)
    weights[50, 60] = 255
    generator = Counting(np.random.PCG64(0))
    points = place_uniform(300, 200, 5000, np.zeros((0, 2), np.float32), 1.0, generator, 1, weights)
    assert points.shape == (5000, 2)
    assert Counting.drawn < 3 * 5000 * 1000


def test_tiles_give_pixels_in_proportion_to_their_weights() -> None:
    """As far as they have pixels: the rest comes from the others."""
    areas = sampling_tiles(20, 10, 10)
    weights = np.full((10, 20), 10, np.uint8)
    weights[:, :10] = 190
    assert _tile_counts(60, areas, weights) == [57, 3]
    assert _tile_counts(150, areas, weights) == [100, 50]
    assert _tile_counts(150, areas, None) == [75, 75]
    weights[:, 10:] = 0
    assert _tile_counts(60, areas, weights) == [60, 0]
    assert _tile_counts(200, areas, weights) == [100, 100]
