"""The man page and the shell completions, from the definition of the command line: python -m release.manual.

They lie in share/. A wheel has them where they belong, below the folder that Python is installed in.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import typer
from typer.completion import get_completion_script

from smartsplat.cli import EXIT_CODES, app

SHARE = Path(__file__).resolve().parents[1] / "share"
COMPLETIONS = {
    "bash": "bash-completion/completions/smartsplat",
    "zsh": "zsh/site-functions/_smartsplat",
    "fish": "fish/vendor_completions.d/smartsplat.fish",
}
NO_HEADING = "Options"


def roff(text: str) -> str:
    """Plain text as man reads it: one line, nothing in it a request."""
    line = " ".join(text.split()).replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + line if line[:1] in (".", "'") else line


def paragraphs(text: str) -> str:
    return "\n.PP\n".join(roff(each) for each in re.split(r"\n\s*\n", text.strip()))


def parameters(command: Any, context: Any) -> str:
    """The options of a command under the headings that --help has."""
    headings: dict[str, list[tuple[str, str]]] = {}
    for parameter in command.get_params(context):
        record = parameter.get_help_record(context)
        if parameter.param_type_name == "argument":
            record = (parameter.make_metavar(context), parameter.help or "")
        if record is not None and not getattr(parameter, "hidden", False):
            argument = parameter.param_type_name == "argument"
            heading = "Arguments" if argument else getattr(parameter, "rich_help_panel", None) or NO_HEADING
            headings.setdefault(heading, []).append((record[0], record[1]))
    order = sorted(headings, key=lambda name: (name != "Arguments", name == NO_HEADING))
    lines = []
    for heading in order:
        lines.append(f".PP\n.I {roff(heading)}")
        lines += [f".TP\n.B {roff(names)}\n{roff(help_text)}" for names, help_text in headings[heading]]
    return "\n".join(lines)


def man_page() -> str:
    """``man smartsplat``: the command, then each of its own with its options."""
    root: Any = typer.main.get_command(app)
    context = root.context_class(root, info_name="smartsplat")
    lines = ['.TH SMARTSPLAT 1 "" "smartsplat" "User Commands"']
    lines += [".SH NAME", f"smartsplat \\- {roff(root.help.rstrip('.'))}"]
    lines += [".SH SYNOPSIS", ".B smartsplat", ".I COMMAND", roff("[OPTIONS] [ARGS]...")]
    commands = {name: root.get_command(context, name) for name in root.list_commands(context)}
    lines.append(".SH COMMANDS")
    for name, command in commands.items():
        own = command.context_class(command, info_name=name, parent=context)
        usage = " ".join(piece for piece in command.collect_usage_pieces(own))
        lines += [f".SS smartsplat {name} {roff(usage)}", paragraphs(command.help or ""), parameters(command, own)]
    lines += [".SH OPTIONS", parameters(root, context)]
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
