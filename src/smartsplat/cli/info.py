"""``smartsplat info``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from smartsplat.cli import options as shared
from smartsplat.cli.decode import open_file
from smartsplat.cli.files import input_name, named, open_input, print_result
from smartsplat.cli.messages import channels_in_words, complain
from smartsplat.errors import SmartSplatError
from smartsplat.metadata import SRGB_PRIMARIES, SRGB_TRANSFER

if TYPE_CHECKING:
    from smartsplat.decoder import Info


def info(
    source: Annotated[str, typer.Argument(metavar="IN.sspl", help="A SmartSplat file; - is stdin.")],
    partial: shared.Partial = False,
    as_json: shared.Json = False,
) -> None:
    """Say what a file holds and what its bytes are spent on."""
    from dataclasses import asdict

    try:
        found = open_file(open_input(source), input_name(source), partial=partial).info
        bits_per_gaussian = found.bits_per_gaussian
    except SmartSplatError as error:
        raise typer.Exit(complain(named(error, input_name(source)))) from None
    try:
        if as_json:
            print_result(json.dumps({**asdict(found), "bits_per_gaussian": bits_per_gaussian}))
        else:
            print_result("\n".join(_lines(found)))
    except SmartSplatError as error:
        raise typer.Exit(complain(error)) from None


def _lines(found: Info) -> Iterator[str]:
    total = sum(found.bits_per_gaussian.values())
    kind = channels_in_words(found.channels, found.has_alpha)
    yield f"{found.width} x {found.height} pixels, {kind}, {found.depth} bits, {_colors(found)}, format {found.version}"
    yield f"{found.bytes} bytes, {found.ratio:.1f} : 1, {found.bpp:.4f} bits per pixel"
    yield f"{found.gaussians} Gaussians in {found.groups} groups, quality {found.quality}"
    coded = found.bytes - found.container_bytes - found.alpha_bytes - found.grain_bytes
    for name, bits in found.bits_per_gaussian.items() if total else ():
        yield f"  {name:<9} {bits:6.2f} bits per Gaussian  {coded * bits / total:12.0f} bytes"
    if found.has_alpha:
        yield f"  alpha     {'':24}{found.alpha_bytes:12d} bytes"
    if found.grain_bytes:
        yield f"  grain     {'':24}{found.grain_bytes:12d} bytes"
    yield f"  container {'':24}{found.container_bytes:12d} bytes"


def _colors(found: Info) -> str:
    if found.icc_bytes:
        return f"ICC profile of {found.icc_bytes} bytes"
    if (found.primaries, found.transfer) == (SRGB_PRIMARIES, SRGB_TRANSFER):
        return "sRGB"
    return f"H.273 primaries {found.primaries} and transfer {found.transfer}"
