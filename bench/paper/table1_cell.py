"""One cell of bench.paper.table1, in a process of its own: prints its steps and then its row, one JSON object a line.

python -m bench.paper.table1_cell '{"method": ..., "ratio": ..., "seed": ..., "steps": ...}' IMAGE.npy WEIGHTS
"""

from __future__ import annotations

import json
import math
import statistics
import sys
import time
from pathlib import Path

import numpy as np

import smartsplat_baselines
from bench.processes import max_resident_megabytes
from bench.rate_distortion.perceptual import PerceptualMetrics
from smartsplat.gaussians import nominal_count
from smartsplat.metrics import compare

DECODES = 3
"""Of each file, for the median of their seconds."""

REPORT_SECONDS = 0.5
"""At most between two steps that are reported."""

REPORT_STEP_FACTOR = 1.1
"""Steps this factor apart are reported however soon they come: a curve on a logarithmic axis needs them."""

METRICS = ("psnr", "ssim", "ms_ssim", "lpips")


class FitTrace:
    """A fit's progress callback: prints steps with their seconds and PSNR, and times the whole."""

    def __init__(self) -> None:
        self.begin = self.end = self.reported = time.perf_counter()
        self.steps, self.next_step = 0, 1.0

    def __call__(self, step: int, count: int, error: float) -> None:
        self.end = time.perf_counter()
        self.steps += 1
        if self.end - self.reported > REPORT_SECONDS or step >= self.next_step:
            self.reported, self.next_step = self.end, max(step, self.next_step) * REPORT_STEP_FACTOR
            decibels = -10 * math.log10(error) if error > 0 else None
            point = {"step": step, "seconds": self.end - self.begin, "gaussians": count, "psnr": decibels}
            print(json.dumps(point), flush=True)


def row_of(cell: dict[str, object], path: Path, weights: Path) -> dict[str, object]:
    """The columns that depend on the cell.

    Args:
        cell: method, ratio, seed and steps.
        path: of the pixels, uint8 [H, W, 3].
        weights: file of LPIPS's weights, which need not exist.
    """
    pixels = np.load(path)
    height, width, _ = pixels.shape
    method, ratio, seed, steps = str(cell["method"]), float(str(cell["ratio"])), cell["seed"], cell["steps"]
    assert isinstance(seed, int)
    assert isinstance(steps, int)
    trace = FitTrace()
    task = smartsplat_baselines.Task(pixels, nominal_count(width, height, ratio), steps, seed, trace)
    fitted = smartsplat_baselines.run(method, task)
    peak = max_resident_megabytes()
    renderer, seconds = smartsplat_baselines.BlendRenderer(), []
    for _ in range(DECODES):
        start = time.perf_counter()
        decoded = smartsplat_baselines.decode(fitted.data, renderer)
        seconds.append(time.perf_counter() - start)
    of_fit = compare(pixels, fitted.pixels)
    of_file = of_fit if np.array_equal(decoded, fitted.pixels) else compare(pixels, decoded)
    values = of_fit | PerceptualMetrics(pixels, weights).compare(fitted.pixels)
    fit_seconds = trace.end - trace.begin
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
        "ratio_nominal": format(ratio, "g"),
        "ratio_true": format(pixels.size / len(fitted.data), ".6g"),
        "bpp": format(8 * len(fitted.data) / (width * height), ".6g"),
        "file_psnr": format(of_file["psnr"], ".6g"),
        "file_ms_ssim": format(of_file["ms_ssim"], ".6g"),
        "seconds": format(fit_seconds, ".4g"),
        "steps_per_second": format(trace.steps / max(fit_seconds, 1e-9), ".4g"),
        "peak_mb": round(peak),
        "decode_mp_s": format(width * height / 1e6 / statistics.median(seconds), ".4g"),
        **{name: format(values[name], ".6g") for name in METRICS if name in values},
    }


def main() -> None:
    cell, path, weights = sys.argv[1:]
    print(json.dumps(row_of(json.loads(cell), Path(path), Path(weights))), flush=True)


if __name__ == "__main__":
    main()
