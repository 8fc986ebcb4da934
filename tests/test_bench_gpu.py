"""The GPU's benchmark, in Triton's interpreter on a handful of pixels."""

from __future__ import annotations

import csv
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

# Not imported here: what runs in this process, test_gpu.py, sets up Triton's interpreter before it imports Triton.
MISSING = [name for name in ("torch", "triton") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"{' and '.join(MISSING)} not installed: scripts/test gpu installs what is missing"
)

ROOT = Path(__file__).resolve().parents[1]
HIDDEN = "import sys, runpy; sys.modules['smartsplat._native'] = None; sys.argv = sys.argv[1:]; "


def rows(table: Path, *command: str) -> list[dict[str, str]]:
    options = ("--device", "cpu", "--size", "20x14", "--ratios", "7", "--table", str(table))
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    found = subprocess.run(
        [sys.executable, *command, *options], capture_output=True, text=True, check=False, env=environment, cwd=ROOT
    )
    assert found.returncode == 0, found.stderr
    with table.open(newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def test_everything_is_measured(tmp_path: Path) -> None:
    found = {row["measure"]: row for row in rows(tmp_path / "gpu.tsv", "-m", "bench.gpu")}
    assert found["native"]["value"] == "yes"
    assert {"copy", "multiply_add", "init", "steps", "steps, l1 and ssim", "decode"} <= set(found)
    assert {"paper: quality", "smartsplat: time", "encode"} <= set(found)
    assert {f"kernel {name}" for name in ("project", "pair", "scatter", "order", "fit", "draw", "update")} <= set(found)
    assert (found["steps"]["width"], found["steps"]["height"], found["steps"]["gaussians"]) == ("20", "14", "17")
    assert float(found["kernel fit"]["flop_share"]) > 0


def test_a_bare_checkout_does_without_the_compiled_module(tmp_path: Path) -> None:
    program = HIDDEN + "runpy.run_module('bench.gpu', run_name='__main__')"
    found = {row["measure"]: row for row in rows(tmp_path / "gpu.tsv", "-c", program, "bench.gpu")}
    assert found["native"]["value"].startswith("no")
    assert {"init", "steps", "decode", "kernel fit"} <= set(found)
    assert "paper: quality" not in found
