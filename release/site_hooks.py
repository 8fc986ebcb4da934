"""What mkdocs calls while it builds the site: adds the command reference, the viewer, and sources that pages name."""

from __future__ import annotations

import html
import os
import re
import shutil
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

from release.commands import commands
from smartsplat.cli import EXIT_CODES

ROOT = Path(__file__).resolve().parents[1]
LINK = re.compile(r"\[([^\]]*)\]\(((?:\.\./)+[^)#\s]+)(?:#[^)\s]*)?\)")
SOURCES = "source"
"""Folder of the site with the files of the repository that pages link to, as plain text."""

sources: set[Path] = set()


def on_files(files: Files, config: Any) -> Files:
    files.append(File.generated(config, "commands.md", content=command_reference()))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Links that leave docs/ lead to copies; folders have none."""
    folder = Path(page.file.src_uri).parent

    def changed(match: re.Match[str]) -> str:
        path = Path(os.path.normpath(ROOT / "docs" / folder / match[2]))
        if path.is_relative_to(ROOT / "docs"):
            return match[0]
        if path.is_dir():
            return match[1]
        sources.add(path)
        return f"[{match[1]}]({os.path.relpath(address(path), folder)})"

    return LINK.sub(changed, markdown)


def address(path: Path) -> str:
    """Of the copy of a file of the repository, in the site."""
    return f"{SOURCES}/{path.relative_to(ROOT)}.txt"


def on_post_build(config: Any) -> None:
    site = Path(config.site_dir)
    for path in sources:
        to = site / address(path)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, to)
    shutil.copytree(ROOT / "viewer", site / "viewer", ignore=shutil.ignore_patterns("*.d.ts"), dirs_exist_ok=True)
    (site / "examples").mkdir(exist_ok=True)
    shutil.copy(ROOT / "examples/seeding.sspl", site / "examples")


def command_reference() -> str:
    """A page with the options of every command."""
    lines = ["# Commands", "", "What `--help` says; so does `man smartsplat`."]
    for command in commands()[1:]:
        lines += ["", f"## {command.name}", "", f"    smartsplat {command.name} {command.usage}", "", command.help]
        for heading, options in command.under_headings().items():
            lines += ["", f"| {heading} | |", "| --- | --- |"]
            lines += [f"| `{option.names}` | {escaped(option.help)} |" for option in options]
    return "\n".join([*lines, "", EXIT_CODES])


def escaped(text: str) -> str:
    """Plain text in a cell of a table."""
    return re.sub(r"([|*_\[\]`])", r"\\\1", html.escape(" ".join(text.split()), quote=False))
