from __future__ import annotations

from pathlib import Path

import numpy as np

import smartsplat
from smartsplat import metrics, planes
from smartsplat.bitstream import container
from smartsplat.bitstream.file import to_file
from smartsplat.bitstream.quantize import Quantizer
from tests.compare import scene


def test_a_preview_leaves_out_what_hardly_shows() -> None:
    gaussians, quantizer = scene(4000, 300, 200, max_scale=6), Quantizer(90, 3, 300, 200, 3)
    file = to_file(gaussians, quantizer, group_size=100, min_layered_count=100)
    data, groups = container.pack(file), file.groups
    counts = np.array([group.count for group in groups])
    ends = {int(end) for end in np.flatnonzero(counts < 100) + 1}  # of layers
    previous = len(groups)
    for scale in (1, 0.5, 0.25, 0.125, 0.03):
        reader = smartsplat.open(data)
        preview = reader.read(scale=scale, preview=True)
        assert isinstance(reader._planes, planes.CpuPlanes)
        decoded = reader._planes._decoder.decoded_groups
        assert decoded in ends | {len(groups)}, "a layer is whole, or one part of the image would be sharper"
        assert counts[:decoded].sum() >= scale**0.45 * counts.sum()
        assert decoded <= previous
        previous = decoded
        exact = smartsplat.decode(data, scale=scale)
        assert np.array_equal(preview, exact) == (decoded == len(groups))
        assert np.array_equal(reader.read(scale=scale), exact), "and then all of it"
        assert np.array_equal(smartsplat.decode(data, scale=scale, preview=True, threads=1), preview)
    assert previous < len(groups) / 2
    assert np.array_equal(smartsplat.decode(data, scale=2, preview=True), smartsplat.decode(data, scale=2))


def test_a_preview_of_a_photograph_is_close_to_it() -> None:
    data = Path("examples/seeding.sspl").read_bytes()
    for scale in (1 / 4, 1 / 8, 1 / 32):
        preview, exact = smartsplat.decode(data, scale=scale, preview=True), smartsplat.decode(data, scale=scale)
        assert 40 < metrics.psnr(preview, exact) < 60
