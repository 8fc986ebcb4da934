"""``smartsplat serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from smartsplat.cli import options as shared
from smartsplat.cli.files import print_result
from smartsplat.cli.messages import Messages, complain
from smartsplat.cli.view import LOOPBACK, check_installed, serve_until_interrupted
from smartsplat.errors import SettingsError, SmartSplatError


def serve(
    folder: Annotated[str, typer.Argument(metavar="DIR", help="A folder of .sspl files; those below it count, too.")],
    host: Annotated[
        str, typer.Option(metavar="HOST", help="Address to listen on; 0.0.0.0 is every one of this machine.")
    ] = LOOPBACK,
    port: Annotated[
        int, typer.Option(min=0, max=65535, metavar="P", help="Port to listen on; 0 is a free one.")
    ] = 8000,
    max_area: Annotated[
        int, typer.Option("--max-area", min=1, metavar="PIXELS", help="Pixels of an answer, at most.")
    ] = 1 << 24,
    max_age: Annotated[
        int, typer.Option("--max-age", min=0, metavar="S", help="Seconds that answers may be kept by caches.")
    ] = 3600,
    threads: shared.Threads = None,
    quiet: shared.Quiet = False,
) -> None:
    """Serve the files of a folder by the IIIF Image API 3.0, level 2, and in the viewer. Ctrl-C ends it."""
    try:
        root = Path(folder)
        if not root.is_dir():
            raise SettingsError(f"{folder}: is no folder")
        check_installed()
        from smartsplat.threads import available_threads
        from smartsplat.web.apps import serve_app
        from smartsplat.web.folder import Folder
        from smartsplat.web.images import Images

        def announce(address: str) -> None:
            print_result(address)
            Messages(quiet).status(f"{folder} is at {address}, its images at {address}iiif/NAME; Ctrl-C ends it")

        count = threads or available_threads()
        app = serve_app(Folder(root, count), Images(count, max_area, max_age))
        serve_until_interrupted(app, host, port, announce)
    except SmartSplatError as error:
        raise typer.Exit(complain(error)) from None
