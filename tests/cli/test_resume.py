"""``smartsplat encode`` after the process has died: the same command goes on, to the same file."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import smartsplat
from tests.cli.commands import ENVIRONMENT, fails, files, run, start
from tests.faults.records import record, thorough
from tests.samples import landscape

HASTY = (
    "import smartsplat.encoder.checkpoint as checkpoint; checkpoint.INTERVAL = {}; checkpoint.MAX_WRITING_PART = 1e9;"
    "from smartsplat.cli import main; main()"
)
"""The command with another interval."""

ENCODE = ("encode", "a.png", "b.sspl", "--ratio", "30", "--effort", "5", "--steps", "400", "--threads", "1")


def hasty(*arguments: str, interval: float = 0.0) -> tuple[str, ...]:
    return (sys.executable, "-c", HASTY.format(interval), *arguments)


def test_killed_at_any_moment(workdir: Path) -> None:
    """What is there is always the older file or the whole new one, and the input."""
    image = landscape(220, 160)
    Image.fromarray(image).save("a.png")
    source = Path("a.png").read_bytes()
    run(*ENCODE)
    expected = Path("b.sspl").read_bytes()
    older = smartsplat.encode(landscape(40, 30), gaussians=9, steps=1)
    Path("b.sspl").write_bytes(older)
    choice, kills, went_on, patience = random.Random(1), 0, 0, 1.0
    while True:
        process = subprocess.Popen(hasty(*ENCODE), env=ENVIRONMENT, stderr=subprocess.PIPE)
        try:
            _, said = process.communicate(timeout=choice.uniform(0.6, 1.6) * patience)
        except subprocess.TimeoutExpired:
            process.kill()
            kills += 1
            _, said = process.communicate()
        went_on += b"going on from b.sspl.checkpoint" in said
        assert Path("a.png").read_bytes() == source
        assert Path("b.sspl").read_bytes() in (older, expected)
        for unfinished in workdir.glob(".smartsplat-*.tmp"):  # of a kill in the milliseconds of writing b.sspl
            unfinished.unlink()
        assert set(files(workdir)) <= {"a.png", "a.sspl", "b.sspl", "b.sspl.checkpoint", "b.sspl.checkpoint.new"}
        assert process.returncode in (0, -signal.SIGKILL), said
        if process.returncode == 0:
            assert Path("b.sspl").read_bytes() == expected
            if went_on >= 2 and kills >= (200 if thorough() else 3):
                break
            Path("b.sspl").write_bytes(older)
        patience = 1.1 * patience if process.returncode and not went_on else 1  # where a process starts slowly
    record("kills", kills)
    record("of them went on from a checkpoint", went_on)
    assert Path("b.sspl").read_bytes() == expected
    assert files(workdir) == ["a.png", "a.sspl", "b.sspl"]


def end_by(number: int, *arguments: str) -> tuple[int, bytes]:
    """Ends the command once there is a checkpoint; what it exits with and says."""
    process = start(command=hasty(*arguments), stderr=subprocess.PIPE)
    while not Path("b.sspl.checkpoint").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_ended_by_a_signal(workdir: Path, number: int, code: int) -> None:
    Image.fromarray(landscape(220, 160)).save("a.png")
    run(*ENCODE)
    expected = Path("b.sspl").read_bytes()
    Path("b.sspl").unlink()
    ended, said = end_by(number, *ENCODE)
    assert ended == code
    assert (b"the same command goes on from b.sspl.checkpoint" in said) == (number == signal.SIGINT)
    assert Path("b.sspl").exists() == (number == signal.SIGINT)
    assert "going on from b.sspl.checkpoint" in run(*ENCODE).stderr
    assert Path("b.sspl").read_bytes() == expected
    assert files(workdir) == ["a.png", "a.sspl", "b.sspl"]


LONG = ("encode", "a.png", "b.sspl", "--ratio", "30", "--effort", "9")


def test_another_command_does_not_take_it(workdir: Path) -> None:
    assert end_by(signal.SIGINT, *LONG)[0] == 130
    before = Path("b.sspl.checkpoint").read_bytes()
    other = ("encode", "a.png", "b.sspl", "--ratio", "31", "--effort", "1")
    assert "b.sspl.checkpoint is of an encode of another image, or with other settings" in fails(*other, code=2)
    assert Path("b.sspl.checkpoint").read_bytes() == before
    run(*other, "--restart")
    assert files(workdir) == ["a.png", "a.sspl", "b.sspl"]
    assert np.asarray(smartsplat.decode("b.sspl")).shape == (64, 96, 3)


def test_a_stream_has_none(workdir: Path) -> None:
    assert end_by(signal.SIGINT, *LONG)[0] == 130
    kept = Path("b.sspl.checkpoint").read_bytes()
    process = start("encode", "a.png", "-", "--effort", "1", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    data, _ = process.communicate(timeout=60)
    assert smartsplat.open(data).width == 96
    assert Path("b.sspl.checkpoint").read_bytes() == kept
    assert files(workdir) == ["a.png", "a.sspl", "b.sspl", "b.sspl.checkpoint"]
