"""The files that the viewer's tests read, made by the package: images, references, damaged files."""

from __future__ import annotations

import base64
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

import smartsplat
from smartsplat.bitstream import container
from smartsplat.bitstream.file import to_file
from smartsplat.bitstream.quantize import Quantizer
from smartsplat.errors import SmartSplatError
from smartsplat.gaussians import Gaussians
from smartsplat.images.color.color_spaces import in_srgb
from smartsplat.web.page import page
from tests.bitstream.test_container import mended
from tests.samples import landscape

ROOT = Path(__file__).resolve().parents[2]
VECTORS = sorted((ROOT / "tests/vectors").glob("*.sspl"))

SIZE = 1600, 1000
VIEWS = {
    "whole": ((0, 0, *SIZE), (400, 250)),
    "actual": ((500, 300, 400, 250), (400, 250)),
    "close": ((700, 350, 100, 60), (400, 240)),
}
"""Three zooms: region and size."""


def make(folder: Path) -> None:
    """Everything, in a folder that is empty."""
    with Image.open(ROOT / "examples/seeding.jpg") as opened:
        image = opened.resize(SIZE)
    image.save(folder / "photo.png")
    data = smartsplat.encode(image, ratio=40, effort=2, threads=2)
    (folder / "photo.sspl").write_bytes(data)
    reader = smartsplat.open(data)
    views = []
    for name, (region, size) in VIEWS.items():
        _write(folder / f"photo-{name}.ppm", reader.read(region=region, size=size))
        views.append({"image": f"photo-{name}.ppm", "region": region, "size": size})
    for limit in (len(data) // 3, 2 * len(data) // 3):
        prefix = smartsplat.decode(data[:limit], size=VIEWS["whole"][1], partial=True)
        _write(folder / f"prefix-{limit}.ppm", prefix)
    (folder / "views.json").write_text(json.dumps({"views": views, "prefixes": [len(data) // 3, 2 * len(data) // 3]}))

    profile = smartsplat.open(ROOT / "tests/vectors/profile.sspl")
    converted = in_srgb(profile.read(), profile.metadata)
    _write(folder / "profile.ppm", np.repeat(converted, 3, axis=2))

    alpha = np.dstack([landscape(300, 200), np.tile(np.linspace(0, 255, 300), (200, 1)).astype(np.uint8)])
    (folder / "alpha.sspl").write_bytes(smartsplat.encode(alpha, ratio=20, effort=1, threads=2))
    _write_large(folder)
    page_of = reader._repr_html_()
    assert page_of is not None
    (folder / "notebook.html").write_text(f"<!doctype html><title>Notebook</title><body>{page_of}")
    (folder / "photo.html").write_text(page(data, 'a "quoted" <name> & more'))
    (folder / "damaged.json").write_text(json.dumps(damaged()))


def _write_large(folder: Path) -> None:
    """A file above 8 MiB: broad Gaussians, and as many small ones as that takes."""
    side, generator = 4096, np.random.default_rng(0)
    counts = 4000, 1_000_000
    count = sum(counts)
    gaussians = Gaussians(
        mean=generator.uniform(1, side - 1, (count, 2)).astype(np.float32),
        scale=np.repeat(np.float32([120, 0.8]), counts)[:, None].repeat(2, axis=1),
        rotation=np.zeros(count, np.float32),
        color=(generator.uniform(0, 0.05, (count, 3))).astype(np.float32),
    )
    data = container.pack(to_file(gaussians, Quantizer(191, 2, side, side, 3), threads=2))
    assert 1 << 23 < len(data) < 1 << 24
    (folder / "large.sspl").write_bytes(data)
    _write(folder / "large.ppm", smartsplat.decode(data, region=(0, 0, 64, 64)))


def _write(path: Path, pixels: Any) -> None:
    Image.fromarray(np.ascontiguousarray(pixels)).save(path)


def verdict(data: bytes) -> str | None:
    """The name of the error that a file is refused with."""
    try:
        reader = smartsplat.open(data, threads=1)
        reader.gaussians()
        reader.read(size=(4, 4))
    except SmartSplatError as error:
        return type(error).__name__
    return None


def damaged() -> list[dict[str, Any]]:
    """Vectors that end early, have more at their end or wrong bytes, with right checksums and without."""
    generator = random.Random(0)
    cases = []
    for path in VECTORS:
        data = path.read_bytes()
        cases.append((path.stem, data))
        cases += [(f"{path.stem} cut at {at}", data[:at]) for at in range(0, len(data), max(len(data) // 12, 1))]
        cases.append((f"{path.stem} and more", data + b"\0"))
        for round_ in range(100):
            changed = bytearray(data)
            for _ in range(generator.choice((1, 1, 3))):
                changed[generator.randrange(8, len(changed))] = generator.randrange(256)
            sealed = mended(bytes(changed)) if round_ % 4 else bytes(changed)
            cases.append((f"{path.stem} changed {round_}", sealed))
    return [{"name": name, "data": base64.b64encode(data).decode(), "error": verdict(data)} for name, data in cases]
