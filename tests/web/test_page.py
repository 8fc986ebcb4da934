from __future__ import annotations

import base64
import html
import re
import shutil
import subprocess
from pathlib import Path

import pytest

import smartsplat
from smartsplat import decoder
from smartsplat.bitstream.container import MEDIA_TYPE
from smartsplat.web import page as page_module
from smartsplat.web.files import viewer_folder
from smartsplat.web.page import frame, joined, page
from tests.samples import landscape

DATA = smartsplat.encode(landscape(96, 64), ratio=30, steps=5, threads=1)
MODULES = sorted(path.name for path in viewer_folder().glob("*.js"))


def test_the_page_holds_the_file() -> None:
    text = page(DATA, "a")
    (data,) = re.findall(r'id="data">([^<]*)</script>', text)
    assert base64.b64decode(data) == DATA
    assert not re.search(r'(?:src|href)="(?!data:)', text), "it loads something"
    assert "import " not in re.sub(r"/\*.*?\*/", "", text, flags=re.DOTALL).replace("important", "")


@pytest.mark.parametrize("title", ["plain", '</script><script>alert("x")</script>', "ä€😀 \\u0041 '\u2028\n", "`${1}`"])
def test_titles_are_only_text(title: str) -> None:
    text = page(DATA, title)
    assert f"<title>{html.escape(title)}</title>" in text
    (name,) = re.findall(r'\.buffer, (".*?")\);\n</script>', text)
    decoded = re.sub(r"\\u([0-9a-f]{4})", lambda match: chr(int(match[1], 16)), name[1:-1])
    assert decoded == title
    assert text.count("</script>") == 3


@pytest.mark.skipif(shutil.which("node") is None, reason="Node.js is not installed")
@pytest.mark.parametrize("names", [page_module._WORKER, page_module._VIEWER])
def test_joined_modules_are_a_script(names: tuple[str, ...], tmp_path: Path) -> None:
    """No name is declared in two of them, and each imports only from those before it."""
    script = joined(names)
    (tmp_path / "joined.mjs").write_text(script)
    ran = subprocess.run(["node", "--check", tmp_path / "joined.mjs"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert not re.search(r"^(import|export)\b", script, re.MULTILINE)
    seen: set[str] = set()
    for name in names:
        text = "" if name in page_module._REPLACED else (viewer_folder() / name).read_text()
        assert set(re.findall(r'from "\./([^"]+)"', text)) <= seen, name
        seen.add(name)


def test_every_module_is_somewhere() -> None:
    elsewhere = {"sspl-image.js", "openseadragon.js", "sspl.js"}
    assert {*page_module._WORKER, *page_module._VIEWER} | elsewhere == set(MODULES)


def test_a_frame() -> None:
    text = frame(DATA, 96, 64)
    (content,) = re.findall(r'srcdoc="([^"]*)"', text)
    assert html.unescape(content) == page(DATA, "96 x 64 pixels")
    assert "aspect-ratio:96/64" in text


def test_a_reader_shows_itself_in_a_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = smartsplat.open(DATA)
    assert reader.data == DATA
    assert reader._repr_html_() == frame(DATA, 96, 64)
    assert reader._repr_png_().startswith(b"\x89PNG")
    monkeypatch.setattr(decoder, "MAX_NOTEBOOK_BYTES", len(DATA) - 1)
    assert reader._repr_html_() is None


def test_the_media_type_is_that_of_the_format() -> None:
    assert f"`{MEDIA_TYPE}`" in (Path(__file__).parents[2] / "docs/format.md").read_text()
