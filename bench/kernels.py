"""How fast every kernel is on this machine, and how near to what the machine can do.

python -m bench.kernels                  everything, into results/v0.5/kernels.tsv (ten minutes)
python -m bench.kernels --quick          two megapixels only, into no table
python -m bench.kernels --megapixels 34 --ratios 20      one case, whose rows replace those of the table

A case is a picture and as many Gaussians as E5 gives a nominal ratio, fitted to it for a short time: fitted Gaussians
overlap more than seeded ones. The fits are kept in the cache folder; delete it to fit anew. In a case everything is
called once to warm up and then in turn, round after round, so that a slow minute of the machine falls on all alike.
Rows have the 20th, 50th and 80th percentile of the calls; rates and shares belong to the 50th. Shares are of what
`multiply_add` (with the same instruction set on as many threads) and `copy` (on the best number of threads) reach in
the same case at their 20th, a ceiling being what the machine can do; bench/work.py says what is counted.

A row "render_bytes/forward" is a stage of a kernel: seconds of the stage, summed over threads, divided by their number.
Only "bin" is measured as it is on the clock. "rest" is what is missing to the whole call.

Memory that was freed is used again, which the warm-up has paid for: the first touch of a page costs more than drawing
it, and how much more is the system's affair (`keep_memory`).
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
import numpy.typing as npt
from PIL import Image

import smartsplat
from bench.images import GLOBE, prepared, provide
from bench.kernels_report import listing, merged, read, write
from bench.run import machine, versions
from bench.work import Work, evaluations, work_of
from smartsplat import container, entropy
from smartsplat.gaussians import Gaussians, nominal_count
from smartsplat.quantize import dequantize, quantize, snap
from smartsplat.raster import StepSettings, View
from smartsplat.raster.native import Backend, available_threads, runs_here
from smartsplat.seed import seed

ByteArray = npt.NDArray[np.uint8]

SIZES = {2: Fraction(1, 4), 8: Fraction(1, 2), 34: Fraction(1)}  # megapixels: Lanczos factor
LARGE, LARGE_WIDTH, LARGE_HEIGHT = 177, 15360, 11520  # the picture and its mirror images beside each other
RATIOS = (20.0, 50.0, 200.0, 1000.0)
USUAL_RATIO = 200.0
EFFORT = 2  # of the fits
PEERS: dict[str, dict[str, object]] = {  # Pillow's own quality but for JPEG
    "jpeg": {"quality": 90, "subsampling": "4:2:0"},
    "webp": {"quality": 80},
    "avif": {"quality": 75, "speed": 8},
}
WALL_STAGES = {"bin"}
FEWEST_CALLS, MOST_CALLS = 3, 15
ROUNDS = 2_000_000  # of multiply_add: some 15 ms
COPIED = 1 << 27  # bytes: more than the caches hold
RATE = 1e-6  # of the steps, so that all of them see the same Gaussians


@dataclass
class Subject:
    """Something to be timed."""

    kernel: str
    run: Callable[[], object]
    work: Work
    threads: int
    backend: Backend | None = None
    stages: dict[str, Work] = field(default_factory=dict)  # of the backend's clocks that are of interest
    seconds: dict[str, list[float]] = field(default_factory=dict)  # "" is the whole call, the others its stages

    def call(self) -> None:
        """Once, by the clock."""
        if self.backend:
            self.backend.reset_clocks()
        start = time.perf_counter()
        self.run()
        taken = {"": time.perf_counter() - start}
        if self.stages and self.backend:
            clocks = self.backend.stage_seconds()
            for stage in self.stages:
                taken[stage] = clocks[stage] / (1 if stage in WALL_STAGES else self.threads)
            taken["rest"] = max(taken[""] - sum(taken[stage] for stage in self.stages), 0.0)
        for name, seconds in taken.items():
            self.seconds.setdefault(name, []).append(seconds)

    @property
    def fast(self) -> float:
        """Seconds of the 20th percentile."""
        return float(np.percentile(self.seconds[""], 20))


@dataclass(frozen=True)
class Case:
    """A picture and its Gaussians."""

    picture: str
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


def sample(subjects: Sequence[Subject], seconds: float) -> None:
    """Call all in turn; those that have taken ``seconds`` after the fewest calls drop out."""
    for subject in subjects:
        subject.run()
    for round_ in range(MOST_CALLS):
        for subject in subjects:
            if round_ < FEWEST_CALLS or sum(subject.seconds[""]) < seconds:
                subject.call()


def subjects_of(case: Case, peers: dict[str, bytes], scaling: bool) -> Iterator[Subject]:
    """Everything that is measured in a case; with ``scaling`` the rasteriser in every variant and number of threads."""
    gaussians, threads = smartsplat.open(case.data).gaussians(), available_threads()
    variants = [name for name in ("v4", "v3", "v2", "base") if runs_here(name)]
    backends = [(variants[0], threads)]
    if scaling:
        counts = {1, threads, *(1 << power for power in range(threads.bit_length()))}
        backends += [(variants[0], count) for count in sorted(counts) if count < threads]
        backends += [(variant, threads) for variant in variants[1:]]
    for count in sorted({1, *(count for _, count in backends)}):
        yield copying(count)
    for index, (variant, count) in enumerate(backends):
        backend = Backend(count, variant)
        yield multiplying(backend, count)
        yield from rasterizing(case, gaussians, backend, count, everything=index == 0)
    yield from coding(case, gaussians, threads)
    for name, data in peers.items():
        work = Work(pixels=case.pixels.size // 3, coded=len(data))
        yield Subject(f"pillow_{name}", partial(loaded, data), work, threads if name == "avif" else 1)


def copying(threads: int) -> Subject:
    """Memory bandwidth: numpy copies large arrays without holding the interpreter's lock."""
    source, target = np.ones(COPIED, np.uint8), np.zeros(COPIED, np.uint8)
    parts = list(zip(np.array_split(target, threads), np.array_split(source, threads), strict=True))
    pool = ThreadPoolExecutor(threads)
    work = Work(traffic=2 * COPIED)
    return Subject("copy", lambda: list(pool.map(lambda part: np.copyto(*part), parts)), work, threads)


def multiplying(backend: Backend, threads: int) -> Subject:
    work = Work(flop=backend.multiply_add(ROUNDS))
    return Subject("multiply_add", partial(backend.multiply_add, ROUNDS), work, threads, backend)


def rasterizing(
    case: Case, gaussians: Gaussians, backend: Backend, threads: int, everything: bool
) -> Iterator[Subject]:
    """The backend's methods; only frames and steps unless ``everything``."""
    view, target = case.view, case.pixels
    pixels, pairs = view.columns * view.rows, evaluations(gaussians, view)

    def subject(kernel: str, run: Callable[[], object], *stages: str) -> Subject:
        works = {stage: work_of(stage, pixels, len(gaussians), pairs) for stage in stages}
        return Subject(kernel, run, work_of(kernel, pixels, len(gaussians), pairs), threads, backend, works)

    def stepping(kernel: str, settings: StepSettings) -> Subject:
        params = backend.upload(gaussians)
        state = backend.start(params)
        run = partial(backend.step, params, state, target, view, settings)
        return subject(kernel, run, "project", "bin", "forward", "loss", "backward", "update")

    draw = partial(backend.render_bytes, gaussians, view)
    yield subject("render_bytes", draw, "project", "bin", "forward", "store")
    rates = {f"rate_{name}": RATE for name in ("mean_x", "mean_y", "scale", "rotation", "color")}
    settings = StepSettings(width=view.columns, height=view.rows, **rates)
    yield stepping("step_l2", settings)
    yield stepping("step_l1_ssim", replace(settings, l1=0.9, l2=0.0, ssim=0.1))
    if everything:
        d_image = backend.render(gaussians, view)
        d_image -= target / np.float32(255)
        yield subject("render", partial(backend.render, gaussians, view))
        yield subject("render_gradient", partial(backend.render_gradient, gaussians, view, d_image))
        yield subject("residual", partial(backend.residual, gaussians, target, view, 16))


def coding(case: Case, gaussians: Gaussians, threads: int) -> Iterator[Subject]:
    """What surrounds the rasteriser in an encoder and a decoder, and whole decodes."""
    file = container.parse(case.data)
    quantizer, count = file.quantizer, len(gaussians)
    symbols = quantize(gaussians, quantizer)
    groups, coded = entropy.split(symbols), [(group.data, group.count) for group in file.groups]
    snapped = Gaussians(*(array.copy() for array in vars(gaussians).values()))
    view = case.view
    pixels, size = view.columns * view.rows, sum(len(data) for data, _ in coded)

    def subject(kernel: str, run: Callable[[], object], threads: int, coded: int = 0) -> Subject:
        return Subject(kernel, run, work_of(kernel, pixels, count, 0, coded), threads)

    yield subject("seed", partial(seed, case.pixels, count, threads=threads), threads)
    yield subject("quantize", partial(quantize, gaussians, quantizer), 1)
    yield subject("dequantize", partial(dequantize, symbols, quantizer), 1)
    yield subject("snap", partial(snap, gaussians, quantizer, snapped, threads), threads)
    yield subject("encode_symbols", partial(entropy.encode, groups, quantizer, threads), threads, size)
    yield subject("decode_symbols", partial(entropy.decode, coded, quantizer, threads), threads, size)
    x, y, columns, rows = region = inner(view, 1024)
    views = {
        "decode": (view, {}),
        "decode_region": (View(x, y, columns, rows, columns, rows), {"region": region}),
        "decode_preview": (View.whole(view.columns, view.rows, view.columns // 8, view.rows // 8), {"scale": 1 / 8}),
    }
    for kernel, (seen, options) in views.items():
        work = work_of(kernel, seen.columns * seen.rows, count, evaluations(gaussians, seen), len(case.data))
        yield Subject(kernel, partial(smartsplat.decode, case.data, threads=threads, **options), work, threads)


def inner(view: View, side: int) -> tuple[int, int, int, int]:
    """The square in the middle, as x, y, width and height."""
    width, height = min(side, view.columns), min(side, view.rows)
    return (view.columns - width) // 2, (view.rows - height) // 2, width, height


def encoded(pixels: ByteArray, kind: str) -> bytes:
    """A peer's file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **PEERS[kind])
    return file.getvalue()


def loaded(data: bytes) -> Image.Image:
    with Image.open(io.BytesIO(data)) as image:
        image.load()
        return image


def rows_of(subjects: Sequence[Subject], case: Case, gaussians: int) -> list[dict[str, str]]:
    """The table's rows."""
    height, width = case.pixels.shape[:2]
    peaks = {
        (each.backend.variant, each.threads): each.work.flop / each.fast
        for each in subjects
        if each.kernel == "multiply_add" and each.backend
    }
    bandwidth = max(each.work.traffic / each.fast for each in subjects if each.kernel == "copy")
    constants = {
        "picture": case.picture,
        "width": str(width),
        "height": str(height),
        "pixels_mp": f"{width * height / 1e6:.2f}",
        "gaussians": str(gaussians),
        "ratio": f"{case.ratio:g}",
        "machine": machine(),
        "versions": versions(),
    }
    rows = []
    for each in subjects:
        variant = each.backend.variant if each.backend else "-"
        # What has no backend of its own, a whole decode, works with the first.
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


def measured(seconds: Sequence[float], work: Work, peak: float, bandwidth: float) -> dict[str, str]:
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


def picture_of(megapixels: int, corpus: Path) -> tuple[str, ByteArray]:
    """Name and pixels of the picture of a size."""
    picture = replace(GLOBE, factor=SIZES.get(megapixels, Fraction(1)))
    provide(corpus, (picture,))
    pixels: ByteArray = np.load(prepared(picture, corpus))
    if megapixels != LARGE:
        return picture.id, pixels
    missing = ((0, LARGE_HEIGHT - pixels.shape[0]), (0, LARGE_WIDTH - pixels.shape[1]), (0, 0))
    return f"{picture.id}-mirrored", np.pad(pixels, missing, "symmetric")


def cached(path: Path, make: Callable[[], bytes]) -> bytes:
    if not path.exists():
        print(f"making {path}", file=sys.stderr)
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        unfinished.write_bytes(make())
        unfinished.replace(path)
    return path.read_bytes()


def measure(megapixels: int, ratio: float, scaling: bool, options: argparse.Namespace) -> list[dict[str, str]]:
    """One case."""
    name, pixels = picture_of(megapixels, options.corpus)
    height, width = pixels.shape[:2]
    count = nominal_count(width, height, ratio)
    cache = options.cache or options.corpus / "kernels"

    fit = partial(smartsplat.encode, pixels, gaussians=count, effort=EFFORT)
    case = Case(name, pixels, ratio, cached(cache / f"{name}-{width}x{height}-{ratio:g}.v{container.MAJOR}.sspl", fit))
    peers = {kind: cached(cache / f"{name}-{width}x{height}.{kind}", partial(encoded, pixels, kind)) for kind in PEERS}
    subjects = list(subjects_of(case, peers, scaling))
    sample(subjects, options.seconds)
    return rows_of(subjects, case, count)


def cases(options: argparse.Namespace) -> dict[tuple[int, float], bool]:
    """(megapixels, ratio): whether variants and threads are measured too."""
    if options.quick:
        return {(min(SIZES), USUAL_RATIO): True}
    if options.megapixels or options.ratios:
        asked = itertools.product(options.megapixels or [max(SIZES)], options.ratios or [USUAL_RATIO])
        return {case: case == (max(SIZES), USUAL_RATIO) for case in asked}
    found = {(max(SIZES), ratio): ratio == USUAL_RATIO for ratio in RATIOS}
    found |= {(megapixels, USUAL_RATIO): False for megapixels in SIZES if megapixels != max(SIZES)}
    return found | ({(LARGE, USUAL_RATIO): False} if options.large else {})


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{min(SIZES)} megapixels only, into no table")
    parser.add_argument("--large", action="store_true", help=f"{LARGE} megapixels as well")
    parser.add_argument("--megapixels", nargs="+", type=int, choices=[*SIZES, LARGE], help="only these sizes")
    parser.add_argument("--ratios", nargs="+", type=float, help=f"only these nominal ratios, by default {RATIOS}")
    parser.add_argument("--seconds", type=float, default=2.0, help="spent on each kernel of a case")
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of the originals")
    parser.add_argument("--cache", type=Path, help="folder of the fits, by default kernels in the corpus")
    parser.add_argument("--table", type=Path, help="file of tab-separated values, by default results/v0.5/kernels.tsv")
    options = parser.parse_args(arguments)
    Image.MAX_IMAGE_PIXELS = None  # the large picture is above it
    keep_memory()
    table = options.table or (None if options.quick else Path("results/v0.5/kernels.tsv"))
    for (megapixels, ratio), scaling in cases(options).items():
        rows = measure(megapixels, ratio, scaling, options)
        print(listing(rows), flush=True)
        if table:
            write(merged(read(table), rows), table)


if __name__ == "__main__":
    main()
