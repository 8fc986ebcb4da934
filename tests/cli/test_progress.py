from __future__ import annotations

from pathlib import Path

from tests.cli.commands import QUICK, process


def test_without_a_terminal_there_is_no_progress(workdir: Path) -> None:
    _, output = process("encode", "a.png", "b.sspl", *QUICK)
    assert len(output.splitlines()) == 1
    assert "fitting" not in output
