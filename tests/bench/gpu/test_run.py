"""The GPU's benchmark, in Triton's interpreter on a handful of pixels."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.tables import REPOSITORY, read_rows

# Not imported here: tests/render/gpu_device.py sets up Triton's interpreter before it imports Triton.
MISSING = [name for name in ("torch", "triton") if importlib.util.find_spec(name) is None]
pytestmark = pytest.mark.skipif(
    bool(MISSING), reason=f"{' and '.join(MISSING)} not installed: scripts/test gpu installs what is missing"
)

HIDDEN = "import sys, runpy; sys.modules['smartsplat._native'] = None; sys.argv = sys.argv[1:]; "


def measured(table: Path, *command: str) -> tuple[dict[str, dict[str, str]], str]:
    """The rows of a run by what they measure, and what it printed."""
    options = ("--device", "cpu", "--size", "20x14", "--ratios", "7", "--table", str(table))
    environment = os.environ | {"TRITON_INTERPRET": "1"}
    run = subprocess.run(
        [sys.executable, *command, *options],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
        cwd=REPOSITORY,
    )
    assert run.returncode == 0, run.stderr
    return {row["measure"]: row for row in read_rows(table)}, run.stdout


def test_everything_is_measured(tmp_path: Path) -> None:
    rows, shown = measured(tmp_path / "gpu.tsv", "-m", "bench.gpu.run")
    assert "left out" not in shown
    assert rows["native"]["value"] == "yes"
    assert {"copy", "multiply_add", "init", "steps", "steps, l1 and ssim", "decode"} <= set(rows)
    assert {"paper: quality", "smartsplat: time", "encode"} <= set(rows)
    assert {
        f"kernel {name}" for name in ("project", "intersect", "scatter", "order", "fit", "render", "update")
    } <= set(rows)
    assert (rows["steps"]["width"], rows["steps"]["height"], rows["steps"]["gaussians"]) == ("20", "14", "17")
    assert float(rows["kernel fit"]["flop_share"]) > 0


def test_a_bare_checkout_does_without_the_compiled_module(tmp_path: Path) -> None:
    program = HIDDEN + "runpy.run_module('bench.gpu.run', run_name='__main__')"
    rows, shown = measured(tmp_path / "gpu.tsv", "-c", program, "bench.gpu.run")
    assert rows["native"]["value"].startswith("no")
    assert {"init", "steps", "decode", "kernel fit"} <= set(rows)
    assert not {"paper: quality", "encode"} & set(rows)
    assert "fits and encodes are left out" in shown
