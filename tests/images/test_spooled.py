"""Images whose samples are on disk."""

from __future__ import annotations

import io
import mmap
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import smartsplat
from smartsplat.errors import ImageError
from smartsplat.images import spooled
from smartsplat.images.image import read_image
from smartsplat.images.spooled import new_samples, release
from tests.samples import landscape


def is_on_disk(samples: Any) -> bool:
    base = samples
    while isinstance(base, np.ndarray) and base.base is not None:
        base = base.base
    return isinstance(base.obj if isinstance(base, memoryview) else base, mmap.mmap)


@pytest.mark.parametrize("kind", ["RGB", "RGBA", "turned", "16 bits"])
def test_read_as_in_memory(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    file = io.BytesIO()
    image = landscape(300, 200)
    if kind == "RGBA":
        image = np.dstack([image, image[..., 0]])
    if kind == "16 bits":
        Image.fromarray(image[..., 0].astype(np.uint16) * 257).save(file, "PNG")
    else:
        exif = Image.Exif()
        exif[0x0112] = 6 if kind == "turned" else 1
        Image.fromarray(image).save(file, "PNG", exif=exif)
    expected = read_image(file.getvalue())
    monkeypatch.setattr(spooled, "MAX_IN_MEMORY", 50_000)
    found = read_image(file.getvalue())
    assert is_on_disk(found.pixels)
    assert not is_on_disk(expected.pixels)
    assert np.array_equal(found.pixels, expected.pixels)
    assert (found.alpha is None) == (expected.alpha is None)
    assert found.alpha is None or np.array_equal(found.alpha, expected.alpha)
    if found.alpha is None:
        options: dict[str, Any] = {"ratio": 50, "steps": 10, "threads": 1}
        assert smartsplat.encode(found, **options) == smartsplat.encode(expected, **options)


def test_what_was_written_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spooled, "MAX_IN_MEMORY", 1000)
    samples = new_samples((700, 600, 3), np.uint16)
    assert is_on_disk(samples)
    samples[:] = np.arange(600, dtype=np.uint16)[:, None]
    release(samples)
    release(samples[3:5, :, 1:])
    assert (samples == np.arange(600)[:, None]).all()
    release(np.zeros(3))


def test_memory_maps_of_the_caller(tmp_path: Path) -> None:
    image = landscape(600, 550)
    np.save(tmp_path / "a.npy", image)
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    options: dict[str, Any] = {"ratio": 100, "steps": 10, "block": 512, "effort": 1}
    assert smartsplat.encode(mapped, **options) == smartsplat.encode(image, **options)


def test_a_disk_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not hasattr(os, "posix_fallocate"):
        pytest.skip("this system does not say so beforehand")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    def full(*_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(ImageError, match=f"{tmp_path}: has no room for the 1.8 GB of the image's samples: No space"):
        new_samples((20000, 30000, 3), np.uint8)
