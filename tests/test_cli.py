from __future__ import annotations

import errno
import fcntl
import io
import json
import os
import pty
import re
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageCms
from typer.testing import CliRunner

import smartsplat
from smartsplat import cli, decoder, metrics
from smartsplat.bitstream.container import SIGNATURE
from tests.samples import landscape

IMAGE = landscape(96, 64)
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
QUICK = ("--steps", "5", "--threads", "1")
KEYS = ["width", "height", "gaussians", "bytes", "ratio", "bpp", "psnr", "seconds"]
COMMAND = (sys.executable, "-m", "smartsplat")
ENVIRONMENT = {
    **os.environ,
    "PYTHONPATH": str(Path(smartsplat.__file__).absolute().parents[1]),
}  # from any working directory


@pytest.fixture
def workdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an image and its encoded file."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(IMAGE).save("a.png")
    Path("a.sspl").write_bytes(smartsplat.encode(IMAGE, ratio=30, steps=20, threads=1))
    return tmp_path


def run(*arguments: str, code: int = 0, stdin: bytes | None = None) -> Any:
    result = CliRunner().invoke(cli.app, list(arguments), input=stdin)
    if result.exception and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == code, result.output
    return result


def fails(*arguments: str, code: int = 1) -> str:
    """The one line that a failing command says, without anything on stdout."""
    result = run(*arguments, code=code)
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    assert line.startswith("smartsplat: ")
    return str(line)


def start(*arguments: str, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*COMMAND, *arguments], **{"env": ENVIRONMENT} | options)


def process(*arguments: str, code: int = 0, stdin: bytes = b"", blocks: int | None = None) -> tuple[bytes, str]:
    """A process of its own: stdout and stderr. ``blocks``: no file may grow beyond as many times 512 bytes."""
    limit = ["sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh"] if blocks is not None else []
    command = [*limit, *COMMAND, *arguments]
    done = subprocess.run(command, input=stdin, capture_output=True, timeout=60, check=False, env=ENVIRONMENT)
    assert done.returncode == code, done.stderr.decode()
    return done.stdout, done.stderr.decode()


def files(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


# encode


@pytest.mark.parametrize(
    ("option", "max_bytes"),
    [((), 184), (("--ratio", "50"), 368), (("--bpp", "1"), 768), (("--bytes", "333"), 333)],
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
    assert json.loads(run("compare", "a.png", "a.png", "--json").stdout)["psnr"] is None


def test_encode_says_what_was_changed_on_the_way_in(workdir: Path) -> None:
    Image.fromarray(IMAGE).convert("RGBA").save("opaque.png")
    clear = Image.fromarray(IMAGE).convert("RGBA")
    clear.putalpha(100)
    clear.save("clear.png")
    assert "alpha" not in run("encode", "opaque.png", "b.sspl", *QUICK).stderr
    assert "clear.png: alpha flattened" in run("encode", "clear.png", "b.sspl", *QUICK).stderr
    black = run("encode", "clear.png", "c.sspl", "--background", "black", "--json", *QUICK)
    assert "0,0,0" in black.stderr
    assert smartsplat.decode("c.sspl").mean() < smartsplat.decode("b.sspl").mean() - 50
    assert json.loads(black.stdout)


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
        (("--steps", "0"), "at least one step"),
        (("--preset", "best"), "best"),
        (("--device", "tpu"), "tpu"),
        (("--background", "nocolour"), "--background"),
    ],
)
def test_encode_usage(workdir: Path, options: tuple[str, ...], says: str) -> None:
    assert says in fails("encode", "a.png", "b.sspl", *options, code=2)
    assert files(workdir) == ["a.png", "a.sspl"]


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("a.png",),
        ("a.png", "b.sspl", "c"),
        ("a.png", "b.sspl", "--effort", "10"),
        ("a.png", "b.sspl", "--effort", "x"),
        ("a.png", "b.sspl", "--threads", "0"),
        ("a.png", "b.sspl", "--seed", "-1"),
        ("a.png", "b.sspl", "--bytes", "1.5"),
        ("a.png", "b.sspl", "--quality", "5"),
    ],
)
def test_arguments_that_typer_refuses(workdir: Path, arguments: tuple[str, ...]) -> None:
    result = run("encode", *arguments, code=2)
    assert result.stdout == ""
    assert files(workdir) == ["a.png", "a.sspl"]


def test_help_and_version() -> None:
    assert run("--version").stdout == f"smartsplat {smartsplat.__version__}\n"
    for command in ((), ("encode",), ("decode",), ("info",), ("compare",)):
        assert "Usage" in run(*command, "--help").stdout
    assert run("nonsense", code=2).stdout == ""


def test_an_existing_output_is_kept_on_failure(workdir: Path) -> None:
    Path("b.sspl").write_bytes(b"older")
    Path("damaged.png").write_bytes(Path("a.png").read_bytes()[:2000])
    fails("encode", "damaged.png", "b.sspl", *QUICK)
    fails("encode", "a.png", "b.sspl", "--bytes", "2", code=2)
    assert Path("b.sspl").read_bytes() == b"older"
    Path("damaged.sspl").write_bytes(Path("a.sspl").read_bytes()[:-1])
    Path("b.png").write_bytes(b"older")
    fails("decode", "damaged.sspl", "b.png")
    assert Path("b.png").read_bytes() == b"older"
    run("encode", "a.png", "b.sspl", *QUICK)
    assert Path("b.sspl").read_bytes().startswith(SIGNATURE)


# decode


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
    monkeypatch.setattr(decoder, "STRIP_PIXELS", 1)
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
    ],
)
def test_decode_usage(workdir: Path, options: tuple[str, ...]) -> None:
    fails("decode", "a.sspl", "b.png", *options, code=2)
    assert files(workdir) == ["a.png", "a.sspl"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("missing.sspl", "b.png"), "missing.sspl: No such file"),
        ((".", "b.png"), "directory"),
        (("a.png", "b.png"), "a.png: not a SmartSplat file"),
        (("short.sspl", "b.png"), "short.sspl: "),
        (("a.sspl", "b.xyz"), "b.xyz: .xyz is not an image format"),
        (("a.sspl", "b"), "b: no image format"),
        (("a.sspl", "missing/b.png"), "missing/b.png: cannot be written"),
        (("a.sspl", "b.png", "--scale", "100000"), "above the limits"),
    ],
)
def test_decode_failures(workdir: Path, arguments: tuple[str, ...], says: str) -> None:
    Path("short.sspl").write_bytes(Path("a.sspl").read_bytes()[:50])
    before = files(workdir)
    assert says in fails("decode", *arguments)
    assert files(workdir) == before


# info and compare


def test_info(workdir: Path) -> None:
    text = run("info", "a.sspl").stdout
    info = smartsplat.open("a.sspl").info
    assert f"{info.gaussians} Gaussians" in text
    assert f"{info.bytes} bytes" in text
    assert "96 x 64 pixels, RGB" in text
    row = json.loads(run("info", "a.sspl", "--json").stdout)
    assert (row["width"], row["height"], row["gaussians"], row["bytes"]) == (96, 64, info.gaussians, info.bytes)
    assert row["bits_per_gaussian"] == info.bits_per_gaussian
    assert "not a SmartSplat file" in fails("info", "a.png")
    assert "missing" in fails("info", "missing")


def test_compare(workdir: Path) -> None:
    row = json.loads(run("compare", "a.png", "a.sspl", "--json").stdout)
    expected = metrics.compare(IMAGE, smartsplat.decode("a.sspl"))
    assert row == {name: pytest.approx(value, abs=1e-4) for name, value in expected.items()}
    text = run("compare", "a.png", "a.sspl").stdout.splitlines()
    assert [line.split()[0] for line in text] == ["PSNR", "SSIM", "MS-SSIM"]
    assert text[0].split()[1:] == [f"{expected['psnr']:.4f}", "dB"]


@pytest.mark.parametrize("name", ["missing.png", ".", "x" * 300, "short.sspl", "small.png"])
def test_compare_failures(workdir: Path, name: str) -> None:
    Path("short.sspl").write_bytes(Path("a.sspl").read_bytes()[:50])
    Image.fromarray(IMAGE[:5]).save("small.png")
    fails("compare", "a.png", name)


# streams, signals and full disks, in processes of their own


def test_streams(workdir: Path) -> None:
    data, output = process("encode", "-", "-", "--ratio", "30", "--json", *QUICK, stdin=Path("a.png").read_bytes())
    assert smartsplat.open(data).width == 96
    assert list(json.loads(output)) == KEYS, "stdout is taken, so that the object goes to stderr"
    image, output = process("decode", "-", "-", stdin=data)
    assert output == ""
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(image))), smartsplat.decode(data))
    assert b"96 x 64" in process("info", "-", stdin=data)[0]
    assert b"MS-SSIM" in process("compare", "a.png", "-", stdin=data)[0]


def test_errors_of_streams(workdir: Path) -> None:
    for command in (("encode", "-", "b.sspl"), ("decode", "-", "b.png"), ("info", "-"), ("compare", "a.png", "-")):
        out, output = process(*command, code=1, stdin=b"nonsense")
        assert out == b""
        assert re.fullmatch(r"smartsplat: .*stdin.*\n", output), output
    assert files(workdir) == ["a.png", "a.sspl"]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_device(workdir: Path) -> None:
    Path("full.png").symlink_to("/dev/full")
    for command in (
        ("encode", "a.png", "/dev/full", *QUICK),
        ("encode", "a.png", "-", *QUICK),
        ("decode", "a.sspl", "full.png"),
        ("decode", "a.sspl", "-"),
    ):
        with Path("/dev/full").open("wb") as full:
            writing = start(*command, stdout=full, stderr=subprocess.PIPE)
            _, output = writing.communicate(timeout=60)
        assert writing.returncode == 1
        (line,) = output.decode().splitlines()
        assert re.fullmatch(rf"smartsplat: .*: cannot be written: {os.strerror(errno.ENOSPC)}", line), line


def test_a_full_disk_keeps_what_was_there(workdir: Path) -> None:
    names = ("b.bmp", "b.png", "b.sspl", "b.tif")
    for name in names:
        Path(name).write_bytes(b"older")
    encode = ("encode", "a.png", "b.sspl", "--ratio", "3", *QUICK)
    for command in (encode, *(("decode", "a.sspl", name) for name in names if name != "b.sspl")):
        _, output = process(*command, code=1, blocks=2)
        assert output == f"smartsplat: {command[2]}: cannot be written: {os.strerror(errno.EFBIG)}\n"
        assert Path(command[2]).read_bytes() == b"older"
    assert files(workdir) == ["a.png", "a.sspl", *names]


def test_a_reader_that_has_had_enough(workdir: Path) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "wb") as pipe:
        encoding = start("encode", "a.png", "-", *QUICK, stdout=pipe, stderr=subprocess.PIPE)
    _, output = encoding.communicate(timeout=60)
    assert encoding.returncode == 1
    assert b"Traceback" not in output


class Terminal:
    """A command whose stderr is a terminal, and what it has output there."""

    def __init__(self, *arguments: str) -> None:
        self.master, slave = pty.openpty()
        self.output = b""
        self.process = start(*arguments, stderr=slave, stdout=subprocess.DEVNULL, env=ENVIRONMENT | {"TERM": "xterm"})
        os.close(slave)

    def wait_for(self, text: bytes | None) -> None:
        """Reads until ``text`` appears, or the end."""
        limit = time.monotonic() + 60
        while text is None or text not in self.output:
            assert time.monotonic() < limit
            try:
                piece = os.read(self.master, 65536)
            except OSError:  # Linux: the other end is closed
                piece = b""
            if not piece:
                assert text is None, self.output
                return
            self.output += piece

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        self.wait_for(None)
        os.close(self.master)
        return self.process.wait(timeout=60)


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with an image that takes hours to encode at effort 9."""
    monkeypatch.chdir(tmp_path)
    Image.fromarray(landscape(1000, 800)).save("large.png")
    return tmp_path


@pytest.mark.parametrize("target", [("--ratio", "50"), ("--psnr", "60")])
def test_the_first_ctrl_c_writes_what_there_is(large: Path, target: tuple[str, ...]) -> None:
    terminal = Terminal("encode", "large.png", "b.sspl", "-e", "9", *target)
    terminal.wait_for(b"fitting")
    terminal.interrupt()
    assert terminal.end() == 0
    assert b"stopping early" in terminal.output
    assert smartsplat.open("b.sspl").read(scale=0.1).std() > 5
    if target[0] == "--ratio":
        assert Path("b.sspl").stat().st_size <= 3 * 1000 * 800 / 50
    assert files(large) == ["b.sspl", "large.png"]


def test_the_second_ctrl_c_writes_nothing(large: Path) -> None:
    Path("b.sspl").write_bytes(b"older")
    terminal = Terminal("encode", "large.png", "b.sspl", "-e", "9", "--ratio", "4")
    terminal.wait_for(b"fitting")
    terminal.interrupt()
    terminal.wait_for(b"stopping early")
    terminal.interrupt()
    assert terminal.end() == 130
    assert b"Traceback" not in terminal.output
    assert terminal.output.rstrip().endswith(b"smartsplat: interrupted")
    assert Path("b.sspl").read_bytes() == b"older"
    assert files(large) == ["b.sspl", "large.png"]


def test_ctrl_c_elsewhere(workdir: Path) -> None:
    reading, writing = os.pipe()
    waiting = start("decode", "-", "b.png", stdin=reading, stderr=subprocess.PIPE)
    os.write(writing, SIGNATURE)
    while fcntl.ioctl(reading, termios.FIONREAD, bytes(4)) != bytes(4):  # what is in the pipe is not read yet
        assert waiting.poll() is None
        time.sleep(0.05)
    os.close(reading)
    waiting.send_signal(signal.SIGINT)
    _, output = waiting.communicate(timeout=60)
    os.close(writing)
    assert waiting.returncode == 130
    assert output == b"smartsplat: interrupted\n"
    assert files(workdir) == ["a.png", "a.sspl"]


def test_without_a_terminal_there_is_no_progress(workdir: Path) -> None:
    _, output = process("encode", "a.png", "b.sspl", *QUICK)
    assert len(output.splitlines()) == 1
    assert "fitting" not in output
