"""A real server for tests, in a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from smartsplat.web.apps import serve_app
from smartsplat.web.folder import Folder
from smartsplat.web.images import Images
from smartsplat.web.server import Server, listen


@contextmanager
def serving(root: Path) -> Iterator[int]:
    """A server in a thread; its port."""
    listening = listen("127.0.0.1", 0)
    started = threading.Event()
    server = Server(serve_app(Folder(root, 1), Images(2, 1 << 24, 60)), listening, started.set)
    thread = threading.Thread(target=server.serve_until_stopped)
    thread.start()
    assert started.wait(20)
    try:
        yield listening.getsockname()[1]
    finally:
        server.stop()
        thread.join(20)
        assert not thread.is_alive()
