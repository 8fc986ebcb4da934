"""What is run where a wheel has been installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from PIL import Image

from tests.samples import landscape

ROOT = Path(__file__).resolve().parents[2]


def try_wheel(vectors: Path, image: Path) -> subprocess.CompletedProcess[str]:
    command = (sys.executable, ROOT / "release/try_wheel.py", vectors, image)
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=image.parent)


def test_two_runs_say_the_same_and_a_wrong_image_is_refused(tmp_path: Path) -> None:
    image = tmp_path / "a.png"
    Image.fromarray(landscape(120, 90)).save(image)
    first, second = (try_wheel(ROOT / "tests/vectors", image) for _ in range(2))
    assert first.returncode == 0, first.stderr
    report = json.loads(first.stdout)
    assert report == json.loads(second.stdout)
    assert report["shape"] == [90, 120, 3]
    assert report["bytes"] <= 3 * 90 * 120 / 200
    vectors = tmp_path / "vectors"
    vectors.mkdir()
    for path in (ROOT / "tests/vectors").iterdir():
        if path.is_file():
            (vectors / path.name).write_bytes(path.read_bytes())
    changed = next(vectors.glob("*.ppm"))
    content = bytearray(changed.read_bytes())
    content[-1] ^= 0x80
    changed.write_bytes(content)
    wrong = try_wheel(vectors, image)
    assert wrong.returncode == 1
    assert f"{changed.name}: differs by more than a code value" in wrong.stderr
