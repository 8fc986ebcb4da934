"""``smartsplat encode``."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smartsplat.cli import options as shared
from smartsplat.cli.files import (
    Overwriting,
    check_output,
    has_content,
    input_name,
    open_input,
    output_name,
    print_result,
    write_bytes,
)
from smartsplat.cli.jobs import Job, jobs_of, make_folder, run_jobs
from smartsplat.cli.messages import Messages, channels_in_words, complain, say
from smartsplat.cli.progress import progress_line
from smartsplat.cli.signals import early_stop, exit_code
from smartsplat.errors import ImageError, SettingsError, SmartSplatError, reason_of

if TYPE_CHECKING:
    from smartsplat.encoder.fit import Progress, ProgressCallback
    from smartsplat.images.image import SourceImage

INTERRUPTED = exit_code(2)
TARGET, FIT = "Target, one of them", "Fit"
"""Headings of the help."""

Ratio = Annotated[
    float | None,
    typer.Option(
        "-r",
        "--ratio",
        rich_help_panel=TARGET,
        help="At most 3 x width x height / RATIO bytes; the default target, at 100.",
    ),
]
Bpp = Annotated[float | None, typer.Option(rich_help_panel=TARGET, help="At most this many bits for each pixel.")]
MaxBytes = Annotated[int | None, typer.Option("--bytes", rich_help_panel=TARGET, help="At most this many bytes.")]
Psnr = Annotated[float | None, typer.Option(rich_help_panel=TARGET, help="At least this PSNR, decibels.")]
Count = Annotated[int | None, typer.Option(rich_help_panel=TARGET, help="Exactly this many Gaussians.")]
Effort = Annotated[
    int, typer.Option("-e", "--effort", min=1, max=9, rich_help_panel=FIT, help="Speed (1) against quality (9).")
]
Preset = Annotated[
    str | None, typer.Option(metavar="NAME", rich_help_panel=FIT, help="paper: the settings of the SmartSplat paper.")
]
Steps = Annotated[
    int | None, typer.Option(metavar="N", rich_help_panel=FIT, help="Steps of the fit, instead of the effort's.")
]
TuneFor = Annotated[
    str | None,
    typer.Option("--tune", metavar="NAME", rich_help_panel=FIT, help="eye (looks right; the default) or psnr."),
]
Grain = Annotated[
    str | None,
    typer.Option(metavar="0..1", rich_help_panel=FIT, help="Noise for lost texture: auto (the default), or how much."),
]
Weights = Annotated[
    str | None,
    typer.Option(metavar="MASK", rich_help_panel=FIT, help="A grey image of the same size: white matters most."),
]
Seed = Annotated[int, typer.Option(min=0, metavar="N", rich_help_panel=FIT, help="Same seed, same machine, same file.")]
Block = Annotated[
    int | None,
    typer.Option(
        metavar="SIDE", rich_help_panel=FIT, help="Fit in blocks of so many pixels a side, in little memory; 0: never."
    ),
]
Cluster = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", rich_help_panel=FIT, help="Of a Dask scheduler, whose workers fit the blocks."),
]
Workers = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", rich_help_panel=FIT, help="Processes on this machine that fit the blocks."),
]
Restart = Annotated[
    bool, typer.Option("--restart", rich_help_panel=FIT, help="Begin anew, whatever OUT.sspl.checkpoint has.")
]
Strip = Annotated[
    bool, typer.Option("--strip", help="Leave out EXIF, XMP, IPTC, GeoTIFF tags and density; colours stay.")
]
Force = Annotated[
    bool,
    typer.Option(
        "-f", "--force", rich_help_panel=shared.FILES, help="Replace a file that is no .sspl, or by a stopped fit."
    ),
]


def encode(
    files: Annotated[list[str], typer.Argument(metavar="IN... [OUT]", help="Images; then OUT.sspl. - is a stream.")],
    output: shared.Output = None,
    out_dir: shared.OutDir = None,
    force: Force = False,
    no_overwrite: shared.NoOverwrite = False,
    ratio: Ratio = None,
    bpp: Bpp = None,
    max_bytes: MaxBytes = None,
    psnr: Psnr = None,
    gaussians: Count = None,
    effort: Effort = 5,
    preset: Preset = None,
    steps: Steps = None,
    tune: TuneFor = None,
    grain: Grain = None,
    weights: Weights = None,
    seed: Seed = 0,
    block: Block = None,
    cluster: Cluster = None,
    workers: Workers = None,
    restart: Restart = False,
    background: shared.Background = None,
    strip: Strip = False,
    page: shared.Page = None,
    float_range: shared.FloatRange = None,
    accept_damaged: shared.AcceptDamaged = False,
    device: shared.Device = "auto",
    threads: shared.Threads = None,
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
    as_json: shared.Json = False,
) -> None:
    """Compress images: IN OUT, IN -o OUT, or IN... --out-dir DIR.

    An input is never replaced, and any other file that is no .sspl only with --force.

    Every minute a fit is saved in OUT.sspl.checkpoint, from which the same command goes on after
    Ctrl-C, SIGTERM, a crash or a power cut, to the same file. It is removed at the end.

    Ctrl-C ends a fit early, writes what there is and exits with 130; Ctrl-C again writes nothing.
    Where OUT.sspl is there already it stays, and what there is becomes OUT.stopped.sspl, unless
    --force is given.
    """
    targets = {"ratio": ratio, "bpp": bpp, "max_bytes": max_bytes, "psnr": psnr, "gaussians": gaussians}
    fit = {"effort": effort, "preset": preset, "steps": steps, "tune": tune, "grain": grain, "seed": seed}
    fit |= {"block": block, "threads": threads}
    try:
        jobs = jobs_of(files, output, out_dir, ".sspl")
        encoder = _Encoder(
            inputs=[job.source for job in jobs] + ([weights] if weights else []),
            overwriting=_overwriting(force, no_overwrite),
            targets=targets,
            options=fit | shared.given({"weights": open_input(weights) if weights else None}),
            reading=shared.reading_options(page, float_range, accept_damaged),
            background=shared.color(background),
            strip=strip,
            restart=restart,
            device=_check_settings(targets, fit, device),
            cluster=(cluster, workers),
            messages=Messages(quiet, verbose),
            as_json=as_json,
        )
        if out_dir is not None:
            make_folder(out_dir)
    except SmartSplatError as error:
        raise typer.Exit(complain(error)) from None
    run_jobs(jobs, encoder.run)


def _overwriting(force: bool, never: bool) -> Overwriting:
    from smartsplat.bitstream.container import SIGNATURE

    return Overwriting(force, never, lambda head: head.startswith(SIGNATURE), "is there and is no SmartSplat file")


def _check_settings(targets: dict[str, Any], fit: dict[str, Any], device: str) -> str:
    """Complains before an image is read; returns the device that there is."""
    from smartsplat.encoder.encode import check_settings
    from smartsplat.render.device import CPU, find

    check_settings(targets, fit)
    found = find(device)
    if found != CPU:
        say(f"smartsplat: fitting on {found.title} ({found.name})")
    return found.name


@dataclass(frozen=True)
class _Encoder:
    """Encodes one image after the other.

    Args:
        inputs: files that are read, and never replaced.
        targets, options: arguments of ``smartsplat.encode``.
        reading: arguments of ``images.image.read``.
        background, strip: as ``smartsplat.encode`` takes them.
        restart: begin anew where there is a checkpoint.
        cluster: that fits blocks: its address, or the workers of one on this machine; none of both: this process.
    """

    inputs: Sequence[str]
    overwriting: Overwriting
    targets: dict[str, Any]
    options: dict[str, Any]
    reading: dict[str, Any]
    background: tuple[int, int, int] | None
    strip: bool
    restart: bool
    device: str
    cluster: tuple[str | None, int | None]
    messages: Messages
    as_json: bool

    def run(self, job: Job) -> None:
        """Raises typer.Exit after a fit that Ctrl-C ended early, and where it came while the file was written."""
        import smartsplat

        begin = time.perf_counter()
        check_output(job.output, self.inputs, self.overwriting)
        name = input_name(job.source)
        image = self._read(job.source, name)
        self.messages.stage(f"{name}: {_description(image)}, read in {time.perf_counter() - begin:.1f} s")
        checkpoint = self._checkpoint(job.output)
        fit_begin = time.perf_counter()
        with early_stop(lambda: self._announce(job.output)) as stop:
            with (
                self._runner() as runner,
                progress_line(stop, self.messages.quiet) as show,
                self.messages.warnings_as_notices(name),
            ):
                show = self._saying_where_it_goes_on(show, checkpoint)
                options = self.targets | self.options | runner | {"device": self.device, "checkpoint": checkpoint}
                data = smartsplat.encode(image, progress=show, **options)
            output = self._stopped_name(job.output) if stop.asked else job.output
            self.messages.stage(f"{name}: fitted and coded in {time.perf_counter() - fit_begin:.1f} s")
            check_output(output, self.inputs, self.overwriting)  # again: a fit may take hours
            write_bytes(output, data)
            self._compare_sizes(job.source, name, len(data))
            if checkpoint is not None and not stop.asked:
                _remove(checkpoint)
            self._report(job.source, output, image, data, time.perf_counter() - begin)
        if stop.asked:
            if checkpoint is not None and checkpoint.exists():
                say(f"smartsplat: the same command goes on from {checkpoint}; --restart begins anew")
            raise typer.Exit(INTERRUPTED)

    @contextmanager
    def _runner(self) -> Iterator[dict[str, Any]]:
        """The option of ``encode`` by which a cluster fits the blocks, if there is to be one."""
        if self.cluster == (None, None):
            yield {}
            return
        try:
            from smartsplat.distributed.blocks import cluster_runner
            from smartsplat.distributed.cluster import opened_cluster
        except ImportError:
            raise SettingsError("a cluster needs Dask: pip install 'smartsplat[distributed]'") from None
        with opened_cluster(*self.cluster) as (client, threads):
            self.messages.status(f"dashboard: {client.dashboard_link}")
            yield {"runner": cluster_runner(client, self.options["threads"] or threads, self.device)}

    def _checkpoint(self, output: str) -> Path | None:
        """Where the fit is saved; nowhere if the output is a stream."""
        if output == "-" or (os.path.exists(output) and not os.path.isfile(output)):
            return None
        checkpoint = Path(f"{output}.checkpoint")
        if self.restart:
            _remove(checkpoint)
        return checkpoint

    def _saying_where_it_goes_on(self, progress: ProgressCallback, checkpoint: Path | None) -> ProgressCallback:
        """The callback, and a line at its first call if that is not of the first step."""
        has_begun = False

        def callback(at: Progress) -> bool | None:
            nonlocal has_begun
            if not has_begun and at.step > 1:
                self.messages.status(f"going on from {checkpoint}")
            has_begun = True
            return progress(at)

        return callback

    def _read(self, source: str, name: str) -> SourceImage:
        """The image as it is going to be encoded."""
        from smartsplat.encoder.encode import prepared
        from smartsplat.images.image import read_image

        image = read_image(open_input(source), **self.reading)
        image = prepared(image, self.targets, background=self.background, strip=self.strip)
        self.messages.notices(name, image.notices)
        return image

    def _compare_sizes(self, source: str, name: str, size: int) -> None:
        """A file larger than the one it was made of is seldom what somebody wants."""
        source_size = os.path.getsize(source) if os.path.isfile(source) else None
        if source_size is not None and size > source_size:
            self.messages.notices(name, [f"the file is larger than its source: {size} bytes, not {source_size}"])

    def _stopped_name(self, output: str) -> str:
        """Where half a fit goes: beside a file that is better for all one knows."""
        if self.overwriting.force or not has_content(output):
            return output
        root, suffix = os.path.splitext(output)
        return f"{root}.stopped{suffix}"

    def _announce(self, output: str) -> None:
        where = output_name(self._stopped_name(output))
        say(f"\nsmartsplat: stopping early and writing what there is to {where}; Ctrl-C again to give up")

    def _report(self, source: str, output: str, image: SourceImage, data: bytes, seconds: float) -> None:
        import smartsplat
        from smartsplat import metrics

        if self.messages.quiet and not self.as_json:  # decoding the file takes a while
            return
        reader = smartsplat.open(data, threads=self.options["threads"])
        info = reader.info
        strips = reader.strips(dtype=image.pixels.dtype, grain=False)
        psnr = metrics.psnr_of_strips(image.pixels, strips.parts, image.alpha)
        row = {
            "input": source,
            "output": output,
            "width": info.width,
            "height": info.height,
            "gaussians": info.gaussians,
            "bytes": info.bytes,
            "ratio": round(info.ratio, 3),
            "bpp": round(info.bpp, 5),
            "psnr": finite(psnr),
            "seconds": round(seconds, 3),
        }
        if self.as_json:
            print_result(json.dumps(row), sys.stderr if output == "-" else None)
            return
        self.messages.status(
            f"{output_name(output)}: {info.width} x {info.height} pixels, {info.gaussians} Gaussians, "
            f"{info.bytes} bytes, {info.ratio:.1f} : 1, {info.bpp:.4f} bpp, {psnr:.4f} dB, {seconds:.1f} s"
        )


def _remove(checkpoint: Path) -> None:
    """ImageError: it cannot be removed."""
    try:
        checkpoint.unlink(missing_ok=True)
    except OSError as error:
        raise ImageError(f"{checkpoint}: cannot be removed: {reason_of(error)}") from None


def finite(value: float) -> float | None:
    """Rounded, or null where JSON has no number: equal images have an infinite PSNR."""
    return round(value, 4) if abs(value) != float("inf") else None


def _description(image: SourceImage) -> str:
    kind = channels_in_words(image.channels, image.alpha is not None)
    return f"{image.width} x {image.height} pixels, {kind}, {image.depth} bits"
