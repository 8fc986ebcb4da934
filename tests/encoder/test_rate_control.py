from __future__ import annotations

import numpy as np
import pytest
from PIL import ImageCms

import smartsplat
from smartsplat.bitstream import container
from smartsplat.bitstream.file import to_file
from smartsplat.bitstream.quantize import Quantizer
from smartsplat.encoder.rate_control import (
    ByteBudget,
    fill_budget,
    prune_overlap,
    sample_for_coding,
)
from smartsplat.errors import LimitError, SettingsError
from smartsplat.gaussians import Gaussians
from tests.compare import scene
from tests.samples import landscape

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
IMAGE = landscape(320, 200)
QUANTIZER = Quantizer(80, 3, 320, 200, 3)


def test_budgets_count_what_gaussians_take() -> None:
    gaussians = scene(500, 320, 200)
    size = len(container.pack(to_file(gaussians, QUANTIZER)))
    plan = ByteBudget(size, 320 * 200)
    assert abs(plan.count(gaussians, QUANTIZER) - 500) < 10
    twice = ByteBudget(2 * size, 320 * 200).count(gaussians, QUANTIZER)
    assert 980 < twice < 1080
    assert ByteBudget(2 * size, 600).count(gaussians, QUANTIZER) == 600
    assert ByteBudget(10**9, 600).first_count() == 600


def test_an_approximate_count_codes_a_part_spread_over_the_image() -> None:
    gaussians, quantizer = scene(30_000, 320, 200), QUANTIZER
    plan = ByteBudget(100_000, 10**6)
    exact = plan.count(gaussians, quantizer)
    assert plan.count(gaussians, quantizer, approximate=True) == exact, "so few are all coded"
    some = sample_for_coding(gaussians, quantizer, 10_000, 1000)
    assert 7_000 < len(some) < 13_000
    assert (np.ptp(some.mean, axis=0) > [300, 180]).all()
    partial = ByteBudget(100_000, 10**6, sample_size=10_000)
    assert partial.count(gaussians, quantizer, approximate=True) == pytest.approx(exact, rel=0.06)
    gaussians.mean[:] = 1, 1
    assert len(sample_for_coding(gaussians, quantizer, 10_000, 1000)) == 30_000, (
        "they crowd where the sample may not be"
    )


@pytest.mark.parametrize("every", range(2, 13))
def test_sampled_squares_do_not_line_up(every: int) -> None:
    gaussians = scene(24_000, 320, 200)
    some = sample_for_coding(gaussians, QUANTIZER, 24_000 // every, 40)
    assert len(some) == pytest.approx(24_000 / every, rel=0.2)
    for axis, size in ((0, 320), (1, 200)):
        strips, _ = np.histogram(some.mean[:, axis], bins=5, range=(0, size))
        assert strips.min() > 0.5 * strips.mean()


@pytest.mark.parametrize("fraction", [0.99, 0.7, 0.3, 0.05])
def test_fill_prunes_those_with_the_least_energy(fraction: float) -> None:
    gaussians = scene(600, 320, 200)
    size = int(fraction * len(container.pack(to_file(gaussians, QUANTIZER))))
    data = fill_budget(gaussians, QUANTIZER, size)
    assert 0.93 * size < len(data) <= size
    kept = smartsplat.open(data).gaussians()
    energy = (kept.color**2).sum(axis=1) * kept.scale.prod(axis=1)
    everything = (gaussians.color**2).sum(axis=1) * gaussians.scale.prod(axis=1)
    expected_min_energy = np.sort(everything)[-len(kept)]
    assert energy.min() > 0.3 * expected_min_energy


def test_fill_refines_while_there_is_room() -> None:
    gaussians = scene(300, 320, 200)
    size = len(container.pack(to_file(gaussians, QUANTIZER)))
    data = fill_budget(gaussians, QUANTIZER, int(1.2 * size))
    info = smartsplat.open(data).info
    assert size < len(data) <= 1.2 * size
    assert info.gaussians == 300
    assert info.quality > QUANTIZER.quality


def test_fill_rounds_the_last_gaussian_more_coarsely_rather_than_leaving_it_out() -> None:
    fine = Quantizer(191, 3, 320, 200, 3)
    one = scene(1, 320, 200)
    size = len(container.pack(to_file(one, fine))) - 4
    data = fill_budget(one, fine, size)
    assert len(data) <= size
    assert smartsplat.open(data).info.gaussians == 1


def test_fill_of_nothing() -> None:
    data = fill_budget(Gaussians.empty(3), QUANTIZER, 100)
    assert smartsplat.open(data).info.gaussians == 0
    with pytest.raises(SettingsError, match="too small"):
        fill_budget(scene(5, 320, 200), QUANTIZER, 30)


def stripes(count: int) -> Gaussians:
    """Thin ones across an image of 256 x 192 pixels, those with the most energy last."""
    color = np.linspace(0.01, 0.1, count)[:, None]
    fields = (np.tile([128, 96], (count, 1)), np.tile([90, 0.5], (count, 1)), np.full(count, 0.6), color)
    return Gaussians(*(np.ascontiguousarray(field, np.float32) for field in fields))


def test_a_file_is_readable_however_long_its_gaussians_are() -> None:
    quantizer = Quantizer(80, 3, 256, 192, 1)
    crowded = stripes(3000)
    with pytest.raises(LimitError, match="Gaussians lie over each"):
        smartsplat.decode(container.pack(to_file(crowded, quantizer)))
    kept = prune_overlap(crowded, quantizer)
    assert smartsplat.decode(container.pack(to_file(kept, quantizer))).any()
    assert 1350 <= len(kept) < 1536  # every box is the whole image, of 12 tiles, of which four do not count
    np.testing.assert_array_equal(kept.color, crowded.color[-len(kept) :])
    assert prune_overlap(kept, quantizer) is kept
