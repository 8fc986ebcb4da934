"""A case of the GPU's benchmark: an image, its Gaussians, and what is counted of a kernel's work."""

from __future__ import annotations

import importlib
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bench.gpu.timing import TimedLauncher
from bench.tables import REPOSITORY
from smartsplat.arrays import ByteArray
from smartsplat.encoder.gpu import GpuSampler
from smartsplat.encoder.initialize import initialize
from smartsplat.encoder.settings import FitSettings
from smartsplat.gaussians import Gaussians, nominal_count
from smartsplat.render import StepSettings, View
from smartsplat.render.gpu import GpuRenderer
from smartsplat.threads import available_threads

PHOTOGRAPH = REPOSITORY / "examples/seeding.jpg"

TILE_PIXELS = 256
RENDER_FLOP, BACKWARD_FLOP = 14, 34  # of a pixel of an intersection, an exponential counted as one
FLOP = {"render": RENDER_FLOP, "fit": RENDER_FLOP + BACKWARD_FLOP, "backward": BACKWARD_FLOP}
LIST_BYTES = {"intersect": 24, "scatter": 20, "order": 20}  # of an intersection
INTERSECTION_BYTES = LIST_BYTES | {"render": 4, "fit": 40, "backward": 40, "update": 32}
GAUSSIAN_BYTES = {"project": 32 + 32 + 4 + 8 + 4, "render": 32, "fit": 32, "backward": 32, "update": 2 * (32 + 64 + 4)}
PIXEL_BYTES = {"render": 3, "fit": 3}


def native_module() -> bool:
    """Whether smartsplat's compiled module can be imported, without which there is no fit."""
    try:
        importlib.import_module("smartsplat._native")
    except ImportError:
        return False
    return True


@dataclass
class GpuCase:
    """An image and its Gaussians on the device."""

    megapixels: float  # what tables call its size
    ratio: float
    pixels: ByteArray  # [H, W, 3]
    renderer: GpuRenderer
    launcher: TimedLauncher  # the renderer's
    params: Any = None
    adam: Any = None
    intersections: int = 0
    settings: StepSettings = field(default_factory=StepSettings)

    @property
    def view(self) -> View:
        return View.whole(self.pixels.shape[1], self.pixels.shape[0])

    @property
    def count(self) -> int:
        """Gaussians, by E5."""
        return nominal_count(self.pixels.shape[1], self.pixels.shape[0], self.ratio)

    def upload(self, gaussians: Gaussians) -> None:
        """Begin with these Gaussians."""
        self.params = self.renderer.upload(gaussians)
        self.adam = self.renderer.adam_state(self.params)
        self.settings = step_settings(self.pixels)

    def step(self) -> float:
        """One step of a fit; the mean square error that it saw."""
        return self.renderer.step(self.params, self.adam, self.pixels, self.view, self.settings).mean_square

    def initialized(self) -> tuple[Gaussians, float]:
        """Gaussians by the paper's initialization, and its seconds: with the image's upload, with compiled kernels."""
        sampler = GpuSampler(self.renderer)
        initialize(self.pixels[:64, :64].copy(), 9, sampler=sampler)
        start = time.perf_counter()
        gaussians = initialize(self.pixels, self.count, threads=available_threads(), sampler=sampler)
        return gaussians, time.perf_counter() - start

    def work(self, kernel: str) -> tuple[float, float]:
        """The least operations and bytes of a kernel's launch; 0 and 0 for those whose work is not counted."""
        flop = float(TILE_PIXELS * FLOP.get(kernel, 0) * self.intersections)
        traffic = INTERSECTION_BYTES.get(kernel, 0) * self.intersections
        traffic += GAUSSIAN_BYTES.get(kernel, 0) * len(self.params)
        traffic += PIXEL_BYTES.get(kernel, 0) * self.view.rows * self.view.columns
        return flop, traffic


def step_settings(pixels: ByteArray, **changes: Any) -> StepSettings:
    """Those of the encoder's default fit at full learning rates, without the rate term."""
    height, width = pixels.shape[:2]
    defaults = FitSettings()
    usual = StepSettings(
        lr_mean_x=defaults.lr_mean,
        lr_mean_y=defaults.lr_mean,
        lr_scale=defaults.lr_scale,
        lr_rotation=defaults.lr_rotation,
        lr_color=defaults.lr_color,
        beta2=defaults.beta2,
        width=width,
        height=height,
    )
    return replace(usual, max_scale=max(width, height) / 2, **changes)


def photograph(width: int, height: int, path: Path = PHOTOGRAPH) -> ByteArray:
    """The photograph shrunk to the size if it is larger, or beside its mirror images; uint8 [height, width, 3]."""
    with Image.open(path) as image:
        factor = max(width / image.width, height / image.height)
        size = (round(image.width * factor), round(image.height * factor))
        source = image.convert("RGB") if factor > 1 else image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    pixels = np.asarray(source)
    missing = ((0, max(height - len(pixels), 0)), (0, max(width - pixels.shape[1], 0)), (0, 0))
    return np.ascontiguousarray(np.pad(pixels, missing, mode="symmetric")[:height, :width])
