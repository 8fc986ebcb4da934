"""Every compiled kernel variant that this processor runs, against the reference."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from smartsplat import _native
from smartsplat.gaussians import Gaussians
from smartsplat.raster import StepResult, StepSettings, View, reference
from smartsplat.raster.native import Backend, State, available_threads, fields, runs_here
from tests.compare import relative_error, scene

FIELDS = ("mean", "scale", "rotation", "color")
VALUE = 5e-5  # largest error of a rendered value for colours of about 1: the kernels' exponentials are re-anchored
GRADIENT = 1e-4  # relative, as a vector over all Gaussians


def mark(variant: str) -> object:
    reason = f"this processor cannot run the {variant} kernels"
    return pytest.param(variant, marks=[] if runs_here(variant) else pytest.mark.skip(reason=reason))


X86 = not runs_here("base")
VARIANTS = [mark(variant) for variant in (("v2", "v3", "v4") if X86 else ("base",))]


def stack(*sets: Gaussians) -> Gaussians:
    first, *rest = sets
    for other in rest:
        first = first.joined(other)
    return first


def gaussian(
    mean: tuple[float, float],
    scale: tuple[float, float],
    rotation: float = 0,
    color: tuple[float, ...] = (1, 0.5, -0.3),
) -> Gaussians:
    return Gaussians(*(np.array([field], np.float32) for field in (mean, scale, rotation, color)))


def thin(width: float, height: float, shorter: float) -> Gaussians:
    """Aspect 64 at every angle, the centres a little apart."""
    turns = np.linspace(0, math.pi, 17)
    return stack(
        *(
            gaussian((width / 2 + turn, height / 2 - turn / 3), (64 * shorter, shorter), turn, (0.2, 0.1, -0.1))
            for turn in turns
        )
    )


SCENES: dict[str, tuple[Gaussians, View]] = {
    "1x1": (scene(3, 1, 1), View.whole(1, 1)),
    "1x17": (scene(5, 17, 1), View.whole(17, 1)),
    "17x1 grey": (scene(5, 1, 17, 1), View.whole(1, 17)),
    "41x341": (scene(40, 341, 41), View.whole(341, 41)),
    "65x64 grey": (scene(25, 65, 64, 1), View.whole(65, 64)),
    "300x270": (scene(60, 300, 270, largest=30), View.whole(300, 270)),
    "no Gaussians": (Gaussians.empty(3), View.whole(70, 40)),
    "one": (gaussian((20.3, 11.8), (3, 2), 0.4), View.whole(40, 25)),
    "all in one tile": (scene(150, 40, 40), View.whole(200, 140)),
    "one over all tiles": (gaussian((100, 80), (150, 90), 0.5), View.whole(260, 200)),
    "thin, short": (thin(90, 80, 0.25), View.whole(90, 80)),
    "thin, long": (thin(200, 180, 1.5), View.whole(200, 180)),
    "tiny": (scene(400, 70, 70, smallest=0.05, largest=0.4), View.whole(70, 70)),
    "huge": (scene(8, 100, 90, smallest=300, largest=60_000), View.whole(100, 90)),
    "region": (scene(40, 100, 80), View(10.5, 5, 60, 50, 60, 50)),
    "minified": (scene(60, 300, 200), View.whole(300, 200, 37, 29)),
    "magnified": (scene(15, 40, 30), View(3, 4, 30, 20, 91, 67)),
    "minified x, magnified y": (scene(30, 100, 40), View(0, 5, 100, 20, 33, 77)),
}


@cache
def expected(name: str) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], reference.Params]:
    """The reference's rendering of a scene, a random d_image, and the gradient for it."""
    gaussians, view = SCENES[name]
    params = reference.upload(gaussians)
    image = reference.render(params, view)
    d_image = np.random.default_rng(1).normal(size=image.shape)
    return image, d_image, reference.render_gradient(params, view, d_image.astype(np.float32).astype(np.float64))


# ---- rendering and its gradient -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_renders_as_the_reference(variant: str, name: str) -> None:
    gaussians, view = SCENES[name]
    image, _, _ = expected(name)
    backend = Backend(2, variant, exact=True)
    rendered = backend.render(gaussians, view)
    assert rendered.shape == image.shape
    assert np.abs(rendered - image).max(initial=0) < VALUE * max(1.0, float(np.abs(gaussians.color).max(initial=0)))

    bytes_ = backend.render_bytes(gaussians, view)
    assert bytes_.dtype == np.uint8
    difference = np.abs(bytes_.astype(int) - reference.to_bytes(image))
    assert difference.max(initial=0) <= 1
    assert np.count_nonzero(difference) <= 0.01 * difference.size + 1


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_is_the_references(variant: str, name: str) -> None:
    gaussians, view = SCENES[name]
    _, d_image, gradient = expected(name)
    found = Backend(2, variant, exact=True).render_gradient(gaussians, view, d_image.astype(np.float32))
    for field in FIELDS:
        wanted, got = getattr(gradient, field), getattr(found, field)
        assert relative_error(got, wanted) < GRADIENT, field
        if wanted.any():
            got = got.astype(np.float64)
            cosine = np.vdot(got, wanted) / (np.linalg.norm(got) * np.linalg.norm(wanted))
            assert cosine > 1 - 1e-8, field


def test_every_scene_draws_something() -> None:
    """Otherwise the comparisons above would pass on black pictures."""
    for name, (gaussians, _) in SCENES.items():
        image, _, gradient = expected(name)
        assert bool(image.any()) == (len(gaussians) > 0), name
        assert bool(gradient.color.any()) == (len(gaussians) > 0), name


# ---- steps ----------------------------------------------------------------------------------------------------------

STEPS = {
    "l1": StepSettings(l1=1, l2=0),
    "l2": StepSettings(l2=1),
    "ssim": StepSettings(l2=0, ssim=1),
    "paper": StepSettings(l1=0.9, l2=0, ssim=0.1, beta2=0.999),
    "size": StepSettings(size=0.01, size_floor=0.3),
    "all": StepSettings(l1=0.3, l2=0.5, ssim=0.2, size=0.01, size_floor=2, beta1=0.8),
}
IN_PIXELS = {"relative": False, "rate_mean_x": 0.3, "rate_mean_y": 0.2, "rate_scale": 0.05}
STEP_SCENES = {
    "300x270": View.whole(300, 270),
    "75x53": View.whole(75, 53),
    "1x17": View.whole(17, 1),
    "1x1": View.whole(1, 1),
    "half size": View.whole(80, 60, 40, 30),
}


def fitting(view: View, channels: int = 3) -> tuple[Gaussians, npt.NDArray[np.uint8]]:
    width, height = int(view.width), int(view.height)
    gaussians = scene(3 + width * height // 1000, width, height, channels, smallest=0.8, largest=9)
    # No black and no white: there the sign of an error of zero would depend on the last digit.
    target = np.random.default_rng(2).integers(1, 255, (view.rows, view.columns, channels), dtype=np.uint8)
    return gaussians, target


@cache
def reference_steps(
    loss: str, view_name: str, relative: bool, channels: int
) -> tuple[reference.Params, reference.State, tuple[StepResult, ...]]:
    view = STEP_SCENES[view_name]
    gaussians, target = fitting(view, channels)
    params = reference.upload(gaussians)
    state = reference.start(params)
    settings = step_settings(loss, view, relative)
    results = tuple(reference.step(params, state, target, view, settings) for _ in range(2))
    return params, state, results


def step_settings(loss: str, view: View, relative: bool) -> StepSettings:
    # A large epsilon: with the usual one Adam's first moves are the signs of the gradients, however small.
    settings = replace(STEPS[loss], epsilon=1e-6, width=int(view.width), height=int(view.height))
    return settings if relative else replace(settings, **IN_PIXELS)


STEP_CASES = [
    *((loss, "75x53", relative, 3) for loss in STEPS for relative in (True, False)),
    *(("all", view, True, 3) for view in ("300x270", "1x17", "1x1", "half size")),
    ("paper", "75x53", False, 1),
]


@pytest.mark.parametrize("case", STEP_CASES, ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_steps_as_the_reference(variant: str, case: tuple[str, str, bool, int]) -> None:
    loss, view_name, relative, channels = case
    view = STEP_SCENES[view_name]
    gaussians, target = fitting(view, channels)
    wanted, wanted_state, wanted_results = reference_steps(*case)
    backend = Backend(2, variant, exact=True)
    params = backend.upload(gaussians)
    state = backend.start(params)
    for result in wanted_results:
        found = backend.step(params, state, target, view, step_settings(loss, view, relative))
        assert found.loss == pytest.approx(result.loss, rel=1e-5)
        assert found.mean_square == pytest.approx(result.mean_square, rel=1e-5)
    assert relative_error(state.first, wanted_state.first) < GRADIENT
    assert relative_error(state.second, wanted_state.second) < 2 * GRADIENT
    assert state.age.tolist() == wanted_state.age.tolist() == [2] * len(gaussians)
    for field in FIELDS:
        start = getattr(gaussians, field).astype(np.float64)
        moved, wanted_move = getattr(params, field) - start, getattr(wanted, field) - start
        # Parameters are stored in float32: a move is known to a few of their last digits.
        assert np.linalg.norm(moved - wanted_move) < 1e-3 * np.linalg.norm(wanted_move) + 1e-7 * np.linalg.norm(start)


@pytest.mark.parametrize("level", [0, 255])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("variant", VARIANTS)
def test_colours_rest_where_black_or_white_is_met(variant: str, channels: int, level: int) -> None:
    """Adam makes a step of full size of any gradient: what rounding leaves of no error at all would let them drift."""
    scale, color = np.full((1, 2), 50, np.float32), np.full((1, channels), 9 if level else -9, np.float32)
    drawn = Gaussians(np.array([[20, 15]], np.float32), scale, np.zeros(1, np.float32), color)
    target = np.full((30, 40, channels), level, np.uint8)
    backend = Backend(1, variant)
    state = backend.start(drawn)
    result = backend.step(drawn, state, target, View.whole(40, 30), StepSettings(l1=0.5, l2=0.5))
    assert result.loss == 0
    assert not state.first.any()
    assert not backend.residual(drawn, target, View.whole(40, 30), 4).any()


@pytest.mark.parametrize("variant", VARIANTS)
def test_steps_keep_to_their_bounds(variant: str) -> None:
    gaussians, target = fitting(STEP_SCENES["75x53"])
    backend = Backend(2, variant)
    params = backend.upload(gaussians)
    state = backend.start(params)
    settings = StepSettings(
        relative=False,
        rate_mean_x=40,
        rate_mean_y=40,
        rate_scale=5,
        smallest_scale=0.5,
        largest_scale=8,
        largest_aspect=4,
        width=75,
        height=53,
    )
    for _ in range(3):
        backend.step(params, state, target, STEP_SCENES["75x53"], settings)
    assert params.mean.min() >= 0
    assert (params.mean.max(axis=0) <= [75, 53]).all()
    assert params.scale.min() >= 0.5
    assert params.scale.max() <= 8
    assert (params.scale.max(axis=1) / params.scale.min(axis=1)).max() <= 4 + 1e-5


@pytest.mark.parametrize("cell", [1, 4, 16, 64])
@pytest.mark.parametrize("variant", VARIANTS)
def test_residual_is_the_references(variant: str, cell: int) -> None:
    view = STEP_SCENES["75x53"]
    gaussians, target = fitting(view)
    wanted = reference.residual(reference.upload(gaussians), target, view, cell)
    found = Backend(2, variant).residual(gaussians, target, view, cell)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() < VALUE


# ---- threads --------------------------------------------------------------------------------------------------------


def test_strips_of_the_residual_are_its_rows() -> None:
    backend, view = Backend(2), View.whole(70, 600)
    gaussians, target = scene(60, 70, 600), np.random.default_rng(4).integers(0, 256, (600, 70, 3), np.uint8)
    strips = list(backend.residual_strips(gaussians, target, view, 8, 1))
    assert [len(strip) for strip in strips] == [32, 32, 11]
    assert np.array_equal(np.concatenate(strips), backend.residual(gaussians, target, view, 8))


@pytest.mark.parametrize("threads", [2, 3])
@pytest.mark.parametrize("variant", VARIANTS)
def test_results_do_not_depend_on_the_number_of_threads(variant: str, threads: int) -> None:
    view = View.whole(300, 270)
    _, target = fitting(view)
    gaussians = scene(9000, 300, 270)  # several of the pieces that threads take
    d_image = np.random.default_rng(0).normal(size=(270, 300, 3)).astype(np.float32)
    settings = step_settings("all", view, True)
    one, many = Backend(1, variant), Backend(threads, variant)
    assert many._rasterizer.threads == threads
    assert np.array_equal(one.render(gaussians, view), many.render(gaussians, view))
    assert np.array_equal(one.render_bytes(gaussians, view), many.render_bytes(gaussians, view))
    assert np.array_equal(one.residual(gaussians, target, view, 8), many.residual(gaussians, target, view, 8))
    gradients = [backend.render_gradient(gaussians, view, d_image) for backend in (one, many)]
    after = []
    for backend in (one, many):
        params = backend.upload(gaussians)
        state = backend.start(params)
        results = [backend.step(params, state, target, view, settings) for _ in range(2)]
        after.append((params, state, results))
    for field in FIELDS:
        assert np.array_equal(*(getattr(gradient, field) for gradient in gradients)), field
        assert np.array_equal(*(getattr(params, field) for params, _, _ in after)), field
    assert np.array_equal(after[0][1].first, after[1][1].first)
    assert np.array_equal(after[0][1].second, after[1][1].second)
    assert after[0][2] == after[1][2]


# ---- hostile values -------------------------------------------------------------------------------------------------

HOSTILE = [math.nan, math.inf, -math.inf, 3e38, -3e38, 1e-45, 0.0]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_still_draws() -> None:
    backend, gaussians, view = Backend(2), scene(50, 200, 100), View.whole(200, 100)
    wanted = backend.render_bytes(gaussians, view)  # the workers have run
    child = os.fork()
    if child == 0:  # the workers did not come along
        os._exit(0 if np.array_equal(backend.render_bytes(gaussians, view), wanted) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_stages_of_a_step_are_timed() -> None:
    gaussians, target = fitting(STEP_SCENES["75x53"])
    backend = Backend(1)
    backend.step(gaussians, backend.start(gaussians), target, STEP_SCENES["75x53"], StepSettings())
    seconds = backend.stage_seconds()
    assert {name for name, value in seconds.items() if value > 0} == set(seconds) - {"store"}
    backend.reset_clocks()
    assert set(backend.stage_seconds().values()) == {0.0}


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize("place", [(field, column) for field in FIELDS for column in (0, 1)], ids=str)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_hostile_gaussian_does_not_spoil_the_others(variant: str, place: tuple[str, int], value: float) -> None:
    """It is drawn if its values come out finite, and left out otherwise; the rest is as without it."""
    field, column = place
    view = View.whole(75, 53)
    good, target = fitting(view)
    bad = gaussian((30, 20), (4, 3), 0.4)
    values = getattr(bad, field)
    values[(0, column) if values.ndim == 2 else 0] = value
    backend = Backend(2, variant)
    image = backend.render(good.joined(bad), view)
    drawn = math.isfinite(value) and not (field == "scale" and abs(value) < 1e-30)
    assert np.isfinite(image).all()
    if not drawn:
        assert np.array_equal(image, backend.render(good, view))
    backend.render_bytes(bad, view)

    params = backend.upload(good.joined(bad))
    state = backend.start(params)
    alone = backend.upload(good)
    state_alone = backend.start(alone)
    settings = step_settings("l2", view, True)
    backend.step(params, state, target, view, settings)
    backend.step(alone, state_alone, target, view, settings)
    for name in FIELDS:
        kept = getattr(params, name)[: len(good)]
        assert np.isfinite(kept).all(), name
        if not drawn:
            assert np.array_equal(kept, getattr(alone, name)), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_picture_of_hostile_values_is_finite(variant: str) -> None:
    random = np.random.default_rng(8)
    values = np.array([*HOSTILE, 1.0, 30.0, -5.0, 1e10, 1e-10], np.float32)
    count = 3000
    picked = (random.choice(values, (count, *shape)) for shape in ((2,), (2,), (), (3,)))
    gaussians = Gaussians(*(np.ascontiguousarray(field, np.float32) for field in picked))
    modest = np.abs(gaussians.color).max(axis=1) < 1e30  # sums of larger ones may well be infinite
    image = Backend(2, variant).render(gaussians[modest], View.whole(130, 70))
    assert np.isfinite(image).all()
    assert Backend(2, variant).render_bytes(gaussians, View.whole(130, 70)).shape == (70, 130, 3)
    Backend(2, variant).render_gradient(gaussians, View.whole(130, 70), np.ones((70, 130, 3), np.float32))


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf, 1e300])
def test_a_view_from_nowhere_is_black(number: float) -> None:
    gaussians = scene(20, 30, 30)
    assert not Backend(1).render(gaussians, View(number, 0, 30, 30, 30, 30)).any()


# ---- arguments ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variant", ["", "v1", "v22", "V3", "avx2"])
def test_unknown_variant(variant: str) -> None:
    with pytest.raises(ValueError, match="variant"):
        Backend(1, variant)


def test_the_default_is_the_best_variant() -> None:
    names = [case.values[0] for case in VARIANTS if not case.marks]
    assert Backend(1).variant == names[-1]


def test_available_threads() -> None:
    assert available_threads() >= 1


def whole(gaussians: Gaussians, width: int = 20, height: int = 10) -> tuple[object, ...]:
    return fields(gaussians), (0.0, 0.0, 1.0, 1.0, width, height)


@pytest.mark.parametrize(
    "area", [(0, 0, 1, 1, 0, 5), (0, 0, 1, 1, 5, -1), (0, 0, 0, 1, 5, 5), (0, 0, 1, math.nan, 5, 5)]
)
def test_empty_views(area: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="empty view"):
        _native.Rasterizer(1).render(fields(scene(2, 5, 5)), area, np.empty((5, 5, 3), np.float32))


@pytest.mark.parametrize(
    ("place", "shape"),
    [(0, (3, 2)), (0, (2, 3)), (1, (3, 2)), (2, (3,)), (2, (2, 1)), (3, (2, 2)), (3, (3, 3)), (3, (2,))],
)
def test_fields_of_other_shapes(place: int, shape: tuple[int, ...]) -> None:
    given = list(fields(scene(2, 5, 5)))
    given[place] = np.zeros(shape, np.float32)
    with pytest.raises((ValueError, TypeError)):
        _native.Rasterizer(1).render(tuple(given), (0, 0, 1, 1, 5, 5), np.empty((5, 5, 3), np.float32))


@pytest.mark.parametrize("shape", [(10, 20), (20, 10, 3), (10, 20, 1), (11, 20, 3), (10, 20, 3, 1)])
def test_pictures_of_other_shapes(shape: tuple[int, ...]) -> None:
    gaussians, backend, view = scene(4, 20, 10), Backend(1), View.whole(20, 10)
    with pytest.raises((ValueError, TypeError)):
        backend.render_gradient(gaussians, view, np.zeros(shape, np.float32))
    with pytest.raises((ValueError, TypeError)):
        backend.residual(gaussians, np.zeros(shape, np.uint8), view, 4)
    with pytest.raises((ValueError, TypeError)):
        backend.step(gaussians, backend.start(gaussians), np.zeros(shape, np.uint8), view, StepSettings())


@pytest.mark.parametrize(("top", "rows"), [(-256, 256), (1, 256), (0, 255), (256, 257), (512, 1)])
def test_rows_that_are_not_a_strip(top: int, rows: int) -> None:
    rasterizer = _native.Rasterizer(1)
    rasterizer.prepare_strips(fields(scene(3, 20, 512)), (0.0, 0.0, 1.0, 1.0, 20, 512), math.inf)
    with pytest.raises(ValueError, match="rows of the view"):
        rasterizer.draw_bytes(top, np.empty((rows, 20, 3), np.uint8))
    with pytest.raises(ValueError, match="rows of the view"):
        rasterizer.residual(top, np.empty((rows, 20, 3), np.uint8), 4)


@pytest.mark.parametrize("cell", [0, -4, 3, 128])
def test_cells_that_do_not_divide_the_tile(cell: int) -> None:
    with pytest.raises(ValueError, match="cell"):
        Backend(1).residual(scene(4, 20, 10), np.zeros((10, 20, 3), np.uint8), View.whole(20, 10), cell)


def test_state_of_another_set() -> None:
    gaussians, backend = scene(4, 20, 10), Backend(1)
    target, view = np.zeros((10, 20, 3), np.uint8), View.whole(20, 10)
    short = backend.start(gaussians[:3])
    with pytest.raises(ValueError, match="moments"):
        backend.step(gaussians, short, target, view, StepSettings())
    grey = backend.start(scene(4, 20, 10, 1))
    with pytest.raises(ValueError, match="moments"):
        backend.step(gaussians, grey, target, view, StepSettings())
    good = backend.start(gaussians)
    few_ages = State(good.first, good.second, good.age[:3])
    with pytest.raises(ValueError, match="length"):
        backend.step(gaussians, few_ages, target, view, StepSettings())


@pytest.mark.parametrize("name", ["first", "second", "age"])
def test_state_of_another_type_is_refused(name: str) -> None:
    """It would be converted, and the update lost with the copy."""
    good = vars(Backend(1).start(scene(4, 20, 10)))
    for wrong in (good[name].astype(np.float64), np.repeat(good[name], 2, axis=0)[::2]):
        with pytest.raises(ValueError, match="state must be C-contiguous"):
            State(**(good | {name: wrong}))


def test_read_only_parameters_are_refused_by_what_writes_to_them() -> None:
    gaussians, backend = scene(4, 20, 10), Backend(1)
    state = backend.start(gaussians)
    gaussians.mean.flags.writeable = False
    with pytest.raises(TypeError):
        backend.step(gaussians, state, np.zeros((10, 20, 3), np.uint8), View.whole(20, 10), StepSettings())
