from __future__ import annotations

import io
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from PIL import Image, ImageCms

from smartsplat.arrays import ByteArray
from smartsplat.images import png_tiff_writer
from smartsplat.images.png_tiff_writer import write_png, write_tiff
from smartsplat.images.strips import ROW_MULTIPLE, Strips
from smartsplat.render import View
from smartsplat.render.cpu import CpuRenderer
from tests.compare import scene
from tests.samples import cut, gamma_profile, landscape

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
SHAPES = [(1, 1, 1), (1, 17, 3), (17, 1, 3), (130, 5, 3), (64, 700, 1), (129, 301, 3), (200, 64, 1)]
WRITERS = [write_png, write_tiff]


def noise(*shape: int) -> ByteArray:
    return np.random.default_rng(sum(shape)).integers(0, 256, shape, np.uint8)


def written(write: Callable[..., None], image: Strips, icc: bytes | None = None, threads: int = 1) -> bytes:
    file = io.BytesIO()
    write(file, image, icc, threads)
    return file.getvalue()


def read(data: bytes) -> ByteArray:
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


def test_strips_joined_are_the_image() -> None:
    pixels = noise(129, 7, 3)
    assert np.array_equal(cut(pixels).joined(), pixels)
    assert Strips((129, 7, 3), [pixels]).joined() is pixels, "the only strip need not be copied"


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_pillow_reads_the_same_pixels(write: Callable[..., None], shape: tuple[int, int, int]) -> None:
    for pixels in (noise(*shape), np.full(shape, 200, np.uint8)):
        assert np.array_equal(read(written(write, cut(pixels))), pixels)
        assert np.array_equal(read(written(write, cut(pixels, 2 * ROW_MULTIPLE))), pixels)


@pytest.mark.parametrize("write", WRITERS)
def test_blocks_of_any_size(write: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = landscape(90, 140)
    for samples in (1, 90 * 3 * 5, 1 << 20):
        monkeypatch.setattr(png_tiff_writer, "BLOCK_SAMPLES", samples)
        assert np.array_equal(read(written(write, cut(pixels))), pixels)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("channels", [1, 3])
def test_libvips_reads_the_same_pixels_without_a_warning(write: Callable[..., None], channels: int) -> None:
    pyvips = pytest.importorskip("pyvips", reason="pyvips is not installed: pip install smartsplat[large]")
    pixels, icc = noise(129, 301, channels), SRGB if channels == 3 else gamma_profile(2.2)
    image = pyvips.Image.new_from_buffer(written(write, cut(pixels), icc), "", fail_on="warning")
    assert np.array_equal(image.numpy().reshape(pixels.shape), pixels)
    assert bytes(image.get("icc-profile-data")) == icc


@pytest.mark.parametrize("write", WRITERS)
def test_the_profile_is_carried(write: Callable[..., None]) -> None:
    with Image.open(io.BytesIO(written(write, cut(noise(70, 9, 3)), SRGB))) as image:
        assert image.info["icc_profile"] == SRGB
    with Image.open(io.BytesIO(written(write, cut(noise(70, 9, 3))))) as image:
        assert "icc_profile" not in image.info


@pytest.mark.parametrize("write", WRITERS)
def test_threads_do_not_change_the_file(write: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(png_tiff_writer, "BLOCK_SAMPLES", 3000)
    pixels = landscape(90, 200)
    assert written(write, cut(pixels), threads=4) == written(write, cut(pixels, 2 * ROW_MULTIPLE), threads=1)


@pytest.mark.parametrize(("write", "kind"), [(write_png, "png"), (write_tiff, "tiff")])
def test_a_rendering_takes_no_more_bytes_than_with_pillow(write: Callable[..., None], kind: str) -> None:
    pixels, file = CpuRenderer(1).render_bytes(scene(3000, 400, 300, max_scale=8), View.whole(400, 300)), io.BytesIO()
    assert pixels.std() > 20
    Image.fromarray(pixels).save(file, kind, compress_level=3, compression="tiff_adobe_deflate")
    assert len(written(write, cut(pixels))) < len(file.getvalue())


@pytest.mark.parametrize("write", WRITERS)
def test_the_whole_is_never_in_memory(write: Callable[..., None]) -> None:
    class Nowhere(io.BytesIO):
        def write(self, data: object) -> int:
            return 0

    def parts() -> Iterator[ByteArray]:
        for _ in range(100):
            yield np.zeros((ROW_MULTIPLE, 1000, 3), np.uint8)

    tracemalloc.start()
    write(Nowhere(), Strips((100 * ROW_MULTIPLE, 1000, 3), parts()))
    assert tracemalloc.get_traced_memory()[1] < 8e6 < 100 * ROW_MULTIPLE * 1000 * 3
    tracemalloc.stop()


def test_a_tiff_that_would_need_longer_numbers_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match="TIFF ends at"):
        write_tiff(io.BytesIO(), Strips((1 << 16, 1 << 16, 3), []))
    monkeypatch.setattr(png_tiff_writer, "MAX_TIFF_BYTES", 300)
    assert written(write_tiff, cut(noise(10, 10, 3)))
