"""``smartsplat export``."""

from __future__ import annotations

import os
from typing import Annotated

import typer

from smartsplat.cli import options as shared
from smartsplat.cli.decode import open_file
from smartsplat.cli.files import Overwriting, check_output, input_name, open_input, output_name, write_bytes
from smartsplat.cli.messages import Messages, complain
from smartsplat.errors import SettingsError, SmartSplatError


def export(
    source: Annotated[str, typer.Argument(metavar="FILE", help="A SmartSplat file; - is stdin.")],
    output: Annotated[str, typer.Argument(metavar="OUT.html", help="The page; - is stdout.")],
    title: Annotated[str | None, typer.Option(metavar="TEXT", help="Of the page; the default is FILE's name.")] = None,
    force: Annotated[
        bool, typer.Option("-f", "--force", rich_help_panel=shared.FILES, help="Replace a file that is no page.")
    ] = False,
    no_overwrite: shared.NoOverwrite = False,
    quiet: shared.Quiet = False,
) -> None:
    """Write a page that holds a file and the viewer: it needs no server, and loads nothing.

    A page that is there is replaced, another file only with --force. An input never is.
    """
    from smartsplat.web.page import page

    try:
        if output != "-" and os.path.splitext(output)[1].lower() not in (".html", ".htm"):
            raise SettingsError(f"{output}: a page is named .html")
        overwriting = Overwriting(
            force, no_overwrite, lambda head: head.lstrip().lower().startswith(b"<!doctype html"), "is no page"
        )
        check_output(output, [source], overwriting)
        name = input_name(source)
        data = open_file(open_input(source), name).data
        text = page(data, title or os.path.basename(name)).encode()
        write_bytes(output, text)
        Messages(quiet).status(f"{output_name(output)}: {len(text)} bytes, of which the file is {len(data)}")
    except SmartSplatError as error:
        raise typer.Exit(complain(error)) from None
