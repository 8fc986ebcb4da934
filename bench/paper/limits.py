"""The paper's Figure 2: the smallest file that each codec can make, and how good the image in it is.

python -m bench.paper.limits --corpus corpus --table limits.tsv --into docs/baselines.md
python -m bench.paper.limits --report --table limits.tsv --into docs/baselines.md      (only the report)

An anchor's smallest file is that of its lowest quality, at full size and shrunk by 8 (bench/rate_distortion/codecs.py).
Beside it is this codec at as many bytes, and below at one Gaussian, its smallest file.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

import smartsplat
from bench.images import SETS, provide
from bench.markdown import header, mean, publish, row
from bench.provenance import provenance
from bench.rate_distortion.codecs import ShrinkingCodec, codec, shrunk
from bench.tables import Row, Table, read_rows
from smartsplat.arrays import ByteArray
from smartsplat.metrics import ms_ssim, psnr

ANCHORS = ("jpeg", "webp", "jxl", "avif:s6")
SHRINKS = (1, 8)
EFFORT = 5
COLUMNS = (
    *("picture", "codec", "shrink", "bytes", "ratio", "psnr", "ms_ssim"),
    *("own_bytes", "own_psnr", "own_ms_ssim", "machine", "versions"),
)


def min_file(anchor: ShrinkingCodec, pixels: ByteArray, shrink: int) -> bytes:
    """The file of the lowest quality."""
    image = shrunk(pixels, shrink)
    return min((anchor.file(image, sampling, anchor.qualities[0]) for sampling in anchor.samplings), key=len)


def quality(pixels: ByteArray, decoded: ByteArray) -> tuple[str, str]:
    """PSNR, dB, and MS-SSIM."""
    return format(psnr(pixels, decoded), ".6g"), format(ms_ssim(pixels, decoded), ".6g")


def rows(
    image: str, pixels: ByteArray, anchors: Sequence[str] = ANCHORS, effort: int = EFFORT
) -> Iterator[dict[str, object]]:
    """Every anchor's smallest files of an image, beside this codec's of at most as many bytes."""
    height, width = pixels.shape[:2]

    def row_of(name: str, shrink: int, data: bytes, decoded: ByteArray) -> dict[str, object]:
        columns: dict[str, object] = {"picture": image, "codec": name, "shrink": shrink, "bytes": len(data)}
        columns["ratio"] = format(pixels.size / len(data), ".6g")
        columns["psnr"], columns["ms_ssim"] = quality(pixels, decoded)
        return columns

    for name in anchors:
        anchor = codec(name)
        assert isinstance(anchor, ShrinkingCodec)
        for shrink in SHRINKS:
            data = min_file(anchor, pixels, shrink)
            columns = row_of(name, shrink, data, anchor.decode(data, width, height))
            own = smartsplat.encode(pixels, max_bytes=len(data), effort=effort, tune="psnr")
            columns["own_bytes"] = len(own)
            columns["own_psnr"], columns["own_ms_ssim"] = quality(pixels, np.asarray(smartsplat.decode(own)))
            yield columns
    one = smartsplat.encode(pixels, gaussians=1, effort=effort, tune="psnr")
    yield row_of(f"smartsplat:e{effort}", 1, one, np.asarray(smartsplat.decode(one)))


def table(measured: Iterable[Row]) -> str:
    """A line a codec and shrinking, means over the images; ratios are of the sums of bytes."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for entry in measured:
        groups.setdefault((entry["codec"], entry["shrink"]), []).append(entry)
    lines = header("codec", "shrunk by", "largest ratio", "PSNR, dB", "MS-SSIM", "SmartSplat there", "MS-SSIM")
    for (name, shrink), group in groups.items():
        pixels = sum(float(entry["ratio"]) * float(entry["bytes"]) for entry in group)
        ratio = pixels / sum(float(entry["bytes"]) for entry in group)
        columns = ("psnr", "ms_ssim", "own_psnr", "own_ms_ssim")
        values = [mean(float(entry[column]) for entry in group if entry[column]) for column in columns]
        cells = [f"{value:.{digits}f}" for value, digits in zip(values, (2, 3, 2, 3), strict=True)]
        cells = ["" if cell == "nan" else cell for cell in cells]
        lines.append(row(name, shrink, f"{ratio:.0f} : 1", *cells))
    return "\n".join(lines)


def measure(corpus: Path, results: Table) -> None:
    """Fill the table anew, with every image of the small set."""
    measured, constants = [], provenance()
    for subject in provide(corpus, SETS["small"]):
        for columns in rows(subject.id, np.load(subject.path)):
            measured.append(columns | constants)
            print(*columns.values(), file=sys.stderr)
    results.write(measured)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of the originals")
    parser.add_argument("--table", type=Path, required=True, help="file of tab-separated values to write")
    parser.add_argument("--report", action="store_true", help="measure nothing; the table is there")
    parser.add_argument("--into", type=Path, help="markdown file with the two marks of the section")
    options = parser.parse_args()
    if not options.report:
        measure(options.corpus.resolve(), Table(options.table, COLUMNS))
    publish(table(read_rows(options.table)), options.into, "limits")


if __name__ == "__main__":
    main()
