"""Options that commands share, and the values that are written in a way of their own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from smartsplat.errors import SettingsError

FILES, READING, RUNNING = "Files", "Reading", "Running"
"""Headings of the help."""

Output = Annotated[
    str | None, typer.Option("-o", "--output", metavar="OUT", rich_help_panel=FILES, help="The same as OUT.")
]
OutDir = Annotated[
    str | None,
    typer.Option("--out-dir", metavar="DIR", rich_help_panel=FILES, help="Folder for the outputs of several inputs."),
]
NoOverwrite = Annotated[
    bool, typer.Option("--no-overwrite", rich_help_panel=FILES, help="Replace no file, whatever it is.")
]
Partial = Annotated[bool, typer.Option("--partial", help="Take what there is of a file that ends early.")]
Background = Annotated[
    str | None,
    typer.Option(metavar="COLOUR", help="Flatten transparency on a colour: white, '#ff8800', ... Otherwise it stays."),
]

Page = Annotated[
    int | None,
    typer.Option(
        min=1, metavar="N", rich_help_panel=READING, help="Page or frame to take, from 1; the default is the main one."
    ),
]
FloatRange = Annotated[
    str | None,
    typer.Option(metavar="LO,HI", rich_help_panel=READING, help="Black and white of floats; the default is 0,1."),
]
AcceptDamaged = Annotated[
    bool, typer.Option("--accept-damaged", rich_help_panel=READING, help="Take what there is of a damaged image file.")
]

Device = Annotated[
    str, typer.Option(metavar="NAME", rich_help_panel=RUNNING, help="auto, cpu, cuda or cuda:N (a GPU).")
]
Threads = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", rich_help_panel=RUNNING, help="Threads; the default is every processor."),
]
Quiet = Annotated[
    bool,
    typer.Option("-q", "--quiet", rich_help_panel=RUNNING, help="No status lines; notices and errors stay."),
]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", rich_help_panel=RUNNING, help="A line for each stage.")]
Json = Annotated[bool, typer.Option("--json", rich_help_panel=RUNNING, help="Print the result as JSON to stdout.")]


def given(options: Mapping[str, Any]) -> dict[str, Any]:
    """Those options that have a value: the library has the defaults of the others."""
    return {name: value for name, value in options.items() if value is not None and value is not False}


def reading_options(page: int | None, float_range: str | None, accept_damaged: bool) -> dict[str, Any]:
    """What ``images.image.read`` is to know, beside the file. SettingsError: the range is none."""
    return given({"page": page, "float_range": _range(float_range), "accept_damaged": accept_damaged})


def _range(text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = (float(part) for part in text.split(","))
    except ValueError:
        low = high = math.nan
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise SettingsError(f"--float-range wants LO,HI, two numbers with LO < HI, not {text!r}")
    return low, high


def color(text: str | None) -> tuple[int, int, int] | None:
    """R, G and B, 0 to 255, of a colour in words or in CSS's notation. SettingsError: it is none, or not opaque."""
    if text is None:
        return None
    from PIL import ImageColor

    try:
        red, green, blue, *alpha = ImageColor.getrgb(text)
    except ValueError:
        red, green, blue, alpha = -1, -1, -1, []
    if not all(0 <= value <= 255 for value in (red, green, blue)) or any(value != 255 for value in alpha):
        raise SettingsError(f"--background: {text!r} is not a colour (white, '#ff8800', 'rgb(255,136,0)', ...)")
    return red, green, blue


def whole_numbers(text: str | None, separator: str, count: int, option: str, form: str) -> tuple[int, ...] | None:
    """So many integers. SettingsError: the text is something else."""
    if text is None:
        return None
    try:
        numbers = tuple(int(part) for part in text.lower().split(separator))
    except ValueError:
        numbers = ()
    if len(numbers) != count:
        raise SettingsError(f"{option} wants {form} in whole pixels, not {text!r}")
    return numbers
