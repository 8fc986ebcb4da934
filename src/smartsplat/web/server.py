"""Runs an app over HTTP: on an address, with bounds on what a client can make it hold, until a signal ends it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from smartsplat.errors import SettingsError, SmartSplatError

MAX_CONNECTIONS = 256
REQUEST_SECONDS = 10.0
"""Between two looks at a connection; one that has sent no whole request between them is closed."""

SEND_SECONDS = 30.0
"""The same for one that takes nothing of an answer."""

MAX_HEADER_BYTES = 16384


class _PatientProtocol(H11Protocol):
    """uvicorn's, but patient with slow clients only for so long."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._answered = 0
        self._seen: tuple[int, int] | None = None
        self._watch = self.loop.call_later(REQUEST_SECONDS, self._look, transport)

    def on_response_complete(self) -> None:
        self._answered += 1
        super().on_response_complete()

    def _look(self, transport: asyncio.Transport) -> None:
        """Closes a connection where nothing has moved since the last look."""
        held = transport.get_write_buffer_size()
        is_waiting = self.cycle is None or self.cycle.response_complete
        state = (self._answered, held)
        stuck = state == self._seen and (is_waiting or held > 0)
        self._seen = state
        if stuck or transport.is_closing():
            transport.abort()
            return
        self._watch = self.loop.call_later(SEND_SECONDS if held else REQUEST_SECONDS, self._look, transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._watch.cancel()
        super().connection_lost(exc)


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens. SmartSplatError: the port is in use, or the address is none of this machine."""
    if not 0 <= port <= 65535:
        raise SettingsError(f"port {port} is not 0 to 65535")
    found = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        found = socket.socket(family, kind, protocol)  # with the protocol asyncio knows it to be TCP, and sends at once
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        found.bind(address)
        found.listen(128)
    except OSError as error:
        if found is not None:
            found.close()
        reason = error.strerror or str(error)
        raise SmartSplatError(f"{host}:{port} cannot be listened on: {reason[:1].lower()}{reason[1:]}") from None
    return found


class Server(uvicorn.Server):
    """Serves an app until ``stop`` is called; leaves signals to the command line.

    Args:
        listening: a socket that listens; it is closed at the end.
        started: called once requests are answered.
    """

    def __init__(self, app: Any, listening: socket.socket, started: Callable[[], None]) -> None:
        logging.getLogger("uvicorn.error").disabled = True  # a client that goes away is no news
        super().__init__(
            uvicorn.Config(
                app,
                http=_PatientProtocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                limit_concurrency=MAX_CONNECTIONS,
                timeout_keep_alive=5,
                timeout_graceful_shutdown=1,
                h11_max_incomplete_event_size=MAX_HEADER_BYTES,
            )
        )
        self._listening = listening
        self._started = started

    def serve_until_stopped(self) -> None:
        """Returns once it has been stopped."""
        self.run(sockets=[self._listening])

    def stop(self) -> None:
        """Lets the requests that run end, and then the server."""
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn has it."""
        await super().startup(sockets)
        self._started()

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Captures none."""
        yield
