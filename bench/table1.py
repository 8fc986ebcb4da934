"""The paper's Table 1 with no cell left out: every rival and control, on this package's machinery, into one table.

python -m bench.table1 --pictures small --corpus corpus --table results/v0.5/table1-small.tsv

A row is a cell: a picture, a method, a nominal ratio and a seed. Rows that are there are skipped, so that a run that
was ended goes on; several processes may fill one table at once. The nominal ratio sets the number of Gaussians as the
paper does (E5: seven bytes each); bytes and ratio_true are those of a real file. psnr, ssim, ms_ssim and lpips are of
what was fitted, rounded to 8 bits, as the paper has it; file_psnr and file_ms_ssim of the pixels that the file decodes
to. seconds is the fit alone; peak_mb (10^6 bytes) is that of a process of its own, picture and interpreter included.

--traces writes how the fits went, too: the step, its seconds and the PSNR that it saw before it moved.
"""

from __future__ import annotations

import argparse
import csv
import fcntl
import itertools
import json
import os
import subprocess
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
from bench.perceptual import weights_path
from bench.run import REPOSITORY, machine, versions
from smartsplat.baselines import CONTROLS, FILES, METHODS, PAPER_METHODS

COLUMNS = (
    *("picture", "width", "height", "recipe", "method", "ratio_nominal", "seed", "steps", "gaussians", "values"),
    *("nominal_bytes", "bytes", "ratio_true", "bpp", "psnr", "ssim", "ms_ssim", "lpips", "file_psnr", "file_ms_ssim"),
    *("seconds", "steps_per_second", "peak_mb", "decode_mp_s", "machine", "versions"),
)
KEYS = ("picture", "method", "ratio_nominal", "seed", "steps")
TRACE_COLUMNS = (*KEYS, "step", "seconds", "gaussians", "psnr")


@dataclass(frozen=True)
class PictureSet:
    """Pictures, and what is asked of them unless the command line says otherwise."""

    pictures: tuple[images.Picture, ...]
    ratios: tuple[float, ...]
    steps: int
    table: str = ""  # another set whose table its rows belong to


PAPER_8K = (20, 50, 100, 200, 500, 1000)
PAPER_16K = (50, 100, 200, 500, 1000, 2000, 3000)
SETS = {
    "small": PictureSet((images.KLEIBER, images.PICOS, images.ELEPHANTS, images.PATAK), PAPER_8K, 3000),
    "all": PictureSet(images.SETS["small"], PAPER_8K, 3000, "small"),
    # Of 18, 20 and 34 megapixels; the pictures of the paper's DIV8K have 35 in the mean.
    "8k": PictureSet(images.SETS["native"], PAPER_8K, 300),
    # Of the size of the paper's DIV16K.
    "16k": PictureSet(images.SETS["16k"], PAPER_16K, 100),
}


FOLDER = PictureSet((), PAPER_8K, 1000)


@dataclass(frozen=True)
class Cell:
    """One row to be made."""

    picture: str
    method: str
    ratio: float
    seed: int
    steps: int

    @property
    def key(self) -> tuple[str, ...]:
        return self.picture, self.method, format(self.ratio, "g"), str(self.seed), str(self.steps)


class Table:
    """A file of tab-separated values that several processes extend, and who is at work on which cell."""

    def __init__(self, path: Path, traces: Path | None = None) -> None:
        self.path, self.traces = path, traces
        self.locks = path.with_suffix(".locks")
        self.locks.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def locked(self, name: str, wait: bool = True) -> Iterator[bool]:
        """Whether the lock of that name is this process's now; the system frees it if the process dies."""
        with (self.locks / name).open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
            else:
                yield True

    @contextmanager
    def claimed(self, cell: Cell) -> Iterator[bool]:
        """Whether this process is to make the row: nobody else is at it, and it is not there."""
        with self.locked("_".join(cell.key), wait=False) as mine:
            yield mine and cell.key not in self.finished()

    def finished(self) -> set[tuple[str, ...]]:
        """Keys of the rows that are there; a last line that was cut short is removed."""
        with self.locked("table"):
            whole = self.path.read_bytes() if self.path.exists() else b""
            kept = whole[: whole.rfind(b"\n") + 1]
            if kept != whole:
                self.path.write_bytes(kept)
        rows = csv.DictReader(kept.decode("utf-8").splitlines(), delimiter="\t")
        if kept and tuple(rows.fieldnames or ()) != COLUMNS:
            raise ValueError(f"{self.path} has other columns than this version writes; use another --table")
        return {tuple(row[name] for name in KEYS) for row in rows}

    def append(self, row: dict[str, object]) -> None:
        """Write a row, and the header before the first one."""
        self._extend(self.path, COLUMNS, [row])

    def trace(self, cell: Cell, told: Sequence[dict[str, Any]]) -> None:
        """Write how a fit went, if that is wanted."""
        if self.traces is not None:
            rounded = (
                {name: "" if value is None else format(value, ".6g") for name, value in point.items()} for point in told
            )
            keys = dict(zip(KEYS, cell.key, strict=True))
            self._extend(self.traces, TRACE_COLUMNS, [keys | point for point in rounded])

    def _extend(self, path: Path, columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> None:
        with self.locked("table"), path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns, delimiter="\t", lineterminator="\n", restval="")
            if file.tell() == 0:
                writer.writeheader()
            writer.writerows(rows)


def fill(table: Table, cells: Sequence[Cell], paths: dict[str, tuple[Path, str]], weights: Path) -> int:
    """Make every missing row; ``paths`` has each picture's .npy file and recipe. Returns how many cells failed."""
    constants = {"machine": machine(), "versions": versions()}
    failures = 0
    with bars(len(cells)) as (start, advance, finish):
        done = table.finished()
        for cell in cells:
            start(cell)
            if cell.key not in done:
                with table.claimed(cell) as mine:
                    if mine:
                        path, recipe = paths[cell.picture]
                        row, told = measured(cell, path, weights, advance)
                        failures += row is None
                        if row is not None:
                            table.trace(cell, told)
                            table.append({"picture": cell.picture, "recipe": recipe} | constants | row)
            finish()
    return failures


@contextmanager
def bars(number: int) -> Iterator[tuple[Callable[[Cell], None], Callable[[int], None], Callable[[], None]]]:
    """Two progress bars on stderr, cells and steps: what starts a cell, tells its steps, and ends it."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=Console(stderr=True)) as progress:
        cells, steps = progress.add_task("cells", total=number), progress.add_task("", total=1)
        begun = 0

        def start(cell: Cell) -> None:
            title = f"{cell.picture} {cell.method} {cell.ratio:g} : 1, seed {cell.seed}"
            progress.reset(steps, total=cell.steps, description=title)

        def finish() -> None:
            nonlocal begun
            begun += 1
            progress.update(cells, completed=begun)

        yield start, lambda step: progress.update(steps, completed=step), finish


def measured(
    cell: Cell, path: Path, weights: Path, advance: Callable[[int], None]
) -> tuple[dict[str, object] | None, list[dict[str, Any]]]:
    """The row of a cell, made in a fresh process, and its told steps; no row if it fails, its message is on stderr."""
    command = [sys.executable, "-m", "bench.table1_cell", json.dumps(asdict(cell)), str(path), str(weights)]
    row, steps = None, []
    with subprocess.Popen(
        command,
        cwd=REPOSITORY,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},  # bench/run.py says why
        stdout=subprocess.PIPE,
        encoding="utf-8",
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            told = json.loads(line)
            if "step" in told:
                advance(told["step"])
                steps.append(told)
            else:
                row = told
    if process.returncode != 0:
        print(*cell.key, f"failed with exit status {process.returncode}", file=sys.stderr)
        return None, steps
    return row, steps


def methods_of(names: Sequence[str]) -> list[str]:
    """Methods by name; ``paper``, ``files``, ``controls`` and ``all`` stand for several."""
    groups = {"paper": list(PAPER_METHODS), "files": list(FILES), "controls": list(CONTROLS), "all": list(METHODS)}
    found = list(dict.fromkeys(itertools.chain.from_iterable(groups.get(name, [name]) for name in names)))
    unknown = [name for name in found if name not in METHODS]
    if unknown:
        raise ValueError(f"no method {unknown[0]!r}: there are {', '.join([*groups, *METHODS])}")
    return found


def known(wanted: Sequence[str] | None, there: Sequence[str]) -> Sequence[str]:
    """The pictures that are asked for, or all. ValueError if one is not there."""
    unknown = [name for name in wanted or () if name not in there]
    if unknown:
        raise ValueError(f"no picture {unknown[0]!r}: there are {', '.join(there)}")
    return wanted or there


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--pictures", choices=SETS, default="small", help="a set of pictures")
    parser.add_argument("--folder", type=Path, help="pictures of your own, as large as they are, instead of a set")
    parser.add_argument("--only", nargs="+", help="only these of the set")
    parser.add_argument(
        "--methods", nargs="+", default=["paper", "files"], help="by name, or paper, files, controls, all; paper files"
    )
    parser.add_argument("--ratios", nargs="+", type=float, help="nominal")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--seeds", type=int, default=1, help="how many of each cell; 3 show the spread")
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of the originals")
    parser.add_argument(
        "--table", type=Path, help="file to extend; results/v0.5/table1-SET.tsv or folder-NAME.tsv if not given"
    )
    parser.add_argument("--traces", type=Path, help="file to extend by how the fits went")
    options = parser.parse_args(arguments)
    Image.MAX_IMAGE_PIXELS = None  # the large pictures are above it
    chosen = SETS[options.pictures]
    table = f"table1-{chosen.table or options.pictures}"
    corpus = options.corpus.resolve()
    try:
        methods = methods_of(options.methods)
        if options.folder:
            chosen, table = FOLDER, f"folder-{options.folder.resolve().name}"
            paths = images.of_folder(options.folder, corpus)
            paths = {picture: paths[picture] for picture in known(options.only, list(paths))}
        else:
            wanted = known(options.only, [picture.id for picture in chosen.pictures])
            pictures = tuple(picture for picture in chosen.pictures if picture.id in wanted)
            images.provide(corpus, pictures)
            paths = {picture.id: (images.prepared(picture, corpus), picture.recipe) for picture in pictures}
    except ValueError as error:
        parser.error(str(error))
    cells = [
        Cell(picture, method, ratio, seed, options.steps or chosen.steps)
        for seed, picture, ratio, method in itertools.product(
            range(options.seeds), paths, options.ratios or chosen.ratios, methods
        )
    ]
    path = options.table or REPOSITORY / "results/v0.5" / f"{table}.tsv"
    return 1 if fill(Table(path, options.traces), cells, paths, weights_path(corpus)) else 0


if __name__ == "__main__":
    sys.exit(main())
