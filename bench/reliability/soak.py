"""Endurance: encode, decode, view and serve at work for half an hour, all at once.

python -m bench.reliability.soak --minutes 30 --table results/v0.9/soak.tsv

A process of its own each. Its memory, descriptors and threads are looked at every second, and every answer must be the
one that the same question had first. Fails if, after the first fifth, memory rises by more than 5 % (the median of the
last fifth against that of the second), or if there are never again as few descriptors or threads.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np

import smartsplat
from bench.processes import REPOSITORY
from bench.provenance import provenance
from bench.tables import Table
from smartsplat.arrays import ByteArray

TARGETS = ("encode", "decode", "view", "serve")
MAX_GROWTH = 1.05
MIN_SAMPLES = 10
"""A second each; fewer say nothing."""

COLUMNS = (
    *("target", "minutes", "answers", "wrong", "memory_begin_mb", "memory_end_mb"),
    *("descriptors_begin", "descriptors_end", "threads_begin", "threads_end", "machine", "versions"),
)
Answer = tuple[str, str]
"""A question, and the hash of what came back."""


def image(width: int, height: int, channels: int) -> ByteArray:
    """Waves and noise, uint8 [height, width, channels]."""
    y, x = np.mgrid[:height, :width]
    random = np.random.default_rng(width)
    waves = [128 + 90 * np.sin(x / (9 + 4 * c) + y / (17 - 3 * c)) for c in range(channels)]
    pixels = np.stack(waves, axis=-1) + random.normal(scale=12, size=(height, width, channels))
    return np.clip(pixels, 0, 255).astype(np.uint8)


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def encodes(folder: Path) -> Iterator[Answer]:
    """Files of several kinds of images."""
    images = {f"{channels} channels": image(300 + 20 * channels, 200, channels) for channels in (1, 3, 4)}
    for name, pixels in itertools.cycle(images.items()):
        yield name, digest(smartsplat.encode(pixels, ratio=60, steps=150, threads=2))


def decodes(folder: Path) -> Iterator[Answer]:
    """The whole, regions and other sizes of a file; opened anew each time round."""
    for _ in itertools.count():
        with smartsplat.open(folder / "a.sspl") as reader:
            for region in (None, (10, 20, 300, 200), (500, 300, 64, 64)):
                for scale in (0.25, 1.0, 1.7):
                    pixels = reader.read(region=region, scale=scale)
                    yield f"{region} {scale}", digest(pixels.tobytes())


WORK = {"encode": encodes, "decode": decodes}


def worker(output: Iterable[str]) -> Iterator[Answer]:
    """What a process prints that works on ``WORK``."""
    for line in output:
        question, _, answer = line.rstrip("\n").partition("\t")
        yield question, answer


def pages(target: str, output: Iterable[str]) -> Iterator[Answer]:
    """Answers of the server whose address the process prints."""
    address = urlsplit(next(iter(output)).strip())
    tiles = [
        f"/iiif/a.sspl/{x},{y},256,256/{side},{side}/0/default.{suffix}"
        for x, y, side, suffix in itertools.product((0, 256), (0, 256), (64, 256), ("jpg", "png"))
    ]
    paths = [*tiles, "/iiif/a.sspl/info.json", "/iiif/none.sspl/info.json", "/", "/nothing"]
    if target == "view":
        paths = ["/", "/nothing", *(f"/{path.relative_to(VIEWER)}" for path in sorted(VIEWER.rglob("*.js")))]
    for path in itertools.cycle(paths):
        connection = http.client.HTTPConnection(str(address.hostname), address.port or 80, timeout=60)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            yield path, f"{response.status} {digest(response.read())}"
        finally:
            connection.close()


VIEWER = REPOSITORY / "viewer"


@dataclass
class Watch:
    """What a target has answered, and what its process has held, second by second."""

    answers: int = 0
    wrong: int = 0
    memory: list[float] = field(default_factory=list)  # 10^6 bytes
    descriptors: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def look(self, pid: int) -> None:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
        self.memory.append(pages * os.sysconf("SC_PAGE_SIZE") / 1e6)
        self.descriptors.append(len(os.listdir(f"/proc/{pid}/fd")))
        self.threads.append(len(os.listdir(f"/proc/{pid}/task")))

    def fifths(self) -> tuple[slice, slice]:
        """Of the samples, the second and the last."""
        count = len(self.memory)
        return slice(count // 5, 2 * count // 5), slice(4 * count // 5, count)

    def row(self) -> dict[str, object]:
        begin, end = self.fifths()
        return {
            "answers": self.answers,
            "wrong": self.wrong,
            "memory_begin_mb": format(statistics.median(self.memory[begin]), ".1f"),
            "memory_end_mb": format(statistics.median(self.memory[end]), ".1f"),
            "descriptors_begin": min(self.descriptors[begin]),
            "descriptors_end": min(self.descriptors[end]),
            "threads_begin": min(self.threads[begin]),
            "threads_end": min(self.threads[end]),
        }

    def holds(self) -> bool:
        begin, end = self.fifths()
        return (
            self.answers > 0
            and self.wrong == 0
            and statistics.median(self.memory[end]) <= MAX_GROWTH * statistics.median(self.memory[begin])
            and min(self.descriptors[end]) <= min(self.descriptors[begin])
            and min(self.threads[end]) <= min(self.threads[begin])
        )


def soak(target: str, folder: Path, minutes: float) -> Watch:
    """One target for so many minutes."""
    cli = [sys.executable, "-m", "smartsplat"]
    command = {
        "view": [*cli, "view", "a.sspl", "--no-browser"],
        "serve": [*cli, "serve", ".", "--port", "0"],
    }.get(target, [sys.executable, "-m", "bench.reliability.soak", "--work", target])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(REPOSITORY), *sys.path[1:]])}
    watch, end, first = Watch(), time.monotonic() + 60 * minutes, dict[str, str]()
    with subprocess.Popen(command, cwd=folder, env=environment, stdout=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stdout is not None
        try:
            look_at = time.monotonic() + 1
            answers = worker(process.stdout) if target in WORK else pages(target, process.stdout)
            for question, answer in answers:
                watch.answers += 1
                watch.wrong += first.setdefault(question, answer) != answer
                now = time.monotonic()
                if now >= look_at:
                    watch.look(process.pid)
                    look_at = now + 1
                if now >= end:
                    break
        finally:
            process.terminate()
    return watch


def main() -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("targets", nargs="*", help=f"of {', '.join(TARGETS)}; all if there is none")
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--table", type=Path, help="file of tab-separated values to replace")
    parser.add_argument("--work", choices=WORK, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        for question, answer in WORK[options.work](Path.cwd()):
            print(question, answer, sep="\t", flush=True)
    targets = options.targets or TARGETS
    watches: dict[str, Watch] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "a.sspl").write_bytes(smartsplat.encode(image(800, 600, 3), ratio=50, effort=1))

        def run(target: str) -> None:
            watches[target] = soak(target, folder, options.minutes)

        threads = [threading.Thread(target=run, args=(target,)) for target in targets]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    constants = {"minutes": format(options.minutes, "g")} | provenance()
    broken = [target for target in targets if target not in watches or len(watches[target].memory) < MIN_SAMPLES]
    if broken:
        print(f"soak: {', '.join(broken)}: ended early", file=sys.stderr)
        return 1
    rows = [{"target": target} | watches[target].row() | constants for target in targets]
    for row in rows:
        print(*(f"{name} {value}" for name, value in row.items() if name not in constants), sep=", ")
    if options.table:
        Table(options.table, COLUMNS).write(rows)
    return 0 if all(watch.holds() for watch in watches.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
