from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import smartsplat
from tests.cli.commands import fails, run
from tests.samples import landscape


def test_info(workdir: Path) -> None:
    text = run("info", "a.sspl").stdout
    info = smartsplat.open("a.sspl").info
    assert f"{info.gaussians} Gaussians" in text
    assert f"{info.bytes} bytes" in text
    assert "96 x 64 pixels, RGB, 8 bits, sRGB, format" in text
    row = json.loads(run("info", "a.sspl", "--json").stdout)
    assert (row["width"], row["height"], row["gaussians"], row["bytes"]) == (96, 64, info.gaussians, info.bytes)
    assert row["bits_per_gaussian"] == info.bits_per_gaussian
    assert "not a SmartSplat file" in fails("info", "a.png")
    assert "missing" in fails("info", "missing")


def test_info_of_a_part(workdir: Path) -> None:
    whole = smartsplat.encode(landscape(400, 400), gaussians=9000, steps=1, effort=1, threads=1)
    Path("short.sspl").write_bytes(whole[:-1])
    row = json.loads(run("info", "short.sspl", "--partial", "--json").stdout)
    assert 0 < row["gaussians"] < 9000
    assert row["bytes"] == len(whole) - 1


def test_info_adds_up_to_the_file(workdir: Path) -> None:
    alpha = np.full((64, 96), 100, np.uint8)
    alpha[:, :50] = 0
    data = smartsplat.encode(np.dstack((landscape(96, 64), alpha)), max_bytes=1500, steps=5, threads=1)
    Path("clear.sspl").write_bytes(data)
    lines = run("info", "clear.sspl").stdout.splitlines()
    assert "RGB with alpha, 8 bits" in lines[0]
    assert "alpha" in lines[-2]
    parts = [int(line.split()[-2]) for line in lines[3:]]
    assert sum(parts) == pytest.approx(len(data), abs=len(parts))


@pytest.mark.parametrize("shape", [(1, 1), (40, 50, 3), (40, 50, 4)])
def test_info_of_a_file_without_gaussians(shape: tuple[int, ...], workdir: Path) -> None:
    Path("black.sspl").write_bytes(smartsplat.encode(np.zeros(shape, np.uint8)))
    lines = run("info", "black.sspl").stdout.splitlines()
    assert lines[2] == "0 Gaussians in 0 groups, quality 0"
    assert [line.split()[0] for line in lines[3:]] == ["alpha"] * (len(shape) == 3 and shape[2] == 4) + ["container"]


def test_info_of_a_file_whose_gaussians_are_all_of_alpha(workdir: Path) -> None:
    ramp = np.broadcast_to(np.linspace(0, 255, 90).astype(np.uint8), (60, 90))
    black = np.zeros_like(ramp)
    Path("shade.sspl").write_bytes(smartsplat.encode(np.dstack((black, black, black, ramp)), threads=1))
    lines = run("info", "shade.sspl").stdout.splitlines()
    count, _, _, groups, *_ = lines[2].split()
    assert int(count) > 0
    assert groups == "1"
    assert [line.split()[0] for line in lines[3:]] == ["alpha", "container"]
