"""Grain: what it is, and that every renderer adds the reference's."""

from __future__ import annotations

import numpy as np
import pytest

from smartsplat import _native
from smartsplat.arrays import FloatArray
from smartsplat.gaussians import Gaussians
from smartsplat.render import Grain, View, reference
from smartsplat.render.cpu import CpuRenderer
from smartsplat.render.grain import (
    GRAIN_BANDS,
    NOISE_DEVIATION,
    NOISE_SIDE,
    band_parts,
    grain_at,
    noise_bands,
    with_grain,
)
from tests.compare import scene
from tests.render.renderers import CPU_SUBJECTS, Subject, each_subject_with
from tests.render.scenes import gaussian

GREY = gaussian((0, 0), (1e4, 1e4), 0, (0.5,))
"""Lies over all of an image."""


def colored(count: int, width: int, height: int, max_scale: float = 12) -> Gaussians:
    """Gaussians on a ground that leaves room for grain."""
    return gaussian((0, 0), (1e4, 1e4), 0, (0.5, 0.6, 0.4)).joined(scene(count, width, height, max_scale=max_scale))


def strengths(bands: int = 3, rows: int = 3, columns: int = 4, most: float = 0.1) -> FloatArray:
    return np.random.default_rng(3).uniform(0, most, (bands, rows, columns)).astype(np.float32)


SMALL_CASES: dict[str, tuple[Gaussians, View, Grain]] = {
    "53x41": (colored(14, 53, 41), View.whole(53, 41), Grain(strengths(), 16)),
    "grey": (GREY, View.whole(33, 20), Grain(strengths(1), 64)),
    "one cell": (GREY, View.whole(33, 20), Grain(strengths(2, 1, 1), 4096)),
    "between pixels": (colored(10, 60, 40), View(3.5, 4.25, 30, 20, 30, 20), Grain(strengths(), 16)),
    "minified": (colored(14, 90, 60), View.whole(90, 60, 41, 27), Grain(strengths(), 32)),
    "magnified": (colored(14, 90, 60), View(17.2, 5, 20, 15, 45, 31), Grain(strengths(), 32)),
    "minified x, magnified y": (colored(14, 90, 60), View(0, 5, 90, 20, 60, 37), Grain(strengths(), 32)),
    "beyond a side of the noise": (GREY, View(250, 500, 20, 20, 20, 20), Grain(strengths(), 128)),
}
CASES = SMALL_CASES | {
    "300x270": (colored(90, 300, 270, max_scale=30), View.whole(300, 270), Grain(strengths(3, 5, 5), 64)),
    "magnified, far away": (
        gaussian((60000, 60000), (1e4, 1e4), 0, (0.5,)),
        View(60000, 60001, 70, 70, 101, 211),
        Grain(strengths(3, 5, 5), 64),
    ),
}


@pytest.mark.parametrize(("subject", "name"), each_subject_with(CASES, SMALL_CASES, CASES))
def test_samples_have_the_grain_of_the_reference(subject: Subject, name: str) -> None:
    gaussians, view, grain = CASES[name]
    params = reference.upload(gaussians)
    expected = reference.render_samples(params, view, np.uint16, grain).astype(int)
    assert np.abs(expected - reference.render_samples(params, view, np.uint16)).max() > 500
    renderer = subject.open()
    actual = renderer.render_samples(renderer.upload(gaussians), view, np.uint16, grain=grain)
    assert np.abs(actual - expected).max() <= 65535 * 1e-4
    narrow = renderer.render_samples(renderer.upload(gaussians), view, grain=grain).astype(int)
    assert np.abs(narrow - reference.render_samples(params, view, np.uint8, grain)).max() <= 1


@pytest.mark.parametrize("subject", CPU_SUBJECTS)
def test_the_grain_of_a_region_is_that_of_the_whole(subject: Subject) -> None:
    gaussians, grain = colored(60, 700, 600, max_scale=40), Grain(strengths(3, 10, 11), 64)
    renderer = subject.open(exact=True)
    params = renderer.upload(gaussians)
    whole = renderer.render_samples(params, View.whole(700, 600), np.uint8, grain=grain)
    region = renderer.render_samples(params, View(123, 77, 400, 333, 400, 333), np.uint8, grain=grain)
    difference = np.abs(region.astype(int) - whole[77 : 77 + 333, 123 : 123 + 400])
    assert difference.max() <= 1
    assert np.count_nonzero(difference) < 1e-3 * difference.size
    strips = renderer.render_strips(params, View.whole(700, 600), 1, np.uint8, grain=grain)
    assert np.array_equal(np.concatenate(list(strips)), whole)
    one = CpuRenderer(1, subject.name, exact=True)
    assert np.array_equal(one.render_samples(gaussians, View.whole(700, 600), np.uint8, grain=grain), whole)


def test_all_know_the_same_bands() -> None:
    assert GRAIN_BANDS == _native.GRAIN_BANDS == _native.format_constants()["MAX_GRAIN_BANDS"]


def test_noise_has_a_band_of_wavelengths_each() -> None:
    bands = noise_bands()
    assert bands.shape == (GRAIN_BANDS, NOISE_SIDE, NOISE_SIDE)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(NOISE_SIDE), np.fft.fftfreq(NOISE_SIDE)))
    wavelength = 1 / np.maximum(frequency, 1e-9)
    for band, noise in enumerate(bands):
        assert noise.std() == pytest.approx(NOISE_DEVIATION, rel=0.02)
        assert abs(noise.mean()) < 0.05
        power = np.abs(np.fft.fft2(noise)) ** 2
        near = (wavelength > 1.4 * 2**band) & (wavelength < 8 * 2**band)
        assert power[near].sum() > 0.85 * power.sum(), band


def test_the_noise_is_the_formats() -> None:
    """Numbers that any decoder can be checked with."""
    assert noise_bands()[:, 0, :6].tolist() == FIRST_NOISE
    assert [int(np.abs(noise.astype(int)).sum()) for noise in noise_bands()] == NOISE_SUMS


FIRST_NOISE = [[-104, 31, -38, 62, 30, -25], [-76, -30, 20, 25, 10, 5], [-35, -6, 5, 16, 27, 22]]
NOISE_SUMS = [1689932, 1680702, 1647375]


def test_grain_has_its_strength() -> None:
    grain = Grain(np.full((1, 2, 2), 0.02, np.float32), 128)
    assert grain_at(View.whole(256, 256), grain).std() == pytest.approx(0.02, rel=0.02)
    between = Grain(np.array([[[0.0, 0.04]]], np.float32), 128)
    noise = grain_at(View.whole(256, 256), between)
    assert noise[:, :60].std() == 0  # up to the centre of the first cell
    assert noise[:, 196:].std() == pytest.approx(0.04, rel=0.05)
    assert noise[:, 120:136].std() == pytest.approx(0.02, rel=0.1)


def test_there_is_less_of_it_near_black_and_white() -> None:
    image = np.array([[[0.0] * 3, [0.125] * 3, [0.25] * 3, [0.5] * 3, [1.0] * 3, [1.2] * 3, [0.0, 0.5, 0.0]]])
    change = with_grain(image, np.full((1, 7), 0.01)) - image
    assert np.allclose(change[0, :, 1], [0, 0.005, 0.01, 0.01, 0, 0, 0.01])
    assert np.allclose(change, change[..., :1])
    grey = np.array([[[0.125], [0.5]]])
    assert np.allclose((with_grain(grey, np.full((1, 2), 0.01)) - grey)[..., 0], [[0.005, 0.01]])


def test_bands_fade_where_samples_average_over_them() -> None:
    parts = {scale: band_parts(View.whole(64, 64, round(64 * scale), round(64 * scale))) for scale in SCALES}
    assert parts == SCALES


SCALES = {
    2: [1, 1, 1],
    1: [1, 1, 1],
    0.75: [0.5, 1, 1],
    0.5: [0, 1, 1],
    0.25: [0, 0, 1],
    0.125: [0, 0, 0],
}


@pytest.mark.parametrize("shape", [(4, 2, 2), (1, 0, 2)], ids=str)
def test_grain_of_an_impossible_shape(shape: tuple[int, ...]) -> None:
    renderer = CpuRenderer(1)
    with pytest.raises(ValueError, match="impossible shape"):
        renderer.render_samples(GREY, View.whole(8, 8), grain=Grain(np.zeros(shape, np.float32), 64))
