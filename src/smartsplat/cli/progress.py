"""The progress line of a fit, on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from smartsplat.cli.signals import EarlyStop

if TYPE_CHECKING:
    from smartsplat.encoder.fit import Progress, ProgressCallback


@contextmanager
def progress_line(stop: EarlyStop, quiet: bool) -> Iterator[ProgressCallback]:
    """A callback that shows where a fit is, and ends it once Ctrl-C has asked for that."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Line

    columns = (
        TextColumn("fitting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[gaussians]} Gaussians  {task.fields[psnr]:.2f} dB"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True)
    with Line(*columns, console=console, disable=quiet or not console.is_terminal, transient=True) as line:
        task = line.add_task("fit", total=None, gaussians=0, psnr=0.0)

        def show(at: Progress) -> bool:
            line.update(task, completed=at.step, total=at.steps, gaussians=at.gaussians, psnr=at.psnr)
            return not stop.asked

        yield show
