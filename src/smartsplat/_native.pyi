"""Types of the compiled module: thin, see native/bindings. Callers wrap every function in a documented one.

``Gaussians``, ``View``, ``StepSettings``, ``AdamState`` and ``Quantizer`` are read by their attributes' names.
"""

import numpy as np
import numpy.typing as npt

from smartsplat.arrays import ByteArray, DoubleArray, FloatArray, SampleArray
from smartsplat.bitstream.quantize import Quantizer
from smartsplat.gaussians import Gaussians
from smartsplat.render import Grain, StepSettings, Structure, View
from smartsplat.render.cpu import AdamState

TILE: int
MACROTILE: int
COARSE_CELL: int
LUMA: tuple[float, float, float]
CUTOFF: float
EDGE: float
PYRAMID_LEVELS: int
GRAIN_BANDS: int
MIN_PYRAMID_DEVIATION: float
MIN_PYRAMID_DEVIATION_PER_COLOR: float
MAX_QUALITY: int
QUALITY_ZERO: int
MAX_POSITION_CELL_LOG2: int
MAX_VARIANCE_WINDOW: int
MAX_MASK_LEVEL: int
MAX_BLOCKS_PER_BYTE: int

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]

class Rasterizer:
    def __init__(self, threads: int, variant: str | None = None, max_level: int = ...) -> None: ...
    @property
    def variant(self) -> str: ...
    @property
    def threads(self) -> int: ...
    def render(self, gaussians: Gaussians, view: View, image: FloatArray) -> None: ...
    def prepare_strips(
        self, gaussians: Gaussians, view: View, max_covered_pixels: float, max_intersections: float
    ) -> None: ...
    def render_rows(self, top: int, image: SampleArray, grain: Grain | None = None) -> None: ...
    def render_gradient(self, gaussians: Gaussians, view: View, d_image: FloatArray, gradient: Gaussians) -> None: ...
    def loss_gradient(
        self,
        gaussians: Gaussians,
        target: SampleArray,
        weights: ByteArray | None,
        view: View,
        settings: StepSettings,
        gradient: Gaussians,
    ) -> tuple[float, float]: ...
    def step(
        self,
        gaussians: Gaussians,
        adam: AdamState,
        target: SampleArray,
        weights: ByteArray | None,
        view: View,
        settings: StepSettings,
        structure: Structure | None,
    ) -> tuple[float, float]: ...
    def residual(self, top: int, target: SampleArray, weights: ByteArray | None, cell: int) -> FloatArray: ...
    def stage_seconds(self) -> dict[str, float]: ...
    def reset_clocks(self) -> None: ...
    def multiply_add(self, rounds: int) -> float: ...

def format_constants() -> dict[str, int]: ...
def quantize(gaussians: Gaussians, quantizer: Quantizer) -> Ints: ...
def dequantize(symbols: Ints, quantizer: Quantizer, out: Gaussians) -> None: ...
def fake_quantize(gaussians: Gaussians, quantizer: Quantizer, out: Gaussians, threads: int) -> None: ...
def encode_symbols(symbols: Ints, quantizer: Quantizer) -> bytes: ...
def decode_symbols(
    data: ByteArray, count: int, quantizer: Quantizer, count_bits: bool = False
) -> tuple[Ints, DoubleArray]: ...
def decode_gaussians(groups: list[tuple[bytes, int]], quantizer: Quantizer, out: Gaussians, threads: int) -> None: ...
def encode_mask(levels: ByteArray) -> tuple[bytes, int]: ...
def encode_grain(levels: ByteArray) -> bytes: ...
def decode_grain(data: bytes, levels: ByteArray) -> None: ...
def decode_mask(data: bytes, mixed_blocks: int, levels: ByteArray) -> None: ...
def tile_features(
    pixels: SampleArray, box: tuple[int, int, int, int], window: int, gradient_fraction: float
) -> tuple[FloatArray, FloatArray, FloatArray]: ...
def sample_pixels(
    pixels: SampleArray,
    error_weights: ByteArray | None,
    boxes: Longs,
    counts: Longs,
    keys: npt.NDArray[np.uint64],
    window: int,
    gradient_fraction: float,
    threads: int,
) -> tuple[FloatArray, FloatArray]: ...
def race(weights: FloatArray, count: int, key: int, bound: float) -> tuple[DoubleArray, Longs]: ...
def median_color(pixels: SampleArray, mean: FloatArray, radius: FloatArray, threads: int) -> FloatArray: ...
