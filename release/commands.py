"""The commands with their options, from the definition of the command line: for the man page and the site."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import typer

from smartsplat.cli import app

ARGUMENTS, OPTIONS = "Arguments", "Options"


@dataclass(frozen=True)
class Option:
    """What --help says of it, and the heading that it is under there."""

    heading: str
    names: str
    help: str


@dataclass(frozen=True)
class Command:
    name: str
    usage: str
    help: str
    options: tuple[Option, ...]

    def under_headings(self) -> dict[str, list[Option]]:
        """Heading -> its options: arguments come first, and what has no heading of its own last."""
        headings: dict[str, list[Option]] = {}
        for option in self.options:
            headings.setdefault(option.heading, []).append(option)
        order = sorted(headings, key=lambda name: (name != ARGUMENTS, name == OPTIONS))
        return {heading: headings[heading] for heading in order}


def commands() -> tuple[Command, ...]:
    """``smartsplat`` itself, then each of its commands."""
    root: Any = typer.main.get_command(app)
    context = root.context_class(root, info_name="smartsplat")
    own = Command("smartsplat", "COMMAND [OPTIONS] [ARGS]...", root.help, _options(root, context))
    result = [own]
    for name in root.list_commands(context):
        command = root.get_command(context, name)
        inner = command.context_class(command, info_name=name, parent=context)
        usage = " ".join(command.collect_usage_pieces(inner))
        result.append(Command(name, usage, command.help or "", _options(command, inner)))
    return tuple(result)


def _options(command: Any, context: Any) -> tuple[Option, ...]:
    found = []
    for parameter in command.get_params(context):
        if parameter.param_type_name == "argument":
            found.append(Option(ARGUMENTS, parameter.make_metavar(context), parameter.help or ""))
        elif (record := parameter.get_help_record(context)) is not None:
            found.append(Option(getattr(parameter, "rich_help_panel", None) or OPTIONS, *record))
    return tuple(found)
