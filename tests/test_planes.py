"""Files with alpha and of more than 8 bits, decoded."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smartsplat
from smartsplat import planes
from smartsplat.bitstream import container
from smartsplat.bitstream.container import Alpha, Extras
from smartsplat.bitstream.file import to_file, to_groups
from smartsplat.bitstream.mask import to_mask
from smartsplat.bitstream.quantize import Quantizer
from smartsplat.errors import FormatError
from tests.compare import scene

WIDTH, HEIGHT = 300, 200


def with_opacity(depth: int = 8, channels: int = 3, **kinds: bool) -> bytes:
    """A file whose alpha is Gaussians, a mask, or both."""
    quantizer = Quantizer(100, 4, WIDTH, HEIGHT, 1)
    groups = to_groups(scene(40, WIDTH, HEIGHT, 1, seed=5, max_scale=40), quantizer) if kinds.get("spots") else ()
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    levels = np.clip(60 - np.hypot(x - 150, y - 90), 0, 15).astype(np.uint8)
    parts = to_mask(levels) if kinds.get("mask") else ()
    extras = Extras(depth, alpha=Alpha(quantizer, groups, parts))
    gaussians = scene(300, WIDTH, HEIGHT, channels)
    return container.pack(to_file(gaussians, Quantizer(90, 3, WIDTH, HEIGHT, channels), extras))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("kinds", [{}, {"spots": True}, {"mask": True}, {"spots": True, "mask": True}], ids=str)
@pytest.mark.parametrize("options", [{}, {"scale": 0.37}, {"region": (90, 40, 110, 83), "scale": 1.6}], ids=str)
def test_alpha_is_the_last_channel_in_strips_too(
    kinds: dict[str, bool], channels: int, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = smartsplat.open(with_opacity(channels=channels, **kinds))
    assert reader.has_alpha
    assert reader.shape == (HEIGHT, WIDTH, channels + 1)
    whole = reader.read(**options)
    assert whole.shape[2] == channels + 1
    assert whole[..., -1].any() == bool(kinds)
    monkeypatch.setattr(planes, "STRIP_PIXELS", 1)
    strips = reader.strips(**options)
    assert strips.shape == whole.shape
    assert np.array_equal(np.concatenate(list(strips.parts)), whole)


def test_the_opacity_of_a_mask_is_its_levels() -> None:
    opacity = smartsplat.decode(with_opacity(mask=True))[..., -1]
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    assert np.array_equal(opacity, np.clip(60 - np.hypot(x - 150, y - 90), 0, 15).astype(np.uint8) * 17)


@pytest.mark.parametrize("depth", [8, 10, 16])
def test_the_type_follows_the_depth_unless_one_is_asked_for(depth: int) -> None:
    data = with_opacity(depth, mask=True)
    own = smartsplat.decode(data)
    assert own.dtype == (np.uint8 if depth <= 8 else np.uint16)
    narrow, wide = (smartsplat.decode(data, dtype=dtype) for dtype in (np.uint8, "uint16"))
    assert (narrow.dtype, wide.dtype) == (np.uint8, np.uint16)
    assert np.abs(narrow * 257.0 - wide).max() <= 129
    assert len(np.unique(wide[..., 0])) > 300, "more values than 8 bits have"


@pytest.mark.parametrize("background", [(255, 255, 255), (10, 200, 30)])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_background_flattens(dtype: type, channels: int, background: tuple[int, int, int]) -> None:
    reader = smartsplat.open(with_opacity(channels=channels, mask=True))
    whole = reader.read(dtype=dtype).astype(float)
    white = np.iinfo(dtype).max
    opacity = whole[..., -1:] / white
    expected = whole[..., :-1] * opacity + np.array(background) * (white / 255) * (1 - opacity)
    flat = reader.read(dtype=dtype, background=background)
    grey = channels == 1 and len(set(background)) == 1
    assert flat.shape == (HEIGHT, WIDTH, 1 if grey else 3)
    assert np.abs(flat - (expected[..., :1] if grey else expected)).max() <= 0.51
    assert np.array_equal(reader.strips(dtype=dtype, background=background).joined(), flat)
    opaque = smartsplat.open(container.pack(to_file(scene(9, 30, 20), Quantizer(90, 3, 30, 20, 3))))
    assert np.array_equal(opaque.read(background=background), opaque.read())


def test_a_file_that_ends_early_has_its_alpha() -> None:
    data = with_opacity(mask=True)
    reader = smartsplat.open(data, partial=True)
    assert reader.has_alpha
    with pytest.raises(FormatError, match="truncated"):
        smartsplat.open(data[:-20])


FORKING = """
import os, signal, sys, threading
import numpy as np
import smartsplat

reader = smartsplat.open(sys.argv[1], threads=2)
expected, done = reader.read(), threading.Event()

def draw():
    while not done.is_set():
        reader.read()

threading.Thread(target=draw).start()
for _ in range(5):
    child = os.fork()
    if child == 0:
        signal.alarm(30)
        os._exit(0 if np.array_equal(reader.read(), expected) else 1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
done.set()
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system cannot fork")
def test_a_forked_process_uses_a_reader_that_another_thread_was_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.sspl"
    path.write_bytes(with_opacity(spots=True))
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING, str(path)]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert (ran.stdout.split(), ran.stderr) == (["0"] * 5, "")
