"""``smartsplat compare``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smartsplat.cli import options as shared
from smartsplat.cli.decode import open_file
from smartsplat.cli.encode import finite
from smartsplat.cli.files import head_of, input_name, open_input, print_result
from smartsplat.cli.messages import Messages, complain
from smartsplat.errors import SettingsError, SmartSplatError

if TYPE_CHECKING:
    from smartsplat.arrays import SampleArray
    from smartsplat.metadata import Metadata


def compare(
    reference: Annotated[str, typer.Argument(metavar="REFERENCE", help="An image or a SmartSplat file; - is stdin.")],
    image: Annotated[str, typer.Argument(metavar="IMAGE", help="An image or a SmartSplat file; - is stdin.")],
    page: shared.Page = None,
    float_range: shared.FloatRange = None,
    accept_damaged: shared.AcceptDamaged = False,
    as_json: shared.Json = False,
) -> None:
    """PSNR, SSIM and MS-SSIM of an image against a reference.

    Images of one colour space are compared as they are, others in sRGB.
    Those with transparency are compared over white and over black; .sspl files without their grain.
    """
    from smartsplat import metrics
    from smartsplat.images.color.color_spaces import comparable, same_colors

    messages = Messages()
    try:
        if reference == image == "-":
            raise SettingsError("stdin can be read only once: name one of the two images")
        reading = shared.reading_options(page, float_range, accept_damaged)
        first, first_metadata = _pixels(reference, reading, messages)
        second, second_metadata = _pixels(image, reading, messages)
        converted = not same_colors(first_metadata, second_metadata)
        if converted:
            messages.notices("colour spaces differ", ["both images are compared in sRGB"])
        found = metrics.compare(*comparable(first, first_metadata, second, second_metadata))
        if as_json:
            row = {name: finite(value) for name, value in found.items()}
            print_result(json.dumps({**row, "in_srgb": converted}))
        else:
            print_result("\n".join(_line(name, value) for name, value in found.items()))
    except SmartSplatError as error:
        raise typer.Exit(complain(error)) from None


def _line(name: str, value: float) -> str:
    return f"{name.replace('_', '-').upper():<8} {value:.4f}{' dB' if name == 'psnr' else ''}"


def _pixels(path: str, reading: dict[str, Any], messages: Messages) -> tuple[SampleArray, Metadata]:
    """Samples [H, W, C], with alpha as the last channel, and what their colours are."""
    import numpy as np

    from smartsplat.bitstream.container import SIGNATURE
    from smartsplat.images.image import read_image

    name = input_name(path)
    source = open_input(path)
    if head_of(source).startswith(SIGNATURE):
        reader = open_file(source, name)
        return reader.read(grain=False), reader.metadata
    image = read_image(source, **reading)
    messages.notices(name, image.notices)
    pixels = image.pixels if image.alpha is None else np.dstack((image.pixels, image.alpha))
    return pixels, image.metadata
