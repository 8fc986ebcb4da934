"""Real sockets: what slow, greedy and broken clients can do, and what ends a server."""

from __future__ import annotations

import http.client
import socket
import threading
import time
from pathlib import Path

import pytest

import smartsplat
from smartsplat.errors import SettingsError, SmartSplatError
from smartsplat.web import server as server_module
from smartsplat.web.server import MAX_HEADER_BYTES, listen
from tests.samples import landscape
from tests.web.serving import serving


@pytest.fixture
def root(tmp_path: Path) -> Path:
    data = smartsplat.encode(landscape(640, 480), ratio=30, steps=5, threads=1)
    (tmp_path / "a.sspl").write_bytes(data)
    return tmp_path


def answer(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    connection.request("GET", path)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return response.status, content


def is_closed(client: socket.socket) -> bool:
    client.settimeout(20)
    try:
        while client.recv(65536):
            pass
    except ConnectionError:
        pass
    return True


def test_many_at_once_get_what_they_asked_for(root: Path) -> None:
    with serving(root) as port:
        path = "/iiif/a.sspl/full/{},/0/default.png"
        expected = {width: answer(port, path.format(width)) for width in range(40, 48)}
        assert {status for status, _ in expected.values()} == {200}
        found: list[bool] = []

        def ask(width: int) -> None:
            found.append(answer(port, path.format(width)) == expected[width])

        threads = [threading.Thread(target=ask, args=(40 + i % 8,)) for i in range(48)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert found == [True] * 48


def test_a_client_that_never_ends_its_request(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "REQUEST_SECONDS", 0.2)
    with serving(root) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET /iiif/a.sspl/info.json HTTP/1.1\r\nHost: a\r\nX: ")
        assert is_closed(client)


def test_a_client_that_takes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "REQUEST_SECONDS", 0.2)
    monkeypatch.setattr(server_module, "SEND_SECONDS", 0.3)
    with serving(root) as port, socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", port))
        request = b"GET /iiif/a.sspl/full/^3000,/0/default.png HTTP/1.1\r\nHost: a\r\n\r\n"
        client.sendall(request)
        time.sleep(3)
        assert answer(port, "/iiif/a.sspl/info.json")[0] == 200
        assert is_closed(client)


def test_headers_without_end(root: Path) -> None:
    with serving(root) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * (2 * MAX_HEADER_BYTES))
        assert is_closed(client)
        assert answer(port, "/")[0] == 200


def test_more_connections_than_there_are_places(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server_module, "MAX_CONNECTIONS", 8)
    with serving(root) as port:
        held = [socket.create_connection(("127.0.0.1", port)) for _ in range(20)]
        refused = 0
        for client in held:
            client.settimeout(20)
            client.sendall(b"GET /iiif/a.sspl/info.json HTTP/1.1\r\nHost: a\r\n\r\n")
            refused += client.recv(65536).startswith(b"HTTP/1.1 503")
        assert refused >= 12
        for client in held:
            client.close()
        time.sleep(0.2)
        assert answer(port, "/iiif/a.sspl/info.json")[0] == 200


@pytest.mark.parametrize("junk", [b"\0" * 100, b"GET\r\n\r\n", b"\x16\x03\x01\x02", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_no_request(root: Path, junk: bytes) -> None:
    with serving(root) as port, socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(junk)
        client.shutdown(socket.SHUT_WR)
        assert is_closed(client)
        assert answer(port, "/")[0] == 200


def test_small_answers_do_not_wait(root: Path) -> None:
    """Nor would they be small if each waited for the client to confirm the one before."""
    with serving(root) as port:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
        for _ in range(3):
            connection.request("GET", "/iiif/a.sspl/info.json")
            connection.getresponse().read()
        assert connection.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        connection.close()
    listening = listen("127.0.0.1", 0)
    assert listening.proto == socket.IPPROTO_TCP, "else asyncio leaves Nagle's algorithm on"
    listening.close()


def test_where_nothing_can_listen() -> None:
    listening = listen("127.0.0.1", 0)
    port = listening.getsockname()[1]
    with pytest.raises(SmartSplatError, match=rf"^127\.0\.0\.1:{port} cannot be listened on: address already in use$"):
        listen("127.0.0.1", port)
    listening.close()
    with pytest.raises(SmartSplatError, match="cannot be listened on"):
        listen("203.0.113.7", 0)
    with pytest.raises(SettingsError, match="port 70000"):
        listen("127.0.0.1", 70000)
