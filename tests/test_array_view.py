from __future__ import annotations

from pathlib import Path
from typing import Any

import dask.array
import numpy as np
import pytest

import smartsplat
from smartsplat.array_view import ArrayView
from smartsplat.bitstream import container
from smartsplat.bitstream.file import to_file
from smartsplat.bitstream.quantize import Quantizer
from smartsplat.errors import LimitError, SettingsError
from smartsplat.limits import Limits
from tests.compare import scene

DATA = container.pack(to_file(scene(600, 301, 203, max_scale=12), Quantizer(90, 3, 301, 203, 3)))
ALPHA = Path("tests/vectors/alpha.sspl").read_bytes()
KEYS: list[Any] = [
    np.s_[:],
    np.s_[...],
    np.s_[5],
    np.s_[-1],
    np.s_[5, 7],
    np.s_[5, 7, 1],
    np.s_[..., 0],
    np.s_[..., -1:],
    np.s_[3, ...],
    np.s_[10:50, 20:90],
    np.s_[10:50:7, 200:20:-9],
    np.s_[::-1, ::-1, ::-1],
    np.s_[50:10, 3:9],
    np.s_[4:9, 7:7, 0],
    np.s_[1000:, :5],
    np.s_[np.int64(3), 4:8],
]


def close(actual: np.ndarray, expected: np.ndarray) -> None:
    """Equal but for rounding near ties, as coarser grids start where a region does."""
    assert actual.shape == expected.shape
    assert actual.dtype == expected.dtype
    assert actual.size == 0 or np.abs(actual.astype(int) - expected).max() <= 1


@pytest.mark.parametrize("level", [0, 1, 3])
@pytest.mark.parametrize("key", KEYS, ids=str)
def test_it_is_indexed_as_numpy_indexes(level: int, key: Any) -> None:
    reader = smartsplat.open(DATA)
    view, whole = reader.as_array(level=level), reader.read(scale=2.0**-level)
    if level == 3 and key == np.s_[5, 7, 1]:
        key = np.s_[5, 7, 2]
    close(np.asarray(view[key]), whole[key])


def test_it_looks_like_an_array() -> None:
    reader = smartsplat.open(ALPHA)
    view = reader.as_array()
    assert (view.shape, view.ndim, view.size, len(view)) == ((40, 50, 4), 3, 8000, 40)
    assert (view.dtype, view.nbytes) == (np.uint16, 16000)
    assert repr(view) == "<ArrayView (40, 50, 4) uint16>"
    assert np.array_equal(np.asarray(view), reader.read())
    assert np.asarray(view, float).dtype == float
    with pytest.raises(ValueError, match="a new array"):
        np.asarray(view, copy=False)
    assert sum(1 for _ in view) == 40


@pytest.mark.parametrize("options", [{}, {"dtype": "uint8"}, {"background": (9, 200, 30)}, {"grain": False}], ids=str)
def test_options_are_those_of_read(options: dict[str, Any]) -> None:
    for data in (ALPHA, DATA, Path("tests/vectors/grain.sspl").read_bytes()):
        reader = smartsplat.open(data)
        view, whole = reader.as_array(**options), reader.read(**options)
        assert (view.shape, view.dtype) == (whole.shape, whole.dtype)
        close(view[3:9, 10:20], whole[3:9, 10:20])


@pytest.mark.parametrize("key", [(0, 0, 0, 0), (..., ...), None, "a", [1, 2], True, np.zeros(3, bool), 1.5, (0, 400)])
def test_keys_that_it_does_not_take(key: Any) -> None:
    with pytest.raises(IndexError):
        smartsplat.open(DATA).as_array()[key]


def test_limits_and_closed_readers() -> None:
    view = smartsplat.open(DATA, limits=Limits(pixels=301 * 203)).as_array()
    assert view[:].shape == (203, 301, 3)
    with pytest.raises(SettingsError, match="level"):
        smartsplat.open(DATA).as_array(level=-1)
    with smartsplat.open(DATA) as reader:
        kept = reader.as_array()
    with pytest.raises(SettingsError, match="closed"):
        kept[0]
    reader = smartsplat.open(DATA)
    reader._limits = Limits(pixels=100)
    with pytest.raises(LimitError, match="above the limits"):
        reader.as_array()[:20, :20]
    assert reader.as_array()[:10, :10].shape == (10, 10, 3)


def test_levels_of_a_multiscale_image() -> None:
    reader = smartsplat.open("examples/seeding.sspl")
    levels = [reader.as_array(level=level) for level in range(reader.levels)]
    assert [level.shape for level in levels] == [
        (2988, 5312, 3),
        (1494, 2656, 3),
        (747, 1328, 3),
        (374, 664, 3),
        (187, 332, 3),
    ]
    assert smartsplat.open(ALPHA).levels == 1


def test_dask_takes_it() -> None:
    reader = smartsplat.open(DATA)
    view = reader.as_array()
    assert isinstance(view, ArrayView)
    lazy = dask.array.from_array(view, chunks=(64, 100, -1))
    close(lazy.compute(), reader.read())
    close(lazy[10:90, 5:250:3].compute(), reader.read()[10:90, 5:250:3])
    assert float(lazy.mean().compute()) == pytest.approx(reader.read().mean(), abs=0.01)
