"""The definition of the blends of ``blend.py`` and of their gradients: numpy, float64, loops, no options.

Checked by finite differences; the compiled blends are tested against it.
"""

from __future__ import annotations

import numpy as np

from smartsplat.raster import View, reference
from smartsplat.raster.blend import LARGEST_ALPHA, LEAST_LIGHT, TOP, TOP_FLOOR, Blend, Reals, Splats
from smartsplat.raster.reference import Array


def _matrix(covariance: Reals) -> Array:
    xx, xy, yy = covariance
    return np.array([[xx, xy], [xy, yy]])


def _windows(splats: Splats, width: int, height: int) -> tuple[Array, Array]:
    """The window (E1) of every splat and its derivative by q, [N, height, width] each."""
    weight, slope = np.zeros((2, len(splats), height, width))
    for i in range(len(splats)):
        distance = reference._distances(splats.mean[i], View.whole(width, height))
        weight[i], slope[i] = reference._window(distance, np.linalg.inv(_matrix(splats.covariance[i])))
    return weight, slope


def _alphas(splats: Splats, weight: Array) -> tuple[Array, Array]:
    """Each splat's alpha and how much light reaches it; the latter also for what lies behind all, [N + 1, ...]."""
    alpha = np.minimum(splats.opacity[:, None, None] * weight, LARGEST_ALPHA)
    through = np.ones((len(splats) + 1, *weight.shape[1:]))
    for i in range(len(splats)):
        alpha[i][through[i] < LEAST_LIGHT] = 0
        through[i + 1] = through[i] * (1 - alpha[i])
    return alpha, through


def _top(weight: Array) -> Array:
    """The weights that are at least the tenth largest of their pixel; the others are 0."""
    if len(weight) <= TOP:
        return weight
    return np.where(weight >= np.sort(weight, axis=0)[-TOP], weight, 0)


def render(splats: Splats, blend: Blend, width: int, height: int) -> Array:
    """[height, width, C], not clamped."""
    weight, _ = _windows(splats, width, height)
    rest = np.zeros((height, width))
    if blend.kind == "alpha":
        alpha, through = _alphas(splats, weight)
        weight, rest = alpha * through[:-1], blend.background * through[-1]
    elif blend.kind == "top":
        weight = _top(weight)
        weight = weight / (weight.sum(axis=0) + TOP_FLOOR)
    image: Array = np.einsum("nyx,nc->yxc", weight, splats.color) + rest[..., None]
    return image


def render_gradient(splats: Splats, blend: Blend, d_image: Array) -> Splats:
    """dL/d(splats) for dL/d(image), [height, width, C]."""
    height, width, _ = d_image.shape
    weight, slope = _windows(splats, width, height)
    along = np.einsum("yxc,nc->nyx", d_image, splats.color)  # dL/d(a splat's share of the pixel)
    d_opacity = np.zeros(len(splats))
    if blend.kind == "alpha":
        alpha, through = _alphas(splats, weight)
        share = alpha * through[:-1]
        # What lies behind splat i, the background included, is dimmed by 1 - alpha_i.
        behind = d_image.sum(axis=-1) * blend.background * through[-1]
        d_alpha = np.zeros_like(weight)
        for i in reversed(range(len(splats))):
            d_alpha[i] = through[i] * along[i] - behind / (1 - alpha[i])
            behind = behind + share[i] * along[i]
        d_alpha[(alpha >= LARGEST_ALPHA) | (through[:-1] < LEAST_LIGHT)] = 0
        d_opacity = np.einsum("nyx,nyx->n", d_alpha, weight)
        d_weight = d_alpha * splats.opacity[:, None, None]
    elif blend.kind == "top":
        kept = _top(weight)
        total = kept.sum(axis=0) + TOP_FLOOR
        share = kept / total
        d_weight = np.where(kept > 0, (along - np.einsum("nyx,nyx->yx", share, along)) / total, 0)
    else:
        share, d_weight = weight, along
    d_color = np.einsum("nyx,yxc->nc", share, d_image)
    d_mean, d_covariance = np.zeros((len(splats), 2)), np.zeros((len(splats), 3))
    for i in range(len(splats)):
        conic = np.linalg.inv(_matrix(splats.covariance[i]))
        distance = reference._distances(splats.mean[i], View.whole(width, height))
        d_q = d_weight[i] * slope[i]
        d_mean[i] = -2 * conic @ np.einsum("yx,yxi->i", d_q, distance)
        moments = -conic @ np.einsum("yx,yxi,yxj->ij", d_q, distance, distance) @ conic
        d_covariance[i] = moments[0, 0], 2 * moments[0, 1], moments[1, 1]
    return Splats(d_mean, d_covariance, d_color, d_opacity)
