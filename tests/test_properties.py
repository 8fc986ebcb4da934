"""What holds for every image, setting and set of Gaussians: Hypothesis makes them up and shrinks what fails."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import numpy.typing as npt
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import smartsplat
from smartsplat.bitstream import container
from smartsplat.bitstream.container import Alpha, Extras
from smartsplat.bitstream.file import to_file, to_groups
from smartsplat.bitstream.mask import MAX_LEVEL, to_mask
from smartsplat.bitstream.quantize import MAX_POSITION_CELL_LOG2, MAX_QUALITY, Quantizer
from smartsplat.errors import SettingsError, SmartSplatWarning
from smartsplat.gaussians import Gaussians
from tests.bitstream import format_decoder
from tests.bitstream.format_decoder import View
from tests.bitstream.test_format import native_symbols
from tests.faults.records import record, thorough

tries = settings(
    max_examples=2000 if thorough() else 60,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


@st.composite
def images(draw: st.DrawFn) -> npt.NDArray[Any]:
    """Of 1 to 24 pixels a side, 1 to 4 channels, 8 or 16 bits."""
    shape = (draw(st.integers(1, 24)), draw(st.integers(1, 24)), draw(st.integers(1, 4)))
    return draw(arrays.arrays(draw(st.sampled_from([np.uint8, np.uint16])), shape))


@st.composite
def options(draw: st.DrawFn) -> dict[str, Any]:
    """Arguments of ``encode`` that a small image can be encoded with."""
    targets: dict[str, st.SearchStrategy[Any]] = {
        "ratio": st.floats(0.2, 4),
        "bpp": st.floats(6, 100),
        "max_bytes": st.integers(150, 2000),
        "gaussians": st.integers(1, 40),
    }
    target = draw(st.sampled_from(sorted(targets)))
    return {
        target: draw(targets[target]),
        "steps": draw(st.integers(1, 12)),
        "effort": draw(st.integers(1, 9)),
        "tune": draw(st.sampled_from([None, "eye", "psnr"])),
        "grain": draw(st.one_of(st.none(), st.just("auto"), st.floats(0, 1))),
        "seed": draw(st.integers(0, 2**32 - 1)),
    }


def encoded(image: npt.NDArray[Any], arguments: dict[str, Any], threads: int = 1) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SmartSplatWarning)
        return smartsplat.encode(image, threads=threads, **arguments)


def two_decoders_agree(data: bytes, view: View) -> None:
    """In symbols, and in pixels to a code value of 8 bits."""
    record("examples of Hypothesis", 1)
    theirs, file = format_decoder.decode(data), container.unpack(data)
    alpha = file.extras.alpha
    for symbols, groups, quantizer in (
        (theirs.symbols, file.groups, file.quantizer),
        (theirs.alpha_symbols, alpha.groups if alpha else (), alpha.quantizer if alpha else file.quantizer),
    ):
        assert symbols == [row for group in groups for row in native_symbols(group.data, group.count, quantizer)]
    region, size = (view.x, view.y, view.width, view.height), (view.columns, view.rows)
    ours = smartsplat.decode(data, region=region, size=size)
    stored, unit = (">u1", 1) if theirs.content.depth <= 8 else (">u2", 257)
    assert np.abs(np.frombuffer(theirs.render(view), stored).astype(int) - ours.ravel()).max() <= unit


@tries
@given(images(), options())
def test_an_encoded_image_is_decoded(image: npt.NDArray[Any], arguments: dict[str, Any]) -> None:
    """In its shape and type, within its target, with the same bytes from two threads, and by two decoders."""
    height, width, channels = image.shape
    try:
        data = encoded(image, arguments)
    except SettingsError:
        assume(False)  # a target that is too small for anything
    assert encoded(image, arguments, threads=2) == data
    if "ratio" in arguments:
        assert len(data) <= 3 * height * width / arguments["ratio"]
    if "bpp" in arguments:
        assert 8 * len(data) <= height * width * arguments["bpp"]
    assert len(data) <= arguments.get("max_bytes", len(data))
    count = container.unpack(data).count
    assert count == arguments.get("gaussians", count)
    reader = smartsplat.open(data)
    opaque = channels % 2 == 0 and (image[..., -1] == np.iinfo(image.dtype).max).all()
    assert reader.shape == (height, width, channels - int(opaque))
    decoded = reader.read()
    assert decoded.shape == reader.shape
    assert decoded.dtype == image.dtype
    assert container.pack(container.unpack(data)) == data
    two_decoders_agree(data, View(0, 0, width, height, width, height))


@st.composite
def gaussians(draw: st.DrawFn, width: int, height: int, channels: int) -> Gaussians:
    """Up to twelve, anywhere on the image, of any scale, angle and colour that a file can hold."""
    count = draw(st.integers(1, 12))

    def values(low: float, high: float, *shape: int) -> npt.NDArray[np.float32]:
        return draw(arrays.arrays(np.float32, shape, elements=st.floats(low, high, width=32)))

    mean = values(0, 1, count, 2) * np.array([width, height], np.float32)
    scale = np.exp2(values(-8, 20, count, 2))
    return Gaussians(mean, scale, values(-4, 4, count), values(-64, 64, count, channels))


@st.composite
def quantizers(draw: st.DrawFn, width: int, height: int, channels: int) -> Quantizer:
    quality, cell = draw(st.integers(0, MAX_QUALITY)), draw(st.integers(0, MAX_POSITION_CELL_LOG2))
    return Quantizer(quality, cell, width, height, channels)


@st.composite
def written(draw: st.DrawFn) -> tuple[bytes, View]:
    """A file of Gaussians, perhaps with alpha by Gaussians and by a mask, and a view of it."""
    width, height, channels = draw(st.integers(1, 40)), draw(st.integers(1, 40)), draw(st.sampled_from([1, 3]))
    extras = Extras(draw(st.integers(1, 16)))
    if draw(st.booleans()):
        quantizer = draw(quantizers(width, height, 1))
        groups = to_groups(draw(gaussians(width, height, 1)), quantizer) if draw(st.booleans()) else ()
        levels = draw(arrays.arrays(np.uint8, (height, width), elements=st.integers(0, MAX_LEVEL)))
        extras = Extras(extras.depth, alpha=Alpha(quantizer, groups, to_mask(levels) if draw(st.booleans()) else ()))
    quantizer = draw(quantizers(width, height, channels))
    file = to_file(draw(gaussians(width, height, channels)), quantizer, extras, group_size=draw(st.integers(1, 12)))
    x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    size = draw(st.integers(1, width - x)), draw(st.integers(1, height - y))
    return container.pack(file), View(x, y, *size, draw(st.integers(1, 30)), draw(st.integers(1, 30)))


@tries
@given(written())
def test_two_decoders_agree_on_any_gaussians(case: tuple[bytes, View]) -> None:
    two_decoders_agree(*case)
