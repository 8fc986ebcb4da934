"""PSNR, SSIM and MS-SSIM of two uint8 images, computed over strips of rows so that memory stays small.

ssim equals scikit-image's structural_similarity with Gaussian weights and population covariance: cropping its
reflected border away leaves the positions where the window lies inside the image, and only those are worked
out here. ms_ssim equals pytorch-msssim. Both take one channel at a time, in float32 around mid-grey, where a
variance as E[x^2] - E[x]^2 loses fewer digits. Sums are in float64, one for each row, so that the height of
the strips does not change a single bit of the result.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from scipy.ndimage import correlate1d

from smartsplat.arrays import ByteArray, DoubleArray, FloatArray
from smartsplat.errors import ImageError

Plane = ByteArray | FloatArray  # [H, W] one channel, 0..255

STRIP_ROWS = 64
"""Rows worked on at once: few enough that the maps of a strip stay in a processor's cache."""

PEAK = 255.0
WINDOW_TAPS = 11
WINDOW_SIGMA = 1.5  # pixels
LUMINANCE_FLOOR = (0.01 * PEAK) ** 2  # C1 of SSIM
CONTRAST_FLOOR = (0.03 * PEAK) ** 2  # C2 of SSIM
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def psnr(reference: ByteArray, image: ByteArray) -> float:
    """Peak signal-to-noise ratio over all channels jointly, dB; infinite when the images are equal.

    Both are uint8 [H, W, C]. The sum of squares is exact.
    """
    _check(reference, image)
    return psnr_of_strips(reference, (image,))


def psnr_of_strips(reference: ByteArray, parts: Iterable[ByteArray]) -> float:
    """psnr of an image that comes in strips of its rows, uint8 [h, W, C], from top to bottom."""
    total = top = 0
    for part in parts:
        expected = reference[top : top + part.shape[0]]
        _check(expected, part)
        for rows in _strips(part.shape[0]):
            difference = expected[rows].astype(np.int16) - part[rows]
            total += int(np.square(difference, dtype=np.int32).sum(dtype=np.int64))
        top += part.shape[0]
    if top != reference.shape[0]:
        raise ImageError(f"cannot compare an image of {reference.shape[0]} rows with one of {top}")
    if total == 0:
        return float("inf")
    return float(10 * np.log10(PEAK**2 * reference.size / total))


def ssim(reference: ByteArray, image: ByteArray) -> float:
    """Structural similarity, window 11 x 11 with sigma 1.5, mean over channels; both are uint8 [H, W, C].

    In an image with a side under 11 pixels the window shrinks to the largest odd size that fits.
    """
    _check(reference, image)
    planes = range(reference.shape[2])
    return float(np.mean([_similarity(reference[..., c], image[..., c])[0] for c in planes]))


def ms_ssim(reference: ByteArray, image: ByteArray) -> float:
    """Multi-scale structural similarity over five scales, mean over channels; both are uint8 [H, W, C].

    With a side under 161 pixels only the scales whose shorter side holds the window of 11 are used, at least
    the first, and their weights are divided by their sum. One scale alone is ssim, each channel at least 0.
    """
    return _structure(reference, image)[1]


def compare(reference: ByteArray, image: ByteArray) -> dict[str, float]:
    """All three metrics of an image.

    Args:
        reference, image: uint8 [H, W, C].

    Returns:
        Under the keys psnr (decibels; infinite for equal images), ssim and ms_ssim.

    Raises:
        ImageError: the images differ in shape, are empty or not uint8.
    """
    similarity, multi_scale = _structure(reference, image)
    return {"psnr": psnr(reference, image), "ssim": similarity, "ms_ssim": multi_scale}


def _structure(reference: ByteArray, image: ByteArray) -> tuple[float, float]:
    """SSIM and MS-SSIM: what the second needs of the full size is most of the work of both."""
    _check(reference, image)
    scales = _scale_count(min(reference.shape[:2]))
    weights = np.array(SCALE_WEIGHTS[:scales])
    if scales < len(SCALE_WEIGHTS):  # all five are left as published: they sum to 1.0001
        weights /= weights.sum()
    similarities, products = [], []
    for channel in range(reference.shape[2]):
        similarity, values = _scale_values(reference[..., channel], image[..., channel], scales)
        similarities.append(similarity)
        products.append(np.prod(np.maximum(values, 0) ** weights))
    return float(np.mean(similarities)), float(np.mean(products))


def _check(reference: ByteArray, image: ByteArray) -> None:
    for array in (reference, image):
        if array.dtype != np.uint8 or array.ndim != 3 or array.size == 0:
            raise ImageError(f"metrics need uint8 [H, W, C] images, not {array.dtype} {array.shape}")
    if reference.shape != image.shape:
        raise ImageError(f"cannot compare images of shapes {reference.shape} and {image.shape}")


def _strips(height: int) -> Iterator[slice]:
    for top in range(0, height, STRIP_ROWS):
        yield slice(top, min(top + STRIP_ROWS, height))


def _scale_count(side: int) -> int:
    """How many scales, the first included, hold the window when the image's shorter side is ``side``."""
    count = 1
    while count < len(SCALE_WEIGHTS) and (side + 1) // 2 >= WINDOW_TAPS:
        side = (side + 1) // 2
        count += 1
    return count


def _scale_values(reference: Plane, image: Plane, scales: int) -> tuple[float, DoubleArray]:
    """SSIM of one channel, and the factors of its MS-SSIM: contrast-structure at each scale, SSIM at the last."""
    similarities, values = np.empty(scales), np.empty(scales)
    for scale in range(scales):
        similarities[scale], values[scale] = _similarity(reference, image)
        if scale < scales - 1:
            reference, image = _halve(reference), _halve(image)
    values[-1] = similarities[-1]
    return float(similarities[0]), values


def _similarity(reference: Plane, image: Plane) -> tuple[float, float]:
    """Means of the SSIM map and of its contrast-structure factor over the positions where the window fits."""
    window = _window(min(*reference.shape, WINDOW_TAPS))
    inner = reference.shape[0] - window.size + 1
    similarity, contrast = np.empty(inner), np.empty(inner)  # [inner] sums over a row
    for rows in _strips(inner):
        support = slice(rows.start, rows.stop + window.size - 1)
        maps = _maps(reference[support], image[support], window)
        similarity[rows], contrast[rows] = (values.sum(axis=1, dtype=np.float64) for values in maps)
    positions = inner * (reference.shape[1] - window.size + 1)
    return float(similarity.sum() / positions), float(contrast.sum() / positions)


def _window(max_taps: int) -> DoubleArray:
    """The Gaussian window along one axis, sum 1; its length is the largest odd number up to ``max_taps``."""
    radius = (max_taps - 1) // 2
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / WINDOW_SIGMA) ** 2)
    return np.asarray(weights / weights.sum(), np.float64)


def _maps(reference: Plane, image: Plane, window: DoubleArray) -> tuple[FloatArray, FloatArray]:
    """SSIM and its contrast-structure factor for one strip [h, w]; both [h - taps + 1, w - taps + 1]."""
    moments = np.empty((4, *reference.shape), np.float32)
    first, second, squares, products = moments
    np.subtract(reference, np.float32(PEAK / 2), out=first)
    np.subtract(image, np.float32(PEAK / 2), out=second)
    np.multiply(first, second, out=products)
    np.square(first, out=squares)
    squares += np.square(second)
    mean_first, mean_second, squares, products = _filtered(moments, window)

    # Only the sum of the two variances is needed, so four filtered maps are enough instead of five.
    # The order of the sums makes equal images score exactly 1.
    variances = squares - (np.square(mean_first) + np.square(mean_second))
    covariance = products - mean_first * mean_second
    contrast = (2 * covariance + CONTRAST_FLOOR) / (variances + CONTRAST_FLOOR)
    mean_first += np.float32(PEAK / 2)
    mean_second += np.float32(PEAK / 2)
    luminance = (2 * mean_first * mean_second + LUMINANCE_FLOOR) / (
        np.square(mean_first) + np.square(mean_second) + LUMINANCE_FLOOR
    )
    return contrast * luminance, contrast


def _filtered(maps: FloatArray, window: DoubleArray) -> FloatArray:
    """Each of n maps [h, w] weighted with the window where it fits; [n, h - taps + 1, w - taps + 1]."""
    radius = window.size // 2
    height, width = maps.shape[1:]
    down = correlate1d(maps, window, axis=1, mode="constant")[:, radius : height - radius]
    across = correlate1d(down, window, axis=2, mode="constant")[..., radius : width - radius]
    return np.asarray(across, np.float32)


def _halve(plane: Plane) -> FloatArray:
    """Means of 2 x 2 pixels, float32 [(H + 1) // 2, (W + 1) // 2].

    An odd side is continued by one line of zeros before its first pixel, as pytorch-msssim pads it.
    """
    height, width = plane.shape
    half = np.empty(((height + 1) // 2, (width + 1) // 2), np.float32)
    for rows in _strips(half.shape[0]):
        strip = np.zeros((2 * (rows.stop - rows.start), 2 * half.shape[1]), np.float32)
        top = 2 * rows.start - height % 2
        source = plane[max(top, 0) : 2 * rows.stop - height % 2]
        strip[len(strip) - len(source) :, width % 2 :] = source
        pairs = strip[0::2] + strip[1::2]
        half[rows] = (pairs[:, 0::2] + pairs[:, 1::2]) / 4
    return half
