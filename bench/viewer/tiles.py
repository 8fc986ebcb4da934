"""Loads the image server with tiles at a rate: tiles.tsv.

python -m bench.viewer.tiles --corpus corpus --rate 100 --seconds 600

Requests start when they are due, whether those before have been answered or not: what waits in a queue counts as
waiting. The tiles are those of a viewer that jumps about: any of any level.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.images import MOSAIC
from bench.provenance import provenance
from bench.tables import VIEWER_RESULTS, Table
from bench.viewer.run import encoded

WIDTH, HEIGHT, TILE = 15360, 11520, 512
CONNECTIONS = 16
COLUMNS = (
    *("rate", "seconds", "answered", "failed", "p50_ms", "p95_ms", "p99_ms", "memory_first_mb", "memory_last_mb"),
    *("machine", "versions"),
)


@dataclass
class Load:
    """What came of the requests."""

    milliseconds: list[float] = field(default_factory=list)
    failed: int = 0


def tile(generator: random.Random) -> str:
    """The path of a tile."""
    factor = 2 ** generator.randint(0, 4)
    side = TILE * factor
    x = generator.randrange(-(-WIDTH // side)) * side
    y = generator.randrange(-(-HEIGHT // side)) * side
    width, height = min(side, WIDTH - x), min(side, HEIGHT - y)
    return f"/iiif/mosaic.sspl/{x},{y},{width},{height}/{-(-width // factor)},{-(-height // factor)}/0/default.jpg"


async def connection(port: int, due: asyncio.Queue[tuple[float, str]], load: Load) -> None:
    """Answers one request after the other from the queue."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        while True:
            at, path = await due.get()
            writer.write(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            length = next(int(line[15:]) for line in lines if line.startswith(b"content-length:"))
            await reader.readexactly(length)
            load.milliseconds.append(1000 * (time.perf_counter() - at))
            load.failed += not head.startswith(b"HTTP/1.1 200")
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def attack(port: int, rate: float, seconds: float, seed: int) -> Load:
    """Requests at a rate for so long."""
    generator, load, due = random.Random(seed), Load(), asyncio.Queue[tuple[float, str]]()
    connections = [asyncio.create_task(connection(port, due, load)) for _ in range(CONNECTIONS)]
    start = time.perf_counter()
    count = round(rate * seconds)
    for index in range(count):
        at = start + index / rate
        await asyncio.sleep(max(0.0, at - time.perf_counter()))
        due.put_nowait((at, tile(generator)))
    while len(load.milliseconds) < count and not any(task.done() for task in connections):
        await asyncio.sleep(0.05)
    for task in connections:
        task.cancel()
    await asyncio.gather(*connections, return_exceptions=True)
    return load


def resident_megabytes(process: int) -> float:
    """Memory that a process has in use."""
    text = Path(f"/proc/{process}/status").read_text()
    return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("VmRSS")) / 1e3


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of the originals")
    parser.add_argument("--table", type=Path, default=VIEWER_RESULTS / "tiles.tsv")
    parser.add_argument("--rate", type=float, default=100, help="tiles a second")
    parser.add_argument("--seconds", type=float, default=600)
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "mosaic.sspl").write_bytes(encoded(MOSAIC, 200, options.corpus).read_bytes())
        command = [sys.executable, "-m", "smartsplat", "serve", folder, "--port", "0", "-q"]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as server:
            assert server.stdout is not None
            port = int(server.stdout.readline().decode().rstrip("/\n").rpartition(":")[2])
            asyncio.run(attack(port, 20, 10, 1))
            first = resident_megabytes(server.pid)
            load = asyncio.run(attack(port, options.rate, options.seconds, 2))
            last = resident_megabytes(server.pid)
            server.terminate()
    quantiles = statistics.quantiles(load.milliseconds, n=100)
    row = {
        "rate": options.rate,
        "seconds": options.seconds,
        "answered": len(load.milliseconds),
        "failed": load.failed,
        **{f"p{n}_ms": format(quantiles[n - 1], ".1f") for n in (50, 95, 99)},
        "memory_first_mb": round(first),
        "memory_last_mb": round(last),
    }
    print(row)
    Table(options.table, COLUMNS).append(row | provenance())


if __name__ == "__main__":
    main()
