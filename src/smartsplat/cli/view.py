"""``smartsplat view``."""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from smartsplat.cli import options as shared
from smartsplat.cli.decode import open_file
from smartsplat.cli.files import open_input, print_result
from smartsplat.cli.messages import Messages, complain
from smartsplat.cli.signals import early_stop
from smartsplat.errors import SettingsError, SmartSplatError

if TYPE_CHECKING:
    from smartsplat.web.sources import ArraySource

LOOPBACK = "127.0.0.1"
ORIGINAL_AREA = 1 << 25
"""Pixels of the original that the page gets at once, at most: more than any screen has."""


def view(
    source: Annotated[str, typer.Argument(metavar="FILE", help="A SmartSplat file.")],
    original: Annotated[
        str | None,
        typer.Option("--original", metavar="PICTURE", help="What it was made of, to compare it with in the page."),
    ] = None,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, metavar="P", help="Of this machine; the default is a free one.")
    ] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Only print the address.")] = False,
    quiet: shared.Quiet = False,
) -> None:
    """Show a file in the browser: pan, zoom, compare it with its original. Ctrl-C ends it."""
    try:
        path = open_input(source)
        if not isinstance(path, str):
            raise SettingsError(f"{path.name}: only a file can be viewed")
        reader = open_file(path, source)
        pixels = _original(original, (reader.width, reader.height)) if original is not None else None
        check_installed()
        from smartsplat.web.apps import view_app
        from smartsplat.web.images import Images

        app = view_app(Path(path).absolute(), pixels, Images(threads=1, max_area=ORIGINAL_AREA, max_age=3600))
        messages = Messages(quiet)
        serve_until_interrupted(app, LOOPBACK, port, lambda address: _announce(address, source, no_browser, messages))
    except SmartSplatError as error:
        raise typer.Exit(complain(error)) from None


def _original(path: str, size: tuple[int, int]) -> ArraySource:
    from smartsplat.images.image import read_image
    from smartsplat.web.sources import ArraySource

    image = read_image(open_input(path))
    if (image.width, image.height) != size:
        raise SettingsError(f"{path}: has {image.width} x {image.height} pixels, the file {size[0]} x {size[1]}")
    return ArraySource(image.pixels, image.alpha, image.metadata)


def _announce(address: str, source: str, no_browser: bool, messages: Messages) -> None:
    import webbrowser

    print_result(address)
    messages.status(f"{source} is at {address}; Ctrl-C ends it")

    def show() -> None:
        if not webbrowser.open(address):
            messages.status("smartsplat: no browser was found; open the address in one")

    if not no_browser:
        threading.Thread(target=show, daemon=True).start()


def check_installed() -> None:
    """SettingsError: what serves pages is not installed."""
    try:
        for name in ("starlette", "uvicorn"):
            import_module(name)
    except ImportError as error:
        raise SettingsError(f"{error.name} is not installed; pip install 'smartsplat[view]'") from None


def serve_until_interrupted(app: Any, host: str, port: int, announce: Callable[[str], None]) -> None:
    """Serves an app until Ctrl-C, which is the usual end.

    Args:
        announce: called with the address once requests are answered.

    Raises SmartSplatError: nothing can listen there.
    """
    from smartsplat.web.server import Server, listen

    with listen(host, port) as listening:
        shown = f"[{host}]" if ":" in host else host
        address = f"http://{shown}:{listening.getsockname()[1]}/"
        server = Server(app, listening, lambda: announce(address))
        with early_stop(server.stop):
            server.serve_until_stopped()
