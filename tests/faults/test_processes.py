"""What a process does to those who work in it: it ends, has no memory, no threads, no home; and other interpreters."""

from __future__ import annotations

import asyncio
import multiprocessing
import resource
import shutil
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import smartsplat
from smartsplat.bitstream import container
from smartsplat.bitstream.file import to_file
from smartsplat.bitstream.quantize import Quantizer
from tests.cli.commands import COMMAND, ENVIRONMENT, IMAGE, QUICK, files, start
from tests.cli.test_resume import hasty
from tests.compare import scene
from tests.faults.records import record, thorough

ENCODE = (*COMMAND, "encode", "a.png", "b.sspl", *QUICK)
DECODE = (*COMMAND, "decode", "a.sspl", "b.png")


def limited(command: tuple[str, ...], **limits: int) -> tuple[int, str]:
    """Exit code and stderr of a command under limits, which have their names of ``resource`` in small letters."""

    def set_limits() -> None:
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, f"RLIMIT_{name.upper()}"), (value, value))

    done = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, timeout=120, check=False, preexec_fn=set_limits, text=True
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", [ENCODE, DECODE])
def test_memory(workdir: Path, command: tuple[str, ...]) -> None:
    """Any limit: the work is done, or one line says that there is too little."""
    for megabytes in (200, 400, 599, 600, 700, 1000, 2000):
        record("limits", 1)
        code, said = limited(command, **{"as": megabytes << 20})
        if megabytes < 600:
            says = f"smartsplat: the address space is limited to {megabytes} MB (ulimit -v); this takes at least 600\n"
            assert (code, said) == (1, says)
            assert files(workdir) == ["a.png", "a.sspl"]
        else:
            assert code == 0, said
            Path(command[5]).unlink()


LITTLE_MEMORY = """
import resource, sys
import smartsplat

reader = smartsplat.open("many.sspl", threads=4)
reader.read(region=(0, 0, 9, 9))  # with what Python and the threads need
taken = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (taken + int(sys.argv[1]),) * 2)
try:
    reader.read(size=(800, 600))
    print("read")
except MemoryError:
    print("no memory")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_ends_while_threads_decode(workdir: Path) -> None:
    gaussians = scene(200_000, 4000, 3000, max_scale=9)
    Path("many.sspl").write_bytes(container.pack(to_file(gaussians, Quantizer(90, 5, 4000, 3000, 3))))
    outcomes = set()
    for megabytes in range(1, 60, 2 if thorough() else 6):
        record("limits", 1)
        command = [sys.executable, "-c", LITTLE_MEMORY, str(megabytes << 20)]
        done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, timeout=120, check=False, text=True)
        assert done.returncode == 0, done.stderr
        outcomes.add(done.stdout.strip())
    assert outcomes == {"read", "no memory"}


@pytest.mark.parametrize("command", [ENCODE, DECODE])
def test_open_files(workdir: Path, command: tuple[str, ...]) -> None:
    output = Path(command[5])
    done = 0
    # With fewer than eight Python itself does not start.
    for number in range(8, 24, 1 if thorough() else 4):
        record("limits", 1)
        code, said = limited(command, nofile=number)
        if code == 0:
            done += 1
            output.unlink()
        else:
            assert code == 1
            assert [line for line in said.splitlines() if line.startswith("smartsplat: ")], said
            assert "Traceback" not in said
        assert files(workdir) == ["a.png", "a.sspl"]
    assert done


@pytest.mark.parametrize(
    "environment", [{"HOME": None}, {"HOME": "/none"}, {"TMPDIR": "/none"}, {"LC_ALL": "C"}, {"LC_ALL": "none"}]
)
def test_environments(workdir: Path, environment: dict[str, str | None]) -> None:
    own = {name: value for name, value in (ENVIRONMENT | environment).items() if value is not None}
    Path("ä.png").write_bytes(Path("a.png").read_bytes())
    for command in ((*COMMAND, "encode", "ä.png", "ö.sspl", *QUICK), (*COMMAND, "decode", "ö.sspl", "ü.png")):
        record("limits", 1)
        done = subprocess.run(command, env=own, capture_output=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
    assert files(workdir) == sorted(["a.png", "a.sspl", "ä.png", "ö.sspl", "ü.png"])


def test_a_folder_that_vanishes(workdir: Path) -> None:
    Path("out").mkdir()
    command = hasty("encode", "a.png", "out/b.sspl", "--steps", "2000", "--threads", "1")
    process = start(command=command, stderr=subprocess.PIPE)
    while not Path("out/b.sspl.checkpoint").exists():
        assert process.poll() is None
        time.sleep(0.01)
    while Path("out").exists():
        shutil.rmtree("out", ignore_errors=True)  # a checkpoint may come in between
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1
    notice, problem = said.decode().splitlines()
    assert notice.startswith("smartsplat: a.png: out/b.sspl.checkpoint: cannot be written: No such file")
    assert problem == "smartsplat: out/b.sspl: cannot be written: No such file or directory"
    assert files(workdir) == ["a.png", "a.sspl"]


def run_python(code: str, *arguments: str) -> tuple[int, str]:
    command = (sys.executable, "-W", "ignore", "-c", code, *arguments)
    done = subprocess.run(command, env=ENVIRONMENT, capture_output=True, timeout=120, check=False, text=True)
    return done.returncode, done.stdout + done.stderr


EXITING = """
import random, sys, threading, time
import numpy as np
import smartsplat
image = np.asarray(smartsplat.decode(sys.argv[1]))
reader = smartsplat.open(sys.argv[1])

def decode():
    while True:
        reader.read()

def encode():
    while True:
        smartsplat.encode(image, ratio=50, steps=200)

for work in (decode, decode, encode):
    threading.Thread(target=work, daemon=True).start()
time.sleep(random.uniform(0.05, 0.5))
"""


def test_python_ends_while_threads_work(workdir: Path) -> None:
    times = 100 if thorough() else 8
    for _ in range(times):
        assert run_python(EXITING, "a.sspl") == (0, "")
    record("exits while threads worked", times)


OTHER_INTERPRETER = """
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
try:
    print(interpreters.run_string(interpreters.create(), "import smartsplat; smartsplat.decode"))
except interpreters.RunFailedError as error:
    print(error)
"""


@pytest.mark.skipif(sys.version_info >= (3, 14), reason="there it is concurrent.interpreters")
def test_another_interpreter_is_told_that_it_cannot(workdir: Path) -> None:
    _, said = run_python(OTHER_INTERPRETER)
    assert "smartsplat cannot be used in a sub-interpreter" in said


def decoded(reader: smartsplat.Reader) -> bytes:
    return bytes(reader.read().tobytes())


@pytest.mark.parametrize(
    "method", [each for each in ("spawn", "forkserver") if each in multiprocessing.get_all_start_methods()]
)
def test_processes_of_a_pool(workdir: Path, method: str) -> None:
    reader = smartsplat.open("a.sspl")
    expected = decoded(reader)
    with ProcessPoolExecutor(2, multiprocessing.get_context(method)) as pool:
        assert list(pool.map(decoded, [reader] * 4)) == [expected] * 4


def test_a_reader_in_many_threads(workdir: Path) -> None:
    reader = smartsplat.open("a.sspl")
    expected = reader.read()
    with ThreadPoolExecutor(16) as pool:
        assert all(np.array_equal(each, expected) for each in pool.map(lambda _: reader.read(), range(200)))


def test_asyncio(workdir: Path) -> None:
    expected = smartsplat.decode("a.sspl")

    async def work() -> list[bool]:
        encodes = [asyncio.to_thread(smartsplat.encode, IMAGE, ratio=30, steps=20, threads=1) for _ in range(3)]
        files_of = await asyncio.gather(*encodes)
        images = await asyncio.gather(*(asyncio.to_thread(smartsplat.decode, data) for data in files_of))
        return [np.array_equal(image, expected) for image in images]

    assert asyncio.run(work()) == [True] * 3
