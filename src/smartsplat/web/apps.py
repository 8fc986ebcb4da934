"""The two servers: of a folder of files, and of one file beside its original."""

from __future__ import annotations

import html
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import quote, unquote

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, RedirectResponse, Response
from starlette.routing import Route

from smartsplat.web.files import MEDIA_TYPES, viewer_folder
from smartsplat.web.folder import Folder, ServedFile
from smartsplat.web.iiif import RequestError, Source
from smartsplat.web.images import CORS, Images, refusal
from smartsplat.web.sources import ArraySource

_log = logging.getLogger(__name__)

Answer = Callable[[Request, str], Awaitable[Response]]

_POLICY = (
    "default-src 'none'; script-src 'self' blob: 'wasm-unsafe-eval'; worker-src 'self' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; connect-src 'self' data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


def serve_app(folder: Folder, images: Images) -> Starlette:
    """A folder's files: a list at /, IIIF at /iiif/{identifier}, the files at /files/{path}, the viewer at /viewer/."""

    async def home(request: Request, tail: str) -> Response:
        entries = await images.run(lambda: list(folder))
        return HTMLResponse(_listing(entries), headers={"Content-Security-Policy": _POLICY})

    async def image(request: Request, tail: str) -> Response:
        identifier, _, rest = tail.partition("/")
        entry = folder.find(unquote(identifier))
        base = f"{request.url.scheme}://{request.url.netloc}/iiif/{_quoted(entry.identifier)}"

        async def opened() -> Source:
            return folder.opened(entry) or await images.run(folder.open, entry)

        return await images.answer(request, base, unquote(rest), entry.version, opened)

    async def file(request: Request, tail: str) -> Response:
        entry = folder.find(unquote(tail))
        return FileResponse(entry.path, headers=CORS | {"Cache-Control": "no-cache"}, media_type=MEDIA_TYPES[".sspl"])

    return _app({"/": home, "/iiif/": image, "/files/": file, "/viewer/": _viewer}, images)


def view_app(path: Path, original: ArraySource | None, images: Images) -> Starlette:
    """One file in the viewer; the original's parts are at /original."""
    name = path.name

    async def home(request: Request, tail: str) -> Response:
        original_query = "&original=/original/info.json" if original else ""
        return RedirectResponse(f"/viewer/?src={quote(f'/file/{_quoted(name)}')}{original_query}", 303)

    async def file(request: Request, tail: str) -> Response:
        if unquote(tail) != name or not path.is_file():
            raise RequestError("the file is not there any more", 404)
        return FileResponse(path, headers={"Cache-Control": "no-cache"}, media_type=MEDIA_TYPES[".sspl"])

    async def image(request: Request, tail: str) -> Response:
        if original is None:
            raise RequestError("there is no original", 404)
        base = f"{request.url.scheme}://{request.url.netloc}/original"

        async def opened() -> Source:
            return original

        return await images.answer(request, base, unquote(tail), "1", opened)

    return _app({"/": home, "/file/": file, "/original/": image, "/viewer/": _viewer}, images)


async def _viewer(request: Request, tail: str) -> Response:
    name = unquote(tail) or "index.html"
    path = viewer_folder() / name
    if "/" in name or path.suffix not in MEDIA_TYPES or not path.is_file():
        raise RequestError(f"no file {name[:100]!r}", 404)
    headers = {"Cache-Control": "no-cache", "Content-Security-Policy": _POLICY}
    return FileResponse(path, headers=headers, media_type=MEDIA_TYPES[path.suffix])


def _app(answers: dict[str, Answer], images: Images) -> Starlette:
    """Answers by the beginning of a path, which is taken as it was sent: %2F is no /."""

    async def route(request: Request) -> Response:
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=CORS)
        path = request.scope["raw_path"].decode("ascii", "replace").partition("?")[0]
        try:
            if path == "/":
                return await answers["/"](request, "")
            for begin, answer in answers.items():
                if begin != "/" and path.startswith(begin):
                    return await answer(request, path.removeprefix(begin))
            raise RequestError("nothing is here", 404)
        except RequestError as error:
            return refusal(error)
        except Exception:
            _log.exception("%s cannot be answered", path)
            return refusal(RequestError("the server has made a mistake", 500))

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        yield
        images.close()

    return Starlette(routes=[Route("/{path:path}", route, methods=["GET", "HEAD", "OPTIONS"])], lifespan=lifespan)


def _quoted(name: str) -> str:
    """A name as one part of a path."""
    return quote(name, safe="")


def _listing(entries: list[ServedFile]) -> str:
    """A page with every file, its thumbnail and its addresses."""

    def item(entry: ServedFile) -> str:
        whole = _quoted(entry.identifier)
        address = f"/viewer/?src={quote(f'/files/{quote(entry.identifier)}')}"
        thumbnail = f"/iiif/{whole}/full/^!320,240/0/default.jpg"
        name = html.escape(entry.identifier)
        return (
            f'<li><a href="{html.escape(address)}">'
            f'<img src="{html.escape(thumbnail)}" alt="" loading="lazy">{name}</a> '
            f'<small>{entry.size / 1e3:,.0f} kB · <a href="/iiif/{whole}/info.json">info.json</a></small></li>'
        )

    items = "\n".join(map(item, entries)) or "<li>No .sspl files are in this folder.</li>"
    return _LISTING.replace("ITEMS", items)


_LISTING = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Images</title>
<link rel="icon" href="data:,">
<style>
body { font: 15px/1.4 system-ui, sans-serif; margin: 2em auto; max-width: 75em; padding: 0 1em; }
ul { list-style: none; padding: 0; display: grid; gap: 1.5em; }
ul { grid-template-columns: repeat(auto-fill, minmax(16em, 1fr)); }
li { overflow-wrap: anywhere; }
img { display: block; width: 100%; height: 12em; object-fit: contain; background: #8882; border-radius: 8px; }
a { color: inherit; }
</style>
</head>
<body>
<main>
<h1>Images</h1>
<ul>
ITEMS
</ul>
</main>
</body>
</html>
"""
