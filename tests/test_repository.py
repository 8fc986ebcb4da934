"""The house rules that a program can check."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import smartsplat

ROOT = Path(__file__).resolve().parents[1]
TEXTS = {".py", ".pyi", ".cpp", ".h", ".md", ".toml", ".txt", ""}
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("examples/*.md")])
LONGEST_FILE = 500  # lines

DECODER = (
    "container",
    "entropy",
    "quantize",
    "gaussians",
    "image",
    "errors",
    "settings",
    "raster",
    "raster.device",
    "raster.native",
    "raster.reference",
)
NOT_FOR_THE_DECODER = {
    *(f"smartsplat.{name}" for name in ("fit", "grow", "seed", "features", "rate")),
    "torch",
    "triton",
    "scipy",
}
WITH_TORCH = {
    "torch.py",
    *(f"raster/gpu/{name}.py" for name in ("__init__", "backend", "bins", "cells", "params", "pixels")),
    *(f"raster/gpu/{name}.py" for name in ("seeds", "ssim", "update")),
}


@pytest.mark.parametrize("module", DECODER)
def test_the_decoder_does_not_import_the_encoder(module: str) -> None:
    program = f"import sys, smartsplat.{module}; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    imported = set(found.stdout.split())
    assert f"smartsplat.{module}" in imported
    assert not imported & NOT_FOR_THE_DECODER


def test_no_backend_imports_scipy_to_draw() -> None:
    """Only functions that fit do, for themselves."""
    found = {path.name: path.read_text() for path in (ROOT / "src/smartsplat/raster").rglob("*.py")}
    assert not [name for name, text in found.items() if re.search(r"^(?:import|from) scipy", text, re.MULTILINE)]


def test_only_the_gpu_backend_imports_torch() -> None:
    """And nothing imports the GPU backend before a function asks for it."""
    package = ROOT / "src/smartsplat"
    line = re.compile(r"^( *)(?:import|from) (torch|triton|smartsplat\.torch|smartsplat\.raster\.gpu)\b", re.MULTILINE)
    also = re.compile(r"^()from smartsplat(?:\.raster)? import .*\b(torch|gpu)\b", re.MULTILINE)
    found: dict[str, set[str]] = {}
    for path in package.rglob("*.py"):
        matches = [*line.findall(path.read_text()), *also.findall(path.read_text())]
        found[path.relative_to(package).as_posix()] = {module for indent, module in matches if not indent}
    assert {name for name, modules in found.items() if modules & {"torch", "triton"}} <= WITH_TORCH
    assert {name for name, modules in found.items() if modules} <= WITH_TORCH
    assert found["raster/gpu/backend.py"] >= {"torch"}


def test_a_decode_does_not_import_torch() -> None:
    """Not even where there is one, unless the device asks for it."""
    program = (
        "import sys, smartsplat\n"
        "smartsplat.decode('tests/vectors/example.sspl')\n"
        "smartsplat.open('tests/vectors/example.sspl').strips().joined()\n"
        "print(*sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not set(found.stdout.split()) & NOT_FOR_THE_DECODER


def test_public_names_exist() -> None:
    assert [name for name in smartsplat.__all__ if not hasattr(smartsplat, name)] == []
    assert list(smartsplat.__all__) == sorted(smartsplat.__all__)


def texts() -> list[Path]:
    """Source and pages, without what is made or fetched."""
    folders = (ROOT / name for name in ("src", "native", "tests", "bench", "scripts", ".ci", "docs", "examples"))
    files = [path for folder in folders for path in folder.rglob("*")] + list(ROOT.iterdir())
    return sorted(path for path in files if path.is_file() and path.suffix in TEXTS)


def test_no_file_is_too_long() -> None:
    files = texts()
    assert ROOT / "src/smartsplat/codec.py" in files
    lengths = {str(path.relative_to(ROOT)): len(path.read_bytes().splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > LONGEST_FILE} == {}


def test_contributing_is_short() -> None:
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) <= 60


def test_the_version_is_the_newest_in_the_changelog() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    releases = re.findall(r"^## \[(\d[^]]*)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert releases[0] == project["version"]
    assert smartsplat.__version__ == project["version"]


@pytest.mark.parametrize("path", [*sorted((ROOT / "scripts").iterdir()), ROOT / ".ci/run"], ids=lambda path: path.name)
def test_scripts_can_be_run(path: Path) -> None:
    assert os.access(path, os.X_OK)
    assert path.read_text().startswith("#!/usr/bin/env bash\n")
    assert "set -euo pipefail" in path.read_text()
    subprocess.run(["bash", "-n", path], check=True)


def commands(page: Path) -> list[str]:
    """The lines of a page's shell blocks."""
    blocks = re.findall(r"^```(?:sh|bash|console)\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    return [line.removeprefix("$ ").strip() for block in blocks for line in block.splitlines() if line.strip()]


def test_the_readme_starts_with_demo_and_test() -> None:
    named = [line.split()[0] for line in commands(ROOT / "README.md") if line.startswith("scripts/")]
    assert named[:2] == ["scripts/demo", "scripts/test"]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_of_the_pages_exist(page: Path) -> None:
    for line in commands(page):
        first = line.split()[0]
        if first.startswith(("scripts/", ".ci/")):
            assert os.access(ROOT / first, os.X_OK), line


def test_subcommands_of_the_pages_exist() -> None:
    """Every ``smartsplat <subcommand> --option`` of a shell block is one that ``--help`` knows."""
    lines = [line for page in PAGES for line in commands(page) if line.startswith("smartsplat ")]
    options: dict[str, set[str]] = {}
    for line in lines:
        _, subcommand, *rest = line.split("#")[0].split()
        options.setdefault(subcommand, set()).update(re.findall(r"(?<!\S)--[a-z]+", " ".join(rest)))
    assert "encode" in options
    for subcommand, used in options.items():
        program = "from smartsplat.cli import main; main()"
        call = [sys.executable, "-c", program, subcommand, "--help"]
        shown = subprocess.run(call, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"})
        assert shown.returncode == 0, subcommand
        assert {option for option in used if option not in shown.stdout} == set(), subcommand


MADE = ("out/", "corpus/", ".venv/", "build/")  # not in the repository until a command makes them


def mentions(page: Path) -> set[str]:
    """Paths that a page names: link targets and whole code spans that look like a file or a folder."""
    text = page.read_text()
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", text)
    spans = re.findall(r"`([\w.-]*[\w./-]+(?:/|\.(?:py|pyi|cpp|h|js|md|toml|tsv|svg|txt|sspl|jpg|png)))`", text)
    return {path for path in (*links, *spans) if "://" not in path and not path.startswith((*MADE, "mailto:"))}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_pages_mention_only_what_exists(page: Path) -> None:
    places = (page.parent, ROOT, ROOT / "src/smartsplat")
    missing = [path for path in mentions(page) if not any((place / path).exists() for place in places)]
    assert missing == []


def test_equations_are_explained() -> None:
    """Every equation that the code cites has its heading in docs/method.md, and all 22 of the paper do."""
    headings = set(re.findall(r"^### (E\d+)\b", (ROOT / "docs/method.md").read_text(), re.MULTILINE))
    sources = [*ROOT.glob("src/**/*.py"), *ROOT.glob("native/*")]
    cited = {name for path in sources for name in re.findall(r"\bE\d{1,2}\b", path.read_text())}
    assert {"E1", "E13", "E22"} <= cited
    assert cited <= headings
    assert headings == {f"E{number}" for number in range(1, 23)}
