"""What a GPU takes for its work: clocks between device events, a launcher that times every kernel, and ceilings."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import triton
import triton.language as tl

from smartsplat.render.gpu.launcher import Launcher

CEILING_CALLS = 10


class Clock:
    """A clock that starts when it is made; ``seconds`` waits for the device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.begin = self._now()

    def _now(self) -> Any:
        if self.device.type == "cpu":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self.device))
        return event

    def stopped(self) -> Clock:
        """Stop the clock; returns it."""
        self.end = self._now()
        return self

    @property
    def seconds(self) -> float:
        if self.device.type == "cpu":
            return float(self.end - self.begin)
        self.end.synchronize()
        return float(self.begin.elapsed_time(self.end)) / 1e3


class TimedLauncher(Launcher):
    """A launcher that can put an event before and behind every launch."""

    def __init__(self, device: str) -> None:
        super().__init__(device)
        self._clocks: dict[str, list[Clock]] | None = None

    def launch(self, kernel: Any, programs: int, *arguments: Any, warps: int = 4) -> None:
        if self._clocks is None or not programs:
            super().launch(kernel, programs, *arguments, warps=warps)
            return
        clock = Clock(self.device)
        super().launch(kernel, programs, *arguments, warps=warps)
        self._clocks.setdefault(kernel.__name__, []).append(clock.stopped())

    @contextmanager
    def timing(self) -> Iterator[dict[str, list[Clock]]]:
        """The clocks of every launch inside, by the kernel's name."""
        clocks: dict[str, list[Clock]] = {}
        self._clocks = clocks
        try:
            yield clocks
        finally:
            self._clocks = None


def timed_calls(device: torch.device, work: Callable[[], object], calls: int) -> list[float]:
    """Seconds of each of some calls on the device, after one to warm up."""
    work()
    clocks = []
    for _ in range(calls):
        clock = Clock(device)
        work()
        clocks.append(clock.stopped())
    return [clock.seconds for clock in clocks]


def percentiles(seconds: list[float]) -> dict[str, float]:
    """The columns of the 20th, 50th and 80th percentile."""
    return {f"p{percent}_ms": 1e3 * float(np.percentile(seconds, percent)) for percent in (20, 50, 80)}


@dataclass(frozen=True)
class Ceilings:
    """What a card can do."""

    flop: float  # multiply-adds of float32, floating-point operations a second
    bandwidth: float  # bytes a second, read and written
    flop_seconds: list[float]
    bandwidth_seconds: list[float]

    def fractions(self, seconds: float, flop: float, traffic: float) -> dict[str, float]:
        """The columns of rates and of fractions of the ceilings, for so many operations and bytes."""
        return {
            "gflop_per_s": flop / seconds / 1e9,
            "gb_per_s": traffic / seconds / 1e9,
            "flop_share": flop / seconds / self.flop,
            "bandwidth_share": traffic / seconds / self.bandwidth,
        }


@triton.jit
def multiply_add(out, rounds, block: tl.constexpr):
    """Four independent chains of multiply-adds a value: what the float32 units can do."""
    a = tl.arange(0, block).to(tl.float32) * 1e-6
    b, c, d = a + 1, a + 2, a + 3
    for _ in range(rounds):
        a = a * 0.999 + 0.5
        b = b * 0.999 + 0.5
        c = c * 0.999 + 0.5
        d = d * 0.999 + 0.5
    tl.store(out + tl.program_id(0) * block + tl.arange(0, block), a + b + c + d)


def measured_ceilings(launcher: Launcher, small: bool) -> Ceilings:
    """Bytes of a copy and multiply-adds of a kernel that does nothing else; a few if ``small``."""
    device = launcher.device
    size = 1 << (20 if small else 31)  # bytes
    source = torch.randint(0, 256, (size,), dtype=torch.uint8, device=device)
    copy_seconds = timed_calls(device, partial(torch.empty_like(source).copy_, source), CEILING_CALLS)
    del source
    programs, rounds, block = (2, 8, 256) if small else (132 * 64, 4096, 256)
    out = torch.empty(programs * block, device=device)
    launch = partial(launcher.launch, multiply_add, programs, out, rounds, block)
    seconds = timed_calls(device, launch, CEILING_CALLS)
    flop = 2.0 * 4 * programs * block * rounds
    return Ceilings(flop / min(seconds), 2 * size / min(copy_seconds), seconds, copy_seconds)
