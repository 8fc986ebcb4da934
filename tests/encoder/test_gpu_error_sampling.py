"""Error sampling on a GPU: compiled where there is one, else in Triton's interpreter."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from tests.render.gpu_device import DEVICE, torch

# isort: split
from smartsplat.encoder.gpu import GpuSampler
from smartsplat.encoder.gpu.error_sampling import blurred
from smartsplat.encoder.sampler import BLUR_RADIUS, CellRequest, SampledCells
from smartsplat.gaussians import Gaussians
from smartsplat.render import View
from smartsplat.render.gpu import GpuRenderer


def test_cells_are_sampled_where_the_error_is() -> None:
    target = np.zeros((60, 80, 3), np.uint8)
    target[20:52, 40:64] = [250, 128, 10]
    renderer = GpuRenderer(DEVICE)
    sampler, params = GpuSampler(renderer), renderer.upload(Gaussians.empty(3))

    def sampled(count: int, seed: int = 0) -> SampledCells:
        generator = np.random.default_rng(seed)
        return sampler.sample_cells(params, target, View.whole(80, 60), CellRequest(4, count, 1.0), generator)

    def places(cells: SampledCells) -> list[tuple[int, int]]:
        return list(zip(cells.row.tolist(), cells.column.tolist(), strict=True))

    cells = sampled(40)
    row, column = cells.row, cells.column
    assert len(set(places(cells))) == len(cells.residual) == 40
    assert ((row >= 3) & (row < 15) & (column >= 8) & (column < 18)).all(), "and within the radius of the blur"
    middle = (row >= 6) & (row < 12) & (column >= 11) & (column < 15)
    assert middle.any()
    color = np.tile(np.array([250, 128, 10]) / 255, (middle.sum(), 1))
    np.testing.assert_allclose(cells.residual[middle], color, atol=1e-5)
    assert places(sampled(40)) == places(cells)
    assert places(sampled(40, seed=1)) != places(cells)
    assert len(set(places(sampled(300)))) == 300, "all cells, those without an error too"
    assert len(sampled(301).row) == 301, "more than there are cells"


def test_cells_without_a_weight_are_the_last() -> None:
    """Errors are everywhere, and count on the right only; of 16 bits."""
    target, weights = np.full((16, 24, 1), 40_000, np.uint16), np.zeros((16, 24), np.uint8)
    weights[:, 16:] = 255
    renderer = GpuRenderer(DEVICE)
    sampler, params, view = GpuSampler(renderer), renderer.upload(Gaussians.empty(1)), View.whole(24, 16)
    request = CellRequest(4, 8, 0.0)
    cells = sampler.sample_cells(params, target, view, request, np.random.default_rng(0), weights)
    assert sorted(zip(cells.row, cells.column, strict=True)) == [(row, column) for row in range(4) for column in (4, 5)]
    inner = cells.residual[cells.column == 5]
    np.testing.assert_allclose(inner, 40_000 / 65535, rtol=1e-6)  # the cells around it have weights, or are the edge


@pytest.mark.parametrize("blur", [0, 0.2, 0.7, 1, 1.2, 1.3])
def test_the_error_is_blurred_as_on_the_cpu(blur: float) -> None:
    error = np.random.default_rng(0).random((7, 2)).astype(np.float32)
    once = blurred(torch.tensor(error, device=DEVICE), blur)
    actual = blurred(once.T, blur).T.cpu().numpy()
    np.testing.assert_allclose(actual, gaussian_filter(error, blur, truncate=BLUR_RADIUS), atol=1e-6)
