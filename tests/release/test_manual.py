"""The man page and the shell completions."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from release.manual import COMPLETIONS, SHARE, files, roff

BIN = Path(sys.executable).parent


def test_they_are_those_of_the_command_line() -> None:
    """If not: python -m release.manual."""
    assert {path: path.read_text() for path in SHARE.rglob("*") if path.is_file()} == files()


def test_the_page_has_every_command_and_is_plain_to_man() -> None:
    page = files()[SHARE / "man/man1/smartsplat.1"]
    for command in ("encode", "batch", "decode", "info", "compare", "view", "export", "serve"):
        assert f".SS smartsplat {command} " in page
    assert roff(".a -b\\c\n d") == "\\&.a \\-b\\ec d"
    groff = shutil.which("groff")
    if groff is not None:
        done = subprocess.run([groff, "-man", "-ww", "-z"], input=page, capture_output=True, text=True, check=True)
        assert done.stderr == ""


@pytest.mark.parametrize("shell", COMPLETIONS)
def test_shells_take_the_scripts_as_they_are(shell: str) -> None:
    program = shutil.which(shell)
    if program is None:
        pytest.skip(f"{shell} is not installed")
    subprocess.run([program, "-n", SHARE / COMPLETIONS[shell]], check=True)


def test_bash_completes_commands_and_options() -> None:
    script = (
        f"source {SHARE / COMPLETIONS['bash']}; "
        'complete_words() { COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _smartsplat_completion smartsplat; '
        'echo "${COMPREPLY[@]}"; }; '
        "complete_words smartsplat de; complete_words smartsplat encode --eff"
    )
    environment = os.environ | {"PATH": f"{BIN}:{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["decode", "--effort"]
