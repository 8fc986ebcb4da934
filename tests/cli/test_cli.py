from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import smartsplat
from tests.cli.commands import ENVIRONMENT, QUICK, fails, process, run

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("encode", "decode", "info", "compare", "view", "export", "serve")


def test_help_and_version() -> None:
    assert run("--version").stdout == f"smartsplat {smartsplat.__version__}\n"
    for command in ((), *((name,) for name in COMMANDS)):
        shown = run(*command, "--help").stdout
        assert "Usage: smartsplat" in shown
        assert "Exit codes" in shown
        assert "143" in shown


def test_no_argument_at_all_asks_for_help() -> None:
    out, output = process(code=2)
    assert b"Usage" in out + output.encode()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("nonsense",), "nonsense"),
        (("encode",), "IN"),
        (("info", "a", "b"), "unexpected extra argument"),
        (("compare", "a"), "IMAGE"),
        (("view",), "FILE"),
        (("view", "a", "--port", "65536"), "'--port'"),
        (("export", "a"), "OUT.html"),
        (("serve",), "DIR"),
        (("serve", "a", "b"), "unexpected extra argument"),
        (("encode", "a", "b", "--threads", "-3"), "'--threads': -3"),
        (("encode", "a", "b", "--effort", "10"), "'--effort'"),
        (("encode", "a", "b", "--effort", "x"), "'--effort'"),
        (("encode", "a", "b", "--page", "0"), "'--page'"),
        (("encode", "a", "b", "--seed", "-1"), "'--seed'"),
        (("encode", "a", "b", "--bytes", "1.5"), "'--bytes'"),
        (("encode", "a", "b", "--ratio", ""), "'--ratio'"),
        (("encode", "a", "b", "--quality", "5"), "--quality"),
        (("decode", "a", "b", "--threads", "0"), "'--threads'"),
        (("decode", "a", "b", "--depth", "x"), "'--depth'"),
        (("decode", "a", "b", "--scale", "big"), "'--scale'"),
        (("decode", "a", "b", "--region"), "--region"),
    ],
)
def test_wrong_usage_is_one_line(arguments: tuple[str, ...], says: str) -> None:
    line = fails(*arguments, code=2)
    assert says in line
    assert "--help" in line


def test_completion_can_be_shown() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "smartsplat", "--show-completion", "bash"],
        capture_output=True,
        check=False,
        env=ENVIRONMENT | {"_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
    )
    assert b"complete" in shown.stdout


@pytest.mark.parametrize("command", [(), *((name,) for name in COMMANDS)])
def test_help_starts_without_what_only_the_work_needs(command: tuple[str, ...]) -> None:
    program = (
        "import sys, smartsplat.cli\n"
        "try: smartsplat.cli.app(sys.argv[1:])\n"
        "finally: print(*sys.modules, file=sys.stderr)"
    )
    ran: Any = subprocess.run(
        [sys.executable, "-c", program, *command, "--help"], capture_output=True, text=True, check=True
    )
    heavy = {"PIL", "scipy", "torch", "smartsplat._native", "smartsplat.encoder", "smartsplat.decoder"}
    assert heavy & set(ran.stderr.split()) == set()


def test_the_keys_are_documented(workdir: Path) -> None:
    page = (ROOT / "docs/command_line.md").read_text()
    for command in (("encode", "a.png", "b.sspl", *QUICK), ("info", "a.sspl"), ("compare", "a.png", "a.sspl")):
        (line,) = [line for line in page.splitlines() if line.startswith(f"| {command[0]} |")]
        row = json.loads(run(*command, "--json").stdout)
        assert re.findall(r"\w+", re.sub(r"\([^)]*\)", "", line.split("|")[2])) == list(row)
