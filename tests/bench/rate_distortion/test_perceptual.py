"""LPIPS, DISTS and the Wasserstein distortion against values of PyTorch, what the unpickler refuses, and where
nothing is installed."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from scipy.signal import correlate

from bench.rate_distortion import perceptual, vgg, wasserstein
from bench.rate_distortion.convolution import convolved
from bench.rate_distortion.perceptual import PerceptualMetrics
from bench.tables import REPOSITORY
from smartsplat.arrays import ByteArray

WEIGHTS = perceptual.weights_path(REPOSITORY / "corpus")
needs_weights = pytest.mark.skipif(
    not WEIGHTS.exists(), reason="LPIPS and others need python -m bench.rate_distortion.perceptual"
)


@pytest.fixture
def image() -> ByteArray:
    """Bent stripes, uint8 [97, 131, 3], in integers alone."""
    row, column, channel = np.ogrid[:97, :131, :3]
    return ((row * row // (8 + channel) + 3 * column + 40 * (column > 2 * row)) % 256).astype(np.uint8)


@needs_weights
def test_lpips_of_a_fixed_pair(image: ByteArray) -> None:
    """PyTorch 2.13 with these convolutions and the heads of the package lpips 0.1.4 found 0.0316101892."""
    metrics = PerceptualMetrics(image, WEIGHTS)
    assert metrics.compare(image // 32 * 32 + 16)["lpips"] == pytest.approx(0.0316101892, abs=1e-7)


@needs_weights
def test_dists_of_a_fixed_pair(image: ByteArray) -> None:
    """PyTorch 2.13 with these weights and the module of the package dists-pytorch 0.1 found 0.22822595."""
    metrics = PerceptualMetrics(image, WEIGHTS, with_vgg=True)
    assert metrics.compare(image // 32 * 32 + 16)["dists"] == pytest.approx(0.22822595, abs=1e-6)
    assert metrics.compare(image)["dists"] == pytest.approx(0, abs=1e-6)
    assert "dists" not in PerceptualMetrics(image, WEIGHTS).compare(image)


@needs_weights
def test_the_wasserstein_distortion_of_a_fixed_pair(image: ByteArray) -> None:
    """PyTorch 2.14 with these weights, in float64 and with each filter as one convolution, found 19.15255058."""
    metrics = PerceptualMetrics(image, WEIGHTS, with_vgg=True)
    assert metrics.compare(image // 32 * 32 + 16)["wasserstein"] == pytest.approx(19.15255058, rel=1e-6)
    assert metrics.compare(image)["wasserstein"] == 0
    assert "wasserstein" not in PerceptualMetrics(image, WEIGHTS).compare(image)


def test_local_statistics_by_hand() -> None:
    values = np.zeros((5, 4, 1), np.float32)
    values[2, 2] = 16
    mean, deviation = wasserstein.local_statistics(values, 1)
    assert deviation is not None
    np.testing.assert_allclose(mean[1:4, 1:, 0], [[1, 2, 1], [2, 4, 2], [1, 2, 1]])
    np.testing.assert_allclose(deviation[2, 2, 0], (16**2 / 4 - 4**2) ** 0.5)
    mean, _ = wasserstein.local_statistics(values, 2)  # of 4 in the middle of every second row
    np.testing.assert_allclose(mean[..., 0], [[0.25, 0.5], [0.5, 1], [0.25, 0.5]])
    assert wasserstein.local_statistics(values, 0)[1] is None


def test_the_tiles_that_vgg_sees() -> None:
    for shape, expected in (
        ((97, 131), [(97, 131)]),
        ((600, 1000), [(512, 512)]),
        ((512, 1024), [(512, 512)] * 2),
        ((1080, 1920), [(512, 512)] * 4),
    ):
        found = vgg.tiles(np.arange(shape[0] * shape[1], dtype=np.uint32).reshape(shape))
        assert [each.shape for each in found] == expected
        assert len({int(value) for each in found for value in each.ravel()}) == sum(each.size for each in found)


@needs_weights
def test_lpips_is_zero_for_equal_images_and_grows_with_noise(image: ByteArray) -> None:
    grows(PerceptualMetrics(image, WEIGHTS), image, "lpips")


def test_flip_is_zero_for_equal_images_and_grows_with_noise(image: ByteArray) -> None:
    pytest.importorskip("flip_evaluator", reason="FLIP needs the bench extra")
    grows(PerceptualMetrics(image, Path("none")), image, "flip")


def test_ssimulacra2_is_100_for_equal_images_and_falls_with_noise(image: ByteArray) -> None:
    pytest.importorskip("ssimulacra2", reason="SSIMULACRA2 needs the bench extra")
    noise = np.random.default_rng(0).normal(size=image.shape)
    noisy = [np.clip(image + deviation * noise, 0, 255).astype(np.uint8) for deviation in (0, 4, 16, 64)]
    values = [perceptual.ssimulacra2(image, each) for each in noisy]
    assert values[0] == pytest.approx(100, abs=1e-6)
    assert values == sorted(set(values), reverse=True)
    assert perceptual.ssimulacra2(image[:7], image[:7]) is None


def grows(metrics: PerceptualMetrics, image: ByteArray, key: str) -> None:
    noise = np.random.default_rng(0).normal(size=image.shape)
    noisy = [np.clip(image + deviation * noise, 0, 255).astype(np.uint8) for deviation in (0, 4, 16, 64)]
    values = [metrics.compare(each)[key] for each in noisy]
    assert values[0] == 0
    assert values == sorted(set(values))


def test_without_weights_there_is_no_lpips(image: ByteArray) -> None:
    assert "lpips" not in PerceptualMetrics(image, Path("none")).compare(image)


def test_large_images_are_left_out(image: ByteArray, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(perceptual, "MAX_PIXELS", 97 * 131 - 1)
    assert PerceptualMetrics(image, WEIGHTS).compare(image) == {}


@pytest.mark.parametrize(("stride", "padding"), [(1, 0), (1, 2), (4, 2)])
def test_a_convolution_is_a_correlation(stride: int, padding: int) -> None:
    random = np.random.default_rng(0)
    values = random.normal(size=(19, 23, 3)).astype(np.float32)
    kernel = random.normal(size=(5, 5, 3, 7)).astype(np.float32)
    padded = np.pad(values, ((padding, padding), (padding, padding), (0, 0)))
    expected = [correlate(padded, kernel[..., channel], mode="valid")[::stride, ::stride, 0] for channel in range(7)]
    actual = convolved(values, kernel, stride, padding)
    np.testing.assert_allclose(actual, np.stack(expected, axis=-1), rtol=1e-4, atol=1e-4)


def test_the_unpickler_reads_arrays_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "vgg16.ckpt"
    for content, message in ((b"nothing", "SHA-256"), (pickle.dumps({"a": print}), "print is no array")):
        path.write_bytes(content)
        with pytest.raises((ValueError, pickle.UnpicklingError), match=message):
            perceptual.load(path)
        monkeypatch.setattr(perceptual, "check", lambda data, name: None)


def test_only_the_weights_of_channels_that_are_known_are_read(tmp_path: Path) -> None:
    (tmp_path / "dists.pt").write_bytes(bytes(12288))
    with pytest.raises(ValueError, match=r"dists\.pt: SHA-256"):
        perceptual.channel_weights(tmp_path / "dists.pt")
