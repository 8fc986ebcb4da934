"""Images of 16 bits: how they are made, rounded and measured."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import smartsplat
from bench.rate_distortion import depth
from bench.rate_distortion.codecs import resized
from bench.rate_distortion.depth_images import DarkSky, RadialGradient, averaged
from smartsplat.images.strips import rounded_to_8_bits
from smartsplat.metrics import psnr
from tests.samples import landscape


def test_squares_are_averaged_in_integers() -> None:
    pixels = np.zeros((9, 5, 3), np.uint8)
    pixels[:4, :4] = 255
    pixels[4, 0, 1] = 1
    result = averaged(pixels)
    assert result.dtype == np.uint16
    assert result.shape == (2, 1, 3)
    assert result[0, 0].tolist() == [65535] * 3
    assert result[1, 0].tolist() == [0, 16, 0]  # 257 / 16


def test_gradients_have_the_levels_that_they_say() -> None:
    sky = DarkSky().pixels(Path())
    assert sky[0, [0, -1], 2] / 65535 == pytest.approx([0.06, 0.12], abs=5e-4)
    assert len(np.unique(sky[450, :, 2])) > 1000
    radial = RadialGradient().pixels(Path())
    assert radial[[0, 450], [0, 800], 2] / 65535 == pytest.approx([0.08, 0.30], abs=1e-3)


def test_rounding_to_8_bits_undoes_widening() -> None:
    codes = np.arange(256, dtype=np.uint8)[:, None, None]
    assert np.array_equal(rounded_to_8_bits(codes * np.uint16(257)), codes)
    assert rounded_to_8_bits(np.array([[[128, 129, 65535]]], np.uint16)).tolist() == [[[0, 1, 255]]]


def test_resizing_keeps_16_bits() -> None:
    flat = np.full((8, 12, 3), 12345, np.uint16)
    assert np.array_equal(resized(flat, 24, 16, Image.Resampling.BICUBIC), np.full((16, 24, 3), 12345, np.uint16))


@pytest.mark.parametrize(("bits", "decibels"), [(10, 55), (12, 62)])
def test_avif_keeps_its_bits(bits: int, decibels: float) -> None:
    """48 dB is what 8 bits leave of a smooth grey at best, by rounding alone up to 59."""
    tool = depth.deep_codec(f"avif:{bits}", 9)
    assert isinstance(tool, depth.DeepAvif)
    level = np.linspace(4000, 60000, 96 * 64).reshape(64, 96, 1).repeat(3, axis=2).round().astype(np.uint16)
    level[0, 0], level[0, 1] = 0, 65535
    decoded = tool.decode(tool.file(level, "4:4:4", 100), 96, 64)
    assert decoded.dtype == np.uint16
    assert psnr(level, decoded) > decibels


def test_unknown_codecs_are_refused() -> None:
    for name in ("avif:8", "smartsplat", "smartsplat:12", "jpeg"):
        with pytest.raises(ValueError, match="unknown codec"):
            depth.deep_codec(name, 6)


def test_smoothness_counts_values_and_runs() -> None:
    pixels = (257 * np.arange(4, dtype=np.uint16)).repeat(3).reshape(1, 12, 1)
    exact = depth.smoothness(pixels, (pixels // 257).astype(np.uint8))
    assert exact == {"step_rms": "0", "row_values": "4", "row_run": "3"}
    shifted = depth.smoothness(pixels, pixels + np.uint16(257))
    assert shifted["step_rms"] == "1"


def test_a_file_of_16_bits_has_rows_for_both_types() -> None:
    sky = DarkSky(width=160, height=90).pixels(Path())
    tool = depth.DeepSmartSplat(16)
    tool.effort = 1
    deep, coarse = depth.rows("sky", sky, tool, [20])
    assert [deep["codec"], coarse["codec"]] == ["smartsplat:16to16", "smartsplat:16to8"]
    assert deep["bytes"] == coarse["bytes"]
    assert float(str(deep["psnr"])) > float(str(coarse["psnr"])) + 3
    assert float(str(deep["row_run"])) < float(str(coarse["row_run"]))


def test_8_bits_are_what_is_encoded(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def encode(pixels: np.ndarray, **options: object) -> bytes:
        seen.append(pixels.dtype)
        return b""

    monkeypatch.setattr(smartsplat, "encode", encode)
    pixels = landscape(16, 16) * np.uint16(257)
    for bits in (8, 16):
        depth.DeepSmartSplat(bits).encode(pixels, [100])
    assert seen == [np.uint8, np.uint16]


def test_the_report_has_means_and_gradients() -> None:
    constant = {"machine": "m", "versions": "v 1", "width": "2", "height": "1", "recipe": "r", "setting": ""}
    rows = [
        {"picture": "altai", "codec": "avif:12", "ratio_target": "50", "psnr": "40"} | constant,
        {"picture": "sky", "codec": "avif:12", "ratio_target": "50", "psnr": "60", "step_rms": "0.5"}
        | constant
        | {"row_values": "15", "row_run": "104.3"},
    ]
    lines = depth.report(rows).splitlines()
    assert "| 50 | 1 | 40.00 |" in lines
    assert "| sky | 50 | 60.0 / 0.50 / 15 / 104.3 |" in lines


def test_the_plot_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")
    monkeypatch.setattr(depth, "DarkSky", lambda: DarkSky(width=160, height=64))
    monkeypatch.setattr(depth, "FIGURE_COLUMNS", slice(20, 100))
    monkeypatch.setattr(depth, "EFFORT", 1)
    depth.plot(tmp_path / "depth.svg")
    assert "steps of 8 bits" in (tmp_path / "depth.svg").read_text()
