"""The baselines: gradients by finite differences, fits that do not fail, files that decode to what was fitted."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from smartsplat.encoder.compute import open_compute
from smartsplat.errors import FormatError, SettingsError
from smartsplat.metrics import psnr
from smartsplat_baselines import (
    METHODS,
    PAPER_METHODS,
    Task,
    ablations,
    decode,
    files,
    gaussian_image_codec,
    gaussians_3d,
    image_gs,
    lig,
    run,
    shapes,
)
from smartsplat_baselines.blend import BlendRenderer, CovarianceGaussians
from smartsplat_baselines.gaussian_image import Cholesky, RotationScale, Scaled, ScaledAdam
from smartsplat_baselines.model import Model, finite, fit
from smartsplat_baselines.optimizers import Adam, Adan, adan_epsilon
from tests.compare import relative_error, slopes

MODELS = [
    RotationScale,
    Cholesky,
    Scaled,
    ScaledAdam,
    lig.Level,
    image_gs.ImageGS,
    gaussians_3d.Released,
    gaussians_3d.Tuned,
]


def waves(height: int = 60, width: int = 80, channels: int = 3) -> npt.NDArray[np.uint8]:
    """Something smooth with an edge in it."""
    row, column, channel = np.ogrid[:height, :width, :channels]
    values = 120 + 70 * np.sin(row / (7 + channel)) * np.cos(column / 11) + 40 * (column > 2 * row)
    return values.clip(0, 255).astype(np.uint8)


# ---- parameters and their gradients ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", MODELS)
def test_gradients_equal_finite_differences(kind: type[Model]) -> None:
    model = kind.initialized(waves(), 8, np.random.default_rng(0))
    random = np.random.default_rng(1)
    count = len(model)
    for name, values in model.parameters.items():
        model.parameters[name] = values.astype(np.float64) + 0.1 * random.normal(size=values.shape)
    shapes_of_arrays = ((count, 2), (count, 3), (count, 3), (count,))
    d = CovarianceGaussians(*(random.normal(size=shape) for shape in shapes_of_arrays))
    if not isinstance(model, gaussians_3d.Gaussians3D):
        d.opacity[:] = 0  # nothing depends on it: it is 1 for all of them

    def value() -> float:
        arrays = zip(model.gaussians().arrays(), d.arrays(), strict=True)
        return float(sum((array * slope).sum() for array, slope in arrays))

    gradient = model.vjp(d)
    assert set(gradient) == set(model.columns) == set(model.parameters)
    for name, values in model.parameters.items():
        assert relative_error(gradient[name], slopes(value, values, 1e-6)) < 1e-5, name


def test_covariance_vjp_counts_the_off_diagonal_element_once() -> None:
    """The example that shows the defect of the released programs: see docs/method.md, E3."""
    scale, rotation, distance = np.array([[2, 0.8]]), np.array([0.7]), np.array([0.9, -0.6])

    def weight(scale: npt.NDArray[np.float64], rotation: npt.NDArray[np.float64]) -> float:
        xx, xy, yy = shapes.covariance_of(scale, rotation)[0]
        q = distance @ np.linalg.inv([[xx, xy], [xy, yy]]) @ distance
        return float(np.exp(-q / 2))

    xx, xy, yy = shapes.covariance_of(scale, rotation)[0]
    inverse = np.linalg.inv([[xx, xy], [xy, yy]])
    moment = 0.5 * weight(scale, rotation) * np.outer(inverse @ distance, inverse @ distance)
    d_scale, d_rotation = shapes.covariance_vjp(
        scale, rotation, np.array([[moment[0, 0], 2 * moment[0, 1], moment[1, 1]]])
    )
    step = 1e-6
    assert d_rotation[0] == pytest.approx(
        (weight(scale, rotation + step) - weight(scale, rotation - step)) / (2 * step), rel=1e-6
    )
    for axis in range(2):
        move = step * np.eye(2)[axis][None]
        slope = (weight(scale + move, rotation) - weight(scale - move, rotation)) / (2 * step)
        assert d_scale[0, axis] == pytest.approx(slope, rel=1e-6)


def test_gradients_that_are_not_finite_count_as_zero() -> None:
    assert finite(np.array([1.0, np.nan, np.inf, -np.inf])).tolist() == [1, 0, 0, 0]


# ---- optimisers -----------------------------------------------------------------------------------------------------


def test_adam_by_hand() -> None:
    parameters = {"a": np.array([[1.0, -2.0]])}
    adam = Adam({"a": 0.1}, betas=(0.9, 0.99), epsilon=0)
    adam.step(parameters, {"a": np.array([[3.0, -5.0]])}, {"a": 1.0})
    assert parameters["a"].ravel() == pytest.approx([0.9, -1.9])  # the first move has the size of the learning rate
    adam.step(parameters, {"a": np.array([[1.0, 0.0]])}, {"a": 0.5})
    first = (0.9 * 0.1 * 3 + 0.1 * 1) / (1 - 0.9**2)
    second = (0.99 * 0.01 * 9 + 0.01 * 1) / (1 - 0.99**2)
    assert parameters["a"][0, 0] == pytest.approx(0.9 - 0.05 * first / second**0.5)


def test_adan_by_hand() -> None:
    parameters = {"a": np.array([[1.0]])}
    adan = Adan(("a",), 0.1, betas=(0.98, 0.92, 0.99), epsilon=0)
    adan.step(parameters, {"a": np.array([[2.0]])}, {"a": 1.0})
    assert parameters["a"].item() == pytest.approx(0.9)
    adan.step(parameters, {"a": np.array([[3.0]])}, {"a": 1.0})
    first = (0.98 * 0.02 * 2 + 0.02 * 3) / (1 - 0.98**2)
    change = 0.08 * 1 / (1 - 0.92**2)
    second = (0.99 * 0.01 * 2**2 + 0.01 * (3 + 0.92) ** 2) / (1 - 0.99**2)
    assert parameters["a"].item() == pytest.approx(0.9 - 0.1 * (first + 0.92 * change) / second**0.5)


def test_adan_moves_the_gaussians_of_larger_images_as_far() -> None:
    moved = []
    for pixels in (2**21, 2**28):
        parameters = {"a": np.zeros((1, 1))}
        adan = Adan(("a",), 0.1, epsilon=adan_epsilon(pixels))
        adan.step(parameters, {"a": np.array([[0.02 / pixels]])}, {"a": 1.0})
        moved.append(parameters["a"].item())
    assert moved[1] == pytest.approx(moved[0])
    assert adan_epsilon(2**20) == adan_epsilon(2**21)


@pytest.mark.parametrize("optimizer", [Adam({"a": 0.05}), Adan(("a",), 0.05)], ids=["adam", "adan"])
def test_optimizers_find_a_minimum(optimizer: Adam | Adan) -> None:
    parameters = {"a": np.array([[3.0, -1.0]])}
    for _ in range(400):
        optimizer.step(parameters, {"a": 2 * (parameters["a"] - 0.5)}, {"a": 1.0})
    assert np.abs(parameters["a"] - 0.5).max() < 0.05


def test_fewer_steps_scale_up_learning_rates_but_not_those_of_means() -> None:
    pixels = waves()
    model = RotationScale.initialized(pixels, 50, np.random.default_rng(0))
    before = {name: values.copy() for name, values in model.parameters.items()}
    fit(model, pixels, 1, BlendRenderer())
    moved = {name: np.abs(values - before[name]).max() for name, values in model.parameters.items()}
    assert moved["mean"] == pytest.approx(1e-3, rel=0.01)  # the first move of Adan has the size of the learning rate
    assert moved["color"] == pytest.approx(1e-3 * RotationScale.max_lr_scale_up, rel=0.01)


def test_few_steps_let_no_gaussian_of_image_gs_leap_across_the_image() -> None:
    pixels = np.full((64, 80, 3), 200, np.uint8)  # holes between them pull at every Gaussian
    model = image_gs.ImageGS.initialized(pixels, 20, np.random.default_rng(0))
    seen = [model.parameters["inverse"].copy()]
    fit(model, pixels, 30, BlendRenderer(), lambda *_: seen.append(model.parameters["inverse"].copy()))
    lost = [(1 - after[: len(before)] / before).max() for before, after in itertools.pairwise(seen)]
    assert max(lost) == pytest.approx(image_gs.MAX_INVERSE_DECREASE, rel=1e-5)
    assert seen[-1].min() > 0


# ---- fits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", METHODS)
def test_every_method_fits_and_its_file_decodes(name: str) -> None:
    pixels = waves()
    seen = []
    task = Task(pixels, 60, 60, progress=lambda *event: seen.append(event))
    fitted = run(name, task)
    assert fitted.pixels.shape == pixels.shape
    assert fitted.pixels.dtype == np.uint8
    assert all(np.isfinite(error) for _, _, error in seen)
    assert [step for step, _, _ in seen] == list(range(1, 61))
    if name != "smartsplat":  # which counts bytes
        assert fitted.count == 60
    black, value = psnr(pixels, np.zeros_like(pixels)), psnr(pixels, fitted.pixels)
    assert value > black + (0 if name in ("lig", "3dgs-released") else 3)
    decoded = decode(fitted.data)
    assert decoded.shape == pixels.shape
    assert psnr(pixels, decoded) > value - 1.0
    assert len(fitted.data) < 40 * fitted.count + 600


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 17, 3), (41, 13, 1), (33, 70, 3)], ids=str)
@pytest.mark.parametrize("name", PAPER_METHODS)
def test_odd_shapes_and_grey(name: str, shape: tuple[int, int, int]) -> None:
    pixels = waves(*shape)
    fitted = run(name, Task(pixels, 50, 12))
    assert fitted.pixels.shape == decode(fitted.data).shape == shape


@pytest.mark.parametrize("count", [1, 2, 50])
@pytest.mark.parametrize("name", [name for name in METHODS if name != "smartsplat"])
def test_few_gaussians_do_not_fail(name: str, count: int) -> None:
    """Where the paper's table says Fail; also a single one. The codec itself takes bytes: too few."""
    fitted = run(name, Task(waves(), count, 10))
    assert decode(fitted.data).shape == fitted.pixels.shape


@pytest.mark.parametrize("name", ["3dgs", "lig", "gaussianimage-codec", "image-gs"])
def test_the_seed_decides(name: str) -> None:
    task = Task(waves(), 40, 8)
    first, again = run(name, task), run(name, task)
    assert first.data == again.data
    assert first.data != run(name, replace(task, seed=1)).data


def test_unknown_methods_and_foreign_files_are_refused() -> None:
    with pytest.raises(SettingsError, match="unknown method"):
        run("jpeg", Task(waves(), 10, 1))
    with pytest.raises(FormatError, match="baselines"):
        files.unpack(b"something else altogether")


# ---- what is particular to each -------------------------------------------------------------------------------------


def test_image_gs_densifies_on_its_schedule() -> None:
    pixels, counts = waves(), []
    model = image_gs.ImageGS.initialized(pixels, 80, np.random.default_rng(0))
    assert len(model) == 40
    fit(model, pixels, 50, BlendRenderer(), lambda step, count, error: counts.append(count))
    assert [counts[step] for step in (3, 4, 9, 14, 19, 49)] == [40, 50, 60, 70, 80, 80]


def test_sampled_pixels_follow_the_weights() -> None:
    weights = np.zeros((10, 20), np.float32)
    weights[3, 5], weights[7, 1] = 2, 1
    place = image_gs.sample(iter([weights[:5], weights[5:]]), 2, 200, np.random.default_rng(0))
    assert sorted(place) == [65, 141]
    more = image_gs.sample(iter([weights[:5], weights[5:]]), 500, 200, np.random.default_rng(0))
    assert len(more) == 500
    assert more.max() < 200


def test_lig_levels_add_up() -> None:
    pixels = waves()
    model = lig.Lig.fitted(pixels, 80, 40, np.random.default_rng(0), BlendRenderer())
    assert (len(model.coarse), len(model.fine)) == (10, 70)
    assert model.coarse.parameters["mean"].max() <= 45  # pixels of the half size
    assert model.minimum < 0 < model.maximum
    again = files.unpack(files.pack(model))
    assert psnr(model.render(BlendRenderer()), again.render(BlendRenderer())) > 40


def test_the_released_3dgs_starts_in_the_middle() -> None:
    pixels = waves(100, 160)
    released = gaussians_3d.Released.initialized(pixels, 200, np.random.default_rng(0)).gaussians().mean
    assert np.abs(released - [80, 50]).max() < 160 / 14 + 1
    tuned = gaussians_3d.Tuned.initialized(pixels, 200, np.random.default_rng(0)).gaussians().mean
    assert tuned.min() < 5
    assert tuned[:, 0].max() > 155


def test_files_keep_16_bits() -> None:
    model = RotationScale.initialized(waves(), 30, np.random.default_rng(0))
    stored, again = model.stored(), files.unpack(files.pack(model)).stored()
    assert np.allclose(stored["mean"], 2 * model.means() / [80, 60] - 1, atol=1e-6)  # positions in the image
    for name, values in stored.items():
        span = np.ptp(values, axis=0)
        assert (np.abs(again[name] - values) <= span / 65535 * 0.51 + 1e-6).all(), name


def test_the_codec_stage_stores_what_it_rendered() -> None:
    """Its decoder renders the same pixels: nothing is rounded that the fit did not see."""
    pixels, generator = waves(), np.random.default_rng(0)
    plain = Cholesky.initialized(pixels, 60, generator)
    fit(plain, pixels, 60, BlendRenderer())
    model = gaussian_image_codec.Quantized.of(plain, generator)
    before = psnr(pixels, model.render(BlendRenderer()))
    fit(model, pixels, 400, BlendRenderer())
    model.finish()
    assert psnr(pixels, model.render(BlendRenderer())) > before
    _, result = BlendRenderer().loss_gradient(model.gaussians(), model.blend, pixels, model.loss)
    assert result.mean_square == model.best_error  # what is kept is what had the error
    data = gaussian_image_codec.pack(model)
    assert np.array_equal(gaussian_image_codec.unpack(data).render(BlendRenderer()), model.render(BlendRenderer()))
    tables = files.HEADER.size + 4 * (6 + 2 * 8 * 3) + 4 * 5
    assert 4 * 60 < len(data) - tables < 8 * 60 + 5 * 16


@pytest.mark.parametrize("without", ablations.COMPONENTS)
def test_each_component_can_be_left_out(without: str) -> None:
    pixels = waves()
    compute = open_compute("cpu", 1)
    whole = ablations.initialize_without(None, pixels, 100, 0, compute)
    part = ablations.initialize_without(without, pixels, 100, 0, compute)
    kept = {"weights": (), "exclusion": (), "scales": ("mean", "color"), "colors": ("mean", "scale")}[without]
    assert len(part) == 100
    for field in kept:
        assert np.array_equal(getattr(whole, field), getattr(part, field)), field
    changed = {"weights": "mean", "exclusion": "mean", "scales": "scale", "colors": "color"}[without]
    assert not np.array_equal(getattr(whole, changed), getattr(part, changed))
    if without == "exclusion":
        assert np.array_equal(whole.mean[:70], part.mean[:70])


def test_few_steps_scale_up_the_learning_rates_of_the_papers_method(monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = waves()
    psnrs = []
    for reference_steps in (ablations.REFERENCE_STEPS, 0):
        monkeypatch.setattr(ablations, "REFERENCE_STEPS", reference_steps)
        fitted = run("smartsplat-paper", Task(pixels, 60, 30))
        psnrs.append(psnr(pixels, fitted.pixels))
    assert psnrs[0] > psnrs[1] + 1


def test_the_codec_does_not_import_the_baselines() -> None:
    program = "import sys, smartsplat, smartsplat.cli, smartsplat.encoder.fit; print(*sys.modules)"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not [name for name in result.stdout.split() if "baselines" in name or "blend" in name]
