"""The command line: ``smartsplat encode | decode | info | compare``. Talk goes to stderr, results to stdout.

Heavy modules load inside the commands, so that ``--help`` and decoding start quickly.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, NoReturn

import typer

from smartsplat.errors import DeviceError, ImageError, SettingsError, SmartSplatError

if TYPE_CHECKING:
    from types import FrameType

    from smartsplat.encoder.fit import ProgressCallback

app = typer.Typer(
    name="smartsplat",
    help="Compress ultra-high-resolution images into 2D Gaussians, and render them at any size.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object to stdout.")]
Threads = Annotated[int | None, typer.Option(min=1, help="Threads; the default is every processor.")]


def talk(text: str) -> None:
    """A line for the person at the terminal."""
    print(text, file=sys.stderr)


def fail(error: SmartSplatError) -> NoReturn:
    """One line, and 2 for what the caller asked for, 1 for what a file holds."""
    talk(f"smartsplat: {' '.join(str(error).split())}")
    raise typer.Exit(2 if isinstance(error, SettingsError) else 1)


def show_version(expected: bool) -> None:
    if expected:
        import smartsplat

        print(f"smartsplat {smartsplat.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


@app.command()
def encode(
    source: Annotated[str, typer.Argument(metavar="IN", help="An image file; - is stdin.")],
    output: Annotated[str, typer.Argument(metavar="OUT.sspl", help="The file to write; - is stdout.")],
    ratio: Annotated[
        float | None,
        typer.Option(help="A file of at most 3 x width x height / RATIO bytes; the default target, at 100."),
    ] = None,
    bpp: Annotated[float | None, typer.Option(help="At most this many bits for each pixel.")] = None,
    max_bytes: Annotated[int | None, typer.Option("--bytes", help="At most this many bytes.")] = None,
    psnr: Annotated[float | None, typer.Option(help="At least this PSNR, decibels.")] = None,
    gaussians: Annotated[int | None, typer.Option(help="Exactly this many Gaussians.")] = None,
    effort: Annotated[int, typer.Option("-e", "--effort", min=1, max=9, help="Speed against quality.")] = 5,
    preset: Annotated[str | None, typer.Option(help="paper: the settings of the SmartSplat paper.")] = None,
    steps: Annotated[int | None, typer.Option(help="Steps of the fit, instead of those of the effort.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    threads: Threads = None,
    seed: Annotated[int, typer.Option(min=0, help="Same seed, same machine, same file.")] = 0,
    background: Annotated[str, typer.Option(help="Colour behind transparent pixels.")] = "white",
    as_json: Json = False,
) -> None:
    """Compress an image. The targets --ratio, --bpp, --bytes, --psnr and --gaussians exclude each other."""
    targets: dict[str, Any] = {"ratio": ratio, "bpp": bpp, "max_bytes": max_bytes, "psnr": psnr, "gaussians": gaussians}
    options = {"effort": effort, "preset": preset, "steps": steps, "seed": seed, "threads": threads}
    try:
        _encode(source, output, targets, options, device, background, as_json)
    except SmartSplatError as error:
        fail(error)


def _encode(
    source: str,
    output: str,
    targets: dict[str, Any],
    options: dict[str, Any],
    device: str,
    background: str,
    as_json: bool,
) -> None:
    """Everything that ``encode`` does; ``targets`` and ``options`` are arguments of ``smartsplat.encode``."""
    begin = time.perf_counter()
    import smartsplat
    from smartsplat.encoder.rate_control import drop_large_profile
    from smartsplat.encoder.target import Target
    from smartsplat.images.image import read
    from smartsplat.render.device import CPU, find

    _check_output(output)
    image = read(_input(source), background=_color(background))
    image = drop_large_profile(image, Target.of(image.width, image.height, **targets))
    found = find(device)
    if found != CPU:
        talk(f"smartsplat: fitting on {found.title} ({found.name})")
    for notice in image.notices:
        talk(f"smartsplat: {_name(source)}: {notice}")
    with _progress() as progress:
        data = smartsplat.encode(image, **targets, **options, device=found.name, progress=progress)
    _write(output, data)
    _report(image.pixels, data, time.perf_counter() - begin, output, as_json, options["threads"])


def _report(pixels: Any, data: bytes, seconds: float, output: str, as_json: bool, threads: int | None) -> None:
    import smartsplat
    from smartsplat import metrics

    reader = smartsplat.open(data, threads=threads)
    info = reader.info
    row = {
        "width": info.width,
        "height": info.height,
        "gaussians": info.gaussians,
        "bytes": info.bytes,
        "ratio": round(info.ratio, 3),
        "bpp": round(info.bpp, 5),
        "psnr": _finite(metrics.psnr_of_strips(pixels, reader.strips().parts)),
        "seconds": round(seconds, 3),
    }
    if as_json:
        print(json.dumps(row), file=sys.stderr if output == "-" else sys.stdout)
    else:
        talk(
            f"{_name(output, 'stdout')}: {info.width} x {info.height} pixels, {info.gaussians} Gaussians, "
            f"{info.bytes} bytes, {info.ratio:.1f} : 1, {info.bpp:.4f} bpp, {row['psnr']} dB, {seconds:.1f} s"
        )


@app.command()
def decode(
    source: Annotated[str, typer.Argument(metavar="IN.sspl", help="A SmartSplat file; - is stdin.")],
    output: Annotated[
        str, typer.Argument(metavar="OUT", help="png, jpg, webp, tif, avif, bmp or ppm; - is PNG to stdout.")
    ],
    region: Annotated[str | None, typer.Option(metavar="X,Y,W,H", help="Part of the image, pixels.")] = None,
    scale: Annotated[float | None, typer.Option(help="Size of the output, relative to the region.")] = None,
    size: Annotated[str | None, typer.Option(metavar="WxH", help="Size of the output, pixels.")] = None,
    partial: Annotated[bool, typer.Option("--partial", help="Render what there is of a file that ends early.")] = False,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:N or auto.")] = "cpu",
    threads: Threads = None,
) -> None:
    """Render a file, or a region of it, at any size: first the region, then the size."""
    import smartsplat
    from smartsplat.images.image import write
    from smartsplat.render.device import find
    from smartsplat.threads import available_threads

    try:
        find(device)
        x = _numbers(region, ",", 4, "--region", "X,Y,W,H")
        expected = _numbers(size, "x", 2, "--size", "WxH")
        reader = smartsplat.open(_input(source), partial=partial, threads=threads, device=device)
        strips = reader.strips(
            region=(x[0], x[1], x[2], x[3]) if x else None,
            size=(expected[0], expected[1]) if expected else None,
            scale=scale,
        )
        destination, form = (sys.stdout.buffer, "png") if output == "-" else (output, None)
        write(destination, strips, icc=reader.icc, format=form, threads=threads or available_threads())
    except (ImageError, DeviceError) as error:  # of the output, and named so; of no file
        fail(error)
    except SmartSplatError as error:
        fail(_named(error, source))


@app.command()
def info(
    source: Annotated[str, typer.Argument(metavar="IN.sspl", help="A SmartSplat file; - is stdin.")],
    as_json: Json = False,
) -> None:
    """Say what a file holds and what its bytes are spent on."""
    from dataclasses import asdict

    import smartsplat

    try:
        found = smartsplat.open(_input(source)).info
        bits_per_gaussian = found.bits_per_gaussian
    except SmartSplatError as error:
        fail(_named(error, source))
    if as_json:
        print(json.dumps({**asdict(found), "bits_per_gaussian": bits_per_gaussian}))
        return
    total = sum(bits_per_gaussian.values())
    kind = "grey" if found.channels == 1 else "RGB"
    print(f"{found.width} x {found.height} pixels, {kind}, format {found.version}")
    print(f"{found.bytes} bytes, {found.ratio:.1f} : 1, {found.bpp:.4f} bits per pixel")
    print(f"{found.gaussians} Gaussians in {found.groups} groups, {total / 8:.2f} bytes each, quality {found.quality}")
    for name, bits in bits_per_gaussian.items():
        print(f"  {name:<9} {bits:6.2f} bits per Gaussian  {bits * found.gaussians / 8:12.0f} bytes")
    print(f"  container {'':24}{found.container_bytes:12d} bytes")


@app.command()
def compare(
    reference: Annotated[str, typer.Argument(metavar="REFERENCE", help="An image or a SmartSplat file.")],
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image or a SmartSplat file.")],
    as_json: Json = False,
) -> None:
    """PSNR, SSIM and MS-SSIM of an image against a reference."""
    from smartsplat import metrics

    try:
        found = metrics.compare(_pixels(reference), _pixels(image))
    except SmartSplatError as error:
        fail(error)
    if as_json:
        print(json.dumps({name: _finite(value) for name, value in found.items()}))
    else:
        for name, value in found.items():
            print(f"{name.replace('_', '-').upper():<8} {value:.4f}{' dB' if name == 'psnr' else ''}")


def _pixels(path: str) -> Any:
    import smartsplat
    from smartsplat.bitstream import container
    from smartsplat.images.image import read

    source = sys.stdin.buffer.read() if path == "-" else path
    try:
        head = source if isinstance(source, bytes) else _head(path, len(container.SIGNATURE))
        return smartsplat.decode(source) if head.startswith(container.SIGNATURE) else read(source).pixels
    except SmartSplatError as error:
        raise _named(error, path) from None


def _head(path: str, size: int) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise ImageError(f"{path}: {error.strerror or error}") from None


def _finite(value: float) -> float | None:
    """Rounded, or null where JSON has no number: equal images have an infinite PSNR."""
    return round(value, 4) if abs(value) != float("inf") else None


def _name(path: str, stream: str = "stdin") -> str:
    return stream if path == "-" else path


def _named(error: SmartSplatError, source: str) -> SmartSplatError:
    """The error with the file's name in front, unless it says it already."""
    text = str(error)
    return type(error)(text if text.startswith(_name(source)) else f"{_name(source)}: {text}")


def _input(path: str) -> str | BinaryIO:
    return sys.stdin.buffer if path == "-" else path


def _check_output(path: str) -> None:
    """Complain before a long fit, not after it, if there is nowhere to write."""
    if path != "-" and (os.path.isdir(path) or not os.path.isdir(os.path.dirname(path) or ".")):
        raise ImageError(f"{path}: cannot be written: not a file in a directory that exists")


def _write(path: str, data: bytes) -> None:
    from smartsplat.images.atomic import write_atomically

    try:
        if path == "-":
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        else:
            write_atomically(path, lambda file: file.write(data))
    except BrokenPipeError:  # whoever read stdout has had enough
        raise
    except OSError as error:
        raise ImageError(f"{_name(path, 'stdout')}: cannot be written: {error.strerror or error}") from None


def _color(text: str) -> tuple[int, int, int]:
    from PIL import ImageColor

    try:
        color = ImageColor.getrgb(text)
    except ValueError:
        raise SettingsError(f"--background: {text!r} is not a colour (white, #ff8800, ...)") from None
    return color[0], color[1], color[2]


def _numbers(text: str | None, separator: str, count: int, option: str, form: str) -> list[int] | None:
    if text is None:
        return None
    try:
        numbers = [int(part) for part in text.lower().split(separator)]
    except ValueError:
        numbers = []
    if len(numbers) != count:
        raise SettingsError(f"{option} wants {form} in whole pixels, not {text!r}")
    return numbers


@contextmanager
def _progress() -> Iterator[ProgressCallback]:
    """A progress line on a terminal. The first Ctrl-C ends the fit early and keeps what there is."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    interrupted = False

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal interrupted
        if interrupted:
            raise Interrupted
        interrupted = True
        talk("\nsmartsplat: stopping early and writing what there is; Ctrl-C again to give up")

    columns = (
        TextColumn("fitting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[gaussians]} Gaussians  {task.fields[psnr]:.2f} dB"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        with Progress(*columns, console=console, disable=not console.is_terminal, transient=True) as bar:
            task = bar.add_task("fit", total=None, gaussians=0, psnr=0.0)

            def show(at: Any) -> bool:
                bar.update(task, completed=at.step, total=at.steps, gaussians=at.gaussians, psnr=at.psnr)
                return not interrupted

            yield show
    finally:
        signal.signal(signal.SIGINT, previous)


class Interrupted(BaseException):
    """Ctrl-C, under a name that Typer does not take for its own: its versions end with different exit codes."""


def _give_up(number: int, frame: FrameType | None) -> None:
    raise Interrupted


def main() -> None:
    """Entry point: runs the command; Ctrl-C ends it with 130 and without a trace."""
    signal.signal(signal.SIGINT, _give_up)
    try:
        app()
    except Interrupted:
        talk("smartsplat: interrupted")
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(1)
    finally:
        _drop_unwritten()


def _drop_unwritten() -> None:
    """What a full or closed stdout did not take is given up, or the interpreter would try again and exit with 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
