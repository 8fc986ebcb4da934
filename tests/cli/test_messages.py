from __future__ import annotations

import warnings

import pytest

from smartsplat.cli.messages import Messages, complain
from smartsplat.errors import ImageError, SettingsError, warn_of


def test_an_error_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert complain(ImageError("a.png: is\n  damaged")) == 1
    assert complain(SettingsError("nonsense")) == 2
    assert capsys.readouterr().err == "smartsplat: a.png: is damaged\nsmartsplat: nonsense\n"


def test_notices_are_said_once_for_each_file(capsys: pytest.CaptureFixture[str]) -> None:
    messages = Messages(quiet=True)
    messages.notices("a.png", ("changed", "left out"))
    with messages.warnings_as_notices("a.png"):
        warn_of(("changed", "rounded"))
    messages.notices("b.png", ("changed",))
    said = [line.removeprefix("smartsplat: ") for line in capsys.readouterr().err.splitlines()]
    assert said == ["a.png: changed", "a.png: left out", "a.png: rounded", "b.png: changed"]


def test_other_warnings_stay_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.warns(RuntimeWarning, match="divided"), Messages().warnings_as_notices("a.png"):
        warnings.warn("divided by zero", RuntimeWarning, stacklevel=1)
    assert capsys.readouterr().err == ""


def test_what_quiet_and_verbose_change(capsys: pytest.CaptureFixture[str]) -> None:
    for quiet, verbose, said in ((False, False, "status\n"), (True, False, ""), (False, True, "status\nstage\n")):
        messages = Messages(quiet, verbose)
        messages.status("status")
        messages.stage("stage")
        assert capsys.readouterr().err == said
