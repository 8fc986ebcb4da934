"""The decoder in WebAssembly, in Node.js: its pixels are those of Python, in little memory."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smartsplat
from smartsplat.bitstream import container
from smartsplat.bitstream.container import Extras
from smartsplat.bitstream.file import to_file
from smartsplat.bitstream.quantize import Quantizer
from smartsplat.metadata import Metadata
from tests.compare import scene
from tests.decoder_samples import KINDS, VIEWS, made

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BUILT = ROOT / "viewer/sspl.wasm"
NODE = shutil.which("node")
MAX_BYTES = 150_000
HUGE = 16_384, 10_816  # 177 megapixels


def test_it_is_small() -> None:
    if not BUILT.exists():
        pytest.skip("scripts/wasm builds it")
    assert BUILT.stat().st_size < MAX_BYTES


def rgba(data: bytes, view: dict[str, Any]) -> bytes:
    """A view as the decoder gives it."""
    pixels = smartsplat.decode(data, dtype=np.uint8, **view)
    has_alpha = pixels.shape[2] % 2 == 0
    color = pixels[..., :-1] if has_alpha else pixels
    alpha = pixels[..., -1] if has_alpha else np.full(pixels.shape[:2], 255, np.uint8)
    return np.dstack([np.broadcast_to(color, (*alpha.shape, 3)), alpha]).tobytes()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files, and what is expected of them."""
    folder = tmp_path_factory.mktemp("wasm")
    cases = []
    for number, (name, options) in enumerate(KINDS.items()):
        data = made(**options)
        (folder / f"{number}.sspl").write_bytes(data)
        for index, view in enumerate(VIEWS):
            (folder / f"{number}-{index}.rgba").write_bytes(rgba(data, view))
            cases.append({"name": name, "file": f"{number}.sspl", "pixels": f"{number}-{index}.rgba", "view": view})
    (folder / "cases.json").write_text(json.dumps(cases))
    metadata = Metadata(icc=bytes(range(256)) * 9, density=(3937, 4000))
    (folder / "metadata.sspl").write_bytes(made(depth=16, metadata=metadata))
    width, height = HUGE
    huge = to_file(scene(200_000, width, height, max_scale=30), Quantizer(90, 5, width, height, 3), Extras())
    data = container.pack(huge)
    (folder / "huge.sspl").write_bytes(data)
    view: dict[str, Any] = {"region": (8000, 5000, 512, 512)}
    (folder / "huge.rgba").write_bytes(rgba(data, view))
    return folder


def test_in_node(folder: Path) -> None:
    if NODE is None:
        pytest.skip("Node.js is not installed")
    if not BUILT.exists():
        pytest.skip("scripts/wasm builds it")
    environment = os.environ | {"SAMPLES": str(folder), "BUILT": str(BUILT.parent)}
    command = [NODE, "--test", "--test-reporter=spec", str(HERE / "decode.test.mjs")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "\nℹ pass 0\n" not in ran.stdout
