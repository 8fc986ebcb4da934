from __future__ import annotations

import json
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

import smartsplat
from smartsplat import metrics
from tests.cli.commands import COMMAND, ENVIRONMENT, IMAGE, fails, run


def test_compare(workdir: Path) -> None:
    row = json.loads(run("compare", "a.png", "a.sspl", "--json").stdout)
    expected = metrics.compare(IMAGE, smartsplat.decode("a.sspl"))
    assert row == {name: pytest.approx(value, abs=1e-4) for name, value in expected.items()} | {"in_srgb": False}
    text = run("compare", "a.png", "a.sspl").stdout.splitlines()
    assert [line.split()[0] for line in text] == ["PSNR", "SSIM", "MS-SSIM"]
    assert text[0].split()[1:] == [f"{expected['psnr']:.4f}", "dB"]


@pytest.mark.parametrize("name", ["missing.png", ".", "x" * 300, "short.sspl", "small.png"])
def test_compare_failures(workdir: Path, name: str) -> None:
    Path("short.sspl").write_bytes(Path("a.sspl").read_bytes()[:50])
    Image.fromarray(IMAGE[:5]).save("small.png")
    fails("compare", "a.png", name)


def test_an_infinite_psnr_is_null_in_json(workdir: Path) -> None:
    assert json.loads(run("compare", "a.png", "a.png", "--json").stdout)["psnr"] is None


def test_pipes_are_read_once(workdir: Path) -> None:
    """As ``<(...)`` makes them."""
    program = 'exec "$@" <(cat a.png) <(cat a.sspl) --json'
    ran = subprocess.run(
        ["bash", "-c", program, "bash", *COMMAND, "compare"],
        capture_output=True,
        check=False,
        env=ENVIRONMENT,
        timeout=60,
    )
    assert ran.stderr == b""
    assert json.loads(ran.stdout) == json.loads(run("compare", "a.png", "a.sspl", "--json").stdout)


def test_stdin_cannot_be_both(workdir: Path) -> None:
    assert "stdin" in fails("compare", "-", "-", code=2)


def test_images_of_different_colors_are_compared_in_srgb(workdir: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(IMAGE).save("tagged.png", icc_profile=profile)
    output = run("compare", "a.png", "tagged.png", "--json")
    row = json.loads(output.stdout)
    assert row["in_srgb"] is True
    assert row["psnr"] is None or row["psnr"] > 45
    assert output.stderr == "smartsplat: colour spaces differ: both images are compared in sRGB\n"
    assert run("compare", "tagged.png", "tagged.png").stderr == ""


def test_compare_reads_as_encode_does(workdir: Path) -> None:
    Image.fromarray(np.full((40, 30), 3.0, np.float32)).save("float.tif")
    Image.fromarray(np.full((40, 30), 128, np.uint8)).save("grey.png")
    assert "float-range" in fails("compare", "float.tif", "grey.png")
    row = json.loads(run("compare", "float.tif", "grey.png", "--float-range", "1,5", "--json").stdout)
    assert row["psnr"] > 50


def test_transparency_is_compared(workdir: Path) -> None:
    clear = Image.fromarray(IMAGE).convert("RGBA")
    clear.putalpha(128)
    clear.save("clear.png")
    row = json.loads(run("compare", "a.png", "clear.png", "--json").stdout)
    expected = metrics.compare(IMAGE, np.asarray(clear))
    assert row["psnr"] == pytest.approx(expected["psnr"], abs=1e-3)
