from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from smartsplat.errors import ImageError, LimitError
from smartsplat.images.image import read_image
from smartsplat.limits import Limits


def random(*shape: int, top: int) -> np.ndarray:
    return np.random.default_rng(4).integers(0, top + 1, shape)


def raw(array: np.ndarray, top: int) -> bytes:
    return array.astype("u1" if top < 256 else ">u2").tobytes()


@pytest.mark.parametrize("top", [1, 15, 255, 256, 1023, 4095, 65535])
@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("plain", [False, True])
def test_grey_and_rgb_of_any_depth(top: int, samples: int, plain: bool) -> None:
    array = random(130, 11, samples, top=top)
    array[0, 0] = top
    mark = {(1, False): "P5", (3, False): "P6", (1, True): "P2", (3, True): "P3"}[samples, plain]
    header = f"{mark}\n# a comment\n11 130\n{top}\n".encode()
    text = "\n".join(" ".join(map(str, row)) for row in array.reshape(130, -1).tolist()).encode()
    result = read_image(header + (text if plain else raw(array, top)))
    full = 255 if top < 256 else 65535
    assert np.array_equal(result.pixels, np.floor(array * full / top + 0.5))
    assert result.depth == top.bit_length()
    assert result.notices == ()


@pytest.mark.parametrize("samples", [1, 2, 3, 4])
@pytest.mark.parametrize("top", [255, 65535])
def test_pam(samples: int, top: int) -> None:
    array = random(70, 9, samples, top=top)
    kind = ("GRAYSCALE", "GRAYSCALE_ALPHA", "RGB", "RGB_ALPHA")[samples - 1]
    header = f"P7\nWIDTH 9\n# a comment\nHEIGHT 70\nDEPTH {samples}\nMAXVAL {top}\nTUPLTYPE {kind}\nENDHDR\n"
    result = read_image(header.encode() + raw(array, top))
    assert np.array_equal(result.pixels, array[:, :, : samples - (samples % 2 == 0)])
    assert (result.alpha is None) == (samples % 2 == 1)
    assert result.alpha is None or np.array_equal(result.alpha, array[:, :, -1])


def test_pam_of_inks() -> None:
    inks = random(7, 9, 4, top=255).astype(np.uint8)
    data = b"P7\nWIDTH 9\nHEIGHT 7\nDEPTH 4\nMAXVAL 255\nTUPLTYPE CMYK\nENDHDR\n" + inks.tobytes()
    image = Image.frombytes("CMYK", (9, 7), inks.tobytes())
    assert np.array_equal(read_image(data).pixels, np.asarray(image.convert("RGB")))


@pytest.mark.parametrize("samples", [1, 3])
@pytest.mark.parametrize("scale", ["1.0", "-1.0"])
def test_floats_go_from_the_last_row_to_the_first(samples: int, scale: str) -> None:
    array = np.linspace(0, 1, 130 * 7 * samples).reshape(130, 7, samples).astype("<f4" if scale[0] == "-" else ">f4")
    header = f"{'Pf' if samples == 1 else 'PF'}\n7 130\n{scale}\n".encode()
    result = read_image(header + array[::-1].tobytes())
    assert np.array_equal(result.pixels, np.rint(array.astype(float) * 65535))
    assert result.notices == ("floating-point samples from 0 to 1 taken as 16 bits",)


def test_bitmaps_are_left_to_pillow() -> None:
    image = Image.fromarray(random(9, 21, top=1) > 0)
    buffer = io.BytesIO()
    image.save(buffer, "PPM")
    assert np.array_equal(read_image(buffer.getvalue()).pixels[:, :, 0], np.asarray(image) * np.uint8(255))


def test_files_that_end_too_early() -> None:
    array = random(100, 5, 3, top=65535)
    for data in (
        b"P6 5 100 65535\n" + raw(array, 65535)[:-200],
        b"P3 5 100 65535\n" + " ".join(map(str, array.reshape(-1)[:-60].tolist())).encode(),
    ):
        with pytest.raises(ImageError, match="missing; --accept-damaged"):
            read_image(data)
        result = read_image(data, accept_damaged=True)
        assert np.array_equal(result.pixels[:93], array[:93])
        assert not result.pixels[97:].any()


def test_damaged_files() -> None:
    for data, problem in (
        (b"P6 5 x 255\n", "header is damaged"),
        (b"P6 5 1 70000\n", "its largest value is 70000"),
        (b"P6 5 1 0\n", "its largest value is 0"),
        (b"P6 0 1 255\n", "has no pixels"),
        (b"Pf 2 1 0\n" + bytes(8), "header is damaged"),
        (b"P7\nWIDTH 9\nENDHDR\n", "header is damaged"),
        (b"P7\nWIDTH 1\nHEIGHT 1\nDEPTH 5\nMAXVAL 255\nENDHDR\n", "5 samples a pixel are not supported"),
        (b"P2 1 1 9999\n70000", "something else than numbers"),
        (b"P2 1 1 9999\nblack", "something else than numbers"),
        (b"P2 9 9 9999\n" + b"1" * (3 << 20), "something else than numbers"),
        (b"P5 1 1 100\n\xff", "samples from 255 to 255; only 0 to 100"),
    ):
        with pytest.raises(ImageError, match=problem):
            read_image(data)


def test_the_limit_comes_first() -> None:
    for data in (b"P6 90000 90000 65535\n", b"P7\nWIDTH 90000\nHEIGHT 90000\nDEPTH 3\nMAXVAL 255\nENDHDR\n"):
        with pytest.raises(LimitError):
            read_image(data)
    with pytest.raises(LimitError):
        read_image(b"P5 5 5 255\n" + bytes(25), limits=Limits(pixels=24))
