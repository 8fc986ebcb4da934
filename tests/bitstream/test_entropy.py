from __future__ import annotations

import itertools

import numpy as np
import pytest

from smartsplat.bitstream import entropy
from smartsplat.bitstream.quantize import MAX_QUALITY, Quantizer, SymbolArray, dequantize, quantize
from smartsplat.errors import FormatError
from smartsplat.gaussians import Gaussians
from tests.compare import scene

WIDTH, HEIGHT = 640, 400


def quantizer(quality: int = 80, channels: int = 3, cell_log2: int = 4) -> Quantizer:
    return Quantizer(quality, cell_log2, WIDTH, HEIGHT, channels)


def sample(count: int, by: Quantizer, seed: int = 0) -> SymbolArray:
    return quantize(scene(count, by.width, by.height, by.channels, seed), by)


def extremes(by: Quantizer) -> SymbolArray:
    """Each field of the Gaussians at a bound of the format, in every combination."""
    corners = np.array(np.meshgrid([0, WIDTH], [0, HEIGHT], [0.25, 65536], [1, 64], [0, 3.1], [-1e30, 0, 1e-9, 1e30]))
    x, y, scale, aspect, rotation, color = corners.reshape(6, -1)
    fields = (
        np.stack([x, y], 1),
        np.stack([scale * aspect, scale], 1),
        rotation,
        np.repeat(color[:, None], by.channels, 1) * np.arange(1, 1 + by.channels),
    )
    return quantize(Gaussians(*(np.ascontiguousarray(field, np.float32) for field in fields)), by)


def round_trip(symbols: SymbolArray, by: Quantizer) -> bytes:
    (data,) = entropy.encode([symbols], by)
    (decoded,) = entropy.decode([(data, len(symbols))], by)
    assert decoded.dtype == np.int32
    assert np.array_equal(decoded, symbols)
    return data


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [0, 60, 85, MAX_QUALITY])
@pytest.mark.parametrize("count", [0, 1, 2, 1000])
def test_symbols_come_back(count: int, quality: int, channels: int) -> None:
    by = quantizer(quality, channels)
    round_trip(sample(count, by), by)


@pytest.mark.parametrize("cell_log2", [0, 1, 7, 12])
def test_symbols_come_back_with_any_cells(cell_log2: int) -> None:
    by = quantizer(cell_log2=cell_log2)
    round_trip(sample(500, by), by)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("quality", [0, 80, MAX_QUALITY])
def test_extreme_symbols_come_back(quality: int, channels: int) -> None:
    by = quantizer(quality, channels)
    round_trip(extremes(by), by)


def test_the_corners_of_the_largest_image_come_back() -> None:
    by = Quantizer(MAX_QUALITY, 0, 65536, 65536, 3)
    gaussians = scene(4, 100, 100)
    gaussians.mean[:] = [[0, 0], [65535, 0], [0, 65535], [65535, 65535]]
    symbols = quantize(gaussians, by)
    assert symbols[:, :2].max() == 65535
    round_trip(symbols, by)


def test_equal_gaussians_take_almost_nothing() -> None:
    by = quantizer()
    symbols = np.repeat(sample(1, by), 5000, axis=0)
    fixed_bits = len(round_trip(symbols, by)) * 8 / 5000
    # What is stored as it is (the angle, the place in the cell) stays; all that is modelled is learnt.
    assert fixed_bits < 30
    black = Gaussians.empty(3)[:0].joined(scene(5000, WIDTH, HEIGHT))
    black.color[:] = 0
    black.mean[:] = 8
    black.scale[:] = 2
    data = round_trip(quantize(black, by), by)
    assert len(data) == 5000, "a reader's allocation is bounded by the bytes"
    assert entropy.bits_by_attribute(data, 5000, by).sum() < 8 * 1000


def test_a_gaussian_takes_fewer_bytes_than_its_plain_symbols() -> None:
    for quality, most in ((60, 8), (85, 12), (110, 16)):
        by = quantizer(quality)
        assert len(round_trip(sample(4000, by), by)) < most * 4000


@pytest.mark.parametrize("quality", [60, 90])
def test_account_adds_up_to_the_bytes(quality: int) -> None:
    by = quantizer(quality)
    symbols = sample(2000, by)
    data = round_trip(symbols, by)
    bits = entropy.bits_by_attribute(data, len(symbols), by)
    assert bits.shape == (len(entropy.ATTRIBUTES),)
    assert (bits >= 0).all()
    assert abs(bits.sum() / 8 - len(data)) < 8
    assert bits[entropy.ATTRIBUTES.index("position")] > len(symbols)


def test_account_of_nothing() -> None:
    by = quantizer()
    data = round_trip(sample(0, by), by)
    assert len(data) == 4
    assert not entropy.bits_by_attribute(data, 0, by).any()


def test_groups_and_threads() -> None:
    by = quantizer()
    symbols = sample(1000, by)
    groups = entropy.split(symbols, group_size=300)
    assert [len(group) for group in groups] == [300, 300, 300, 100]
    one, four = entropy.encode(groups, by, 1), entropy.encode(groups, by, 4)
    assert one == four
    coded = [(data, len(group)) for data, group in zip(one, groups, strict=True)]
    for threads in (1, 4):
        assert np.array_equal(np.concatenate(entropy.decode(coded, by, threads)), symbols)
    (last,) = entropy.decode(coded[-1:], by)
    assert np.array_equal(last, groups[-1]), "a group decodes on its own"


def test_those_with_the_most_energy_come_first_in_large_files() -> None:
    by = quantizer()
    symbols = sample(1000, by)
    assert len(entropy.split(symbols[:999], min_layered_count=1000)) == 1
    layers = entropy.split(symbols, min_layered_count=1000)
    assert 1 < len(layers) <= 1 + len(entropy.LAYER_FRACTIONS)
    for layer, next_layer in itertools.pairwise(layers):
        assert layer[:, 2].min() > next_layer[:, 2].max()
    assert len(layers[0]) >= 1000 * entropy.LAYER_FRACTIONS[0]
    whole = np.concatenate(layers)
    assert np.array_equal(np.unique(whole, axis=0), np.unique(symbols, axis=0))
    groups = entropy.split(symbols, group_size=100, min_layered_count=1000)
    assert max(len(group) for group in groups) == 100
    assert np.array_equal(np.concatenate(groups), whole)
    for group in groups:
        round_trip(group, by)


def test_no_groups() -> None:
    by = quantizer()
    assert entropy.split(sample(0, by)) == []
    assert entropy.encode([], by) == []
    assert entropy.decode([], by) == []


def decoded_or_refused(data: bytes, count: int, by: Quantizer) -> SymbolArray | None:
    """Whatever the bytes, they decode to ``count`` Gaussians in range or are refused in one line."""
    try:
        (symbols,) = entropy.decode([(data, count)], by)
    except FormatError as error:
        (_,) = str(error).splitlines()
        return None
    assert symbols.shape == (count, 11)
    dequantize(symbols, by)
    return symbols


@pytest.mark.parametrize("channels", [1, 3])
def test_truncated_bytes(channels: int) -> None:
    by = quantizer(70, channels)
    symbols = sample(60, by)
    data = round_trip(symbols, by)
    for size in range(len(data)):
        decoded = decoded_or_refused(data[:size], len(symbols), by)
        assert decoded is None or not np.array_equal(decoded, symbols)
        assert decoded is None or size > len(data) - 8, "only the last bytes are guessed"


def test_a_wrong_count() -> None:
    by = quantizer()
    symbols = sample(200, by)
    data = round_trip(symbols, by)
    for count in (0, 1, 100, 150, 300, 100_000):
        assert decoded_or_refused(data, count, by) is None


def test_trailing_bytes() -> None:
    by = quantizer()
    symbols = sample(200, by)
    data = round_trip(symbols, by)
    assert decoded_or_refused(data + b"\x01", 200, by) is None
    seams = [
        at for at in range(len(data)) if np.array_equal(decoded_or_refused(pad(data, at, bytes(50)), 200, by), symbols)
    ]
    assert seams, "zeros may lie between the two ends"
    assert decoded_or_refused(pad(data, seams[0], b"\0\0\1\0"), 200, by) is None


def pad(data: bytes, at: int, padding: bytes) -> bytes:
    return data[:at] + padding + data[at:]


@pytest.mark.parametrize("quality", [0, 80, MAX_QUALITY])
@pytest.mark.parametrize("channels", [1, 3])
def test_random_bytes(quality: int, channels: int) -> None:
    random = np.random.default_rng(quality)
    by = quantizer(quality, channels)
    for size in (0, 1, 4, 10, 100, 2000):
        for _ in range(20):
            count = int(random.integers(0, 8 * size + 2))
            decoded_or_refused(random.bytes(size), count, by)
            decoded_or_refused(bytes([random.choice([0, 0x7F, 0x80, 0xFF])]) * size, count, by)


def test_flipped_bits() -> None:
    by = quantizer()
    symbols = sample(300, by)
    data = round_trip(symbols, by)
    random = np.random.default_rng(3)
    for at in random.integers(0, 8 * len(data), 300):
        damaged = bytearray(data)
        damaged[at // 8] ^= 1 << at % 8
        decoded = decoded_or_refused(bytes(damaged), len(symbols), by)
        assert decoded is None or not np.array_equal(decoded, symbols)


def test_symbols_out_of_range_are_not_encoded() -> None:
    by = quantizer()
    symbols = sample(10, by)
    symbols[5, 2] = 99
    with pytest.raises(ValueError, match="out of range"):
        entropy.encode([symbols], by)


def test_symbols_in_another_order_are_not_encoded() -> None:
    by = quantizer()
    symbols = np.ascontiguousarray(sample(100, by)[::-1])
    with pytest.raises(ValueError, match="order"):
        entropy.encode([symbols], by)
