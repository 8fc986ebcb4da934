"""What an encode promises, whatever the image: more bytes are no worse, few are enough, arguments are checked."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import smartsplat
from smartsplat import metrics
from smartsplat.encoder import encode as encode_module
from smartsplat.errors import SettingsError
from tests.samples import landscape

SMALL = landscape(96, 64)


def test_more_bytes_give_no_less_quality() -> None:
    image = landscape(160, 120)
    found = []
    for ratio in (40, 12, 4, 2, 1, 0.4):
        data = smartsplat.encode(image, ratio=ratio, steps=60, threads=2)
        found.append(metrics.psnr(image, smartsplat.decode(data)))
    assert found == sorted(found), found
    assert found[-1] > 40


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("color", [(0.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.78, 0.12, 0.35), (0.5,)])
def test_an_image_of_one_color_takes_the_few_bytes_that_it_needs(color: tuple[float, ...], dtype: type) -> None:
    white = np.iinfo(dtype).max
    image = np.tile((np.array(color) * white).astype(dtype), (90, 130, 1))
    data = smartsplat.encode(image, ratio=20)
    assert len(data) < 110
    assert np.array_equal(smartsplat.decode(data), image)


def test_bytes_that_nobody_could_see_are_not_spent() -> None:
    """A soft spot on grey: at the first ratio there is room for far more than 59 dB."""
    y, x = np.mgrid[:100, :160]
    spot = 60 + 120 * np.exp(-((x - 80) ** 2 + (y - 50) ** 2) / 800)
    image = np.rint(np.dstack([spot, spot, spot])).astype(np.uint8)
    sizes = [len(smartsplat.encode(image, ratio=ratio, steps=300)) for ratio in (4, 16)]
    assert sizes[0] < 0.6 * image.size / 4
    psnr = metrics.psnr(image, smartsplat.decode(smartsplat.encode(image, ratio=4, steps=300)))
    assert psnr > 58.9


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 2, 1), (3, 1, 3), (8, 8, 3), (16, 16, 1), (5, 90, 3)])
def test_tiny_images_work_at_the_default(shape: tuple[int, int, int]) -> None:
    height, width, channels = shape
    image = landscape(width, height, channels)
    data = smartsplat.encode(image, steps=60)
    assert len(data) <= 200
    assert metrics.psnr(image, smartsplat.decode(data)) > 20


def test_a_target_that_is_asked_for_is_kept_however_tiny_the_image_is() -> None:
    with pytest.raises(SettingsError, match="too small"):
        smartsplat.encode(np.zeros((8, 8, 3), np.uint8) + np.arange(8, dtype=np.uint8)[:, None], ratio=100)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"threads": -3}, "threads must be a whole number of at least 1"),
        ({"seed": -1}, "seed must be a whole number of at least 0"),
        ({"effort": 5.5}, "effort must be a whole number from 1 to 9"),
        ({"effort": True}, "effort must be a whole number"),
        ({"steps": 0}, "steps must be a whole number of at least 1"),
        ({"ratio": "200"}, "ratio must be a positive number"),
        ({"ratio": float("nan")}, "ratio must be a positive number"),
        ({"max_bytes": "1000"}, "max_bytes must be a positive number"),
        ({"gaussians": 0}, "gaussians must be a whole number of at least 1"),
        ({"background": (0, 300, 0)}, "background must be three numbers from 0 to 255"),
        ({"background": (0, 0)}, "background must be 3 whole numbers"),
        ({"device": "gpu"}, "there is no device"),
        ({"device": 3}, "there is no device"),
        ({"preset": "best"}, "unknown preset"),
        ({"weights": np.zeros((64, 96), np.uint8)}, "black everywhere"),
        ({"weights": np.ones((64, 95), np.uint8)}, "do not fit"),
        ({"weights": np.ones((64, 96), np.uint8), "preset": "paper"}, "takes no weights"),
    ],
)
def test_every_argument_is_checked_in_words(options: dict[str, Any], words: str) -> None:
    with pytest.raises(SettingsError, match=words):
        smartsplat.encode(SMALL, **options)


def test_a_count_is_met_exactly_or_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    data = smartsplat.encode(SMALL, gaussians=311, steps=30)
    assert smartsplat.open(data).info.gaussians == 311
    monkeypatch.setattr(encode_module, "prune_overlap", lambda gaussians, _: gaussians[:-1])
    with pytest.raises(SettingsError, match="311 Gaussians would lie too much over each other"):
        smartsplat.encode(SMALL, gaussians=311, steps=30)


def test_a_psnr_that_a_stop_falls_short_of_is_said() -> None:
    with pytest.warns(smartsplat.SmartSplatWarning, match="short of the 60 dB asked for"):
        smartsplat.encode(SMALL, psnr=60, steps=30, progress=lambda at: at.step < 5)
