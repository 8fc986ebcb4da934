"""How much grain a file gets: as much texture as it has lost, cell by cell (docs/format.md, "Grain")."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from smartsplat.arrays import FloatArray, SampleArray
from smartsplat.bitstream.container import GRAIN_CELL_LOG2, CodedGrain, Extras
from smartsplat.bitstream.grain import levels_of, to_grain
from smartsplat.decoder import Reader
from smartsplat.encoder.blocks.boxes import Box, blocks_of
from smartsplat.encoder.settings import Tune
from smartsplat.errors import SettingsError
from smartsplat.images.spooled import release
from smartsplat.render.grain import GRAIN_BANDS, room_for_grain, smoothed

AUTO_GRAIN = 0.35
"""Strength for the eye: less is hardly seen, and all of what was lost looks like fast film."""

FIRST_CELL_LOG2 = 7
"""Cells have 128 pixels a side, or more where these would take too many bytes."""

MAX_PART, MIN_BYTES, MAX_PART_OF_SMALL = 1 / 200, 48, 1 / 50
"""Of a byte budget: so much of it, but at least so many bytes, unless they are more than so much of it."""

SQUARE = 8
"""Pixels: side of the squares that variances are taken over. A cell has the median of its own: an edge is in few."""

PIECE_SIDE = 1024
"""Pixels, about, of the pieces that are looked at on their own: each takes 60 MB."""

MAX_THREADS = 4
"""That look at pieces; all render them."""

PATTERN = 0.5, 0.8
"""Coherence of what was lost, from 0 (no direction) to 1 (stripes): up to the first it is texture, from the second on a
pattern, which noise cannot stand for. Cells of three photographs and paintings have up to 0.5, of stripes 0.76 to 1."""

MIN_ROOM = 0.25
"""What grain that is less near black and white is made up for by, at most: four times."""


def grain_of(grain: float | str | None, tune: Tune, min_psnr: float | None) -> float:
    """The strength that was asked for, or with None or "auto" the default: some for the eye, none for a PSNR.

    Raises:
        SettingsError: it is no number from 0 to 1.
    """
    if grain is None or grain == "auto":
        return AUTO_GRAIN if tune == Tune.EYE and min_psnr is None else 0.0
    try:
        strength = float(grain)
    except (TypeError, ValueError):
        strength = -1.0
    if not 0 <= strength <= 1:
        raise SettingsError(f"grain is a number from 0 to 1 or 'auto', not {grain!r}")
    return strength


def byte_limit(max_bytes: int) -> int:
    """What grain may take of a file of so many bytes."""
    limit = max(int(max_bytes * MAX_PART), MIN_BYTES)
    return limit if limit <= max_bytes * MAX_PART_OF_SMALL else 0


def fitted_grain(lost: LostTexture, strength: float, max_bytes: int | None) -> CodedGrain | None:
    """The grain of an image whose file has none yet.

    Args:
        lost: of the image.
        strength: in parts of the standard deviation that was lost.
        max_bytes: that it may take, its entry in the table of contents included; None: any number.

    Returns:
        None where nothing was lost, or nothing fits.
    """
    for cell_log2 in range(FIRST_CELL_LOG2, GRAIN_CELL_LOG2[1] + 1):
        side = (1 << cell_log2) // SQUARE
        deviation = np.sqrt(_over_cells(np.nanmedian, lost.variance, side)) * _texture_part(
            _over_cells(np.nanmean, lost.tensor, side)
        )
        levels = levels_of((strength * deviation).astype(np.float32))
        if not levels.any():
            return None
        grain = to_grain(levels, cell_log2)
        if max_bytes is None or Extras(grain=grain).size <= max_bytes:
            return grain
    return None


@dataclass(frozen=True)
class LostTexture:
    """What a file has lost of an image, or of a part of it, by squares of 8 pixels.

    Args:
        variance: that the file has less of, of samples in [0, 1], never below 0, [bands, rows, columns].
        tensor: the structure tensor xx, yy, xy of the difference, [3, rows, columns].
    """

    variance: FloatArray
    tensor: FloatArray

    @staticmethod
    def empty(width: int, height: int) -> LostTexture:
        """Of so many pixels, to be written to."""
        rows, columns = -(-height // SQUARE), -(-width // SQUARE)
        return LostTexture(*(np.empty((planes, rows, columns), np.float32) for planes in (GRAIN_BANDS, 3)))

    def put(self, part: LostTexture, box: Box) -> None:
        """Write those of a box."""
        rows, columns = box.over(SQUARE).slices
        self.variance[:, rows, columns], self.tensor[:, rows, columns] = part.variance, part.tensor


def lost_texture(pixels: SampleArray, data: bytes, box: Box, threads: int) -> LostTexture:
    """Of a box, whose ``pixels`` [h, w, C] these are, of an image whose file has ``data``; it begins with a square."""
    found, reader = LostTexture.empty(box.width, box.height), Reader(data, threads=threads)

    def look(piece: Box) -> None:
        region = box.x + piece.x, box.y + piece.y, piece.width, piece.height
        decoded = reader.read(region=region, dtype=pixels.dtype)[..., : pixels.shape[2]]
        found.put(_lost_in_piece(pixels[piece.slices], decoded), piece)

    with ThreadPoolExecutor(min(threads, MAX_THREADS)) as pool:
        for _ in pool.map(look, blocks_of(box.width, box.height, PIECE_SIDE)):
            release(pixels)
    return found


def _lost_in_piece(pixels: SampleArray, decoded: SampleArray) -> LostTexture:
    own_luma, luma = _luma(pixels), _luma(decoded)
    room = np.maximum(_square_means(room_for_grain(luma)), MIN_ROOM)
    lost = np.stack([_square_means(a**2 - b**2) for a, b in zip(_bands(own_luma), _bands(luma), strict=True)])
    return LostTexture(np.maximum(lost, 0) / room**2, _structure_tensor(own_luma - luma))


def _structure_tensor(plane: FloatArray) -> FloatArray:
    """Mean products of a plane's slopes over squares: xx, yy and xy, [3, rows, columns]."""
    padded = np.pad(plane, ((0, 1), (0, 1)), mode="edge")
    a, b, c, d = padded[:-1, :-1], padded[:-1, 1:], padded[1:, :-1], padded[1:, 1:]
    x, y = b - a + d - c, c - a + d - b
    return np.stack([_square_means(x * x), _square_means(y * y), _square_means(x * y)])


def _texture_part(tensor: FloatArray) -> FloatArray:
    """1 where what was lost has no direction, 0 where it has one."""
    xx, yy, xy = tensor
    total = np.maximum(xx + yy, np.float32(1e-12))
    coherence = np.sqrt((xx - yy) ** 2 + 4 * xy**2) / total
    low, high = PATTERN
    part: FloatArray = np.clip((high - coherence) / (high - low), 0, 1)
    return part


def _luma(pixels: SampleArray) -> FloatArray:
    """[H, W] in [0, 1], as ``render.grain`` has it."""
    plane = pixels.astype(np.float32) / np.float32(np.iinfo(pixels.dtype).max)
    return plane[..., 0] if plane.shape[2] == 1 else (plane[..., 0] + 2 * plane[..., 1] + plane[..., 2]) / 4


def _bands(plane: FloatArray) -> Iterator[FloatArray]:
    """A plane in the bands of the noise."""
    for band in range(GRAIN_BANDS):
        margin = 1 << band
        rows, columns = plane.shape
        padded = np.pad(plane, margin, mode="edge")
        smooth = smoothed(padded, margin)[margin : margin + rows, margin : margin + columns] / np.float32(16)
        yield plane - smooth
        plane = smooth


def _square_means(plane: FloatArray) -> FloatArray:
    """Means over squares [rows, columns]; those at the right and lower edge are smaller."""
    for axis in (0, 1):
        starts = np.arange(0, plane.shape[axis], SQUARE)
        sizes: FloatArray = np.diff(np.append(starts, plane.shape[axis])).astype(np.float32)
        sums: FloatArray = np.add.reduceat(plane, starts, axis=axis)
        plane = sums / (sizes[:, None] if axis == 0 else sizes)
    return plane


def _over_cells(statistic: Callable[..., FloatArray], squares: FloatArray, side: int) -> FloatArray:
    """A statistic over cells of ``side`` squares a side, [planes, rows, columns]."""
    planes, rows, columns = squares.shape
    padding = ((0, 0), (0, -rows % side), (0, -columns % side))
    padded = np.pad(squares, padding, constant_values=np.nan)
    cells = padded.reshape(planes, -(-rows // side), side, -(-columns // side), side)
    return statistic(cells, axis=(2, 4))
