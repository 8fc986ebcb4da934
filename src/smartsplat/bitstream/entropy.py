"""Symbols <-> bytes (docs/format.md, "Entropy coding"): groups that are coded, and can be decoded, on their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np

from smartsplat import _native
from smartsplat.arrays import DoubleArray
from smartsplat.bitstream.quantize import Quantizer, SymbolArray
from smartsplat.errors import FormatError

GROUP_SIZE = 4096
"""Gaussians in a group, at most: fewer decode on more threads and cut regions finer, more save bytes (measured: half
as many cost 0.4 %, twice as many save 0.2 %)."""

LAYER_FRACTIONS = (1 / 64, 1 / 16, 1 / 4, 1 / 2, 3 / 4)
"""Fractions of the Gaussians, by energy, that come before all others: a prefix of the file is then a coarse whole."""

MIN_LAYERED_COUNT = 8192
"""Gaussians from which on a file has layers: above, they save 0.1 % of its bytes, as neighbours in the file are alike;
below they cost up to 1 %."""

ATTRIBUTES = ("position", "energy", "scale", "ratio", "angle", "color")
"""What ``bits_by_attribute`` tells the bits of, in its order."""


def split(
    symbols: SymbolArray, group_size: int = GROUP_SIZE, min_layered_count: int = MIN_LAYERED_COUNT
) -> list[SymbolArray]:
    """Groups of at most ``group_size`` Gaussians, the layers one after the other, each along the Morton curve."""
    energy = symbols[:, 2]
    layer = np.zeros(len(symbols), np.intp)
    if len(symbols) >= min_layered_count:
        ranked = np.sort(energy)[::-1]
        for fraction in LAYER_FRACTIONS:
            layer += energy < ranked[int(fraction * len(symbols))]
    parts = [symbols[layer == index] for index in np.unique(layer)]
    return [part[start : start + group_size] for part in parts for start in range(0, len(part), group_size)]


def encode(groups: Iterable[SymbolArray], quantizer: Quantizer, threads: int = 1) -> list[bytes]:
    """The bytes of each group."""
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        return list(pool.map(lambda group: _native.encode_symbols(group, quantizer), groups))


def decode(groups: Iterable[tuple[bytes, int]], quantizer: Quantizer, threads: int = 1) -> list[SymbolArray]:
    """The symbols of each (bytes, count). FormatError if the bytes cannot have been written by ``encode``."""
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        return list(pool.map(lambda group: _decode(group[0], group[1], quantizer, False)[0], groups))


def mean_bits(groups: Sequence[tuple[bytes, int]], quantizer: Quantizer, threads: int = 1) -> dict[str, float]:
    """Bits that each of ``ATTRIBUTES`` takes, the mean over the Gaussians of all (bytes, count)."""
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        bits = sum(
            pool.map(lambda group: bits_by_attribute(group[0], group[1], quantizer), groups), np.zeros(len(ATTRIBUTES))
        )
    count = max(sum(count for _, count in groups), 1)
    return {name: float(value) for name, value in zip(ATTRIBUTES, bits / count, strict=True)}


def bits_by_attribute(data: bytes, count: int, quantizer: Quantizer) -> DoubleArray:
    """Bits that a group spends on each of ``ATTRIBUTES``."""
    return _decode(data, count, quantizer, True)[1]


def _decode(data: bytes, count: int, quantizer: Quantizer, count_bits: bool) -> tuple[SymbolArray, DoubleArray]:
    with _format_errors():
        return _native.decode_symbols(np.frombuffer(data, np.uint8), count, quantizer, count_bits)


@contextmanager
def _format_errors() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise FormatError(f"damaged Gaussians: {error}") from None
