"""Adam and Adan on named arrays: what the rivals are optimised with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Reals = npt.NDArray[np.floating[Any]]
Arrays = dict[str, Reals]
"""Parameters, or gradients, by name: [N, k] each."""

ADAN_EPSILON, ADAN_PIXELS = 1e-8, 2**21
"""Its authors' epsilon, and the largest pictures that it is used with as it is."""


class Optimizer(Protocol):
    """Moves parameters against their gradients, in place."""

    def step(self, parameters: Arrays, gradients: Arrays, factors: Mapping[str, float]) -> None:
        """``factors`` multiply the rates, by the names of the arrays."""


class Adam:
    """Kingma and Ba, with a rate for each array."""

    def __init__(
        self, rates: Mapping[str, float], betas: tuple[float, float] = (0.9, 0.999), epsilon: float = 1e-15
    ) -> None:
        self.rates, self.betas, self.epsilon = rates, betas, epsilon
        self.moments: dict[str, tuple[Reals, Reals]] = {}
        self.age = 0

    def step(self, parameters: Arrays, gradients: Arrays, factors: Mapping[str, float]) -> None:
        self.age += 1
        beta1, beta2 = self.betas
        correct1, correct2 = 1 - beta1**self.age, 1 - beta2**self.age
        for name, rate in self.rates.items():
            gradient = gradients[name]
            first, second = self.moments.setdefault(name, (np.zeros_like(gradient), np.zeros_like(gradient)))
            first += (1 - beta1) * (gradient - first)
            second += (1 - beta2) * (gradient * gradient - second)
            parameters[name] -= factors[name] * rate / correct1 * first / (np.sqrt(second / correct2) + self.epsilon)


class Adan:
    """Xie et al.: Adam that also follows how the gradient changes. One rate for all arrays that are ``named``."""

    def __init__(
        self,
        named: tuple[str, ...],
        rate: float = 1e-3,
        betas: tuple[float, float, float] = (0.98, 0.92, 0.99),
        epsilon: float = ADAN_EPSILON,
    ) -> None:
        self.named, self.rate, self.betas, self.epsilon = named, rate, betas, epsilon
        self.moments: dict[str, tuple[Reals, Reals, Reals, Reals]] = {}
        self.age = 0

    def step(self, parameters: Arrays, gradients: Arrays, factors: Mapping[str, float]) -> None:
        self.age += 1
        beta1, beta2, beta3 = self.betas
        correct1, correct2, correct3 = (1 - beta**self.age for beta in self.betas)
        for name in self.named:
            gradient = gradients[name]
            if name not in self.moments:  # no change is known yet
                zeros = (np.zeros_like(gradient) for _ in range(3))
                self.moments[name] = (*zeros, gradient.copy())  # type: ignore[assignment]
            first, change, second, before = self.moments[name]
            difference = gradient - before
            before[:] = gradient
            first += (1 - beta1) * (gradient - first)
            change += (1 - beta2) * (difference - change)
            second += (1 - beta3) * ((gradient + beta2 * difference) ** 2 - second)
            move = first / correct1 + (beta2 / correct2) * change
            parameters[name] -= factors[name] * self.rate * move / (np.sqrt(second / correct3) + self.epsilon)


def adan_epsilon(pixels: int) -> float:
    """For a picture of so many pixels: gradients of a mean error fall as their number grows.

    With the authors' own, which those of 177 megapixels hardly exceed, GaussianImage is 1.1 dB worse there.
    """
    return ADAN_EPSILON * min(1.0, ADAN_PIXELS / pixels)
