"""How fast the GPU renderer is on this card, and how near to what the card can do.

python -m bench.gpu.run [--device cuda:1] [--minutes 7] [--table gpu-NAME.tsv]

Rows are written as they come, the most important first: the card's own ceilings; 10848 x 16320 pixels at 200 : 1, the
size of the paper's Table 2, with each kernel, the time to what the paper's settings reach in 1000 steps, and an encode;
the other sizes and ratios; the time to what they reach in 10 000 steps, of 35 megapixels and, if eight more minutes
are left, of the first size. When the minutes are over, the run says what is missing and ends.

An image is the example photograph, shrunk, or mirrored as often as it takes. A case has as many Gaussians as E5 gives
the nominal ratio, initialized and then fitted for some steps, since fitted ones overlap more. Percentiles are over
steps. A kernel is timed between device events around its launch; for the smallest kernels that is mostly the wait for
the launch. Operations and bytes of a kernel are the least that its work takes (docs/gpu.md); fractions ("share" in the
columns) are of the measured ceilings. "pairs" are intersections of a Gaussian and a tile.

Fits and encodes need smartsplat's compiled module. Without it they are left out, as the row "native" says.
"""

from __future__ import annotations

import argparse
import platform
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import triton

from bench.gpu.case import GpuCase, native_module, photograph, step_settings
from bench.gpu.timing import Ceilings, TimedLauncher, measured_ceilings, percentiles, timed_calls
from bench.tables import RESULTS, Table
from smartsplat.arrays import ByteArray
from smartsplat.encoder.initialize import initialize
from smartsplat.encoder.settings import PAPER, FitSettings
from smartsplat.render.gpu import GpuRenderer, title_of
from smartsplat.threads import available_threads

SIZES: dict[float, tuple[int, int]] = {2: (1920, 1080), 35: (7680, 4560), 177: (10848, 16320)}
"""Megapixels: width, height."""

RATIOS = (50.0, 200.0, 1000.0)
PAPER_CASE = (177, 200.0)  # megapixels and nominal ratio of the paper's Table 2
LONG_CASE = (35, 200.0)  # of LONG_STEPS
SETTLING_STEPS, TIMED_STEPS, TIMED_FRAMES, TIMED_KERNEL_STEPS = 60, 40, 40, 10
PAPER_STEPS, LONG_STEPS = 1000, 10_000
LONG_MINUTES = 8  # for LONG_STEPS of the paper's settings at 177 megapixels, and of the encoder's own
EFFORT = 5
COLUMNS = (
    *("measure", "megapixels", "width", "height", "ratio", "gaussians", "pairs", "value", "unit"),
    *("p20_ms", "p50_ms", "p80_ms", "gflop_per_s", "gb_per_s", "flop_share", "bandwidth_share", "device", "versions"),
)


class GpuResults:
    """The table of one run; each row is on the disk, and on the screen, as soon as it is known.

    Args:
        path: of the file, which is begun anew.
        device: what rows call it.
    """

    def __init__(self, path: Path, device: str) -> None:
        self.table = Table(path, COLUMNS)
        self.table.write()
        versions = {"python": platform.python_version(), "torch": torch.__version__, "triton": triton.__version__}
        self.constants = {"device": device, "versions": ", ".join(f"{name} {each}" for name, each in versions.items())}

    def add(self, measure: str, case: GpuCase | None = None, **values: float | str) -> None:
        """Write a row: what was measured, of which case, and its other columns."""
        row: dict[str, Any] = {"measure": measure, **self.constants, **values}
        if case is not None:
            row |= {"megapixels": case.megapixels, "ratio": case.ratio, "pairs": case.intersections}
            row |= {"width": case.pixels.shape[1], "height": case.pixels.shape[0]}
            row["gaussians"] = "" if case.params is None else len(case.params)
        self.table.append({name: _formatted(value) for name, value in row.items()})
        texts = (f"{name} {_formatted(value)}" for name, value in values.items())
        title = f" {case.megapixels} MP, {case.ratio:g} : 1" if case else ""
        print(f"{measure}{title}: {', '.join(texts)}", flush=True)


def _formatted(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


@dataclass
class Run:
    """What all cases share.

    Args:
        small: a few steps only, for Triton's interpreter.
        native: the compiled module is there.
    """

    results: GpuResults
    renderer: GpuRenderer
    launcher: TimedLauncher  # the renderer's
    small: bool
    native: bool

    def case(self, megapixels: float, ratio: float, pixels: ByteArray) -> GpuCase:
        return GpuCase(megapixels, ratio, pixels, self.renderer, self.launcher)

    def steps(self, steps: int, small: int = 1) -> int:
        """So many, or a few."""
        return small if self.small else steps

    def timed(self, work: Any, calls: int) -> dict[str, float]:
        """Columns of percentiles of some calls."""
        return percentiles(timed_calls(self.renderer.device, work, self.steps(calls)))


def measure_ceilings(run: Run) -> Ceilings:
    """What the card can do."""
    ceilings = measured_ceilings(run.launcher, run.small)
    copy, multiply_add = percentiles(ceilings.bandwidth_seconds), percentiles(ceilings.flop_seconds)
    run.results.add("copy", value=ceilings.bandwidth / 1e9, unit="GB/s", **copy)
    run.results.add("multiply_add", value=ceilings.flop / 1e9, unit="GFLOP/s", **multiply_add)
    return ceilings


def measure_case(run: Run, case: GpuCase) -> None:
    """Initialization, steps, memory and frames of a case."""
    on_device = case.renderer.device.type != "cpu"
    if on_device:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(case.renderer.device)
    gaussians, seconds = case.initialized()
    case.upload(gaussians)
    run.results.add("init", case, value=seconds, unit="s")
    settling = run.steps(SETTLING_STEPS)
    for _ in range(settling):
        mean_square = case.step()
    case.intersections = case.renderer.bin(case.params, case.view).intersections
    steps = run.timed(case.step, TIMED_STEPS)
    run.results.add("steps", case, value=1e3 / steps["p50_ms"], unit="steps/s", **steps)
    run.results.add("quality", case, value=float(-10 * np.log10(mean_square)), unit=f"dB after {settling} steps")
    if on_device:
        peak = torch.cuda.max_memory_allocated(case.renderer.device) / 1e9
        run.results.add("peak_memory", case, value=peak, unit="GB")
    frames = run.timed(lambda: case.renderer.render_samples_tensor(case.params, case.view), TIMED_FRAMES)
    run.results.add("decode", case, value=1e3 / frames["p50_ms"], unit="frames/s", **frames)


def measure_kernels(run: Run, case: GpuCase, ceilings: Ceilings) -> None:
    """Each kernel of a step, of one with SSIM, and of rendering."""
    calls = run.steps(TIMED_KERNEL_STEPS)
    with_ssim = step_settings(case.pixels, l1=0.9, l2=0.0, ssim=0.1)
    for label, settings in (("", case.settings), (", l1 and ssim", with_ssim)):
        case.settings = settings
        steps = run.timed(case.step, TIMED_KERNEL_STEPS)
        run.results.add(f"steps{label}", case, value=1e3 / steps["p50_ms"], unit="steps/s", **steps)
        with case.launcher.timing() as clocks:
            for _ in range(calls):
                case.step()
                if settings is not with_ssim:
                    case.renderer.render_samples_tensor(case.params, case.view)
        for name, clocks_of_kernel in clocks.items():
            seconds = [clock.seconds for clock in clocks_of_kernel]
            flop, traffic = case.work(name)
            in_strips = settings is with_ssim and name in ("render", "backward")  # whose parts of the work vary
            counted = traffic > 0 and not in_strips
            fractions = ceilings.fractions(float(np.median(seconds)), flop, traffic) if counted else {}
            each = 1e3 * sum(seconds) / calls
            values = {"value": each, "unit": "ms a step", **percentiles(seconds), **fractions}
            run.results.add(f"kernel {name}{label}", case, **values)


@dataclass
class StopAtPsnr:
    """A fit's progress callback that ends it when a PSNR is reached, and keeps the last."""

    target: float  # dB
    psnr: float = 0.0

    def __call__(self, progress: Any) -> bool:
        self.psnr = progress.psnr
        return self.psnr < self.target


def measure_fits(run: Run, case: GpuCase, steps: int) -> None:
    """The PSNR of the paper's settings after some steps, and the time to it of the encoder's own at the same count."""
    from smartsplat.encoder.compute import Compute, sampler_of  # need the compiled module
    from smartsplat.encoder.fit import Fit, initial_count
    from smartsplat.encoder.rate_control import ExactCount

    usual = FitSettings(steps=steps, densify=None, pyramid=(), rate_weight=0.0, quantize_from=(1.0, 1.0))
    compute = Compute(case.renderer, sampler_of(case.renderer), available_threads())
    target = float("inf")
    for name, settings in (("paper", replace(PAPER, steps=steps)), ("smartsplat", usual)):
        progress, start = StopAtPsnr(target), time.perf_counter()
        count = initial_count(case.count, settings)
        initial = initialize(case.pixels, count, threads=compute.threads, sampler=compute.sampler)
        Fit(case.pixels, initial, ExactCount(case.count), settings, compute, final_count=case.count).run(progress)
        seconds = time.perf_counter() - start
        run.results.add(f"{name}: quality", case, value=progress.psnr, unit=f"dB, {steps} steps at most")
        run.results.add(f"{name}: time", case, value=seconds, unit="s, init included")
        target = progress.psnr


def measure_encode(run: Run, case: GpuCase, effort: int) -> None:
    """What a user gets: an array of pixels to the bytes of a file, with everything that is done on the processor."""
    import smartsplat  # needs the compiled module
    from smartsplat.metrics import psnr

    start = time.perf_counter()
    data = smartsplat.encode(
        case.pixels, ratio=case.ratio, effort=effort, tune="psnr", device=str(case.renderer.device)
    )
    seconds = time.perf_counter() - start
    decibels = psnr(case.pixels, smartsplat.decode(data))
    unit = f"s, effort {effort}, {len(data)} bytes, {decibels:.2f} dB"
    run.results.add("encode", case, value=seconds, unit=unit)


def plan(sizes: dict[float, tuple[int, int]], ratios: tuple[float, ...]) -> Iterator[tuple[float, float]]:
    """Megapixels and ratios of the cases, the paper's first."""
    in_plan = PAPER_CASE[0] in sizes and PAPER_CASE[1] in ratios
    first = PAPER_CASE if in_plan else (next(iter(sizes)), ratios[0])
    yield first
    yield from ((size, ratio) for size in sizes for ratio in ratios if (size, ratio) != first)


def measure_all(run: Run, sizes: dict[float, tuple[int, int]], ratios: tuple[float, ...], minutes: float) -> None:
    """Everything, until the minutes are over."""
    end = time.monotonic() + 60 * minutes
    run.results.add("native", value="yes" if run.native else "no: no fits")
    if not run.native:
        print("gpu: without smartsplat's compiled module fits and encodes are left out", flush=True)
    ceilings = measure_ceilings(run)
    images: dict[float, ByteArray] = {}  # the last one
    for number, (size, ratio) in enumerate(plan(sizes, ratios)):
        if time.monotonic() > end:
            print(f"gpu: {minutes:g} minutes are over; {size} MP at {ratio:g} : 1 and what follows is left out")
            return
        if size not in images:
            images = {size: photograph(*sizes[size])}
        case = run.case(size, ratio, images[size])
        measure_case(run, case)
        if number == 0 or (size, ratio) == (2, 200.0):
            measure_kernels(run, case, ceilings)
        if number == 0 and run.native:
            measure_fits(run, case, run.steps(PAPER_STEPS, small=2))
            measure_encode(run, case, run.steps(EFFORT))
    if run.native and LONG_CASE[0] in sizes:
        size, ratio = LONG_CASE
        measure_fits(run, run.case(size, ratio, photograph(*sizes[size])), run.steps(LONG_STEPS, small=2))
    if run.native and not run.small and time.monotonic() + 60 * LONG_MINUTES < end:
        size, ratio = next(plan(sizes, ratios))
        measure_fits(run, run.case(size, ratio, photograph(*sizes[size])), LONG_STEPS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cpu: Triton's interpreter, to try this script")
    parser.add_argument("--minutes", type=float, default=7, help="no case is begun later")
    parser.add_argument("--table", type=Path, help="file to write; gpu-DEVICE.tsv of the results")
    parser.add_argument("--size", action="append", metavar="WxH", help="instead of the three sizes")
    parser.add_argument("--ratios", nargs="+", type=float, default=RATIOS)
    options = parser.parse_args()
    title = "interpreter" if options.device == "cpu" else title_of(options.device)
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    sizes = dict(SIZES)
    if options.size:
        sides = [tuple(map(int, size.split("x"))) for size in options.size]
        sizes = {round(width * height / 1e6, 4): (width, height) for width, height in sides}
    results = GpuResults(options.table or RESULTS / f"gpu-{slug}.tsv", title)
    launcher = TimedLauncher(options.device)
    renderer = GpuRenderer(options.device, launcher)
    run = Run(results, renderer, launcher, renderer.device.type == "cpu", native_module())
    measure_all(run, sizes, tuple(options.ratios), options.minutes)
    print(f"gpu: the table is {results.table.path}")


if __name__ == "__main__":
    main()
