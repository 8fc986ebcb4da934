"""Several inputs in one command: which output each has, and what happens when one fails."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import typer

from smartsplat.cli.files import input_name
from smartsplat.cli.messages import FAILED, complain, say
from smartsplat.errors import ImageError, SettingsError, SmartSplatError, reason_of


@dataclass(frozen=True)
class Job:
    """An input and its output, paths or - for a stream."""

    source: str
    output: str


def jobs_of(files: Sequence[str], output: str | None, out_dir: str | None, suffix: str) -> list[Job]:
    """What ``IN OUT``, ``IN -o OUT`` or ``IN... --out-dir DIR`` stands for.

    Args:
        files: the arguments.
        output: of the option -o.
        out_dir: of the option --out-dir.
        suffix: with its dot, of the files in ``out_dir``.

    Raises:
        SettingsError: the arguments fit none of the three, or two inputs have one output.
    """
    if "" in (*files, output, out_dir):
        raise SettingsError("the name of a file is empty")
    if output is not None and out_dir is not None:
        raise SettingsError("--output and --out-dir exclude each other")
    if out_dir is None:
        names = [*files, *([output] if output is not None else [])]
        if len(names) != 2:
            raise SettingsError("give IN and OUT, IN -o OUT, or IN... --out-dir DIR")
        return [Job(*names)]
    if "-" in files:
        raise SettingsError("stdin has no name for a file in --out-dir: give -o")
    jobs = [Job(path, os.path.join(out_dir, Path(path).stem + suffix)) for path in files]
    sources: dict[str, str] = {}
    for job in jobs:
        if job.output in sources:
            raise SettingsError(f"{sources[job.output]} and {job.source} would both become {job.output}")
        sources[job.output] = job.source
    return jobs


def make_folder(path: str) -> None:
    """ImageError: the folder for outputs is not there and cannot be made."""
    try:
        os.makedirs(path, exist_ok=True)
    except (OSError, ValueError) as error:
        raise ImageError(f"{path}: cannot be made: {reason_of(error)}") from None


def run_jobs(jobs: Sequence[Job], work: Callable[[Job], None]) -> None:
    """Does ``work`` on every job, past failures. The exit code is that of the failure, or 1 among several jobs."""
    codes: list[int] = []
    written: set[tuple[int, int]] = set()  # device and inode
    for index, job in enumerate(jobs):
        try:
            _check_unwritten(job, written)
            work(job)
        except SmartSplatError as error:
            codes.append(complain(error))
        except MemoryError:
            codes.append(complain(ImageError(f"{input_name(job.source)}: not enough memory")))
        except typer.Exit:
            if index + 1 < len(jobs):
                say(f"smartsplat: {len(jobs) - index - 1} of {len(jobs)} inputs are left")
            raise
        else:
            written.update(_identity(job.output))
    if codes:
        if len(jobs) > 1:
            say(f"smartsplat: {len(codes)} of {len(jobs)} inputs failed")
        raise typer.Exit(codes[0] if len(jobs) == 1 else FAILED)


def _check_unwritten(job: Job, written: set[tuple[int, int]]) -> None:
    """Names that differ may be one file: through links, or where case makes no difference."""
    if written & _identity(job.output):
        raise ImageError(f"{job.output}: is the output of another input already")


def _identity(path: str) -> set[tuple[int, int]]:
    try:
        found = os.stat(path)
    except OSError:
        return set()
    return {(found.st_dev, found.st_ino)}
