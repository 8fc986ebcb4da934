"""Entropy coding of docs/format.md, written from the page alone: the part of the second decoder that reads tokens."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

from tests.bitstream.format_container import require

EXP2 = [math.floor(16384 * 2 ** (i / 8) + 0.5) for i in range(8)]


def clamp(value: int, low: int, high: int) -> int:
    return min(max(value, low), high)


CONTEXTS = (8, 8, 8, 40, 8, 7, 48, 48, 4, 1, 1)
NUMBERS = ("gap", "energy", "scale", "ratio", "turn", "first", "second", "third", "escape", "kind", "level")


def sums_before(digits: list[int]) -> list[int]:
    weights = [EXP2[-5 * d % 8] >> -(-5 * d >> 3) for d in digits]
    return [i + 32752 * sum(weights[:i]) // sum(weights) for i in range(17)]


def _priors() -> dict[tuple[str, int], list[int]]:
    """below[0..16] of each context, from the page's own block."""
    page = (Path(__file__).parents[2] / "docs/format.md").read_text()
    digits = iter(re.findall(r"\b[0-9a-f]{16}\b", page))
    priors = {}
    for number, contexts in zip(NUMBERS, CONTEXTS, strict=True):
        for context in range(contexts):
            priors[number, context] = sums_before([int(digit, 16) for digit in next(digits)])
    assert next(digits, None) is None
    return priors


PRIORS = _priors()


@dataclass
class Distribution:
    below: list[int]
    seen: int = 0

    def learn(self, token: int) -> None:
        rate = 5 + (self.seen >= 16) + (self.seen >= 64)
        self.seen = min(self.seen + 1, 64)
        for i in range(1, 16):
            target = i if i <= token else 32752 + i
            self.below[i] += (target - self.below[i]) >> rate


class Coder:
    """The bytes of a group, read from both ends."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.next = 4
        self.taken = 0
        self.state = sum(self._byte(i) << 8 * i for i in range(4))

    def _byte(self, index: int) -> int:
        return self.data[index] if 0 <= index < len(self.data) else 0

    def token(self, distribution: Distribution) -> int:
        slot = self.state % 32768
        below = distribution.below
        token = max(i for i in range(16) if below[i] <= slot)
        self.state = (below[token + 1] - below[token]) * (self.state >> 15) + slot - below[token]
        if self.state < 65536:
            self.state = 65536 * self.state + self._byte(self.next) + 256 * self._byte(self.next + 1)
            self.next += 2
        distribution.learn(token)
        return token

    def bypass(self, bits: int) -> int:
        value = 0
        for i in range(bits):
            value |= (self._byte(len(self.data) - 1 - self.taken // 8) >> self.taken % 8 & 1) << i
            self.taken += 1
        return value

    def signed(self, size: int) -> int:
        return -size if size and self.bypass(1) else size

    def between(self) -> bytes:
        """What neither end has taken, the bits of a byte that was taken in part as one of their own."""
        last = len(self.data) - -(-self.taken // 8)
        require(self.next <= last, "the group ends early")
        return self.data[self.next : last] + bytes([self._byte(last) >> self.taken % 8 if self.taken % 8 else 0])
