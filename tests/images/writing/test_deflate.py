"""What the writers of PNG and TIFF have in common: all pixels, blocks, threads and memory."""

from __future__ import annotations

import io
import threading
import tracemalloc
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import pyvips
from PIL import Image

from smartsplat.arrays import SampleArray
from smartsplat.images.strips import ROW_MULTIPLE, Strips
from smartsplat.images.writing import deflate
from smartsplat.images.writing.png_writer import write_png
from smartsplat.images.writing.tiff_writer import write_tiff
from smartsplat.render import View
from smartsplat.render.cpu import CpuRenderer
from tests.compare import scene
from tests.samples import cut, landscape

SIZES = [(1, 1), (1, 17), (17, 1), (130, 5), (64, 700), (129, 301), (200, 64)]
WRITERS = [write_png, write_tiff]


def noise(*shape: int, dtype: type[np.unsignedinteger] = np.uint8) -> SampleArray:
    return np.random.default_rng(sum(shape)).integers(0, np.iinfo(dtype).max, shape, dtype, endpoint=True)


def written(write: Callable[..., None], image: Strips, threads: int = 1) -> bytes:
    file = io.BytesIO()
    write(file, image, threads=threads)
    return file.getvalue()


def read(data: bytes) -> SampleArray:
    with Image.open(io.BytesIO(data)) as image:
        pixels = np.asarray(image)
    return pixels[:, :, None] if pixels.ndim == 2 else pixels


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_pillow_reads_the_same_pixels(write: Callable[..., None], size: tuple[int, int], channels: int) -> None:
    for pixels in (noise(*size, channels), np.full((*size, channels), 200, np.uint8)):
        assert np.array_equal(read(written(write, cut(pixels))), pixels)
        assert np.array_equal(read(written(write, cut(pixels, 2 * ROW_MULTIPLE))), pixels)


@pytest.mark.parametrize("write", WRITERS)
def test_pillow_reads_the_same_grey_of_16_bits(write: Callable[..., None]) -> None:
    pixels = noise(130, 17, 1, dtype=np.uint16)
    assert np.array_equal(read(written(write, cut(pixels))), pixels)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", SIZES)
def test_libvips_reads_the_same_pixels_without_a_warning(
    write: Callable[..., None], size: tuple[int, int], channels: int, dtype: type[np.unsignedinteger]
) -> None:
    pixels = noise(*size, channels, dtype=dtype)
    image = pyvips.Image.new_from_buffer(written(write, cut(pixels)), "", fail_on="warning")
    assert image.format == {np.uint8: "uchar", np.uint16: "ushort"}[dtype]
    assert image.hasalpha() == (channels in (2, 4))
    assert np.array_equal(image.numpy().reshape(pixels.shape), pixels)


@pytest.mark.parametrize("write", WRITERS)
def test_blocks_of_any_size(write: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = landscape(90, 140)
    for samples in (1, 90 * 3 * 5, 1 << 20):
        monkeypatch.setattr(deflate, "BLOCK_SAMPLES", samples)
        assert np.array_equal(read(written(write, cut(pixels))), pixels)


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_threads_do_not_change_the_file(
    write: Callable[..., None], dtype: type[np.unsignedinteger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deflate, "BLOCK_SAMPLES", 3000)
    pixels = landscape(90, 200).astype(dtype)
    assert written(write, cut(pixels), threads=4) == written(write, cut(pixels, 2 * ROW_MULTIPLE), threads=1)


@pytest.mark.parametrize(("write", "kind"), [(write_png, "png"), (write_tiff, "tiff")])
def test_a_rendering_takes_no_more_bytes_than_with_pillow(write: Callable[..., None], kind: str) -> None:
    pixels, file = CpuRenderer(1).render_samples(scene(3000, 400, 300, max_scale=8), View.whole(400, 300)), io.BytesIO()
    assert pixels.std() > 20
    Image.fromarray(pixels).save(file, kind, compress_level=3, compression="tiff_adobe_deflate")
    assert len(written(write, cut(pixels))) < len(file.getvalue())


@pytest.mark.parametrize("write", WRITERS)
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_the_whole_is_never_in_memory(write: Callable[..., None], dtype: type[np.unsignedinteger]) -> None:
    class Nowhere(io.BytesIO):
        def write(self, data: object) -> int:
            return 0

    def parts() -> Iterator[SampleArray]:
        for _ in range(100):
            yield np.zeros((ROW_MULTIPLE, 1000, 3), dtype)

    size = np.dtype(dtype).itemsize
    tracemalloc.start()
    write(Nowhere(), Strips((100 * ROW_MULTIPLE, 1000, 3), parts(), dtype))
    assert tracemalloc.get_traced_memory()[1] < 8e6 * size < 100 * ROW_MULTIPLE * 1000 * 3 * size
    tracemalloc.stop()


def test_an_interrupted_writer_leaves_the_rest_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deflate, "BLOCK_SAMPLES", 1)
    started, lock = [], threading.Lock()

    def work(rows: SampleArray) -> int:
        with lock:
            started.append(len(rows))
        return len(rows)

    strips = Strips((1000, 1, 1), [np.zeros((1000, 1, 1), np.uint8)])
    blocks = deflate.mapped(work, deflate.row_blocks(strips), threads=2)
    assert next(blocks) == 1
    blocks.close()
    assert len(started) <= 5
