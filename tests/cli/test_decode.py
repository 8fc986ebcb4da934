from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

import smartsplat
from smartsplat import metrics, planes
from smartsplat.images.image import read_image
from tests.cli.commands import IMAGE, QUICK, fails, files, image_of, process, run
from tests.samples import landscape

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp", "ppm", "webp"])
def test_decode_to_lossless_formats(workdir: Path, suffix: str) -> None:
    output = run("decode", "a.sspl", f"b.{suffix}")
    assert (output.stdout, output.stderr) == ("", "")
    assert np.array_equal(np.asarray(Image.open(f"b.{suffix}")), smartsplat.decode("a.sspl"))


@pytest.mark.parametrize("suffix", ["jpg", "avif"])
def test_decode_to_lossy_formats(workdir: Path, suffix: str) -> None:
    run("decode", "a.sspl", f"b.{suffix}")
    with Image.open(f"b.{suffix}") as image:
        assert metrics.psnr(smartsplat.decode("a.sspl"), np.asarray(image)) > 30


def test_decode_views(workdir: Path) -> None:
    for options, expected in (
        (("--region", "5,6,40,30"), {"region": (5, 6, 40, 30)}),
        (("--region", " 5, 6 ,40,30", "--scale", "0.5"), {"region": (5, 6, 40, 30), "scale": 0.5}),
        (("--size", "50x20"), {"size": (50, 20)}),
        (("--size", "50X20", "--threads", "1"), {"size": (50, 20)}),
        (("--scale", "2"), {"scale": 2.0}),
    ):
        run("decode", "a.sspl", "b.png", *options)
        assert np.array_equal(np.asarray(Image.open("b.png")), smartsplat.decode("a.sspl", **expected))  # type: ignore[arg-type]


@pytest.mark.parametrize("suffix", ["png", "tif", "bmp"])
def test_decode_strip_by_strip(suffix: str, workdir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planes, "STRIP_PIXELS", 1)
    run("decode", "a.sspl", f"b.{suffix}", "--scale", "3")
    assert np.array_equal(np.asarray(Image.open(f"b.{suffix}")), smartsplat.decode("a.sspl", scale=3))


def test_decode_carries_the_profile(workdir: Path) -> None:
    Image.fromarray(IMAGE).save("srgb.png", icc_profile=SRGB)
    run("encode", "srgb.png", "b.sspl", "--gaussians", "9", *QUICK)
    for name in ("b.png", "b.tif", "b.jpg"):
        run("decode", "b.sspl", name)
        with Image.open(name) as image:
            assert image.info["icc_profile"] == SRGB


@pytest.mark.parametrize(
    "options",
    [
        ("--region", "1,2,3"),
        ("--region", "a,b,c,d"),
        ("--region", "1,2,3,4,5"),
        ("--region", "1.5,2,3,4"),
        ("--region", ""),
        ("--region", "90,0,7,1"),
        ("--region", "0,0,0,5"),
        ("--region", "-1,0,5,5"),
        ("--size", "10"),
        ("--size", "10x"),
        ("--size", "0x5"),
        ("--size", "10x10x10"),
        ("--scale", "0"),
        ("--scale", "-2"),
        ("--scale", "nan"),
        ("--size", "5x5", "--scale", "2"),
        ("--depth", "12"),
        ("--background", "300"),
        ("--format", "xyz"),
    ],
)
def test_decode_usage(workdir: Path, options: tuple[str, ...]) -> None:
    fails("decode", "a.sspl", "b.png", *options, code=2)
    assert files(workdir) == ["a.png", "a.sspl"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("missing.sspl", "b.png"), "missing.sspl: cannot be read: No such file"),
        ((".", "b.png"), "directory"),
        (("a.png", "b.png"), "a.png: not a SmartSplat file"),
        (("short.sspl", "b.png"), "short.sspl: "),
        (("a.sspl", "b.xyz"), "b.xyz: .xyz is not an image format"),
        (("a.sspl", "b"), "b: no image format"),
        (("a.sspl", "missing/b.png"), "missing/b.png: cannot be written"),
        (("a.sspl", "b.png/"), "b.png/: cannot be written"),
        (("a.sspl", "b.png", "--scale", "100000"), "above the limits"),
    ],
)
def test_decode_failures(workdir: Path, arguments: tuple[str, ...], says: str) -> None:
    Path("short.sspl").write_bytes(Path("a.sspl").read_bytes()[:50])
    before = files(workdir)
    assert says in fails("decode", *arguments)
    assert files(workdir) == before


def test_a_truncated_file(workdir: Path) -> None:
    whole = smartsplat.encode(landscape(400, 400), gaussians=9000, steps=1, effort=1, threads=1)
    Path("short.sspl").write_bytes(whole[:-1])
    for command in (("decode", "short.sspl", "b.png"), ("info", "short.sspl")):
        line = fails(*command)
        assert line.startswith("smartsplat: short.sspl: truncated: ")
        assert line.endswith("; --partial shows what is there")
    _, line = process("decode", "-", "b.png", stdin=whole[:-1], code=1)
    assert line.startswith("smartsplat: stdin: truncated: ")
    run("decode", "short.sspl", "b.png", "--partial")
    assert np.array_equal(np.asarray(Image.open("b.png")), smartsplat.decode("short.sspl", partial=True))
    Path("start.sspl").write_bytes(whole[: len(whole) // 60])
    assert fails("decode", "start.sspl", "b.png", "--partial").endswith(", and no colors before it")
    Path("damaged.sspl").write_bytes(whole[:-9] + bytes(9))
    line = fails("decode", "damaged.sspl", "b.png")
    assert "damaged" in line
    assert "truncated" not in line


# what is there already


def test_an_existing_output_is_kept_on_failure(workdir: Path) -> None:
    Path("damaged.sspl").write_bytes(Path("a.sspl").read_bytes()[:-1])
    Path("b.png").write_bytes(b"older")
    fails("decode", "damaged.sspl", "b.png")
    assert Path("b.png").read_bytes() == b"older"


def test_an_input_is_never_replaced(workdir: Path) -> None:
    before = Path("a.sspl").read_bytes()
    Path("link.png").symlink_to("a.sspl")
    Path("hard.png").hardlink_to("a.sspl")
    for output in ("a.sspl", "link.png", "hard.png"):
        for options in ((), ("--force",)):
            assert f"{output}: is an input" in fails("decode", "a.sspl", output, "--format", "png", *options)
    assert Path("a.sspl").read_bytes() == before


def test_what_decode_replaces(workdir: Path) -> None:
    Path("b.sspl").write_bytes(Path("a.sspl").read_bytes())
    assert "b.sspl: is a SmartSplat file; --force" in fails("decode", "a.sspl", "b.sspl", "--format", "png")
    Path("b.png").write_bytes(b"older")
    assert "b.png: exists" in fails("decode", "a.sspl", "b.png", "--no-overwrite")
    assert Path("b.png").read_bytes() == b"older"
    run("decode", "a.sspl", "b.png")
    assert image_of("b.png").size == (96, 64)
    before = Path("a.png").read_bytes()  # the name of an image and of what was made of it: nobody typed it
    assert "a.png: is there already; --force" in fails("decode", "a.sspl", "--out-dir", ".")
    assert Path("a.png").read_bytes() == before
    run("decode", "a.sspl", "--out-dir", ".", "--force")
    assert Path("a.png").read_bytes() != before


# several files


def test_several_files(workdir: Path) -> None:
    Path("b.sspl").write_bytes(Path("a.sspl").read_bytes())
    Path("c.sspl").write_bytes(b"nonsense")
    assert run("decode", "a.sspl", "b.sspl", "--out-dir", "out").stderr == ""
    assert files(Path("out")) == ["a.png", "b.png"]
    output = run("decode", "c.sspl", "b.sspl", "--out-dir", "out", "--format", ".BMP", "--scale", "0.5", code=1)
    assert len(output.stderr.splitlines()) == 2
    assert "c.sspl: not a SmartSplat file" in output.stderr
    assert image_of("out/b.bmp").size == (48, 32)


def test_the_format_of_the_option(workdir: Path) -> None:
    run("decode", "a.sspl", "-o", "b.dat", "--format", "tiff")
    assert image_of("b.dat").format == "TIFF"
    data, _ = process("decode", "a.sspl", "-", "--format", "bmp")
    assert data.startswith(b"BM")


def test_what_decode_says(workdir: Path) -> None:
    lines = run("decode", "a.sspl", "b.png", "-v").stderr.splitlines()
    assert [line.split(", ")[0] for line in lines] == ["a.sspl: 96 x 64 pixels", "b.png: 96 x 64 pixels"]
    assert run("decode", "a.sspl", "b.png", "-q").stderr == ""


# depth and transparency


@pytest.fixture
def deep(workdir: Path) -> bytes:
    """A file of 16 bits with alpha."""
    alpha = np.full((64, 96), 40000, np.uint16)
    alpha[:, :50] = 0
    data = smartsplat.encode(np.dstack((IMAGE.astype(np.uint16) * 257, alpha)), max_bytes=1500, steps=5, threads=1)
    Path("deep.sspl").write_bytes(data)
    return data


def test_depth(deep: bytes) -> None:
    for options, dtype in (((), np.uint16), (("--depth", "16"), np.uint16), (("--depth", "8"), np.uint8)):
        run("decode", "deep.sspl", "b.png", *options)
        image = read_image("b.png")
        assert image.alpha is not None
        expected = smartsplat.decode(deep, dtype=dtype)
        assert image.pixels.dtype == dtype
        assert np.array_equal(np.dstack((image.pixels, image.alpha)), expected)


def test_background(deep: bytes) -> None:
    run("decode", "deep.sspl", "b.png", "--background", "#ff0000")
    image = read_image("b.png")
    assert image.alpha is None
    assert np.array_equal(image.pixels, smartsplat.decode(deep, background=(255, 0, 0)))
    assert "alpha" in fails("decode", "deep.sspl", "b.jpg")
    output = run("decode", "deep.sspl", "b.jpg", "--background", "white")
    assert output.stderr == "smartsplat: b.jpg: jpg holds 8 bits: rounded from 16\n"


def test_decode_with_and_without_grain(workdir: Path) -> None:
    noisy = np.random.default_rng(0).integers(60, 190, (96, 128, 3), dtype=np.uint8)
    Image.fromarray(noisy).save("noisy.png")
    run("encode", "noisy.png", "noisy.sspl", "--gaussians", "9", "--grain", "0.5", *QUICK)
    assert "\n  grain " in run("info", "noisy.sspl").stdout
    run("decode", "noisy.sspl", "with.png")
    run("decode", "noisy.sspl", "without.png", "--no-grain")
    grained, bare = (np.asarray(image_of(name)) for name in ("with.png", "without.png"))
    assert np.array_equal(grained, smartsplat.decode("noisy.sspl"))
    assert np.array_equal(bare, smartsplat.decode("noisy.sspl", grain=False))
    assert np.abs(grained.astype(int) - bare).mean() > 4
    assert run("compare", "noisy.png", "noisy.sspl").stdout == run("compare", "noisy.png", "without.png").stdout
    run("encode", "noisy.png", "bare.sspl", "--gaussians", "9", "--grain", "0", *QUICK)
    assert "grain" not in run("info", "bare.sspl").stdout
    assert np.array_equal(smartsplat.decode("bare.sspl"), bare)


def test_decode_to_a_pyramid(workdir: Path) -> None:
    run("decode", "a.sspl", "b.tif", "--pyramid", "--region", "5,6,60,41", "--scale", "12.5")
    width, height, page = 750, 512, 1
    while True:
        expected = smartsplat.decode("a.sspl", region=(5, 6, 60, 41), size=(width, height))
        assert np.array_equal(read_image("b.tif", page=page).pixels, expected)
        if max(width, height) <= 256:
            break
        width, height, page = -(-width // 2), -(-height // 2), page + 1
    with Image.open("b.tif") as image:
        assert getattr(image, "n_frames", 1) == page == 3
    assert fails("decode", "a.sspl", "b.png", "--pyramid").endswith(
        "b.png: cannot be written: png holds no pyramid: tif does"
    )
    assert not Path("b.png").exists()
