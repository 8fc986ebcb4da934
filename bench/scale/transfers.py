"""How fast tasks and results go between the client and a worker of a Dask cluster, as lines of JSON.

python -m bench.scale.transfers

Client, scheduler and worker are three processes on this machine, over TCP. All that is sent passes the scheduler.
"""

from __future__ import annotations

import json
import statistics
import time

import numpy as np
from distributed import Client, LocalCluster

SIZES = (0, 1 << 20, 1 << 23, 1 << 26)
"""Bytes."""

REPEATS = 7


def main() -> None:
    with (
        LocalCluster(n_workers=1, threads_per_worker=1, host="127.0.0.1", dashboard_address=":0") as cluster,
        Client(cluster, set_as_default=False) as client,
    ):
        client.submit(len, b"", pure=False).result()
        for size in SIZES:
            there = [_seconds(client, size, 0) for _ in range(REPEATS)]
            back = [_seconds(client, 0, size) for _ in range(REPEATS)]
            print(json.dumps({"bytes": size, "there": statistics.median(there), "back": statistics.median(back)}))


def _seconds(client: Client, there: int, back: int) -> float:
    """Of a task that does nothing but take and return so many bytes."""
    data = np.random.default_rng(there).integers(0, 256, there, dtype=np.uint8)
    begin = time.perf_counter()
    client.submit(_answer, data, back, pure=False).result()
    return time.perf_counter() - begin


def _answer(data: np.ndarray, size: int) -> np.ndarray:
    """On the worker."""
    return np.full(size, len(data) % 251, np.uint8)


if __name__ == "__main__":
    main()
