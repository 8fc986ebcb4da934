"""Writes what the fuzzers start from, a folder a target: ``python -m tests.fuzz.seeds FOLDER``."""

from __future__ import annotations

import struct
import sys
from pathlib import Path

import numpy as np

from smartsplat.bitstream import container
from tests.compare import scene
from tests.vectors.make import FOLDER

REQUESTS = ("full/max/0/default.jpg", "pct:1,2.5,30,40/!300,200/!90/gray.png", "square/^pct:110/0/bitonal.webp")
WORDS = ("1,2,3,4", "640x480", "#ff8800", "rgb(1,2,3)", "0,1.5", "auto", "0.35")


def seeds() -> dict[str, list[bytes]]:
    """Inputs of each target."""
    found: dict[str, list[bytes]] = {name: [] for name in ("symbols", "mask", "grain", "render", "whole")}
    for path in sorted(FOLDER.glob("*.sspl")):
        data = path.read_bytes()
        found["whole"].append(data)
        file = container.unpack(data)
        alpha = file.extras.alpha
        planes = [(file.quantizer, file.groups)] + ([(alpha.quantizer, alpha.groups)] if alpha else [])
        for q, groups in planes:
            head = (q.quality, q.cell_log2, q.width - 1 & 0xFFFF, q.height - 1 & 0xFFFF, int(q.channels == 3))
            found["symbols"] += [struct.pack("<BBHHBH", *head, group.count) + group.data for group in groups]
        for part in alpha.mask if alpha else ():
            x0, y0, x1, y1 = part.extent
            if x1 - x0 <= 4 and y1 - y0 <= 4:
                size = 64 * (y1 - y0) - 1, 64 * (x1 - x0) - 1
                found["mask"].append(struct.pack("<BBBH", 0, *size, part.count) + part.data)
        if (grain := file.extras.grain) is not None:
            found["grain"].append(bytes([0, grain.bands - 1, 2, 3]) + grain.data)
    random = np.random.default_rng(0)
    found["symbols"] += [bytes([80, 4, 200, 0, 150, 0, form, 0, 0]) + random.bytes(200) for form in (2, 3)]
    for channels, zoom in ((1, 2), (3, 2), (3, 0), (3, 6)):
        gaussians = scene(12, 100, 80, channels)
        floats = b"".join(array.tobytes() for array in gaussians.arrays())
        head = struct.pack("<IIII", 99, 79, 0, 0) + bytes([zoom, zoom, int(channels == 3), 4, 0, 0, 3, 1, 6])
        found["render"].append(head + random.bytes(12) + floats)
    return found | {
        "file": found["whole"],
        "request": [text.encode() for text in REQUESTS],
        "words": [text.encode() for text in WORDS],
    }


def main() -> None:
    folder = Path(sys.argv[1])
    for target, inputs in seeds().items():
        (folder / target).mkdir(parents=True, exist_ok=True)
        for index, data in enumerate(inputs):
            (folder / target / f"seed-{index}").write_bytes(data)


if __name__ == "__main__":
    main()
