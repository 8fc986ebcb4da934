"""Blends of splats: the reference by hand and by finite differences, the compiled one against the reference."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from smartsplat.raster import EDGE, StepSettings, blend_reference, reference
from smartsplat.raster.blend import Backend, Blend, Loss, Splats, gaussians_of
from smartsplat.raster.native import runs_here
from tests.compare import relative_error, slopes

Array = npt.NDArray[np.float64]

FIELDS = ("mean", "covariance", "color", "opacity")
BLENDS = {"sum": Blend("sum"), "alpha": Blend("alpha", 0.7), "top": Blend("top")}
X86 = not runs_here("base")
VARIANTS = [
    pytest.param(name, marks=[] if runs_here(name) else pytest.mark.skip(reason=f"cannot run the {name} kernels"))
    for name in (("v2", "v3", "v4") if X86 else ("base",))
]


def splats(
    count: int, width: int, height: int, channels: int = 3, smallest: float = 0.8, largest: float = 6.0, rng: int = 0
) -> Splats:
    """Float64 splats of mixed shapes over and a little beyond a picture; values that float32 holds."""
    random = np.random.default_rng(rng)
    mean = random.uniform(-0.05, 1.05, (count, 2)) * [width, height]
    u, v = np.exp(random.uniform(math.log(smallest), math.log(largest), (2, count)))
    turn = random.uniform(0, math.pi, count)
    c, s = np.cos(turn), np.sin(turn)
    covariance = np.stack([c * c * u * u + s * s * v * v, c * s * (u * u - v * v), s * s * u * u + c * c * v * v], 1)
    color, opacity = random.normal(0.3, 0.3, (count, channels)), random.uniform(0.2, 1.0, count)
    return Splats(*(field.astype(np.float32).astype(np.float64) for field in (mean, covariance, color, opacity)))


# ---- the reference --------------------------------------------------------------------------------------------------


def test_alpha_by_hand() -> None:
    """The first splat is in front; what it lets through shows the second, and then the background."""
    two = Splats(
        np.array([[2.5, 2.5]] * 2), np.array([[4.0, 0, 1]] * 2), np.array([[1.0], [0.5]]), np.array([0.6, 0.25])
    )
    image = blend_reference.render(two, Blend("alpha", 0.8), 5, 5)[..., 0]
    assert image[2, 2] == pytest.approx(0.6 + 0.4 * 0.25 * 0.5 + 0.4 * 0.75 * 0.8)
    window = (math.exp(-1 / 2) - EDGE) / (1 - EDGE)  # two pixels to the right: one deviation
    first, second = 0.6 * window, 0.25 * window
    wanted = first + (1 - first) * second * 0.5 + (1 - first) * (1 - second) * 0.8
    assert image[2, 4] == pytest.approx(wanted)


def test_alpha_is_at_most_0999() -> None:
    one = Splats(np.array([[0.5, 0.5]]), np.array([[4.0, 0, 4]]), np.array([[1.0]]), np.array([1.0]))
    assert blend_reference.render(one, Blend("alpha"), 1, 1).item() == pytest.approx(0.999)


def test_top_by_hand() -> None:
    """Of twelve splats at growing distance the ten nearest are mixed."""
    count = 12
    mean = np.stack([0.5 + 0.1 * np.arange(count), np.full(count, 0.5)], 1)
    color = np.arange(count, dtype=np.float64)[:, None]
    many = Splats(mean, np.array([[1.0, 0, 1]] * count), color, np.ones(count))
    weight = (np.exp(-0.5 * (0.1 * np.arange(10)) ** 2) - EDGE) / (1 - EDGE)
    wanted = (weight * np.arange(10)).sum() / (weight.sum() + 1e-4)
    assert blend_reference.render(many, Blend("top"), 1, 1).item() == pytest.approx(wanted)


@pytest.mark.parametrize("name", BLENDS)
def test_no_splats_show_the_background(name: str) -> None:
    image = blend_reference.render(splats(0, 4, 3), BLENDS[name], 4, 3)
    assert np.all(image == (0.7 if name == "alpha" else 0))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", BLENDS)
def test_gradient_is_that_of_finite_differences(name: str, channels: int) -> None:
    width, height = 15, 11
    drawn = splats(16, width, height, channels, smallest=1.5)
    blend = BLENDS[name]
    d_image = np.random.default_rng(3).normal(size=(height, width, channels))
    gradient = blend_reference.render_gradient(drawn, blend, d_image)

    def loss() -> float:
        return float((blend_reference.render(drawn, blend, width, height) * d_image).sum())

    for field in FIELDS:
        found, wanted = getattr(gradient, field), slopes(loss, getattr(drawn, field), 1e-6)
        assert relative_error(found, wanted) < 1e-6, field
        assert wanted.any() == (field != "opacity" or name == "alpha"), field


def test_the_sum_is_the_renderers() -> None:
    drawn = splats(20, 30, 20)
    image = reference.render(reference.upload(gaussians_of(drawn)), reference.View.whole(30, 20))
    assert np.abs(blend_reference.render(drawn, Blend("sum"), 30, 20) - image).max() < 1e-3


# ---- compiled -------------------------------------------------------------------------------------------------------

SCENES = {
    "1x1": (splats(3, 1, 1), 1, 1),
    "1x17": (splats(14, 17, 1), 17, 1),
    "41x341": (splats(60, 341, 41), 341, 41),
    "65x64 grey": (splats(40, 65, 64, 1), 65, 64),
    "150x130": (splats(70, 150, 130, largest=40), 150, 130),
    "none": (splats(0, 70, 40), 70, 40),
    "all in one tile": (splats(150, 40, 40), 200, 140),
    "thin": (splats(30, 90, 80, smallest=0.5, largest=30), 90, 80),
}


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("name", BLENDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_compiled_blends_are_the_references(variant: str, name: str, scene: str) -> None:
    drawn, width, height = SCENES[scene]
    blend, backend = BLENDS[name], Backend(2, variant, exact=True)
    wanted = blend_reference.render(drawn, blend, width, height)
    found = backend.render(drawn, blend, width, height)
    difference = np.abs(found - wanted).max(axis=-1)
    # A pixel whose tenth and eleventh weights are equal but for rounding may have either.
    assert np.count_nonzero(difference > 5e-4) <= (1e-3 * difference.size if name == "top" else 0)
    bytes_ = backend.render_bytes(drawn, blend, width, height)
    assert np.count_nonzero(np.abs(bytes_ - np.clip(wanted, 0, 1) * 255) > 0.7) <= 3e-3 * wanted.size

    d_image = np.random.default_rng(1).normal(size=wanted.shape)
    d_image[difference > 1e-4] = 0
    gradient = blend_reference.render_gradient(drawn, blend, d_image)
    got = backend.render_gradient(drawn, blend, d_image)
    for field in FIELDS:
        assert relative_error(getattr(got, field), getattr(gradient, field)) < 1e-3, field


LOSSES = {"l2": Loss(), "l1": Loss(l1=1, l2=0), "ssim": Loss(l1=0.4, l2=0.3, ssim=0.3)}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", BLENDS)
def test_gradient_of_the_loss_is_the_references(name: str, loss: str, channels: int) -> None:
    width, height = 300, 270
    drawn, blend, weights = splats(60, width, height, channels, largest=30), BLENDS[name], LOSSES[loss]
    target = np.random.default_rng(2).integers(1, 255, (height, width, channels), dtype=np.uint8)
    settings = StepSettings(l1=weights.l1, l2=weights.l2, ssim=weights.ssim)
    image = blend_reference.render(drawn, blend, width, height)
    value, mean_square, d_image = reference.loss(image, target, settings)
    wanted = blend_reference.render_gradient(drawn, blend, d_image)
    found, result = Backend(2, exact=True).loss_gradient(drawn, blend, target, weights)
    assert result.loss == pytest.approx(value, rel=1e-4)
    assert result.mean_square == pytest.approx(mean_square, rel=1e-4)
    for field in FIELDS:
        assert relative_error(getattr(found, field), getattr(wanted, field)) < 5e-3, field


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", BLENDS)
def test_results_do_not_depend_on_the_number_of_threads(name: str, loss: str) -> None:
    width, height = 300, 1100  # SSIM takes three strips of it on one thread, one strip on three
    drawn, blend = splats(5000, width, height), BLENDS[name]
    target = np.random.default_rng(2).integers(0, 255, (height, width, 3), dtype=np.uint8)
    one, many = Backend(1), Backend(3)
    assert np.array_equal(*(each.render(drawn, blend, width, height) for each in (one, many)))
    (first, result), (second, other) = (each.loss_gradient(drawn, blend, target, LOSSES[loss]) for each in (one, many))
    assert result == other
    for field in FIELDS:
        assert np.array_equal(getattr(first, field), getattr(second, field)), field


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 0.0, -3.0, 1e30])
@pytest.mark.parametrize("name", BLENDS)
def test_hostile_values_stay_where_they_are(name: str, value: float) -> None:
    """What no picture can be made of is not drawn, or within bounds: nothing becomes NaN."""
    for field in FIELDS:
        drawn = splats(20, 50, 40)
        getattr(drawn, field)[3] = value
        with np.errstate(over="ignore"):
            d, _ = Backend(2).loss_gradient(drawn, BLENDS[name], np.zeros((40, 50, 3), np.uint8), Loss())
        others = np.arange(20) != 3
        assert all(np.isfinite(getattr(d, each)[others]).all() for each in FIELDS), field


@pytest.mark.parametrize("covariance", [(1, 2, 1), (-1, 0, 2), (0, 0, 0), (4, 0, 4)])
def test_the_sum_draws_any_covariance(covariance: tuple[float, float, float]) -> None:
    """Also one that is none, and one whose axes have no angle; the gradient is finite."""
    drawn = Splats(np.full((1, 2), 5.2), np.array([covariance], float), np.ones((1, 3)), np.ones(1))
    d, _ = Backend(1).loss_gradient(drawn, Blend(), np.zeros((10, 10, 3), np.uint8), Loss())
    assert all(np.isfinite(getattr(d, field)).all() for field in FIELDS)
    assert d.covariance.any()


def test_wrong_shapes_are_refused() -> None:
    backend, blend = Backend(1), Blend("alpha")
    with pytest.raises(ValueError, match="channels"):
        backend.loss_gradient(splats(3, 8, 8), blend, np.zeros((8, 8, 1), np.uint8), Loss())
    drawn = splats(3, 8, 8)
    drawn.opacity = drawn.opacity[:2]
    with pytest.raises(ValueError, match="length"):
        backend.render(drawn, blend, 8, 8)
