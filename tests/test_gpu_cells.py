"""Where a rendering is worst, on a GPU: compiled where there is one, else in Triton's interpreter."""

from __future__ import annotations

import os

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

torch = pytest.importorskip("torch", reason="torch is not installed: scripts/test gpu installs it")

GPU = torch.cuda.is_available()
if not GPU:
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported

pytest.importorskip("triton", reason="Triton is not installed: scripts/test gpu installs it")

from smartsplat.gaussians import Gaussians  # noqa: E402
from smartsplat.raster import View, reference  # noqa: E402
from smartsplat.raster.cells import BLUR_REACH  # noqa: E402
from smartsplat.raster.gpu import Backend, cells  # noqa: E402
from tests.compare import scene  # noqa: E402

DEVICE = "cuda" if GPU else "cpu"


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("cell", [1, 2, 4, 16, 32, 64])
def test_residual_is_the_references(cell: int, channels: int) -> None:
    view, gaussians = View.whole(41, 37), scene(10, 41, 37, channels, smallest=0.8, largest=9)
    target = np.random.default_rng(2).integers(0, 256, (37, 41, channels), dtype=np.uint8)
    wanted = reference.residual(reference.upload(gaussians), target, view, cell)
    found = Backend(DEVICE)
    cells = found.residual(found.upload(gaussians), target, view, cell)
    assert cells.shape == wanted.shape
    assert np.abs(cells - wanted).max() < 1e-5


def test_cells_are_drawn_where_the_error_is() -> None:
    target = np.zeros((60, 80, 3), np.uint8)
    target[20:52, 40:64] = [250, 128, 10]
    found, nothing = Backend(DEVICE), Gaussians.empty(3)

    def drawn(count: int, rng: int = 0) -> tuple[np.ndarray, ...]:
        generator = np.random.default_rng(rng)
        return found.draw_cells(found.upload(nothing), target, View.whole(80, 60), 4, count, 1.0, generator)

    row, column, color = drawn(40)
    assert len(set(zip(row, column, strict=True))) == len(color) == 40
    assert ((row >= 3) & (row < 15) & (column >= 8) & (column < 18)).all(), "and within the blur's reach"
    middle = (row >= 6) & (row < 12) & (column >= 11) & (column < 15)
    assert middle.any()
    np.testing.assert_allclose(color[middle], np.tile(np.array([250, 128, 10]) / 255, (middle.sum(), 1)), atol=1e-5)
    for other, expected in ((drawn(40), True), (drawn(40, 1), False)):
        assert np.array_equal(other[0] * 20 + other[1], row * 20 + column) == expected
    assert len(set(zip(*drawn(300)[:2], strict=True))) == 300, "all cells, those without an error too"
    assert len(drawn(301)[0]) == 301, "more than there are cells"


@pytest.mark.parametrize("blur", [0, 0.2, 0.7, 1, 1.2, 1.3])
def test_the_error_is_blurred_as_on_the_cpu(blur: float) -> None:
    error = np.random.default_rng(0).random((7, 2)).astype(np.float32)
    once = cells._blurred(torch.tensor(error, device=DEVICE), blur)
    found = cells._blurred(once.T, blur).T.cpu().numpy()
    np.testing.assert_allclose(found, gaussian_filter(error, blur, truncate=BLUR_REACH), atol=1e-6)
