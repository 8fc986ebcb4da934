from __future__ import annotations

import base64
import re
from pathlib import Path

from tests.cli.commands import fails, files, process, run


def data_of(page: str) -> bytes:
    (data,) = re.findall(r'id="data">([^<]*)</script>', page)
    return base64.b64decode(data)


def test_a_page(workdir: Path) -> None:
    result = run("export", "a.sspl", "a.html")
    page = Path("a.html").read_text()
    assert data_of(page) == Path("a.sspl").read_bytes()
    assert "<title>a.sspl</title>" in page
    size = len(Path("a.html").read_bytes())
    assert result.stderr == f"a.html: {size} bytes, of which the file is {len(data_of(page))}\n"
    assert run("export", "a.sspl", "a.html", "-q", "--title", "<b>").stderr == ""
    assert "<title>&lt;b&gt;</title>" in Path("a.html").read_text()


def test_streams(workdir: Path) -> None:
    data = Path("a.sspl").read_bytes()
    page, said = process("export", "-", "-", "-q", stdin=data)
    assert data_of(page.decode()) == data
    assert "<title>stdin</title>" in page.decode()
    assert said == ""


def test_what_is_there_already(workdir: Path) -> None:
    Path("a.html").write_text("notes of mine")
    assert fails("export", "a.sspl", "a.html") == "smartsplat: a.html: is no page; --force replaces it"
    assert Path("a.html").read_text() == "notes of mine"
    run("export", "a.sspl", "a.html", "--force")
    before = Path("a.html").read_text()
    assert "--no-overwrite" in fails("export", "a.sspl", "a.html", "--no-overwrite")
    assert Path("a.html").read_text() == before


def test_what_cannot_be_exported(workdir: Path) -> None:
    before = files(workdir)
    assert fails("export", "a.sspl", "a.png", code=2) == "smartsplat: a.png: a page is named .html"
    assert "signature" in fails("export", "a.png", "b.html")
    assert fails("export", "missing.sspl", "b.html").startswith("smartsplat: missing.sspl: cannot be read")
    assert "cannot be written" in fails("export", "a.sspl", "missing/b.html")
    Path("a.sspl").write_bytes(Path("a.sspl").read_bytes()[:-3])
    assert "truncated" in fails("export", "a.sspl", "b.html")
    assert files(workdir) == before
