"""Commands of which one system call fails: each call in turn, until there is none left to fail."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from PIL import Image

import smartsplat
from tests.cli.commands import COMMAND, ENVIRONMENT, IMAGE, QUICK
from tests.cli.test_resume import hasty
from tests.faults.records import record, thorough

compiler = os.environ.get("CC") or shutil.which("cc")
pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux") or compiler is None,
    reason="system calls are made to fail by LD_PRELOAD and cc",
)

FAULTS = [("open", errno.EMFILE), ("read", errno.EIO), ("write", errno.ENOSPC), ("fsync", errno.EIO)]
FAULTS += [("pthread_create", errno.EAGAIN)]
if thorough():
    FAULTS += [
        *(("open", number) for number in (errno.EROFS, errno.EIO, errno.EINTR)),
        *(("write", number) for number in (errno.EDQUOT, errno.EIO, errno.EINTR)),
        *(("close", number) for number in (errno.EIO, errno.EINTR)),
        *(("rename", number) for number in (errno.EACCES, errno.ENOSPC)),
        *(("read", errno.EINTR), ("fsync", errno.EINTR), ("mkdir", errno.ENOSPC), ("unlink", errno.EIO)),
    ]
ENCODE = ("encode", "a.png", "b.sspl", "--force", "--ratio", "30", *QUICK)
COMMANDS = {
    "encode, with checkpoints": hasty(*ENCODE, interval=0),
    "decode to PNG": (*COMMAND, "decode", "a.sspl", "b.png", "--force"),
    "decode to TIFF": (*COMMAND, "decode", "a.sspl", "b.tif", "--force"),
    "decode to WebP": (*COMMAND, "decode", "a.sspl", "b.webp", "--force"),
    "export": (*COMMAND, "export", "a.sspl", "b.html", "--force"),
    "info": (*COMMAND, "info", "a.sspl"),
}
if thorough():
    COMMANDS |= {
        "encode": (*COMMAND, *ENCODE),
        "encode several": (*COMMAND, "encode", "a.png", "deep.tif", "--out-dir", "out", "--force", *QUICK),
        "compare": (*COMMAND, "compare", "a.png", "a.sspl"),
    }
CHECKPOINT = "b.sspl.checkpoint"
MAX_CALLS = 200
"""Of one kind on files of the working directory; more would be a loop."""


@pytest.fixture(scope="session")
def shim(tmp_path_factory: pytest.TempPathFactory) -> Path:
    library = tmp_path_factory.mktemp("shim") / "shim.so"
    source = Path(__file__).with_name("shim.c")
    subprocess.run([str(compiler), "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with inputs, and with older outputs."""
    folder = tmp_path_factory.mktemp("inputs")
    Image.fromarray(IMAGE).save(folder / "a.png")
    Image.fromarray(IMAGE).save(folder / "deep.tif")
    (folder / "a.sspl").write_bytes(smartsplat.encode(IMAGE, ratio=30, steps=20, threads=1))
    (folder / "b.sspl").write_bytes(smartsplat.encode(IMAGE[:8, :8], gaussians=1, steps=1))
    for name in ("b.png", "b.tif", "b.webp"):
        Image.fromarray(IMAGE[:8, :8]).save(folder / name, lossless=True)
    (folder / "b.html").write_bytes(b"<!doctype html>older")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def outcome(
    command: tuple[str, ...], folder: Path, inputs: Path, environment: dict[str, str]
) -> tuple[int, str, dict[str, bytes]]:
    """Of a command in a fresh copy of the inputs: exit code, stderr, and what the folder then holds."""
    shutil.copytree(inputs, folder)
    done = subprocess.run(
        command, cwd=folder, env=ENVIRONMENT | environment, capture_output=True, timeout=120, check=False
    )
    found = contents(folder)
    shutil.rmtree(folder)
    return done.returncode, done.stderr.decode(), found


def failures(
    command: tuple[str, ...], call: str, number: int, shim: Path, inputs: Path, work: Path
) -> Iterator[tuple[int, int, str, dict[str, bytes]]]:
    """Which call failed, and ``outcome``, for each call of that kind on a file of the folder."""
    work.mkdir()
    for at in range(1, MAX_CALLS + 2):
        hit, folder = work / f"hit{at}", work / f"folder{at}"
        fault = {"FAULT_CALL": call, "FAULT_ERRNO": str(number), "FAULT_AT": str(at), "FAULT_PATH": str(folder)}
        fault |= {"FAULT_HIT": str(hit), "LD_PRELOAD": str(shim)}
        result = outcome(command, folder, inputs, fault)
        if not hit.exists():
            return
        yield at, *result
    raise AssertionError(f"more than {MAX_CALLS} calls")


@pytest.mark.parametrize("name", COMMANDS)
def test_a_call_that_fails(name: str, shim: Path, inputs: Path, tmp_path: Path) -> None:
    """One line and exit code 1, everything as it was; or the file that there would have been."""
    command = COMMANDS[name]
    code, said, expected = outcome(command, tmp_path / "folder", inputs, {})
    assert code == 0, said
    older = contents(inputs)

    def wrong_of(index: int) -> list[list[str]]:
        call, number = FAULTS[index]
        return [
            [f"{call} {at}, {os.strerror(number)}: {problem}; exit code {code}: {said}" for problem in problems]
            for at, code, said, found in failures(command, call, number, shim, inputs, tmp_path / str(index))
            for problems in [wrong(code, said, left_by(call, found), older, expected)]
        ]

    with ThreadPoolExecutor(2) as pool:
        runs = [run for runs in pool.map(wrong_of, range(len(FAULTS))) for run in runs]
    assert len(runs) >= 3
    record("injected faults", len(runs))
    assert not (found := [problem for run in runs for problem in run]), "\n".join(found)


def left_by(call: str, found: dict[str, bytes]) -> dict[str, bytes]:
    """What counts: a temporary file that cannot be removed stays."""
    if call != "unlink":
        return found
    return {name: data for name, data in found.items() if not Path(name).name.startswith(".smartsplat-")}


def wrong(
    code: int, said: str, found: dict[str, bytes], older: dict[str, bytes], expected: dict[str, bytes]
) -> Iterator[str]:
    """What a command has done that it should not, whether it could do its work or not."""
    if code not in (0, 1):
        yield "another exit code"
    if "Traceback" in said or (code == 1 and not re.search("^smartsplat: ", said, re.MULTILINE)):
        yield "not a line that says what is wrong"
    if code == 0 and found != expected:
        yield "not the files that there should be"
    for path, data in found.items():
        if path == CHECKPOINT and code == 1:  # the work that was done
            continue
        if data not in (older.get(path), expected.get(path)):
            yield f"{path} is neither the old nor the new one"
    for path in older.keys() - found.keys():
        yield f"{path} is gone"
