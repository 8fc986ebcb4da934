"""Wide Gaussians on coarser grids (native/render/pyramid.cpp), against the same kernels at full size."""

from __future__ import annotations

import numpy as np
import pytest

from smartsplat.gaussians import Gaussians
from smartsplat.render import View, reference
from smartsplat.render.cpu import CpuRenderer
from tests.compare import relative_error, scene
from tests.render.renderers import CPU_SUBJECTS, Subject
from tests.render.scenes import FIELDS, step_settings

LEVEL_VALUE = 1e-3  # most that the levels add to one Gaussian's error, at the edge of its window
LEVEL_GRADIENT = 1e-2  # relative, for a gradient that is smooth, as that of a fit is
LEVEL_VIEWS = {
    "several macrotiles": View.whole(600, 410),
    "odd": View.whole(259, 63),
    "half size": View.whole(801, 601, 400, 300),
    "region": View(100.5, 50.25, 400, 300, 533, 401),
    "other shape": View(0, 0, 600, 400, 300, 800),
}


def wide(view: View, channels: int = 3, max_scale: float = 150) -> Gaussians:
    """Gaussians for every level, and beyond the view's edges."""
    return scene(40, int(view.x + view.width), int(view.y + view.height), channels, min_scale=4, max_scale=max_scale)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", LEVEL_VIEWS)
@pytest.mark.parametrize("subject", CPU_SUBJECTS)
def test_the_pyramid_renders_what_full_size_does(subject: Subject, name: str, channels: int) -> None:
    view = LEVEL_VIEWS[name]
    levels, exact = CpuRenderer(2, subject.name), CpuRenderer(1, subject.name, exact=True)
    for each in range(40):
        one = wide(view, channels)[each : each + 1]
        color = float(np.abs(one.color).max())
        difference = np.abs(levels.render(one, view) - exact.render(one, view))
        assert difference.max() < LEVEL_VALUE + subject.value_error * max(color, 1.0)
    assert not np.array_equal(levels.render(wide(view), view), exact.render(wide(view), view))  # they are used


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", LEVEL_VIEWS)
@pytest.mark.parametrize("subject", CPU_SUBJECTS)
def test_gradient_of_the_pyramid(subject: Subject, name: str, channels: int) -> None:
    view = LEVEL_VIEWS[name]
    gaussians = wide(view, channels)
    levels, exact = CpuRenderer(2, subject.name), CpuRenderer(1, subject.name, exact=True)
    image = levels.render(gaussians, view)
    noise = np.random.default_rng(3).normal(size=image.shape).astype(np.float32)
    # The image is linear in the colours, so its product with any d_image is that of colours and their gradient.
    gradient = levels.render_gradient(gaussians, view, noise)
    product = float(np.vdot(image.astype(np.float64), noise))
    size = float(np.linalg.norm(image) * np.linalg.norm(noise))
    assert abs(float(np.vdot(gradient.color.astype(np.float64), gaussians.color)) - product) < 1e-5 * size
    actual = levels.render_gradient(gaussians, view, image - 0.4)
    expected = exact.render_gradient(gaussians, view, image - 0.4)
    for field in FIELDS:
        assert relative_error(getattr(actual, field), getattr(expected, field)) < LEVEL_GRADIENT, field


@pytest.mark.parametrize("loss", ["l2", "all"])
@pytest.mark.parametrize("subject", CPU_SUBJECTS)
def test_steps_through_the_pyramid(subject: Subject, loss: str) -> None:
    view = LEVEL_VIEWS["several macrotiles"]
    gaussians, target = wide(view), reference.to_samples(np.float64(0.3) + 0.1 * np.ones((410, 600, 3)))
    after = []
    for renderer in (CpuRenderer(2, subject.name), CpuRenderer(1, subject.name, exact=True)):
        params = renderer.upload(gaussians)
        state = renderer.adam_state(params)
        result = renderer.step(params, state, target, view, step_settings(loss, view))
        after.append((result, state))
    (actual, actual_state), (expected, expected_state) = after
    assert actual.loss == pytest.approx(expected.loss, rel=1e-3)
    assert actual.mean_square == pytest.approx(expected.mean_square, rel=1e-3)
    assert relative_error(actual_state.first, expected_state.first) < LEVEL_GRADIENT
