"""Adam and Adan on named arrays: what the baselines are optimised with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np

from smartsplat_baselines.arrays import ParameterArrays, RealArray

ADAN_EPSILON = 1e-8
"""Its authors' epsilon."""

ADAN_EPSILON_PIXELS = 2**21
"""Pixels of the largest images that ADAN_EPSILON is used with as it is."""


class Optimizer(Protocol):
    """Moves parameters against their gradients, in place."""

    def step(self, parameters: ParameterArrays, gradients: ParameterArrays, lr_factors: Mapping[str, float]) -> None:
        """``lr_factors`` multiply the learning rates, by the names of the arrays."""


class Adam:
    """Kingma and Ba, with a learning rate for each array."""

    def __init__(
        self, learning_rates: Mapping[str, float], betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-15
    ) -> None:
        self.learning_rates, self.betas, self.epsilon = learning_rates, betas, epsilon
        self.moments: dict[str, tuple[RealArray, RealArray]] = {}
        self.age = 0

    def step(self, parameters: ParameterArrays, gradients: ParameterArrays, lr_factors: Mapping[str, float]) -> None:
        self.age += 1
        beta1, beta2 = self.betas
        correct1, correct2 = 1 - beta1**self.age, 1 - beta2**self.age
        for name, lr in self.learning_rates.items():
            gradient = gradients[name]
            first, second = self.moments.setdefault(name, (np.zeros_like(gradient), np.zeros_like(gradient)))
            first += (1 - beta1) * (gradient - first)
            second += (1 - beta2) * (gradient * gradient - second)
            parameters[name] -= lr_factors[name] * lr / correct1 * first / (np.sqrt(second / correct2) + self.epsilon)


class Adan:
    """Xie et al.: Adam that also follows how the gradient changes. One learning rate for all arrays of these names."""

    def __init__(
        self,
        names: tuple[str, ...],
        learning_rate: float = 1e-3,
        betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
        epsilon: float = ADAN_EPSILON,
    ) -> None:
        self.names, self.learning_rate, self.betas, self.epsilon = names, learning_rate, betas, epsilon
        self.moments: dict[str, tuple[RealArray, RealArray, RealArray, RealArray]] = {}
        self.age = 0

    def step(self, parameters: ParameterArrays, gradients: ParameterArrays, lr_factors: Mapping[str, float]) -> None:
        self.age += 1
        beta1, beta2, beta3 = self.betas
        correct1, correct2, correct3 = (1 - beta**self.age for beta in self.betas)
        for name in self.names:
            gradient = gradients[name]
            if name not in self.moments:  # there is no previous gradient yet: no change
                zeros = (np.zeros_like(gradient) for _ in range(3))
                self.moments[name] = (*zeros, gradient.copy())  # type: ignore[assignment]
            first, change, second, previous = self.moments[name]
            difference = gradient - previous
            previous[:] = gradient
            first += (1 - beta1) * (gradient - first)
            change += (1 - beta2) * (difference - change)
            second += (1 - beta3) * ((gradient + beta2 * difference) ** 2 - second)
            move = first / correct1 + (beta2 / correct2) * change
            lr = lr_factors[name] * self.learning_rate
            parameters[name] -= lr * move / (np.sqrt(second / correct3) + self.epsilon)


def adan_epsilon(pixels: int) -> float:
    """For an image of so many pixels: gradients of a mean error fall as their number grows.

    With the authors' own, which the gradients of 177 megapixels hardly exceed, GaussianImage is 1.1 dB worse there.
    """
    return ADAN_EPSILON * min(1.0, ADAN_EPSILON_PIXELS / pixels)
