"""Blocks of pixels that are filtered and deflated on several threads: what the writers of PNG and TIFF have in common.

Each block is deflated on its own, so that the file depends on no number of threads. Neighbouring
pixels of a rendering differ little and seldom repeat, for which zlib's run-length strategy is made. Measured on a
decoded satellite map of 8 megapixels, one thread: 0.30 s and 7.4 MB, Pillow at level 3 takes 0.69 s and 8.4 MB.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from smartsplat.arrays import SampleArray
from smartsplat.images.strips import ROW_MULTIPLE, Strips

BLOCK_SAMPLES = 1 << 20
"""Samples that are filtered and deflated on their own, at most, unless a row has more."""

T = TypeVar("T")


def packer(bits: int) -> zlib._Compress:
    """What deflates a block; ``bits`` are zlib's window bits, negative for a stream without a header."""
    return zlib.compressobj(3, zlib.DEFLATED, bits, zlib.DEF_MEM_LEVEL, zlib.Z_RLE)


def block_rows(shape: tuple[int, int, int]) -> int:
    """Rows of a block of an image [H, W, C]: a power of two, so that every strip holds whole ones."""
    _, width, channels = shape
    rows = ROW_MULTIPLE
    while rows > 1 and rows * width * channels > BLOCK_SAMPLES:
        rows //= 2
    return rows


def row_blocks(strips: Strips) -> Iterator[SampleArray]:
    """The image in blocks of ``block_rows`` rows, the last of fewer."""
    rows = block_rows(strips.shape)
    for part in strips.parts:
        for top in range(0, len(part), rows):
            yield part[top : top + rows]


def mapped(work: Callable[[SampleArray], T], blocks: Iterable[SampleArray], threads: int) -> Iterator[T]:
    """What ``work`` makes of each block, in order.

    Few blocks are ahead of the one that is asked for: an interrupted writer has no more to wait for.
    """
    with ThreadPoolExecutor(threads) as pool:
        ahead: deque[Future[T]] = deque()
        for block in blocks:
            ahead.append(pool.submit(work, block))
            if len(ahead) > 2 * threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
