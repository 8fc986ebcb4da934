from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from smartsplat.arrays import ByteArray
from smartsplat.web.iiif import ImageRequest, RequestError, information, parse, render, scale_factors

WIDTH, HEIGHT, MAX_AREA = 1000, 600, 1 << 20


def parsed(region: str = "full", size: str = "max", rotation: str = "0", name: str = "default.jpg") -> ImageRequest:
    return parse(f"{region}/{size}/{rotation}/{name}", WIDTH, HEIGHT, MAX_AREA)


@pytest.mark.parametrize(
    ("text", "region"),
    [
        ("full", (0, 0, 1000, 600)),
        ("square", (200, 0, 600, 600)),
        ("10,20,30,40", (10, 20, 30, 40)),
        ("990,590,30,40", (990, 590, 10, 10)),
        ("pct:10,20,30.5,40", (100, 120, 305, 240)),
        ("pct:99.99,99.99,.001,.001", (1000, 600, 0, 0)),
        ("pct:50,50,0.001,0.001", (500, 300, 1, 1)),
    ],
)
def test_regions(text: str, region: tuple[int, int, int, int]) -> None:
    if 0 in region[2:]:
        with pytest.raises(RequestError, match="has no pixels of the image"):
            parsed(region=text)
    else:
        assert parsed(region=text).region == region


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("max", (1000, 600)),
        ("^max", (1321, 793)),
        ("500,", (500, 300)),
        (",150", (250, 150)),
        ("pct:50", (500, 300)),
        ("pct:.01", (1, 1)),
        ("333,77", (333, 77)),
        ("!300,300", (300, 180)),
        ("!5000,60", (100, 60)),
        ("^!1200,2000", (1200, 720)),
        ("^!9000,9000", (1321, 793)),
        ("^1100,", (1100, 660)),
        ("^pct:110", (1100, 660)),
        ("^10,900", (10, 900)),
        ("1,", (1, 1)),
    ],
)
def test_sizes(text: str, size: tuple[int, int]) -> None:
    assert parsed(size=text).size == size


def test_the_largest_size_of_a_small_limit() -> None:
    assert parse("full/max/0/default.jpg", 1000, 600, 6000).size == (100, 60)
    assert parse("full/max/0/default.jpg", 65536, 1, 4).size == (4, 1)


@pytest.mark.parametrize(
    ("part", "text", "status"),
    [
        ("region", "", 400),
        ("region", "1,2,3", 400),
        ("region", "1,2,3,4,5", 400),
        ("region", "-1,0,5,5", 400),
        ("region", "1.5,0,5,5", 400),
        ("region", "0,0,0,5", 400),
        ("region", "1000,0,5,5", 400),
        ("region", "99999999999999999999,0,5,5", 400),
        ("region", "0,0,٣,5", 400),
        ("region", "pct:0,0,0,5", 400),
        ("region", "pct:1e1,0,5,5", 400),
        ("region", "circle", 400),
        ("size", "", 400),
        ("size", ",", 400),
        ("size", "0,", 400),
        ("size", "full", 400),
        ("size", "1001,", 400),
        ("size", ",601", 400),
        ("size", "pct:101", 400),
        ("size", "pct:0", 400),
        ("size", "!2000,3000", 400),
        ("size", "!0,3000", 400),
        ("size", "^2000,2000", 400),
        ("size", "^99999999999,", 400),
        ("size", "^pct:999999999", 400),
        ("size", "^^10,", 400),
        ("rotation", "", 400),
        ("rotation", "-90", 400),
        ("rotation", "361", 400),
        ("rotation", "45", 501),
        ("rotation", "!22.5", 501),
        ("rotation", "90deg", 400),
        ("name", "default", 400),
        ("name", "best.jpg", 400),
        ("name", "default.gif", 400),
        ("name", "default.", 400),
        ("name", "default.JPG", 400),
        ("name", "default.jpg/more", 404),
    ],
)
def test_what_cannot_be_met(part: str, text: str, status: int) -> None:
    with pytest.raises(RequestError) as caught:
        parsed(**{part: text})
    assert caught.value.status == status
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 200


def test_canonical_requests() -> None:
    assert parsed().canonical == "full/max/0/default.jpg"
    assert parsed("0,0,1000,600", "1000,").canonical == "full/max/0/default.jpg"
    assert parsed("pct:10,10,10,10", "pct:50", "!270", "gray.png").canonical == "100,60,100,60/50,30/!270/gray.png"
    assert parsed(size="^1100,").canonical == "full/^1100,660/0/default.jpg"
    assert parsed(rotation="360").canonical == "full/max/0/default.jpg"
    for request in (parsed("1,2,33,44", "^!100,100"), parsed(size="!77,77"), parsed("square", "max", "90")):
        assert parse(request.canonical, WIDTH, HEIGHT, MAX_AREA) == request


def test_information() -> None:
    found = information("http://localhost/iiif/a.sspl", 15360, 11520, 1 << 24)
    assert found["profile"] == "level2"
    assert found["tiles"] == [{"width": 512, "height": 512, "scaleFactors": [1, 2, 4, 8, 16, 32]}]
    assert found["sizes"][0] == {"width": 480, "height": 360}
    assert found["sizes"][-1] == {"width": 3840, "height": 2880}, "larger ones are above the limit"
    assert scale_factors(512, 3) == [1]
    assert scale_factors(513, 3) == [1, 2]


class Squares:
    """Red, green, blue and white quarters, with alpha that grows downwards."""

    width, height = 8, 4

    def __init__(self, channels: int) -> None:
        colors = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [255, 255, 255]]], np.uint8)
        pixels = colors.repeat(2, axis=0).repeat(4, axis=1)
        alpha = np.array([0, 80, 160, 255], np.uint8)[:, None, None].repeat(8, axis=1)
        gray = pixels[:, :, :1]
        self._pixels = {1: gray, 2: np.dstack([gray, alpha]), 3: pixels, 4: np.dstack([pixels, alpha])}[channels]

    def read(self, region: tuple[int, int, int, int], size: tuple[int, int]) -> ByteArray:
        assert region == (0, 0, 8, 4)
        assert size == (8, 4)
        return self._pixels


def answered(words: str, channels: int = 3) -> Image.Image:
    image = Image.open(io.BytesIO(render(Squares(channels), parse(words, 8, 4, 100))))
    image.load()
    return image


def test_turned_and_mirrored() -> None:
    def corner(words: str) -> tuple[int, ...]:
        color = answered(f"full/max/{words}/default.png").getpixel((0, 0))
        assert isinstance(color, tuple)
        return color

    red, green, blue, white = (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 255)
    assert [corner(words) for words in ("0", "90", "180", "270", "360")] == [red, blue, white, green, red]
    assert [corner(words) for words in ("!0", "!90", "!180", "!270")] == [green, white, blue, red]
    assert answered("full/max/90/default.png").size == (4, 8)


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("form", ["jpg", "png", "webp"])
@pytest.mark.parametrize("quality", ["default", "color", "gray", "bitonal"])
def test_qualities_and_formats(quality: str, form: str, channels: int) -> None:
    image = answered(f"full/max/0/{quality}.{form}", channels)
    assert image.format == {"jpg": "JPEG", "png": "PNG", "webp": "WEBP"}[form]
    assert image.size == (8, 4)
    keeps_alpha = channels in (2, 4) and form != "jpg" and quality != "bitonal"
    assert image.mode.endswith("A") == keeps_alpha
    if quality in ("gray", "bitonal"):
        red, green, blue = (np.asarray(image.convert("RGB")).astype(int)[..., c] for c in range(3))
        assert abs(red - green).max() <= 1
        assert abs(red - blue).max() <= 1
    if quality == "bitonal" and form == "png":
        assert image.mode == "1"
