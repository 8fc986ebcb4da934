"""Every codec keeps its budget, and the anchors' search finds the best file."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

import smartsplat
from bench.rate_distortion import codecs
from smartsplat.arrays import ByteArray, SampleArray
from smartsplat.errors import SettingsError
from smartsplat.metrics import psnr
from tests.bench.rate_distortion.conftest import HEIGHT, WIDTH

ANCHORS = [codecs.Jpeg, codecs.WebP, codecs.Avif, codecs.JpegXl, codecs.Jpeg2000]


@pytest.fixture(params=ANCHORS)
def anchor(request: pytest.FixtureRequest) -> type[codecs.ShrinkingCodec]:
    if request.param is codecs.JpegXl:
        pytest.importorskip("pillow_jxl", reason="JPEG XL needs the bench extra")
    kind: type[codecs.ShrinkingCodec] = request.param
    return kind


def test_an_anchor_keeps_the_budget_and_shrinking_never_hurts(
    anchor: type[codecs.ShrinkingCodec], image: ByteArray
) -> None:
    byte_budgets = [4000, 1200]
    values = []
    for shrinks in (codecs.SHRINKS, (1,)):
        tool = anchor(shrinks)
        for file, byte_budget in zip(tool.encode(image, byte_budgets), byte_budgets, strict=True):
            if file is None:
                values.append(-np.inf)
                continue
            assert len(file.data) <= byte_budget
            decoded = tool.decode(file.data, WIDTH, HEIGHT)
            assert decoded.shape == (HEIGHT, WIDTH, 3)
            assert decoded.dtype == np.uint8
            values.append(psnr(image, decoded))
    with_shrinking, without = values[:2], values[2:]
    assert min(with_shrinking) > 15  # dB, by far more than a wrong image has
    assert all(best >= plain for best, plain in zip(with_shrinking, without, strict=True))


def test_shrinking_pays_at_a_small_budget(image: ByteArray) -> None:
    (file,) = codecs.Jpeg().encode(image, [1000])
    assert file is not None
    with Image.open(io.BytesIO(file.data)) as opened:
        assert opened.width < WIDTH
    assert ":s1:" not in file.setting


def test_the_quality_is_the_highest_that_fits(anchor: type[codecs.ShrinkingCodec], image: ByteArray) -> None:
    tool = anchor((1,))
    (file,) = tool.encode(image, [4000])
    assert file is not None
    name, _, chroma = file.setting.partition(":s1")
    sampling = next(each for each in tool.samplings if each.replace(":", "") == chroma.removeprefix(":"))
    quality = next(each for each in tool.qualities if tool.quality_name(each) == name)
    assert tool.file(image, sampling, quality) == file.data
    assert len(tool.file(image, sampling, quality + 1)) > 4000


def test_budgets_share_files_without_changing_the_result(image: ByteArray, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    original = codecs.Jpeg.file

    def file(self: codecs.Jpeg, pixels: SampleArray, sampling: str, quality: int) -> bytes:
        made.append((pixels.shape[1], sampling, quality))
        return original(self, pixels, sampling, quality)

    monkeypatch.setattr(codecs.Jpeg, "file", file)
    byte_budgets = [3000, 2000, 2900]
    together = codecs.Jpeg().encode(image, byte_budgets)
    assert len(made) == len(set(made))
    apart = [codecs.Jpeg().encode(image, [byte_budget])[0] for byte_budget in byte_budgets]
    assert [file and (file.data, file.setting) for file in together] == [
        file and (file.data, file.setting) for file in apart
    ]


def test_a_hopeless_budget_has_no_file(anchor: type[codecs.ShrinkingCodec], image: ByteArray) -> None:
    hopeless, possible = anchor().encode(image, [20, 5000])
    assert hopeless is None
    assert possible is not None


def test_avif_has_the_colours_of_the_image(image: ByteArray) -> None:
    """Colours converted as Pillow's encoder does it stay below 49 dB whatever the quality."""
    tool = codecs.Avif((1,))
    assert psnr(image, tool.decode(tool.file(image, "4:4:4", 100), WIDTH, HEIGHT)) > 50


def test_codec_names() -> None:
    names = ["jpeg", "jpeg2000", "avif:s9", "avif:s4:psnr", "avif:s6:eye", "smartsplat:e7", "smartsplat:e5:eye"]
    assert [codecs.codec(name).name for name in names] == names
    for name in ("gif", "avif", "avif:s10", "avif:s4:ssim", "smartsplat", "smartsplat:e0", "smartsplat:e10"):
        with pytest.raises(ValueError, match="unknown codec"):
            codecs.codec(name)


def test_smartsplat_is_given_its_byte_target(image: ByteArray, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def encode(pixels: ByteArray, *, max_bytes: int, effort: int, **options: object) -> bytes:
        if max_bytes < 100:
            raise SettingsError("too small")
        asked.append(options)
        return bytes([effort]) * max_bytes

    monkeypatch.setattr(smartsplat, "encode", encode, raising=False)
    file, none = codecs.codec("smartsplat:e3").encode(image, [100, 99])
    assert file is not None
    assert (file.data, file.setting) == (bytes([3]) * 100, "e3")
    assert none is None
    for name in ("smartsplat:e3:eye", "smartsplat:e3:grain"):
        codecs.codec(name).encode(image, [100])
    assert asked == [{"tune": "psnr", "grain": 0}, {"tune": "eye", "grain": 0}, {"tune": "eye", "grain": "auto"}]
