"""The paper's rivals on the machinery of this codec, so that every cell of its Table 1 can be filled and believed.

``run(name, ...)`` fits one method and returns what it draws and the bytes of a real file of it; ``decode`` draws a
file. Each module says what the method is, where it differs from its authors' program and what keeps it from failing.
Nothing of the codec imports this package.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import smartsplat
from smartsplat.baselines import controls, files, gaussian_image_codec
from smartsplat.baselines.gaussian_image import Cholesky, RotationScale, Scaled, ScaledAdam
from smartsplat.baselines.gaussians_3d import Fair, Released
from smartsplat.baselines.image_gs import ImageGS
from smartsplat.baselines.lig import Lig
from smartsplat.baselines.model import Listener, Model, Pixels, fit
from smartsplat.errors import SettingsError
from smartsplat.fit import Progress
from smartsplat.raster import View, native
from smartsplat.raster.blend import Backend


@dataclass(frozen=True)
class Fitted:
    """What a method made of a picture."""

    pixels: Pixels  # of the numbers as fitted, uint8 [H, W, C]
    data: bytes  # a whole file; ``decode`` draws it
    count: int  # Gaussians
    values: int  # numbers of a Gaussian
    nominal_bytes: int  # as the method's authors count them; 0 if they do not


@dataclass(frozen=True)
class Task:
    """One cell of a table."""

    pixels: Pixels  # uint8 [H, W, C]
    count: int  # Gaussians
    steps: int
    seed: int = 0
    listener: Listener | None = None


def _plain(kind: type[Model]) -> Callable[[Task], Fitted]:
    """A method that is one model."""

    def run(task: Task) -> Fitted:
        backend = Backend()
        model = kind.seeded(task.pixels, task.count, np.random.default_rng(task.seed))
        fit(model, task.pixels, task.steps, backend, task.listener)
        return _fitted(model, backend)

    return run


def _fitted(model: Model | Lig, backend: Backend) -> Fitted:
    fine = model.fine if isinstance(model, Lig) else model
    values = sum(size or fine.parameters["color"].shape[1] for size in fine.columns.values())
    bytes_each = 2 * values if isinstance(model, ImageGS) else 0
    return Fitted(model.render(backend), files.pack(model), len(model), values, bytes_each * len(model))


def _lig(task: Task) -> Fitted:
    backend = Backend()
    generator = np.random.default_rng(task.seed)
    return _fitted(Lig.fitted(task.pixels, task.count, task.steps, generator, backend, task.listener), backend)


def _gaussian_image_codec(task: Task) -> Fitted:
    """Half of the steps without quantisers, as the authors do."""
    backend, generator = Backend(), np.random.default_rng(task.seed)
    plain = Cholesky.seeded(task.pixels, task.count, generator)
    before = task.steps // 2
    fit(plain, task.pixels, before, backend, task.listener)
    model = gaussian_image_codec.Quantized.of(plain, generator)
    listener = task.listener
    fit(
        model,
        task.pixels,
        task.steps - before,
        backend,
        listener and (lambda step, count, error: listener(before + step, count, error)),
    )
    model.finish()
    nominal = gaussian_image_codec.NOMINAL_BITS * len(model) // 8
    return Fitted(
        model.render(backend), gaussian_image_codec.pack(model), len(model), 5 + task.pixels.shape[2], nominal
    )


def _smartsplat(without: str | None = None, released: bool = False) -> Callable[[Task], Fitted]:
    def run(task: Task) -> Fitted:
        height, width, channels = task.pixels.shape
        gaussians, quantizer = controls.fitted(
            task.pixels,
            task.count,
            task.steps,
            task.seed,
            without=without,
            released=released,
            listener=_translated(task.listener),
        )
        pixels = native.Backend().render_bytes(gaussians, View.whole(width, height))
        return Fitted(pixels, controls.pack(gaussians, quantizer), len(gaussians), 5 + channels, 7 * len(gaussians))

    return run


def _codec(task: Task) -> Fitted:
    """This codec at the true bytes that the count stands for nominally: 7 a Gaussian; on the CPU, as all others."""
    listener = _translated(task.listener)
    data = smartsplat.encode(
        task.pixels, size=7 * task.count, steps=task.steps, seed=task.seed, device="cpu", progress=listener
    )
    reader = smartsplat.open(data)
    channels = task.pixels.shape[2]
    return Fitted(reader.read(), data, reader.info.gaussians, 5 + channels, len(data))


def _translated(listener: Listener | None) -> Callable[[Progress], bool | None] | None:
    """What a fit of the codec calls, for a listener of this package."""
    if listener is None:
        return None

    def heard(progress: Progress) -> None:
        listener(progress.step, progress.gaussians, 10 ** (-progress.psnr / 10))

    return heard


PAPER_METHODS: dict[str, Callable[[Task], Fitted]] = {
    "3dgs": _plain(Fair),
    "lig": _lig,
    "gaussianimage-rs": _plain(RotationScale),
    "gaussianimage-cholesky": _plain(Cholesky),
    "image-gs": _plain(ImageGS),
    "smartsplat-paper": _smartsplat(),
}
"""The methods of the paper's Table 1."""

CONTROLS: dict[str, Callable[[Task], Fitted]] = {
    "3dgs-released": _plain(Released),
    "gaussianimage-scaled": _plain(Scaled),
    "gaussianimage-scaled-adam": _plain(ScaledAdam),
    "smartsplat-released": _smartsplat(released=True),
    **{f"smartsplat-no-{name}": _smartsplat(without=name) for name in controls.INGREDIENTS},
}
"""What tells the method from its start and its parts."""

FILES: dict[str, Callable[[Task], Fitted]] = {"gaussianimage-codec": _gaussian_image_codec, "smartsplat": _codec}
"""What has a codec of its own: GaussianImage's, and this one."""

METHODS = PAPER_METHODS | FILES | CONTROLS


def run(name: str, task: Task) -> Fitted:
    """Fit a picture by the method of that name."""
    if name not in METHODS:
        raise SettingsError(f"no method {name!r}: there are {', '.join(METHODS)}")
    return METHODS[name](task)


def decode(data: bytes, backend: Backend | None = None) -> Pixels:
    """The pixels of a file, uint8 [H, W, C], whichever method wrote it."""
    if not data.startswith(files.MAGIC):
        return smartsplat.decode(data)
    kind = files.header_of(data)[1]
    model = gaussian_image_codec.unpack(data) if kind == files.CODEC else files.unpack(data)
    return model.render(backend or Backend())
