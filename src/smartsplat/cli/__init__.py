"""The command line: ``smartsplat encode | batch | decode | info | compare | view | export | serve``.

Talk goes to stderr, results to stdout.

Heavy modules load inside the commands, so that ``--help`` and decoding start quickly.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
from typing import Annotated, Any

# Before numpy is loaded. Its BLAS, of which a command needs no more, would start a thread for each processor, and raise
# SIGINT where the system has none left.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import typer
from typer.core import TyperGroup

from smartsplat.cli.batch import batch
from smartsplat.cli.compare import compare
from smartsplat.cli.decode import decode
from smartsplat.cli.encode import encode
from smartsplat.cli.export import export
from smartsplat.cli.info import info
from smartsplat.cli.messages import FAILED, USAGE, complain, one_line, say
from smartsplat.cli.serve import serve
from smartsplat.cli.signals import Interrupted, exit_code, finish, install, say_interrupted
from smartsplat.cli.streams import drop_unwritten, open_closed_streams
from smartsplat.cli.view import view
from smartsplat.errors import LimitError, SmartSplatError

MIN_ADDRESS_SPACE = 600 << 20
"""Bytes. With less, libraries that read images end the process, and numpy's BLAS asks for memory for ever."""

NO_THREAD = "can't start new thread"
"""What Python's RuntimeError says."""

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


def _paragraphs(docstring: str) -> str:
    """With a line for each: --help would keep the others' ends."""
    return re.sub(r"(?<!\n)\n(?!\n)", " ", inspect.cleandoc(docstring))


for _command in (encode, batch, decode, info, compare, view, export, serve):
    app.command(epilog=EXIT_CODES, help=_paragraphs(_command.__doc__ or ""))(_command)


def check_address_space() -> None:
    """LimitError if the process may have less than MIN_ADDRESS_SPACE: the shell's ulimit -v."""
    try:
        import resource
    except ImportError:  # not on Windows
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < MIN_ADDRESS_SPACE:
        least = MIN_ADDRESS_SPACE >> 20
        raise LimitError(f"the address space is limited to {limit >> 20} MB (ulimit -v); this takes at least {least}")


def main() -> None:
    """Entry point: runs the command; a signal ends it without a trace."""
    open_closed_streams()
    install()
    try:
        check_address_space()
        app()
    except Interrupted as interrupted:
        say_interrupted(interrupted.number)
        sys.exit(exit_code(interrupted.number))
    except BrokenPipeError:
        sys.exit(FAILED)
    except SmartSplatError as error:
        sys.exit(complain(error))
    except (MemoryError, OSError, RuntimeError) as error:  # what nothing else has caught
        if isinstance(error, RuntimeError) and str(error) != NO_THREAD:
            raise
        say(f"smartsplat: {str(error) or 'not enough memory'}")
        sys.exit(FAILED)
    finally:
        finish()
        drop_unwritten()
