"""The house rules that a program can check."""

from __future__ import annotations

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import smartsplat

ROOT = Path(__file__).resolve().parents[1]
TEXTS = {".py", ".pyi", ".cpp", ".h", ".js", ".mjs", ".md", ".toml", ".txt", ""}
FOLDERS = ("src", "native", "baselines", "viewer", "tests", "bench", "scripts", "release", ".ci", "docs", "examples")
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/*.md"), *ROOT.glob("baselines/*.md")]
)
MAX_FILE_LINES = 500
MAX_FUNCTION_LINES = 60  # of code, the docstring not counted


def test_public_names_exist() -> None:
    assert [name for name in smartsplat.__all__ if not hasattr(smartsplat, name)] == []
    assert list(smartsplat.__all__) == sorted(smartsplat.__all__)


def texts() -> list[Path]:
    """Source and pages, without what is made or fetched."""
    folders = (ROOT / name for name in FOLDERS)
    files = [path for folder in folders for path in folder.rglob("*")] + list(ROOT.iterdir())
    made = {"node_modules"}
    return sorted(path for path in files if path.is_file() and path.suffix in TEXTS and not made & set(path.parts))


def test_no_file_is_too_long() -> None:
    files = texts()
    assert ROOT / "src/smartsplat/encoder/encode.py" in files
    lengths = {str(path.relative_to(ROOT)): len(path.read_bytes().splitlines()) for path in files}
    assert {name: length for name, length in lengths.items() if length > MAX_FILE_LINES} == {}


def python_functions(path: Path) -> dict[str, int]:
    """Name and first line -> lines of code."""
    lengths = {}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            docstring = (first.end_lineno or 0) - first.lineno + 1 if documented else 0
            lengths[f"{node.name}:{node.lineno}"] = (node.end_lineno or 0) - node.lineno + 1 - docstring
    return lengths


def native_functions(path: Path) -> dict[str, int]:
    """The same for C++ as clang-format leaves it: a function ends where its brace stands as far left as it began."""
    lengths, begun = {}, {0: 0, 2: 0}
    outer = re.compile(r"(namespace|struct|class|enum|union|extern|typedef)\b|.*= *\{$")
    for number, line in enumerate(path.read_text().splitlines(), 1):
        indent = len(line) - len(line.lstrip())
        if indent in begun and line.endswith("{") and not outer.match(line.strip()) and "}" not in line:
            begun[indent] = begun[indent] or number
        elif indent in begun and line.strip().startswith("}") and begun[indent]:
            lengths[f"{number}"] = number - begun[indent] + 1
            begun[indent] = 0
        if indent == 0 and line.startswith("}"):
            begun[2] = 0
    return lengths


def functions(path: Path) -> dict[str, int]:
    return python_functions(path) if path.suffix == ".py" else native_functions(path)


def test_no_function_is_too_long() -> None:
    files = [path for path in texts() if path.suffix in (".py", ".cpp", ".h")]
    lengths = {path.relative_to(ROOT).as_posix(): functions(path) for path in files}
    assert max(lengths["src/smartsplat/encoder/fit.py"].values()) > 15
    assert max(lengths["native/bitstream/entropy.cpp"].values()) > 15
    long = {(name, at): n for name, each in lengths.items() for at, n in each.items() if n > MAX_FUNCTION_LINES}
    assert long == {}


def test_lengths_of_functions(tmp_path: Path) -> None:
    python, native = tmp_path / "a.py", tmp_path / "a.cpp"
    python.write_text('def f():\n    """One.\n\n    Two.\n    """\n    return 1\n')
    assert list(functions(python).values()) == [2]
    body = "  g();\n" * 5
    native.write_text(f"namespace a {{\nstruct S {{\n  void m() {{\n  {body}  }}\n}};\n\nint f() {{\n{body}}}\n}}\n")
    assert list(functions(native).values()) == [7, 7]


def test_contributing_is_short() -> None:
    assert len((ROOT / "CONTRIBUTING.md").read_text().splitlines()) <= 60


RETIRED = {
    "newcomers?": "added Gaussians",
    "(?:un)?hurr(?:y|ied)": "lr_scale_up, fixed_lr",
    "listener": "callback, progress",
    "(?:SMALLEST|LARGEST|LEAST|MOST|FEWEST|LONGEST|HIGHEST|LOWEST|SHORTEST|FARTHEST|QUICKEST)_[A-Z_]+": "MIN_, MAX_",
    "k(?:Smallest|Largest|Least|Most|Fewest|Longest|Highest|Lowest|Farthest)[A-Z]\\w*": "kMin, kMax",
    "(?:smallest|largest|least|most|fewest|longest|highest|lowest)_[a-z_]+": "min_, max_",
    "[Pp]ictures?": "image",
    "rivals?": "baselines",
    "(?:take[ns]?|took) back|way back": "backward pass",
    "size[_ ]term": "rate term",
    "growth event": "densify step",
    "[Ss]eedSettings|[Ss]eedTile": "InitializeSettings, ImageTile",
    "rate_(?:mean|scale|rotation|color|closing)\\w*": "lr_",
    "lonely|LEAST_LIGHT": "energy_context, MIN_TRANSMITTANCE",
    "snap(?:ped|_all)?": "fake_quantize",
    "draw_(?:cells|weighted|bytes|levels|tile)|return_(?:tile|levels)": "sample_, render_, backward_",
    "[Pp]anels?_?(?:x|y|put|loss|offset)?": "macrotile",
}
"""Pattern of a word that one had to learn -> the field's word, as docs/architecture.md explains it."""

MAY_KEEP = {
    "CHANGELOG.md": ".*",
    "tests/test_repository.py": ".*",
    "tests/test_deprecated.py": "picture",
    "tests": "(?:smallest|largest|least|most|longest|highest)_[a-z_]+",  # names of tests are sentences
    "src/smartsplat/cli": "panel",  # of Typer's
    "release/commands.py": "panel",
    "bench/paper": "[Pp]anels?",  # of a figure
    "tests/bench/paper": "[Pp]anels?",
    "bench/kernels": "snap",  # a row of tables that are older than the word
    "tests/bench/kernels": "snap",
    "docs/results.md": "snap",
    "docs/reproduce.md": "panels?",
    "scripts/bench": "panels?",
    "bench": "pictures?",  # a column of tables that are older than the word
    "tests/bench": "pictures?",
}
"""Where old words stand for what they were, or for something else: folder or file -> which words."""


def test_retired_words_stay_away() -> None:
    """One word, one meaning, and the field's: see the glossary of docs/architecture.md."""
    occurrences = {}
    for path in texts():
        name = path.relative_to(ROOT).as_posix()
        kept = re.compile("|".join(words for place, words in MAY_KEEP.items() if name.startswith(place)) or r"(?!)")
        for pattern in RETIRED:
            words = {
                word
                for word in re.findall(rf"(?<![A-Za-z])(?:{pattern})(?![A-Za-z])", path.read_text())
                if not kept.fullmatch(word)
            }
            if words:
                occurrences[name, pattern] = words
    assert occurrences == {}


def test_the_version_is_the_newest_in_the_changelog() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    releases = re.findall(r"^## \[(\d[^]]*)\] - \d{4}-\d\d-\d\d$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert releases[0] == project["version"]
    assert smartsplat.__version__ == project["version"]
    assert json.loads((ROOT / "viewer/package.json").read_text())["version"] == project["version"]
    baselines = tomllib.loads((ROOT / "baselines/pyproject.toml").read_text())["project"]
    assert baselines["version"] == project["version"]
    assert f"smartsplat=={project['version']}" in baselines["dependencies"]


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
    places = (page.parent, ROOT, ROOT / "src/smartsplat", ROOT / "baselines/src/smartsplat_baselines")
    missing = [path for path in mentions(page) if not any((place / path).exists() for place in places)]
    assert missing == []


def test_equations_are_explained() -> None:
    """Every equation that the code cites has its heading in docs/method.md, and all 22 of the paper do."""
    headings = set(re.findall(r"^### (E\d+)\b", (ROOT / "docs/method.md").read_text(), re.MULTILINE))
    sources = [path for folder in ("src", "native") for path in (ROOT / folder).rglob("*.*") if path.suffix in TEXTS]
    cited = {name for path in sources for name in re.findall(r"\bE\d{1,2}\b", path.read_text())}
    assert {"E1", "E13", "E22"} <= cited
    assert cited <= headings
    assert headings == {f"E{number}" for number in range(1, 23)}
