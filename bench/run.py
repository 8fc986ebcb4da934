"""Measure codecs on a picture set and extend a table of results; rows that are there already are skipped.

python -m bench.run --set small --ratios 50 200 1000 --codecs jpeg webp avif:s6 smartsplat:e5 \\
    --table results/v0.5/rd.tsv

The budget of a row is floor(H W 3 / ratio) bytes. encode_seconds is the whole of encode() for SmartSplat; for a peer
it is one call of its encoder, the one that made the file, without the search and the shrinking. decode_seconds
is the median of five. encode_peak_mb (10^6 bytes) contains the interpreter, the libraries and the picture; a row of
SmartSplat has a process of its own, while all ratios of a peer share one, whose peak is that of encoding at full size.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import os
import platform
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from PIL import features

from bench.codecs import codec
from bench.images import SETS, prepared
from bench.perceptual import weights_path

COLUMNS = (
    *("picture", "width", "height", "recipe", "codec", "setting", "ratio_target", "bytes", "ratio", "bpp"),
    *("psnr", "ssim", "ms_ssim", "lpips", "flip", "encode_seconds", "decode_seconds", "encode_peak_mb"),
    *("machine", "versions"),
)
REPOSITORY = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Subject:
    """A picture ready to be measured: uint8 [H, W, 3] in an .npy file."""

    id: str
    recipe: str
    path: Path


def measure_all(
    subjects: Sequence[Subject], codecs: Sequence[str], ratios: Sequence[float], table: Path, weights: Path
) -> int:
    """Append every missing row to ``table`` as it is made; returns how many measurements failed."""
    table.parent.mkdir(parents=True, exist_ok=True)
    done = finished_rows(table)
    constants = {"machine": machine(), "versions": versions()}
    failures = 0
    with table.open("a", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n", restval="")
        if file.tell() == 0:
            writer.writeheader()
        for name, subject in itertools.product(codecs, subjects):
            missing = [ratio for ratio in ratios if (subject.id, name, format(ratio, "g")) not in done]
            together = [[ratio] for ratio in missing] if name.startswith("smartsplat:") else [missing]
            for group in filter(None, together):
                failures += len(group)
                for measured, ratio in zip(measured_apart(subject.path, name, group, weights), group, strict=False):
                    keys = {"picture": subject.id, "codec": name, "ratio_target": format(ratio, "g")}
                    writer.writerow(keys | {"recipe": subject.recipe} | constants | measured)
                    file.flush()
                    failures -= 1
                    print(*keys.values(), measured.get("psnr", "none"), file=sys.stderr)
    return failures


def finished_rows(table: Path) -> set[tuple[str, str, str]]:
    """Picture, codec and ratio target of the rows of a table; a last line that was cut short is removed."""
    if not table.exists():
        return set()
    whole = table.read_bytes()
    kept = whole[: whole.rfind(b"\n") + 1]
    if kept != whole:
        table.write_bytes(kept)
    rows = csv.DictReader(kept.decode("utf-8").splitlines(), delimiter="\t")
    if kept and tuple(rows.fieldnames or ()) != COLUMNS:
        raise ValueError(f"{table} has other columns than this version writes; use another --output")
    return {(row["picture"], row["codec"], row["ratio_target"]) for row in rows}


def measured_apart(path: Path, name: str, ratios: Sequence[float], weights: Path) -> Iterator[dict[str, object]]:
    """What bench.measure finds in a fresh process, a row a ratio; fewer if it fails (its message is on stderr then).

    Linux starts a child's ru_maxrss at its parent's, so this process stays small: it never loads a picture. The
    products of LPIPS are small: on two threads OpenBLAS took 7 s for a picture of 2 MP, on one 0.8 s.
    """
    command = [sys.executable, "-m", "bench.measure", str(path.resolve()), name, *map(repr, ratios)]
    command += ["--weights", str(weights.resolve())]
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, cwd=REPOSITORY, env=environment, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            yield json.loads(line)
    if process.returncode != 0:
        print(f"{path.name} {name} failed with exit status {process.returncode}", file=sys.stderr)


def machine() -> str:
    """Processor model and number of cores."""
    model = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else model}, {os.cpu_count()} cores"


def versions() -> str:
    """Versions of everything that shapes the numbers, the peers' libraries included."""
    parts = {"python": platform.python_version()}
    parts |= {name: package_version(name) for name in ("numpy", "pillow")}
    parts |= {name: str(features.version(name)) for name in ("libjpeg_turbo", "webp", "avif", "jpg_2000")}
    parts |= {
        name: package_version(name) for name in ("pyvips-binary", "pillow-jxl-plugin", "flip-evaluator", "smartsplat")
    }
    return ", ".join(f"{name} {number}" for name, number in parts.items())


def package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--set", choices=SETS, default="small")
    parser.add_argument("--pictures", nargs="+", help="only these of the set")
    parser.add_argument("--ratios", nargs="+", type=float, default=[50, 100, 200, 500, 1000, 2000])
    parser.add_argument("--codecs", nargs="+", default=["jpeg", "webp", "avif:s6", "smartsplat:e5"])
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of the originals")
    parser.add_argument("--table", type=Path, required=True, help="file of tab-separated values to extend")
    options = parser.parse_args(arguments)
    try:
        for name in options.codecs:
            codec(name)
    except ValueError as error:
        parser.error(str(error))
    pictures = [picture for picture in SETS[options.set] if picture.id in (options.pictures or [picture.id])]
    if len(pictures) < len(set(options.pictures or ())):
        parser.error(f"--pictures: the set has {', '.join(picture.id for picture in SETS[options.set])}")
    fetching = [
        sys.executable,
        "-m",
        "bench.images",
        "--set",
        options.set,
        "--corpus",
        options.corpus.resolve(),
    ]
    subprocess.run(fetching, cwd=REPOSITORY, check=True)
    subjects = [
        Subject(picture.id, picture.recipe, prepared(picture, options.corpus.resolve())) for picture in pictures
    ]
    weights = weights_path(options.corpus)
    return 1 if measure_all(subjects, options.codecs, options.ratios, options.table, weights) else 0


if __name__ == "__main__":
    sys.exit(main())
