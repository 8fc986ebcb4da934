from __future__ import annotations

import pytest

import smartsplat
from bench.paper import limits
from tests.samples import landscape


def test_the_smallest_files_and_ours_beside_them() -> None:
    pixels = landscape(200, 160)
    rows = list(limits.rows("hills", pixels, anchors=("jpeg", "webp"), effort=1))
    assert [(row["codec"], row["shrink"]) for row in rows] == [
        *(("jpeg", 1), ("jpeg", 8), ("webp", 1), ("webp", 8)),
        ("smartsplat:e1", 1),
    ]
    for row in rows[:-1]:
        assert int(str(row["own_bytes"])) <= int(str(row["bytes"]))
        assert float(str(row["ratio"])) == pytest.approx(pixels.size / int(str(row["bytes"])), rel=1e-5)
    assert int(str(rows[1]["bytes"])) < int(str(rows[0]["bytes"]))
    one = smartsplat.encode(pixels, gaussians=1, effort=1, tune="psnr")
    assert rows[-1]["bytes"] == len(one)


def test_means_over_images() -> None:
    pair = [
        {"codec": "jpeg", "shrink": "8", "bytes": "100", "ratio": "200", "psnr": "20", "ms_ssim": "0.5"}
        | {"own_psnr": "22", "own_ms_ssim": "0.7"},
        {"codec": "jpeg", "shrink": "8", "bytes": "300", "ratio": "100", "psnr": "30", "ms_ssim": "0.9"}
        | {"own_psnr": "33", "own_ms_ssim": "0.8"},
        {"codec": "smartsplat:e5", "shrink": "1", "bytes": "80", "ratio": "1000", "psnr": "12", "ms_ssim": "0.1"}
        | {"own_psnr": "", "own_ms_ssim": ""},
    ]
    assert limits.table(pair).splitlines()[2:] == [
        "| jpeg | 8 | 125 : 1 | 25.00 | 0.700 | 27.50 | 0.750 |",
        "| smartsplat:e5 | 1 | 1000 : 1 | 12.00 | 0.100 |  |  |",
    ]
