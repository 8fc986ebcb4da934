"""Images that are fitted in blocks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import smartsplat
from smartsplat.encoder.blocks import fit as block_fit
from smartsplat.encoder.blocks.boxes import ALIGNMENT, Box, blocks_of
from smartsplat.encoder.blocks.fit import BlockFit
from smartsplat.encoder.blocks.runner import LocalRunner
from smartsplat.encoder.blocks.settings import DEFAULT_SIDE, MAX_WHOLE_PIXELS, block_side, obstacle_to_blocks
from smartsplat.encoder.blocks.task import BlockTask, fit_block
from smartsplat.encoder.compute import open_compute
from smartsplat.encoder.error_weights import eye_levels, eye_plane, eye_weights, luma_moments
from smartsplat.encoder.fit import Fit
from smartsplat.encoder.pyramid import Frame
from smartsplat.encoder.rate_control import ExactCount
from smartsplat.encoder.settings import FitSettings
from smartsplat.errors import SettingsError
from smartsplat.metrics import psnr
from tests.compare import scene
from tests.samples import landscape

LARGE = landscape(1200, 1090)
SETTINGS: dict[str, Any] = {"ratio": 100, "effort": 1, "steps": 60, "threads": 2, "grain": 0}


@pytest.mark.parametrize(("width", "height", "side"), [(1000, 700, 256), (64, 64, 512), (513, 2000, 500), (65, 1, 64)])
def test_blocks_partition_the_image(width: int, height: int, side: int) -> None:
    covered = np.zeros((height, width), int)
    for box in blocks_of(width, height, side):
        covered[box.slices] += 1
        assert box.x % ALIGNMENT == box.y % ALIGNMENT == 0
        assert box.width <= 1.6 * side
    assert (covered == 1).all()


def test_boxes() -> None:
    box = Box(64, 128, 100, 50)
    assert box.grown(80, 200, 180) == Box(0, 48, 200, 132)
    assert box.over(64) == Box(1, 2, 2, 1)
    points = np.array([[64, 128], [163.9, 177.9], [164, 130], [70, 127.9]], np.float32)
    assert box.holds(points).tolist() == [True, True, False, False]
    half_extent = np.full((4, 2), 1, np.float32)
    assert box.is_reached(points, half_extent).tolist() == [True, True, True, True]
    assert box.is_reached(points + 2, half_extent).tolist() == [True, False, False, True]


def test_as_good_as_a_fit_of_the_whole() -> None:
    whole, blocks = (smartsplat.encode(LARGE, block=side, **SETTINGS) for side in (0, 512))
    assert len(blocks) <= LARGE.size / 100
    decoded = [smartsplat.decode(data, grain=False) for data in (whole, blocks)]
    assert psnr(LARGE, decoded[1]) > psnr(LARGE, decoded[0]) - 0.3
    near = np.zeros(LARGE.shape[:2], bool)
    for box in blocks_of(1200, 1090, 512):
        near[:, max(box.x - 8, 0) : box.x + 8 * (box.x > 0)] = True
        near[max(box.y - 8, 0) : box.y + 8 * (box.y > 0)] = True
    ratio_of = [np.square(LARGE.astype(float) - image).mean(axis=2) for image in decoded]
    assert ratio_of[1][near].mean() / ratio_of[0][near].mean() < 1.15


@pytest.mark.parametrize("options", [{"threads": 1}, {"tune": "psnr"}, {"grain": "auto"}])
def test_same_arguments_same_bytes(options: dict[str, Any]) -> None:
    given = SETTINGS | {"steps": 30, "block": 512}
    assert smartsplat.encode(LARGE, **given | options) == smartsplat.encode(LARGE, **given | options | {"threads": 2})


@pytest.mark.parametrize("kind", ["grey", "16 bits", "odd", "half black", "one color"])
def test_kinds_of_images(kind: str) -> None:
    image = {
        "grey": LARGE[..., :1],
        "16 bits": LARGE.astype(np.uint16) * 257,
        "odd": LARGE[:701, :603],
        "half black": np.where(np.arange(1200)[:, None] < 700, 0, LARGE).astype(np.uint8),
        "one color": np.full((600, 700, 3), 77, np.uint8),
    }[kind]
    image = np.ascontiguousarray(image)
    data = smartsplat.encode(image, block=512, **SETTINGS)
    assert len(data) <= 3 * image.shape[0] * image.shape[1] / 100
    assert psnr(image, smartsplat.decode(data, dtype=image.dtype).reshape(image.shape)) > 20


@pytest.mark.parametrize("ratio", [8, 3000])
def test_many_and_few_gaussians(ratio: float) -> None:
    image = LARGE[:640, :700]
    data = smartsplat.encode(image, block=512, **SETTINGS | {"ratio": ratio})
    assert 0.9 * image.size / ratio < len(data) <= image.size / ratio


def test_a_count() -> None:
    image = LARGE[:1090, :1200]
    assert len(blocks_of(1200, 1090, 512)) == 4
    data = smartsplat.encode(image, gaussians=777, block=512, effort=1, steps=30)
    assert smartsplat.open(data).info.gaussians == 777


def fit_of(pixels: np.ndarray, runner: Any = None, *, steps: int = 40, side: int = 128, seed: int = 0) -> BlockFit:
    compute = open_compute("cpu", 2)
    blocks = blocks_of(pixels.shape[1], pixels.shape[0], side)
    options: dict[str, Any] = {"first_count": 500, "for_eye": True, "blocks": blocks, "seed": seed}
    runner = runner or LocalRunner(pixels, compute)
    settings = FitSettings(steps=steps)
    return BlockFit(pixels.shape, pixels.dtype, ExactCount(500), settings, compute, runner, **options)


def test_progress_and_stopping() -> None:
    steps = []

    def until(last: int) -> Any:
        def progress(at: smartsplat.Progress) -> bool:
            steps.append(at.step)
            return at.step < last

        return progress

    gaussians, _ = fit_of(LARGE[:300, :400]).run(until(40))
    assert steps == sorted(steps)
    assert steps[-1] == 40
    assert len(gaussians) == 500
    for last in (1, 8, 9, 25):
        steps.clear()
        gaussians, _ = fit_of(LARGE[:300, :400]).run(until(last))
        assert steps[-1] == last
        assert len(gaussians) > 50


class _Stopped(Exception):
    pass


def test_goes_on_from_a_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = LARGE[:600, :1100]
    given = SETTINGS | {"steps": 30, "block": 512}
    expected = smartsplat.encode(image, **given)
    monkeypatch.setattr("smartsplat.encoder.checkpoint.INTERVAL", 0.0)
    done = 0

    def counting(*arguments: Any) -> Any:
        nonlocal done
        done += 1
        if done in (1, 4, 9, 14):
            raise _Stopped
        return fit_block(*arguments)

    monkeypatch.setattr("smartsplat.encoder.blocks.runner.fit_block", counting)
    data = None
    for _ in range(5):
        try:
            data = smartsplat.encode(image, checkpoint=tmp_path / "c", **given)
        except _Stopped:
            continue
    assert data == expected
    assert 9 * 2 + 4 <= done < 30, "little of what was finished is done again"


@pytest.mark.parametrize("last", [2, 15])
def test_goes_on_after_it_was_stopped(last: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = LARGE[:600, :1100]
    given = SETTINGS | {"steps": 30, "block": 512}
    expected = smartsplat.encode(image, **given)
    monkeypatch.setattr("smartsplat.encoder.checkpoint.INTERVAL", 0.0)
    stopped = smartsplat.encode(image, checkpoint=tmp_path / "c", progress=lambda at: at.step < last, **given)
    assert stopped != expected
    assert smartsplat.encode(image, checkpoint=tmp_path / "c", **given) == expected


def test_what_is_fixed_stays_as_it_is() -> None:
    pixels = np.ascontiguousarray(LARGE[:128, :128])
    gaussians = scene(40, 128, 128)
    fixed = scene(7, 128, 128)
    frame = Frame(64, 0, 400, 300, 100)
    options: dict[str, Any] = {"final_count": 60, "frame": frame, "fixed": fixed}
    fit = Fit(pixels, gaussians, ExactCount(60), FitSettings(steps=30), open_compute("cpu", 1), **options)
    fit.run()
    assert len(fit.gaussians) == len(fit.origin) == 60
    assert len(fit.params) == 67
    for array, before in zip(fit.params[:7].arrays(), fixed.arrays(), strict=True):
        assert np.array_equal(array, before)
    assert set(fit.origin[fit.origin >= 0]) < set(range(40))


def test_the_core_gets_what_it_had_and_what_was_added_there() -> None:
    tasks: list[BlockTask] = []

    class Spy(LocalRunner):
        def fits(self, given: Any, report: Any) -> Any:
            def noted() -> Any:
                for task in given:
                    tasks.append(task)
                    yield task

            return super().fits(noted(), report)

    image = LARGE[:300, :400]
    fit = fit_of(image, Spy(image, open_compute("cpu", 2)))
    fit.run(lambda at: None)
    rounds = len(block_fit.ROUND_ENDS)
    assert len(tasks) == rounds * len(fit.blocks)
    for index in range(rounds):
        now = tasks[index * len(fit.blocks) :][: len(fit.blocks)]
        kept = [task.core.holds(np.minimum(task.population.gaussians.mean, [399.5, 299.5])) for task in now]
        total = sum(int(mask.sum()) for mask in kept)
        assert all(len(task.fixed) + len(task.population) >= mask.sum() for task, mask in zip(now, kept, strict=True))
        assert total >= 60


@pytest.mark.parametrize(("width", "height", "side"), [(1100, 1050, 512), (3011, 2013, 1024), (5000, 4200, 2048)])
def test_margins_reach_as_far_as_gaussians_and_keep_the_grid(width: int, height: int, side: int) -> None:
    blocks = blocks_of(width, height, side)
    near, far = (np.full((4, 2), extent, np.float32) for extent in (5, 5000))
    for core in blocks:
        mean = np.array([[core.x + 1, core.y + 1], [core.x + core.width - 2, core.y + 9]] * 2, np.float32)
        assert block_fit._margin(core, mean, near) == block_fit.MIN_MARGIN
        margin = block_fit._margin(core, mean, far)
        assert margin == block_fit.max_margin(core)
        assert block_fit.MIN_MARGIN <= margin <= max(side / 4, block_fit.MIN_MARGIN)
        box = core.grown(margin, width, height)
        assert box.x % ALIGNMENT == box.y % ALIGNMENT == 0
    assert block_fit._margin(blocks[0], np.full((1, 2), -99, np.float32), far[:1]) == block_fit.MIN_MARGIN


def test_weights_for_the_eye_by_cells() -> None:
    image = LARGE[:301, :403]
    levels = eye_levels(*luma_moments(image))
    assert np.array_equal(eye_plane(levels, 301, 403), eye_weights(image, None))
    part = eye_plane(np.ascontiguousarray(levels[7:26, 7:26]), 136, 136)[8:, 8:]
    assert np.array_equal(part, eye_weights(image, None)[64:192, 64:192])


def test_when_there_are_blocks() -> None:
    assert block_side(None, 1 << 14, 1 << 14) == 0
    assert block_side(None, MAX_WHOLE_PIXELS + 1, 1) == DEFAULT_SIDE
    assert block_side(0, 1 << 20, 1 << 20) == 0
    assert block_side(700, 10, 10) == 700
    alpha = obstacle_to_blocks(True, False, None, None)
    assert block_side(None, 1 << 15, 1 << 15, alpha) == block_side(0, 1 << 16, 1 << 16, alpha) == 0
    for side, pixels in ((None, (1 << 30) + 1), (512, 1)):
        with pytest.raises(SettingsError, match="keeps no alpha: give a background; block=0"):
            block_side(side, pixels, 1, alpha)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"block": 511}, "block must be 0 or at least 512 pixels, not 511"),
        ({"block": -1}, "block"),
        ({"block": 512, "psnr": 30, "ratio": None}, "has no target PSNR: give a ratio, or bytes"),
        ({"block": 512, "weights": LARGE[..., 0]}, "takes no weights"),
        ({"block": 512, "preset": "paper"}, "takes no preset 'paper'"),
    ],
)
def test_what_makes_no_sense(options: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        smartsplat.encode(LARGE, **SETTINGS | options)
    with pytest.raises(SettingsError, match="keeps no alpha: give a background"):
        smartsplat.encode(np.dstack([LARGE, LARGE[..., 0]]), block=512, **SETTINGS)
