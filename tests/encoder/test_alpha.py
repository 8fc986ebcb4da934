"""Opacity: what a mask keeps, what goes to Gaussians, every target, and composites without fringes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import smartsplat
from smartsplat import metrics
from smartsplat.arrays import SampleArray
from smartsplat.bitstream import container
from smartsplat.bitstream.container import Group
from smartsplat.bitstream.mask import mask_levels
from smartsplat.bitstream.quantize import Quantizer
from smartsplat.encoder import alpha as alpha_module
from smartsplat.encoder.alpha import AlphaFits, encode_alpha
from smartsplat.encoder.bleed import MAX_FAINT
from smartsplat.encoder.fit import Progress
from smartsplat.encoder.settings import EFFORT_TRIALS
from smartsplat.errors import SettingsError
from smartsplat.images.image import SourceImage
from smartsplat.metadata import Metadata
from tests.encoder.fits import quick_encode
from tests.samples import landscape

WIDTH, HEIGHT = 96, 64
ROW, COLUMN = np.mgrid[:HEIGHT, :WIDTH] + 0.5
DISTANCE = 24 - np.hypot(COLUMN - WIDTH / 2, ROW - HEIGHT / 2)
"""Pixels from the outline of a disc, positive inside."""

SHAPES = {
    "disc": (DISTANCE > 0) * 1.0,
    "outline": np.clip(DISTANCE + 0.5, 0, 1),
    "smooth": 0.5 + 0.5 * np.sin(COLUMN / 15) * np.cos(ROW / 11),
    "half": np.full((HEIGHT, WIDTH), 0.5),
    "nothing": np.zeros((HEIGHT, WIDTH)),
    "noise": np.random.default_rng(0).random((HEIGHT, WIDTH)),
}
IMAGE = landscape(WIDTH, HEIGHT)


def with_opacity(opacity: np.ndarray, channels: int = 3, dtype: Any = np.uint8) -> SampleArray:
    """The landscape [H, W, C + 1] at an opacity [H, W] in [0, 1]."""
    white = np.iinfo(dtype).max
    pixels = landscape(opacity.shape[1], opacity.shape[0], channels).astype(dtype) * dtype(white // 255)
    return np.dstack([pixels, np.rint(white * opacity).astype(dtype)])


def opacity_error(data: bytes, image: SampleArray) -> float:
    """Largest error of the decoded opacity, 1 being opaque."""
    decoded = smartsplat.decode(data)
    assert decoded.dtype == image.dtype
    assert decoded.shape == image.shape
    return float(np.abs(decoded[..., -1].astype(float) - image[..., -1]).max() / np.iinfo(image.dtype).max)


def alpha_of(data: bytes) -> container.Alpha:
    """What a file has of opacity."""
    alpha = container.unpack(data).extras.alpha
    assert alpha is not None
    return alpha


def levels_of(alpha: container.Alpha) -> int:
    """How many different levels the mask has."""
    return len(np.unique(mask_levels(alpha.mask, (0, 0, WIDTH, HEIGHT), (WIDTH, HEIGHT), 1)))


# ---- what becomes of opacity -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_binary_mask_comes_back_exactly(channels: int, dtype: Any) -> None:
    image = with_opacity(SHAPES["disc"], channels, dtype)
    data = quick_encode(image, ratio=20)
    assert opacity_error(data, image) == 0
    assert smartsplat.open(data).info.alpha_bytes < 100, "half a byte for each pixel along the outline of 151"


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_an_outline_is_right_to_half_a_level(dtype: Any) -> None:
    image = with_opacity(SHAPES["outline"], dtype=dtype)
    data = quick_encode(image, ratio=10)
    assert opacity_error(data, image) < 1 / 30 + 0.002
    assert not alpha_of(data).groups


def test_an_outline_has_fewer_levels_where_bytes_are_few() -> None:
    image = with_opacity(SHAPES["outline"])
    for size, least, most in ((250, 2, 2), (400, 3, 8), (3000, 12, 16)):
        assert least <= levels_of(alpha_of(quick_encode(image, max_bytes=size))) <= most


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_changes_slowly_goes_to_gaussians(dtype: Any) -> None:
    opacity = np.broadcast_to(np.linspace(0, 1, 192), (128, 192))
    image = with_opacity(opacity, dtype=dtype)
    data = quick_encode(image, ratio=50, steps=120)
    alpha = alpha_of(data)
    assert alpha.groups
    assert not alpha.mask
    assert smartsplat.open(data).info.alpha_bytes < 300, "a mask takes ten times as much"
    assert opacity_error(data, image) < 0.1
    error = smartsplat.decode(data)[..., 3].astype(float) - image[..., 3]
    assert np.sqrt((error**2).mean()) < 0.01 * np.iinfo(dtype).max


@pytest.mark.parametrize("opacity", [0.5, 1 / 3, 0.03])
def test_one_opacity_everywhere(opacity: float) -> None:
    image = with_opacity(np.full((128, 192), opacity))
    decoded = smartsplat.decode(quick_encode(image, ratio=50, steps=120))
    error = decoded[..., 3].astype(float) - image[..., 3]
    assert np.sqrt((error**2).mean()) < 2.5
    assert abs(error.mean()) < 2


@pytest.mark.parametrize("options", [{"ratio": 20}, {"max_bytes": 85}, {"psnr": 40}, {"gaussians": 3}], ids=str)
def test_an_image_that_is_transparent_all_over(options: dict[str, Any]) -> None:
    data = quick_encode(with_opacity(SHAPES["nothing"]), **options)
    assert not smartsplat.decode(data)[..., 3].any()
    assert smartsplat.open(data).info.alpha_bytes == 0
    assert len(data) <= options.get("max_bytes", IMAGE.size / options.get("ratio", 1))


@pytest.mark.parametrize("shape", [(1, 1), (1, 17), (17, 1), (1, 300)], ids=str)
@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("options", [{"max_bytes": 120}, {"max_bytes": 300}, {"gaussians": 40}], ids=str)
def test_tiny_images(shape: tuple[int, int], channels: int, options: dict[str, Any]) -> None:
    image = np.random.default_rng(1).integers(0, 200, (*shape, channels), dtype=np.uint8)
    data = quick_encode(image, **options)
    assert smartsplat.decode(data).shape == image.shape
    assert len(data) <= options.get("max_bytes", 10**9)
    assert smartsplat.open(data).info.gaussians == options.get("gaussians", smartsplat.open(data).info.gaussians)


def test_opaque_images_have_no_alpha() -> None:
    image = with_opacity(np.ones((HEIGHT, WIDTH)))
    assert quick_encode(image, ratio=20) == quick_encode(IMAGE, ratio=20)


def test_alpha_is_flattened_only_on_request() -> None:
    image = with_opacity(SHAPES["disc"])
    with pytest.warns(smartsplat.SmartSplatWarning, match="flattened"):
        data = quick_encode(image, ratio=20, background=(255, 255, 255))
    decoded = smartsplat.decode(data)
    assert decoded.shape == IMAGE.shape
    assert decoded[:4, :4].min() > 220


# ---- targets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [120, 150, 250, 400, 900, 5000])
def test_no_target_in_bytes_is_exceeded(shape: str, size: int) -> None:
    data = quick_encode(with_opacity(SHAPES[shape]), max_bytes=size)
    assert len(data) <= size
    assert len(data) > 0.8 * size or shape == "nothing"
    assert smartsplat.decode(data).shape == (HEIGHT, WIDTH, 4)


@pytest.mark.parametrize("shape", ["disc", "smooth", "noise"])
@pytest.mark.parametrize("size", [1, 70, 119])
def test_targets_below_the_smallest_file(shape: str, size: int) -> None:
    image = with_opacity(SHAPES[shape])
    with pytest.raises(SettingsError, match="too small, a file takes at least") as caught:
        quick_encode(image, max_bytes=size)
    least = int(str(caught.value).split()[-1])
    assert len(quick_encode(image, max_bytes=least)) <= least


@pytest.mark.parametrize("shape", ["disc", "outline", "smooth", "half"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_a_psnr_is_that_of_composites(shape: str, dtype: Any) -> None:
    image = with_opacity(SHAPES[shape], dtype=dtype)
    data = quick_encode(image, psnr=24, steps=40)
    assert metrics.psnr(image, smartsplat.decode(data)) >= 24
    assert len(data) < image.size // 6


def test_a_psnr_counts_what_faint_pixels_lose() -> None:
    """Their colours are not kept, which is an error like any other."""
    image = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 4), dtype=np.uint8)
    image[..., 3] = MAX_FAINT
    image[:20, :30] = np.dstack([IMAGE[:20, :30], np.full((20, 30), 255, np.uint8)])
    for target in (44, 46):
        assert metrics.psnr(image, smartsplat.decode(quick_encode(image, psnr=target, steps=200))) >= target


@pytest.mark.parametrize("shape", ["disc", "smooth", "noise"])
@pytest.mark.parametrize("count", [40, 200])
def test_a_number_of_gaussians_is_that_of_both_planes(shape: str, count: int) -> None:
    data = quick_encode(with_opacity(SHAPES[shape]), gaussians=count)
    file = container.unpack(data)
    of_alpha = sum(group.count for group in alpha_of(data).groups)
    assert sum(group.count for group in file.groups) + of_alpha == count
    assert smartsplat.open(data).info.gaussians == count


@pytest.mark.parametrize("shape", ["disc", "smooth", "noise"])
@pytest.mark.parametrize("count", [1, 2, 5, 12])
def test_a_few_gaussians_are_met_exactly_too(shape: str, count: int) -> None:
    """Where colours need them all, opacity has a mask."""
    image = with_opacity(SHAPES[shape])
    data = quick_encode(image, gaussians=count)
    assert smartsplat.open(data).info.gaussians == count
    assert smartsplat.decode(data).shape == image.shape


@pytest.mark.parametrize("shape", ["disc", "smooth"])
@pytest.mark.parametrize("options", [{"gaussians": 100}, {"psnr": 20}, {"max_bytes": 9000}], ids=str)
def test_metadata_take_nothing_from_the_bytes_of_opacity(shape: str, options: dict[str, Any]) -> None:
    image, metadata = with_opacity(SHAPES[shape]), Metadata(xmp=np.random.default_rng(0).bytes(900))
    source = SourceImage(image[..., :3].copy(), image[..., 3].copy(), metadata=metadata)
    data = quick_encode(source, **options)
    assert smartsplat.open(data).metadata == metadata
    assert smartsplat.open(data).info.gaussians == options.get("gaussians", smartsplat.open(data).info.gaussians)
    assert metrics.psnr(image, smartsplat.decode(data)) >= options.get("psnr", 0)


@pytest.mark.parametrize("channels", [2, 4])
@pytest.mark.parametrize("shape", [(1, 17), (17, 1), (3, 3)], ids=str)
def test_a_psnr_of_tiny_images(shape: tuple[int, int], channels: int) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, channels), dtype=np.uint8)
    image[..., -1] = np.where(image[..., -1] > 99, 255, 0)
    assert metrics.psnr(image, smartsplat.decode(quick_encode(image, psnr=15, steps=100))) >= 15


@pytest.mark.parametrize("options", [{"ratio": 20}, {"max_bytes": 300}, {"psnr": 25}, {"gaussians": 60}], ids=str)
@pytest.mark.parametrize("shape", ["disc", "smooth"])
@pytest.mark.parametrize("at", [1, 12, 25])
@pytest.mark.filterwarnings("ignore:stopped at")
def test_stopping_early_ends_all_fits(shape: str, at: int, options: dict[str, Any]) -> None:
    seen: list[Progress] = []

    def stop(progress: Progress) -> bool:
        seen.append(progress)
        return len(seen) < at

    image = with_opacity(SHAPES[shape])
    data = quick_encode(image, progress=stop, **options)
    assert len(seen) == at, "nothing is reported to a caller who has said to stop"
    assert smartsplat.decode(data).shape == image.shape
    assert len(data) <= options.get("max_bytes", IMAGE.size / options.get("ratio", 1))


@pytest.mark.parametrize("shape", ["disc", "smooth"])
def test_the_paper_preset_keeps_alpha(shape: str) -> None:
    image = with_opacity(SHAPES[shape])
    data = quick_encode(image, preset="paper", ratio=20)
    assert len(data) <= IMAGE.size / 20
    assert metrics.psnr(image, smartsplat.decode(data)) > 15


def test_several_trials_keep_the_best_composite(monkeypatch: pytest.MonkeyPatch) -> None:
    image, trials = with_opacity(SHAPES["outline"]), ((12, 0.1), (25, 0.1), (6, 0.1))
    single = []
    for each in trials:
        monkeypatch.setitem(EFFORT_TRIALS, 7, (each,))
        single.append(metrics.psnr(image, smartsplat.decode(smartsplat.encode(image, effort=7, max_bytes=900))))
    monkeypatch.setitem(EFFORT_TRIALS, 7, trials)
    data = smartsplat.encode(image, effort=7, max_bytes=900)
    assert len(data) <= 900
    assert metrics.psnr(image, smartsplat.decode(data)) == max(single)


@pytest.mark.parametrize("shape", ["outline", "smooth"])
def test_the_number_of_threads_changes_nothing(shape: str) -> None:
    image = with_opacity(SHAPES[shape])
    first, *others = (quick_encode(image, ratio=20, threads=threads) for threads in (1, 2, 5))
    assert all(other == first for other in others)


# ---- the choice ------------------------------------------------------------------------------------------------------

GROUPS = (Group(7, (0, 0, 2, 1), b"123456789"),)


class Fits:
    """Stands in for the encoder: errors that follow laws, and a note of every question.

    Args:
        color, opacity: errors at 1000 bytes, falling with the square root of the bytes.
        enough: bytes from which on opacity has no error.
    """

    def __init__(self, color: float, opacity: float, enough: int = 10**9) -> None:
        self.asked: list[tuple[str, int]] = []
        self.color, self.opacity, self.enough = color, opacity, enough
        self.fits = AlphaFits(self._color_error, self._alpha_error, self._groups)

    def _color_error(self, size: int) -> float:
        self.asked.append(("color", size))
        return self.color * (1000 / size) ** 0.5

    def _alpha_error(self, size: int) -> float:
        self.asked.append(("opacity", size))
        return 0.0 if size >= self.enough else self.opacity * (1000 / size) ** 0.5

    def _groups(self, size: int) -> tuple[tuple[Group, ...], Quantizer]:
        self.asked.append(("groups", size))
        return GROUPS, Quantizer(80, 3, WIDTH, HEIGHT, 1)


def chosen(shape: str, max_bytes: int, fits: Fits) -> container.Alpha:
    return encode_alpha(with_opacity(SHAPES[shape])[..., 3].copy(), max_bytes, fits.fits, 1)


@pytest.mark.parametrize("shape", ["disc", "outline", "nothing"])
def test_a_cheap_mask_is_taken_without_a_fit(shape: str) -> None:
    fits = Fits(1e-3, 1e-9)
    assert bool(chosen(shape, 10_000, fits).mask) == (shape != "nothing")
    assert not fits.asked


def test_a_mask_that_shows_errors_is_not_taken_at_once() -> None:
    fits = Fits(1e-3, 1e-9)
    assert chosen("smooth", 10_000, fits).groups == GROUPS
    assert fits.asked[0] == ("color", 10_000)


def test_the_smaller_error_decides() -> None:
    assert not chosen("outline", 1000, Fits(1e-3, 3e-3)).groups
    assert chosen("outline", 1000, Fits(1e-3, 1e-7)).groups == GROUPS


def test_masks_are_as_fine_as_the_colors() -> None:
    """Each with an error of its own, which matters where colours have little, and bytes, which they have use for."""
    levels = [levels_of(chosen("outline", 700, Fits(color, 0.5))) for color in (1e-6, 1e-3, 1.0)]
    assert levels[0] > 10 > levels[1] > 2
    assert levels[2] == 2


def test_bytes_go_where_the_error_is() -> None:
    shares = []
    for color, opacity in ((1e-2, 1e-4), (1e-3, 1e-3), (1e-5, 1e-2)):
        fits = Fits(color, opacity)
        assert chosen("noise", 2000, fits).groups == GROUPS
        shares.append(fits.asked[-1][1])
    assert shares == sorted(set(shares)), "bytes of opacity rise with its error"
    assert shares[-1] < 1000


def test_what_is_exact_from_some_size_on_gets_that_size() -> None:
    """A square root fitted at one size would give opacity the least share, where nothing is exact."""
    fits = Fits(1e-4, 0.1, enough=300)
    assert chosen("smooth", 3000, fits).groups == GROUPS
    assert fits.asked[-1][0] == "groups"
    assert fits.asked[-1][1] > 200


@pytest.mark.parametrize("size", [120, 121, 200, 1000, 10**6])
def test_fits_are_asked_for_files_that_can_be(size: int) -> None:
    fits = Fits(1e-3, 1e-3)
    assert chosen("smooth", size, fits).groups
    least = container.overhead(1) + alpha_module.MIN_CODED_BYTES
    assert all(least <= asked <= size for _, asked in fits.asked)


def test_a_mask_leaves_half_of_the_file_to_the_colors() -> None:
    for size in (150, 250, 500):
        alpha = chosen("disc", size, Fits(1e-5, 0.5))
        mask_bytes = container.overhead(0, container.Extras(alpha=alpha)) - container.overhead(0)
        assert mask_bytes <= size / 2
        assert bool(alpha.mask) == (size > 200)


def test_quality_goes_to_what_is_visible() -> None:
    opacity = np.ones((HEIGHT, WIDTH))
    opacity[:, WIDTH // 2 :] = 0.15
    image = with_opacity(opacity)
    decoded = smartsplat.decode(quick_encode(image, max_bytes=900, steps=100))
    left, right = (
        metrics.psnr(image[:, part, :3], decoded[:, part, :3])
        for part in (slice(0, WIDTH // 2), slice(WIDTH // 2, WIDTH))
    )
    assert left > right + 5


# ---- what is hidden, and fringes -------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", ["disc", "outline", "nothing"])
@pytest.mark.parametrize("options", [{"ratio": 20}, {"psnr": 22}, {"gaussians": 50}], ids=str)
def test_colors_under_what_is_transparent_change_nothing(shape: str, options: dict[str, Any]) -> None:
    image = with_opacity(SHAPES[shape])
    other = image.copy()
    other[image[..., 3] == 0, :3] = np.random.default_rng(5).integers(0, 256, 3, dtype=np.uint8)
    assert not np.array_equal(image, other)
    assert quick_encode(image, **options) == quick_encode(other, **options)


def composite(image: SampleArray, ground: np.ndarray | float) -> np.ndarray:
    """Over a ground in [0, 1], one number or [H, W, 1], float64 [H, W, C]."""
    samples = image / np.iinfo(image.dtype).max
    return np.asarray(samples[..., :-1] * samples[..., -1:] + ground * (1 - samples[..., -1:]))


def reduced(samples: np.ndarray, factor: int) -> np.ndarray:
    height, width, channels = samples.shape
    return np.asarray(samples.reshape(height // factor, factor, width // factor, factor, channels).mean(axis=(1, 3)))


FRINGE_SHAPES = {
    "disc": SHAPES["disc"],
    "outline": SHAPES["outline"],
    "soft": np.clip(DISTANCE / 9 + 0.5, 0, 1),
    "faint": np.maximum(SHAPES["disc"], 1 / 255),
}
CHECKERBOARD = ((ROW // 4 + COLUMN // 4) % 2)[..., None]


@pytest.mark.parametrize("hidden", [(0, 0, 0), (255, 255, 255), (0, 255, 0)], ids=str)
@pytest.mark.parametrize("shape", FRINGE_SHAPES)
def test_outlines_have_no_fringes(shape: str, hidden: tuple[int, int, int]) -> None:
    """Over any ground, and at any size: compared with the composite of the original, averaged over the same pixels."""
    opacity = FRINGE_SHAPES[shape]
    image = np.dstack([np.full((HEIGHT, WIDTH, 3), [220, 40, 60], np.uint8), np.rint(255 * opacity).astype(np.uint8)])
    image[image[..., 3] <= 1, :3] = hidden
    data = quick_encode(image, ratio=8, steps=200)
    for factor in (1, 2, 4):
        decoded = smartsplat.decode(data, size=(WIDTH // factor, HEIGHT // factor))
        near = reduced((np.abs(DISTANCE) < 4)[..., None] * 1.0, factor)[..., 0] > 0.5
        for ground in (np.zeros((HEIGHT, WIDTH, 1)), np.ones((HEIGHT, WIDTH, 1)), CHECKERBOARD):
            exact = reduced(composite(image, ground), factor)
            error = composite(decoded, reduced(ground, factor)) - exact
            assert (error**2).mean() < 10**-3.8, "38 dB"
            assert np.abs(error[near].mean(axis=0)).max() < 0.02, "neither dark nor light nor of the hidden colour"
