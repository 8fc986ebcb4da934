from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

import smartsplat
from tests.cli.commands import IMAGE
from tests.samples import landscape


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an image and its encoded file."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(IMAGE).save("a.png")
    Path("a.sspl").write_bytes(smartsplat.encode(IMAGE, ratio=30, steps=20, threads=1))
    return tmp_path


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an image that takes hours to encode at effort 9."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(landscape(1000, 800)).save("large.png")
    return tmp_path
