"""What the CPU renderer has beyond the contract: variants, threads, hostile values, arguments."""

from __future__ import annotations

import math
import os
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from smartsplat import _native
from smartsplat.gaussians import CUTOFF, EDGE, Gaussians
from smartsplat.render import COARSE_CELL, LUMA, StepSettings, View
from smartsplat.render.cpu import AdamState, CpuRenderer, runs_here
from tests.compare import scene
from tests.render.renderers import VARIANTS
from tests.render.scenes import FIELDS, HOSTILE, VIEWS, fitting, step_settings

VARIANT_PARAMS = [
    pytest.param(variant, marks=pytest.mark.skipif(not runs_here(variant), reason="this processor cannot run it"))
    for variant in VARIANTS
]

# ---- threads --------------------------------------------------------------------------------------------------------


def test_strips_of_the_residual_are_its_rows() -> None:
    renderer, view = CpuRenderer(2), View.whole(70, 600)
    gaussians, target = scene(60, 70, 600), np.random.default_rng(4).integers(0, 256, (600, 70, 3), np.uint8)
    strips = list(renderer.residual_strips(gaussians, target, view, 8, 1))
    assert [len(strip) for strip in strips] == [32, 32, 11]
    assert np.array_equal(np.concatenate(strips), renderer.residual(gaussians, target, view, 8))


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("variant", VARIANT_PARAMS)
def test_results_do_not_depend_on_the_number_of_threads(variant: str, threads: int) -> None:
    view = View.whole(300, 270)
    _, target = fitting(view)
    gaussians = scene(9000, 300, 270)  # several of the pieces that threads take
    d_image = np.random.default_rng(0).normal(size=(270, 300, 3)).astype(np.float32)
    settings = step_settings("all", view)
    one, many = CpuRenderer(1, variant), CpuRenderer(threads, variant)
    assert many.threads == threads
    assert np.array_equal(one.render(gaussians, view), many.render(gaussians, view))
    assert np.array_equal(one.render_samples(gaussians, view), many.render_samples(gaussians, view))
    assert np.array_equal(one.residual(gaussians, target, view, 8), many.residual(gaussians, target, view, 8))
    gradients = [renderer.render_gradient(gaussians, view, d_image) for renderer in (one, many)]
    after = []
    for renderer in (one, many):
        params = renderer.upload(gaussians)
        state = renderer.adam_state(params)
        results = [renderer.step(params, state, target, view, settings) for _ in range(2)]
        after.append((params, state, results))
    for field in FIELDS:
        assert np.array_equal(*(getattr(gradient, field) for gradient in gradients)), field
        assert np.array_equal(*(getattr(params, field) for params, _, _ in after)), field
    assert np.array_equal(after[0][1].first, after[1][1].first)
    assert np.array_equal(after[0][1].second, after[1][1].second)
    assert after[0][2] == after[1][2]


# ---- hostile values -------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_still_renders() -> None:
    renderer, gaussians, view = CpuRenderer(2), scene(50, 200, 100), View.whole(200, 100)
    expected = renderer.render_samples(gaussians, view)  # the workers have run
    child = os.fork()
    if child == 0:  # the workers did not come along
        os._exit(0 if np.array_equal(renderer.render_samples(gaussians, view), expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_stages_of_a_step_are_timed() -> None:
    gaussians, target = fitting(VIEWS["75x53"])
    renderer = CpuRenderer(1)
    renderer.step(gaussians, renderer.adam_state(gaussians), target, VIEWS["75x53"], StepSettings())
    seconds = renderer.stage_seconds()
    assert {name for name, value in seconds.items() if value > 0} == set(seconds) - {"store"}
    renderer.reset_clocks()
    assert set(renderer.stage_seconds().values()) == {0.0}


@pytest.mark.parametrize("variant", VARIANT_PARAMS)
def test_an_image_of_hostile_values_is_finite(variant: str) -> None:
    random = np.random.default_rng(8)
    values = np.array([*HOSTILE, 1.0, 30.0, -5.0, 1e10, 1e-10], np.float32)
    count = 3000
    picked = (random.choice(values, (count, *shape)) for shape in ((2,), (2,), (), (3,)))
    gaussians = Gaussians(*(np.ascontiguousarray(field, np.float32) for field in picked))
    modest = np.abs(gaussians.color).max(axis=1) < 1e30  # sums of larger ones may well be infinite
    image = CpuRenderer(2, variant).render(gaussians[modest], View.whole(130, 70))
    assert np.isfinite(image).all()
    assert CpuRenderer(2, variant).render_samples(gaussians, View.whole(130, 70)).shape == (70, 130, 3)
    CpuRenderer(2, variant).render_gradient(gaussians, View.whole(130, 70), np.ones((70, 130, 3), np.float32))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e300])
def test_a_view_from_nowhere_is_black(number: float) -> None:
    gaussians = scene(20, 30, 30)
    assert not CpuRenderer(1).render(gaussians, View(number, 0, 30, 30, 30, 30)).any()


# ---- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["", "v1", "v22", "V3", "avx2"])
def test_unknown_variant(variant: str) -> None:
    with pytest.raises(ValueError, match="variant"):
        CpuRenderer(1, variant)


def test_the_default_is_the_best_variant() -> None:
    assert CpuRenderer(1).variant == [variant for variant in VARIANTS if runs_here(variant)][-1]


def native_view(*values: float) -> Any:
    """What the compiled functions read of a View, unchecked."""
    return SimpleNamespace(**dict(zip(("x", "y", "scale_x", "scale_y", "columns", "rows"), values, strict=True)))


@pytest.mark.parametrize(
    "values", [(0, 0, 1, 1, 0, 5), (0, 0, 1, 1, 5, -1), (0, 0, 0, 1, 5, 5), (0, 0, 1, math.nan, 5, 5)]
)
def test_empty_views(values: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="empty view"):
        _native.Fitter(1).render(scene(2, 5, 5), native_view(*values), np.empty((5, 5, 3), np.float32))


@pytest.mark.parametrize(
    ("place", "shape"),
    [(0, (3, 2)), (0, (2, 3)), (1, (3, 2)), (2, (3,)), (2, (2, 1)), (3, (2, 2)), (3, (3, 3)), (3, (2,))],
)
def test_fields_of_other_shapes(place: int, shape: tuple[int, ...]) -> None:
    arrays = dict(vars(scene(2, 5, 5)))
    arrays[FIELDS[place]] = np.zeros(shape, np.float32)
    given: Any = SimpleNamespace(**arrays)
    with pytest.raises((ValueError, TypeError)):
        _native.Fitter(1).render(given, View.whole(5, 5), np.empty((5, 5, 3), np.float32))


def test_fields_of_another_type_or_layout_are_not_converted() -> None:
    """What is written into a converted copy would be lost."""
    view, image = View.whole(5, 5), np.empty((5, 5, 3), np.float32)
    good = vars(scene(2, 5, 5))
    for wrong in (good["mean"].astype(np.float64), np.asfortranarray(good["mean"]), good["mean"].tolist()):
        given: Any = SimpleNamespace(**(good | {"mean": wrong}))
        with pytest.raises(TypeError, match="mean"):
            _native.Fitter(1).render(given, view, image)


@pytest.mark.parametrize("shape", [(10, 20), (20, 10, 3), (10, 20, 1), (11, 20, 3), (10, 20, 3, 1)])
def test_images_of_other_shapes(shape: tuple[int, ...]) -> None:
    gaussians, renderer, view = scene(4, 20, 10), CpuRenderer(1), View.whole(20, 10)
    with pytest.raises((ValueError, TypeError)):
        renderer.render_gradient(gaussians, view, np.zeros(shape, np.float32))
    with pytest.raises((ValueError, TypeError)):
        renderer.residual(gaussians, np.zeros(shape, np.uint8), view, 4)
    with pytest.raises((ValueError, TypeError)):
        renderer.step(gaussians, renderer.adam_state(gaussians), np.zeros(shape, np.uint8), view, StepSettings())


@pytest.mark.parametrize(("top", "rows"), [(-256, 256), (1, 256), (0, 255), (256, 257), (512, 1)])
def test_rows_that_are_not_a_strip(top: int, rows: int) -> None:
    fitter = _native.Fitter(1)
    fitter.prepare_strips(scene(3, 20, 512), View.whole(20, 512), math.inf, math.inf)
    with pytest.raises(ValueError, match="rows of the view"):
        fitter.render_rows(top, np.empty((rows, 20, 3), np.uint8))
    with pytest.raises(ValueError, match="rows of the view"):
        fitter.residual(top, np.empty((rows, 20, 3), np.uint8), None, 4)


@pytest.mark.parametrize("cell", [0, -4, 3, 128])
def test_cells_that_do_not_divide_the_tile(cell: int) -> None:
    with pytest.raises(ValueError, match="cell"):
        CpuRenderer(1).residual(scene(4, 20, 10), np.zeros((10, 20, 3), np.uint8), View.whole(20, 10), cell)


def test_state_of_another_set() -> None:
    gaussians, renderer = scene(4, 20, 10), CpuRenderer(1)
    target, view = np.zeros((10, 20, 3), np.uint8), View.whole(20, 10)
    short = renderer.adam_state(gaussians[:3])
    with pytest.raises(ValueError, match="moments"):
        renderer.step(gaussians, short, target, view, StepSettings())
    grey = renderer.adam_state(scene(4, 20, 10, 1))
    with pytest.raises(ValueError, match="moments"):
        renderer.step(gaussians, grey, target, view, StepSettings())
    good = renderer.adam_state(gaussians)
    few_ages = AdamState(good.first, good.second, good.age[:3])
    with pytest.raises(ValueError, match="length"):
        renderer.step(gaussians, few_ages, target, view, StepSettings())


@pytest.mark.parametrize("name", ["first", "second", "age"])
def test_state_of_another_type_is_refused(name: str) -> None:
    """It would be converted, and the update lost with the copy."""
    good = vars(CpuRenderer(1).adam_state(scene(4, 20, 10)))
    for wrong in (good[name].astype(np.float64), np.repeat(good[name], 2, axis=0)[::2]):
        with pytest.raises(ValueError, match="state must be C-contiguous"):
            AdamState(**(good | {name: wrong}))


def test_read_only_parameters_are_refused_by_what_writes_to_them() -> None:
    gaussians, renderer = scene(4, 20, 10), CpuRenderer(1)
    state = renderer.adam_state(gaussians)
    gaussians.mean.flags.writeable = False
    with pytest.raises(TypeError):
        renderer.step(gaussians, state, np.zeros((10, 20, 3), np.uint8), View.whole(20, 10), StepSettings())


def test_the_window_is_the_same_in_both_languages() -> None:
    """Where it ends is a constant of the format, stated once in Python and once in C++."""
    assert _native.CUTOFF == CUTOFF
    assert _native.COARSE_CELL == COARSE_CELL
    np.testing.assert_array_equal(np.float32(_native.LUMA), np.float32(LUMA))
    assert np.float32(_native.EDGE) == np.float32(EDGE)
