from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

import smartsplat
from smartsplat import metrics
from smartsplat.bitstream.container import SIGNATURE
from tests.cli.commands import IMAGE, QUICK, fails, files, run
from tests.samples import landscape

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
KEYS = ["input", "output", "width", "height", "gaussians", "bytes", "ratio", "bpp", "psnr", "seconds"]


@pytest.mark.parametrize(
    ("option", "max_bytes"),
    [((), 200), (("--ratio", "50"), 368), (("-r", "50"), 368), (("--bpp", "1"), 768), (("--bytes", "333"), 333)],
)
def test_encode_meets_the_targets(workdir: Path, option: tuple[str, ...], max_bytes: int) -> None:
    output = run("encode", "a.png", "b.sspl", *option, *QUICK)
    size = Path("b.sspl").stat().st_size
    assert 0.85 * max_bytes < size <= max_bytes
    assert output.stdout == ""
    assert f"{size} bytes" in output.stderr
    assert len(output.stderr.splitlines()) == 1
    assert files(workdir) == ["a.png", "a.sspl", "b.sspl"]


def test_encode_passes_its_options_on(workdir: Path) -> None:
    run("encode", "a.png", "b.sspl", "--gaussians", "30", "--seed", "3", "--preset", "paper", *QUICK)
    expected = smartsplat.encode("a.png", gaussians=30, seed=3, preset="paper", steps=5)
    assert Path("b.sspl").read_bytes() == expected
    run("encode", "a.png", "b.sspl", "--psnr", "12", "-e", "1", "--device", "cpu")
    assert metrics.psnr(IMAGE, smartsplat.decode("b.sspl")) >= 12


def test_encode_prints_one_json_object(workdir: Path) -> None:
    row = json.loads(run("encode", "a.png", "b.sspl", "--ratio", "40", "--json", *QUICK).stdout)
    assert list(row) == KEYS
    assert (row["input"], row["output"]) == ("a.png", "b.sspl")
    data = Path("b.sspl").read_bytes()
    assert (row["width"], row["height"], row["bytes"]) == (96, 64, len(data))
    assert row["gaussians"] == smartsplat.open(data).info.gaussians
    assert row["ratio"] == pytest.approx(IMAGE.size / len(data), abs=1e-3)
    assert row["bpp"] == pytest.approx(8 * len(data) / (96 * 64), abs=1e-4)
    assert row["psnr"] == pytest.approx(metrics.psnr(IMAGE, smartsplat.decode(data)), abs=1e-3)
    assert row["seconds"] > 0


def test_an_infinite_psnr_is_null_in_json(workdir: Path) -> None:
    Image.fromarray(np.zeros((20, 20, 3), np.uint8)).save("black.png")
    row = json.loads(run("encode", "black.png", "b.sspl", "--gaussians", "3", "--json", *QUICK).stdout)
    assert row["psnr"] is None


def test_transparency_stays_unless_there_is_a_background(workdir: Path) -> None:
    clear = Image.fromarray(IMAGE).convert("RGBA")
    clear.putalpha(100)
    clear.save("clear.png")
    enough = ("--bytes", "900", *QUICK)
    assert "alpha" not in run("encode", "clear.png", "b.sspl", *enough).stderr
    assert smartsplat.open("b.sspl").has_alpha
    black = run("encode", "clear.png", "c.sspl", "--background", "black", "--json", *enough)
    assert black.stderr == "smartsplat: clear.png: alpha flattened on background 0,0,0\n"
    assert not smartsplat.open("c.sspl").has_alpha
    assert smartsplat.decode("c.sspl").mean() < 0.6 * IMAGE.mean()
    expected = metrics.psnr(np.round(IMAGE * (100 / 255)).astype(np.uint8), smartsplat.decode("c.sspl"))
    assert json.loads(black.stdout)["psnr"] == pytest.approx(expected, abs=0.01)


def test_metadata_stay_unless_stripped(workdir: Path) -> None:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    Image.fromarray(IMAGE).save("exif.png", exif=exif, dpi=(300, 300))
    run("encode", "exif.png", "b.sspl", "--bytes", "2000", *QUICK)
    metadata = smartsplat.open("b.sspl").metadata
    assert metadata.exif is not None
    assert b"a description" in metadata.exif
    assert metadata.density == (11811, 11811)
    run("encode", "exif.png", "b.sspl", "--bytes", "2000", "--strip", *QUICK)
    metadata = smartsplat.open("b.sspl").metadata
    assert (metadata.exif, metadata.density) == (None, None)


def test_weights(workdir: Path) -> None:
    mask = np.zeros((64, 96), np.uint8)
    mask[:, :48] = 255
    Image.fromarray(mask).save("mask.png")
    options = ("--gaussians", "60", "--steps", "60", "--threads", "1")
    run("encode", "a.png", "b.sspl", *options)
    run("encode", "a.png", "c.sspl", "--weights", "mask.png", *options)
    assert Path("c.sspl").read_bytes() == smartsplat.encode(IMAGE, gaussians=60, steps=60, weights=mask)
    left = [metrics.psnr(IMAGE[:, :48], smartsplat.decode(name)[:, :48]) for name in ("b.sspl", "c.sspl")]
    assert left[1] > left[0]
    assert "nothing.png: cannot be read" in fails("encode", "a.png", "b.sspl", "--weights", "nothing.png")


def test_what_is_read_of_a_file(workdir: Path) -> None:
    pages = [Image.fromarray(np.full((40, 30 + 10 * page), 90, np.uint8)) for page in range(3)]
    pages[0].save("pages.tif", save_all=True, append_images=pages[1:])
    run("encode", "pages.tif", "b.sspl", "--page", "3", "--gaussians", "5", *QUICK)
    assert smartsplat.open("b.sspl").width == 50
    assert "3" in fails("encode", "pages.tif", "b.sspl", "--page", "4", *QUICK)
    Image.fromarray(np.full((40, 30), 3.0, np.float32)).save("float.tif")
    assert "--float-range" in fails("encode", "float.tif", "b.sspl", *QUICK)
    run("encode", "float.tif", "b.sspl", "--float-range", "1,5", "--gaussians", "5", "--steps", "50")
    assert abs(int(smartsplat.decode("b.sspl").mean()) - 32768) < 2500
    Image.fromarray(landscape(400, 300)).save("whole.jpg")
    Path("half.jpg").write_bytes(Path("whole.jpg").read_bytes()[:9000])
    assert "--accept-damaged" in fails("encode", "half.jpg", "b.sspl", *QUICK)
    assert "half.jpg: " in run("encode", "half.jpg", "b.sspl", "--accept-damaged", *QUICK).stderr


def test_encode_says_when_a_profile_does_not_fit(workdir: Path) -> None:
    Image.fromarray(IMAGE).save("srgb.png", icc_profile=SRGB)
    output = run("encode", "srgb.png", "b.sspl", "--bytes", "400", *QUICK)
    assert "srgb.png: converted to sRGB" in output.stderr
    assert smartsplat.open("b.sspl").icc is None
    assert Path("b.sspl").stat().st_size <= 400
    output = run("encode", "srgb.png", "b.sspl", "--bytes", "8000", *QUICK)
    assert "sRGB" not in output.stderr
    assert smartsplat.open("b.sspl").icc == SRGB


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("missing.png", "b.sspl"), "missing.png"),
        ((".", "b.sspl"), "directory"),
        (("text.png", "b.sspl"), "text.png: is not an image"),
        (("a.sspl", "b.sspl"), "a.sspl: is not an image"),
        (("a.png", "missing/b.sspl"), "missing/b.sspl: cannot be written"),
        (("a.png", "folder"), "folder: cannot be written"),
        (("a.png", "a.png/b.sspl"), "cannot be written"),
        (("a.png", "x" * 300), "cannot be written: File name too long"),
    ],
)
def test_encode_failures(workdir: Path, arguments: tuple[str, ...], says: str) -> None:
    Path("text.png").write_text("no image")
    Path("folder").mkdir()
    before = files(workdir)
    assert says in fails("encode", *arguments, *QUICK)
    assert files(workdir) == before


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--ratio", "5", "--bpp", "1"), "exclude"),
        (("--bytes", "1"), "too small"),
        (("--ratio", "-3"), "positive"),
        (("--ratio", "nan"), "positive"),
        (("--steps", "0"), "steps must be"),
        (("--preset", "best"), "best"),
        (("--grain", "much"), "grain is a number from 0 to 1"),
        (("--grain", "1.5"), "grain is a number from 0 to 1"),
        (("--device", "tpu"), "tpu"),
        (("--background", "nocolour"), "--background"),
        (("--background", "300"), "--background"),
        (("--background", "rgb(300,0,0)"), "--background"),
        (("--background", "#ff000080"), "--background"),
        (("--float-range", "1"), "--float-range"),
        (("--float-range", "1,0"), "--float-range"),
        (("--float-range", "0,nan"), "--float-range"),
        (("--bpp", "inf"), "positive"),
        (("--gaussians", "0"), "gaussians must be"),
        (("--force", "--no-overwrite"), "exclude"),
    ],
)
def test_encode_usage(workdir: Path, options: tuple[str, ...], says: str) -> None:
    assert says in fails("encode", "a.png", "b.sspl", *options, code=2)
    assert files(workdir) == ["a.png", "a.sspl"]


@pytest.mark.parametrize("arguments", [("a.png",), ("a.png", "b.sspl", "c"), ("a.png", "b", "-o", "c"), ("-o", "c")])
def test_arguments_that_fit_no_form(workdir: Path, arguments: tuple[str, ...]) -> None:
    fails("encode", *arguments, code=2)
    assert files(workdir) == ["a.png", "a.sspl"]


def test_an_existing_output_is_kept_on_failure(workdir: Path) -> None:
    older = Path("a.sspl").read_bytes()
    Path("b.sspl").write_bytes(older)
    Path("damaged.png").write_bytes(Path("a.png").read_bytes()[:2000])
    fails("encode", "damaged.png", "b.sspl", *QUICK)
    fails("encode", "a.png", "b.sspl", "--bytes", "2", code=2)
    assert Path("b.sspl").read_bytes() == older
    run("encode", "a.png", "b.sspl", *QUICK)
    assert Path("b.sspl").read_bytes() not in (b"", older)


# what is there already


def test_an_input_is_never_replaced(workdir: Path) -> None:
    before = Path("a.png").read_bytes()
    Path("link.png").symlink_to("a.png")
    Path("hard.png").hardlink_to("a.png")
    Path("folder").symlink_to(".")
    for output in ("a.png", "./a.png", "link.png", "hard.png", "folder/a.png"):
        for options in ((), ("--force",), ("--no-overwrite",)):
            assert f"{output}: is an input" in fails("encode", "a.png", output, *options, *QUICK)
    assert "is an input" in fails("encode", "link.png", "-o", "hard.png", "-f", *QUICK)
    assert Path("a.png").read_bytes() == before
    assert Path("link.png").is_symlink()
    assert files(workdir) == ["a.png", "a.sspl", "folder", "hard.png", "link.png"]


def test_weights_are_an_input(workdir: Path) -> None:
    Image.fromarray(IMAGE[..., 0]).save("mask.png")
    assert "mask.png: is an input" in fails("encode", "a.png", "mask.png", "--weights", "mask.png", "-f", *QUICK)


def test_two_images_are_no_image_and_its_output(workdir: Path) -> None:
    """As ``encode *.png`` says it where two match."""
    Image.fromarray(IMAGE).save("b.png")
    before = Path("b.png").read_bytes()
    assert "b.png: is there and is no SmartSplat file; --force" in fails("encode", "a.png", "b.png", *QUICK)
    assert Path("b.png").read_bytes() == before
    run("encode", "a.png", "b.png", "--force", *QUICK)
    assert Path("b.png").read_bytes().startswith(SIGNATURE)


def test_a_file_is_replaced_by_one_of_its_kind(workdir: Path) -> None:
    older = Path("a.sspl").read_bytes()
    assert "a.sspl: exists" in fails("encode", "a.png", "a.sspl", "--no-overwrite", *QUICK)
    assert Path("a.sspl").read_bytes() == older
    run("encode", "a.png", "a.sspl", *QUICK)
    assert Path("a.sspl").read_bytes() != older
    Path("empty").touch()  # as mktemp makes it
    run("encode", "a.png", "empty", *QUICK)
    assert Path("empty").read_bytes().startswith(SIGNATURE)


def test_nowhere_to_write_is_said_before_the_fit(workdir: Path) -> None:
    Path("b.sspl").write_bytes(Path("a.sspl").read_bytes())
    Path("b.sspl").chmod(0o444)
    arguments = ["missing/b.sspl", ".", "a.png/b.sspl", "new/"]
    if not os.access("b.sspl", os.W_OK):
        arguments.append("b.sspl")
    for output in arguments:
        assert f"{output}: cannot be written" in fails("encode", "a.png", output, "--steps", "1000000000")


# several images


def test_several_images(workdir: Path) -> None:
    Path("in").mkdir()
    for name in ("in/b.png", "in/c.d.png"):
        Image.fromarray(IMAGE).save(name)
    output = run("encode", "a.png", "in/b.png", "in/c.d.png", "--out-dir", "out/deep", "--json", *QUICK)
    assert files(Path("out/deep")) == ["a.sspl", "b.sspl", "c.d.sspl"]
    rows = [json.loads(line) for line in output.stdout.splitlines()]
    assert [row["output"] for row in rows] == ["out/deep/a.sspl", "out/deep/b.sspl", "out/deep/c.d.sspl"]
    assert {row["width"] for row in rows} == {96}


def test_several_images_of_which_some_fail(workdir: Path) -> None:
    Path("b.png").write_text("no image")
    Image.fromarray(IMAGE).save("c.png")
    Path("out").mkdir()
    Path("out/a.sspl").write_text("no file of ours")
    output = run("encode", "a.png", "b.png", "missing.png", "c.png", "--out-dir", "out", "-q", *QUICK, code=1)
    lines = output.stderr.splitlines()
    assert [line.split(":")[1].strip() for line in lines] == [
        "out/a.sspl",
        "b.png",
        "missing.png",
        "3 of 4 inputs failed",
    ]
    assert files(Path("out")) == ["a.sspl", "c.sspl"]
    assert Path("out/a.sspl").read_text() == "no file of ours"


def test_what_is_said(workdir: Path) -> None:
    assert run("encode", "a.png", "-o", "b.sspl", "-q", *QUICK).stderr == ""
    lines = run("encode", "a.png", "-o", "b.sspl", "-v", *QUICK).stderr.splitlines()
    assert len(lines) == 3
    assert lines[0].startswith("a.png: 96 x 64 pixels, RGB, 8 bits, read in")
    assert lines[1].startswith("a.png: fitted")
    assert lines[2].startswith("b.sspl: 96 x 64 pixels")
