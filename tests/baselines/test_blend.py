"""Blends: the reference by hand and by finite differences, the compiled blends against the reference."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from smartsplat.gaussians import EDGE
from smartsplat.render import StepSettings, View, reference
from smartsplat.render.cpu import runs_here
from smartsplat_baselines import blend_reference
from smartsplat_baselines.blend import Blend, BlendRenderer, CovarianceGaussians, Loss, gaussians_of
from tests.compare import relative_error, slopes

Array = npt.NDArray[np.float64]

FIELDS = ("mean", "covariance", "color", "opacity")
BLENDS = {"sum": Blend("sum"), "alpha": Blend("alpha", 0.7), "top-k": Blend("top-k")}
X86 = not runs_here("base")
VARIANTS = [
    pytest.param(name, marks=[] if runs_here(name) else pytest.mark.skip(reason=f"cannot run the {name} kernels"))
    for name in (("v2", "v3", "v4") if X86 else ("base",))
]


def scene(
    count: int,
    width: int,
    height: int,
    channels: int = 3,
    min_scale: float = 0.8,
    max_scale: float = 6.0,
    seed: int = 0,
) -> CovarianceGaussians:
    """Float64 Gaussians of mixed shapes over and a little beyond an image; values that float32 holds."""
    random = np.random.default_rng(seed)
    mean = random.uniform(-0.05, 1.05, (count, 2)) * [width, height]
    u, v = np.exp(random.uniform(math.log(min_scale), math.log(max_scale), (2, count)))
    turn = random.uniform(0, math.pi, count)
    c, s = np.cos(turn), np.sin(turn)
    covariance = np.stack([c * c * u * u + s * s * v * v, c * s * (u * u - v * v), s * s * u * u + c * c * v * v], 1)
    color, opacity = random.normal(0.3, 0.3, (count, channels)), random.uniform(0.2, 1.0, count)
    return CovarianceGaussians(
        *(field.astype(np.float32).astype(np.float64) for field in (mean, covariance, color, opacity))
    )


# ---- the reference --------------------------------------------------------------------------------------------------


def test_alpha_by_hand() -> None:
    """The first Gaussian is in front; the second has its transmittance, and then the background."""
    two = CovarianceGaussians(
        np.array([[2.5, 2.5]] * 2), np.array([[4.0, 0, 1]] * 2), np.array([[1.0], [0.5]]), np.array([0.6, 0.25])
    )
    image = blend_reference.render(two, Blend("alpha", 0.8), 5, 5)[..., 0]
    assert image[2, 2] == pytest.approx(0.6 + 0.4 * 0.25 * 0.5 + 0.4 * 0.75 * 0.8)
    window = (math.exp(-1 / 2) - EDGE) / (1 - EDGE)  # two pixels to the right: one deviation
    first, second = 0.6 * window, 0.25 * window
    expected = first + (1 - first) * second * 0.5 + (1 - first) * (1 - second) * 0.8
    assert image[2, 4] == pytest.approx(expected)


def test_alpha_is_at_most_0999() -> None:
    one = CovarianceGaussians(np.array([[0.5, 0.5]]), np.array([[4.0, 0, 4]]), np.array([[1.0]]), np.array([1.0]))
    assert blend_reference.render(one, Blend("alpha"), 1, 1).item() == pytest.approx(0.999)


def test_top_k_by_hand() -> None:
    """Of twelve Gaussians at growing distance the ten nearest are mixed."""
    count = 12
    mean = np.stack([0.5 + 0.1 * np.arange(count), np.full(count, 0.5)], 1)
    color = np.arange(count, dtype=np.float64)[:, None]
    many = CovarianceGaussians(mean, np.array([[1.0, 0, 1]] * count), color, np.ones(count))
    weight = (np.exp(-0.5 * (0.1 * np.arange(10)) ** 2) - EDGE) / (1 - EDGE)
    expected = (weight * np.arange(10)).sum() / (weight.sum() + 1e-4)
    assert blend_reference.render(many, Blend("top-k"), 1, 1).item() == pytest.approx(expected)


@pytest.mark.parametrize("name", BLENDS)
def test_no_gaussians_show_the_background(name: str) -> None:
    image = blend_reference.render(scene(0, 4, 3), BLENDS[name], 4, 3)
    assert np.all(image == (0.7 if name == "alpha" else 0))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", BLENDS)
def test_gradient_equals_finite_differences(name: str, channels: int) -> None:
    width, height = 15, 11
    gaussians = scene(16, width, height, channels, min_scale=1.5)
    blend = BLENDS[name]
    d_image = np.random.default_rng(3).normal(size=(height, width, channels))
    gradient = blend_reference.render_gradient(gaussians, blend, d_image)

    def loss() -> float:
        return float((blend_reference.render(gaussians, blend, width, height) * d_image).sum())

    for field in FIELDS:
        actual, expected = getattr(gradient, field), slopes(loss, getattr(gaussians, field), 1e-6)
        assert relative_error(actual, expected) < 1e-6, field
        assert expected.any() == (field != "opacity" or name == "alpha"), field


def test_sum_equals_the_codecs_reference() -> None:
    gaussians = scene(20, 30, 20)
    image = reference.render(reference.upload(gaussians_of(gaussians)), View.whole(30, 20))
    assert np.abs(blend_reference.render(gaussians, Blend("sum"), 30, 20) - image).max() < 1e-3


# ---- compiled -------------------------------------------------------------------------------------------------------

SCENES = {
    "1x1": (scene(3, 1, 1), 1, 1),
    "1x17": (scene(14, 17, 1), 17, 1),
    "41x341": (scene(60, 341, 41), 341, 41),
    "65x64 grey": (scene(40, 65, 64, 1), 65, 64),
    "150x130": (scene(70, 150, 130, max_scale=40), 150, 130),
    "none": (scene(0, 70, 40), 70, 40),
    "all in one tile": (scene(150, 40, 40), 200, 140),
    "thin": (scene(30, 90, 80, min_scale=0.5, max_scale=30), 90, 80),
}


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("name", BLENDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_compiled_blends_equal_the_reference(variant: str, name: str, scene: str) -> None:
    gaussians, width, height = SCENES[scene]
    blend, renderer = BLENDS[name], BlendRenderer(2, variant, exact=True)
    expected = blend_reference.render(gaussians, blend, width, height)
    actual = renderer.render(gaussians, blend, width, height)
    difference = np.abs(actual - expected).max(axis=-1)
    # A pixel whose tenth and eleventh weights are equal but for rounding may have either.
    assert np.count_nonzero(difference > 5e-4) <= (1e-3 * difference.size if name == "top-k" else 0)
    bytes_ = renderer.render_bytes(gaussians, blend, width, height)
    assert np.count_nonzero(np.abs(bytes_ - np.clip(expected, 0, 1) * 255) > 0.7) <= 3e-3 * expected.size

    d_image = np.random.default_rng(1).normal(size=expected.shape)
    d_image[difference > 1e-4] = 0
    gradient = blend_reference.render_gradient(gaussians, blend, d_image)
    actual_gradient = renderer.render_gradient(gaussians, blend, d_image)
    for field in FIELDS:
        assert relative_error(getattr(actual_gradient, field), getattr(gradient, field)) < 1e-3, field


LOSSES = {"l2": Loss(), "l1": Loss(l1=1, l2=0), "ssim": Loss(l1=0.4, l2=0.3, ssim=0.3)}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", BLENDS)
def test_gradient_of_the_loss_equals_the_reference(name: str, loss: str, channels: int) -> None:
    width, height = 300, 270
    gaussians, blend, weights = scene(60, width, height, channels, max_scale=30), BLENDS[name], LOSSES[loss]
    target = np.random.default_rng(2).integers(1, 255, (height, width, channels), dtype=np.uint8)
    settings = StepSettings(l1=weights.l1, l2=weights.l2, ssim=weights.ssim)
    image = blend_reference.render(gaussians, blend, width, height)
    value, mean_square, d_image = reference.loss(image, target, settings)
    expected = blend_reference.render_gradient(gaussians, blend, d_image)
    actual, result = BlendRenderer(2, exact=True).loss_gradient(gaussians, blend, target, weights)
    assert result.loss == pytest.approx(value, rel=1e-4)
    assert result.mean_square == pytest.approx(mean_square, rel=1e-4)
    for field in FIELDS:
        assert relative_error(getattr(actual, field), getattr(expected, field)) < 5e-3, field


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", BLENDS)
def test_results_do_not_depend_on_the_number_of_threads(name: str, loss: str) -> None:
    width, height = 300, 1100  # SSIM takes three strips of it on one thread, one strip on three
    gaussians, blend = scene(5000, width, height), BLENDS[name]
    target = np.random.default_rng(2).integers(0, 255, (height, width, 3), dtype=np.uint8)
    one, many = BlendRenderer(1), BlendRenderer(3)
    assert np.array_equal(*(each.render(gaussians, blend, width, height) for each in (one, many)))
    (first, result), (second, other) = (
        each.loss_gradient(gaussians, blend, target, LOSSES[loss]) for each in (one, many)
    )
    assert result == other
    for field in FIELDS:
        assert np.array_equal(getattr(first, field), getattr(second, field)), field


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -3.0, 1e30])
@pytest.mark.parametrize("name", BLENDS)
def test_hostile_values_do_not_spread(name: str, value: float) -> None:
    """Invalid Gaussians are left out or brought within bounds: nothing else becomes NaN."""
    for field in FIELDS:
        gaussians = scene(20, 50, 40)
        getattr(gaussians, field)[3] = value
        with np.errstate(over="ignore"):
            d, _ = BlendRenderer(2).loss_gradient(gaussians, BLENDS[name], np.zeros((40, 50, 3), np.uint8), Loss())
        others = np.arange(20) != 3
        assert all(np.isfinite(getattr(d, each)[others]).all() for each in FIELDS), field


@pytest.mark.parametrize("covariance", [(1, 2, 1), (-1, 0, 2), (0, 0, 0), (4, 0, 4)])
def test_sum_renders_any_covariance(covariance: tuple[float, float, float]) -> None:
    """Also one that is not positive definite, and one whose axes have no angle; the gradient is finite."""
    gaussians = CovarianceGaussians(np.full((1, 2), 5.2), np.array([covariance], float), np.ones((1, 3)), np.ones(1))
    d, _ = BlendRenderer(1).loss_gradient(gaussians, Blend(), np.zeros((10, 10, 3), np.uint8), Loss())
    assert all(np.isfinite(getattr(d, field)).all() for field in FIELDS)
    assert d.covariance.any()


def test_wrong_shapes_are_refused() -> None:
    renderer, blend = BlendRenderer(1), Blend("alpha")
    with pytest.raises(ValueError, match="channels"):
        renderer.loss_gradient(scene(3, 8, 8), blend, np.zeros((8, 8, 1), np.uint8), Loss())
    gaussians = scene(3, 8, 8)
    gaussians.opacity = gaussians.opacity[:2]
    with pytest.raises(ValueError, match="length"):
        renderer.render(gaussians, blend, 8, 8)
