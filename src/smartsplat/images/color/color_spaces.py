"""Brings images into sRGB, so that two of different colour spaces can be compared.

A profile is evaluated by LittleCMS for 8 bits; for 16 as curves and a matrix, if it is no more than these, otherwise
by libvips. Code points of ITU-T H.273 are evaluated as curves and a matrix, too. What is brighter than white, as in
HDR, or lies outside of the gamut is clipped.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
from PIL import Image, ImageCms

from smartsplat.arrays import DoubleArray, SampleArray
from smartsplat.errors import ImageError
from smartsplat.images.color import code_points
from smartsplat.images.color.color_profiles import D50
from smartsplat.images.color.matrix_profile import matrix_profile
from smartsplat.images.reading.vips_reader import libvips
from smartsplat.images.strips import row_slices
from smartsplat.metadata import SRGB_PRIMARIES, SRGB_TRANSFER, UNSPECIFIED, Metadata

STRIP_SAMPLES = 1 << 20
"""Samples that are converted at once."""


def comparable(
    reference: SampleArray, reference_metadata: Metadata, image: SampleArray, image_metadata: Metadata
) -> tuple[SampleArray, SampleArray]:
    """Two images as code values of one colour space.

    Args:
        reference, image: uint8 or uint16 [H, W, C], C = 1 to 4, not necessarily of one shape and type.
        reference_metadata, image_metadata: their colours.

    Returns:
        Both as they are if they have the same colours; otherwise both in sRGB.

    Raises:
        ImageError: as ``in_srgb``.
    """
    if same_colors(reference_metadata, image_metadata):
        return reference, image
    return in_srgb(reference, reference_metadata), in_srgb(image, image_metadata)


def same_colors(first: Metadata, second: Metadata) -> bool:
    """Whether equal code values are equal colours; two profiles are the same only if all their bytes are."""
    if first.icc or second.icc:
        return first.icc == second.icc
    return (first.primaries, first.transfer) == (second.primaries, second.transfer)


def in_srgb(pixels: SampleArray, metadata: Metadata) -> SampleArray:
    """The image in sRGB.

    Args:
        pixels: uint8 or uint16 [H, W, C], C = 1 (grey), 2 (grey and alpha), 3 (RGB) or 4; alpha is kept as it is.
        metadata: the profile or the code points of its colours.

    Returns:
        Code values of the same shape and type; ``pixels`` themselves if they are in sRGB.

    Raises:
        ImageError: the profile cannot be used, or the code points are not known.
    """
    if not metadata.icc and _points(metadata) == (SRGB_PRIMARIES, SRGB_TRANSFER):
        return pixels
    colors = 1 if pixels.shape[2] < 3 else 3
    if metadata.icc:
        convert = _with_pillow(metadata.icc, colors)  # which refuses what does not fit, libvips does not
        if pixels.dtype == np.uint16:
            convert = _by_matrix(metadata.icc) or _with_libvips(metadata.icc)
    else:
        convert = _by_code_points(metadata, int(np.iinfo(pixels.dtype).max))
    result = pixels.copy()
    for rows in row_slices(len(pixels), pixels.shape[1] * pixels.shape[2], STRIP_SAMPLES):
        result[rows, :, :colors] = convert(np.ascontiguousarray(pixels[rows, :, :colors]))
    return result


Conversion = Callable[[SampleArray], SampleArray]
"""From [h, W, 1 or 3] to the same in sRGB."""


def _with_pillow(icc: bytes, colors: int) -> Conversion:
    try:
        profile = ImageCms.ImageCmsProfile(io.BytesIO(icc))
        srgb = ImageCms.createProfile("sRGB")
        # Without this flag curves are so coarse that shadows are off by up to 10 code values.
        exact = ImageCms.Flags.NOOPTIMIZE
        transform = ImageCms.buildTransform(profile, srgb, "L" if colors == 1 else "RGB", "RGB", flags=exact)
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError) as error:
        raise ImageError(f"the colour profile cannot be used: {error}") from None

    def convert(strip: SampleArray) -> SampleArray:
        image = Image.fromarray(strip[:, :, 0] if colors == 1 else strip)
        return np.asarray(ImageCms.applyTransform(image, transform))[:, :, -colors:]

    return convert


def _by_matrix(icc: bytes) -> Conversion | None:
    """The same for 16 bits; None if the profile holds more than curves and a matrix."""
    found = matrix_profile(icc, np.arange(65536) / 65535)
    if found is None:
        return None
    matrix = None if found.to_xyz is None else _from_xyz(np.array(D50)) @ found.to_xyz

    def convert(strip: SampleArray) -> SampleArray:
        return _coded(_light(strip, found.curves), matrix, strip.dtype)

    return convert


def _with_libvips(icc: bytes) -> Conversion:
    pyvips = libvips()

    def convert(strip: SampleArray) -> SampleArray:
        height, width, colors = strip.shape
        image = pyvips.Image.new_from_memory(strip.data, width, height, colors, "ushort")
        image = image.copy(interpretation="grey16" if colors == 1 else "rgb16")
        image.set_type(pyvips.GValue.blob_type, "icc-profile-data", icc)
        try:
            converted: Any = image.icc_transform("srgb", embedded=True, depth=16, intent="perceptual")
            samples = np.frombuffer(converted.write_to_memory(), np.uint16)
        except pyvips.Error as error:
            raise ImageError(f"the colour profile cannot be used: {' '.join(str(error).split())}") from None
        return samples.reshape(height, width, -1)[:, :, :colors]

    return convert


def _points(metadata: Metadata) -> tuple[int, int]:
    """Code points of primaries and transfer, where those that are not specified are sRGB's."""
    primaries = SRGB_PRIMARIES if metadata.primaries == UNSPECIFIED else metadata.primaries
    return primaries, SRGB_TRANSFER if metadata.transfer == UNSPECIFIED else metadata.transfer


def _by_code_points(metadata: Metadata, peak: int) -> Conversion:
    primaries, transfer = _points(metadata)
    curve = code_points.light(transfer, np.arange(peak + 1) / peak)
    to_xyz = code_points.to_xyz(primaries)
    matrix = _from_xyz(code_points.white(primaries)) @ to_xyz

    def convert(strip: SampleArray) -> SampleArray:
        light = _light(strip, curve[None])
        if transfer == code_points.HLG:
            luminance = light @ to_xyz[1] if light.shape[2] == 3 else light[:, :, 0]
            light = code_points.display_light(light, luminance)
        return _coded(light, matrix, strip.dtype)

    return convert


def _light(strip: SampleArray, curves: DoubleArray) -> DoubleArray:
    """Light of a strip [h, W, C]; ``curves`` hold that of every code value, [C or 1, values]."""
    channels = range(strip.shape[2])
    return np.stack([curves[channel % len(curves)][strip[:, :, channel]] for channel in channels], axis=2)


def _from_xyz(white: DoubleArray) -> DoubleArray:
    """From XYZ under a white [3] to the light of sRGB's primaries, [3, 3]."""
    adaptation = code_points.adaptation(white, code_points.white(SRGB_PRIMARIES))
    return np.asarray(np.linalg.inv(code_points.to_xyz(SRGB_PRIMARIES)) @ adaptation)


def _coded(light: DoubleArray, matrix: DoubleArray | None, dtype: np.dtype[Any]) -> SampleArray:
    """Code values of sRGB for light [h, W, C], which of RGB is multiplied with a matrix before."""
    if matrix is not None and light.shape[2] == 3:
        light = light @ matrix.T
    light = light.clip(0, 1)
    values = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.asarray(np.rint(np.iinfo(dtype).max * values), dtype)
