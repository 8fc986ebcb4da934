"""Covariances from scales and an angle (E3) and the vector-Jacobian product of that; the sigmoid and its inverse."""

from __future__ import annotations

import numpy as np

from smartsplat_baselines.arrays import RealArray


def covariance_of(scale: RealArray, rotation: RealArray) -> RealArray:
    """[N, 3] xx, xy, yy of standard deviations [N, 2] along axes turned by [N] radians."""
    cosine, sine = np.cos(rotation), np.sin(rotation)
    u, v = scale[:, 0] ** 2, scale[:, 1] ** 2
    cc, cs, ss = cosine * cosine, cosine * sine, sine * sine
    return np.stack([cc * u + ss * v, cs * (u - v), ss * u + cc * v], axis=1)


def covariance_vjp(scale: RealArray, rotation: RealArray, d_covariance: RealArray) -> tuple[RealArray, RealArray]:
    """dL/d(scale) [N, 2] and dL/d(rotation) [N] for dL/d(xx, xy, yy) [N, 3]."""
    cosine, sine = np.cos(rotation), np.sin(rotation)
    cc, cs, ss = cosine * cosine, cosine * sine, sine * sine
    xx, xy, yy = d_covariance.T
    u, v = scale.T
    d_u = 2 * u * (cc * xx + cs * xy + ss * yy)
    d_v = 2 * v * (ss * xx - cs * xy + cc * yy)
    d_rotation = (u * u - v * v) * (2 * cs * (yy - xx) + (cc - ss) * xy)
    return np.stack([d_u, d_v], axis=1), d_rotation


def sigmoid(values: RealArray) -> RealArray:
    """Between 0 and 1, also for values whose exponential overflows."""
    result: RealArray = 0.5 * (1 + np.tanh(0.5 * values))
    return result


def logit(values: RealArray) -> RealArray:
    """The inverse of ``sigmoid``, of values in (0, 1)."""
    result: RealArray = np.log(values / (1 - values))
    return result
