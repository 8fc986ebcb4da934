"""The paper's Table 1 with every cell filled: all baselines and ablations, on this project's renderer, in one table.

python -m bench.paper.table1 --images small --corpus corpus --table table1-small.tsv

A row is a cell: an image, a method, a nominal ratio and a seed. Rows that are there are skipped, so that a run that
was ended goes on; several processes may fill one table at once. The nominal ratio sets the number of Gaussians as the
paper does (E5: seven bytes each); bytes and ratio_true are those of a real file. psnr, ssim, ms_ssim and lpips are of
what was fitted, rounded to 8 bits, as the paper has it; file_psnr and file_ms_ssim of the pixels that the file decodes
to. seconds is the fit alone; peak_mb (10^6 bytes) is that of a process of its own, image and interpreter included.

--traces writes how the fits went, too: the step, its seconds and the PSNR that it saw before it moved.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from bench import images
from bench.images import BenchImage, PreparedImage
from bench.processes import ProcessError, json_lines
from bench.provenance import provenance
from bench.rate_distortion.perceptual import weights_path
from bench.tables import RESULTS, Key, Table
from smartsplat_baselines import ABLATIONS, CODECS, METHODS, PAPER_METHODS

COLUMNS = (
    *("picture", "width", "height", "recipe", "method", "ratio_nominal", "seed", "steps", "gaussians", "values"),
    *("nominal_bytes", "bytes", "ratio_true", "bpp", "psnr", "ssim", "ms_ssim", "lpips", "file_psnr", "file_ms_ssim"),
    *("seconds", "steps_per_second", "peak_mb", "decode_mp_s", "machine", "versions"),
)
KEYS = ("picture", "method", "ratio_nominal", "seed", "steps")
TRACE_COLUMNS = (*KEYS, "step", "seconds", "gaussians", "psnr")


@dataclass(frozen=True)
class ImageSet:
    """Images, and how they are fitted unless the command line says otherwise."""

    images: tuple[BenchImage, ...]
    ratios: tuple[float, ...]  # nominal
    steps: int
    table: str = ""  # another set whose table its rows belong to


PAPER_8K = (20, 50, 100, 200, 500, 1000)
PAPER_16K = (50, 100, 200, 500, 1000, 2000, 3000)
SETS = {
    "small": ImageSet((images.KLEIBER, images.PICOS, images.ELEPHANTS, images.PATAK), PAPER_8K, 3000),
    "all": ImageSet(images.SETS["small"], PAPER_8K, 3000, "small"),
    # Of 18, 20 and 34 megapixels; the images of the paper's DIV8K have 35 in the mean.
    "8k": ImageSet(images.SETS["native"], PAPER_8K, 300),
    # Of the size of the paper's DIV16K.
    "16k": ImageSet(images.SETS["16k"], PAPER_16K, 100),
}
FOLDER = ImageSet((), PAPER_8K, 1000)


@dataclass(frozen=True)
class Cell:
    """One row to be made."""

    image: str
    method: str
    ratio: float  # nominal
    seed: int
    steps: int

    @property
    def key(self) -> Key:
        """Of its row, by ``KEYS``."""
        return self.image, self.method, format(self.ratio, "g"), str(self.seed), str(self.steps)


def fill(
    path: Path, cells: Sequence[Cell], subjects: Sequence[PreparedImage], weights: Path, traces: Path | None = None
) -> int:
    """Make every missing row.

    Args:
        path: of the table.
        subjects: the cells' images.
        weights: file of LPIPS's weights, which need not exist.
        traces: table of how the fits went, if it is wanted.

    Returns:
        How many cells failed.

    Raises:
        ValueError: the table has other columns.
    """
    table = Table(path, COLUMNS, KEYS)
    by_id = {subject.id: subject for subject in subjects}
    constants = provenance()
    failures = 0
    with progress_bars(len(cells)) as bars:
        finished = table.finished()
        for cell in cells:
            bars.start(cell)
            if cell.key not in finished:
                with table.claimed(cell.key) as claimed:
                    if claimed:
                        subject = by_id[cell.image]
                        row, steps = measured(cell, subject.path, weights, bars.advance)
                        failures += row is None
                        if row is not None:
                            if traces is not None:
                                write_trace(traces, cell, steps)
                            table.append({"picture": cell.image, "recipe": subject.recipe} | constants | row)
            bars.finish()
    return failures


def write_trace(path: Path, cell: Cell, steps: Sequence[dict[str, Any]]) -> None:
    """Append how a fit went."""
    keys = dict(zip(KEYS, cell.key, strict=True))
    rows = (
        {name: "" if value is None else format(value, ".6g") for name, value in step.items()} | keys for step in steps
    )
    Table(path, TRACE_COLUMNS).append(*rows)


@dataclass(frozen=True)
class Bars:
    """What moves the progress bars of cells and steps."""

    start: Callable[[Cell], None]
    advance: Callable[[int], None]  # to a step of the cell
    finish: Callable[[], None]  # the cell


@contextmanager
def progress_bars(count: int) -> Iterator[Bars]:
    """Two progress bars on stderr: of so many cells, and of the steps of each."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        cells, steps = progress.add_task("cells", total=count), progress.add_task("", total=1)

        def start(cell: Cell) -> None:
            title = f"{cell.image} {cell.method} {cell.ratio:g} : 1, seed {cell.seed}"
            progress.reset(steps, total=cell.steps, description=title)

        def advance(step: int) -> None:
            progress.update(steps, completed=step)

        yield Bars(start, advance, lambda: progress.advance(cells))


def measured(
    cell: Cell, path: Path, weights: Path, advance: Callable[[int], None]
) -> tuple[dict[str, object] | None, list[dict[str, Any]]]:
    """The row of a cell, made in a fresh process, and the steps that it reports.

    There is no row if the process fails, which is then said on stderr.
    """
    row, steps = None, []
    try:
        for reported in json_lines("bench.paper.table1_cell", json.dumps(asdict(cell)), str(path), str(weights)):
            if "step" in reported:
                advance(reported["step"])
                steps.append(reported)
            else:
                row = reported
    except ProcessError as error:
        print(*cell.key, error, file=sys.stderr)
        return None, steps
    return row, steps


def methods_of(names: Sequence[str]) -> list[str]:
    """Methods by name; ``paper``, ``files``, ``ablations`` and ``all`` stand for several.

    Raises:
        ValueError: there is no such method.
    """
    groups = {"paper": PAPER_METHODS, "files": CODECS, "ablations": ABLATIONS, "all": METHODS}
    methods = list(dict.fromkeys(itertools.chain.from_iterable(groups.get(name, [name]) for name in names)))
    unknown = [name for name in methods if name not in METHODS]
    if unknown:
        raise ValueError(f"no method {unknown[0]!r}: there are {', '.join([*groups, *METHODS])}")
    return methods


def arguments_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--images", choices=SETS, default="small", help="a set of images")
    parser.add_argument("--folder", type=Path, help="images of your own, as large as they are, instead of a set")
    parser.add_argument("--only", nargs="+", help="only these of the set")
    parser.add_argument(
        "--methods", nargs="+", default=["paper", "files"], help="by name, or paper, files, ablations, all; paper files"
    )
    parser.add_argument("--ratios", nargs="+", type=float, help="nominal")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int, default=1, help="how many of each cell; 3 show the spread")
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of the originals")
    parser.add_argument(
        "--table", type=Path, help="file to extend; table1-SET.tsv or folder-NAME.tsv of the results if not given"
    )
    parser.add_argument("--traces", type=Path, help="file to extend by how the fits went")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = arguments_parser()
    options = parser.parse_args(arguments)
    Image.MAX_IMAGE_PIXELS = None  # the large images are above it
    chosen = SETS[options.images]
    name = f"table1-{chosen.table or options.images}"
    corpus = options.corpus.resolve()
    try:
        methods = methods_of(options.methods)
        if options.folder:
            chosen, name = FOLDER, f"folder-{options.folder.resolve().name}"
            subjects = images.prepare_folder(options.folder, corpus)
            images.check_ids(options.only, [subject.id for subject in subjects])
            subjects = [subject for subject in subjects if subject.id in (options.only or [subject.id])]
        else:
            subjects = images.provide(corpus, images.chosen(chosen.images, options.only))
    except ValueError as error:
        parser.error(str(error))
    cells = [
        Cell(subject.id, method, ratio, seed, options.steps or chosen.steps)
        for seed, subject, ratio, method in itertools.product(
            range(options.seeds), subjects, options.ratios or chosen.ratios, methods
        )
    ]
    path = options.table or RESULTS / f"{name}.tsv"
    return 1 if fill(path, cells, subjects, weights_path(corpus), options.traces) else 0


if __name__ == "__main__":
    sys.exit(main())
