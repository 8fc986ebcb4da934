"""``smartsplat decode``."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smartsplat.cli import options as shared
from smartsplat.cli.files import NamedBytes, Overwriting, check_output, input_name, named, open_input, output_name
from smartsplat.cli.jobs import Job, jobs_of, make_folder, run_jobs
from smartsplat.cli.messages import Messages, complain
from smartsplat.errors import DeviceError, FormatError, ImageError, SettingsError, SmartSplatError

if TYPE_CHECKING:
    from smartsplat.decoder import Reader
    from smartsplat.images.strips import Strips

VIEW = "View: first the region, then its size"
"""A heading of the help."""

FORMATS = "png, jpg, webp, tif, avif, bmp or ppm"

Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="NAME",
        rich_help_panel=shared.FILES,
        help=f"{FORMATS}; the default is OUT's suffix, or png.",
    ),
]
Force = Annotated[
    bool, typer.Option("-f", "--force", rich_help_panel=shared.FILES, help="Replace a .sspl, or a file in --out-dir.")
]
Region = Annotated[str | None, typer.Option(metavar="X,Y,W,H", rich_help_panel=VIEW, help="Part of the image, pixels.")]
Scale = Annotated[float | None, typer.Option(rich_help_panel=VIEW, help="Size of the output, relative to the region.")]
Size = Annotated[str | None, typer.Option(metavar="WxH", rich_help_panel=VIEW, help="Size of the output, pixels.")]
Depth = Annotated[
    int | None, typer.Option(metavar="BITS", help="8 or 16 bits per sample; the default is 16 if the source had more.")
]
Pyramid = Annotated[
    bool, typer.Option("--pyramid", help="Of TIFF: tiles, and pages of 1/2, 1/4, ... behind the image.")
]
NoGrain = Annotated[bool, typer.Option("--no-grain", help="Leave out the noise that stands for lost texture.")]


def decode(
    files: Annotated[
        list[str], typer.Argument(metavar="IN... [OUT]", help=f".sspl files; then OUT: {FORMATS}. - is a stream.")
    ],
    output: shared.Output = None,
    out_dir: shared.OutDir = None,
    form: Format = None,
    force: Force = False,
    no_overwrite: shared.NoOverwrite = False,
    region: Region = None,
    scale: Scale = None,
    size: Size = None,
    depth: Depth = None,
    background: shared.Background = None,
    no_grain: NoGrain = False,
    pyramid: Pyramid = False,
    partial: shared.Partial = False,
    device: shared.Device = "cpu",
    threads: shared.Threads = None,
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
) -> None:
    """Render files, or regions of them, at any size: IN OUT, IN -o OUT, or IN... --out-dir DIR.

    An image that is there is replaced where it is named, but in --out-dir only with --force.
    An input never is.
    """
    from smartsplat.render.device import find
    from smartsplat.threads import available_threads

    try:
        suffix = _format(form)
        jobs = jobs_of(files, output, out_dir, f".{suffix or 'png'}")
        view = {
            "region": shared.whole_numbers(region, ",", 4, "--region", "X,Y,W,H"),
            "size": shared.whole_numbers(size, "x", 2, "--size", "WxH"),
            "scale": scale,
        }
        decoder = _Decoder(
            inputs=[job.source for job in jobs],
            overwriting=_overwriting(force, no_overwrite, out_dir is not None),
            form=suffix,
            view=view
            | {"grain": not no_grain}
            | shared.given({"dtype": _sample_type(depth), "background": shared.color(background)}),
            pyramid=pyramid,
            partial=partial,
            device=find(device).name,
            threads=threads or available_threads(),
            messages=Messages(quiet, verbose),
        )
        if out_dir is not None:
            make_folder(out_dir)
    except SmartSplatError as error:
        raise typer.Exit(complain(error)) from None
    run_jobs(jobs, decoder.run)


def _format(name: str | None) -> str | None:
    from smartsplat.images.writing.writer import WRITABLE

    suffix = name.lower().removeprefix(".") if name is not None else None
    if suffix is not None and suffix not in WRITABLE:
        raise SettingsError(f"--format {name} is not one of {', '.join(WRITABLE)}")
    return suffix


def _sample_type(depth: int | None) -> Any:
    """numpy's type of the samples, or None."""
    import numpy as np

    types = {None: None, 8: np.uint8, 16: np.uint16}
    if depth not in types:
        raise SettingsError(f"--depth is 8 or 16 bits, not {depth}")
    return types[depth]


def _overwriting(force: bool, never: bool, unnamed: bool) -> Overwriting:
    """Names that nobody typed replace nothing: images and what was made of them have the same name."""
    from smartsplat.bitstream.container import SIGNATURE

    if unnamed:
        return Overwriting(force, never, lambda head: False, "is there already")
    return Overwriting(force, never, lambda head: not head.startswith(SIGNATURE), "is a SmartSplat file")


@dataclass(frozen=True)
class _Decoder:
    """Decodes one file after the other.

    Args:
        inputs: files that are read, and never replaced.
        form: suffix of the format to write; None: that of the output's name.
        view: arguments of ``Reader.strips``.
        pyramid: whether the image is followed by smaller ones.
    """

    inputs: Sequence[str]
    overwriting: Overwriting
    form: str | None
    view: dict[str, Any]
    pyramid: bool
    partial: bool
    device: str
    threads: int
    messages: Messages

    def run(self, job: Job) -> None:
        from smartsplat.images.writing.writer import write

        begin = time.perf_counter()
        check_output(job.output, self.inputs, self.overwriting)
        name = input_name(job.source)
        try:
            content = open_input(job.source)
            reader = open_file(content, name, partial=self.partial, threads=self.threads, device=self.device)
            self.messages.stage(f"{name}: {reader.width} x {reader.height} pixels, {reader.info.gaussians} Gaussians")
            strips = reader.strips(**self.view)
            destination, form = (
                (sys.stdout.buffer, self.form or "png") if job.output == "-" else (job.output, self.form)
            )
            height, width, _ = strips.shape
            smaller = self._smaller(reader, width, height) if self.pyramid else None
            notices = write(
                destination, strips, metadata=reader.metadata, format=form, threads=self.threads, smaller=smaller
            )
        except ImageError as error:  # of the output, and named so
            raise ImageError(str(error).replace("<stdout>", "stdout", 1)) from None
        except DeviceError:  # of no file
            raise
        except SmartSplatError as error:
            raise named(error, name) from None
        self.messages.notices(output_name(job.output), notices)
        seconds = time.perf_counter() - begin
        self.messages.stage(f"{output_name(job.output)}: {width} x {height} pixels, written in {seconds:.1f} s")

    def _smaller(self, reader: Reader, width: int, height: int) -> Iterator[Strips]:
        """The levels of a pyramid below an image of that size, down to one tile."""
        from smartsplat.images.writing.tiff_writer import TILE_SIDE

        while max(width, height) > TILE_SIDE:
            width, height = -(-width // 2), -(-height // 2)
            yield reader.strips(**self.view | {"scale": None, "size": (width, height)})


def open_file(
    content: str | NamedBytes, name: str, *, partial: bool = False, threads: int | None = None, device: str = "cpu"
) -> Reader:
    """A reader of a .sspl file, or of what there is of it. Errors name the file, and say how to see a part of it."""
    import smartsplat

    def opened(partial: bool) -> Reader:
        return smartsplat.open(content, partial=partial, threads=threads, device=device)

    try:
        return opened(partial)
    except FormatError as error:
        found = named(error, name)
        if not partial and _opens(opened):
            raise FormatError(f"{found}; --partial shows what is there") from None
        raise found from None
    except SmartSplatError as error:
        raise named(error, name) from None


def _opens(opened: Callable[[bool], Reader]) -> bool:
    """Whether a file can be read as one that ends early: nothing else is wrong with it then."""
    try:
        opened(True)
    except SmartSplatError:
        return False
    return True
