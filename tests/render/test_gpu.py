"""What the GPU renderer has beyond the contract, compiled where there is a GPU, else in Triton's interpreter."""

from __future__ import annotations

import inspect
import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.render.gpu_device import DEVICE, GPU, on_a_gpu, torch

# isort: split
from smartsplat import decoder, planes
from smartsplat.encoder.compute import Compute
from smartsplat.encoder.cpu_sampler import CpuSampler
from smartsplat.encoder.fit import Fit, Progress, initial_count
from smartsplat.encoder.gpu import GpuSampler, features, median_color, weighted_sampling
from smartsplat.encoder.initialize import initialize
from smartsplat.encoder.rate_control import ExactCount
from smartsplat.encoder.sampler import Sampler
from smartsplat.encoder.settings import FitSettings
from smartsplat.errors import DeviceError
from smartsplat.gaussians import Gaussians
from smartsplat.render import Renderer, StepSettings, View, reference
from smartsplat.render.cpu import CpuRenderer
from smartsplat.render.device import Device
from smartsplat.render.gpu import GpuRenderer, adam, bin, grain, project, residual, ssim, tile, title_of
from smartsplat.render.gpu.constants import CHUNK_SLOTS, TILE
from tests.compare import relative_error, scene
from tests.render.scenes import FIELDS, LOSSES, fitting, gaussian, thin
from tests.samples import landscape

ROOT = Path(__file__).resolve().parents[2]
VECTOR = ROOT / "tests/vectors/color.sspl"
MAX_GRADIENT_ERROR = 1e-5  # relative, as a vector over all Gaussians


@pytest.fixture(autouse=True)
def _few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter runs one after the other."""
    if not GPU:
        monkeypatch.setattr(ssim, "COLUMNS_PER_PROGRAM", 4096)


# ---- SSIM by strips -------------------------------------------------------------------------------------------------


def test_ssim_over_several_blocks_of_columns_and_groups_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ssim, "COLUMNS_PER_PROGRAM", 128 if GPU else 16)
    view, channels = (View.whole(300, 150), 3) if GPU else (View.whole(20, 70), 1)
    gaussians, target = fitting(view, channels)
    expected, renderer = reference.upload(gaussians), GpuRenderer(DEVICE)
    expected_state, params = reference.adam_state(expected), renderer.upload(gaussians)
    state = renderer.adam_state(params)
    result = reference.step(expected, expected_state, target, view, LOSSES["paper"])
    actual = renderer.step(params, state, target, view, LOSSES["paper"])
    assert actual.loss == pytest.approx(result.loss, rel=1e-5)
    assert relative_error(state.first.cpu(), expected_state.first) < MAX_GRADIENT_ERROR


def test_strips_with_ssim_are_one_image(monkeypatch: pytest.MonkeyPatch) -> None:
    view = View.whole(12, 20)
    gaussians, target = fitting(view)
    results = []
    for pixels in (1, 1 << 21):  # strips of one row of tiles, and one for all
        monkeypatch.setattr(ssim, "STRIP_PIXELS", pixels)
        renderer = GpuRenderer(DEVICE)
        params = renderer.upload(gaussians)
        state = renderer.adam_state(params)
        result = renderer.step(params, state, target, view, LOSSES["paper"])
        results.append((result, state.first.cpu().numpy()))
    assert results[0][0].loss == pytest.approx(results[1][0].loss, rel=1e-6)
    assert relative_error(results[0][1], results[1][1]) < 1e-6


# ---- samples, targets and their weights ------------------------------------------------------------------------------


@pytest.mark.parametrize(("dtype", "largest_error"), [(np.uint8, 0), (np.uint16, 1)])
def test_strips_of_both_depths_are_parts_of_the_whole(dtype: type, largest_error: int) -> None:
    """Those of 16 bits have the upper bits of those of 8, but for the rounding of each."""
    gaussians, view, renderer = scene(12, 20, 40), View.whole(20, 40), GpuRenderer(DEVICE)
    params = renderer.upload(gaussians)
    strips = list(renderer.render_strips(params, view, 20 * 16, dtype))
    assert [(strip.dtype, len(strip)) for strip in strips] == [(dtype, 16), (dtype, 16), (dtype, 8)]
    assert np.array_equal(np.concatenate(strips), renderer.render_samples(params, view, dtype))
    exact = np.concatenate(strips) / np.iinfo(dtype).max * 255
    assert np.abs(exact - renderer.render_samples(params, view)).max() <= 0.51 * largest_error


def test_weights_of_one_change_nothing() -> None:
    view = View.whole(18, 20)
    gaussians, target = fitting(view)
    ones = np.full((20, 18), 255, np.uint8)
    renderer, settings = GpuRenderer(DEVICE), LOSSES["l1 and l2"]
    params = renderer.upload(gaussians)
    (gradient, result), (expected_gradient, expected) = (
        renderer.loss_gradient(params, target, view, settings, weights) for weights in (ones, None)
    )
    assert result.loss == pytest.approx(expected.loss, rel=1e-6)
    for field in FIELDS:
        assert relative_error(getattr(gradient, field), getattr(expected_gradient, field)) < 1e-6
    cells, expected_cells = (renderer.residual(params, target, view, 8, weights) for weights in (ones, None))
    np.testing.assert_allclose(cells, expected_cells, atol=1e-6)


def test_a_target_and_its_weights_are_uploaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """And the one does not push the other out; other arrays take their places."""
    view, renderer = View.whole(20, 18), GpuRenderer(DEVICE)
    upload, seen = renderer.launcher.upload, []
    gaussians, target = fitting(view, 1, np.uint16)
    params = renderer.upload(gaussians)
    state = renderer.adam_state(params)
    monkeypatch.setattr(renderer.launcher, "upload", lambda array: seen.append(id(array)) or upload(array))
    weights = [np.full((18, 20), value, np.uint8) for value in (0, 255)]
    results = []
    for each in (weights[0], weights[0], weights[1], None, weights[1]):
        results.append(renderer.step(params, state, target, view, LOSSES["l2"], each).mean_square)
        renderer.residual(params, target, view, 4, each)
    arrays = [id(array) for array in (target, *weights)]
    assert [array for array in seen if array in arrays] == [*arrays, arrays[2]]
    assert results[:2] == [0, 0]
    assert min(results[2:]) > 0


# ---- lists ----------------------------------------------------------------------------------------------------------


def test_lists_hold_each_intersection_once_and_in_order() -> None:
    gaussians, view = scene(60, 70, 50), View.whole(70, 50)
    renderer = GpuRenderer(DEVICE)
    lists = renderer.bin(renderer.upload(gaussians), view)
    starts, slots = lists.starts.tolist(), lists.slots.tolist()
    assert starts[-1] == lists.intersections == lists.offsets[-1]
    assert sorted(slots) == list(range(lists.intersections))
    offsets = lists.offsets.cpu().numpy()
    owners = np.searchsorted(offsets, slots, side="right") - 1
    assert lists.gaussians.tolist() == owners.tolist()
    for begin, end in itertools.pairwise(starts):
        assert slots[begin:end] == sorted(slots[begin:end])


@pytest.mark.parametrize(
    "gaussians", [thin(80, 60, 0.25, 5), scene(9, 80, 60), scene(9, 80, 60, min_scale=0.3, max_scale=1)]
)
def test_lists_hold_the_tiles_that_an_ellipse_touches(gaussians: Gaussians) -> None:
    """Those with a pixel centre inside, and a few where it passes between two centres; not the rectangle's."""
    renderer, tile_side = GpuRenderer(DEVICE), TILE.value
    lists = renderer.bin(renderer.upload(gaussians), View.whole(80, 60))
    y, x = np.mgrid[:64, :80] + 0.5
    listed = np.zeros((len(gaussians), lists.columns * lists.rows), bool)
    for number, (begin, end) in enumerate(itertools.pairwise(lists.starts.tolist())):
        listed[lists.gaussians[begin:end].tolist(), number] = True
    for mean, scale, angle, tiles in zip(gaussians.mean, gaussians.scale, gaussians.rotation, listed, strict=True):
        dx, dy = x - mean[0], y - mean[1]
        along_u = np.cos(angle) * dx + np.sin(angle) * dy
        along_v = np.cos(angle) * dy - np.sin(angle) * dx
        inside = (along_u / scale[0]) ** 2 + (along_v / scale[1]) ** 2 < 9
        touched = inside.reshape(4, tile_side, 5, tile_side).any(axis=(1, 3)).ravel()
        assert not (touched & ~tiles).any()
        assert (tiles & ~touched).sum() <= 1 + 0.15 * touched.sum()


def test_many_slots_of_one_gaussian_are_summed_by_chunks() -> None:
    """A Gaussian over 600 tiles takes ten chunks: each leaves its sum in its first slot."""
    gaussians = gaussian((200, 200), (300, 300), 0.3).joined(gaussian((3, 4), (2, 2), 0))
    renderer = GpuRenderer(DEVICE)
    lists = renderer.bin(renderer.upload(gaussians), View.whole(400, 384))
    chunk = CHUNK_SLOTS.value
    assert (lists.intersections, lists.chunks) == (25 * 24 + 1, -(-600 // chunk))
    slots = np.random.default_rng(0).normal(size=(lists.intersections, 8)).astype(np.float32)
    partials = torch.tensor(slots, device=DEVICE)
    adam.sum_chunks(renderer.launcher, lists, partials)
    expected = np.add.reduceat(slots[:600], range(0, 600, chunk), axis=0)
    np.testing.assert_allclose(partials[:600:chunk].cpu(), expected, rtol=1e-4, atol=1e-5)
    assert np.array_equal(partials[600].cpu(), slots[600])


def test_the_same_again_to_the_last_bit() -> None:
    gaussians, view = scene(50, 30, 30), View.whole(32, 30)
    target = np.random.default_rng(3).integers(0, 256, (30, 32, 3), dtype=np.uint8)
    states = []
    for _ in range(2):
        renderer = GpuRenderer(DEVICE)
        params = renderer.upload(gaussians)
        state = renderer.adam_state(params)
        results = [renderer.step(params, state, target, view, StepSettings()) for _ in range(2)]
        states.append((results, params.mean.cpu(), state.second.cpu()))
    assert states[0][0] == states[1][0]
    assert torch.equal(states[0][1], states[1][1])
    assert torch.equal(states[0][2], states[1][2])


# ---- the codec on it ------------------------------------------------------------------------------------------------


def test_a_fit_gets_as_far_as_on_the_cpu() -> None:
    """With densification, settling and quantisation, which select and join parameters."""
    pixels, settings = landscape(48, 40), FitSettings(steps=20)
    gpu, cpu = GpuRenderer(DEVICE), CpuRenderer(1, exact=True)
    psnrs = []
    computes: list[tuple[Renderer, Sampler]] = [(gpu, GpuSampler(gpu)), (cpu, CpuSampler(cpu))]
    for renderer, sampler in computes:
        events: list[Progress] = []
        initial = initialize(pixels, initial_count(24, settings), sampler=sampler)
        fit = Fit(pixels, initial, ExactCount(24), settings, Compute(renderer, sampler, 1), final_count=24)
        gaussians, _ = fit.run(events.append)
        assert len(gaussians) == 24
        assert events[-1].psnr > events[0].psnr + 1
        psnrs.append(events[-1].psnr)
    assert psnrs[0] == pytest.approx(psnrs[1], abs=0.5)


def test_a_file_is_rendered_as_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    forms: tuple[dict[str, Any], ...] = ({}, {"region": (5, 3, 20, 14)}, {"scale": 0.5}, {"scale": 1.5})
    expected = [decoder.decode(VECTOR, **form) for form in forms]
    monkeypatch.setattr(planes, "find", lambda name: Device(name, "what the kernels run on here"))
    monkeypatch.setattr(planes, "open_renderer", lambda name, threads: GpuRenderer(DEVICE))
    actual = [decoder.decode(VECTOR, device="cuda", **form) for form in forms]
    for cpu, gpu in zip(expected, actual, strict=True):
        assert np.abs(gpu.astype(int) - cpu).max() <= 1
    assert np.array_equal(decoder.open(VECTOR, device="cuda").strips().joined(), actual[0])


# ---- parameters, hostile values, arguments --------------------------------------------------------------------------


def test_params_and_states_are_selected_and_joined_as_gaussians_are() -> None:
    gaussians = scene(9, 20, 20)
    renderer = GpuRenderer(DEVICE)
    params = renderer.upload(gaussians)
    mask = np.arange(9) % 2 == 0
    joined = params[mask].joined(params[np.array([3, 1])])
    expected = gaussians[mask].joined(gaussians[np.array([3, 1])])
    for field in FIELDS:
        assert np.array_equal(getattr(renderer.download(joined), field), getattr(expected, field))
    assert (len(joined), joined.channels, len(params[:4])) == (7, 3, 4)
    state = renderer.adam_state(params)
    state.age += torch.arange(9, dtype=torch.int32, device=DEVICE)
    assert state[mask].joined(state[:1]).age.tolist() == [0, 2, 4, 6, 8, 0]


def test_arguments_that_do_not_fit() -> None:
    renderer, view = GpuRenderer(DEVICE), View.whole(20, 10)
    params = renderer.upload(scene(4, 20, 10))
    with pytest.raises(ValueError, match="target"):
        renderer.step(params, renderer.adam_state(params), np.zeros((20, 10, 3), np.uint8), view, StepSettings())
    for dtype in (np.int16, np.float32, ">u2"):
        with pytest.raises(ValueError, match="a target of"):
            renderer.residual(params, np.zeros((10, 20, 3), dtype), view, 4)
    with pytest.raises(ValueError, match="samples of float32"):
        renderer.render_samples(params, view, np.float32)
    with pytest.raises(ValueError, match="samples of int16"):
        renderer.render_strips(params, view, 100, np.int16)
    with pytest.raises(ValueError, match="moments"):
        renderer.step(params, renderer.adam_state(params[:3]), np.zeros((10, 20, 3), np.uint8), view, StepSettings())
    with pytest.raises(ValueError, match="gradient"):
        renderer.render_gradient(params, view, np.zeros((10, 20, 1), np.float32))
    with pytest.raises(ValueError, match="cell"):
        renderer.residual(params, np.zeros((10, 20, 3), np.uint8), view, 3)


@pytest.mark.skipif(GPU, reason="there is a GPU here")
def test_no_gpu_is_named() -> None:
    with pytest.raises(DeviceError, match="finds no NVIDIA or AMD GPU"):
        title_of("cuda:0")


def test_memory_that_does_not_suffice_names_the_size_that_would(monkeypatch: pytest.MonkeyPatch) -> None:
    renderer = GpuRenderer(DEVICE)
    params = renderer.upload(scene(4, 20, 10))

    def fail(*arguments: Any) -> None:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(renderer, "bin", fail)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 8 * 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * 10**9)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2 * 10**9)
    with pytest.raises(DeviceError, match=r"2\.0 of 8\.0 GB .* about 182 megapixels would; use a higher ratio"):
        renderer.render(params, View.whole(40_000, 30_000))
    with pytest.raises(DeviceError, match="about 142 megapixels would"):  # a target of 16 bits is twice as large
        renderer.residual(params, np.zeros((100, 200, 3), np.uint16), View.whole(200, 100), 4)


# ---- compiled -------------------------------------------------------------------------------------------------------


def test_every_kernel_compiles_ahead_of_time() -> None:
    """For two generations of NVIDIA's GPUs and one of AMD's, none of which need be here."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    program = [sys.executable, "-m", "tests.render.compile_kernels"]
    run = subprocess.run(program, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    assert run.returncode == 0, run.stderr
    rows = [json.loads(line) for line in run.stdout.splitlines()]
    assert {row["target"] for row in rows} == {"cuda:80", "cuda:90", "hip:gfx942"}
    named = {row["kernel"] for row in rows}
    modules = (adam, bin, grain, project, residual, ssim, tile, features, median_color, weighted_sampling)
    launches = re.compile(r"\blaunch\(\s*(\w+),")
    assert {name for module in modules for name in launches.findall(inspect.getsource(module))} == named
    # Nor may sums over a tile go through shared memory: a layout that needs it takes twice the instructions.
    loops = [row for row in rows if row["kernel"] in ("render", "fit", "backward") and row["target"].startswith("cuda")]
    assert {row["shared"] for row in loops} == {0}
    # The loops over pixels must stay in registers; what is left is the argument reduction of sin and cos.
    assert {row["kernel"] for row in rows if (row["stack"] or 0) > 0} <= {"project", "gradients", "update"}


@on_a_gpu
@pytest.mark.parametrize(("width", "height"), [(7680, 4320), (16320, 10848)])
def test_large_images_are_rendered_as_on_the_cpu(width: int, height: int) -> None:
    gaussians = scene(width * height // 500, width, height, min_scale=1, max_scale=12)
    view, renderer = View.whole(width, height), GpuRenderer(DEVICE)
    cpu = CpuRenderer(exact=True)
    rendered = renderer.render_samples(renderer.upload(gaussians), view)
    difference = np.abs(rendered.astype(np.int16) - cpu.render_samples(gaussians, view))
    assert difference.max() <= 1
    settings = StepSettings(width=width, height=height, epsilon=1e-6)
    params, state = renderer.upload(gaussians), renderer.adam_state(renderer.upload(gaussians))
    target = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    expected_state = cpu.adam_state(gaussians)
    actual = renderer.step(params, state, target, view, settings)
    expected = cpu.step(gaussians, expected_state, target, view, settings)
    assert actual.mean_square == pytest.approx(expected.mean_square, rel=1e-4)
    assert relative_error(state.first.cpu(), expected_state.first) < 1e-3  # both are float32
