from __future__ import annotations

import numpy as np
import pytest

from smartsplat.encoder.cpu_sampler import STRIP_CELLS, CpuSampler
from smartsplat.encoder.densify import added_gaussians, top_by_energy
from smartsplat.encoder.error_sampling import with_neighbors
from smartsplat.encoder.error_weights import WeightPyramid
from smartsplat.encoder.pyramid import PyramidLevel
from smartsplat.encoder.settings import DensifySettings
from smartsplat.gaussians import MIN_SCALE, Gaussians
from smartsplat.render import View
from smartsplat.render.cpu import CpuRenderer
from tests.compare import scene
from tests.samples import landscape

WIDTH, HEIGHT = 160, 128
SETTINGS = DensifySettings()


def added(
    count: int,
    pixels: np.ndarray,
    gaussians: Gaussians | None = None,
    view: View | None = None,
    final_count: int | None = None,
    seed: int = 0,
    strip_cells: int = STRIP_CELLS,
    weights: np.ndarray | None = None,
) -> Gaussians:
    height, width, channels = pixels.shape
    return added_gaussians(
        gaussians or Gaussians.empty(channels),
        count,
        final_count or count,
        PyramidLevel(pixels, view or View.whole(width, height), weights),
        CpuSampler(CpuRenderer(1), strip_cells),
        SETTINGS,
        np.random.default_rng(seed),
    )


def test_energy_is_what_a_gaussian_adds_to_the_square_of_the_image() -> None:
    one = scene(1, WIDTH, HEIGHT)
    one.mean[:], one.scale[:] = [80, 64], [5, 3]
    square = (CpuRenderer(1).render(one, View.whole(WIDTH, HEIGHT)).astype(float) ** 2).sum()
    assert np.pi * one.energy()[0] == pytest.approx(square, rel=0.05)


@pytest.mark.parametrize("count", [0, 1, 30, 99, 100, 1000])
def test_top_by_energy(count: int) -> None:
    gaussians = scene(100, WIDTH, HEIGHT)
    keep = top_by_energy(gaussians, count)
    assert keep.sum() == min(count, 100)
    if 0 < count < 100:
        assert gaussians.energy()[keep].min() >= gaussians.energy()[~keep].max()


def test_the_first_of_equals_is_pruned_first() -> None:
    equal = scene(10, WIDTH, HEIGHT)
    equal.color[:], equal.scale[:] = 1, 2
    assert top_by_energy(equal, 7).tolist() == [False] * 3 + [True] * 7


def test_what_is_not_a_number_is_pruned_first() -> None:
    gaussians = scene(6, WIDTH, HEIGHT)
    gaussians.color[:] = np.array([np.nan, np.nan, 1, 1, 1, 5])[:, None]
    gaussians.scale[:] = 1
    kept = {count: top_by_energy(gaussians, count).tolist() for count in (1, 3, 5)}
    assert kept == {1: [False] * 5 + [True], 3: [False] * 3 + [True] * 3, 5: [False] + [True] * 5}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("count", [0, 1, 500, 3 * WIDTH * HEIGHT])
def test_added_gaussians_are_as_many_as_asked_for_and_in_the_image(count: int, channels: int) -> None:
    new = added(count, landscape(WIDTH, HEIGHT, channels))
    assert len(new) == count
    assert new.channels == channels
    assert all(np.isfinite(field).all() for field in (new.mean, new.scale, new.rotation, new.color))
    assert ((new.mean >= 0) & (new.mean <= [WIDTH, HEIGHT])).all()
    assert (new.scale >= MIN_SCALE).all()


def test_what_is_not_a_number_is_pruned_first_by_weight_too() -> None:
    weights = WeightPyramid(np.full((HEIGHT, WIDTH), 255, np.uint8))
    for field in ("color", "scale", "mean"):
        gaussians = scene(6, WIDTH, HEIGHT)
        gaussians.color[:], gaussians.scale[:], gaussians.mean[:] = 1, 1, 20
        gaussians.color[5] = 3
        getattr(gaussians, field)[2] = np.nan
        kept = top_by_energy(gaussians, 2, weights)
        assert kept.sum() == 2
        assert kept[5]
        assert not kept[2] or field == "mean", "it has energy, wherever it is"


def test_gaussians_without_weight_are_pruned_first() -> None:
    weights = np.zeros((HEIGHT, WIDTH), np.uint8)
    weights[:, WIDTH // 2 :] = 255
    gaussians = scene(100, WIDTH, HEIGHT, min_scale=1, max_scale=2)
    right = gaussians.mean[:, 0] > WIDTH // 2 + 4
    left = gaussians.mean[:, 0] < WIDTH // 2 - 4
    gaussians.color[:] = np.where(left, 5, 1)[:, None]
    keep = top_by_energy(gaussians, int(right.sum()), WeightPyramid(weights))
    assert keep[right].mean() > 0.9
    assert not keep[left].any()
    assert top_by_energy(gaussians, int(right.sum()))[left].all(), "which have the most energy"


def test_of_equals_without_any_weight_the_strongest_stay() -> None:
    gaussians, black = scene(50, WIDTH, HEIGHT), WeightPyramid(np.zeros((HEIGHT, WIDTH), np.uint8))
    np.testing.assert_array_equal(top_by_energy(gaussians, 20, black), top_by_energy(gaussians, 20))


def test_gaussians_are_added_where_the_weighted_error_is() -> None:
    pixels, weights = np.full((HEIGHT, WIDTH, 3), 200, np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    weights[20:60, 90:130] = 255
    new = added(200, pixels, final_count=2000, weights=weights)
    inside = (new.mean > [86, 16]).all(axis=1) & (new.mean < [134, 64]).all(axis=1)
    assert inside.mean() > 0.95
    assert len(added(300, pixels, final_count=2000, weights=np.zeros((HEIGHT, WIDTH), np.uint8))) == 300


def test_gaussians_are_added_where_the_error_is() -> None:
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[20:52, 90:130] = [250, 128, 10]
    new = added(200, pixels, final_count=2000)
    inside = (new.mean > [84, 14]).all(axis=1) & (new.mean < [136, 58]).all(axis=1)
    assert inside.mean() > 0.95
    middle = (new.mean > [95, 25]).all(axis=1) & (new.mean < [125, 47]).all(axis=1)
    assert middle.any()
    assert np.allclose(new.color[middle], np.array([250, 128, 10]) / 255, atol=0.1), "the residual is their colour"


def test_added_gaussians_subtract_what_is_too_bright() -> None:
    bright = Gaussians(
        np.array([[80, 64]], np.float32),
        np.full((1, 2), 10, np.float32),
        np.zeros(1, np.float32),
        np.full((1, 1), 0.9, np.float32),
    )
    new = added(50, np.zeros((HEIGHT, WIDTH, 1), np.uint8), bright, final_count=1000)
    assert np.median(np.linalg.norm(new.mean - [80, 64], axis=1)) < 20
    assert np.median(new.color) < -0.2


def test_added_gaussians_lower_the_error() -> None:
    pixels, view, renderer = landscape(WIDTH, HEIGHT), View.whole(WIDTH, HEIGHT), CpuRenderer(1)
    gaussians = Gaussians.empty(3)
    together = added(300, pixels, gaussians)

    def error(which: Gaussians) -> float:
        return float(((renderer.render(which, view).clip(0, 1) - pixels / 255.0) ** 2).mean())

    assert error(together) < 0.95 * error(gaussians)


def test_gaussians_added_at_half_size_lie_in_the_whole_image() -> None:
    pixels = np.zeros((HEIGHT // 2, WIDTH // 2, 3), np.uint8)
    pixels[40:, 60:] = 200
    new = added(300, pixels, view=View(0, 0, WIDTH, HEIGHT, WIDTH // 2, HEIGHT // 2), final_count=3000)
    assert (new.mean > [110, 70]).all(axis=1).mean() > 0.9
    assert (new.mean[:, 0] > 0.9 * WIDTH).any()


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 17, 1), (41, 341, 3)])
def test_odd_shapes(shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    new = added(30, pixels)
    assert len(new) == 30
    assert ((new.mean >= 0) & (new.mean <= [shape[1], shape[0]])).all()


def test_a_perfect_rendering_still_gets_its_gaussians() -> None:
    new = added(20, np.zeros((HEIGHT, WIDTH, 3), np.uint8))
    assert len(new) == 20
    assert not new.color.any()
    assert len(added(100, np.zeros((4, 4, 3), np.uint8))) == 100


def test_gaussians_added_by_strips() -> None:
    """The strips' own random numbers differ; where Gaussians are added and what colours they have does not."""
    pixels = np.zeros((700, 40, 3), np.uint8)
    pixels[250:262, 10:30] = [250, 128, 10]  # across two strips
    pixels[600:, :] = 90
    whole = added(400, pixels, final_count=4000)
    strips = added(400, pixels, final_count=4000, strip_cells=1)
    for new in (whole, strips):
        bright = (new.mean > [8, 248]).all(axis=1) & (new.mean < [32, 264]).all(axis=1)
        assert 0.08 < bright.mean() < 0.22
        assert (new.mean[~bright, 1] > 590).mean() > 0.9
        assert new.color[bright].max() > 0.9
    assert len(added(30_000, pixels, strip_cells=1)) == 30_000, "more than cells"


def test_the_neighbors_of_strips() -> None:
    rows = np.arange(11.0)[:, None]
    strips = [rows[:4], rows[4:8], rows[8:]]
    result = [(block[:, 0].tolist(), begin, end) for block, begin, end in with_neighbors(iter(strips), 2)]
    assert result == [
        ([0, 1, 2, 3, 4, 5], 0, 4),
        ([2, 3, 4, 5, 6, 7, 8, 9], 2, 6),
        ([6, 7, 8, 9, 10], 2, 5),
    ]


def test_the_sample_depends_on_the_generator_alone() -> None:
    pixels = landscape(WIDTH, HEIGHT)
    first, again, other = added(99, pixels), added(99, pixels), added(99, pixels, seed=1)
    assert np.array_equal(first.mean, again.mean)
    assert not np.array_equal(first.mean, other.mean)
