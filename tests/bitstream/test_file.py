from __future__ import annotations

import numpy as np

import smartsplat
from smartsplat.bitstream import container
from smartsplat.bitstream.file import extent, to_file
from smartsplat.bitstream.quantize import Quantizer, quantize
from smartsplat.gaussians import Gaussians
from tests.compare import scene


def test_the_extent_covers_every_window() -> None:
    by = Quantizer(110, 3, 640, 400, 3)
    for seed in range(20):
        gaussians = scene(3, 640, 400, seed=seed, max_scale=60)
        x0, y0, x1, y1 = (container.TILE * edge for edge in extent(quantize(gaussians, by), by))
        image = np.abs(smartsplat.decode(container.pack(to_file(bright(gaussians), by)))).any(axis=2)
        rows, columns = np.nonzero(image)
        assert x0 <= columns.min()
        assert columns.max() < x1
        assert y0 <= rows.min()
        assert rows.max() < y1


def bright(gaussians: Gaussians) -> Gaussians:
    gaussians.color[:] = 100
    return gaussians
