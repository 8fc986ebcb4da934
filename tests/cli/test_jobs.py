from __future__ import annotations

import os
from pathlib import Path

import pytest
import typer

from smartsplat.cli.jobs import Job, jobs_of, run_jobs
from smartsplat.errors import ImageError, SettingsError


def test_the_three_forms() -> None:
    assert jobs_of(["a", "b"], None, None, ".sspl") == [Job("a", "b")]
    assert jobs_of(["a"], "b", None, ".sspl") == [Job("a", "b")]
    assert jobs_of(["-", "-"], None, None, ".sspl") == [Job("-", "-")]
    assert jobs_of(["x/a.png", "b.tar.tif", "c"], None, "out", ".sspl") == [
        Job("x/a.png", "out/a.sspl"),
        Job("b.tar.tif", "out/b.tar.sspl"),
        Job("c", "out/c.sspl"),
    ]


@pytest.mark.parametrize(
    ("files", "output", "out_dir", "says"),
    [
        (["a"], None, None, "OUT"),
        (["a", ""], None, None, "empty"),
        (["a"], "", None, "empty"),
        (["a", "b", "c"], None, None, "--out-dir"),
        (["a", "b"], "c", None, "OUT"),
        (["a"], "b", "out", "exclude"),
        (["-"], None, "out", "stdin"),
        (["x/a.png", "y/a.tif"], None, "out", "x/a.png and y/a.tif would both become out/a.sspl"),
        (["a.png", "a.png"], None, "out", "both become"),
    ],
)
def test_what_fits_no_form(files: list[str], output: str | None, out_dir: str | None, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        jobs_of(files, output, out_dir, ".sspl")


def code_of(jobs: list[Job], failures: dict[str, type[BaseException]]) -> tuple[int, list[str]]:
    """The exit code, and the outputs that were written."""
    done = []

    def work(job: Job) -> None:
        if job.source in failures:
            raise failures[job.source]("no")
        Path(job.output).write_bytes(b"x")
        done.append(job.output)

    try:
        run_jobs(jobs, work)
    except typer.Exit as end:
        return end.exit_code, done
    return 0, done


def test_exit_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    jobs = [Job(name, f"{name}.out") for name in "abc"]
    assert code_of(jobs, {}) == (0, ["a.out", "b.out", "c.out"])
    assert capsys.readouterr().err == ""
    assert code_of(jobs, {"a": ImageError, "b": SettingsError}) == (1, ["c.out"])
    assert "2 of 3 inputs failed" in capsys.readouterr().err
    assert code_of(jobs[:1], {"a": ImageError}) == (1, [])
    assert code_of(jobs[:1], {"a": SettingsError}) == (2, [])
    assert code_of(jobs, {"b": MemoryError}) == (1, ["a.out", "c.out"])
    assert "b: not enough memory" in capsys.readouterr().err
    with pytest.raises(ZeroDivisionError):  # a fault of ours is no failure of a file
        code_of(jobs, {"a": ZeroDivisionError})


def test_two_names_of_one_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As on a file system where case makes no difference."""
    first, second = tmp_path / "A.sspl", tmp_path / "a.sspl"
    os.symlink(first, second)
    code, done = code_of([Job("1", str(first)), Job("2", str(second))], {})
    assert (code, done) == (1, [str(first)])
    assert f"{second}: is the output of another input already" in capsys.readouterr().err
