"""Progress lines, on a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from smartsplat.cli.signals import EarlyStop

if TYPE_CHECKING:
    from rich.progress import Progress as Line
    from rich.progress import ProgressColumn

    from smartsplat.encoder.fit import Progress, ProgressCallback


def line_of(columns: Sequence[ProgressColumn], quiet: bool) -> Line:
    """A line of columns that goes away at its end; nothing is shown if that is asked for, or where no terminal is."""
    from rich.console import Console
    from rich.progress import Progress as Line

    console = Console(stderr=True)
    return Line(*columns, console=console, disable=quiet or not console.is_terminal, transient=True)


@contextmanager
def progress_line(stop: EarlyStop, quiet: bool) -> Iterator[ProgressCallback]:
    """A callback that shows where a fit is, and ends it once Ctrl-C has asked for that."""
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("fitting"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[gaussians]} Gaussians  {task.fields[psnr]:.2f} dB"),
        TimeRemainingColumn(),
    )
    with line_of(columns, quiet) as line:
        task = line.add_task("fit", total=None, gaussians=0, psnr=0.0)

        def show(at: Progress) -> bool:
            line.update(task, completed=at.step, total=at.steps, gaussians=at.gaussians, psnr=at.psnr)
            return not stop.asked

        yield show
