"""Checkpoints: what an encode has done so far, in a file, so that it can go on after the process has ended.

An encode makes its fits one after the other, and each depends on nothing but its arguments. So a checkpoint holds the
results of those that have ended, by their number, and the state of the one at hand. To go on is to run the encode
again: it gets the results instead of the work.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import time
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from smartsplat.bitstream.quantize import Quantizer
from smartsplat.errors import ImageError, SettingsError, reason_of, warn_of
from smartsplat.gaussians import Gaussians

INTERVAL = 60.0
"""Seconds of work that are lost at most, but for what writing takes."""

MAX_WRITING_PART = 0.05
"""Of the time: a checkpoint that takes long to write is written less often."""

State = dict[str, npt.NDArray[Any]]
"""Arrays by their names."""


def key_of(*parts: Any) -> str:
    """A hash of all that an encode depends on: arrays by their bytes, everything else by its repr."""
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype} {part.shape}".encode())
            digest.update(np.ascontiguousarray(part).data)
        else:
            digest.update(repr(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()


class Checkpoint:
    """The fits of one encode.

    Args:
        path: of the file, which the caller removes once the encode's result is safe.
        key: of the encode.

    Raises:
        ImageError: the file cannot be read, or is no checkpoint.
        SettingsError: it is one of another encode.
    """

    def __init__(self, path: str | os.PathLike[str], key: str) -> None:
        self.path = Path(path)
        self._new = self.path.with_name(self.path.name + ".new")
        self._key = key
        self._next = 0
        self._finished: list[State] = []
        self._current: State | None = None
        self._wait = INTERVAL
        self._begun = self._written = time.monotonic()
        self._has_failed = False
        self._read()

    def next_fit(self) -> tuple[State | None, State | None]:
        """Begins the next fit: its result if it has ended before, or the state that it was left in, if any."""
        index, self._next = self._next, self._next + 1
        if index < len(self._finished):
            return self._finished[index], None
        state, self._current = self._current, None
        return None, state

    def finish(self, result: State) -> None:
        """The fit at hand has ended."""
        self._finished.append(result)

    def save_if_due(self, state: Callable[[], State]) -> None:
        """Write the file if the last time is long enough ago."""
        if time.monotonic() - self._written >= self._wait:
            self._write(state())

    def save_if_worth(self, state: Callable[[], State]) -> None:
        """Write the file, of a fit that was stopped, if there is more than an interval's work to lose."""
        if time.monotonic() - self._begun >= INTERVAL:
            self._write(state())

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            self._new.unlink()  # of a process that ended while it wrote
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
                content = {name: arrays[name] for name in arrays.files}
            about = json.loads(bytes(content.pop("about")))
            key, finished = str(about["key"]), int(about["finished"])
            states: dict[str, State] = {}
            for name, array in content.items():
                fit, _, field = name.partition(".")
                states.setdefault(fit, {})[field] = array
            self._finished = [states[f"fit{index}"] for index in range(finished)]
            self._current = states.get("current")
        except FileNotFoundError:
            return
        except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
            raise ImageError(
                f"{self.path}: is no checkpoint that can be read ({reason_of(error)}): remove it to begin anew"
            ) from None
        if key != self._key:
            raise SettingsError(
                f"{self.path} is of an encode of another image, or with other settings: remove it to begin anew"
            )

    def _write(self, state: State) -> None:
        begin = time.monotonic()
        about = json.dumps({"key": self._key, "finished": len(self._finished)}).encode()
        arrays: State = {"about": np.frombuffer(about, np.uint8)}
        for fit, own in (*((f"fit{index}", each) for index, each in enumerate(self._finished)), ("current", state)):
            arrays |= {f"{fit}.{field}": array for field, array in own.items()}
        file = io.BytesIO()
        np.savez(file, **arrays)  # type: ignore[arg-type]  # of names, not of its own options
        try:
            with self._new.open("wb") as out:
                out.write(file.getbuffer())
                out.flush()
                os.fsync(out.fileno())
            os.replace(self._new, self.path)
        except OSError as error:  # a fit does not end for that
            with contextlib.suppress(OSError):
                self._new.unlink()
            if not self._has_failed:
                warn_of([f"{self.path}: cannot be written: {reason_of(error)}; this encode could not be resumed"])
            self._has_failed = True
        self._written = time.monotonic()
        self._wait = max(INTERVAL, (self._written - begin) / MAX_WRITING_PART)


def result_state(gaussians: Gaussians, quantizer: Quantizer, mean_square: float) -> State:
    """What a fit ended with."""
    arrays = dict(zip(("mean", "scale", "rotation", "color"), gaussians.arrays(), strict=True))
    return arrays | {"quantizer": np.array(list(asdict(quantizer).values())), "mean_square": np.array(mean_square)}


def result_of(state: Mapping[str, npt.NDArray[Any]]) -> tuple[Gaussians, Quantizer, float]:
    """The inverse of ``result_state``."""
    gaussians = Gaussians(*(state[field] for field in ("mean", "scale", "rotation", "color")))
    return gaussians, Quantizer(*map(int, state["quantizer"])), float(state["mean_square"])
