"""What is counted of a kernel's work."""

from __future__ import annotations

import numpy as np
import pytest

from bench.kernels import work
from smartsplat.gaussians import CUTOFF
from smartsplat.render import View, reference
from tests.compare import scene

VIEWS = {
    "whole": View.whole(41, 67),
    "small": View.whole(41, 67, 9, 17),
    "region, enlarged": View(10, 20, 20, 13, 47, 29),
}


@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS)
def test_evaluations_are_the_pixels_of_the_rectangles(view: View) -> None:
    gaussians = scene(50, 41, 67, max_scale=3)
    params = reference.upload(gaussians)
    inside = 0
    for i in range(len(gaussians)):
        mean, covariance, _, _ = reference.project(params, view, i)
        distance = np.abs(reference.distances(mean, view))
        inside += np.count_nonzero((distance <= CUTOFF * np.sqrt(np.diag(covariance))).all(axis=-1))
    assert work.evaluations(gaussians, view) == inside
    assert inside > 0


def test_wide_gaussians_have_fewer_evaluations() -> None:
    view = View.whole(600, 600)
    round_ones = scene(5, 600, 600)
    round_ones.mean[:], round_ones.color[:] = 300, 0.2
    round_ones.scale[:] = np.array([[7.9], [8.1], [15.9], [33], [80]], np.float32)
    assert work.levels(round_ones, view).tolist() == [0, 1, 1, 3, 4]
    assert work.levels(round_ones, View.whole(600, 600, 300, 300)).tolist() == [0, 0, 0, 2, 3]
    one = round_ones[3:4]
    assert work.evaluations(one, view) == pytest.approx((6 * 33) ** 2 / 64, rel=0.02)


def test_the_work_of_a_kernel() -> None:
    step = work.work_of("step_l2", 1000, 10, 5000)
    assert step == work.Work(pixels=1000, evaluations=5000, flop=28 * 5000, traffic=3 * 1000 + 200 * 10)
    coded = work.work_of("decode_symbols", 1000, 10, 5000, 44)
    assert coded == work.Work(coded=44)
