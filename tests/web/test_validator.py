"""The official checker of the IIIF Image API, against our server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import smartsplat
from tests.cli.commands import start

CHECKER = Path(sys.executable).with_name("iiif-validate.py")


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
def test_level_2(tmp_path: Path) -> None:
    """Its image: a hundred squares, whose colours it finds again."""
    if not CHECKER.exists():
        pytest.skip("iiif-validator is not installed")
    from iiif_validator.validator import ValidationInfo

    colors = np.array(ValidationInfo().colorInfo, np.uint8).transpose(1, 0, 2)
    squares = colors.repeat(100, axis=0).repeat(100, axis=1)
    (tmp_path / "squares.sspl").write_bytes(smartsplat.encode(squares, ratio=100, effort=3, threads=2))
    server = start("serve", str(tmp_path), "--port", "0", "-q", stdout=subprocess.PIPE)
    try:
        assert server.stdout is not None
        address = server.stdout.readline().decode().strip()
        host = address.removeprefix("http://").rstrip("/")
        options = ["-s", host, "-p", "iiif", "-i", "squares.sspl", "--version=3.0", "--level=2", "-v"]
        command = [sys.executable, "-W", "ignore", str(CHECKER), *options]
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    finally:
        server.terminate()
        server.communicate(timeout=20)
    said = ran.stdout + ran.stderr
    assert "Done (33 tests, 0 failures)" in said, said
