"""``smartsplat batch``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smartsplat.cli import options as shared
from smartsplat.cli.encode import (
    Block,
    Bpp,
    Count,
    Effort,
    Grain,
    MaxBytes,
    Preset,
    Psnr,
    Ratio,
    Seed,
    Steps,
    Strip,
    TuneFor,
)
from smartsplat.cli.messages import FAILED, Messages, complain, say
from smartsplat.cli.progress import line_of
from smartsplat.errors import SettingsError, SmartSplatError

if TYPE_CHECKING:
    from smartsplat.distributed.batch import BatchProgress, BatchResult

CLUSTER = "Cluster"
"""A heading of the help."""

Out = Annotated[
    str, typer.Option("--out", metavar="DIR", rich_help_panel=shared.FILES, help="Folder or URL of the outputs.")
]
Cluster = Annotated[
    str | None,
    typer.Option(metavar="ADDRESS", rich_help_panel=CLUSTER, help="Of a Dask scheduler, as tcp://host:8786."),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", rich_help_panel=CLUSTER, help="Processes on this machine; the default is every processor."
    ),
]


def batch(
    sources: Annotated[
        list[str],
        typer.Argument(metavar="SOURCE...", help="Images, folders, globs, @LIST with a source a line; or their URLs."),
    ],
    out: Out,
    cluster: Cluster = None,
    workers: Workers = None,
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
    seed: Seed = 0,
    block: Block = None,
    background: shared.Background = None,
    strip: Strip = False,
    page: shared.Page = None,
    float_range: shared.FloatRange = None,
    accept_damaged: shared.AcceptDamaged = False,
    device: shared.Device = "cpu",
    threads: shared.Threads = None,
    quiet: shared.Quiet = False,
    verbose: shared.Verbose = False,
) -> None:
    """Compress many images into a folder, on all processors or on a Dask cluster.

    Run again, it does only what is missing or was made from another input or by other options.
    An image that fails does not stop the others: it is tried again on another worker and reported.

    DIR/manifest.jsonl has a line for each image: input, hash, options, bytes, PSNR, seconds, error.

    Needs Dask, which the extra "distributed" of the package installs.
    """
    settings = shared.given(
        {
            "ratio": ratio,
            "bpp": bpp,
            "max_bytes": max_bytes,
            "psnr": psnr,
            "gaussians": gaussians,
            "effort": effort,
            "preset": preset,
            "steps": steps,
            "tune": tune,
            "grain": grain,
            "seed": seed,
            "block": block,
            "strip": strip,
        }
    )
    messages = Messages(quiet, verbose)
    try:
        settings |= shared.given({"background": shared.color(background)})
        settings |= shared.reading_options(page, float_range, accept_damaged)
        running = {"cluster": cluster, "workers": workers, "threads": threads, "device": device}
        result = _run(sources, out, running, settings, messages)
    except SmartSplatError as error:
        raise typer.Exit(complain(error)) from None
    _report(result, out, messages)
    if result.failed:
        raise typer.Exit(FAILED)


def _run(
    sources: list[str], out: str, running: dict[str, Any], settings: dict[str, Any], messages: Messages
) -> BatchResult:
    try:
        from smartsplat.distributed.batch import batch as run_batch
    except ImportError:
        raise SettingsError("batch needs Dask: pip install 'smartsplat[distributed]'") from None
    with _progress_line(messages) as show:
        return run_batch(
            sources,
            out,
            **running,
            progress=show,
            started=lambda client: messages.status(f"dashboard: {client.dashboard_link}"),
            **settings,
        )


@contextmanager
def _progress_line(messages: Messages) -> Iterator[Callable[[BatchProgress], None]]:
    """A callback that shows where a batch is, and says what has failed when it fails."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn

    columns = (TextColumn("encoding"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]}"))
    with line_of(columns, messages.quiet) as line:
        task = line.add_task("batch", total=None, note="")

        def show(at: BatchProgress) -> None:
            note = f"{at.failed} failed  " if at.failed else ""
            if at.seconds_left is not None:
                note += f"{_duration(at.seconds_left)} left"
            line.update(task, completed=at.done, total=at.total, note=note)
            record = at.record
            if record is None:
                return
            if record.error is not None:
                say(f"smartsplat: {record.error}")
            else:
                messages.notices(record.input, record.notices)
                messages.stage(
                    f"{record.output}: {record.bytes} bytes, {record.ratio} : 1, {record.psnr} dB, {record.seconds} s"
                )

        yield show


def _duration(seconds: float) -> str:
    """Hours, minutes and seconds, the two that say most."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s" if minutes else f"{seconds} s"


def _report(result: BatchResult, out: str, messages: Messages) -> None:
    kept = f", {result.kept} were there" if result.kept else ""
    failed = f", {len(result.failed)} failed" if result.failed else ""
    messages.status(f"{out}: {result.encoded} encoded{kept}{failed}; {result.bytes} bytes in all")
