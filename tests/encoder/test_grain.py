"""How much grain an image gets: what it has lost, in the bytes that there are."""

from __future__ import annotations

import numpy as np
import pytest

import smartsplat
from smartsplat.arrays import ByteArray, SampleArray
from smartsplat.bitstream import container
from smartsplat.bitstream.container import CodedGrain, Extras
from smartsplat.bitstream.grain import grain_levels
from smartsplat.encoder import grain as module
from smartsplat.encoder.blocks.boxes import Box
from smartsplat.encoder.grain import AUTO_GRAIN, LostTexture, byte_limit, grain_of, lost_texture
from smartsplat.encoder.settings import Tune
from smartsplat.errors import SettingsError
from smartsplat.render.grain import noise_bands


def flat_with_noise(deviation: float, band: int = 0, height: int = 256, width: int = 384) -> ByteArray:
    """Grey with noise of one band in its right half, which nothing of a small file can hold."""
    noise = np.tile(noise_bands()[band].astype(np.float64).T, (-(-height // 256), -(-width // 256)))[:height, :width]
    noise[:, : width // 2] = 0
    plane = np.clip(128 + deviation * noise / noise.std(where=noise != 0), 0, 255)
    return np.repeat(np.rint(plane).astype(np.uint8)[..., None], 3, axis=2)


def fitted_grain(
    pixels: SampleArray, data: bytes, strength: float, max_bytes: int | None, threads: int
) -> CodedGrain | None:
    """Of an image and its file."""
    whole = Box(0, 0, pixels.shape[1], pixels.shape[0])
    return module.fitted_grain(lost_texture(pixels, data, whole, threads), strength, max_bytes)


def smooth_file(pixels: ByteArray) -> bytes:
    """A small file without grain."""
    return smartsplat.encode(pixels, max_bytes=1500, effort=1, grain=0, threads=2)


@pytest.mark.parametrize("band", [0, 1, 2])
def test_what_was_lost_is_given_back(band: int) -> None:
    pixels = flat_with_noise(8, band)
    grain = fitted_grain(pixels, smooth_file(pixels), 1.0, None, 2)
    assert grain is not None
    levels = grain_levels(grain, 384, 256)
    assert levels.shape == (3, 2, 3)
    assert levels[band, :, 2].min() >= levels.max() - 1
    assert 6 <= levels[band].max() <= 9  # 2.8 to 8 code values: a band's filter sees a part of its noise
    assert not levels[:, :, 0].any()


def test_strength_is_a_part_of_the_deviation() -> None:
    pixels = flat_with_noise(20)
    data = smooth_file(pixels)
    levels = {}
    for strength in (1.0, 0.5, 0.25):
        grain = fitted_grain(pixels, data, strength, None, 2)
        assert grain is not None
        levels[strength] = int(grain_levels(grain, 384, 256)[0, 0, 2])
    assert levels[1.0] - 2 == levels[0.5] == levels[0.25] + 2


def test_edges_are_no_texture() -> None:
    """Only a few blocks of a cell have them."""
    pixels = np.full((256, 256, 3), 60, np.uint8)
    pixels[:, 100:104] = 200
    pixels[40:43] = 190
    assert fitted_grain(pixels, smooth_file(np.full((256, 256, 3), 70, np.uint8)), 1.0, None, 2) is None


def test_stripes_are_no_texture() -> None:
    x, y = np.meshgrid(np.arange(256), np.arange(256))
    wave = 130 + 25 * np.sin((2 * x + 3 * y) / 4)
    pixels = np.repeat(np.rint(wave).astype(np.uint8)[..., None], 3, axis=2)
    flat = smooth_file(np.full((256, 256, 3), 130, np.uint8))
    assert fitted_grain(pixels, flat, 1.0, None, 2) is None
    noisy = np.clip(wave + np.random.default_rng(0).normal(0, 25, (256, 256)), 0, 255)
    assert fitted_grain(np.repeat(noisy.astype(np.uint8)[..., None], 3, axis=2), flat, 1.0, None, 2) is not None


def test_cells_grow_until_the_bytes_suffice() -> None:
    random = np.random.default_rng(0)
    deviation = np.kron(random.uniform(1, 30, (8, 8)), np.ones((128, 128)))
    pixels = np.clip(128 + deviation * random.normal(size=(1024, 1024)), 0, 255).astype(np.uint8)[..., None]
    data = smooth_file(pixels)
    sizes = {}
    for limit in (None, 60, 36, 24, 18):
        grain = fitted_grain(pixels, data, 0.5, limit, 2)
        sizes[limit] = None if grain is None else grain.cell_log2
        assert limit is None or grain is None or Extras(grain=grain).size <= limit
    assert sizes[None] == 7
    assert [sizes[limit] for limit in (60, 36)] == sorted(sizes[limit] for limit in (60, 36))
    assert sizes[36] is not None
    assert sizes[36] > 7
    assert sizes[18] is None


def test_the_same_grain_from_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = flat_with_noise(8)
    data = smooth_file(pixels)
    whole = fitted_grain(pixels, data, 0.5, None, 2)
    monkeypatch.setattr(module, "PIECE_SIDE", 64)
    pieces = fitted_grain(pixels, data, 0.5, None, 1)
    assert whole is not None
    assert pieces is not None
    difference = grain_levels(whole, 384, 256).astype(int) - grain_levels(pieces, 384, 256)
    assert np.abs(difference).max() <= 1  # their edges are those of a piece


def test_lost_texture_of_parts() -> None:
    """Away from the edges of a part it is that of the whole."""
    pixels = np.random.default_rng(0).integers(60, 190, (400, 330, 3), dtype=np.uint8)
    data = smooth_file(pixels)
    whole, parts = lost_texture(pixels, data, Box(0, 0, 330, 400), 2), LostTexture.empty(330, 400)
    inner = np.ones((50, 42), bool)
    for core in (Box(0, 0, 192, 128), Box(192, 0, 138, 128), Box(0, 128, 192, 272), Box(192, 128, 138, 272)):
        parts.put(lost_texture(np.ascontiguousarray(pixels[core.slices]), data, core, 2), core)
        inner[max(core.y // 8 - 1, 0) : core.y // 8 + 1] = inner[:, max(core.x // 8 - 1, 0) : core.x // 8 + 1] = False
    inner[:1] = inner[:, :1] = True
    inner[[15, 16]] = inner[:, [23, 24]] = False
    assert inner.mean() > 0.9
    assert np.allclose(parts.variance[:, inner], whole.variance[:, inner], atol=2e-4)
    assert np.allclose(parts.tensor[:, inner], whole.tensor[:, inner], atol=2e-3)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 300, 1), (7, 5, 3), (130, 9, 1)], ids=str)
def test_odd_shapes(shape: tuple[int, int, int]) -> None:
    pixels = np.random.default_rng(0).integers(60, 190, shape, dtype=np.uint8)
    data = smartsplat.encode(pixels, gaussians=2, effort=1, steps=5, grain=1, threads=2)
    assert smartsplat.decode(data).shape == shape


def test_sixteen_bits() -> None:
    pixels = flat_with_noise(8).astype(np.uint16) * 257
    narrow = fitted_grain(flat_with_noise(8), smooth_file(flat_with_noise(8)), 0.5, None, 2)
    wide = fitted_grain(pixels, smooth_file(flat_with_noise(8)), 0.5, None, 2)
    assert narrow is not None
    assert wide is not None
    assert np.array_equal(grain_levels(wide, 384, 256), grain_levels(narrow, 384, 256))


def test_of_a_file() -> None:
    pixels = flat_with_noise(12)
    for arguments in ({"max_bytes": 4000}, {"ratio": 80}, {"gaussians": 40}):
        plain = smartsplat.encode(pixels, **arguments, effort=1, grain=0, threads=2)
        grained = smartsplat.encode(pixels, **arguments, effort=1, threads=2)
        assert smartsplat.open(plain).info.grain_bytes == 0
        assert smartsplat.open(grained).info.grain_bytes > 0
        limit = {"max_bytes": 4000, "ratio": pixels.size // 80}.get(next(iter(arguments)))
        assert limit is None or len(grained) <= limit
        noise = smartsplat.decode(grained).astype(int) - smartsplat.decode(grained, grain=False)
        assert noise[:, 220:].std() > 2
        assert noise[:, :120].std() < 0.5


def test_with_alpha() -> None:
    pixels = np.dstack([flat_with_noise(12), np.full((256, 384), 255, np.uint8)])
    pixels[:100, :100, 3] = 0
    data = smartsplat.encode(pixels, max_bytes=4000, effort=1, threads=2)
    assert len(data) <= 4000
    assert container.unpack(data).extras.grain is not None
    opacity = smartsplat.decode(data)[..., 3]
    assert np.array_equal(opacity, smartsplat.decode(data, grain=False)[..., 3])


def test_what_is_asked_for() -> None:
    assert grain_of(None, Tune.EYE, None) == grain_of("auto", Tune.EYE, None) == AUTO_GRAIN
    assert grain_of(None, Tune.PSNR, None) == grain_of(None, Tune.EYE, 30.0) == 0
    assert grain_of("0.5", Tune.PSNR, None) == grain_of(0.5, Tune.EYE, 30.0) == 0.5
    for bad in ("much", -0.1, 1.5, float("nan"), "1,5"):
        with pytest.raises(SettingsError, match="grain is a number from 0 to 1"):
            grain_of(bad, Tune.EYE, None)


def test_bytes() -> None:
    assert byte_limit(100_000) == 500
    assert byte_limit(5_000) == 48
    assert byte_limit(2_000) == 0
