"""What all plots share: a style that gives the same bytes every time, legends and axes. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

STYLE = {"svg.fonttype": "none", "svg.hashsalt": "smartsplat", "font.size": 8}
"""Text stays text and ids stay the same, so that a change of a plot is a small change of its file."""


@contextmanager
def styled() -> Iterator[type[Figure]]:
    """Matplotlib's class of figures, which are to be made and saved inside.

    Raises:
        SystemExit: matplotlib is not installed.
    """
    try:
        from matplotlib import rc_context
        from matplotlib.figure import Figure
    except ImportError as error:
        raise SystemExit("plots need matplotlib: pip install smartsplat[bench]") from error
    with rc_context(STYLE):
        yield Figure


def save(figure: Figure, path: Path) -> None:
    """Write an SVG without its date."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def save_with_legend(figure: Figure, path: Path, columns: int | None = None) -> None:
    """``save`` with one legend for all axes, in one line or in some ``columns``."""
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=columns or len(labels))
    save(figure, path)


def label_rate_axes(axes: Axes, title: str, vertical: str) -> None:
    """A logarithmic axis of bits per pixel, and the title and unit of the vertical one."""
    from matplotlib.ticker import LogLocator

    axes.set(xscale="log", title=title, xlabel="bits per pixel", ylabel=vertical)
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.grid(visible=True, linewidth=0.3)
