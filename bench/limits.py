"""The paper's Figure 2: the smallest file that each codec can make, and what is left of the picture in it.

python -m bench.limits --corpus corpus --table results/v0.5/limits.tsv --into docs/baselines.md

A peer's smallest file is that of its lowest quality, at full size and shrunk by 8 (bench/codecs.py); the other rows are
this codec at as many bytes, and as far down as it goes: one Gaussian.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

import smartsplat
from bench.codecs import ByteArray, ShrinkingCodec, codec, shrunk
from bench.images import SETS, prepared, provide
from bench.report import header, insert, markers, mean, row
from bench.run import machine, versions
from smartsplat.metrics import ms_ssim, psnr

PEERS = ("jpeg", "webp", "jxl", "avif:s6")
SHRINKS = (1, 8)
EFFORT = 5
COLUMNS = (
    *("picture", "codec", "shrink", "bytes", "ratio", "psnr", "ms_ssim"),
    *("own_bytes", "own_psnr", "own_ms_ssim", "machine", "versions"),
)
Row = dict[str, object]


def smallest(peer: ShrinkingCodec, pixels: ByteArray, shrink: int) -> bytes:
    """The file of the lowest quality."""
    image = shrunk(pixels, shrink)
    return min((peer.file(image, sampling, peer.qualities[0]) for sampling in peer.samplings), key=len)


def judged(pixels: ByteArray, decoded: ByteArray) -> tuple[str, str]:
    return format(psnr(pixels, decoded), ".6g"), format(ms_ssim(pixels, decoded), ".6g")


def rows(picture: str, pixels: ByteArray, peers: Sequence[str] = PEERS, effort: int = EFFORT) -> Iterator[Row]:
    """Every peer's smallest files of a picture, beside this codec's of at most as many bytes."""
    height, width = pixels.shape[:2]

    def made(name: str, shrink: int, data: bytes, decoded: ByteArray) -> Row:
        found: Row = {"picture": picture, "codec": name, "shrink": shrink, "bytes": len(data)}
        found["ratio"] = format(pixels.size / len(data), ".6g")
        found["psnr"], found["ms_ssim"] = judged(pixels, decoded)
        return found

    for name in peers:
        peer = codec(name)
        assert isinstance(peer, ShrinkingCodec)
        for shrink in SHRINKS:
            data = smallest(peer, pixels, shrink)
            found = made(name, shrink, data, peer.decode(data, width, height))
            own = smartsplat.encode(pixels, size=len(data), effort=effort)
            found["own_bytes"] = len(own)
            found["own_psnr"], found["own_ms_ssim"] = judged(pixels, np.asarray(smartsplat.decode(own)))
            yield found
    one = smartsplat.encode(pixels, gaussians=1, effort=effort)
    yield made(f"smartsplat:e{effort}", 1, one, np.asarray(smartsplat.decode(one)))


def table(found: Iterable[dict[str, str]]) -> str:
    """A line a codec and shrinking, means over the pictures; ratios are of the sums of bytes."""
    groups: dict[tuple[str, str], list[dict[str, str]]] = {}
    for entry in found:
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of the originals")
    parser.add_argument("--table", type=Path, required=True, help="file of tab-separated values to write")
    parser.add_argument("--into", type=Path, help="markdown file with the two markers")
    options = parser.parse_args()
    corpus = options.corpus.resolve()
    provide(corpus, SETS["small"])
    found, constants = [], {"machine": machine(), "versions": versions()}
    for picture in SETS["small"]:
        for entry in rows(picture.id, np.load(prepared(picture, corpus))):
            found.append({name: str((entry | constants).get(name, "")) for name in COLUMNS})
            print(*found[-1].values(), file=sys.stderr)
    with options.table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(found)
    markdown = table(found)
    if options.into:
        insert(markdown, options.into, *markers("limits"))
    else:
        print(markdown)


if __name__ == "__main__":
    main()
