"""What the rivals have in common: parameters of their own, a loop that moves them, 16-bit files.

A model maps its parameters to splats and takes dL/d(splats) back to dL/d(parameters), by hand. The renderer, its
gradient and the loss are the codec's. Three things are therefore not those of the rivals' own programs, here for all:

- a splat's window ends continuously at three deviations (E1), where theirs ends at 1/255 of the value or at a tile
- the loss's gradient passes the clamp to [0, 1] unchanged, where theirs stops: saturated pixels can come back
- scales are at least a quarter of a pixel where a blend's sum draws them (raster/blend.py); theirs may vanish, which
  is an illegal access or NaN in their programs. Gradients that are not finite count as 0.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar, Self

import numpy as np
import numpy.typing as npt

from smartsplat.baselines.optimizers import Arrays, Optimizer, Reals
from smartsplat.raster import StepResult
from smartsplat.raster.blend import Backend, Blend, Loss, Splats

Pixels = npt.NDArray[np.uint8]
Listener = Callable[[int, int, float], object]
"""Called after every step with the number of steps made, the Gaussians and the mean square error that it saw."""


class Model:
    """N Gaussians in a method's own parameters. Subclasses say what those are."""

    blend: ClassVar[Blend] = Blend()
    loss: ClassVar[Loss] = Loss()
    own_steps: ClassVar[int] = 0
    """Steps that the rates are made for; with fewer they are raised in proportion. 0: for any number."""
    most_hurry: ClassVar[float] = 20.0
    """What rates are raised by at most."""
    unhurried: ClassVar[tuple[str, ...]] = ()
    """Parameters whose rates are left as they are even so."""
    columns: ClassVar[dict[str, int]]
    """Numbers of each parameter, by name; 0 for one of each channel."""

    def __init__(self, width: int, height: int, parameters: Arrays) -> None:
        self.width, self.height, self.parameters = width, height, parameters

    @classmethod
    def seeded(cls, pixels: Pixels, count: int, generator: np.random.Generator) -> Self:
        """What a fit of the picture, uint8 [H, W, C], starts from."""
        raise NotImplementedError

    def splats(self) -> Splats:
        """What the parameters draw."""
        raise NotImplementedError

    def chain(self, d: Splats) -> Arrays:
        """dL/d(parameters) for dL/d(splats)."""
        raise NotImplementedError

    def optimizer(self) -> Optimizer:
        """A new one, as the method is trained with."""
        raise NotImplementedError

    def factor(self, share: float) -> float:
        """What the rates are multiplied by after that share of the steps."""
        return 1.0

    def before_move(self, step: int, steps: int, result: StepResult) -> None:
        """What there is to learn from the error of the parameters as they still are."""

    def after_step(self, step: int, steps: int, pixels: Pixels, result: StepResult, backend: Backend) -> bool:
        """Growth, if the method grows. True if the optimiser has to start anew."""
        return False

    def stored(self) -> Arrays:
        """The numbers that a file holds, by the names of ``columns``."""
        return self.parameters

    @classmethod
    def restored(cls, width: int, height: int, stored: Arrays) -> Self:
        """The model of those numbers."""
        return cls(width, height, stored)

    def __len__(self) -> int:
        return len(next(iter(self.parameters.values())))

    def render(self, backend: Backend) -> Pixels:
        """uint8 [H, W, C]."""
        return backend.render_bytes(self.splats(), self.blend, self.width, self.height)


def fit(model: Model, pixels: Pixels, steps: int, backend: Backend, listener: Listener | None = None) -> None:
    """Move the model's parameters for so many steps."""
    optimizer = model.optimizer()
    hurry = hurry_of(model.own_steps, steps, model.most_hurry)
    for step in range(steps):
        d, result = backend.loss_gradient(model.splats(), model.blend, pixels, model.loss)
        model.before_move(step, steps, result)
        gradients = {name: finite(gradient) for name, gradient in model.chain(d).items()}
        usual = model.factor(step / steps)
        factors = {name: usual * (1 if name in model.unhurried else hurry) for name in gradients}
        optimizer.step(model.parameters, gradients, factors)
        if model.after_step(step, steps, pixels, result, backend):
            optimizer = model.optimizer()
        if listener is not None:
            listener(step + 1, len(model), result.mean_square)


def hurry_of(own_steps: int, steps: int, most: float) -> float:
    """What rates that are made for so many steps are multiplied by where there are fewer."""
    return min(max(own_steps / max(steps, 1), 1.0), most)


def finite(gradient: Reals) -> Reals:
    """The gradient with 0 for what is NaN or infinite."""
    if np.isfinite(gradient.sum()):
        return gradient
    return np.nan_to_num(gradient, nan=0, posinf=0, neginf=0)


def uniform(generator: np.random.Generator, count: int, columns: int) -> npt.NDArray[np.float32]:
    """[count, columns] in [0, 1)."""
    return generator.random((count, columns), np.float32)
