"""How fast every kernel is on this machine, and how near to what the machine can do.

python -m bench.kernels.run                  everything, into kernels.tsv of the results (ten minutes)
python -m bench.kernels.run --quick          two megapixels only, into no table
python -m bench.kernels.run --megapixels 34 --ratios 20      one case, whose rows replace those of the table

A case is an image and as many Gaussians as E5 gives a nominal ratio, fitted to it for a short time: fitted Gaussians
overlap more than initial ones. The fits are kept in the cache folder; delete it to fit anew. In a case everything is
called once to warm up and then in turn, round after round, so that a slow minute of the machine falls on all alike.
Rows have the 20th, 50th and 80th percentile of the calls. Rates and fractions ("share" in the columns) belong to the
50th. The fractions are of what `multiply_add` (with the same instruction set on as many threads) and `copy` (on the
best number of threads) reach in the same case at their 20th. bench/kernels/work.py says what is counted.

A row "render_bytes/forward" is a stage of a kernel: seconds of the stage, summed over threads, divided by their number.
Only "bin" is measured as it is on the clock. "rest" is the whole call less its stages.

Memory that was freed is used again, and the warm-up touches it first: the first touch of a page costs more than
rendering it, and how much more depends on the system (`keep_memory`).
"""

from __future__ import annotations

import argparse
import ctypes
import io
import itertools
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

import smartsplat
from bench.images import GLOBE, provide
from bench.kernels.report import kernel_table, listing
from bench.kernels.work import Work, evaluations, work_of
from bench.provenance import provenance
from bench.tables import EFFORT_RESULTS, Row
from smartsplat.arrays import ByteArray
from smartsplat.bitstream import container, entropy
from smartsplat.bitstream.quantize import dequantize, fake_quantize, quantize
from smartsplat.encoder.initialize import initialize
from smartsplat.gaussians import Gaussians, nominal_count
from smartsplat.render import StepSettings, View
from smartsplat.render.cpu import CpuRenderer, runs_here
from smartsplat.threads import available_threads

SIZES = {2: Fraction(1, 4), 8: Fraction(1, 2), 34: Fraction(1)}  # megapixels: Lanczos factor
LARGE, LARGE_WIDTH, LARGE_HEIGHT = 177, 15360, 11520  # the image and its mirror images beside each other
RATIOS = (20.0, 50.0, 200.0, 1000.0)
USUAL_RATIO = 200.0
FIT_EFFORT = 2
ANCHORS: dict[str, dict[str, object]] = {  # Pillow's own quality but for JPEG
    "jpeg": {"quality": 90, "subsampling": "4:2:0"},
    "webp": {"quality": 80},
    "avif": {"quality": 75, "speed": 8},
}
WALL_CLOCK_STAGES = {"bin"}
MIN_CALLS, MAX_CALLS = 3, 15
MULTIPLY_ADD_ROUNDS = 2_000_000  # some 15 ms
COPY_BYTES = 1 << 27  # more than the caches hold
LEARNING_RATE = 1e-6  # of the steps, so that all of them see the same Gaussians
RESIDUAL_CELL = 16  # pixels a side
REGION_SIDE = 1024  # pixels
PREVIEW_SHRINK = 8


@dataclass
class TimedCall:
    """A call of a kernel that is timed again and again."""

    kernel: str
    run: Callable[[], object]
    work: Work
    threads: int
    renderer: CpuRenderer | None = None
    stages: dict[str, Work] = field(default_factory=dict)  # of the renderer's clocks that are of interest
    seconds: dict[str, list[float]] = field(default_factory=dict)  # "" is the whole call, the others its stages

    def call(self) -> None:
        """Call it once, and keep the seconds."""
        if self.renderer:
            self.renderer.reset_clocks()
        start = time.perf_counter()
        self.run()
        taken = {"": time.perf_counter() - start}
        if self.stages and self.renderer:
            clocks = self.renderer.stage_seconds()
            for stage in self.stages:
                taken[stage] = clocks[stage] / (1 if stage in WALL_CLOCK_STAGES else self.threads)
            taken["rest"] = max(taken[""] - sum(taken[stage] for stage in self.stages), 0.0)
        for name, seconds in taken.items():
            self.seconds.setdefault(name, []).append(seconds)

    @property
    def fast_seconds(self) -> float:
        """Seconds of the 20th percentile."""
        return float(np.percentile(self.seconds[""], 20))


@dataclass(frozen=True)
class KernelCase:
    """An image and its Gaussians."""

    image: str
    pixels: ByteArray  # [H, W, 3]
    ratio: float
    data: bytes  # the fitted file

    @property
    def view(self) -> View:
        return View.whole(self.pixels.shape[1], self.pixels.shape[0])


def keep_memory() -> None:
    """Ask glibc, where it is the library, to serve large arrays from memory that it keeps.

    Measured on a virtual machine, 34 megapixels at 200 : 1: render_bytes takes 65 ms then, 75 to 110 otherwise, and
    108 the first time; of 177 megapixels the first takes 1.1 s, the others 0.32.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt:
        mallopt(-4, 0)  # M_MMAP_MAX: no array gets a mapping of its own
        mallopt(-1, -1)  # M_TRIM_THRESHOLD: nothing goes back


def time_in_turn(calls: Sequence[TimedCall], seconds: float) -> None:
    """Make all calls in turn, ``MAX_CALLS`` times; one that has taken ``seconds`` after ``MIN_CALLS`` drops out."""
    for each in calls:
        each.run()
    for number in range(MAX_CALLS):
        for each in calls:
            if number < MIN_CALLS or sum(each.seconds[""]) < seconds:
                each.call()


def calls_of(case: KernelCase, anchors: dict[str, bytes], scaling: bool) -> Iterator[TimedCall]:
    """Everything that is measured in a case.

    Args:
        anchors: the image's file by each of ``ANCHORS``.
        scaling: measure the renderer in every variant and number of threads.
    """
    gaussians, threads = smartsplat.open(case.data).gaussians(), available_threads()
    variants = [name for name in ("v4", "v3", "v2", "base") if runs_here(name)]
    renderers = [(variants[0], threads)]
    if scaling:
        counts = {1, threads, *(1 << power for power in range(threads.bit_length()))}
        renderers += [(variants[0], count) for count in sorted(counts) if count < threads]
        renderers += [(variant, threads) for variant in variants[1:]]
    for count in sorted({1, *(count for _, count in renderers)}):
        yield copy_call(count)
    for index, (variant, count) in enumerate(renderers):
        renderer = CpuRenderer(count, variant)
        yield multiply_add_call(renderer)
        yield from renderer_calls(case, gaussians, renderer, everything=index == 0)
    yield from codec_calls(case, gaussians, threads)
    for name, data in anchors.items():
        work = Work(pixels=case.pixels.size // 3, coded=len(data))
        yield TimedCall(f"pillow_{name}", partial(loaded, data), work, threads if name == "avif" else 1)


def copy_call(threads: int) -> TimedCall:
    """Memory bandwidth: numpy copies large arrays without holding the interpreter's lock."""
    source, target = np.ones(COPY_BYTES, np.uint8), np.zeros(COPY_BYTES, np.uint8)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    pool = ThreadPoolExecutor(threads)
    work = Work(traffic=2 * COPY_BYTES)
    return TimedCall("copy", lambda: list(pool.map(lambda part: np.copyto(*part), parts)), work, threads)


def multiply_add_call(renderer: CpuRenderer) -> TimedCall:
    """Floating-point throughput of the renderer's instruction set and threads."""
    work = Work(flop=renderer.multiply_add(MULTIPLY_ADD_ROUNDS))
    run = partial(renderer.multiply_add, MULTIPLY_ADD_ROUNDS)
    return TimedCall("multiply_add", run, work, renderer.threads, renderer)


def renderer_calls(
    case: KernelCase, gaussians: Gaussians, renderer: CpuRenderer, everything: bool
) -> Iterator[TimedCall]:
    """The renderer's methods; only frames and steps unless ``everything``."""
    view, target = case.view, case.pixels
    work = partial(
        work_of, pixels=view.columns * view.rows, gaussians=len(gaussians), evaluations=evaluations(gaussians, view)
    )

    def timed(kernel: str, run: Callable[[], object], *stages: str) -> TimedCall:
        return TimedCall(
            kernel, run, work(kernel), renderer.threads, renderer, {stage: work(stage) for stage in stages}
        )

    def timed_step(kernel: str, settings: StepSettings) -> TimedCall:
        params = renderer.upload(gaussians)
        run = partial(renderer.step, params, renderer.adam_state(params), target, view, settings)
        return timed(kernel, run, "project", "bin", "forward", "loss", "backward", "update")

    yield timed("render_bytes", partial(renderer.render_samples, gaussians, view), "project", "bin", "forward", "store")
    rates = {f"lr_{name}": LEARNING_RATE for name in ("mean_x", "mean_y", "scale", "rotation", "color")}
    settings = StepSettings(width=view.columns, height=view.rows, **rates)
    yield timed_step("step_l2", settings)
    yield timed_step("step_l1_ssim", replace(settings, l1=0.9, l2=0.0, ssim=0.1))
    if everything:
        d_image = renderer.render(gaussians, view)
        d_image -= target / np.float32(255)
        yield timed("render", partial(renderer.render, gaussians, view))
        yield timed("render_gradient", partial(renderer.render_gradient, gaussians, view, d_image))
        yield timed("residual", partial(renderer.residual, gaussians, target, view, RESIDUAL_CELL))


def codec_calls(case: KernelCase, gaussians: Gaussians, threads: int) -> Iterator[TimedCall]:
    """What surrounds the renderer in an encoder and a decoder, and whole decodes."""
    file = container.unpack(case.data)
    quantizer, count = file.quantizer, len(gaussians)
    symbols = quantize(gaussians, quantizer)
    groups, coded = entropy.split(symbols), [(group.data, group.count) for group in file.groups]
    quantized = Gaussians.of_size(count, gaussians.channels)
    view = case.view
    pixels, size = view.columns * view.rows, sum(len(data) for data, _ in coded)

    def timed(kernel: str, run: Callable[[], object], threads: int, coded: int = 0) -> TimedCall:
        return TimedCall(kernel, run, work_of(kernel, pixels, count, 0, coded), threads)

    yield timed("seed", partial(initialize, case.pixels, count, threads=threads), threads)
    yield timed("quantize", partial(quantize, gaussians, quantizer), 1)
    yield timed("dequantize", partial(dequantize, symbols, quantizer), 1)
    yield timed("snap", partial(fake_quantize, gaussians, quantizer, quantized, threads), threads)
    yield timed("encode_symbols", partial(entropy.encode, groups, quantizer, threads), threads, size)
    yield timed("decode_symbols", partial(entropy.decode, coded, quantizer, threads), threads, size)
    x, y, columns, rows = region = central_region(view, REGION_SIDE)
    preview = View.whole(view.columns, view.rows, view.columns // PREVIEW_SHRINK, view.rows // PREVIEW_SHRINK)
    views = {
        "decode": (view, {}),
        "decode_region": (View(x, y, columns, rows, columns, rows), {"region": region}),
        "decode_preview": (preview, {"scale": 1 / PREVIEW_SHRINK}),
    }
    for kernel, (decoded, options) in views.items():
        work = work_of(kernel, decoded.columns * decoded.rows, count, evaluations(gaussians, decoded), len(case.data))
        yield TimedCall(kernel, partial(smartsplat.decode, case.data, threads=threads, **options), work, threads)


def central_region(view: View, side: int) -> tuple[int, int, int, int]:
    """The square in the middle, as x, y, width and height."""
    width, height = min(side, view.columns), min(side, view.rows)
    return (view.columns - width) // 2, (view.rows - height) // 2, width, height


def encoded(pixels: ByteArray, anchor: str) -> bytes:
    """The file of one of ``ANCHORS``."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, anchor, **ANCHORS[anchor])
    return file.getvalue()


def loaded(data: bytes) -> Image.Image:
    """Pillow's image of a file, decoded."""
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image


def rows_of(calls: Sequence[TimedCall], case: KernelCase, gaussians: int) -> list[Row]:
    """The table's rows."""
    height, width = case.pixels.shape[:2]
    peaks = {
        (each.renderer.variant, each.threads): each.work.flop / each.fast_seconds
        for each in calls
        if each.kernel == "multiply_add" and each.renderer
    }
    bandwidth = max(each.work.traffic / each.fast_seconds for each in calls if each.kernel == "copy")
    constants = provenance() | {
        "picture": case.image,
        "width": str(width),
        "height": str(height),
        "pixels_mp": f"{width * height / 1e6:.2f}",
        "gaussians": str(gaussians),
        "ratio": f"{case.ratio:g}",
    }
    rows = []
    for each in calls:
        variant = each.renderer.variant if each.renderer else "-"
        # A whole decode, which has no renderer here, works with the first.
        peak = peaks.get((variant, each.threads)) or next(iter(peaks.values()))
        for stage, seconds in each.seconds.items():
            work = each.stages.get(stage, Work()) if stage else each.work
            rows.append(
                constants
                | {"kernel": f"{each.kernel}/{stage}" if stage else each.kernel}
                | {"variant": variant, "threads": str(each.threads)}
                | measured(seconds, work, peak, bandwidth)
            )
    return rows


def measured(seconds: Sequence[float], work: Work, peak: float, bandwidth: float) -> Row:
    """The columns that follow from the times: ``peak`` in operations and ``bandwidth`` in bytes a second."""
    low, middle, high = (float(value) for value in np.percentile(seconds, (20, 50, 80)))

    def rate(amount: float, unit: float) -> str:
        return f"{amount / middle / unit:.4g}" if amount and middle else "-"

    return {
        "p20_ms": f"{1e3 * low:.4g}",
        "p50_ms": f"{1e3 * middle:.4g}",
        "p80_ms": f"{1e3 * high:.4g}",
        "mp_per_s": rate(work.pixels, 1e6),
        "evaluations_per_s": rate(work.evaluations, 1),
        "gflop_per_s": rate(work.flop, 1e9),
        "gb_per_s": rate(work.traffic, 1e9),
        "fma_share": rate(work.flop, peak),
        "bandwidth_share": rate(work.traffic, bandwidth),
        "coded_bytes": str(work.coded or "-"),
    }


def image_of(megapixels: int, corpus: Path) -> tuple[str, ByteArray]:
    """Name and pixels of the image of a size."""
    (image,) = provide(corpus, [replace(GLOBE, factor=SIZES.get(megapixels, Fraction(1)))])
    pixels: ByteArray = np.load(image.path)
    if megapixels != LARGE:
        return image.id, pixels
    missing = ((0, LARGE_HEIGHT - pixels.shape[0]), (0, LARGE_WIDTH - pixels.shape[1]), (0, 0))
    return f"{image.id}-mirrored", np.pad(pixels, missing, "symmetric")


def cached(path: Path, make: Callable[[], bytes]) -> bytes:
    """The bytes of a file, which is made if it is not there."""
    if not path.exists():
        print(f"making {path}", file=sys.stderr)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        unfinished.write_bytes(make())
        unfinished.replace(path)
    return path.read_bytes()


def measure(megapixels: int, ratio: float, scaling: bool, options: argparse.Namespace) -> list[Row]:
    """The rows of one case."""
    name, pixels = image_of(megapixels, options.corpus)
    height, width = pixels.shape[:2]
    count = nominal_count(width, height, ratio)
    cache = options.cache or options.corpus / "kernels"

    fit = partial(smartsplat.encode, pixels, gaussians=count, effort=FIT_EFFORT)
    data = cached(cache / f"{name}-{width}x{height}-{ratio:g}.v{container.MAJOR}.sspl", fit)
    case = KernelCase(name, pixels, ratio, data)
    anchors = {
        anchor: cached(cache / f"{name}-{width}x{height}.{anchor}", partial(encoded, pixels, anchor))
        for anchor in ANCHORS
    }
    calls = list(calls_of(case, anchors, scaling))
    time_in_turn(calls, options.seconds)
    return rows_of(calls, case, count)


def cases(options: argparse.Namespace) -> dict[tuple[int, float], bool]:
    """(megapixels, ratio): whether variants and threads are measured too."""
    if options.quick:
        return {(min(SIZES), USUAL_RATIO): True}
    if options.megapixels or options.ratios:
        requested = itertools.product(options.megapixels or [max(SIZES)], options.ratios or [USUAL_RATIO])
        return {case: case == (max(SIZES), USUAL_RATIO) for case in requested}
    usual = {(max(SIZES), ratio): ratio == USUAL_RATIO for ratio in RATIOS}
    usual |= {(megapixels, USUAL_RATIO): False for megapixels in SIZES if megapixels != max(SIZES)}
    return usual | ({(LARGE, USUAL_RATIO): False} if options.large else {})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{min(SIZES)} megapixels only, into no table")
    parser.add_argument("--large", action="store_true", help=f"{LARGE} megapixels as well")
    parser.add_argument("--megapixels", nargs="+", type=int, choices=[*SIZES, LARGE], help="only these sizes")
    parser.add_argument("--ratios", nargs="+", type=float, help=f"only these nominal ratios, by default {RATIOS}")
    parser.add_argument("--seconds", type=float, default=2.0, help="spent on each kernel of a case")
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of the originals")
    parser.add_argument("--cache", type=Path, help="folder of the fits, by default kernels in the corpus")
    parser.add_argument("--table", type=Path, help="file of tab-separated values; kernels.tsv of the results")
    options = parser.parse_args(arguments)
    Image.MAX_IMAGE_PIXELS = None  # the large image is above it
    keep_memory()
    path = options.table or (None if options.quick else EFFORT_RESULTS / "kernels.tsv")
    for (megapixels, ratio), scaling in cases(options).items():
        rows = measure(megapixels, ratio, scaling, options)
        print(listing(rows), flush=True)
        if path:
            kernel_table(path).replace(rows)


if __name__ == "__main__":
    main()
