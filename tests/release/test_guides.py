"""Every command and every piece of Python on the site's first pages works as it stands, on a small photograph."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import smartsplat
from tests.cli.commands import ENVIRONMENT, start
from tests.samples import landscape

DOCS = Path(__file__).resolve().parents[2] / "docs"
PAGES = ("index.md", "guides/huge_images.md", "guides/engineers.md", "guides/researchers.md")
UNTIL_INTERRUPTED = ("smartsplat view", "smartsplat serve")
OF_A_RELEASE = "pip install smartsplat"
"""What scripts/wheels tries."""


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and content of a page's blocks of code."""
    return re.findall(r"^```(\w+)\n(.*?)^```", (DOCS / page).read_text(), re.MULTILINE | re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """With what the pages speak of: a photograph, its file, and scans."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(landscape(192, 128)).save("photo.png")
    Path("photo.sspl").write_bytes(smartsplat.encode("photo.png", ratio=50, steps=20))
    Path("scans").mkdir()
    for number, name in enumerate(("one", "two")):
        Image.fromarray(landscape(192, 128, seed=number)).save(f"scans/{name}.tif")
    return tmp_path


def environment() -> dict[str, str]:
    """In which ``smartsplat`` and ``python`` are those of these tests."""
    return ENVIRONMENT | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "BROWSER": "true"}


def run_line(line: str) -> None:
    if not line.startswith(UNTIL_INTERRUPTED):
        command = ("bash", "-euc", line)
        done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, f"{line}: {done.stderr}"
        return
    process = start(
        command=("bash", "-euc", f"exec {line}"), env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith(b"http://127.0.0.1:")
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 0, f"{line}: {said.decode()}"


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_says_works(page: str, folder: Path) -> None:
    namespace: dict[str, Any] = {}
    tried = 0
    for language, content in blocks(page):
        if language == "python":
            exec(compile(content, f"{page}", "exec"), namespace)
            tried += 1
        elif language == "sh":
            for line in content.splitlines():
                if line != OF_A_RELEASE:
                    run_line(line)
                    tried += 1
    assert tried > 3


def test_the_pages_are_all_that_lead_into_the_site() -> None:
    assert {path.name for path in (DOCS / "guides").iterdir()} == {Path(page).name for page in PAGES[1:]}
