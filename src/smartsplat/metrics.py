"""PSNR, SSIM and MS-SSIM of two images, computed over strips of rows so that memory stays small.

ssim equals scikit-image's structural_similarity with Gaussian weights and population covariance: cropping its
reflected border away leaves the positions where the window lies inside the image, and only those are worked
out here. ms_ssim equals pytorch-msssim. Both take one channel at a time, in float32 around mid-grey, where a
variance as E[x^2] - E[x]^2 loses fewer digits. Sums are in float64, one for each row, so that the height of
the strips does not change a single bit of the result.

Images are uint8 or uint16 [H, W, C], C = 1 (grey), 2 (grey and straight alpha), 3 (RGB) or 4 (RGB and alpha). Of two
types, the 8 bits are widened by 257. Where one has alpha, what is compared is both over black and both over white; an
image without alpha is opaque. psnr is that of the mean of the two mean square errors, from integers and exact; ssim
and ms_ssim are means of the two, whose composites are made in float64 and rounded to float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import correlate1d

from smartsplat.arrays import ByteArray, DoubleArray, FloatArray, SampleArray
from smartsplat.errors import ImageError

STRIP_ROWS = 64
"""Rows worked on at once: few enough that the maps of a strip stay in a processor's cache."""

PEAK = 255.0  # of the planes that SSIM sees, whatever the type of the image
WINDOW_TAPS = 11
WINDOW_SIGMA = 1.5  # pixels
LUMINANCE_FLOOR = (0.01 * PEAK) ** 2  # C1 of SSIM
CONTRAST_FLOOR = (0.03 * PEAK) ** 2  # C2 of SSIM
SCALE_WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)


def psnr(reference: SampleArray, image: SampleArray) -> float:
    """Peak signal-to-noise ratio over all channels of colour jointly, dB; infinite when the images are equal.

    Both are uint8 or uint16 [H, W, C], C = 1 to 4. The sum of squares is exact.
    """
    _check(reference, image)
    color, alpha = _split(reference)
    return psnr_of_strips(color, (image,), alpha)


def psnr_of_strips(reference: SampleArray, parts: Iterable[SampleArray], alpha: SampleArray | None = None) -> float:
    """psnr of an image that comes in strips of its rows.

    Args:
        reference: uint8 or uint16 [H, W, C], C = 1 or 3.
        parts: of the image, from top to bottom: all uint8 or all uint16, [h, W, C], or [h, W, C + 1] with alpha.
        alpha: of the reference, [H, W] of its type; None: opaque.

    Returns:
        Decibels; infinite when the images are equal.

    Raises:
        ImageError: the images differ in shape.
    """
    if reference.ndim != 3 or reference.shape[2] not in (1, 3):
        raise ImageError(f"a reference beside its alpha is [H, W, 1 or 3], not {reference.dtype} {reference.shape}")
    if alpha is not None and (alpha.shape != reference.shape[:2] or alpha.dtype != reference.dtype):
        raise ImageError(f"an alpha of {alpha.dtype} {alpha.shape} is not that of {reference.dtype} {reference.shape}")
    total = top = 0
    peak = 255
    for part in parts:
        bottom = top + part.shape[0]
        expected = reference[top:bottom]
        _check(expected, part)
        peak = int(max(np.iinfo(reference.dtype).max, np.iinfo(part.dtype).max))
        color, part_alpha = _split(part)
        expected_alpha = None if alpha is None else alpha[top:bottom]
        for rows in _strips(part.shape[0]):
            colors = _widened(expected[rows], peak), _widened(color[rows], peak)
            if expected_alpha is None and part_alpha is None:
                total += 2 * peak**2 * _square_error(*colors)
            else:
                shape = expected[rows].shape
                alphas = _weights(expected_alpha, shape, rows, peak), _weights(part_alpha, shape, rows, peak)
                total += _composite_error(*colors, *alphas, peak)
        top = bottom
    if top != reference.shape[0]:
        raise ImageError(f"cannot compare an image of {reference.shape[0]} rows with one of {top}")
    if total == 0:
        return float("inf")
    return float(10 * np.log10(2 * peak**4 * reference.size / total))


def _widened(samples: SampleArray, peak: int) -> SampleArray:
    """Samples over the range of 0 to ``peak``, 255 or 65535."""
    return samples.astype(np.uint16) * np.uint16(257) if np.iinfo(samples.dtype).max < peak else samples


def _weights(alpha: SampleArray | None, shape: tuple[int, ...], rows: slice, peak: int) -> npt.NDArray[np.int64]:
    """Some rows, of the shape [h, W, C], of an alpha [H, W], 0 to ``peak``, as [h, W, 1]."""
    if alpha is None:
        return np.full((*shape[:2], 1), peak, np.int64)
    return _widened(alpha[rows], peak).astype(np.int64)[:, :, None]


def _square_error(first: SampleArray, second: SampleArray) -> int:
    """Sum of squared differences of samples of one type."""
    if first.dtype == np.uint8:
        difference = first.astype(np.int16) - second
        return int(np.square(difference, dtype=np.int32).sum(dtype=np.int64))
    return int(np.square(first.astype(np.int32) - second, dtype=np.int64).sum())


def _composite_error(
    first: SampleArray,
    second: SampleArray,
    first_alpha: npt.NDArray[np.int64],
    second_alpha: npt.NDArray[np.int64],
    peak: int,
) -> int:
    """Sums of squared differences over black and over white, in units of 1 / peak^2 of a squared code value.

    Colours are [h, W, C], alphas [h, W, 1]. Over black is colour times alpha, over white peak (peak - alpha) more.
    """
    over_black = first * first_alpha - second * second_alpha
    over_white = over_black + peak * (second_alpha - first_alpha)
    return _sum_of_squares(over_black) + _sum_of_squares(over_white)


def _sum_of_squares(values: npt.NDArray[np.int64]) -> int:
    """Exact for |values| < 2^32, whose squares have more than 63 bits: upper and lower 16 bits on their own."""
    upper, lower = values >> 16, values & 0xFFFF
    squares = (int((first * second).sum()) for first, second in ((upper, upper), (upper, lower), (lower, lower)))
    return sum(square << bits for square, bits in zip(squares, (32, 17, 0), strict=True))


@dataclass(frozen=True, eq=False)
class _Channel:
    """A channel with more than 8 bits or with alpha, as float32 0..255; its rows are made when they are asked for.

    Args:
        values: [H, W] uint8 or uint16.
        alpha: [H, W] of the same type; None: opaque.
        ground: what lies behind it, 0 (black) or 255 (white).
    """

    values: SampleArray
    alpha: SampleArray | None
    ground: float

    @property
    def shape(self) -> tuple[int, int]:
        height, width = self.values.shape
        return height, width

    def __getitem__(self, rows: slice) -> FloatArray:
        unit = np.iinfo(self.values.dtype).max / PEAK  # 257 or 1, which divide multiples of theirs without a remainder
        values = self.values[rows] / unit
        if self.alpha is not None:
            alpha = self.alpha[rows] / (PEAK * unit)
            values = values * alpha + self.ground * (1 - alpha)
        return values.astype(np.float32)


Plane = ByteArray | FloatArray | _Channel  # [H, W] one channel, 0..255


def _split(image: SampleArray) -> tuple[SampleArray, SampleArray | None]:
    """Colour [H, W, 1 or 3] and alpha [H, W], which are parts of the same memory."""
    colors = 1 if image.shape[2] < 3 else 3
    return image[..., :colors], image[..., colors] if image.shape[2] > colors else None


def _planes(reference: SampleArray, image: SampleArray) -> Iterator[tuple[Plane, Plane]]:
    """Both images' channels of colour, each over black and then over white if there is alpha."""
    (first, first_alpha), (second, second_alpha) = _split(reference), _split(image)
    grounds = (0.0,) if first_alpha is None and second_alpha is None else (0.0, PEAK)
    for ground in grounds:
        for channel in range(first.shape[2]):
            yield (
                _plane(first[..., channel], first_alpha, ground),
                _plane(second[..., channel], second_alpha, ground),
            )


def _plane(values: SampleArray, alpha: SampleArray | None, ground: float) -> Plane:
    return values if values.dtype == np.uint8 and alpha is None else _Channel(values, alpha, ground)


def ssim(reference: SampleArray, image: SampleArray) -> float:
    """Structural similarity, window 11 x 11 with sigma 1.5, mean over channels of colour.

    Both are uint8 or uint16 [H, W, C], C = 1 to 4. In an image with a side under 11 pixels the window shrinks to the
    largest odd size that fits.
    """
    _check(reference, image)
    return float(np.mean([_similarity(*planes)[0] for planes in _planes(reference, image)]))


def ms_ssim(reference: SampleArray, image: SampleArray) -> float:
    """Multi-scale structural similarity over five scales, mean over channels of colour.

    Both are uint8 or uint16 [H, W, C], C = 1 to 4. With a side under 161 pixels only the scales whose shorter side
    holds the window of 11 are used, at least the first, and their weights are divided by their sum. One scale alone is
    ssim, each channel at least 0.
    """
    return _structure(reference, image)[1]


def compare(reference: SampleArray, image: SampleArray) -> dict[str, float]:
    """All three metrics of an image.

    Args:
        reference, image: uint8 or uint16 [H, W, C], C = 1 to 4.

    Returns:
        Under the keys psnr (decibels; infinite for equal images), ssim and ms_ssim.

    Raises:
        ImageError: the images differ in height, width or channels of colour, are empty or of another type.
    """
    similarity, multi_scale = _structure(reference, image)
    return {"psnr": psnr(reference, image), "ssim": similarity, "ms_ssim": multi_scale}


def _structure(reference: SampleArray, image: SampleArray) -> tuple[float, float]:
    """SSIM and MS-SSIM: what the second needs of the full size is most of the work of both."""
    _check(reference, image)
    scales = _scale_count(min(reference.shape[:2]))
    weights = np.array(SCALE_WEIGHTS[:scales])
    if scales < len(SCALE_WEIGHTS):  # all five are left as published: they sum to 1.0001
        weights /= weights.sum()
    similarities, products = [], []
    for planes in _planes(reference, image):
        similarity, values = _scale_values(*planes, scales)
        similarities.append(similarity)
        products.append(np.prod(np.maximum(values, 0) ** weights))
    return float(np.mean(similarities)), float(np.mean(products))


def _check(reference: SampleArray, image: SampleArray) -> None:
    for array in (reference, image):
        if (
            array.dtype not in (np.uint8, np.uint16)
            or array.ndim != 3
            or array.shape[2] not in (1, 2, 3, 4)
            or array.size == 0
        ):
            given = f"{array.dtype} {array.shape}"
            raise ImageError(f"metrics need uint8 or uint16 [H, W, 1 to 4] images, not {given}")
    if reference.shape[:2] != image.shape[:2] or (reference.shape[2] < 3) != (image.shape[2] < 3):
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


def _maps(
    reference: ByteArray | FloatArray, image: ByteArray | FloatArray, window: DoubleArray
) -> tuple[FloatArray, FloatArray]:
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
