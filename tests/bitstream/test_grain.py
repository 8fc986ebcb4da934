"""Grain in a file: every level comes back, both decoders agree on it, and what is damaged is refused."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import pytest

import smartsplat
from smartsplat import _native
from smartsplat.arrays import ByteArray
from smartsplat.bitstream import container
from smartsplat.bitstream.container import CodedGrain
from smartsplat.bitstream.grain import MAX_LEVEL, grain_levels, levels_of, strengths_of, to_grain
from smartsplat.errors import FormatError
from tests.bitstream import format_decoder
from tests.bitstream.format_container import Refused
from tests.bitstream.format_grain import noise_bands as their_noise
from tests.bitstream.test_format import ENTRIES, vector
from tests.vectors.make import grain_hash, with_chunk

SHAPES = [(1, 1, 1), (3, 1, 7), (2, 5, 1), (3, 9, 13), (1, 64, 65)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kind", ["noise", "smooth", "none", "most"])
def test_levels_come_back(kind: str, shape: tuple[int, int, int]) -> None:
    levels = {
        "noise": np.random.default_rng(1).integers(0, 16, shape, dtype=np.uint8),
        "smooth": np.cumsum(np.random.default_rng(2).integers(-1, 2, shape), axis=2).clip(-5, 10).astype(int) + 5,
        "none": np.zeros(shape),
        "most": np.full(shape, MAX_LEVEL),
    }[kind].astype(np.uint8)
    coded = to_grain(levels, 7)
    assert np.array_equal(grain_levels(coded, 128 * shape[2], 128 * shape[1]), levels)
    assert np.array_equal(grain_levels(coded, 128 * shape[2] - 127, 128 * shape[1] - 127), levels)


def test_levels_cost_little() -> None:
    """What bands and cells have in common is coded once."""
    walk = np.cumsum(np.random.default_rng(4).integers(-1, 2, (10, 13)), axis=1)
    levels = np.stack([walk + 9, walk + 7, walk + 6]).clip(0, 15).astype(np.uint8)
    assert len(to_grain(levels, 7).data) * 8 < 1.6 * levels.size


def test_strengths_of_levels() -> None:
    levels = np.arange(MAX_LEVEL + 1, dtype=np.uint8)
    strengths = strengths_of(levels)
    assert strengths.dtype == np.float32
    assert strengths[[0, 1, 3, 15]] * 255 == pytest.approx([0, 0.5, 1, 64])
    assert np.array_equal(levels_of(strengths), levels)
    assert np.array_equal(levels_of(strengths * np.float32(1.15)), levels)
    assert levels_of(np.array([1e-9, 0.35 / 255, 9], np.float32)).tolist() == [0, 0, 15]


def test_both_decoders_read_the_same_grain() -> None:
    data, entry = vector("grain"), ENTRIES["grain"]
    file, theirs = container.unpack(data), format_decoder.decode(data)
    assert file.extras.grain is not None
    levels = grain_levels(file.extras.grain, file.quantizer.width, file.quantizer.height)
    assert theirs.grain == levels.tolist()
    assert grain_hash(file) == entry["grain_sha256"]
    assert file.extras.grain == to_grain(levels, file.extras.grain.cell_log2)
    assert [entry["grain_sha256"] for name, entry in ENTRIES.items() if name != "grain"] == [None] * (len(ENTRIES) - 1)


def test_the_noise_of_both_decoders_is_the_same() -> None:
    from smartsplat.render.grain import noise_bands

    assert np.array_equal(noise_bands().reshape(3, -1), their_noise())


def with_grain(body: bytes) -> bytes:
    """The vector with another chunk in the place of its grain."""
    file = container.unpack(vector("grain"))
    bare = container.pack(replace(file, extras=replace(file.extras, grain=None)))
    return with_chunk(bare, b"grai", body)


def body_of(grain: CodedGrain | None) -> bytes:
    assert grain is not None
    return bytes([grain.cell_log2, grain.bands]) + grain.data


BODY = body_of(container.unpack(vector("grain")).extras.grain)
DAMAGED = {
    "short": BODY[:1],
    "fine cells": b"\5" + BODY[1:],
    "coarse cells": b"\15" + BODY[1:],
    "no bands": BODY[:1] + b"\0" + BODY[2:],
    "four bands": BODY[:1] + b"\4" + BODY[2:],
    "another band": BODY[:1] + b"\2" + BODY[2:],
    "other cells": b"\7" + BODY[1:],
    "cut": BODY[:-3],
    "longer": BODY + b"\1",
    "nothing": BODY[:2],
}


@pytest.mark.parametrize("body", DAMAGED.values(), ids=DAMAGED)
def test_both_decoders_refuse_the_same_grain(body: bytes) -> None:
    for data in (with_grain(body), with_chunk(vector("grain"), b"grai", BODY)):
        with pytest.raises(FormatError, match=r"grain|packed"):
            smartsplat.decode(data)
        with pytest.raises(Refused):
            format_decoder.decode(data)


def test_both_decoders_agree_on_damaged_levels() -> None:
    choice, outcomes = random.Random(3), set()
    for _ in range(200):
        changed = bytearray(BODY)
        changed[choice.randrange(2, len(changed))] = choice.randrange(256)
        data = with_grain(bytes(changed))
        try:
            theirs = format_decoder.decode(data).grain
        except Refused:
            theirs = None
        try:
            coded = container.unpack(data).extras.grain
            assert coded is not None
            ours = grain_levels(coded, 200, 150).tolist()
        except FormatError:
            ours = None
        assert theirs == ours
        outcomes.add(ours is None)
    assert True in outcomes


def test_files_without_grain_have_the_older_version() -> None:
    assert smartsplat.open(vector("color")).info.version == "4.0"
    assert smartsplat.open(vector("grain")).info.version == "4.1"


def test_grain_can_be_left_out() -> None:
    data = vector("grain")
    bare = with_chunk(vector("grain"), b"note", b"")  # of the same Gaussians
    file = container.unpack(bare)
    bare = container.pack(replace(file, extras=replace(file.extras, grain=None)))
    reader = smartsplat.open(data)
    assert np.array_equal(reader.read(grain=False), smartsplat.decode(bare))
    assert np.array_equal(np.concatenate(list(reader.strips(grain=False).parts)), smartsplat.decode(bare))
    assert np.array_equal(smartsplat.decode(data, grain=False), smartsplat.decode(bare))
    assert np.array_equal(np.concatenate(list(reader.strips().parts)), reader.read())
    assert np.abs(reader.read().astype(int) - smartsplat.decode(bare)).max() > 20
    assert reader.info.grain_bytes == len(BODY) - 2
    assert reader.info.container_bytes == smartsplat.open(bare).info.container_bytes + 16 + 2


@pytest.mark.parametrize("bad", [np.full((1, 3, 3), 16, np.uint8)])
def test_levels_that_cannot_be_coded(bad: ByteArray) -> None:
    with pytest.raises(ValueError, match="range"):
        _native.encode_grain(bad)


def test_a_huge_image_of_a_few_bytes_has_little_grain_to_decode() -> None:
    coded = CodedGrain(6, 3, bytes(4))
    with pytest.raises(FormatError, match="damaged grain"):
        grain_levels(coded, 1 << 15, 1 << 15)
