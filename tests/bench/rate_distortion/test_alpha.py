"""Images with alpha: composites, columns and reports, and that anchors keep their alpha."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import smartsplat
from bench import images
from bench.rate_distortion import alpha, codecs
from bench.rate_distortion.alpha_images import ALPHA_IMAGES, AlphaImage
from bench.rate_distortion.report import CodecResults
from smartsplat.arrays import ByteArray
from smartsplat.metrics import psnr
from tests.samples import landscape

HEIGHT, WIDTH = 64, 96


@pytest.fixture(scope="module")
def pixels() -> ByteArray:
    """A landscape behind a soft disc, uint8 [64, 96, 4]."""
    y, x = np.ogrid[:HEIGHT, :WIDTH]
    opacity = np.clip((26 - np.hypot(x - 48, y - 32)) / 6, 0, 1)
    return np.dstack([landscape(WIDTH, HEIGHT), np.rint(255 * opacity).astype(np.uint8)])


def test_an_image_is_scaled_premultiplied(tmp_path: Path) -> None:
    """Red that nobody sees does not reach the visible green beside it."""
    image = AlphaImage("a", "package", "a.png", "", Fraction(1, 2), "none")
    original = images.original_path(image, tmp_path)
    original.parent.mkdir(parents=True)
    wide = np.zeros((8, 16, 4), np.uint8)
    wide[:, :8], wide[:, 8:] = (0, 255, 0, 255), (255, 0, 0, 0)
    Image.fromarray(wide).save(original)
    small = image.pixels(tmp_path)
    assert small.shape == (4, 8, 4)
    assert small[..., 0].max() == 0
    assert small[0, 0].tolist() == [0, 255, 0, 255]


def test_the_images_have_names_and_digests_of_their_own() -> None:
    assert len({image.id for image in ALPHA_IMAGES}) == 8
    assert len({image.sha256 for image in ALPHA_IMAGES}) == 8


def test_the_checkerboard_has_squares_of_two_greys() -> None:
    board = alpha.checkerboard(17, 20)
    assert board[0, [0, 7, 8, 15, 16]].tolist() == [102, 102, 153, 153, 102]
    assert board[[7, 8, 16], 0].tolist() == [102, 153, 102]


def test_composites_are_rounded() -> None:
    image = np.array([[[255, 100, 0, 128], [9, 9, 9, 0], [1, 2, 3, 255]]], np.uint8)
    assert alpha.over(image, np.full((1, 3), 255, np.uint8)).tolist() == [[[255, 177, 127], [255] * 3, [1, 2, 3]]]
    assert alpha.over(image, np.zeros((1, 3), np.uint8)).tolist() == [[[128, 50, 0], [0] * 3, [1, 2, 3]]]
    assert alpha.over(image[..., :3], np.zeros((1, 3), np.uint8)).tolist() == image[..., :3].tolist()


def test_both_grounds_together_are_the_metric(pixels: ByteArray) -> None:
    """An error of colour where the image is opaque shows over all grounds, one of opacity of white over black only."""
    color, opacity = pixels.copy(), pixels.copy()
    color[32, 48, 0] ^= 16
    values = alpha.qualities(pixels, color)
    assert len({values[name] for name in ("psnr", "psnr_white", "psnr_black", "psnr_checkerboard")}) == 1
    opacity[..., :3] = 255
    thinner = opacity.copy()
    thinner[32, 48, 3] = 200
    values = alpha.qualities(opacity, thinner)
    assert values["psnr_white"] == "inf"
    assert float(values["psnr_black"]) == pytest.approx(float(values["psnr"]) - 10 * np.log10(2), abs=1e-3)


@pytest.mark.parametrize("name", ["webp", "avif:s9", "jxl"])
def test_an_anchor_keeps_alpha_at_full_size_and_shrunk(name: str, pixels: ByteArray) -> None:
    if name == "jxl":
        pytest.importorskip("pillow_jxl", reason="JPEG XL needs the bench extra")
    tool = codecs.codec(name)
    assert isinstance(tool, codecs.ShrinkingCodec)
    best = tool.qualities[-1]
    for shrink, decibels in ((1, 33), (2, 25)):
        data = tool.file(codecs.shrunk(pixels, shrink), tool.samplings[-1], best)
        decoded = tool.decode(data, WIDTH, HEIGHT)
        assert decoded.shape == pixels.shape
        assert psnr(pixels, decoded) > decibels


def test_hidden_colours_cost_an_anchor_nothing(pixels: ByteArray) -> None:
    noisy = pixels.copy()
    hidden = noisy[..., 3] == 0
    noisy[hidden, :3] = np.random.default_rng(0).integers(0, 256, (np.count_nonzero(hidden), 3))
    assert np.array_equal(codecs.shrunk(noisy, 1), codecs.shrunk(pixels, 1))


def test_rows_of_this_codec_say_what_opacity_takes(pixels: ByteArray, tmp_path: Path) -> None:
    (row,) = alpha.rows(pixels, "smartsplat:e1", [20], tmp_path / "disc")
    assert int(str(row["bytes"])) <= HEIGHT * WIDTH * 3 / 20
    assert row["alpha_kind"] in ("mask", "Gaussians")
    assert 0 < int(str(row["alpha_bytes"])) < int(str(row["bytes"]))
    with Image.open(tmp_path / "disc-smartsplate1-20-white.png") as shown:
        assert float(str(row["psnr_white"])) == pytest.approx(
            psnr(alpha.over(pixels, np.full((HEIGHT, WIDTH), 255, np.uint8)), np.asarray(shown)), abs=1e-3
        )
    opaque = smartsplat.encode(pixels[..., :3], ratio=20, effort=1)
    assert alpha.alpha_columns("smartsplat:e1", opaque) == {"alpha_bytes": 0, "alpha_kind": "none"}
    assert alpha.alpha_columns("webp", b"") == {}


def test_a_hopeless_budget_is_a_row_without_numbers(pixels: ByteArray) -> None:
    (row,) = alpha.rows(pixels, "webp", [2000], None)
    assert row == {"width": WIDTH, "height": HEIGHT, "ratio_target": "2000", "setting": "none"}


def test_the_report_has_fringes_and_what_opacity_takes() -> None:
    constant = {"machine": "m", "versions": "v 1", "width": "2", "height": "1", "recipe": "as it is", "ms_ssim": "0.9"}
    rows = [
        {"picture": image, "codec": codec, "ratio_target": "50", "psnr": "30", "psnr_white": white, "psnr_black": "30"}
        | constant
        | {"setting": "", "bytes": "100", "alpha_bytes": "25", "alpha_kind": kind}
        for image, codec, white, kind in (
            ("a", "webp", "33.5", ""),
            ("b", "webp", "29", ""),
            ("a", "smartsplat:e5", "30.2", "mask"),
            ("b", "smartsplat:e5", "29.8", "Gaussians"),
        )
    ]
    lines = alpha.report(CodecResults(rows)).splitlines()
    assert "| 50 | 3.5 | 0.2 |" in lines
    assert "| a | 30.0 / 30.0, mask 25 % |" in lines
    assert "| 50 | 2 | 30.00 / 0.9000 | 30.00 / 0.9000 |" in lines
