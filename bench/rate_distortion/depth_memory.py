"""Peak memory of encoding the same image from a file of 8 and of 16 bits.

python -m bench.rate_distortion.depth_memory

Each encode has a process of its own: so has writing the files, because a process begins with its parent's peak.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np

import smartsplat
from bench.images import KLEIBER, fetch
from bench.processes import json_lines, max_resident_megabytes
from bench.provenance import provenance
from bench.tables import ALPHA_AND_DEPTH_RESULTS, Table
from smartsplat.arrays import SampleArray

MODULE = "bench.rate_distortion.depth_memory"
IMAGE = replace(KLEIBER, factor=Fraction(1))
RATIO, EFFORT = 200, 1
COLUMNS = (
    *("picture", "width", "height", "bits", "effort", "ratio", "peak_mb", "bytes_per_pixel", "machine", "versions"),
)


def write(pixels: SampleArray, path: Path) -> dict[str, object]:
    """An uncompressed TIFF of uint8 or uint16 [H, W, 3]."""
    import pyvips

    pyvips.Image.new_from_array(pixels, interpretation="srgb" if pixels.dtype == np.uint8 else "rgb16").tiffsave(path)
    return {"height": pixels.shape[0], "width": pixels.shape[1]}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of the originals")
    parser.add_argument("--table", type=Path, default=ALPHA_AND_DEPTH_RESULTS / "depth-memory.tsv")
    parser.add_argument("--write", type=int, choices=(8, 16), help="only write the file of so many bits")
    parser.add_argument("--encode", type=int, choices=(8, 16), help="only encode it")
    options = parser.parse_args(arguments)
    corpus = options.corpus.resolve()
    paths = {bits: corpus / "prepared" / f"{IMAGE.id}-{bits}.tif" for bits in (8, 16)}
    if options.write is not None:
        pixels = IMAGE.pixels(corpus)
        deep = pixels if options.write == 8 else pixels.astype(np.uint16) * np.uint16(257)
        print(json.dumps(write(deep, paths[options.write])))
    elif options.encode is not None:
        smartsplat.encode(paths[options.encode], ratio=RATIO, effort=EFFORT)
        print(json.dumps({"peak_mb": max_resident_megabytes()}))
    else:
        fetch(corpus, (IMAGE,))
        paths[8].parent.mkdir(exist_ok=True)
        table = Table(options.table, COLUMNS)
        table.write(row(bits, corpus) for bits in paths)


def row(bits: int, corpus: Path) -> dict[str, object]:
    """One encode."""
    (size,) = json_lines(MODULE, "--write", str(bits), "--corpus", str(corpus))
    (measured,) = json_lines(MODULE, "--encode", str(bits), "--corpus", str(corpus))
    peak = measured["peak_mb"]
    constants: dict[str, object] = {"picture": IMAGE.id, "bits": bits, "effort": EFFORT, "ratio": RATIO}
    numbers = {"peak_mb": round(peak), "bytes_per_pixel": format(peak * 1e6 / (size["width"] * size["height"]), ".4g")}
    return constants | size | numbers | provenance()


if __name__ == "__main__":
    main()
