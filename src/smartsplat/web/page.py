"""A page that holds a file and the viewer: it works wherever it is opened, also from a disk or inside a notebook."""

from __future__ import annotations

import base64
import html
import re

from smartsplat.web.files import viewer_folder

_SHARED = ("gaussians.js", "grain.js", "crc32.js")
_WORKER = (*_SHARED, "container.js", "decode.js", "load-decoder.js", "raster.js", "worker.js")
_SHOWN = (*_SHARED, "colors.js", "render.js", "start-worker.js", "image-file.js", "pane.js")
_VIEWER = (*_SHOWN, "controls.js", "original.js", "main.js")

_IMPORT = re.compile(r"^import [^;]+;\n", re.MULTILINE)
_EXPORT = re.compile(r"^export (?=class |const |function |async )", re.MULTILINE)
_COMMENT = re.compile(r"^ *(?:/\*\*.*?\*/|//.*?)\n", re.MULTILINE | re.DOTALL)
_INDENT = re.compile(r"^ +", re.MULTILINE)

_START_WORKER = """\
const startWorker = () => {
const source = document.getElementById("worker").textContent;
return new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
};
"""
_LOAD_DECODER = "const loadDecoder = async () => null;\n"
_REPLACED = {"start-worker.js": _START_WORKER, "load-decoder.js": _LOAD_DECODER}
"""Modules that need other files -> what the page has instead: its own worker, and no WebAssembly, which is larger than
all else in it."""

_OPEN = """\
open(Uint8Array.from(atob(document.getElementById("data").textContent), (c) => c.charCodeAt(0)).buffer, NAME);
"""


def joined(names: tuple[str, ...]) -> str:
    """Modules of the viewer as one script, in an order in which none needs a later one; without comments."""
    scripts = []
    for name in names:
        if name in _REPLACED:
            scripts.append(_REPLACED[name])
            continue
        script = _EXPORT.sub("", _IMPORT.sub("", (viewer_folder() / name).read_text(encoding="utf-8")))
        scripts.append(_INDENT.sub("", _COMMENT.sub("", script)))
    return re.sub(r"\n{2,}", "\n", "".join(scripts))


def page(data: bytes, title: str) -> str:
    """HTML of the viewer with a .sspl file inside; it loads nothing.

    Args:
        data: of the file.
        title: shown as the image's name.
    """
    text = (viewer_folder() / "index.html").read_text(encoding="utf-8")
    style = (viewer_folder() / "viewer.css").read_text(encoding="utf-8")
    name = '"' + "".join(f"\\u{ord(c):04x}" if c in '"\\<>&\n\r\u2028\u2029' else c for c in title) + '"'
    parts = {
        '<link rel="stylesheet" href="viewer.css" />': f"<style>\n{_INDENT.sub('', style)}</style>",
        '<script type="module" src="main.js"></script>': "",
        "<title>SmartSplat viewer</title>": f"<title>{html.escape(title)}</title>",
        "</body>": (
            f'<script type="text/plain" id="data">{base64.b64encode(data).decode()}</script>\n'
            f'<script type="text/plain" id="worker">{joined(_WORKER)}</script>\n'
            f'<script type="module">{joined(_VIEWER)}{_OPEN.replace("NAME", name)}</script>\n</body>'
        ),
    }
    for old, new in parts.items():
        if text.count(old) != 1:
            raise AssertionError(f"index.html has {text.count(old)} of {old}")
        text = text.replace(old, new)
    return text


def frame(data: bytes, width: int, height: int) -> str:
    """The page in a frame, as notebooks show it.

    Args:
        data: of the file.
        width, height: of the image, whose shape the frame has.
    """
    style = f"width:100%;aspect-ratio:{width}/{height};max-height:80vh;min-height:320px;border:0;border-radius:8px"
    content = html.escape(page(data, f"{width} x {height} pixels"))
    rights = 'sandbox="allow-scripts allow-downloads"'
    return f'<iframe title="SmartSplat viewer" {rights} style="{style}" srcdoc="{content}"></iframe>'
