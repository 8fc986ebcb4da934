"""Every method by its name, as tables of results have it, and how a cell of a table is filled."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import smartsplat
from smartsplat.arrays import ByteArray
from smartsplat.encoder import fit as codec_fit
from smartsplat.errors import SettingsError
from smartsplat.gaussians import NOMINAL_BYTES
from smartsplat.render import View
from smartsplat.render.cpu import CpuRenderer
from smartsplat_baselines import ablations, files, gaussian_image_codec
from smartsplat_baselines.blend import BlendRenderer
from smartsplat_baselines.gaussian_image import Cholesky, RotationScale, Scaled, ScaledAdam
from smartsplat_baselines.gaussians_3d import Released, Tuned
from smartsplat_baselines.image_gs import ImageGS
from smartsplat_baselines.lig import Lig
from smartsplat_baselines.model import Model, ProgressCallback, fit


@dataclass(frozen=True)
class Task:
    """One cell of a table."""

    pixels: ByteArray  # [H, W, C]
    count: int  # Gaussians
    steps: int
    seed: int = 0
    progress: ProgressCallback | None = None


@dataclass(frozen=True)
class Fitted:
    """What a method made of an image."""

    pixels: ByteArray  # [H, W, C] rendered from the parameters as fitted
    data: bytes  # a whole file; ``decode`` renders it
    count: int  # Gaussians
    values: int  # numbers of a Gaussian
    nominal_bytes: int  # as the method's authors count them; 0 if they do not


Method = Callable[[Task], Fitted]


def _plain(kind: type[Model]) -> Method:
    """A method that is one model."""

    def run(task: Task) -> Fitted:
        renderer = BlendRenderer()
        model = kind.initialized(task.pixels, task.count, np.random.default_rng(task.seed))
        fit(model, task.pixels, task.steps, renderer, task.progress)
        return _fitted(model, renderer)

    return run


def _fitted(model: Model | Lig, renderer: BlendRenderer) -> Fitted:
    fine = model.fine if isinstance(model, Lig) else model
    values = sum(size or fine.parameters["color"].shape[1] for size in fine.columns.values())
    bytes_each = 2 * values if isinstance(model, ImageGS) else 0
    return Fitted(model.render(renderer), files.pack(model), len(model), values, bytes_each * len(model))


def _lig(task: Task) -> Fitted:
    renderer = BlendRenderer()
    generator = np.random.default_rng(task.seed)
    return _fitted(Lig.fitted(task.pixels, task.count, task.steps, generator, renderer, task.progress), renderer)


def _gaussian_image_codec(task: Task) -> Fitted:
    """Half of the steps without quantisers, as the authors do."""
    renderer, generator = BlendRenderer(), np.random.default_rng(task.seed)
    plain = Cholesky.initialized(task.pixels, task.count, generator)
    steps_before = task.steps // 2
    fit(plain, task.pixels, steps_before, renderer, task.progress)
    model = gaussian_image_codec.Quantized.of(plain, generator)
    progress = task.progress
    shifted = progress and (lambda step, count, error: progress(steps_before + step, count, error))
    fit(model, task.pixels, task.steps - steps_before, renderer, shifted)
    model.finish()
    data = gaussian_image_codec.pack(model)
    nominal_bytes = gaussian_image_codec.NOMINAL_BITS * len(model) // 8
    return Fitted(model.render(renderer), data, len(model), 5 + task.pixels.shape[2], nominal_bytes)


def _smartsplat(without: str | None = None, released: bool = False) -> Method:
    def run(task: Task) -> Fitted:
        height, width, channels = task.pixels.shape
        gaussians, quantizer = ablations.fitted(
            task.pixels,
            task.count,
            task.steps,
            task.seed,
            without=without,
            released=released,
            progress=_of_codec(task.progress),
        )
        pixels = CpuRenderer().render_samples(gaussians, View.whole(width, height))
        data = ablations.pack(gaussians, quantizer)
        return Fitted(pixels, data, len(gaussians), 5 + channels, NOMINAL_BYTES * len(gaussians))

    return run


def _codec(task: Task) -> Fitted:
    """This codec at the true bytes that the count stands for nominally; on the CPU, as all others."""
    data = smartsplat.encode(
        task.pixels,
        max_bytes=NOMINAL_BYTES * task.count,
        steps=task.steps,
        seed=task.seed,
        tune="psnr",
        device="cpu",
        progress=_of_codec(task.progress),
    )
    reader = smartsplat.open(data)
    return Fitted(reader.read(), data, reader.info.gaussians, 5 + task.pixels.shape[2], len(data))


def _of_codec(progress: ProgressCallback | None) -> codec_fit.ProgressCallback | None:
    """What a fit of the codec calls, for a callback of this package."""
    if progress is None:
        return None

    def callback(at: codec_fit.Progress) -> None:
        progress(at.step, at.gaussians, 10 ** (-at.psnr / 10))

    return callback


PAPER_METHODS: dict[str, Method] = {
    "3dgs": _plain(Tuned),
    "lig": _lig,
    "gaussianimage-rs": _plain(RotationScale),
    "gaussianimage-cholesky": _plain(Cholesky),
    "image-gs": _plain(ImageGS),
    "smartsplat-paper": _smartsplat(),
}
"""The methods of the paper's Table 1."""

ABLATIONS: dict[str, Method] = {
    "3dgs-released": _plain(Released),
    "gaussianimage-scaled": _plain(Scaled),
    "gaussianimage-scaled-adam": _plain(ScaledAdam),
    "smartsplat-released": _smartsplat(released=True),
    **{f"smartsplat-no-{name}": _smartsplat(without=name) for name in ablations.COMPONENTS},
}
"""Methods with another initialization, or with a component changed or left out."""

CODECS: dict[str, Method] = {"gaussianimage-codec": _gaussian_image_codec, "smartsplat": _codec}
"""The methods that have a file format of their own: GaussianImage's codec, and this one."""

METHODS = PAPER_METHODS | CODECS | ABLATIONS


def run(name: str, task: Task) -> Fitted:
    """Fit an image by the method of that name.

    Raises:
        SettingsError: there is no such method.
    """
    if name not in METHODS:
        raise SettingsError(f"unknown method {name!r}: there are {', '.join(METHODS)}")
    return METHODS[name](task)


def decode(data: bytes, renderer: BlendRenderer | None = None) -> ByteArray:
    """The pixels of a file, uint8 [H, W, C], whichever method wrote it.

    Raises:
        FormatError: the file is damaged.
    """
    if not data.startswith(files.MAGIC):
        return smartsplat.decode(data)
    kind = files.header_of(data)[1]
    model = gaussian_image_codec.unpack(data) if kind == files.CODEC else files.unpack(data)
    return model.render(renderer or BlendRenderer())
