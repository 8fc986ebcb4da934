"""Real files for the baselines, so that a table can say how many bytes a row takes.

None but GaussianImage has a format of its own (gaussian_image_codec.py). The others' numbers are rounded to 16 bits
between the smallest and the largest of each column, and the bytes go through an adaptive order-0 arithmetic coder,
which LZMA is when it looks for no context.
"""

from __future__ import annotations

import lzma
import struct

import numpy as np

from smartsplat.errors import FormatError
from smartsplat_baselines.arrays import ParameterArrays
from smartsplat_baselines.gaussian_image import Cholesky, RotationScale
from smartsplat_baselines.gaussians_3d import Released, Tuned
from smartsplat_baselines.image_gs import ImageGS
from smartsplat_baselines.lig import Level, Lig
from smartsplat_baselines.model import Model

MAGIC = b"SSBL"
KINDS: tuple[type[Model], ...] = (RotationScale, Cholesky, Level, ImageGS, Tuned, Released)
"""What a file says that it holds; the first that a model is an instance of."""

LIG, CODEC = 254, 255
"""Kinds that are not one plain model: two levels, and the files of gaussian_image_codec.py."""

HEADER = struct.Struct("<4sBBIII")  # magic, kind, channels, width, height, Gaussians
LEVELS_HEADER = struct.Struct("<ffI")  # range of the residual, bytes of the coarse level

FILTERS = [{"id": lzma.FILTER_LZMA1, "preset": 6, "lc": 0, "lp": 0, "pb": 0}]
MAX_SYMBOL = 65535


def coded(symbols: bytes) -> bytes:
    """Symbols of a byte each, coded in about as many bytes as their entropy says."""
    return lzma.compress(symbols, lzma.FORMAT_RAW, filters=FILTERS)


def decoded(data: bytes, size: int) -> bytes:
    """What ``coded`` was given, ``size`` bytes."""
    symbols = lzma.LZMADecompressor(lzma.FORMAT_RAW, filters=FILTERS).decompress(data, max_length=size)
    if len(symbols) != size:
        raise FormatError(f"the file ends after {len(symbols)} of {size} bytes")
    return symbols


def pack(model: Model | Lig) -> bytes:
    """The file of a model."""
    if isinstance(model, Lig):
        coarse, fine = pack(model.coarse), pack(model.fine)
        channels = model.fine.parameters["color"].shape[1]
        header = HEADER.pack(MAGIC, LIG, channels, model.fine.width, model.fine.height, len(model))
        return header + LEVELS_HEADER.pack(model.minimum, model.maximum, len(coarse)) + coarse + fine
    kind = next(index for index, kind in enumerate(KINDS) if isinstance(model, kind))
    stored = model.stored()
    columns = np.concatenate([stored[name] for name in model.columns], axis=1).astype(np.float32)
    minimum, maximum = columns.min(axis=0), columns.max(axis=0)
    span = np.maximum(maximum - minimum, 1e-30)
    rounded = np.rint((columns - minimum) * (MAX_SYMBOL / span)).clip(0, MAX_SYMBOL).astype("<u2")
    planes = np.concatenate([rounded >> 8, rounded & 255], axis=1).astype(np.uint8).T
    channels = model.parameters["color"].shape[1]
    header = HEADER.pack(MAGIC, kind, channels, model.width, model.height, len(model))
    return header + np.stack([minimum, maximum]).astype("<f4").tobytes() + coded(planes.tobytes())


def unpack(data: bytes) -> Model | Lig:
    """The model that a file of ``pack`` holds, as rounded."""
    _, kind, channels, width, height, count = header_of(data)
    body = memoryview(data)[HEADER.size :]
    if kind == LIG:
        minimum, maximum, size = LEVELS_HEADER.unpack_from(body)
        levels = bytes(body[LEVELS_HEADER.size :])
        coarse, fine = unpack(levels[:size]), unpack(levels[size:])
        if not (isinstance(coarse, Level) and isinstance(fine, Level)):
            raise FormatError("a level of the file is no level")
        return Lig(coarse, fine, minimum, maximum)
    sizes = {name: size or channels for name, size in KINDS[kind].columns.items()}
    total = sum(sizes.values())
    minimum, maximum = np.frombuffer(body[: 8 * total], "<f4").reshape(2, total)
    planes = np.frombuffer(decoded(bytes(body[8 * total :]), 2 * total * count), np.uint8).reshape(2 * total, count).T
    rounded = 256 * planes[:, :total].astype(np.float32) + planes[:, total:]
    columns = minimum + rounded * (np.maximum(maximum - minimum, np.float32(1e-30)) / MAX_SYMBOL)
    parts = np.split(columns, np.cumsum(list(sizes.values()))[:-1], axis=1)
    stored: ParameterArrays = {name: np.ascontiguousarray(part) for name, part in zip(sizes, parts, strict=True)}
    return KINDS[kind].restored(width, height, stored)


def header_of(data: bytes) -> tuple[bytes, int, int, int, int, int]:
    """Magic, kind, channels, width, height, Gaussians. These are files of a benchmark: they are not hostile."""
    if len(data) < HEADER.size or not data.startswith(MAGIC):
        raise FormatError("not a file of the benchmark's baselines")
    return HEADER.unpack_from(data)
