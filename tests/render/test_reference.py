"""The reference: its values by hand and by independent means, its gradients by finite differences in float64."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from skimage.metrics import structural_similarity

from smartsplat.gaussians import CUTOFF, EDGE, Gaussians
from smartsplat.render import FILTER_VARIANCE, StepSettings, Structure, View, filter_variance, reference
from smartsplat.render.reference import reach, turn
from tests.compare import relative_error, scene, slopes

Array = npt.NDArray[np.float64]

FIELDS = ("mean", "scale", "rotation", "color")
WIDTH, HEIGHT = 37, 29
VIEWS = {
    "whole": View.whole(WIDTH, HEIGHT),
    "region": View(5.25, 3, 20, 17.5, 20, 17),
    "minified": View.whole(WIDTH, HEIGHT, 13, 10),
    "magnified": View(8, 6, 12, 11, 31, 27),
    "minified x, magnified y": View(2, 4, 30, 15, 11, 33),
}


def single(
    mean: tuple[float, float], scale: tuple[float, float], rotation: float, *color: float
) -> reference.DoubleGaussians:
    """One Gaussian in float64."""
    fields = ([mean], [scale], [rotation], [color])
    return reference.DoubleGaussians(*(np.array(field, np.float64) for field in fields))


def window(q: float) -> float:
    return (math.exp(-q / 2) - EDGE) / (1 - EDGE) if q < CUTOFF**2 else 0.0


# ---- values ---------------------------------------------------------------------------------------------------------


def test_a_gaussian_by_hand() -> None:
    image = reference.render(single((3.5, 2.5), (2, 1), 0, 0.8, -0.4, 1.5), View.whole(8, 5))
    np.testing.assert_allclose(image[2, 3], [0.8, -0.4, 1.5])  # its centre
    np.testing.assert_allclose(image[2, 5], window(1) * np.array([0.8, -0.4, 1.5]))  # one deviation along x
    np.testing.assert_allclose(image[4, 3], window(4) * np.array([0.8, -0.4, 1.5]))  # two along y
    np.testing.assert_allclose(image[3, 4], window(1.25) * np.array([0.8, -0.4, 1.5]))


def test_rotation_turns_from_x_to_y() -> None:
    """y runs down: a Gaussian of 45 degrees lies along the diagonal from top left to bottom right (E6)."""
    image = reference.render(single((4.5, 4.5), (3, 1), math.pi / 4, 1), View.whole(9, 9))[..., 0]
    assert image[6, 6] == pytest.approx(window(8 / 9))
    assert image[2, 6] == pytest.approx(window(8))
    turned = reference.render(single((4.5, 4.5), (1, 3), -math.pi / 4, 1), View.whole(9, 9))[..., 0]
    np.testing.assert_allclose(image, turned)


def test_the_window_ends_continuously_at_three_deviations() -> None:
    line = reference.render(single((0.5, 0.5), (10, 1), 0, 1), View.whole(40, 1))[0, :, 0]
    assert (line[:30] > 0).all()
    assert line[29] < 0.004
    assert not line[30:].any()


def test_sums_are_not_clamped_and_do_not_depend_on_order() -> None:
    gaussians = scene(12, WIDTH, HEIGHT)
    view = VIEWS["whole"]
    image = reference.render(reference.upload(gaussians), view)
    assert image.min() < 0
    parts = [reference.render(reference.upload(gaussians[i : i + 1]), view) for i in reversed(range(12))]
    np.testing.assert_allclose(image, sum(parts), atol=1e-14)


def test_no_gaussians_are_black() -> None:
    assert not reference.render(reference.upload(Gaussians.empty(3)), VIEWS["region"]).any()


def test_a_region_is_a_part_of_the_whole() -> None:
    params = reference.upload(scene(10, WIDTH, HEIGHT))
    whole = reference.render(params, VIEWS["whole"])
    np.testing.assert_allclose(reference.render(params, View(7, 4, 20, 15, 20, 15)), whole[4:19, 7:27], atol=1e-14)


def test_magnifying_samples_the_same_function_more_densely() -> None:
    params = reference.upload(scene(10, WIDTH, HEIGHT))
    large = reference.render(params, View.whole(WIDTH, HEIGHT, 3 * WIDTH, 3 * HEIGHT))
    np.testing.assert_allclose(large[1::3, 1::3], reference.render(params, VIEWS["whole"]), atol=1e-12)


def test_minifying_is_close_to_averaging() -> None:
    """The pixel filter is a Gaussian of a box's variance: large shapes differ little from the box, small ones some."""
    params = reference.upload(scene(20, 64, 64, min_scale=3, max_scale=8))
    small = reference.render(params, View.whole(64, 64, 16, 16))
    averaged = reference.render(params, View.whole(64, 64)).reshape(16, 4, 16, 4, 3).mean(axis=(1, 3))
    assert relative_error(small, averaged) < 0.02


def test_minifying_keeps_the_integral() -> None:
    """A Gaussian much smaller than an output pixel keeps its light, on average over where in a pixel it lies.

    The window of E1 has the integral 2 pi sx sy (1 - 4.5 EDGE / (1 - EDGE)).
    """
    view = View.whole(64, 64, 8, 8)
    sums = [
        reference.render(single((30.2 + x, 29.9 + y), (0.4, 0.3), 0.5, 1), view).sum() * 64
        for x in range(8)
        for y in range(8)
    ]
    assert np.mean(sums) == pytest.approx(2 * math.pi * 0.4 * 0.3 * (1 - 4.5 * EDGE / (1 - EDGE)), rel=0.01)


def test_the_pixel_filter_vanishes_at_full_size() -> None:
    assert filter_variance(1) == filter_variance(2.5) == 0
    assert filter_variance(0.5) == pytest.approx(3 * FILTER_VARIANCE)
    assert filter_variance(0.1) == pytest.approx(99 * FILTER_VARIANCE)


@pytest.mark.parametrize(("dtype", "white"), [(np.uint8, 255), (np.uint16, 65535)])
def test_samples_are_clamped_and_rounded_half_up(dtype: type, white: int) -> None:
    image = np.array([[[-0.1], [0.0], [0.5 / white], [0.49 / white], [(white - 0.5) / white], [1.0], [7.0]]])
    samples = reference.to_samples(image, dtype)
    assert samples.dtype == dtype
    assert samples.ravel().tolist() == [0, 0, 1, 0, white, white, white]


def test_upload_and_download_are_exact() -> None:
    gaussians = scene(5, 9, 9)
    back = reference.download(reference.upload(gaussians))
    for name in FIELDS:
        np.testing.assert_array_equal(getattr(back, name), getattr(gaussians, name))


# ---- gradients of rendering -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("view", VIEWS.values(), ids=VIEWS.keys())
def test_every_gradient_against_finite_differences(view: View, channels: int) -> None:
    """The window has a kink at three deviations, where the slope jumps from -0.0056 to 0. A difference is wrong only
    if a pixel crosses it within the step of 1e-5, which none does in these scenes."""
    gaussians = scene(7, int(view.width), int(view.height), channels, seed=11, min_scale=0.7, max_scale=5)
    params = reference.upload(gaussians)
    params.mean += [view.x, view.y]
    d_image = np.random.default_rng(2).normal(size=(view.rows, view.columns, channels))
    gradient = reference.render_gradient(params, view, d_image)
    for name in FIELDS:
        numeric = slopes(lambda: float(np.sum(reference.render(params, view) * d_image)), getattr(params, name))
        analytic = getattr(gradient, name)
        assert np.count_nonzero(analytic) >= 0.7 * analytic.size, name
        # Relative to each value; those near zero to a thousandth of the typical one.
        floor = 1e-3 * np.sqrt(np.mean(analytic**2))
        error = np.abs(analytic - numeric) / np.maximum(np.abs(analytic), floor)
        assert error.max() < 1e-6, (name, np.unravel_index(error.argmax(), error.shape))


def test_a_circle_has_no_gradient_by_its_angle() -> None:
    params = single((5.2, 4.9), (2, 2), 0.3, 1)
    d_image = np.random.default_rng(0).normal(size=(10, 10, 1))
    gradient = reference.render_gradient(params, View.whole(10, 10), d_image)
    assert abs(gradient.rotation[0]) < 1e-14


def test_what_lies_outside_has_no_gradient() -> None:
    gradient = reference.render_gradient(single((-30, 5), (2, 1), 0, 1), View.whole(10, 10), np.ones((10, 10, 1)))
    assert not any(getattr(gradient, name).any() for name in FIELDS)


# ---- losses ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 3), (12, 7, 1), (31, 26, 3)])
def test_ssim_equals_scikit_image_on_a_black_surround(shape: tuple[int, int, int]) -> None:
    random = np.random.default_rng(5)
    image = random.uniform(size=shape)
    target = np.clip(image + random.normal(0, 0.2, shape), 0, 1)
    margin = 12  # the window sees zeros outside
    padding = ((margin, margin), (margin, margin), (0, 0))
    _, values = structural_similarity(
        np.pad(image, padding),
        np.pad(target, padding),
        data_range=1,
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        full=True,
    )
    value, _ = reference.ssim(image, target)
    assert value == pytest.approx(values[margin:-margin, margin:-margin].mean(), rel=1e-10)


def test_ssim_of_equal_images_is_one_and_flat() -> None:
    image = np.random.default_rng(1).uniform(size=(14, 15, 3))
    value, gradient = reference.ssim(image, image)
    assert value == pytest.approx(1, abs=1e-12)
    assert np.abs(gradient).max() < 1e-12


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 9, 3), (13, 15, 1)])
def test_ssim_gradient_against_finite_differences(shape: tuple[int, int, int]) -> None:
    random = np.random.default_rng(6)
    image, target = random.uniform(size=shape), random.uniform(size=shape)
    _, gradient = reference.ssim(image, target)
    numeric = slopes(lambda: reference.ssim(image, target)[0], image)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-6 * np.abs(gradient).max())


LOSSES = {
    "l1": StepSettings(l1=1, l2=0),
    "l2": StepSettings(l2=1),
    "ssim": StepSettings(l2=0, ssim=1),
    "paper": StepSettings(l1=0.9, l2=0, ssim=0.1),
    "all": StepSettings(l1=0.3, l2=0.5, ssim=0.2),
    "coarse": StepSettings(l1=0.3, l2=0.5, coarse=0.7),
}


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("settings", LOSSES.values(), ids=LOSSES.keys())
def test_loss_gradient_against_finite_differences(settings: StepSettings, weighted: bool, dtype: type) -> None:
    random = np.random.default_rng(7)
    image = random.uniform(0.05, 0.95, (7, 9, 3))  # away from the clamp, and from e = 0 by chance
    target = random.integers(0, np.iinfo(dtype).max + 1, image.shape, dtype=dtype)
    assert np.abs(image - target / np.iinfo(dtype).max).min() > 1e-4
    weights = random.integers(0, 256, image.shape[:2], dtype=np.uint8) if weighted and not settings.ssim else None
    _, _, gradient = reference.loss(image, target, settings, weights)
    numeric = slopes(lambda: reference.loss(image, target, settings, weights)[0], image)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-6, atol=1e-6 * np.abs(gradient).max())


def test_the_gradient_of_the_second_term_against_finite_differences() -> None:
    gaussians = scene(4, 24, 20, 3, min_scale=2, max_scale=6)
    gaussians.color[0] = 2.5  # beyond white: the term is not clamped
    target = np.random.default_rng(3).integers(0, 256, (5, 6, 1), dtype=np.uint8)
    structure = Structure(target, View(0, 0, 24, 20, 6, 5), 0.3)
    params = reference.upload(gaussians)
    value, gradient = reference.structure_term(params, structure)
    assert 0 < value < 0.6
    assert reference.render(params, structure.view).max() > 1.2
    for name, array in vars(params).items():
        numeric = slopes(lambda: reference.structure_term(params, structure)[0], array)
        own = getattr(gradient, name)
        if name == "color":  # moved along grey
            assert np.ptp(own, axis=1).max() == 0
            own, numeric = own.sum(axis=1), numeric.sum(axis=1)
        np.testing.assert_allclose(own, numeric, rtol=1e-5, atol=1e-5 * np.abs(own).max(), err_msg=name)


def test_weights_multiply_errors_and_squares_by_hand() -> None:
    image, target = np.array([[[0.5], [1.0]]]), np.array([[[0], [204]]], np.uint8)  # errors 0.5 and 0.2
    settings, weights = StepSettings(l1=1, l2=10), np.array([[51, 255]], np.uint8)  # a fifth, and 1
    value, mean_square, gradient = reference.loss(image, target, settings, weights)
    assert mean_square == pytest.approx((0.05 + 0.04) / 2)
    assert value == pytest.approx((0.1 + 0.2) / 2 + 0.45)
    np.testing.assert_allclose(gradient, [[[0.2 * (1 + 10) / 2], [(1 + 4) / 2]]])
    params = reference.upload(Gaussians.empty(1))
    cell = reference.residual(params, target, View.whole(2, 1), 2, weights)
    np.testing.assert_allclose(cell, [[[0.8 / 1.2, 0.64 / 2]]])


def test_the_coarse_error_is_the_weighted_mean_over_its_cell_by_hand() -> None:
    image, target = np.full((1, 5, 1), 0.5), np.array([[[0], [204], [51], [51], [255]]], np.uint8)
    weights = np.array([[255, 51, 0, 0, 102]], np.uint8)  # errors 0.5, -0.3 and two that do not count; then -0.5
    value, mean_square, _ = reference.loss(image, target, StepSettings(l2=1, coarse=0.25), weights)
    assert mean_square == pytest.approx((0.25 + 0.2 * 0.09 + 0.4 * 0.25) / 5)
    coarse = (0.5 - 0.2 * 0.3) ** 2 / 1.2 + 0.4 * 0.25  # of two cells, one of which has a single pixel
    assert value == pytest.approx(0.75 * mean_square + 0.25 * coarse / 5)
    assert reference.loss(image, target, StepSettings(l2=1, coarse=0.25), 0 * weights)[0] == 0


def test_losses_by_hand() -> None:
    image = np.array([[[0.5], [1.0]]])
    target = np.array([[[0], [204]]], np.uint8)  # errors 0.5 and 0.2
    value, mean_square, gradient = reference.loss(image, target, StepSettings(l1=1, l2=10))
    assert mean_square == pytest.approx((0.25 + 0.04) / 2)
    assert value == pytest.approx(0.35 + 1.45)
    np.testing.assert_allclose(gradient, [[[(1 + 10) / 2], [(1 + 4) / 2]]])


def test_the_clamp_stops_the_loss_and_not_the_gradient() -> None:
    """A pixel rendered at 1.7 whose target is 0.8 counts as 1, and is still pulled down."""
    target = np.full((1, 1, 1), 204, np.uint8)
    settings = StepSettings(l2=1)
    above, at = (reference.loss(np.full((1, 1, 1), value), target, settings) for value in (1.7, 1.0))
    assert above == at
    assert above[2] == pytest.approx(0.4)


def test_rate_term_gradient_against_finite_differences() -> None:
    params = reference.upload(scene(9, 17, 15))
    settings = StepSettings(rate_weight=0.3, rate_energy=0.5)
    _, gradient = reference.rate_term(params, settings)
    for name in FIELDS:
        numeric = slopes(lambda: reference.rate_term(params, settings)[0], getattr(params, name))
        np.testing.assert_allclose(getattr(gradient, name), numeric, rtol=1e-6, atol=1e-9)


def test_rate_term_by_hand() -> None:
    """An energy of (0.09 + 0.16) 3 x 2 = 1.5 with `rate_energy` 0.5: log 4, and by the energy 0.2 / 2."""
    params = single((5, 5), (3, 2), 0.4, 0.3, -0.4, 0)
    value, gradient = reference.rate_term(params, StepSettings(rate_weight=0.2, rate_energy=0.5))
    assert value == pytest.approx(0.2 * math.log(4))
    np.testing.assert_allclose(gradient.scale, [[0.1 * 0.25 * 2, 0.1 * 0.25 * 3]])
    np.testing.assert_allclose(gradient.color, [[0.1 * 2 * 6 * 0.3, -0.1 * 2 * 6 * 0.4, 0]])


# ---- steps ----------------------------------------------------------------------------------------------------------


def test_two_steps_of_adam_by_hand() -> None:
    """One pixel, one Gaussian on its centre: the rendering is the colour, and only the colour has a gradient.

    Gradients 2 (0.2 - 1) = -1.6 and 2 (0.21 - 1) = -1.58. The first step is the learning rate itself. Then the
    moments are 0.9 (-0.16) + 0.1 (-1.58) = -0.302 and 0.99 (0.0256) + 0.01 (2.4964) = 0.050308, corrected by 0.19 and
    0.0199: -1.589474 / sqrt(2.528040) = -0.999681.
    """
    params = single((0.5, 0.5), (1, 1), 0, 0.2)
    state = reference.adam_state(params)
    target = np.full((1, 1, 1), 255, np.uint8)
    settings = StepSettings(l2=1, lr_color=0.01, beta1=0.9, beta2=0.99)
    result = reference.step(params, state, target, View.whole(1, 1), settings)
    assert result.loss == pytest.approx(0.64)
    assert result.mean_square == pytest.approx(0.64)
    assert params.color[0, 0] == pytest.approx(0.21, abs=1e-12)
    reference.step(params, state, target, View.whole(1, 1), settings)
    assert params.color[0, 0] == pytest.approx(0.21 + 0.01 * 0.999681, abs=1e-8)
    assert state.first[0, 5] == pytest.approx(-0.302)
    assert state.second[0, 5] == pytest.approx(0.050308)
    assert state.age.tolist() == [2]
    np.testing.assert_allclose(params.mean, [[0.5, 0.5]])


def test_learning_rates_in_pixels() -> None:
    """In the first step Adam moves every parameter by its learning rate."""
    params = single((8.3, 7.1), (4, 1.5), 0.7, 0.3)
    before = reference.DoubleGaussians(*(field.copy() for field in vars(params).values()))
    target = np.random.default_rng(3).integers(0, 256, (15, 17, 1), dtype=np.uint8)
    settings = StepSettings(
        l2=1,
        lr_mean_x=0.05,
        lr_mean_y=0.03,
        lr_scale=0.02,
        lr_rotation=0.04,
        lr_color=0.01,
        relative=False,
        width=17,
        height=15,
    )
    reference.step(params, reference.adam_state(params), target, View.whole(17, 15), settings)
    np.testing.assert_allclose(np.abs(params.mean - before.mean), [[0.05, 0.03]])
    np.testing.assert_allclose(np.abs(params.scale - before.scale), [[0.02, 0.02]])
    np.testing.assert_allclose(np.abs(params.rotation - before.rotation), [0.04])
    np.testing.assert_allclose(np.abs(params.color - before.color), [[0.01]])


@pytest.mark.parametrize("relative", [False, True])
def test_a_step_goes_downhill(relative: bool) -> None:
    params = reference.upload(scene(6, 17, 15, min_scale=1.5))
    target = np.random.default_rng(3).integers(0, 256, (15, 17, 3), dtype=np.uint8)
    state, view = reference.adam_state(params), View.whole(17, 15)
    settings = StepSettings(relative=relative, width=17, height=15)
    losses = [reference.step(params, state, target, view, settings).loss for _ in range(8)]
    assert losses[-1] < 0.98 * losses[0]


def test_how_far_shapes_move() -> None:
    settings = StepSettings(rate_energy=0.5)
    energy = np.array([0, 1e-3, 500 / 16, 500, 500 * 16, 1e9])
    assert reach(energy, settings) == pytest.approx([3, 3, 2, 1, 0.5, 0.3])
    scale = np.array([[3, 3], [2, 1], [1, 2], [8, 2], [2, 8]])
    assert turn(scale) == pytest.approx([1, 1, 1, 2 / 3.75, 2 / 3.75])


@pytest.mark.parametrize("aspect", [1, 4])
def test_a_first_step_in_the_gaussians_own_units(aspect: float) -> None:
    """Adam's first move is the sign of the gradient, of the scales' mean and ratio; means have one moment for both."""
    params = single((8.3, 7.1), (2 * aspect, 2), 0.4, 0.2)
    before = single((8.3, 7.1), (2 * aspect, 2), 0.4, 0.2)
    target = np.random.default_rng(5).integers(0, 256, (15, 17, 1), dtype=np.uint8)
    rates = {"lr_mean_x": 0.05, "lr_mean_y": 0.03, "lr_scale": 0.05, "lr_rotation": 0.03}
    settings = StepSettings(rate_energy=1e-4, width=17, height=15, **rates)
    reference.step(params, reference.adam_state(params), target, View.whole(17, 15), settings)
    far = (1000 * 1e-4 / (0.04 * 4 * aspect)) ** 0.25
    log_u, log_v = np.log(params.scale[0] / before.scale[0])
    assert [abs(log_u + log_v), abs(log_u - log_v)] == pytest.approx([np.sqrt(2) * 0.05 * far] * 2)
    turned = abs(params.rotation[0] - before.rotation[0])
    if aspect > 1:
        assert turned == pytest.approx(0.03 * far * 2 / 3.75)
    else:  # nothing pulls at a round one but rounding
        assert turned <= 0.03 * far * (1 + 1e-9)
    along = np.array([[np.cos(0.4), np.sin(0.4)], [-np.sin(0.4), np.cos(0.4)]]) @ (params.mean - before.mean)[0]
    assert np.hypot(*(along / before.scale[0] / [0.05, 0.03])) == pytest.approx(far * np.sqrt(2))


def test_the_rate_term_alone_by_hand() -> None:
    """Where the rendering is the target, only the rate term moves the colour: towards none."""
    params = single((0.5, 0.5), (1, 1), 0, 0.2)
    target = np.full((1, 1, 1), 51, np.uint8)
    settings = StepSettings(lr_color=0.01, rate_weight=0.5, rate_energy=0.04)
    result = reference.step(params, reference.adam_state(params), target, View.whole(1, 1), settings)
    assert params.color[0, 0] == pytest.approx(0.19)
    assert result.loss == pytest.approx(0.5 * math.log(2))
    assert result.mean_square == pytest.approx(0, abs=1e-30)


def test_steps_keep_to_their_bounds() -> None:
    params = reference.upload(scene(40, 20, 20, min_scale=0.3, max_scale=9))
    target = np.random.default_rng(4).integers(0, 256, (20, 20, 3), dtype=np.uint8)
    settings = StepSettings(
        relative=False,
        lr_mean_x=9,
        lr_mean_y=9,
        lr_scale=5,
        min_scale=0.5,
        max_scale=7,
        max_aspect=4,
        width=20,
        height=20,
    )
    state = reference.adam_state(params)
    for _ in range(3):
        reference.step(params, state, target, View.whole(20, 20), settings)
    assert params.mean.min() >= 0
    assert params.mean.max() <= 20
    assert params.scale.min() >= 0.5
    assert params.scale.max() <= 7
    assert (params.scale.max(axis=1) / params.scale.min(axis=1)).max() <= 4 + 1e-12


def test_residual_by_cells() -> None:
    target = np.array([[[255], [0], [51]], [[255], [51], [51]]], np.uint8)
    cells = reference.residual(reference.upload(Gaussians.empty(1)), target, View.whole(3, 2), 2)
    np.testing.assert_allclose(cells[0, 0], [(2 + 0.2) / 4, (2 + 0.04) / 4])
    np.testing.assert_allclose(cells[0, 1], [0.2, 0.04])
