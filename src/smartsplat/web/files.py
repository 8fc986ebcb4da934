"""The viewer's files, which are part of the package, and the media types of what a server sends."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from smartsplat.bitstream.container import MEDIA_TYPE

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".sspl": MEDIA_TYPE,
    ".wasm": "application/wasm",
}


def viewer_folder() -> Path:
    """Where the viewer's modules and page are."""
    return Path(str(files("smartsplat") / "viewer"))
