"""The GPU backend against the reference: compiled where there is a GPU, else small scenes in Triton's interpreter."""

from __future__ import annotations

import itertools
import json
import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: scripts/test gpu installs it")

GPU = torch.cuda.is_available()
if not GPU:
    os.environ["TRITON_INTERPRET"] = "1"  # before Triton is imported

pytest.importorskip("triton", reason="Triton is not installed: scripts/test gpu installs it")

from smartsplat import codec  # noqa: E402
from smartsplat.errors import DeviceError  # noqa: E402
from smartsplat.fit import Fit, Progress  # noqa: E402
from smartsplat.gaussians import Gaussians  # noqa: E402
from smartsplat.raster import StepSettings, View, native, reference  # noqa: E402
from smartsplat.raster.gpu import Backend, backend, bins, title_of  # noqa: E402
from smartsplat.rate import ExactCount  # noqa: E402
from smartsplat.settings import FitSettings  # noqa: E402
from tests.compare import relative_error, scene  # noqa: E402
from tests.pictures import landscape  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
VECTOR = ROOT / "tests/vectors/color.sspl"
DEVICE = "cuda" if GPU else "cpu"
FIELDS = ("mean", "scale", "rotation", "color")
VALUE = 2e-6  # largest error of a rendered value for colours of about 1
GRADIENT = 1e-5  # relative, as a vector over all Gaussians


@pytest.fixture(autouse=True)
def _few_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The interpreter runs one after the other."""
    if not GPU:
        monkeypatch.setattr(backend, "SAMPLES", 4096)


on_a_gpu = pytest.mark.skipif(not GPU, reason="torch finds no GPU here")


def one(
    mean: tuple[float, float], scale: tuple[float, float], rotation: float, color: tuple[float, ...] = (1, 0.5, -0.3)
) -> Gaussians:
    return Gaussians(*(np.array([field], np.float32) for field in (mean, scale, rotation, color)))


def thin(count: int) -> Gaussians:
    """Aspect 64 at every angle: what a quadratic form in float32 would spoil."""
    turns = np.linspace(0, math.pi, count, dtype=np.float32)
    center = np.stack([40 + turns, 30 - turns / 3], axis=1)
    scale, color = np.tile(np.float32([16, 0.25]), (count, 1)), np.tile(np.float32([0.2, 0.1, -0.1]), (count, 1))
    return Gaussians(np.ascontiguousarray(center, np.float32), scale, turns, color)


SCENES: dict[str, tuple[Gaussians, View]] = {
    "1x1": (scene(3, 1, 1), View.whole(1, 1)),
    "1x17": (scene(5, 17, 1), View.whole(17, 1)),
    "17x1 grey": (scene(5, 1, 17, 1), View.whole(1, 17)),
    "41x53": (scene(14, 53, 41), View.whole(53, 41)),
    "33x32 grey": (scene(9, 33, 32, 1), View.whole(33, 32)),
    "no Gaussians": (Gaussians.empty(3), View.whole(20, 18)),
    "all in one tile": (scene(70, 14, 14, largest=2), View.whole(40, 36)),
    "one over all tiles": (one((50, 40), (75, 45), 0.5), View.whole(70, 60)),
    "thin": (thin(9), View.whole(80, 60)),
    "tiny": (scene(60, 30, 30, smallest=0.05, largest=0.4), View.whole(30, 30)),
    "huge": (scene(4, 40, 30, smallest=300, largest=60_000), View.whole(40, 30)),
    "region": (scene(20, 100, 80), View(10.5, 5, 60, 50, 60, 50)),
    "minified": (scene(30, 300, 200), View.whole(300, 200, 37, 29)),
    "magnified": (scene(6, 40, 30), View(3, 4, 30, 20, 61, 37)),
    "minified x, magnified y": (scene(15, 100, 40), View(0, 5, 100, 20, 23, 37)),
}
if GPU:
    SCENES["41x341"] = (scene(60, 341, 41), View.whole(341, 41))
    SCENES["300x270"] = (scene(90, 300, 270, largest=30), View.whole(300, 270))


@pytest.mark.parametrize("name", SCENES)
def test_renders_as_the_reference(name: str) -> None:
    gaussians, view = SCENES[name]
    image = reference.render(reference.upload(gaussians), view)
    found = Backend(DEVICE)
    rendered = found.render(found.upload(gaussians), view)
    assert rendered.dtype == np.float32
    assert rendered.shape == image.shape
    # A thin Gaussian's distance is a small difference of large coordinates.
    tolerance = (20 if name == "thin" else 1) * VALUE * max(1.0, float(np.abs(gaussians.color).max(initial=0)))
    assert np.abs(rendered - image).max(initial=0) < tolerance
    difference = np.abs(found.render_bytes(found.upload(gaussians), view).astype(int) - reference.to_bytes(image))
    assert difference.max(initial=0) <= 1
    assert np.count_nonzero(difference) <= 0.01 * difference.size + 1


@pytest.mark.parametrize("name", SCENES)
def test_gradient_is_the_references(name: str) -> None:
    gaussians, view = SCENES[name]
    shape = (view.rows, view.columns, gaussians.channels)
    d_image = np.random.default_rng(1).normal(size=shape).astype(np.float32)
    wanted = reference.render_gradient(reference.upload(gaussians), view, d_image.astype(np.float64))
    found = Backend(DEVICE)
    gradient = found.render_gradient(found.upload(gaussians), view, d_image)
    for field in FIELDS:
        assert relative_error(getattr(gradient, field), getattr(wanted, field)) < GRADIENT, field


# ---- steps ----------------------------------------------------------------------------------------------------------

STEPS = {
    "l1": StepSettings(l1=1, l2=0),
    "l2 and size": StepSettings(size=0.01, size_floor=0.3),
    "paper": StepSettings(l1=0.9, l2=0, ssim=0.1, beta2=0.999),
    "all": StepSettings(l1=0.3, l2=0.5, ssim=0.2, size=0.01, size_floor=2, beta1=0.8),
}
IN_PIXELS = {"relative": False, "rate_mean_x": 0.3, "rate_mean_y": 0.2, "rate_scale": 0.05}
VIEWS = {
    "41x37": View.whole(41, 37),
    "19x23": View.whole(19, 23),
    "1x17": View.whole(17, 1),
    "half size": View.whole(40, 24, 20, 12),
}
CASES = [
    *((loss, "19x23" if STEPS[loss].ssim and not GPU else "41x37", True, 3) for loss in STEPS),
    ("l2 and size", "1x17", False, 3),
    ("all", "half size", False, 3),
    ("all", "1x17", True, 1),
]


def fitting(view: View, channels: int = 3) -> tuple[Gaussians, np.ndarray]:
    width, height = int(view.width), int(view.height)
    gaussians = scene(3 + width * height // 200, width, height, channels, smallest=0.8, largest=9)
    # No black and no white: there the sign of an error of zero would depend on the last digit.
    target = np.random.default_rng(2).integers(1, 255, (view.rows, view.columns, channels), dtype=np.uint8)
    return gaussians, target


@pytest.mark.parametrize("case", CASES, ids=str)
def test_steps_as_the_reference(case: tuple[str, str, bool, int]) -> None:
    loss, view_name, relative, channels = case
    view = VIEWS[view_name]
    gaussians, target = fitting(view, channels)
    # A large epsilon: with the usual one Adam's first moves are the signs of the gradients, however small.
    settings = replace(STEPS[loss], epsilon=1e-6, width=int(view.width), height=int(view.height))
    settings = settings if relative else replace(settings, **IN_PIXELS)
    wanted = reference.upload(gaussians)
    wanted_state = reference.start(wanted)
    found = Backend(DEVICE)
    params = found.upload(gaussians)
    state = found.start(params)
    for _ in range(2):
        result = reference.step(wanted, wanted_state, target, view, settings)
        got = found.step(params, state, target, view, settings)
        assert got.loss == pytest.approx(result.loss, rel=1e-5)
        assert got.mean_square == pytest.approx(result.mean_square, rel=1e-5)
    assert relative_error(state.first.cpu(), wanted_state.first) < GRADIENT
    assert relative_error(state.second.cpu(), wanted_state.second) < 2 * GRADIENT
    assert state.age.tolist() == [2] * len(gaussians)
    after = found.download(params)
    for field in FIELDS:
        start = getattr(gaussians, field).astype(np.float64)
        moved, wanted_move = getattr(after, field) - start, getattr(wanted, field) - start
        # Parameters are stored in float32: a move is known to a few of their last digits.
        assert np.linalg.norm(moved - wanted_move) < 1e-3 * np.linalg.norm(wanted_move) + 1e-7 * np.linalg.norm(start)


def test_ssim_over_several_blocks_of_columns_and_groups_of_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backend, "SAMPLES", 128 if GPU else 16)
    view, channels = (View.whole(300, 150), 3) if GPU else (View.whole(20, 70), 1)
    gaussians, target = fitting(view, channels)
    wanted, found = reference.upload(gaussians), Backend(DEVICE)
    wanted_state, params = reference.start(wanted), found.upload(gaussians)
    state = found.start(params)
    result = reference.step(wanted, wanted_state, target, view, STEPS["paper"])
    got = found.step(params, state, target, view, STEPS["paper"])
    assert got.loss == pytest.approx(result.loss, rel=1e-5)
    assert relative_error(state.first.cpu(), wanted_state.first) < GRADIENT


def test_strips_with_ssim_are_one_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    view = View.whole(12, 20)
    gaussians, target = fitting(view)
    results = []
    for pixels in (1, 1 << 21):  # strips of one row of tiles, and one for all
        monkeypatch.setattr(backend, "STRIP", pixels)
        found = Backend(DEVICE)
        params = found.upload(gaussians)
        state = found.start(params)
        result = found.step(params, state, target, view, STEPS["paper"])
        results.append((result, state.first.cpu().numpy()))
    assert results[0][0].loss == pytest.approx(results[1][0].loss, rel=1e-6)
    assert relative_error(results[0][1], results[1][1]) < 1e-6


@pytest.mark.parametrize("level", [0, 255])
def test_colours_rest_where_black_or_white_is_met(level: int) -> None:
    drawn = one((10, 8), (50, 50), 0, (9, 9, 9) if level else (-9, -9, -9))
    target = np.full((15, 20, 3), level, np.uint8)
    found = Backend(DEVICE)
    params = found.upload(drawn)
    state = found.start(params)
    result = found.step(params, state, target, View.whole(20, 15), StepSettings(l1=0.5, l2=0.5))
    assert result.loss == 0
    assert not state.first.any()
    assert not found.residual(params, target, View.whole(20, 15), 4).any()


def test_steps_keep_to_their_bounds() -> None:
    gaussians, target = fitting(VIEWS["41x37"])
    bounds = {"smallest_scale": 0.5, "largest_scale": 8, "largest_aspect": 4, "width": 41, "height": 37}
    settings = StepSettings(relative=False, rate_mean_x=40, rate_mean_y=40, rate_scale=5, **bounds)
    found = Backend(DEVICE)
    params = found.upload(gaussians)
    state = found.start(params)
    for _ in range(2):
        found.step(params, state, target, VIEWS["41x37"], settings)
    after = found.download(params)
    assert after.mean.min() >= 0
    assert (after.mean.max(axis=0) <= [41, 37]).all()
    assert after.scale.min() >= 0.5
    assert after.scale.max() <= 8
    assert (after.scale.max(axis=1) / after.scale.min(axis=1)).max() <= 4 + 1e-5


# ---- lists ----------------------------------------------------------------------------------------------------------


def test_lists_hold_each_pair_once_and_in_order() -> None:
    gaussians, view = scene(60, 70, 50), View.whole(70, 50)
    found = Backend(DEVICE)
    binned = found._bin(found.upload(gaussians), view, math.inf)
    starts, slots = binned.starts.tolist(), binned.slots.tolist()
    assert starts[-1] == binned.pairs == binned.offsets[-1]
    assert sorted(slots) == list(range(binned.pairs))
    offsets = binned.offsets.cpu().numpy()
    owners = np.searchsorted(offsets, slots, side="right") - 1
    assert binned.gaussians.tolist() == owners.tolist()
    for begin, end in itertools.pairwise(starts):
        assert slots[begin:end] == sorted(slots[begin:end])


@pytest.mark.parametrize("gaussians", [thin(5), scene(9, 80, 60), scene(9, 80, 60, smallest=0.3, largest=1)])
def test_lists_hold_the_tiles_that_an_ellipse_touches(gaussians: Gaussians) -> None:
    """Those with a pixel centre inside, and a few where it passes between two centres; not the rectangle's."""
    found, tile = Backend(DEVICE), bins.TILE.value
    binned = found._bin(found.upload(gaussians), View.whole(80, 60), math.inf)
    y, x = np.mgrid[:64, :80] + 0.5
    listed = np.zeros((len(gaussians), binned.columns * binned.rows), bool)
    for number, (begin, end) in enumerate(itertools.pairwise(binned.starts.tolist())):
        listed[binned.gaussians[begin:end].tolist(), number] = True
    for mean, scale, angle, tiles in zip(gaussians.mean, gaussians.scale, gaussians.rotation, listed, strict=True):
        across, down = np.cos(angle) * (x - mean[0]) + np.sin(angle) * (y - mean[1]), np.cos(angle) * (y - mean[1])
        down -= np.sin(angle) * (x - mean[0])
        inside = (across / scale[0]) ** 2 + (down / scale[1]) ** 2 < 9
        touched = inside.reshape(4, tile, 5, tile).any(axis=(1, 3)).ravel()
        assert not (touched & ~tiles).any()
        assert (tiles & ~touched).sum() <= 1 + 0.15 * touched.sum()


def test_many_slots_of_one_gaussian_are_summed_by_chunks() -> None:
    """A Gaussian over 600 tiles takes ten chunks: each leaves its sum in its first slot."""
    gaussians = one((200, 200), (300, 300), 0.3).joined(one((3, 4), (2, 2), 0))
    found = Backend(DEVICE)
    binned = found._bin(found.upload(gaussians), View.whole(400, 384), math.inf)
    chunk = bins.CHUNK.value
    assert (binned.pairs, binned.chunks) == (25 * 24 + 1, -(-600 // chunk))
    slots = np.random.default_rng(0).normal(size=(binned.pairs, 8)).astype(np.float32)
    partials = torch.tensor(slots, device=DEVICE)
    found._collapse(binned, partials)
    wanted = np.add.reduceat(slots[:600], range(0, 600, chunk), axis=0)
    np.testing.assert_allclose(partials[:600:chunk].cpu(), wanted, rtol=1e-4, atol=1e-5)
    assert np.array_equal(partials[600].cpu(), slots[600])


def test_the_same_again_to_the_last_bit() -> None:
    gaussians, view = scene(50, 30, 30), View.whole(32, 30)
    target = np.random.default_rng(3).integers(0, 256, (30, 32, 3), dtype=np.uint8)
    states = []
    for _ in range(2):
        found = Backend(DEVICE)
        params = found.upload(gaussians)
        state = found.start(params)
        results = [found.step(params, state, target, view, StepSettings()) for _ in range(2)]
        states.append((results, params.mean.cpu(), state.second.cpu()))
    assert states[0][0] == states[1][0]
    assert torch.equal(states[0][1], states[1][1])
    assert torch.equal(states[0][2], states[1][2])


def test_strips_are_parts_of_the_whole() -> None:
    gaussians, view = scene(12, 20, 150), View.whole(20, 150)
    found = Backend(DEVICE)
    params = found.upload(gaussians)
    strips = list(found.render_strips(params, view, 20 * 70))
    assert [len(strip) for strip in strips] == [64, 64, 22]
    assert np.array_equal(np.concatenate(strips), found.render_bytes(params, view))


def test_too_much_overlap_is_refused() -> None:
    gaussians, view = scene(40, 20, 20, smallest=50, largest=90), View.whole(20, 20)
    found = Backend(DEVICE)
    params = found.upload(gaussians)
    found.render_bytes(params, view, 50)
    with pytest.raises(OverflowError):
        found.render_bytes(params, view, 0.5)


# ---- the codec on it ------------------------------------------------------------------------------------------------


def test_a_fit_gets_as_far_as_on_the_cpu() -> None:
    """With growth, settling and rounding, which pick and join parameters."""
    pixels = landscape(48, 40)
    reached = []
    for one_of_them in (Backend(DEVICE), native.Backend(1, exact=True)):
        heard: list[Progress] = []
        fit = Fit(pixels, ExactCount(24), 24, FitSettings(steps=20), one_of_them)
        gaussians, _ = fit.run(heard.append)
        assert len(gaussians) == 24
        reached.append(heard[-1].psnr)
    assert reached[0] == pytest.approx(reached[1], abs=0.5)
    assert heard[-1].psnr > heard[0].psnr + 1


def test_a_file_is_drawn_as_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    forms: tuple[dict[str, Any], ...] = ({}, {"region": (5, 3, 20, 14)}, {"scale": 0.5}, {"scale": 1.5})
    wanted = [codec.decode(VECTOR, **form) for form in forms]
    monkeypatch.setattr(codec, "open_backend", lambda name, threads: Backend(DEVICE))
    found = [codec.decode(VECTOR, device="cuda", **form) for form in forms]
    for cpu, gpu in zip(wanted, found, strict=True):
        assert np.abs(gpu.astype(int) - cpu).max() <= 1
    assert np.array_equal(codec.open(VECTOR, device="cuda").strips().joined(), found[0])


# ---- parameters, hostile values, arguments --------------------------------------------------------------------------


def test_params_and_states_are_picked_and_joined_as_gaussians_are() -> None:
    gaussians = scene(9, 20, 20)
    found = Backend(DEVICE)
    params = found.upload(gaussians)
    mask = np.arange(9) % 2 == 0
    joined = params[mask].joined(params[np.array([3, 1])])
    wanted = gaussians[mask].joined(gaussians[np.array([3, 1])])
    for field in FIELDS:
        assert np.array_equal(getattr(found.download(joined), field), getattr(wanted, field))
    assert (len(joined), joined.channels, len(params[:4])) == (7, 3, 4)
    state = found.start(params)
    state.age += torch.arange(9, dtype=torch.int32, device=DEVICE)
    assert state[mask].joined(state[:1]).age.tolist() == [0, 2, 4, 6, 8, 0]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # the interpreter's, of numpy
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 3e38, 1e-45, 0.0])
@pytest.mark.parametrize("place", [("mean", 0), ("scale", 1), ("rotation", 0), ("color", 1)], ids=str)
def test_a_hostile_gaussian_does_not_spoil_the_others(place: tuple[str, int], value: float) -> None:
    """It is drawn if its values come out finite, and left out otherwise; the rest is as without it."""
    field, column = place
    view = View.whole(30, 20)
    good, target = fitting(view)
    bad = one((14, 10), (4, 3), 0.4)
    values = getattr(bad, field)
    values[(0, column) if values.ndim == 2 else 0] = value
    found = Backend(DEVICE)
    both, alone = found.upload(good.joined(bad)), found.upload(good)
    drawn = math.isfinite(value) and not (field == "scale" and abs(value) < 1e-30)
    image = found.render(both, view)
    assert np.isfinite(image).all()
    if not drawn:
        assert np.array_equal(image, found.render(alone, view))
    found.step(both, found.start(both), target, view, StepSettings())
    found.step(alone, found.start(alone), target, view, StepSettings())
    after, wanted = found.download(both), found.download(alone)
    for name in FIELDS:
        kept = getattr(after, name)[: len(good)]
        assert np.isfinite(kept).all(), name
        if not drawn:
            assert np.array_equal(kept, getattr(wanted, name)), name


def test_arguments_that_do_not_fit() -> None:
    found, view = Backend(DEVICE), View.whole(20, 10)
    params = found.upload(scene(4, 20, 10))
    with pytest.raises(ValueError, match="target"):
        found.step(params, found.start(params), np.zeros((20, 10, 3), np.uint8), view, StepSettings())
    with pytest.raises(ValueError, match="moments"):
        found.step(params, found.start(params[:3]), np.zeros((10, 20, 3), np.uint8), view, StepSettings())
    with pytest.raises(ValueError, match="gradient"):
        found.render_gradient(params, view, np.zeros((10, 20, 1), np.float32))
    with pytest.raises(ValueError, match="cell"):
        found.residual(params, np.zeros((10, 20, 3), np.uint8), view, 3)


@pytest.mark.skipif(GPU, reason="there is a GPU here")
def test_no_gpu_is_named() -> None:
    with pytest.raises(DeviceError, match="finds no NVIDIA or AMD GPU"):
        title_of("cuda:0")


def test_memory_that_does_not_suffice_names_the_size_that_would(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Backend(DEVICE)
    params = found.upload(scene(4, 20, 10))

    def fail(*arguments: Any) -> None:
        raise torch.cuda.OutOfMemoryError

    monkeypatch.setattr(found, "_bin", fail)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (10**9, 8 * 10**9))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda device: 3 * 10**9)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda device: 2 * 10**9)
    with pytest.raises(DeviceError, match=r"2\.0 of 8\.0 GB .* about \d+ megapixels would; use a higher ratio"):
        found.render(params, View.whole(40_000, 30_000))


# ---- compiled -------------------------------------------------------------------------------------------------------


def test_every_kernel_compiles_ahead_of_time() -> None:
    """For two generations of NVIDIA's GPUs and one of AMD's, none of which need be here."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    program = [sys.executable, "-m", "tests.compile_kernels"]
    found = subprocess.run(program, capture_output=True, text=True, check=False, env=environment, cwd=ROOT)
    assert found.returncode == 0, found.stderr
    rows = [json.loads(line) for line in found.stdout.splitlines()]
    assert {row["target"] for row in rows} == {"cuda:80", "cuda:90", "hip:gfx942"}
    named = {row["kernel"] for row in rows}
    modules = ("bins", "cells", "pixels", "seeds", "ssim", "update")
    sources = [ROOT / f"src/smartsplat/raster/gpu/{name}.py" for name in modules]
    launched = (ROOT / "src/smartsplat/raster/gpu/backend.py").read_text()
    kernels = {
        line.split("(")[0].removeprefix("def ")
        for source in sources
        for line in source.read_text().splitlines()
        if line.startswith("def ") and f"{source.stem}.{line.split('(')[0].removeprefix('def ')}," in launched
    }
    assert kernels | {"peaks", "race", "medians"} == named
    # Nor may sums over a tile go through shared memory: a layout that needs it takes twice the instructions.
    loops = [row for row in rows if row["kernel"] in ("draw", "fit", "backward") and row["target"].startswith("cuda")]
    assert {row["shared"] for row in loops} == {0}
    # The loops over pixels must stay in registers; what is left is the argument reduction of sin and cos.
    assert {row["kernel"] for row in rows if (row["stack"] or 0) > 0} <= {"project", "gradients", "update"}


@on_a_gpu
@pytest.mark.parametrize(("width", "height"), [(7680, 4320), (16320, 10848)])
def test_large_pictures_are_drawn_as_on_the_cpu(width: int, height: int) -> None:
    gaussians = scene(width * height // 500, width, height, smallest=1, largest=12)
    view, found = View.whole(width, height), Backend(DEVICE)
    cpu = native.Backend(exact=True)
    drawn = found.render_bytes(found.upload(gaussians), view)
    difference = np.abs(drawn.astype(np.int16) - cpu.render_bytes(gaussians, view))
    assert difference.max() <= 1
    settings = StepSettings(width=width, height=height, epsilon=1e-6)
    params, state = found.upload(gaussians), found.start(found.upload(gaussians))
    target = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    wanted_state = cpu.start(gaussians)
    got = found.step(params, state, target, view, settings)
    wanted = cpu.step(gaussians, wanted_state, target, view, settings)
    assert got.mean_square == pytest.approx(wanted.mean_square, rel=1e-4)
    assert relative_error(state.first.cpu(), wanted_state.first) < 1e-3  # both are float32
