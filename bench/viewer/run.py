"""Measures the viewer in Chromium, and its size: viewer.tsv.

python -m bench.viewer.run --corpus corpus
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

import smartsplat
from bench.images import MOSAIC, SEEDING, BenchImage, provide
from bench.provenance import provenance
from bench.tables import REPOSITORY, VIEWER_RESULTS, Table
from smartsplat.web.files import viewer_folder
from smartsplat.web.page import page

COLUMNS = ("what", "renderer", "value", "unit", "machine", "versions")
PHOTOGRAPH = replace(SEEDING, factor=Fraction(1))
NOT_EMBEDDED = ("index.html", "main.js", "original.js", "openseadragon.js", "viewer.css")
MEASURE = REPOSITORY / "bench/viewer/measure.mjs"


def encoded(image: BenchImage, ratio: int, corpus: Path) -> Path:
    """The image as a file of the ratio, effort 2; kept."""
    path = corpus / "encoded" / f"{image.id}-{ratio}.sspl"
    if not path.exists():
        (prepared,) = provide(corpus, [image])
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(smartsplat.encode(np.load(prepared.path, mmap_mode="r"), ratio=ratio, effort=2))
    return path


def sizes() -> Iterator[dict[str, Any]]:
    """Bytes of the viewer: as it lies there, and as a page that holds it, without a file."""
    modules = sorted(path for path in viewer_folder().iterdir() if path.suffix in (".js", ".html", ".css"))
    whole = page(b"", "").encode()
    embedded = b"".join(path.read_bytes() for path in modules if path.name not in NOT_EMBEDDED)
    numbers = {
        "what `<sspl-image>` loads, with comments": len(embedded),
        "the same by gzip": len(gzip.compress(embedded, 9)),
        "all modules, page and style, with comments": sum(path.stat().st_size for path in modules),
        "an exported page without its file": len(whole),
        "that by gzip": len(gzip.compress(whole, 9)),
    }
    for what, number in numbers.items():
        yield {"what": what, "renderer": "", "value": number, "unit": "bytes"}


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("corpus"), help="folder of the originals")
    parser.add_argument("--table", type=Path, default=VIEWER_RESULTS / "viewer.tsv")
    options = parser.parse_args(arguments)
    large, small = encoded(MOSAIC, 200, options.corpus), encoded(PHOTOGRAPH, 50, options.corpus)
    chromium = shutil.which("chromium")
    if chromium is None or shutil.which("node") is None:
        sys.exit("bench: needs Node.js and Chromium: scripts/test browser")
    environment = os.environ | {"CHROMIUM": chromium}
    ran = subprocess.run(["node", MEASURE, large, small], stdout=subprocess.PIPE, check=True, env=environment)
    rows = [*sizes(), *map(json.loads, ran.stdout.splitlines())]
    for name, path in (("large", large), ("small", small)):
        rows.append({"what": f"the {name} file", "renderer": "", "value": path.stat().st_size, "unit": "bytes"})
    Table(options.table, COLUMNS).write(row | provenance() for row in rows)


if __name__ == "__main__":
    main()
