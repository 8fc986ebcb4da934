"""The command line: ``smartsplat encode | decode | info | compare | view | export | serve``.

Talk goes to stderr, results to stdout.

Heavy modules load inside the commands, so that ``--help`` and decoding start quickly.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from smartsplat.cli.compare import compare
from smartsplat.cli.decode import decode
from smartsplat.cli.encode import encode
from smartsplat.cli.export import export
from smartsplat.cli.info import info
from smartsplat.cli.messages import FAILED, USAGE, one_line, say
from smartsplat.cli.serve import serve
from smartsplat.cli.signals import Interrupted, exit_code, finish, install, say_interrupted
from smartsplat.cli.streams import drop_unwritten, open_closed_streams
from smartsplat.cli.view import view

UsageError: Any = typer.BadParameter.__base__
"""Of Click, which the versions of Typer have in different places."""

EXIT_CODES = """\
Exit codes: 0 all done; 1 something failed, others of several inputs are done; 2 wrong usage, nothing is done;
130 Ctrl-C, 143 SIGTERM, 129 SIGHUP.
"""


class Commands(TyperGroup):
    """Says what is wrong with arguments in one line."""

    def main(self, *arguments: Any, **options: Any) -> Any:
        try:
            code = super().main(*arguments, **{"prog_name": "smartsplat", **options, "standalone_mode": False})
        except UsageError as error:
            message = one_line(error.format_message())
            if message:  # otherwise the help was asked for, by no argument at all
                path = error.ctx.command_path if error.ctx else "smartsplat"
                say(f"smartsplat: {message} ({path} --help has more)")
            sys.exit(USAGE)
        sys.exit(code or 0)


app = typer.Typer(
    cls=Commands,
    name="smartsplat",
    help="Compress ultra-high-resolution images into 2D Gaussians, and render them at any size.",
    epilog=EXIT_CODES,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(expected: bool) -> None:
    if expected:
        import smartsplat

        print(f"smartsplat {smartsplat.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    pass


for _command in (encode, decode, info, compare, view, export, serve):
    app.command(epilog=EXIT_CODES)(_command)


def main() -> None:
    """Entry point: runs the command; a signal ends it without a trace."""
    open_closed_streams()
    install()
    try:
        app()
    except Interrupted as interrupted:
        say_interrupted(interrupted.number)
        sys.exit(exit_code(interrupted.number))
    except BrokenPipeError:
        sys.exit(FAILED)
    finally:
        finish()
        drop_unwritten()
