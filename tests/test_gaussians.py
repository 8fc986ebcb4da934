"""The one data structure: its checks, its operations, and the counts and scales that follow from a ratio."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from smartsplat.gaussians import Gaussians, base_scale, nominal_count
from tests.compare import scene

FIELDS = ("mean", "scale", "rotation", "color")


def arrays(count: int = 4, channels: int = 3) -> dict[str, npt.NDArray[np.float32]]:
    gaussians = scene(count, 20, 10, channels)
    return {name: getattr(gaussians, name) for name in FIELDS}


@pytest.mark.parametrize("channels", [1, 3])
def test_accepts_arrays_of_the_promised_shapes(channels: int) -> None:
    gaussians = Gaussians(**arrays(4, channels))
    assert len(gaussians) == 4
    assert gaussians.channels == channels


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("mean", (4, 3)),
        ("mean", (5, 2)),
        ("scale", (4,)),
        ("scale", (3, 2)),
        ("rotation", (4, 1)),
        ("rotation", (5,)),
        ("color", (5, 3)),
        ("color", (4, 2)),
        ("color", (4, 4)),
        ("color", (4, 0)),
    ],
)
def test_refuses_wrong_shapes(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"Gaussians\.\w+ must"):
        Gaussians(**(arrays() | {name: np.ones(shape, np.float32)}))


@pytest.mark.parametrize("name", FIELDS)
def test_refuses_other_types_and_layouts(name: str) -> None:
    fields = arrays()
    with pytest.raises(ValueError, match=f"{name} must be C-contiguous float32"):
        Gaussians(**(fields | {name: fields[name].astype(np.float64)}))
    strided = np.repeat(fields[name], 2, axis=0)[::2]
    with pytest.raises(ValueError, match=f"{name} must be C-contiguous float32"):
        Gaussians(**(fields | {name: strided}))


@pytest.mark.parametrize("channels", [1, 3])
def test_empty_is_a_legal_set(channels: int) -> None:
    empty = Gaussians.empty(channels)
    assert len(empty) == 0
    assert empty.channels == channels
    assert len(empty.joined(scene(3, 8, 8, channels))) == 3


@pytest.mark.parametrize(
    ("index", "chosen"),
    [
        (slice(1, 3), [1, 2]),
        (slice(None, None, -2), [3, 1]),
        (np.array([2, 0, 2]), [2, 0, 2]),
        (np.array([False, True, False, True]), [1, 3]),
        (np.zeros(4, bool), []),
    ],
)
def test_indexing_keeps_every_field_together(index: slice | npt.NDArray[np.int64], chosen: list[int]) -> None:
    fields = arrays()
    picked = Gaussians(**fields)[index]
    assert len(picked) == len(chosen)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(picked, name), fields[name][chosen])
        assert getattr(picked, name).flags.c_contiguous


def test_joined_appends() -> None:
    first, second = scene(3, 20, 10, seed=1), scene(2, 20, 10, seed=2)
    both = first.joined(second)
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(both[:3], name), getattr(first, name))
        np.testing.assert_array_equal(getattr(both[3:], name), getattr(second, name))


def test_joined_refuses_other_channels() -> None:
    with pytest.raises(ValueError, match="dimension"):
        scene(3, 20, 10, channels=1).joined(scene(3, 20, 10, channels=3))


@pytest.mark.parametrize(
    ("width", "height", "ratio", "count"),
    [
        (768, 512, 20, 8426),
        (5736, 6120, 1000, 15044),
        (12684, 15898, 3000, 28807),
        (1, 1, 1, 1),
        (1, 1, 1e9, 1),
        (700, 1, 3, 100),  # exact: nothing is lost to the floor
    ],
)
def test_nominal_count_is_e5(width: int, height: int, ratio: float, count: int) -> None:
    assert nominal_count(width, height, ratio) == count


@pytest.mark.parametrize(("width", "height", "count"), [(5736, 6120, 15044), (100, 1, 7), (64, 64, 1)])
def test_base_scale_is_e14(width: int, height: int, count: int) -> None:
    """As many discs of three base scales as there are Gaussians have the image's area."""
    radius = 3 * base_scale(width, height, count)
    assert count * math.pi * radius**2 == pytest.approx(width * height)


def test_base_scale_of_known_settings() -> None:
    """The paper's ratio 1000 on a 5736 x 6120 image."""
    assert base_scale(5736, 6120, nominal_count(5736, 6120, 1000)) == pytest.approx(9.08, abs=0.01)


def test_base_scale_of_no_gaussians_is_finite() -> None:
    assert math.isfinite(base_scale(10, 10, 0))
