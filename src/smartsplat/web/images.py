"""Answers to requests of the IIIF Image API: rendered in threads, a bounded number at once."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response

from smartsplat.errors import SmartSplatError
from smartsplat.web import iiif
from smartsplat.web.iiif import RequestError, Source

MAX_WAITING = 64
"""Requests that wait for a thread, before others are sent away."""

CORS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Allow-Methods": "GET, HEAD, OPTIONS",
    "Access-Control-Allow-Headers": "*",
    "Access-Control-Expose-Headers": "Content-Length, Content-Range, ETag, Link",
    "Access-Control-Max-Age": "86400",
}

_JSON_LD = f'application/ld+json;profile="{iiif.CONTEXT}"'


class Images:
    """Renders what requests ask of sources.

    Args:
        threads: renderings at once.
        max_area: pixels of an answer, at most.
        max_age: seconds that an answer may be kept without asking again.
    """

    def __init__(self, threads: int, max_area: int, max_age: int) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="render")
        self._most = threads + MAX_WAITING
        self._running = 0
        self._max_area = max_area
        self._headers = CORS | {"Cache-Control": f"public, max-age={max_age}"}

    async def run(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """The result of some work in a thread. RequestError: too much of it waits."""
        if self._running >= self._most:
            raise RequestError("too many requests at once; try again", 503)
        self._running += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        finally:
            self._running -= 1

    async def answer(
        self,
        request: Request,
        base: str,
        tail: str,
        version: str,
        open_source: Callable[[], Awaitable[Source]],
    ) -> Response:
        """What a request for an image or its description gets.

        Args:
            base: the address of the image.
            tail: what follows it: "", "info.json" or the words of a request.
            version: of the image, which changes when its file does.
            open_source: resolves with the image.
        """
        if tail == "":
            return RedirectResponse(f"{base}/info.json", 303, CORS)
        source = await open_source()
        if tail == "info.json":
            return self._information(request, base, version, source)
        wanted = iiif.parse(tail, source.width, source.height, self._max_area)
        headers = self._headers | {
            "ETag": _tag(version, wanted.canonical),
            "Link": f'<{base}/{wanted.canonical}>;rel="canonical", <{iiif.PROFILE}>;rel="profile"',
        }
        if _is_known(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        try:
            content = await self.run(iiif.render, source, wanted)
        except SmartSplatError as error:
            raise RequestError(f"the image cannot be rendered: {error}", 500) from None
        return Response(content, headers=headers, media_type=iiif.MEDIA_TYPES[wanted.form])

    def _information(self, request: Request, base: str, version: str, source: Source) -> Response:
        found = iiif.information(base, source.width, source.height, self._max_area)
        is_linked = "application/ld+json" in request.headers.get("accept", "")
        media_type = _JSON_LD if is_linked else "application/json"
        headers = self._headers | {
            "ETag": _tag(version, json.dumps(found) + media_type),
            "Link": f'<{iiif.PROFILE}>;rel="profile"',
            "Vary": "Accept, Host",
        }
        if _is_known(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return JSONResponse(found, headers=headers, media_type=media_type)

    def close(self) -> None:
        """Lets what runs end, and starts nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def refusal(error: RequestError) -> Response:
    """The answer to a request that cannot be met."""
    headers = CORS | {"Cache-Control": "no-store"} | ({"Retry-After": "1"} if error.status == 503 else {})
    return Response(f"{error}\n", error.status, headers, "text/plain; charset=utf-8")


def _tag(*parts: str) -> str:
    return f'"{hashlib.sha256(chr(0).join(parts).encode()).hexdigest()[:24]}"'


def _is_known(request: Request, tag: str) -> bool:
    """Whether the asking side has this already."""
    known = request.headers.get("if-none-match", "")
    return known.strip() == "*" or tag in (part.strip().removeprefix("W/") for part in known.split(","))
