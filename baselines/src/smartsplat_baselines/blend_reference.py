"""The definition of the blends of ``blend.py`` and of their gradients: numpy, float64, loops, no options.

Checked by finite differences; the compiled blends are tested against it.
"""

from __future__ import annotations

import numpy as np

from smartsplat.arrays import DoubleArray
from smartsplat.render import View, reference
from smartsplat_baselines.arrays import RealArray
from smartsplat_baselines.blend import (
    MAX_ALPHA,
    MIN_TRANSMITTANCE,
    TOP_K,
    TOP_K_FLOOR,
    Blend,
    CovarianceGaussians,
)


def _matrix(covariance: RealArray) -> DoubleArray:
    xx, xy, yy = covariance
    return np.array([[xx, xy], [xy, yy]])


def _windows(gaussians: CovarianceGaussians, width: int, height: int) -> tuple[DoubleArray, DoubleArray]:
    """The window (E1) of every Gaussian and its derivative by q, [N, height, width] each."""
    weight, slope = np.zeros((2, len(gaussians), height, width))
    for i in range(len(gaussians)):
        distance = reference.distances(gaussians.mean[i], View.whole(width, height))
        weight[i], slope[i] = reference.window(distance, np.linalg.inv(_matrix(gaussians.covariance[i])))
    return weight, slope


def _alphas(gaussians: CovarianceGaussians, weight: DoubleArray) -> tuple[DoubleArray, DoubleArray]:
    """Each Gaussian's alpha and the transmittance in front of it; the latter also behind all, [N + 1, ...]."""
    alpha = np.minimum(gaussians.opacity[:, None, None] * weight, MAX_ALPHA)
    transmittance = np.ones((len(gaussians) + 1, *weight.shape[1:]))
    for i in range(len(gaussians)):
        alpha[i][transmittance[i] < MIN_TRANSMITTANCE] = 0
        transmittance[i + 1] = transmittance[i] * (1 - alpha[i])
    return alpha, transmittance


def _top_k(weight: DoubleArray) -> DoubleArray:
    """The weights that are at least the K-th largest of their pixel; the others are 0."""
    if len(weight) <= TOP_K:
        return weight
    return np.where(weight >= np.sort(weight, axis=0)[-TOP_K], weight, 0)


def render(gaussians: CovarianceGaussians, blend: Blend, width: int, height: int) -> DoubleArray:
    """[height, width, C], not clamped."""
    weight, _ = _windows(gaussians, width, height)
    background = np.zeros((height, width))
    if blend.kind == "alpha":
        alpha, transmittance = _alphas(gaussians, weight)
        weight, background = alpha * transmittance[:-1], blend.background * transmittance[-1]
    elif blend.kind == "top-k":
        weight = _top_k(weight)
        weight = weight / (weight.sum(axis=0) + TOP_K_FLOOR)
    image: DoubleArray = np.einsum("nyx,nc->yxc", weight, gaussians.color) + background[..., None]
    return image


def render_gradient(gaussians: CovarianceGaussians, blend: Blend, d_image: DoubleArray) -> CovarianceGaussians:
    """dL/d(gaussians) for dL/d(image), [height, width, C]."""
    height, width, _ = d_image.shape
    weight, slope = _windows(gaussians, width, height)
    along_color = np.einsum("yxc,nc->nyx", d_image, gaussians.color)  # dL/d(a Gaussian's fraction of the pixel)
    d_opacity = np.zeros(len(gaussians))
    if blend.kind == "alpha":
        alpha, transmittance = _alphas(gaussians, weight)
        fraction = alpha * transmittance[:-1]
        # What lies behind Gaussian i, the background included, is dimmed by 1 - alpha_i.
        behind = d_image.sum(axis=-1) * blend.background * transmittance[-1]
        d_alpha = np.zeros_like(weight)
        for i in reversed(range(len(gaussians))):
            d_alpha[i] = transmittance[i] * along_color[i] - behind / (1 - alpha[i])
            behind = behind + fraction[i] * along_color[i]
        d_alpha[(alpha >= MAX_ALPHA) | (transmittance[:-1] < MIN_TRANSMITTANCE)] = 0
        d_opacity = np.einsum("nyx,nyx->n", d_alpha, weight)
        d_weight = d_alpha * gaussians.opacity[:, None, None]
    elif blend.kind == "top-k":
        kept = _top_k(weight)
        total = kept.sum(axis=0) + TOP_K_FLOOR
        fraction = kept / total
        mean_along = np.einsum("nyx,nyx->yx", fraction, along_color)
        d_weight = np.where(kept > 0, (along_color - mean_along) / total, 0)
    else:
        fraction, d_weight = weight, along_color
    d_color = np.einsum("nyx,yxc->nc", fraction, d_image)
    d_mean, d_covariance = np.zeros((len(gaussians), 2)), np.zeros((len(gaussians), 3))
    for i in range(len(gaussians)):
        conic = np.linalg.inv(_matrix(gaussians.covariance[i]))
        distance = reference.distances(gaussians.mean[i], View.whole(width, height))
        d_q = d_weight[i] * slope[i]
        d_mean[i] = -2 * conic @ np.einsum("yx,yxi->i", d_q, distance)
        moments = -conic @ np.einsum("yx,yxi,yxj->ij", d_q, distance, distance) @ conic
        d_covariance[i] = moments[0, 0], 2 * moments[0, 1], moments[1, 1]
    return CovarianceGaussians(d_mean, d_covariance, d_color, d_opacity)
