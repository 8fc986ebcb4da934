"""Measure codecs on a set of images and extend a table of results; rows that are there already are skipped.

python -m bench.rate_distortion.run --set small --ratios 50 200 1000 --codecs jpeg webp avif:s6 smartsplat:e5 \\
    --table rd.tsv

The budget of a row is floor(H W 3 / ratio) bytes. encode_seconds is the whole of encode() for SmartSplat; for an anchor
it is one call of its encoder, the one that made the file, without the search and the shrinking. decode_seconds
is the median of five. encode_peak_mb (10^6 bytes) contains the interpreter, the libraries and the image; a row of
SmartSplat has a process of its own, while all ratios of an anchor share one, whose peak is that of encoding at full
size. With --together those of SmartSplat share one, too, which saves the work on the original that DISTS and the
Wasserstein distortion begin with.
"""

from __future__ import annotations

import argparse
import itertools
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench import images
from bench.images import PreparedImage
from bench.processes import ProcessError, json_lines
from bench.provenance import provenance
from bench.rate_distortion.codecs import codec
from bench.rate_distortion.perceptual import weights_path
from bench.tables import REPOSITORY, Table

COLUMNS = (
    *("picture", "width", "height", "recipe", "codec", "setting", "ratio_target", "bytes", "ratio", "bpp"),
    *("psnr", "ssim", "ms_ssim", "ssimulacra2", "lpips", "dists", "wasserstein", "flip"),
    *("encode_seconds", "decode_seconds", "encode_peak_mb"),
    *("machine", "versions"),
)
KEYS = ("picture", "codec", "ratio_target")


def measure_all(
    subjects: Sequence[PreparedImage],
    codecs: Sequence[str],
    ratios: Sequence[float],
    path: Path,
    weights: Path,
    together: bool = False,
    vgg: bool = True,
) -> int:
    """Append every missing row to the table at ``path`` as it is made.

    Args:
        weights: folder of the networks' weights, which need not be there.
        together: all ratios of SmartSplat, too, are measured in one process.
        vgg: also DISTS and the Wasserstein distortion.

    Returns:
        How many measurements failed.

    Raises:
        ValueError: the table has other columns.
    """
    table = Table(path, COLUMNS, KEYS)
    finished = table.finished()
    table.append()  # the header, if it is new
    constants = provenance()
    failures = 0
    for name, subject in itertools.product(codecs, subjects):
        missing = [ratio for ratio in ratios if (subject.id, name, format(ratio, "g")) not in finished]
        apart = name.startswith("smartsplat:") and not together
        groups = [[ratio] for ratio in missing] if apart else [missing]
        for group in filter(None, groups):
            failures += len(group)
            for measured, ratio in zip(measured_rows(subject.path, name, group, weights, vgg), group, strict=False):
                keys = {"picture": subject.id, "codec": name, "ratio_target": format(ratio, "g")}
                table.append(keys | {"recipe": subject.recipe} | constants | measured)
                failures -= 1
                print(*keys.values(), measured.get("psnr", "none"), file=sys.stderr)
    return failures


def measured_rows(
    path: Path, name: str, ratios: Sequence[float], weights: Path, vgg: bool
) -> Iterator[dict[str, object]]:
    """What bench.rate_distortion.measure prints, a row a ratio; fewer if it fails, which is then said on stderr."""
    arguments = [str(path.resolve()), name, *map(repr, ratios), "--weights", str(weights.resolve())]
    if not vgg:
        arguments.append("--without-vgg")
    try:
        yield from json_lines("bench.rate_distortion.measure", *arguments)
    except ProcessError as error:
        print(f"{path.name} {name} {error}", file=sys.stderr)


def _subjects(folder: Path | None, name: str, ids: Sequence[str] | None, corpus: Path) -> list[PreparedImage]:
    """The images of a folder, or of a set; those of a set are loaded by another process (bench/processes.py).

    Raises:
        OSError, ValueError: an image is none or cannot be read.
    """
    if folder is not None:
        subjects = {each.id: each for each in images.prepare_folder(folder, corpus)}
        images.check_ids(ids, list(subjects))
        return [each for each in subjects.values() if each.id in (ids or subjects)]
    chosen = images.chosen(images.SETS[name], ids)
    fetching = [sys.executable, "-m", "bench.images", "--set", name, "--corpus", str(corpus)]
    subprocess.run(fetching, cwd=REPOSITORY, check=True)
    return [images.prepared(image, corpus) for image in chosen]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--set", choices=images.SETS, default="small")
    parser.add_argument("--folder", type=Path, help="of image files, instead of a set")
    parser.add_argument("--images", nargs="+", help="only these of the set")
    parser.add_argument("--ratios", nargs="+", type=float, default=[50, 100, 200, 500, 1000, 2000])
    parser.add_argument("--codecs", nargs="+", default=["jpeg", "webp", "avif:s6", "smartsplat:e5"])
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of the originals")
    parser.add_argument("--table", type=Path, required=True, help="file of tab-separated values to extend")
    parser.add_argument("--together", action="store_true", help="all ratios of a codec in one process")
    parser.add_argument("--without-vgg", action="store_true", help="no DISTS and no Wasserstein distortion")
    options = parser.parse_args(arguments)
    try:
        for name in options.codecs:
            codec(name)
        subjects = _subjects(options.folder, options.set, options.images, options.corpus.resolve())
    except (OSError, ValueError) as error:
        parser.error(str(error))
    weights, vgg = weights_path(options.corpus), not options.without_vgg
    failures = measure_all(
        subjects, options.codecs, options.ratios, options.table, weights, together=options.together, vgg=vgg
    )
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
