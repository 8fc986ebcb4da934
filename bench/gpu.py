"""How fast the GPU backend is on this card, and how near to what the card can do.

python -m bench.gpu [--device cuda:1] [--minutes 7] [--table results/v0.5/gpu-NAME.tsv]

Rows are written as they come, the most important first: the card's own ceilings; 10848 x 16320 pixels at 200 : 1, the
size of the paper's Table 2, with each kernel, the time to what the paper's settings reach in 1000 steps, and an encode;
the other sizes and ratios; the time to what they reach in 10 000 steps, of 35 megapixels and, if eight more minutes
are left, of the first size. When the minutes are over, what is missing is said and left out.

A picture is the example photograph, shrunk, or mirrored as often as it takes. A case has as many Gaussians as E5 gives
the nominal ratio, seeded and then fitted for some steps, since fitted ones overlap more. Percentiles are over steps;
times of kernels are between device events around the launch, which the smallest spend waiting for it. Operations and
bytes of a kernel are the least that its work takes (docs/gpu.md), shares are of the measured ceilings. Where the
compiled module cannot be imported what needs it is left out: the row "native" says so.
"""

from __future__ import annotations

import argparse
import platform
import re
import sys
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import triton
import triton.language as tl
from PIL import Image


class Missing(types.ModuleType):
    """Stands for the compiled module in a checkout where it cannot be built."""

    LARGEST_WINDOW = 13  # the one constant of it that seeding on a device reads

    def __getattr__(self, name: str) -> Any:
        if name.isupper():  # constants that modules read when they are imported
            return 0
        raise AttributeError(name)


try:
    import smartsplat._native  # noqa: F401

    NATIVE = True
except ImportError:
    sys.modules["smartsplat._native"] = Missing("smartsplat._native")
    NATIVE = False

from smartsplat.gaussians import Gaussians, nominal_count  # noqa: E402
from smartsplat.raster import StepSettings, View  # noqa: E402
from smartsplat.raster.gpu import Backend, title_of  # noqa: E402
from smartsplat.settings import PAPER, FitSettings  # noqa: E402

Pixels = npt.NDArray[np.uint8]

SIZES = {2: (1920, 1080), 35: (7680, 4560), 177: (10848, 16320)}  # megapixels: width, height
RATIOS = (50.0, 200.0, 1000.0)
MAIN = (177, 200.0)
LONG = (35, 200.0)
SETTLING, STEPS, FRAMES = 60, 40, 40
PAPER_STEPS, LONG_STEPS = 1000, 10_000
LONGEST_MINUTES = 8  # for LONG_STEPS of the paper's settings at 177 megapixels, and the encoder's own
PHOTOGRAPH = Path(__file__).resolve().parents[1] / "examples/seeding.jpg"
COLUMNS = (
    *("measure", "megapixels", "width", "height", "ratio", "gaussians", "pairs", "value", "unit"),
    *("p20_ms", "p50_ms", "p80_ms", "gflop_per_s", "gb_per_s", "flop_share", "bandwidth_share", "device", "versions"),
)

DRAW_FLOP, BACKWARD_FLOP = 14, 34  # of a pixel of a pair, an exponential counted as one
PAIR_BYTES = {"pair": 24, "scatter": 20, "order": 20, "draw": 4, "fit": 40, "backward": 40, "update": 32}
GAUSSIAN_BYTES = {"project": 32 + 32 + 4 + 8 + 4, "draw": 32, "fit": 32, "backward": 32, "update": 2 * (32 + 64 + 4)}


@triton.jit
def multiply_add(out, rounds, block: tl.constexpr):
    """Four independent chains of multiply-adds a value: what the float32 units can do."""
    a = tl.arange(0, block).to(tl.float32) * 1e-6
    b, c, d = a + 1, a + 2, a + 3
    for _ in range(rounds):
        a = a * 0.999 + 0.5
        b = b * 0.999 + 0.5
        c = c * 0.999 + 0.5
        d = d * 0.999 + 0.5
    tl.store(out + tl.program_id(0) * block + tl.arange(0, block), a + b + c + d)


class Timed(Backend):
    """The backend with an event before and behind every launch."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self.taken: dict[str, list[Any]] = {}
        self.watching = False

    def _launch(self, kernel: Any, programs: int, *arguments: Any, warps: int = 4) -> None:
        if not self.watching or not programs:
            super()._launch(kernel, programs, *arguments, warps=warps)
            return
        clock = Clock(self.device)
        super()._launch(kernel, programs, *arguments, warps=warps)
        self.taken.setdefault(kernel.__name__, []).append(clock.stopped())


class Clock:
    """Runs from its making to ``stopped``; ``seconds`` waits for the device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.begin = self._now()

    def _now(self) -> Any:
        if self.device.type == "cpu":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def stopped(self) -> Clock:
        self.end = self._now()
        return self

    @property
    def seconds(self) -> float:
        if self.device.type == "cpu":
            return float(self.end - self.begin)
        self.end.synchronize()
        return float(self.begin.elapsed_time(self.end)) / 1e3


@dataclass
class Case:
    """A picture and its Gaussians on the device."""

    megapixels: float
    ratio: float
    pixels: Pixels
    backend: Timed
    params: Any = None
    state: Any = None
    pairs: int = 0
    settings: StepSettings = field(default_factory=StepSettings)

    @property
    def view(self) -> View:
        return View.whole(self.pixels.shape[1], self.pixels.shape[0])

    def step(self) -> float:
        result = self.backend.step(self.params, self.state, self.pixels, self.view, self.settings)
        return result.mean_square

    def seeded(self) -> tuple[Gaussians, float]:
        """Gaussians by the paper's seeding, and its seconds: with the picture's upload, with compiled kernels."""
        from smartsplat.raster.native import available_threads
        from smartsplat.seed import seed

        height, width = self.pixels.shape[:2]
        count, threads = nominal_count(width, height, self.ratio), available_threads()
        seed(self.pixels[:64, :64].copy(), 9, backend=self.backend)
        start = time.perf_counter()
        gaussians = seed(self.pixels, count, threads=threads, backend=self.backend)
        return gaussians, time.perf_counter() - start


def settings_for(pixels: Pixels, **changes: Any) -> StepSettings:
    """Those of the encoder's default fit at full rates, but for the size term."""
    height, width = pixels.shape[:2]
    defaults = FitSettings()
    usual = StepSettings(
        rate_mean_x=defaults.rate_mean,
        rate_mean_y=defaults.rate_mean,
        rate_scale=defaults.rate_scale,
        rate_rotation=defaults.rate_rotation,
        rate_color=defaults.rate_color,
        beta2=defaults.beta2,
        width=width,
        height=height,
    )
    return replace(usual, largest_scale=max(width, height) / 2, **changes)


def picture(width: int, height: int) -> Pixels:
    """The photograph shrunk to the size if it is larger, or beside its mirror images."""
    with Image.open(PHOTOGRAPH) as image:
        factor = max(width / image.width, height / image.height)
        size = (round(image.width * factor), round(image.height * factor))
        source = image.convert("RGB") if factor > 1 else image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    pixels = np.asarray(source)
    missing = ((0, max(height - len(pixels), 0)), (0, max(width - pixels.shape[1], 0)), (0, 0))
    return np.ascontiguousarray(np.pad(pixels, missing, mode="symmetric")[:height, :width])


class Table:
    """The file of rows; each is on the disk as soon as it is known."""

    def __init__(self, path: Path, device: str) -> None:
        self.path = path
        versions = {"python": platform.python_version(), "torch": torch.__version__, "triton": triton.__version__}
        self.fixed = {"device": device, "versions": ", ".join(f"{name} {value}" for name, value in versions.items())}
        self.flop = self.bandwidth = float("nan")  # a second: the ceilings
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("\t".join(COLUMNS) + "\n", encoding="utf-8")

    def add(self, measure: str, case: Case | None = None, **values: Any) -> None:
        row = {"measure": measure, **self.fixed, **values}
        if case is not None:
            row |= {"megapixels": case.megapixels, "ratio": case.ratio, "pairs": case.pairs}
            row |= {"width": case.pixels.shape[1], "height": case.pixels.shape[0]}
            row["gaussians"] = "" if case.params is None else len(case.params)
        cells = (f"{value:.4g}" if isinstance(value, float) else str(value) for value in map(row.get, COLUMNS))
        line = "\t".join("" if value == "None" else value for value in cells)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(line + "\n")
        said = (
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in values.items()
        )
        where = f" {case.megapixels} MP, {case.ratio:g} : 1" if case else ""
        print(f"{measure}{where}: {', '.join(said)}", flush=True)

    def shares(self, seconds: float, flop: float, traffic: float) -> dict[str, float]:
        rates = {"gflop_per_s": flop / seconds / 1e9, "gb_per_s": traffic / seconds / 1e9}
        return rates | {
            "flop_share": flop / seconds / self.flop,
            "bandwidth_share": traffic / seconds / self.bandwidth,
        }


def percentiles(seconds: list[float]) -> dict[str, float]:
    return {f"p{share}_ms": 1e3 * float(np.percentile(seconds, share)) for share in (20, 50, 80)}


def repeated(backend: Backend, work: Callable[[], object], times: int) -> list[float]:
    """Seconds of each of some calls, on the device."""
    work()
    clocks = []
    for _ in range(times):
        clock = Clock(backend.device)
        work()
        clocks.append(clock.stopped())
    return [clock.seconds for clock in clocks]


def ceilings(table: Table, backend: Timed, small: bool) -> None:
    """Bytes a second of a copy, read and written, and multiply-adds a second."""
    size = 1 << (20 if small else 31)
    source = torch.randint(0, 256, (size,), dtype=torch.uint8, device=backend.device)
    goal = torch.empty_like(source)
    seconds = repeated(backend, partial(goal.copy_, source), 10)
    table.bandwidth = 2 * size / min(seconds)
    table.add("copy", value=table.bandwidth / 1e9, unit="GB/s", **percentiles(seconds))
    del source, goal
    programs, rounds, block = (2, 8, 256) if small else (132 * 64, 4096, 256)
    out = torch.empty(programs * block, device=backend.device)
    seconds = repeated(backend, lambda: backend._launch(multiply_add, programs, out, rounds, block), 10)
    table.flop = 2.0 * 4 * programs * block * rounds / min(seconds)
    table.add("multiply_add", value=table.flop / 1e9, unit="GFLOP/s", **percentiles(seconds))


def measure(table: Table, case: Case, settling: int) -> None:
    """Seeds, steps, memory and frames of a case."""
    gaussians, seconds = case.seeded()
    on_device = case.backend.device.type != "cpu"
    if on_device:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(case.backend.device)
    case.params = case.backend.upload(gaussians)
    case.state = case.backend.start(case.params)
    case.settings = settings_for(case.pixels)
    table.add("init", case, value=seconds, unit="s")
    for _ in range(settling):
        mean_square = case.step()
    case.pairs = case.backend._bin(case.params, case.view, float("inf")).pairs
    seconds_each = repeated(case.backend, case.step, STEPS if on_device else 1)
    steps = percentiles(seconds_each)
    table.add("steps", case, value=1 / float(np.median(seconds_each)), unit="steps/s", **steps)
    table.add("quality", case, value=float(-10 * np.log10(mean_square)), unit=f"dB after {settling} steps")
    if on_device:
        peak = torch.cuda.max_memory_allocated(case.backend.device) / 1e9
        table.add("peak_memory", case, value=peak, unit="GB")
    frames = repeated(case.backend, lambda: case.backend.draw_bytes(case.params, case.view), FRAMES if on_device else 1)
    table.add("decode", case, value=1 / float(np.median(frames)), unit="frames/s", **percentiles(frames))


def kernels(table: Table, case: Case) -> None:
    """Each kernel of a step, of one with SSIM, and of drawing."""
    backend, times = case.backend, 10 if case.backend.device.type != "cpu" else 1
    paper = settings_for(case.pixels, l1=0.9, l2=0.0, ssim=0.1)
    for label, settings in (("", case.settings), (", l1 and ssim", paper)):
        case.settings = settings
        seconds = repeated(backend, case.step, times)
        table.add(f"steps{label}", case, value=1 / float(np.median(seconds)), unit="steps/s", **percentiles(seconds))
        backend.taken, backend.watching = {}, True
        for _ in range(times):
            case.step()
            if settings is not paper:
                backend.draw_bytes(case.params, case.view)
        backend.watching = False
        for name, clocks in backend.taken.items():
            seconds = [clock.seconds for clock in clocks]
            strips = settings is paper and name in ("draw", "backward")  # whose parts of the work vary
            rates = {} if strips else rates_of(table, case, name, float(np.median(seconds)))
            each = 1e3 * sum(seconds) / times
            table.add(f"kernel {name}{label}", case, value=each, unit="ms a step", **percentiles(seconds), **rates)


def rates_of(table: Table, case: Case, name: str, seconds: float) -> dict[str, float]:
    """What a kernel did of its least work, a second; nothing for those whose work is not counted."""
    if name not in PAIR_BYTES and name not in GAUSSIAN_BYTES:
        return {}
    flop = {"draw": DRAW_FLOP, "fit": DRAW_FLOP + BACKWARD_FLOP, "backward": BACKWARD_FLOP}.get(name, 0)
    traffic = PAIR_BYTES.get(name, 0) * case.pairs + GAUSSIAN_BYTES.get(name, 0) * len(case.params)
    if name in ("draw", "fit"):
        traffic += 3 * case.view.rows * case.view.columns
    return table.shares(seconds, 256.0 * flop * case.pairs, traffic)


@dataclass
class Watch:
    """Listens to a fit, and ends it when a PSNR is reached."""

    wanted: float = float("inf")  # dB
    psnr: float = 0.0

    def __call__(self, progress: Any) -> bool:
        self.psnr = progress.psnr
        return self.psnr < self.wanted


def to_the_papers_quality(table: Table, case: Case, steps: int) -> None:
    """The PSNR of the paper's settings after some steps, and when the encoder's own are there at the same count."""
    from smartsplat.fit import Fit
    from smartsplat.raster.native import available_threads
    from smartsplat.rate import ExactCount

    count = nominal_count(case.pixels.shape[1], case.pixels.shape[0], case.ratio)
    own = FitSettings(steps=steps, growth=None, pyramid=(), size=0.0, round_from=(1.0, 1.0))
    wanted = float("inf")
    for name, settings in (("paper", replace(PAPER, steps=steps)), ("smartsplat", own)):
        watch, start = Watch(wanted), time.perf_counter()
        Fit(case.pixels, ExactCount(count), count, settings, case.backend, threads=available_threads()).run(watch)
        seconds = time.perf_counter() - start
        table.add(f"{name}: quality", case, value=watch.psnr, unit=f"dB, {steps} steps at most")
        table.add(f"{name}: time", case, value=seconds, unit="s, init included")
        wanted = watch.psnr


def encode(table: Table, case: Case, effort: int) -> None:
    """What a user gets: an array of pixels to the bytes of a file, with everything that is done on the processor."""
    import smartsplat
    from smartsplat.metrics import psnr

    start = time.perf_counter()
    data = smartsplat.encode(case.pixels, ratio=case.ratio, effort=effort, device=str(case.backend.device))
    seconds = time.perf_counter() - start
    decibels = psnr(case.pixels, smartsplat.decode(data))
    table.add("encode", case, value=seconds, unit=f"s, effort {effort}, {len(data)} bytes, {decibels:.2f} dB")


def plan(sizes: dict[Any, tuple[int, int]], ratios: tuple[float, ...]) -> Iterator[tuple[Any, float]]:
    """Cases, the paper's first."""
    main = MAIN if MAIN[0] in sizes and MAIN[1] in ratios else (next(iter(sizes)), ratios[0])
    yield main
    yield from ((size, ratio) for size in sizes for ratio in ratios if (size, ratio) != main)


def run(
    table: Table, backend: Timed, sizes: dict[Any, tuple[int, int]], ratios: tuple[float, ...], minutes: float
) -> None:
    """Everything, until the minutes are over."""
    end = time.monotonic() + 60 * minutes
    small = backend.device.type == "cpu"
    table.add("native", value="yes" if NATIVE else "no: no fits")
    ceilings(table, backend, small)
    pictures: dict[Any, Pixels] = {}
    for number, (size, ratio) in enumerate(plan(sizes, ratios)):
        if time.monotonic() > end:
            print(f"gpu: {minutes:g} minutes are over; {size} MP at {ratio:g} : 1 and what follows is left out")
            break
        if size not in pictures:
            pictures = {size: picture(*sizes[size])}
        case = Case(size, ratio, pictures[size], backend)
        measure(table, case, 1 if small else SETTLING)
        if number == 0 or (size, ratio) == (2, 200.0):
            kernels(table, case)
        if number == 0 and NATIVE:
            to_the_papers_quality(table, case, 2 if small else PAPER_STEPS)
            encode(table, case, 1 if small else 5)
    else:
        if NATIVE and LONG[0] in sizes:
            case = Case(*LONG, picture(*sizes[LONG[0]]), backend)
            to_the_papers_quality(table, case, 2 if small else LONG_STEPS)
        if NATIVE and not small and time.monotonic() + 60 * LONGEST_MINUTES < end:
            size, ratio = next(plan(sizes, ratios))
            to_the_papers_quality(table, Case(size, ratio, picture(*sizes[size]), backend), LONG_STEPS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cpu: Triton's interpreter, to try this script")
    parser.add_argument("--minutes", type=float, default=7, help="no case is begun later")
    parser.add_argument("--table", type=Path)
    parser.add_argument("--size", action="append", metavar="WxH", help="instead of the three sizes")
    parser.add_argument("--ratios", nargs="+", type=float, default=RATIOS)
    options = parser.parse_args()
    title = "interpreter" if options.device == "cpu" else title_of(options.device)
    slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    sizes: dict[Any, tuple[int, int]] = dict(SIZES)
    if options.size:
        pairs = [tuple(map(int, size.split("x"))) for size in options.size]
        sizes = {round(width * height / 1e6, 4): (width, height) for width, height in pairs}
    table = Table(options.table or Path(f"results/v0.5/gpu-{slug}.tsv"), title)
    run(table, Timed(options.device), sizes, tuple(options.ratios), options.minutes)
    print(f"gpu: the table is {table.path}")


if __name__ == "__main__":
    main()
