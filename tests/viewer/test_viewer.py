"""The viewer's tests, which are written in its own language: each file runs in Node.js, most of them with Chromium."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.viewer import samples

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
STYLED = {".js", ".mjs", ".css", ".html", ".ts"}
NODE = shutil.which("node")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
IN_NODE = {"decode.test.mjs"}
"""Files that need no browser."""


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With everything that the tests read."""
    made = tmp_path_factory.mktemp("viewer")
    samples.make(made)
    return made


@pytest.mark.parametrize("name", sorted(path.name for path in HERE.glob("*.test.mjs")))
def test_viewer(name: str, folder: Path) -> None:
    if NODE is None:
        pytest.skip("Node.js is not installed")
    if not (HERE / "node_modules").is_dir():
        pytest.skip("the viewer's test packages are not installed: scripts/test browser")
    if name not in IN_NODE and CHROMIUM is None:
        pytest.skip("Chromium is not installed: scripts/test browser")
    environment = os.environ | {"SAMPLES": str(folder), "PYTHON": sys.executable, "CHROMIUM": str(CHROMIUM)}
    command = [NODE, "--test", "--test-reporter=spec", "--test-force-exit", str(HERE / name)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "\nℹ pass 0\n" not in ran.stdout


def test_style() -> None:
    prettier = HERE / "node_modules/.bin/prettier"
    if not prettier.exists():
        pytest.skip("the viewer's test packages are not installed: scripts/test browser")
    folders = (
        ROOT / "viewer",
        HERE,
        ROOT / "bench/viewer",
        ROOT / "examples",
        ROOT / "tests/wasm",
    )
    paths = [path for folder in folders for path in folder.iterdir() if path.suffix in STYLED]
    assert len(paths) > 25
    command = [prettier, "--print-width", "120", "--check", *paths]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
