"""What an installed smartsplat makes of the test vectors and of an image, as JSON; run where its wheel is installed.

python try_wheel.py FOLDER IMAGE

FOLDER has the test vectors. An exception says that an image differs from the reference by more than a code value.
Everything is for one thread and, on x86-64, the processor's instruction set: two builds on one machine say the same.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path

import numpy as np

import smartsplat
from smartsplat import _native


def of_vectors(folder: Path) -> str:
    """A hash of all of their views."""
    everything = hashlib.sha256()
    for name, entry in json.loads((folder / "vectors.json").read_text()).items():
        for view in entry["views"]:
            pixels = smartsplat.decode(folder / f"{name}.sspl", region=tuple(view["region"]), size=tuple(view["size"]))
            stored, unit = (">u1", 1) if pixels.dtype == np.uint8 else (">u2", 257)
            image = (folder / view["image"]).read_bytes()
            expected = np.frombuffer(image[len(image) - pixels.nbytes :], stored).astype(int)
            if np.abs(pixels.ravel() - expected).max() > unit:
                raise AssertionError(f"{view['image']}: differs by more than a code value")
            everything.update(pixels.tobytes())
    return everything.hexdigest()


def main() -> None:
    folder, image = Path(sys.argv[1]), sys.argv[2]
    original = smartsplat.read_image(image)
    data = smartsplat.encode(original, ratio=200, effort=2, threads=1)
    pixels = smartsplat.decode(data)
    report = {
        "vectors": of_vectors(folder),
        "bytes": len(data),
        "file": hashlib.sha256(data).hexdigest(),
        "pixels": hashlib.sha256(pixels.tobytes()).hexdigest(),
        "shape": list(pixels.shape),
    }
    assert pixels.shape[:2] == (original.height, original.width)
    print(json.dumps(report))
    print(f"{sys.version.split()[0]}, {Path(_native.__file__).name}", file=sys.stderr)


if __name__ == "__main__":
    main()
