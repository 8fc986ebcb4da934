"""Gaussians side by side in the lanes of vectors: native/render/covariance.h, project.cpp and patch.h."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from smartsplat.gaussians import Gaussians
from smartsplat.render import View, reference
from smartsplat.render.cpu import CpuRenderer
from tests.compare import scene
from tests.render.renderers import CPU_SUBJECTS, Subject
from tests.render.scenes import FIELDS, LOSSES, VIEWS, fitting, gaussian, step_settings


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("subject", CPU_SUBJECTS)
def test_a_gaussian_does_not_depend_on_those_beside_it(subject: Subject, channels: int) -> None:
    """Vectors hold as many as 16: each is the same in a full one and in what is left at the end."""
    view, settings = View.whole(2000, 40), replace(LOSSES["all"], width=2000, height=40)
    target = np.full((40, 2000, channels), 77, np.uint8)
    renderer, everyone = CpuRenderer(1, subject.name), scene(35, 40, 40, channels, min_scale=0.8, max_scale=3)
    everyone.mean[:, 0] = 27 + 56 * np.arange(35)  # out of each other's windows
    everyone.mean[:, 1] = 20
    together = renderer.upload(everyone)
    state = renderer.adam_state(together)
    for _ in range(2):
        renderer.step(together, state, target, view, settings)
    for count in (1, 3, 4, 7, 15, 16, 17, 31, 33):
        few = renderer.upload(everyone[:count])
        state_of_few = renderer.adam_state(few)
        for _ in range(2):
            renderer.step(few, state_of_few, target, view, settings)
        assert np.array_equal(state_of_few.first, state.first[:count])
        for field in FIELDS:
            assert np.array_equal(getattr(few, field), getattr(together, field)[:count]), field


@pytest.mark.parametrize("subject", CPU_SUBJECTS)
def test_mixed_ages_are_corrected_each_by_its_own(subject: Subject) -> None:
    view = VIEWS["75x53"]
    gaussians, target = fitting(view)
    settings = step_settings("l2", view)
    ages = np.resize([0, 1, 7, 150, 3000, 100_000, 2_000_000_000], len(gaussians)).astype(np.int32)
    params, expected = CpuRenderer(1, subject.name).upload(gaussians), reference.upload(gaussians)
    renderer = CpuRenderer(1, subject.name, exact=True)
    state, expected_state = renderer.adam_state(params), reference.adam_state(expected)
    state.age[:] = expected_state.age[:] = ages
    renderer.step(params, state, target, view, settings)
    reference.step(expected, expected_state, target, view, settings)
    assert np.array_equal(state.age, ages + 1)
    for field in FIELDS:
        start = getattr(gaussians, field).astype(np.float64)
        moved = getattr(params, field) - start
        expected_move = getattr(expected, field) - start
        tolerance = 1e-3 * np.linalg.norm(expected_move) + 1e-7 * np.linalg.norm(start)
        assert np.linalg.norm(moved - expected_move) < tolerance


@pytest.mark.parametrize("subject", CPU_SUBJECTS)
def test_a_circle_does_not_turn(subject: Subject) -> None:
    """Its gradient by the rotation is exactly 0, which fused multiply-adds of u^2 - v^2 would not leave."""
    view = VIEWS["75x53"]
    gaussians, target = fitting(view)
    gaussians.scale[:, 1] = gaussians.scale[:, 0]
    renderer = CpuRenderer(1, subject.name)
    params = renderer.upload(gaussians)
    state = renderer.adam_state(params)
    renderer.step(params, state, target, view, step_settings("all", view))
    assert not state.first[:, 4].any()
    assert np.array_equal(params.rotation, gaussians.rotation)


@pytest.mark.parametrize("subject", CPU_SUBJECTS)
def test_far_turned_and_far_away(subject: Subject) -> None:
    """Many turns, and a small part far into a large image, magnified."""
    angles = (1e3, -8192, 8193, 1e5, -3e6)
    turned = Gaussians.concatenated([gaussian((12 + 9 * k, 15), (5, 2), angle) for k, angle in enumerate(angles)], 3)
    view = View.whole(60, 30)
    image = CpuRenderer(1, subject.name, exact=True).render(turned, view)
    assert np.abs(image - reference.render(reference.upload(turned), view)).max() < subject.value_error

    far = gaussian((65_500.25, 64_000.5), (1.5, 1), 0.3)
    view = View(65_495.3, 63_995.7, 10, 10, 60, 60)
    image = CpuRenderer(1, subject.name, exact=True).render(far, view)
    assert np.abs(image - reference.render(reference.upload(far), view)).max() < subject.value_error
