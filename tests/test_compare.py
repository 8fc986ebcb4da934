"""The comparers that other tests rely on."""

import numpy as np
import pytest

from tests.compare import relative_error, scene, slopes


def test_relative_error_is_the_ratio_of_the_norms() -> None:
    assert relative_error([3.0, 4.5], [3.0, 4.0]) == pytest.approx(0.1)
    assert relative_error(np.ones((2, 3), np.float32), np.ones((2, 3))) == 0


def test_relative_error_sees_one_wrong_value_among_many() -> None:
    expected = np.ones(10_000)
    actual = expected.copy()
    actual[1234] = 1.5
    assert relative_error(actual, expected) == pytest.approx(0.005)


def test_relative_error_of_nothing_and_of_zeros() -> None:
    assert relative_error([], []) == 0
    assert relative_error([0.0, 0.0], [0.0, 0.0]) == 0
    assert relative_error([1e-9], [0.0]) > 1e200


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_relative_error_never_accepts_what_is_not_finite(value: float) -> None:
    assert relative_error([value, 1.0], [1.0, 1.0]) == float("inf")
    assert relative_error([value], [value]) == float("inf")


def test_relative_error_does_not_broadcast() -> None:
    assert relative_error([1.0], [1.0, 1.0]) == float("inf")


def test_scene_has_the_size_and_spread_it_promises() -> None:
    gaussians = scene(500, 80, 30, channels=1, min_scale=0.5, max_scale=4)
    assert len(gaussians) == 500
    assert gaussians.channels == 1
    assert gaussians.scale.min() >= 0.5
    assert gaussians.scale.max() <= 4
    inside = (gaussians.mean >= 0) & (gaussians.mean <= [80, 30])
    assert 0.7 < inside.all(axis=1).mean() < 1  # some lie beyond the edge
    assert (gaussians.color < 0).any()


def test_scene_depends_on_its_seed_alone() -> None:
    first, again, other = scene(5, 9, 9, seed=3), scene(5, 9, 9, seed=3), scene(5, 9, 9, seed=4)
    assert np.array_equal(first.mean, again.mean)
    assert not np.array_equal(first.mean, other.mean)


def test_slopes_of_a_cubic() -> None:
    values = np.array([[1.0, -2.0], [0.5, 3.0]])
    before = values.copy()
    assert np.allclose(slopes(lambda: float(np.sum(values**3)), values), 3 * before**2, atol=1e-8)
    assert (values == before).all()
