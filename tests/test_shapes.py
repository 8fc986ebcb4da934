"""Gaussians side by side in the lanes of vectors: native/shapes.h, native/project.cpp and native/gaussian.cpp."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from smartsplat.raster import View, reference
from smartsplat.raster.native import Backend
from tests.compare import scene
from tests.test_native import FIELDS, STEP_SCENES, STEPS, VALUE, VARIANTS, fitting, gaussian, stack, step_settings


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_gaussian_does_not_depend_on_those_beside_it(variant: str, channels: int) -> None:
    """Vectors hold as many as 16: each is the same in a full one and in what is left at the end."""
    view, settings = View.whole(2000, 40), replace(STEPS["all"], width=2000, height=40)
    target = np.full((40, 2000, channels), 77, np.uint8)
    backend, everyone = Backend(1, variant), scene(35, 40, 40, channels, smallest=0.8, largest=3)
    everyone.mean[:, 0] = 27 + 56 * np.arange(35)  # out of each other's reach, and of each other's windows
    everyone.mean[:, 1] = 20
    together = backend.upload(everyone)
    state = backend.start(together)
    for _ in range(2):
        backend.step(together, state, target, view, settings)
    for count in (1, 3, 4, 7, 15, 16, 17, 31, 33):
        few = backend.upload(everyone[:count])
        state_of_few = backend.start(few)
        for _ in range(2):
            backend.step(few, state_of_few, target, view, settings)
        assert np.array_equal(state_of_few.first, state.first[:count])
        for field in FIELDS:
            assert np.array_equal(getattr(few, field), getattr(together, field)[:count]), field


@pytest.mark.parametrize("variant", VARIANTS)
def test_mixed_ages_are_corrected_each_by_its_own(variant: str) -> None:
    view = STEP_SCENES["75x53"]
    gaussians, target = fitting(view)
    settings = step_settings("l2", view, True)
    ages = np.resize([0, 1, 7, 150, 3000, 100_000, 2_000_000_000], len(gaussians)).astype(np.int32)
    params, wanted = Backend(1, variant).upload(gaussians), reference.upload(gaussians)
    backend = Backend(1, variant, exact=True)
    state, wanted_state = backend.start(params), reference.start(wanted)
    state.age[:] = wanted_state.age[:] = ages
    backend.step(params, state, target, view, settings)
    reference.step(wanted, wanted_state, target, view, settings)
    assert np.array_equal(state.age, ages + 1)
    for field in FIELDS:
        start = getattr(gaussians, field).astype(np.float64)
        moved, wanted_move = getattr(params, field) - start, getattr(wanted, field) - start
        assert np.linalg.norm(moved - wanted_move) < 1e-3 * np.linalg.norm(wanted_move) + 1e-7 * np.linalg.norm(start)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_circle_does_not_turn(variant: str) -> None:
    """Its gradient by the rotation is exactly 0, which fused multiply-adds of u^2 - v^2 would not leave."""
    view = STEP_SCENES["75x53"]
    gaussians, target = fitting(view)
    gaussians.scale[:, 1] = gaussians.scale[:, 0]
    backend = Backend(1, variant)
    params = backend.upload(gaussians)
    state = backend.start(params)
    backend.step(params, state, target, view, step_settings("all", view, True))
    assert not state.first[:, 4].any()
    assert np.array_equal(params.rotation, gaussians.rotation)


@pytest.mark.parametrize("variant", VARIANTS)
def test_far_turned_and_far_away(variant: str) -> None:
    """Many turns, and a small part far into a large picture, magnified."""
    turned = stack(
        *(gaussian((12 + 9 * k, 15), (5, 2), angle) for k, angle in enumerate((1e3, -8192, 8193, 1e5, -3e6)))
    )
    view = View.whole(60, 30)
    image = Backend(1, variant, exact=True).render(turned, view)
    assert np.abs(image - reference.render(reference.upload(turned), view)).max() < VALUE

    far = gaussian((65_500.25, 64_000.5), (1.5, 1), 0.3)
    view = View(65_495.3, 63_995.7, 10, 10, 60, 60)
    image = Backend(1, variant, exact=True).render(far, view)
    assert np.abs(image - reference.render(reference.upload(far), view)).max() < VALUE
