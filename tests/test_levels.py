"""Wide Gaussians on coarser grids (native/levels.cpp), against the same kernels at full size."""

from __future__ import annotations

import numpy as np
import pytest

from smartsplat.gaussians import Gaussians
from smartsplat.raster import View, reference
from smartsplat.raster.native import Backend
from tests.compare import relative_error, scene
from tests.test_native import FIELDS, VALUE, VARIANTS, step_settings

LEVEL_VALUE = 1e-3  # most that the levels add to one Gaussian's error, at the edge of its window
LEVEL_GRADIENT = 1e-2  # relative, for a gradient that is smooth, as that of a fit is
LEVEL_VIEWS = {
    "several panels": View.whole(600, 410),
    "odd": View.whole(259, 63),
    "half size": View.whole(801, 601, 400, 300),
    "region": View(100.5, 50.25, 400, 300, 533, 401),
    "other shape": View(0, 0, 600, 400, 300, 800),
}


def wide(view: View, channels: int = 3, largest: float = 150) -> Gaussians:
    """Gaussians for every level, and beyond the view's edges."""
    return scene(40, int(view.x + view.width), int(view.y + view.height), channels, smallest=4, largest=largest)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", LEVEL_VIEWS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_levels_draw_what_full_size_draws(variant: str, name: str, channels: int) -> None:
    view = LEVEL_VIEWS[name]
    levels, exact = Backend(2, variant), Backend(1, variant, exact=True)
    for each in range(40):
        one = wide(view, channels)[each : each + 1]
        color = float(np.abs(one.color).max())
        difference = np.abs(levels.render(one, view) - exact.render(one, view))
        assert difference.max() < LEVEL_VALUE + VALUE * max(color, 1.0)
    assert not np.array_equal(levels.render(wide(view), view), exact.render(wide(view), view))  # they are used


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", LEVEL_VIEWS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_gradient_of_the_levels(variant: str, name: str, channels: int) -> None:
    view = LEVEL_VIEWS[name]
    gaussians = wide(view, channels)
    levels, exact = Backend(2, variant), Backend(1, variant, exact=True)
    image = levels.render(gaussians, view)
    noise = np.random.default_rng(3).normal(size=image.shape).astype(np.float32)
    # The picture is linear in the colours, so its product with any d_image is that of colours and their gradient.
    gradient = levels.render_gradient(gaussians, view, noise)
    product = float(np.vdot(image.astype(np.float64), noise))
    size = float(np.linalg.norm(image) * np.linalg.norm(noise))
    assert abs(float(np.vdot(gradient.color.astype(np.float64), gaussians.color)) - product) < 1e-5 * size
    found = levels.render_gradient(gaussians, view, image - 0.4)
    wanted = exact.render_gradient(gaussians, view, image - 0.4)
    for field in FIELDS:
        assert relative_error(getattr(found, field), getattr(wanted, field)) < LEVEL_GRADIENT, field


@pytest.mark.parametrize("loss", ["l2", "all"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_steps_through_the_levels(variant: str, loss: str) -> None:
    view = LEVEL_VIEWS["several panels"]
    gaussians, target = wide(view), reference.to_bytes(np.float64(0.3) + 0.1 * np.ones((410, 600, 3)))
    after = []
    for backend in (Backend(2, variant), Backend(1, variant, exact=True)):
        params = backend.upload(gaussians)
        state = backend.start(params)
        result = backend.step(params, state, target, view, step_settings(loss, view, True))
        after.append((result, state))
    (found, found_state), (wanted, wanted_state) = after
    assert found.loss == pytest.approx(wanted.loss, rel=1e-3)
    assert found.mean_square == pytest.approx(wanted.mean_square, rel=1e-3)
    assert relative_error(found_state.first, wanted_state.first) < LEVEL_GRADIENT
