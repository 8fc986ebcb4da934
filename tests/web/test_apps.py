from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import smartsplat
from smartsplat.bitstream.container import MEDIA_TYPE
from smartsplat.metadata import NO_METADATA
from smartsplat.web.apps import serve_app, view_app
from smartsplat.web.files import viewer_folder
from smartsplat.web.folder import Folder
from smartsplat.web.images import MAX_WAITING, Images
from smartsplat.web.sources import ArraySource
from tests.samples import landscape

IMAGE = landscape(96, 64)
DATA = smartsplat.encode(IMAGE, ratio=30, steps=20, threads=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "below").mkdir()
    (tmp_path / "a.sspl").write_bytes(DATA)
    (tmp_path / "below/b c%2F#.sspl").write_bytes(DATA)
    (tmp_path / "damaged.sspl").write_bytes(DATA[:200])
    return tmp_path


@pytest.fixture
def client(root: Path) -> Any:
    with TestClient(serve_app(Folder(root, 1), Images(1, 1 << 20, 60)), follow_redirects=False) as client:
        yield client


def pixels(response: Any) -> Any:
    assert response.status_code == 200, response.text
    import io

    with Image.open(io.BytesIO(response.content)) as image:
        return np.asarray(image)


def test_description(client: TestClient) -> None:
    response = client.get("/iiif/a.sspl/info.json")
    assert response.headers["content-type"] == "application/json"
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["cache-control"] == "public, max-age=60"
    assert "ETag" in response.headers["access-control-expose-headers"]
    found = response.json()
    assert found["id"] == "http://testserver/iiif/a.sspl"
    assert (found["width"], found["height"]) == (96, 64)
    linked = client.get("/iiif/a.sspl/info.json", headers={"Accept": "application/ld+json"})
    assert linked.headers["content-type"].startswith("application/ld+json;profile=")
    assert linked.headers["etag"] != response.headers["etag"]
    for base in ("/iiif/a.sspl", "/iiif/a.sspl/"):
        redirect = client.get(base)
        assert redirect.status_code == 303
        assert redirect.headers["location"] == "http://testserver/iiif/a.sspl/info.json"


def test_identifiers_have_no_slash_of_their_own(client: TestClient) -> None:
    address = "/iiif/below%2Fb%20c%252F%23.sspl"
    found = client.get(f"{address}/info.json").json()
    assert found["id"] == f"http://testserver{address}"
    assert pixels(client.get(f"{address}/full/max/0/default.png")).shape == (64, 96, 3)
    assert client.get("/iiif/below/b%20c%252F%23.sspl/info.json").status_code == 404


def test_images(client: TestClient) -> None:
    response = client.get("/iiif/a.sspl/8,4,48,32/24,16/0/default.png")
    assert response.headers["content-type"] == "image/png"
    expected = smartsplat.decode(DATA, region=(8, 4, 48, 32), size=(24, 16))
    assert np.array_equal(pixels(response), expected)
    assert response.headers["link"] == (
        "<http://testserver/iiif/a.sspl/8,4,48,32/24,16/0/default.png>"
        ';rel="canonical", <http://iiif.io/api/image/3/level2.json>;rel="profile"'
    )
    larger = client.get("/iiif/a.sspl/full/^192,/0/default.png")
    assert np.array_equal(pixels(larger), smartsplat.decode(DATA, size=(192, 128)))


def test_what_is_known_is_not_sent_again(client: TestClient, root: Path) -> None:
    address = "/iiif/a.sspl/full/50,/0/default.jpg"
    tag = client.get(address).headers["etag"]
    for known in (tag, f"W/{tag}", f'"x", {tag}', "*"):
        response = client.get(address, headers={"If-None-Match": known})
        assert response.status_code == 304
        assert response.content == b""
        assert response.headers["etag"] == tag
    assert client.get(address, headers={"If-None-Match": '"x"'}).status_code == 200
    assert client.get("/iiif/a.sspl/full/50,33/0/default.jpg").headers["etag"] == tag
    assert client.get("/iiif/a.sspl/full/51,/0/default.jpg").headers["etag"] != tag
    (root / "a.sspl").write_bytes(smartsplat.encode(landscape(80, 50), ratio=30, steps=5, threads=1))
    assert client.get(address, headers={"If-None-Match": tag}).status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/nothing", 404),
        ("/iiif/", 404),
        ("/iiif/missing.sspl/info.json", 404),
        ("/iiif/..%2Fa.sspl/info.json", 404),
        ("/iiif/%2e%2e%2fa.sspl/info.json", 404),
        ("/iiif/%2Fetc%2Fpasswd/info.json", 404),
        ("/iiif/a.sspl%00/info.json", 404),
        ("/iiif/%ff.sspl/info.json", 404),
        ("/iiif/damaged.sspl/info.json", 500),
        ("/iiif/a.sspl/full/max/0", 404),
        ("/iiif/a.sspl/0,0,99999999,99999999/^99999,/0/default.jpg", 400),
        ("/iiif/a.sspl/full/^5000,5000/0/default.jpg", 400),
        ("/iiif/a.sspl/full/max/7/default.jpg", 501),
        ("/files/..%2Fa.sspl", 404),
        ("/files/missing.sspl", 404),
        ("/viewer/..%2F__init__.py", 404),
        ("/viewer/%2Fetc%2Fpasswd", 404),
        ("/viewer/package.json", 404),
        ("/viewer/x.js", 404),
    ],
)
def test_refusals(client: TestClient, path: str, status: int) -> None:
    response = client.get(path)
    assert response.status_code == status, response.text
    assert response.headers["access-control-allow-origin"] == "*"
    assert response.headers["cache-control"] == "no-store"
    assert len(response.text.splitlines()) == 1
    assert "Traceback" not in response.text


def test_other_methods(client: TestClient) -> None:
    assert client.options("/iiif/a.sspl/info.json").status_code == 204
    assert client.options("/iiif/a.sspl/info.json").headers["access-control-allow-methods"] == "GET, HEAD, OPTIONS"
    assert client.post("/iiif/a.sspl/info.json").status_code == 405
    head = client.head("/iiif/a.sspl/full/max/0/default.jpg")
    assert head.status_code == 200
    assert head.content == b""


def test_files_with_ranges(client: TestClient) -> None:
    whole = client.get("/files/a.sspl")
    assert whole.content == DATA
    assert whole.headers["content-type"] == MEDIA_TYPE
    assert whole.headers["accept-ranges"] == "bytes"
    part = client.get("/files/a.sspl", headers={"Range": "bytes=10-19"})
    assert part.status_code == 206
    assert part.content == DATA[10:20]
    assert part.headers["content-range"] == f"bytes 10-19/{len(DATA)}"
    assert client.get("/files/below/b%20c%252F%23.sspl").content == DATA
    assert client.get("/files/a.sspl", headers={"Range": f"bytes={len(DATA)}-"}).status_code == 416


def test_the_list_and_the_viewer(client: TestClient) -> None:
    page = client.get("/").text
    assert "below/b c%2F#.sspl</a>" in page
    assert 'href="/iiif/below%2Fb%20c%252F%23.sspl/info.json"' in page
    assert 'href="/viewer/?src=/files/below/b%2520c%25252F%2523.sspl"' in page
    assert "default-src 'none'" in client.get("/").headers["content-security-policy"]
    for path in sorted(viewer_folder().glob("*.*")):
        if path.suffix in (".js", ".css", ".html"):
            assert client.get(f"/viewer/{path.name}").content == path.read_bytes()
    assert client.get("/viewer/").content == (viewer_folder() / "index.html").read_bytes()
    assert client.get("/viewer/main.js").headers["content-type"].startswith("text/javascript")


def test_too_much_at_once_is_sent_away(root: Path) -> None:
    """While all threads work and all places to wait are taken."""
    images = Images(1, 1 << 20, 60)
    with TestClient(serve_app(Folder(root, 1), images)) as client:
        assert client.get("/iiif/a.sspl/info.json").status_code == 200
        images._running = 1 + MAX_WAITING
        refused = client.get("/iiif/a.sspl/full/max/0/default.jpg")
        assert refused.status_code == 503
        assert refused.headers["retry-after"] == "1"
        images._running = 0
        assert client.get("/iiif/a.sspl/full/max/0/default.jpg").status_code == 200


def test_mistakes_of_ours(root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(Folder, "find", lambda self, identifier: 1 // 0)
    with TestClient(serve_app(Folder(root, 1), Images(1, 1 << 20, 60))) as client:
        response = client.get("/iiif/a.sspl/info.json")
    assert response.status_code == 500
    assert "ZeroDivision" not in response.text
    assert "ZeroDivisionError" in caplog.text


def test_one_file_and_its_original(root: Path) -> None:
    original = ArraySource(IMAGE, None, NO_METADATA)
    with TestClient(view_app(root / "a.sspl", original, Images(1, 1 << 20, 60)), follow_redirects=False) as client:
        home = client.get("/")
        assert home.status_code == 303
        assert home.headers["location"] == "/viewer/?src=/file/a.sspl&original=/original/info.json"
        assert client.get("/file/a.sspl").content == DATA
        assert client.get("/file/damaged.sspl").status_code == 404
        assert json.loads(client.get("/original/info.json").text)["width"] == 96
        assert np.array_equal(pixels(client.get("/original/full/96,64/0/default.png")), IMAGE)
        (root / "a.sspl").unlink()
        gone = client.get("/file/a.sspl")
        assert gone.status_code == 404
        assert gone.text == "the file is not there any more\n"


def test_one_file_alone(root: Path) -> None:
    path = root / "below/b c%2F#.sspl"
    with TestClient(view_app(path, None, Images(1, 1 << 20, 60)), follow_redirects=False) as client:
        location = client.get("/").headers["location"]
        assert location == "/viewer/?src=/file/b%2520c%25252F%2523.sspl"
        assert client.get("/file/b%20c%252F%23.sspl").content == DATA
        assert client.get("/original/info.json").status_code == 404
