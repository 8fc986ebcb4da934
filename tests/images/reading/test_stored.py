from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from smartsplat.errors import ImageError
from smartsplat.images.reading.sources import SampleStrips
from smartsplat.images.reading.stored import Assembled, StoredImage, assemble
from smartsplat.metadata import Metadata


def stored(array: Any, bands: str, **options: Any) -> StoredImage:
    """Samples [H, W, C] in strips of three rows."""
    samples = np.asarray(array)

    def strips(lenient: bool) -> SampleStrips:
        for top in range(0, len(samples), 3):
            yield top, samples[top : top + 3]

    return StoredImage(samples.shape[1], samples.shape[0], bands, strips, **options)


def assembled(array: Any, bands: str, **options: Any) -> Assembled:
    return assemble(stored(array, bands, **options), "a.png")


def random(*shape: int, kind: str = "u1") -> np.ndarray:
    return np.random.default_rng(2).integers(0, np.iinfo(kind).max + 1, shape).astype(kind)


@pytest.mark.parametrize(("bits", "kind"), [(1, "u1"), (4, "u1"), (7, "u1"), (10, "u2"), (12, "u2"), (15, "u2")])
def test_every_depth_covers_the_whole_range(bits: int, kind: str) -> None:
    white = (1 << bits) - 1
    values = np.arange(white + 1, dtype=kind).reshape(1, -1, 1)
    result = assembled(values, "L", bits=bits, white=white)
    full = 255 if bits <= 8 else 65535
    assert result.pixels.dtype == (np.uint8 if bits <= 8 else np.uint16)
    assert result.pixels[0, :, 0].tolist() == [(2 * value * full + white) // (2 * white) for value in range(white + 1)]
    assert result.depth == bits


def test_samples_above_white() -> None:
    with pytest.raises(ImageError, match=r"a\.png: samples from 3 to 16; only 0 to 15 can be read"):
        assembled([[[3], [16]]], "L", bits=4, white=15)


@pytest.mark.parametrize("turn", range(1, 9))
def test_every_orientation(turn: int) -> None:
    array = random(10, 7, 4)
    result = assembled(array, "RGBA", turn=turn)
    expected = {
        1: array, 2: array[:, ::-1], 3: array[::-1, ::-1], 4: array[::-1], 5: array.swapaxes(0, 1),
        6: np.rot90(array, -1), 7: np.rot90(array, 2).swapaxes(0, 1), 8: np.rot90(array),
    }[turn]  # fmt: skip
    assert np.array_equal(result.pixels, expected[:, :, :3])
    assert np.array_equal(result.alpha, expected[:, :, 3])
    assert result.pixels.flags.c_contiguous
    assert result.alpha is not None
    assert result.alpha.flags.c_contiguous


def test_alpha_is_kept_once_a_pixel_is_not_opaque() -> None:
    array = random(10, 7, 2, kind="u2")
    array[:, :, 1] = 65535
    assert assembled(array, "LA", bits=16, white=65535).alpha is None
    array[8, 3, 1] = 65534
    alpha = assembled(array, "LA", bits=16, white=65535).alpha
    assert np.array_equal(alpha, array[:, :, 1])


@pytest.mark.parametrize("kind", ["u1", "u2"])
def test_colours_multiplied_with_alpha(kind: str) -> None:
    full = np.iinfo(kind).max
    array = random(10, 7, 4, kind=kind)
    result = assembled(array, "RGBA", bits=8 * array.itemsize, white=full, premultiplied=True)
    color, alpha = array[:, :, :3].astype(float), np.maximum(array[:, :, 3:], 1).astype(float)
    assert np.array_equal(result.pixels, np.floor(np.minimum(color * full / alpha, full) + 0.5))


def test_floats() -> None:
    array = np.array([[[-0.05], [0.5], [1.1]]], np.float64)
    result = assembled(array, "L", bits=64, white=None)
    assert result.pixels[0, :, 0].tolist() == [0, 32768, 65535]
    assert result.notices == (
        "floating-point samples from 0 to 1 taken as 16 bits",
        "floating-point samples from -0.05 to 1.1 clipped to this range",
    )
    with pytest.raises(ImageError, match=r"a.png: floating-point samples from -0.11 to 1, expected 0 to 1.*-0.11,1\)"):
        assembled([[[-0.11], [1.0]]], "L", white=None)
    ranged = assemble(stored([[[-1.0], [0.0], [3.0]]], "L", white=None), "a", (-1.0, 3.0))
    assert ranged.pixels[0, :, 0].tolist() == [0, 16384, 65535]


def test_alpha_of_floats_has_a_range_of_its_own() -> None:
    result = assemble(stored([[[10.0, 0.5]]], "LA", white=None), "a", (0.0, 20.0))
    assert result.pixels[0, 0].tolist() == [32768]
    assert result.alpha is not None
    assert result.alpha[0, 0] == 32768


def test_floats_that_are_no_numbers() -> None:
    array = np.zeros((10, 7, 3))
    array[4, 5, 2] = np.nan
    array[7, 1] = -np.inf
    with pytest.raises(ImageError, match=r"a\.png: 4 of the samples are not finite, the first at x 5, y 4"):
        assembled(array, "RGB", white=None)


def test_samples_of_32_bits() -> None:
    result = assembled(np.array([[[0], [1 << 31], [(1 << 32) - 1]]], np.uint32), "L", bits=32, white=(1 << 32) - 1)
    assert result.pixels[0, :, 0].tolist() == [0, 32768, 65535]
    assert result.notices == ("32-bit samples reduced to 16 bits",)


def test_zero_that_is_white() -> None:
    result = assembled([[[0, 9], [255, 8]]], "LA", from_white=True)
    assert result.pixels[0, :, 0].tolist() == [255, 0]
    assert result.alpha is not None
    assert result.alpha.tolist() == [[9, 8]]


def test_metadata_are_made_upright() -> None:
    metadata = Metadata(icc=b"nonsense", exif=b"nonsense", xmp=b'<a tiff:Orientation="3"/>', iptc=b"x", density=(1, 2))
    result = assembled([[[0]]], "L", metadata=metadata, notices=["first"])
    assert result.metadata == Metadata(xmp=b'<a tiff:Orientation="1"/>', iptc=b"x", density=(1, 2))
    assert result.notices == (
        "first",
        "colour profile dropped: it is damaged, the image is GRAY",
        "damaged EXIF data dropped",
    )
