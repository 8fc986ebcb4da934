"""What the baselines share: a model's own parameters, and the loop that optimises them.

A model maps its parameters to Gaussians by covariance and dL/d(those Gaussians) back to dL/d(parameters), by hand. The
renderer, its gradient and the loss are the codec's. Three things therefore differ from the authors' own programs, for
all baselines:

- a Gaussian's window ends continuously at three deviations (E1), where theirs ends at 1/255 of the value or at a tile
- the loss's gradient passes the clamp to [0, 1] unchanged, where theirs stops: saturated pixels can come back
- scales are at least a quarter of a pixel where a sum renders them (blend.py); theirs may vanish, which is an illegal
  access or NaN in their programs. Gradients that are not finite count as 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Self

import numpy as np

from smartsplat.arrays import ByteArray, FloatArray
from smartsplat.render import StepResult
from smartsplat_baselines.arrays import ParameterArrays, RealArray
from smartsplat_baselines.blend import Blend, BlendRenderer, CovarianceGaussians, Loss
from smartsplat_baselines.optimizers import Optimizer

ProgressCallback = Callable[[int, int, float], object]
"""Called after every step with the number of steps made, the Gaussians and the mean square error that the step saw."""


class Model:
    """N Gaussians in a method's own parameters. Subclasses say what those are."""

    blend: ClassVar[Blend] = Blend()
    loss: ClassVar[Loss] = Loss()
    reference_steps: ClassVar[int] = 0
    """Steps that the learning rates are made for; with fewer they are scaled up in proportion. 0: for any number."""
    max_lr_scale_up: ClassVar[float] = 20.0
    fixed_lr: ClassVar[tuple[str, ...]] = ()
    """Parameters whose learning rates are never scaled up."""
    columns: ClassVar[dict[str, int]]
    """Numbers of each parameter, by name; 0 for one of each channel."""

    def __init__(self, width: int, height: int, parameters: ParameterArrays) -> None:
        self.width, self.height, self.parameters = width, height, parameters

    @classmethod
    def initialized(cls, pixels: ByteArray, count: int, generator: np.random.Generator) -> Self:
        """What a fit of the image, uint8 [H, W, C], starts from."""
        raise NotImplementedError

    def gaussians(self) -> CovarianceGaussians:
        """The Gaussians that the parameters stand for."""
        raise NotImplementedError

    def vjp(self, d: CovarianceGaussians) -> ParameterArrays:
        """dL/d(parameters) for dL/d(gaussians)."""
        raise NotImplementedError

    def optimizer(self) -> Optimizer:
        """A new one, as the method is trained with."""
        raise NotImplementedError

    def lr_factor(self, fraction: float) -> float:
        """What the learning rates are multiplied by after that fraction of the steps."""
        return 1.0

    def before_update(self, step: int, steps: int, result: StepResult) -> None:
        """Called once the error of the parameters is known, before they change."""

    def after_step(self, step: int, steps: int, pixels: ByteArray, result: StepResult, renderer: BlendRenderer) -> bool:
        """Densification, if the method has it.

        Returns:
            Whether the optimiser has to start anew.
        """
        return False

    def stored(self) -> ParameterArrays:
        """The numbers that a file holds, by the names of ``columns``."""
        return self.parameters

    @classmethod
    def restored(cls, width: int, height: int, stored: ParameterArrays) -> Self:
        """The model of those numbers."""
        return cls(width, height, stored)

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    def render(self, renderer: BlendRenderer) -> ByteArray:
        """uint8 [H, W, C]."""
        return renderer.render_bytes(self.gaussians(), self.blend, self.width, self.height)


def fit(
    model: Model, pixels: ByteArray, steps: int, renderer: BlendRenderer, progress: ProgressCallback | None = None
) -> None:
    """Optimise the model's parameters for so many steps, in place."""
    optimizer = model.optimizer()
    scale_up = lr_scale_up(model.reference_steps, steps, model.max_lr_scale_up)
    for step in range(steps):
        d, result = renderer.loss_gradient(model.gaussians(), model.blend, pixels, model.loss)
        model.before_update(step, steps, result)
        gradients = {name: finite(gradient) for name, gradient in model.vjp(d).items()}
        lr_factor = model.lr_factor(step / steps)
        lr_factors = {name: lr_factor * (1 if name in model.fixed_lr else scale_up) for name in gradients}
        optimizer.step(model.parameters, gradients, lr_factors)
        if model.after_step(step, steps, pixels, result, renderer):
            optimizer = model.optimizer()
        if progress is not None:
            progress(step + 1, len(model), result.mean_square)


def lr_scale_up(reference_steps: int, steps: int, maximum: float) -> float:
    """What learning rates that are made for ``reference_steps`` are multiplied by where there are fewer steps."""
    return min(max(reference_steps / max(steps, 1), 1.0), maximum)


def halving_lr_factor(fraction: float) -> float:
    """Halved after 40 % and 80 % of the steps."""
    return float(0.5 ** int(fraction / 0.4))


def cosine_lr_factor(fraction: float) -> float:
    """From 1 to 0.02 along half a cosine."""
    return float(0.02 + 0.98 * 0.5 * (1 + np.cos(np.pi * fraction)))


def finite(gradient: RealArray) -> RealArray:
    """The gradient with 0 for what is NaN or infinite."""
    if np.isfinite(gradient.sum()):
        return gradient
    return np.nan_to_num(gradient, nan=0, posinf=0, neginf=0)


def uniform(generator: np.random.Generator, count: int, columns: int) -> FloatArray:
    """[count, columns] in [0, 1)."""
    return generator.random((count, columns), np.float32)
