"""An encode that ends anywhere goes on from its checkpoint, to the same bytes."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smartsplat
from smartsplat.encoder import checkpoint as module
from smartsplat.encoder import settings
from smartsplat.encoder.checkpoint import Checkpoint, key_of
from smartsplat.errors import ImageError, SettingsError, SmartSplatWarning
from tests.render.renderers import HAS_TRITON
from tests.samples import landscape


class Killed(BaseException):
    """The process has ended."""


def dying_at(step: int) -> Callable[[object], None]:
    """A progress callback that ends everything in its so-manieth call."""
    calls = itertools.count(1)

    def callback(at: object) -> None:
        if next(calls) == step:
            raise Killed

    return callback


@pytest.fixture(autouse=True)
def _saved_after_every_step(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 0.0)
    monkeypatch.setattr(module, "MAX_WRITING_PART", 1e9)


def with_alpha() -> np.ndarray:
    pixels = landscape(48, 40)
    opacity = np.tile(np.linspace(0, 255, 48), (40, 1)).astype(np.uint8)
    return np.dstack([pixels, opacity])


CASES: dict[str, tuple[np.ndarray, dict[str, Any]]] = {
    "bytes": (landscape(64, 48), {"max_bytes": 700}),
    "psnr tune": (landscape(64, 48), {"max_bytes": 700, "tune": "psnr"}),
    "structure": (landscape(160, 144), {"max_bytes": 900}),
    "count": (landscape(48, 40, 1), {"gaussians": 30}),
    "decibels": (landscape(48, 40), {"psnr": 16.0}),
    "alpha": (with_alpha(), {"max_bytes": 900}),
    "16 bits": (landscape(48, 40).astype(np.uint16) * 257, {"max_bytes": 600}),
    "weights": (landscape(48, 40), {"max_bytes": 600, "weights": landscape(48, 40, 1)}),
    "paper": (landscape(48, 40), {"max_bytes": 600, "preset": "paper"}),
}


@pytest.mark.parametrize("name", CASES)
def test_an_encode_goes_on_to_the_same_bytes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ended again and again, every so many steps, until it comes through."""
    pixels, arguments = CASES[name]
    monkeypatch.setattr(settings, "EFFORT_TRIALS", {5: ((14, 0.1), (11, 0.16))})
    arguments = {"steps": 12, "threads": 1, "seed": 3} | arguments if name == "paper" else arguments | {"threads": 1}
    expected = smartsplat.encode(pixels, **arguments)
    path = tmp_path / "out.sspl.checkpoint"
    assert smartsplat.encode(pixels, **arguments, checkpoint=path) == expected, "saving changes nothing"
    path.unlink()
    lives = 0
    for step in itertools.cycle((1, 4, 9, 17)):
        lives += 1
        try:
            data = smartsplat.encode(pixels, **arguments, checkpoint=path, progress=dying_at(step))
            break
        except Killed:
            assert lives < 60
            assert step == 1 or path.exists()
    assert lives > 2
    assert data == expected
    assert path.exists(), "it is the caller's to remove"


@pytest.mark.skipif(not HAS_TRITON, reason="torch and Triton are not installed: scripts/test gpu installs them")
def test_on_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from smartsplat.encoder import encode
    from smartsplat.encoder.compute import Compute, sampler_of
    from tests.render.renderers import SUBJECTS

    def compute(device: str, threads: int) -> Compute:
        renderer = SUBJECTS["gpu"].open()
        return Compute(renderer, sampler_of(renderer), threads)

    monkeypatch.setattr(encode, "open_compute", compute)
    arguments: dict[str, Any] = {"gaussians": 9, "steps": 4, "effort": 1, "tune": "psnr"}
    pixels, path = landscape(24, 18), tmp_path / "checkpoint"
    expected = smartsplat.encode(pixels, **arguments)
    with pytest.raises(Killed):
        smartsplat.encode(pixels, **arguments, checkpoint=path, progress=dying_at(3))
    assert smartsplat.encode(pixels, **arguments, checkpoint=path) == expected


def test_a_stopped_fit_can_go_on(tmp_path: Path) -> None:
    pixels, path = landscape(48, 40), tmp_path / "checkpoint"
    arguments: dict[str, Any] = {"gaussians": 20, "steps": 20, "threads": 1}
    expected = smartsplat.encode(pixels, **arguments)
    stopped = smartsplat.encode(pixels, **arguments, checkpoint=path, progress=lambda at: at.step < 7)
    assert smartsplat.decode(stopped).shape == pixels.shape
    steps: list[int] = []
    again = smartsplat.encode(pixels, **arguments, checkpoint=path, progress=lambda at: steps.append(at.step))
    assert steps[0] == 8
    assert again == expected


def test_a_short_encode_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 60.0)
    path = tmp_path / "checkpoint"
    smartsplat.encode(landscape(24, 18), gaussians=9, steps=5, checkpoint=path)
    smartsplat.encode(landscape(24, 18), gaussians=9, steps=5, checkpoint=path, progress=lambda at: False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"gaussians": 10}, {"steps": 6}, {"tune": "psnr"}, {"grain": 0.1}, {"strip": None}]
)
def test_a_checkpoint_of_another_encode_is_refused(change: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    arguments: dict[str, Any] = {"gaussians": 9, "steps": 5}
    smartsplat.encode(landscape(24, 18), **arguments, checkpoint=path)
    before = path.read_bytes()
    pixels = landscape(24, 18)
    if "strip" in change:
        pixels[0, 0, 0] ^= 1
        change = {}
    with pytest.raises(SettingsError, match="of another image, or with other settings: remove it to begin anew"):
        smartsplat.encode(pixels, **(arguments | change), checkpoint=path)
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"nothing", b"PK\3\4" + bytes(40)])
def test_what_is_no_checkpoint_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    path.write_bytes(content)
    with pytest.raises(ImageError, match="is no checkpoint that can be read"):
        smartsplat.encode(landscape(24, 18), gaussians=9, steps=5, checkpoint=path)
    assert path.read_bytes() == content


def test_damaged_checkpoints_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    smartsplat.encode(landscape(24, 18), gaussians=9, steps=5, checkpoint=path)
    data = path.read_bytes()
    for end in range(0, len(data), len(data) // 23):
        path.write_bytes(data[:end])
        with pytest.raises(ImageError, match="is no checkpoint"):
            smartsplat.encode(landscape(24, 18), gaussians=9, steps=5, checkpoint=path)


def test_where_it_cannot_be_written_the_fit_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "none" / "checkpoint"
    arguments: dict[str, Any] = {"gaussians": 9, "steps": 5}
    with pytest.warns(SmartSplatWarning, match="cannot be written") as warned:
        data = smartsplat.encode(landscape(24, 18), **arguments, checkpoint=path)
    assert len(warned) == 1
    assert data == smartsplat.encode(landscape(24, 18), **arguments)


def test_what_an_unfinished_write_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.new").write_bytes(b"half")
    Checkpoint(tmp_path / "checkpoint", "")
    assert list(tmp_path.iterdir()) == []


def test_writing_takes_a_small_part_of_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "INTERVAL", 60.0)
    monkeypatch.setattr(module, "MAX_WRITING_PART", 0.05)
    now = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: now)
    monkeypatch.setattr(module.os, "fsync", lambda descriptor: seconds())
    written: list[float] = []

    def seconds() -> None:
        nonlocal now
        now += 9

    checkpoint = Checkpoint(tmp_path / "checkpoint", "")
    for _ in range(1000):
        now += 1
        before = checkpoint._written
        checkpoint.save_if_due(dict)
        if checkpoint._written != before:
            written.append(now)
    assert written[0] == 60 + 9
    assert np.allclose(np.diff(written), 180 + 9)


def test_keys() -> None:
    image = landscape(8, 8)
    assert key_of(image, 1) == key_of(image.copy(), 1)
    assert len({key_of(image, 1), key_of(image, 2), key_of(image[:4], 1), key_of(image.astype(np.uint16), 1)}) == 4
