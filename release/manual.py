"""The man page and the shell completions, from the definition of the command line: python -m release.manual.

They lie in share/. A wheel has them where they belong, below the folder that Python is installed in.
"""

from __future__ import annotations

import re
from pathlib import Path

from typer.completion import get_completion_script

from release.commands import Command, commands
from smartsplat.cli import EXIT_CODES

SHARE = Path(__file__).resolve().parents[1] / "share"
COMPLETIONS = {
    "bash": "bash-completion/completions/smartsplat",
    "zsh": "zsh/site-functions/_smartsplat",
    "fish": "fish/vendor_completions.d/smartsplat.fish",
}


def roff(text: str) -> str:
    """Plain text as man reads it: one line, nothing in it a request."""
    line = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + line if line[:1] in (".", "'") else line


def paragraphs(text: str) -> str:
    return "\n.PP\n".join(roff(each) for each in re.split(r"\n\s*\n", text.strip()))


def options(command: Command) -> str:
    lines = []
    for heading, group in command.under_headings().items():
        lines.append(f".PP\n.I {roff(heading)}")
        lines += [f".TP\n.B {roff(option.names)}\n{roff(option.help)}" for option in group]
    return "\n".join(lines)


def man_page() -> str:
    """``man smartsplat``: the command, then each of its own with its options."""
    root, *others = commands()
    lines = ['.TH SMARTSPLAT 1 "" "smartsplat" "User Commands"']
    lines += [".SH NAME", f"smartsplat \\- {roff(root.help.rstrip('.'))}"]
    lines += [".SH SYNOPSIS", ".B smartsplat", roff(root.usage)]
    lines.append(".SH COMMANDS")
    for command in others:
        lines.append(f".SS smartsplat {command.name} {roff(command.usage)}")
        lines += [paragraphs(command.help), options(command)]
    lines += [".SH OPTIONS", options(root)]
    lines += [".SH EXIT STATUS", roff(EXIT_CODES.removeprefix("Exit codes: "))]
    return "\n".join(lines) + "\n"


def completion(shell: str) -> str:
    """A script that asks ``smartsplat`` for completions."""
    script = str(get_completion_script(prog_name="smartsplat", complete_var="_SMARTSPLAT_COMPLETE", shell=shell))
    if shell == "zsh":  # which runs the file itself at the first use
        script += '\n_smartsplat_completion "$@"\n'
    return script.rstrip("\n") + "\n"


def files() -> dict[Path, str]:
    """Path -> content of everything in share/."""
    made = {SHARE / "man/man1/smartsplat.1": man_page()}
    return made | {SHARE / path: completion(shell) for shell, path in COMPLETIONS.items()}


def main() -> None:
    for path, content in files().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
