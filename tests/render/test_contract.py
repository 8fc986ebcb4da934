"""The contract of ``Renderer``: every renderer against the reference, on the same scenes."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from smartsplat.gaussians import Gaussians
from smartsplat.render import StepSettings, Structure, View, reference
from tests.compare import relative_error, scene
from tests.render.renderers import ALL_SUBJECTS, Subject, each_subject_with, numpy_of
from tests.render.scenes import (
    FIELDS,
    GPU_SCENES,
    GPU_STEPS,
    HOSTILE,
    LOSSES,
    SCENES,
    SMALL_SCENES,
    SMALL_STEPS,
    STEPS,
    VIEWS,
    StepCase,
    error_weights,
    expected,
    fitting,
    gaussian,
    reference_steps,
    step_settings,
)

every_subject = pytest.mark.parametrize("subject", ALL_SUBJECTS)


@pytest.fixture(autouse=True)
def _few_programs(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """An interpreter of GPU code runs one program after the other."""
    subject = request.node.callspec.params.get("subject") if hasattr(request.node, "callspec") else None
    if subject is not None and subject.is_interpreted:
        from smartsplat.render.gpu import ssim

        monkeypatch.setattr(ssim, "COLUMNS_PER_PROGRAM", 4096)


# ---- rendering and its gradient -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("subject", "name"), each_subject_with(SCENES, SMALL_SCENES, GPU_SCENES))
def test_renders_as_the_reference(subject: Subject, name: str) -> None:
    gaussians, view = SCENES[name]
    image, _, _ = expected(name)
    renderer = subject.open()
    params = renderer.upload(gaussians)
    rendered = renderer.render(params, view)
    assert rendered.dtype == np.float32
    assert rendered.shape == image.shape
    # On a GPU a thin Gaussian's distance is a small difference of large coordinates.
    factor = 20 if name == "thin" and subject.name == "gpu" else 1
    tolerance = factor * subject.value_error * max(1.0, float(np.abs(gaussians.color).max(initial=0)))
    assert np.abs(rendered - image).max(initial=0) < tolerance

    pixels = renderer.render_samples(params, view)
    assert pixels.dtype == np.uint8
    difference = np.abs(pixels.astype(int) - reference.to_samples(image))
    assert difference.max(initial=0) <= 1
    assert np.count_nonzero(difference) <= 0.01 * difference.size + 1
    deep = renderer.render_samples(params, view, np.uint16)
    assert deep.dtype == np.uint16
    assert np.abs(deep - reference.to_samples(image, np.uint16).astype(float)).max(initial=0) <= 65535 * tolerance + 1


@pytest.mark.parametrize(("subject", "name"), each_subject_with(SCENES, SMALL_SCENES, GPU_SCENES))
def test_gradient_is_the_references(subject: Subject, name: str) -> None:
    gaussians, view = SCENES[name]
    _, d_image, gradient = expected(name)
    renderer = subject.open()
    actual = renderer.render_gradient(renderer.upload(gaussians), view, d_image.astype(np.float32))
    for field in FIELDS:
        expected_field, actual_field = getattr(gradient, field), getattr(actual, field).astype(np.float64)
        assert relative_error(actual_field, expected_field) < subject.gradient_error, field
        if expected_field.any():
            norms = np.linalg.norm(actual_field) * np.linalg.norm(expected_field)
            assert np.vdot(actual_field, expected_field) / norms > 1 - 1e-8, field


def test_every_scene_shows_something() -> None:
    """Otherwise the comparisons above would pass on black images."""
    for name, (gaussians, _) in SCENES.items():
        image, _, gradient = expected(name)
        assert bool(image.any()) == (len(gaussians) > 0), name
        assert bool(gradient.color.any()) == (len(gaussians) > 0), name


# ---- losses and steps -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("loss", "view_name"), [("l1", "41x37"), ("l2", "41x37"), ("paper", "19x23"), ("all", "1x17")])
@every_subject
def test_the_gradient_of_the_loss_is_the_references(subject: Subject, loss: str, view_name: str) -> None:
    """Without the rate term, which is no part of the image's loss; and nothing moves."""
    view = VIEWS[view_name]
    gaussians, target = fitting(view)
    settings = step_settings(loss, view)
    expected_gradient, expected_result = reference.loss_gradient(reference.upload(gaussians), target, view, settings)
    renderer = subject.open()
    params = renderer.upload(gaussians)
    gradient, result = renderer.loss_gradient(params, target, view, settings)
    assert result.loss == pytest.approx(expected_result.loss, rel=1e-5)
    assert result.mean_square == pytest.approx(expected_result.mean_square, rel=1e-5)
    for field in FIELDS:
        actual = getattr(gradient, field)
        assert relative_error(actual, getattr(expected_gradient, field)) < subject.gradient_error, field
        assert np.array_equal(getattr(renderer.download(params), field), getattr(gaussians, field)), field


DepthCase = tuple[str, int, str, bool, str]  # type of the target, channels, loss, with weights, view
DEPTHS: list[DepthCase] = [
    (dtype, channels, loss, weighted, view_name)
    for dtype in ("uint8", "uint16")
    for channels in (1, 3)
    for loss, weighted in (
        *(("l1 and l2", True), ("l2", True), ("l2", False), ("paper", False)),
        *(("coarse", True), ("coarse", False)),
    )
    for view_name in ("19x23", "1x17")
]
SMALL_DEPTHS = [case for case in DEPTHS if not LOSSES[case[2]].ssim or (case[0], case[4]) == ("uint16", "1x17")]


@pytest.mark.parametrize(("subject", "case"), each_subject_with(DEPTHS, SMALL_DEPTHS, DEPTHS))
def test_targets_of_both_depths_with_and_without_weights(subject: Subject, case: DepthCase) -> None:
    dtype, channels, loss, weighted, view_name = case
    view = VIEWS[view_name]
    gaussians, target = fitting(view, channels, np.dtype(dtype).type)
    weights = error_weights(view) if weighted else None
    settings = step_settings(loss, view)
    params = reference.upload(gaussians)
    adam = reference.adam_state(params)
    expected_gradient, expected_result = reference.loss_gradient(params, target, view, settings, weights)
    reference.step(params, adam, target, view, settings, weights)
    renderer = subject.open()
    own = renderer.upload(gaussians)
    gradient, result = renderer.loss_gradient(own, target, view, settings, weights)
    assert result.loss == pytest.approx(expected_result.loss, rel=1e-5)
    assert result.mean_square == pytest.approx(expected_result.mean_square, rel=1e-5)
    for field in FIELDS:
        assert relative_error(getattr(gradient, field), getattr(expected_gradient, field)) < subject.gradient_error
    own_adam = renderer.adam_state(own)
    renderer.step(own, own_adam, target, view, settings, weights)
    assert relative_error(numpy_of(own_adam.first), adam.first) < subject.gradient_error


StructureCase = tuple[str, int, bool]  # type of the target, channels, relative
STRUCTURES: list[StructureCase] = [("uint8", 3, True), ("uint8", 1, False), ("uint16", 3, False)]


@pytest.mark.parametrize(("subject", "case"), each_subject_with(STRUCTURES, STRUCTURES, STRUCTURES))
def test_a_step_with_a_second_term_is_the_references(subject: Subject, case: StructureCase) -> None:
    """At a view of its own; some of the rendering is far from [0, 1] there."""
    dtype, channels, relative = case
    view = VIEWS["41x37"]
    gaussians, target = fitting(view, channels, np.dtype(dtype).type)
    gaussians.color[0], gaussians.color[1] = 3, -2
    small = View(0, 0, view.width, view.height, 14, 12)
    structure = Structure(fitting(View.whole(14, 12), 1, np.dtype(dtype).type)[1], small, 0.2)
    settings = step_settings("l2 and rate", view, relative)
    params = reference.upload(gaussians)
    adam = reference.adam_state(params)
    expected = reference.step(params, adam, target, view, settings, None, structure)
    renderer = subject.open()
    own = renderer.upload(gaussians)
    own_adam = renderer.adam_state(own)
    result = renderer.step(own, own_adam, target, view, settings, None, structure)
    assert result.loss == pytest.approx(expected.loss, rel=1e-5)
    assert result.mean_square == pytest.approx(expected.mean_square, rel=1e-5), "of the target alone"
    assert relative_error(numpy_of(own_adam.first), adam.first) < subject.gradient_error
    plain = reference.adam_state(reference.upload(gaussians))
    reference.step(reference.upload(gaussians), plain, target, view, settings)
    assert relative_error(plain.first, adam.first) > 0.01, "it does something"


@every_subject
def test_weights_that_do_not_fit_are_refused(subject: Subject) -> None:
    view = VIEWS["19x23"]
    gaussians, target = fitting(view)
    renderer = subject.open()
    params = renderer.upload(gaussians)
    for weights in (np.ones((23, 18), np.uint8), np.ones((23, 19), np.float32), np.ones((23, 38), np.uint8)[:, ::2]):
        with pytest.raises(ValueError, match="weights of"):
            renderer.residual(params, target, view, 4, weights)
    with pytest.raises(ValueError, match="SSIM takes no weights"):
        renderer.loss_gradient(params, target, view, step_settings("paper", view), error_weights(view))
    with pytest.raises(ValueError, match="SSIM takes no coarse error"):
        renderer.step(params, renderer.adam_state(params), target, view, StepSettings(ssim=0.1, coarse=0.5))


@pytest.mark.parametrize(("subject", "case"), each_subject_with(STEPS, SMALL_STEPS, GPU_STEPS))
def test_steps_as_the_reference(subject: Subject, case: StepCase) -> None:
    loss, view_name, relative, channels = case
    view = VIEWS[view_name]
    gaussians, target = fitting(view, channels)
    expected_params, expected_adam, expected_results = reference_steps(*case)
    renderer = subject.open()
    params = renderer.upload(gaussians)
    adam = renderer.adam_state(params)
    for expected_result in expected_results:
        result = renderer.step(params, adam, target, view, step_settings(loss, view, relative))
        assert result.loss == pytest.approx(expected_result.loss, rel=1e-5)
        assert result.mean_square == pytest.approx(expected_result.mean_square, rel=1e-5)
    assert relative_error(numpy_of(adam.first), expected_adam.first) < subject.gradient_error
    assert relative_error(numpy_of(adam.second), expected_adam.second) < 2 * subject.gradient_error
    assert adam.age.tolist() == expected_adam.age.tolist() == [2] * len(gaussians)
    after = renderer.download(params)
    for field in FIELDS:
        start = getattr(gaussians, field).astype(np.float64)
        move, expected_move = getattr(after, field) - start, getattr(expected_params, field) - start
        # Parameters are stored in float32: a move is known to a few of their last digits.
        tolerance = 1e-3 * np.linalg.norm(expected_move) + 1e-7 * np.linalg.norm(start)
        assert np.linalg.norm(move - expected_move) < tolerance, field


@pytest.mark.parametrize(("dtype", "code_value"), [(np.uint8, 0), (np.uint8, 255), (np.uint16, 0), (np.uint16, 65535)])
@pytest.mark.parametrize("channels", [1, 3])
@every_subject
def test_colors_rest_where_black_or_white_is_met(subject: Subject, channels: int, dtype: type, code_value: int) -> None:
    """Adam makes a step of full size of any gradient: what rounding leaves of no error at all would let them drift."""
    scale, color = np.full((1, 2), 50, np.float32), np.full((1, channels), 9 if code_value else -9, np.float32)
    wide = Gaussians(np.array([[10, 8]], np.float32), scale, np.zeros(1, np.float32), color)
    target, view = np.full((15, 20, channels), code_value, dtype), View.whole(20, 15)
    renderer = subject.open(exact=False)
    params = renderer.upload(wide)
    adam = renderer.adam_state(params)
    result = renderer.step(params, adam, target, view, StepSettings(l1=0.5, l2=0.5))
    assert result.loss == 0
    assert not numpy_of(adam.first).any()
    assert not renderer.residual(params, target, view, 4).any()


@every_subject
def test_steps_keep_to_their_bounds(subject: Subject) -> None:
    view = VIEWS["41x37" if subject.name == "gpu" else "75x53"]
    gaussians, target = fitting(view)
    size = {"width": view.columns, "height": view.rows}
    bounds: dict[str, Any] = {"min_scale": 0.5, "max_scale": 8, "max_aspect": 4} | size
    settings = StepSettings(relative=False, lr_mean_x=40, lr_mean_y=40, lr_scale=5, **bounds)
    renderer = subject.open(exact=False)
    params = renderer.upload(gaussians)
    adam = renderer.adam_state(params)
    for _ in range(3):
        renderer.step(params, adam, target, view, settings)
    after = renderer.download(params)
    assert after.mean.min() >= 0
    assert (after.mean.max(axis=0) <= [view.columns, view.rows]).all()
    assert after.scale.min() >= 0.5
    assert after.scale.max() <= 8
    assert (after.scale.max(axis=1) / after.scale.min(axis=1)).max() <= 4 + 1e-5


# ---- errors by cells, strips, hostile work --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("channels", "dtype", "weighted"),
    [(1, np.uint8, False), (3, np.uint8, False), (3, np.uint8, True), (1, np.uint16, True), (3, np.uint16, False)],
)
@pytest.mark.parametrize("cell", [1, 2, 4, 16, 32, 64])
@every_subject
def test_residual_is_the_references(subject: Subject, cell: int, channels: int, dtype: type, weighted: bool) -> None:
    view = VIEWS["41x37" if subject.name == "gpu" else "75x53"]
    gaussians, target = fitting(view, channels, dtype)
    weights = error_weights(view) if weighted else None
    expected_cells = reference.residual(reference.upload(gaussians), target, view, cell, weights)
    renderer = subject.open()
    cells = renderer.residual(renderer.upload(gaussians), target, view, cell, weights)
    assert cells.shape == expected_cells.shape
    assert np.abs(cells - expected_cells).max() < max(subject.value_error, 1e-5)


@pytest.mark.parametrize("rows", [1, 64, 70, 1000])
@every_subject
def test_strips_are_parts_of_the_whole(subject: Subject, rows: int) -> None:
    gaussians, view = scene(12, 20, 300), View.whole(20, 300)
    renderer = subject.open(exact=False)
    params = renderer.upload(gaussians)
    strips = list(renderer.render_strips(params, view, 20 * rows))
    multiple = 16 if subject.name == "gpu" else 256  # rows of a tile, of a macrotile
    expected_rows = max(multiple, rows // multiple * multiple) if rows < 300 else 300
    assert (len(strips) > 1) == (rows < 300)
    assert all(len(strip) == expected_rows for strip in strips[:-1])
    assert np.array_equal(np.concatenate(strips), renderer.render_samples(params, view))


@every_subject
def test_too_much_overlap_is_refused(subject: Subject) -> None:
    gaussians, view = scene(40, 20, 20, min_scale=50, max_scale=90), View.whole(20, 20)
    renderer = subject.open()
    params = renderer.upload(gaussians)
    renderer.render_samples(params, view, overlap=50)
    if subject.name == "gpu":  # a small image has but four tiles there, and no more on a processor than one
        with pytest.raises(OverflowError):
            renderer.render_samples(params, view, overlap=0.5)
    large = View.whole(20, 20, 400, 400)
    with pytest.raises(OverflowError):
        renderer.render_samples(params, large, overlap=0.5)


PLACES = [(field, column) for field in FIELDS for column in (0, 1)]
SMALL_PLACES = [("mean", 0), ("scale", 1), ("rotation", 0), ("color", 1)]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # an interpreter's, of numpy
@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(("subject", "place"), each_subject_with(PLACES, SMALL_PLACES))
def test_a_hostile_gaussian_does_not_spoil_the_others(subject: Subject, place: tuple[str, int], value: float) -> None:
    """It is rendered if its values come out finite, and left out otherwise; the rest is as without it."""
    field, column = place
    view = VIEWS["19x23" if subject.is_interpreted else "75x53"]
    good, target = fitting(view)
    bad = gaussian((14, 10), (4, 3), 0.4)
    values = getattr(bad, field)
    values[(0, column) if values.ndim == 2 else 0] = value
    renderer = subject.open(exact=False)
    both, alone = renderer.upload(good.joined(bad)), renderer.upload(good)
    rendered = math.isfinite(value) and not (field == "scale" and abs(value) < 1e-30)
    image = renderer.render(both, view)
    assert np.isfinite(image).all()
    if not rendered:
        assert np.array_equal(image, renderer.render(alone, view))
    renderer.render_samples(renderer.upload(bad), view)

    settings = step_settings("l2", view)
    renderer.step(both, renderer.adam_state(both), target, view, settings)
    renderer.step(alone, renderer.adam_state(alone), target, view, settings)
    after, expected_after = renderer.download(both), renderer.download(alone)
    for name in FIELDS:
        kept = getattr(after, name)[: len(good)]
        assert np.isfinite(kept).all(), name
        if not rendered:
            assert np.array_equal(kept, getattr(expected_after, name)), name
