"""Symbols <-> bytes (docs/format.md, "Entropy coding"): groups that are coded, and can be decoded, on their own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt

from smartsplat import _native
from smartsplat.errors import FormatError
from smartsplat.gaussians import Gaussians
from smartsplat.quantize import Quantizer, SymbolArray
from smartsplat.raster.native import fields

GROUP = 4096
"""Gaussians in a group, at most: fewer decode on more threads and cut regions finer, more save bytes (measured: half
as many cost 0.4 %, twice as many save 0.2 %)."""

LAYERS = (1 / 64, 1 / 16, 1 / 4, 1 / 2, 3 / 4)
"""Shares of the Gaussians, by energy, that come before all others, so that a prefix of the file is a coarse whole."""

LAYERED = 8192
"""Gaussians from which on a file has layers: above, they save 0.1 % of its bytes, as neighbours in the file are alike;
below they cost up to 1 %."""

ATTRIBUTES = ("position", "energy", "scale", "ratio", "angle", "color")
"""What ``account`` tells the bits of, in its order."""


def split(symbols: SymbolArray) -> list[SymbolArray]:
    """Groups of at most ``GROUP`` Gaussians, the layers one after the other, each along the Morton curve."""
    energy = symbols[:, 2]
    layer = np.zeros(len(symbols), np.intp)
    if len(symbols) >= LAYERED:
        ranked = np.sort(energy)[::-1]
        for share in LAYERS:
            layer += energy < ranked[int(share * len(symbols))]
    parts = [symbols[layer == index] for index in np.unique(layer)]
    return [part[start : start + GROUP] for part in parts for start in range(0, len(part), GROUP)]


def encode(groups: Iterable[SymbolArray], quantizer: Quantizer, threads: int = 1) -> list[bytes]:
    """The bytes of each group."""
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        return list(pool.map(lambda group: _native.encode_symbols(group, quantizer.key), groups))


def decode(groups: Iterable[tuple[bytes, int]], quantizer: Quantizer, threads: int = 1) -> list[SymbolArray]:
    """The symbols of each (bytes, count). FormatError if the bytes cannot have been written by ``encode``."""
    with ThreadPoolExecutor(max(threads, 1)) as pool:
        return list(pool.map(lambda group: _decode(group[0], group[1], quantizer, False)[0], groups))


def decode_gaussians(groups: Sequence[tuple[bytes, int]], quantizer: Quantizer, threads: int = 1) -> Gaussians:
    """``decode`` and ``dequantize`` in one pass: the Gaussians of each (bytes, count), one after the other."""
    out = Gaussians.of_size(sum(count for _, count in groups), quantizer.channels)
    with _damage_named():
        _native.decode_gaussians(list(groups), quantizer.key, fields(out), threads)
    return out


def account(data: bytes, count: int, quantizer: Quantizer) -> npt.NDArray[np.float64]:
    """Bits that a group spends on each of ``ATTRIBUTES``."""
    return _decode(data, count, quantizer, True)[1]


def _decode(
    data: bytes, count: int, quantizer: Quantizer, account: bool
) -> tuple[SymbolArray, npt.NDArray[np.float64]]:
    with _damage_named():
        return _native.decode_symbols(np.frombuffer(data, np.uint8), count, quantizer.key, account)


@contextmanager
def _damage_named() -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise FormatError(f"damaged Gaussians: {error}") from None
