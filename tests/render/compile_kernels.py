"""Compiles every Triton kernel for GPUs that need not be there; prints one JSON object for each.

python -m tests.render.compile_kernels [cuda:80 cuda:90 hip:gfx942]

Registers and bytes of local memory (stack: spills) are those that the CUDA tools which come with Triton report; null
for AMD, or without the tools.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from smartsplat.encoder.gpu import features, median_color, weighted_sampling
from smartsplat.render.gpu import adam, bin, grain, project, residual, ssim, tile
from smartsplat.render.gpu.constants import BLOCK

TARGETS = ("cuda:80", "cuda:90", "hip:gfx942")
POINTERS = {  # by the name of an argument
    **dict.fromkeys(("first_rows", "owners", "tiles", "span_owners", "span_tiles", "arrivals", "arrived"), "*i32"),
    **dict.fromkeys(("slots", "gaussians", "age", "widths", "tile_counts"), "*i32"),
    **dict.fromkeys(("heights", "offsets", "chunk_offsets", "starts", "keys", "entries"), "*i64"),
    **dict.fromkeys(("view", "settings", "rate_sums"), "*fp64"),
    **dict.fromkeys(("target", "image", "code_values", "weights", "error_weights"), "*u8"),
    "noise": "*i8",
}
FLOATS = ("l1", "l2", "ssim", "fine", "coarse", "gradient_fraction")
NUMBERS = (
    *("count", "width", "height", "total", "columns", "first_tile", "first_row", "end_row", "rows", "pitch"),
    *("row_stride", "column_stride", "channel_stride", "cell_rows", "cell_columns", "groups", "begin", "end"),
    *("blocks", "max_places", "spans", "smaller_side", "cell"),
)
ONE_WARP = {"render", "fit", "backward", "residual", "collapse"}
ARRAYS = {  # of another type elsewhere
    "collapse": {"owners": "*i64"},
    "race": {"weights": "*fp32"},
}
NO_WEIGHTS: dict[str, Any] = {"weights": None}
FINE: dict[str, Any] = {"with_coarse": False}
COARSE: dict[str, Any] = {"with_coarse": True}
NO_CELL_WEIGHTS = NO_WEIGHTS | {"weight_sums": None}
BYTES, WORDS = "*u8", "*u16"

SPANS, INTERSECTIONS = bin.SPANS_PER_ROUND, bin.INTERSECTIONS_PER_ROUND
CLAMPED: dict[str, Any] = {"clamp": True}
NO_GRAIN: dict[str, Any] = {"grain": None}
ONE_TERM: dict[str, Any] = {"other": None}
SSIM: dict[str, Any] = {"channels": 3, "block": ssim.COLUMNS_PER_PROGRAM}
FEATURES: dict[str, Any] = {"channels": 3, "window": 5, "block": weighted_sampling.PIXELS_PER_PROGRAM}


@dataclass(frozen=True)
class Case:
    """A kernel to compile."""

    kernel: Any
    constants: dict[str, Any]
    types: dict[str, str] = field(default_factory=dict)  # of arguments that usually have others

    def signature(self) -> dict[str, str]:
        """Type of each argument."""
        own = ARRAYS.get(self.kernel.__name__, {}) | self.types

        def kind(name: str) -> str:
            if name in self.constants:
                return "constexpr"
            if name in own:
                return own[name]
            if name in NUMBERS:
                return "i32"
            if name in FLOATS:
                return "fp32"
            return POINTERS.get(name, "*fp32")

        return {name: kind(name) for name in self.kernel.arg_names}


CASES = [
    *(Case(project.project, {"channels": channels, "block": BLOCK}) for channels in (1, 3)),
    Case(bin.span, {"block": BLOCK // SPANS, "spans_per_round": SPANS}),
    Case(bin.intersect, {"block": BLOCK // INTERSECTIONS, "intersections_per_round": INTERSECTIONS}),
    Case(bin.scatter, {"block": BLOCK}),
    Case(bin.order, {"tiles": bin.TILES_PER_PROGRAM, "block": bin.ENTRIES_PER_ROUND}),
    *(Case(tile.render, {"channels": channels} | NO_GRAIN) for channels in (1, 3)),
    *(
        Case(tile.render, {"channels": channels} | with_grain, {"out": samples})
        for channels in (1, 3)
        for samples in (BYTES, WORDS)
        for with_grain in (NO_GRAIN, {})
    ),
    *(Case(grain.grain, {"bands": 3, "enlarged": flag, "block": BLOCK}) for flag in (False, True)),
    *(Case(tile.fit, FINE | {"channels": channels} | NO_WEIGHTS) for channels in (1, 3)),
    Case(tile.fit, FINE | {"channels": 3} | NO_WEIGHTS, {"target": WORDS}),
    Case(tile.fit, FINE | {"channels": 3}),
    *(Case(tile.fit, FINE | {"channels": channels}, {"target": WORDS}) for channels in (1, 3)),
    *(Case(tile.fit, COARSE | {"channels": channels}) for channels in (1, 3)),
    Case(tile.fit, COARSE | {"channels": 3} | NO_WEIGHTS, {"target": WORDS}),
    *(Case(tile.backward, {"channels": channels}) for channels in (1, 3)),
    Case(residual.residual, {"channels": 1, "cell": 1} | NO_CELL_WEIGHTS),
    *(Case(residual.residual, {"channels": 3, "cell": cell} | NO_CELL_WEIGHTS) for cell in (4, 16)),
    *(Case(residual.residual, {"channels": 3, "cell": cell}, {"target": WORDS}) for cell in (1, 4)),
    Case(ssim.slopes, SSIM),
    *(Case(kernel, SSIM | CLAMPED) for kernel in (ssim.prepare, ssim.gradient)),
    *(Case(kernel, SSIM | {"clamp": False}) for kernel in (ssim.prepare, ssim.gradient)),
    *(Case(kernel, SSIM | CLAMPED, {"target": WORDS}) for kernel in (ssim.prepare, ssim.gradient)),
    Case(adam.collapse, {}),
    *(Case(adam.gradients, {"channels": channels, "block": BLOCK}) for channels in (1, 3)),
    *(Case(adam.update, ONE_TERM | {"channels": 3, "relative": flag, "block": BLOCK}) for flag in (False, True)),
    *(Case(adam.update, {"channels": channels, "relative": True, "block": BLOCK}) for channels in (1, 3)),
    *(Case(features.peaks, FEATURES, {"image": samples}) for samples in (BYTES, WORDS)),
    Case(weighted_sampling.race, FEATURES | {"error_weights": None}),
    Case(weighted_sampling.race, FEATURES, {"image": WORDS}),
    *(Case(median_color.medians, {"channels": channels, "side": side}) for channels, side in ((1, 16), (3, 64))),
    Case(median_color.medians, {"channels": 3, "side": 16}, {"image": WORDS}),
]


def compiled(case: Case, target: str) -> dict[str, Any]:
    backend, architecture = target.split(":")
    gpu = GPUTarget("cuda", int(architecture), 32) if backend == "cuda" else GPUTarget("hip", architecture, 64)
    kernel, constants, types = case.kernel, case.constants, case.signature()
    aligned = {
        (position,): [["tt.divisibility", 16]] for position, kind in enumerate(types.values()) if kind.startswith("*")
    }
    source = ASTSource(fn=kernel, signature=types, constexprs=constants, attrs=aligned)
    warps = 1 if kernel.__name__ in ONE_WARP else 4
    if kernel is median_color.medians:
        warps = median_color.warps_for(constants["side"])
    built = triton.compile(source, target=gpu, options={"num_warps": warps, "enable_fp_fusion": True})
    binary = built.asm["cubin" if backend == "cuda" else "hsaco"]
    row = {
        "kernel": kernel.__name__,
        "target": target,
        **constants,
        **{f"{name} is": kind for name, kind in case.types.items()},
        "bytes": len(binary),
        "warps": warps,
        "shared": built.metadata.shared,
    }
    return row | (resources(binary) if backend == "cuda" else {"registers": None, "stack": None})


def resources(binary: bytes) -> dict[str, int | None]:
    """Registers of a thread and bytes of its local memory."""
    tool = Path(triton.__file__).parent / "backends/nvidia/bin/cuobjdump"
    if not tool.exists():
        return {"registers": None, "stack": None}
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(binary)
        file.flush()
        report = subprocess.run([tool, "-res-usage", file.name], capture_output=True, text=True, check=True).stdout
    usage = {name: int(value) for name, value in re.findall(r"\b(REG|STACK):(\d+)", report)}
    return {"registers": usage["REG"], "stack": usage["STACK"]}


def main() -> None:
    for target in sys.argv[1:] or TARGETS:
        for case in CASES:
            print(json.dumps(compiled(case, target)), flush=True)


if __name__ == "__main__":
    main()
