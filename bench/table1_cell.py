"""One cell of bench.table1, in a process of its own: prints its steps and then its row, one JSON object a line.

python -m bench.table1_cell '{"method": ..., "ratio": ..., "seed": ..., "steps": ...}' PICTURE.npy WEIGHTS
"""

from __future__ import annotations

import json
import math
import resource
import statistics
import sys
import time
from pathlib import Path

import numpy as np

from bench.perceptual import Judge
from smartsplat import baselines
from smartsplat.gaussians import nominal_count
from smartsplat.metrics import compare
from smartsplat.raster.blend import Backend

DECODES = 3
EVERY = 0.5
"""Seconds, at most, between two steps that are told."""

FARTHER = 1.1
"""How much farther each step lies that is told however soon it comes: a curve on a logarithmic axis needs these."""


def peak_megabytes() -> float:
    """The largest resident memory of this process so far; where the system tells, without its parent's."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6  # bytes, where there is no /proc
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024 / 1e6


class Watch:
    """Tells steps with their seconds and PSNR, and remembers when the first began and the last ended."""

    def __init__(self) -> None:
        self.begin = self.end = self.told = time.perf_counter()
        self.steps, self.farther = 0, 1.0

    def __call__(self, step: int, count: int, error: float) -> None:
        self.end = time.perf_counter()
        self.steps += 1
        if self.end - self.told > EVERY or step >= self.farther:
            self.told, self.farther = self.end, max(step, self.farther) * FARTHER
            decibels = -10 * math.log10(error) if error > 0 else None
            told = {"step": step, "seconds": self.end - self.begin, "gaussians": count, "psnr": decibels}
            print(json.dumps(told), flush=True)


def row_of(cell: dict[str, object], path: Path, weights: Path) -> dict[str, object]:
    """The columns that depend on the cell."""
    pixels = np.load(path)  # uint8 [H, W, 3]
    height, width, _ = pixels.shape
    method, ratio, seed, steps = str(cell["method"]), float(str(cell["ratio"])), cell["seed"], cell["steps"]
    assert isinstance(seed, int)
    assert isinstance(steps, int)
    watch = Watch()
    task = baselines.Task(pixels, nominal_count(width, height, ratio), steps, seed, watch)
    fitted = baselines.run(method, task)
    peak = peak_megabytes()
    backend, seconds = Backend(), []
    for _ in range(DECODES):
        start = time.perf_counter()
        decoded = baselines.decode(fitted.data, backend)
        seconds.append(time.perf_counter() - start)
    of_fit = compare(pixels, fitted.pixels)
    of_file = of_fit if np.array_equal(decoded, fitted.pixels) else compare(pixels, decoded)
    values = of_fit | Judge(pixels, weights).compare(fitted.pixels)
    fit_seconds = watch.end - watch.begin
    numbers = {
        "ratio_nominal": format(ratio, "g"),
        "ratio_true": format(pixels.size / len(fitted.data), ".6g"),
        "bpp": format(8 * len(fitted.data) / (width * height), ".6g"),
        "file_psnr": format(of_file["psnr"], ".6g"),
        "file_ms_ssim": format(of_file["ms_ssim"], ".6g"),
        "seconds": format(fit_seconds, ".4g"),
        "steps_per_second": format(watch.steps / max(fit_seconds, 1e-9), ".4g"),
        "peak_mb": round(peak),
        "decode_mp_s": format(width * height / 1e6 / statistics.median(seconds), ".4g"),
    }
    known = ("psnr", "ssim", "ms_ssim", "lpips")
    return {
        "width": width,
        "height": height,
        "method": method,
        "seed": seed,
        "steps": steps,
        "gaussians": fitted.count,
        "values": fitted.values,
        "bytes": len(fitted.data),
        "nominal_bytes": fitted.nominal_bytes or "",
        **numbers,
        **{name: format(values[name], ".6g") for name in known if name in values},
    }


def main() -> None:
    cell, path, weights = sys.argv[1:]
    print(json.dumps(row_of(json.loads(cell), Path(path), Path(weights))), flush=True)


if __name__ == "__main__":
    main()
