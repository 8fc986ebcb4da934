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
from pathlib import Path
from typing import Any

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from smartsplat.encoder.gpu import features, median_color, weighted_sampling
from smartsplat.render.gpu import adam, bin, project, residual, ssim, tile
from smartsplat.render.gpu.constants import BLOCK

TARGETS = ("cuda:80", "cuda:90", "hip:gfx942")
POINTERS = {  # by the name of an argument
    **dict.fromkeys(("first_rows", "owners", "tiles", "span_owners", "span_tiles", "arrivals", "arrived"), "*i32"),
    **dict.fromkeys(("slots", "gaussians", "age", "widths", "tile_counts"), "*i32"),
    **dict.fromkeys(("heights", "offsets", "chunk_offsets", "starts", "keys", "entries"), "*i64"),
    **dict.fromkeys(("view", "settings", "rate_sums"), "*fp64"),
    **dict.fromkeys(("target", "image", "code_values"), "*u8"),
}
FLOATS = ("l1", "l2", "ssim", "gradient_fraction")
NUMBERS = (
    *("count", "width", "height", "total", "columns", "first_tile", "first_row", "end_row", "rows", "pitch"),
    *("row_stride", "column_stride", "channel_stride", "cell_rows", "cell_columns", "groups", "begin", "end"),
    *("blocks", "max_places", "spans", "smaller_side"),
)
ONE_WARP = {"render", "fit", "backward", "residual", "collapse"}
ARRAYS = {"collapse": {"owners": "*i64"}}  # of another type elsewhere

SPANS, INTERSECTIONS = bin.SPANS_PER_ROUND, bin.INTERSECTIONS_PER_ROUND
SSIM, FEATURES = (ssim.prepare, ssim.slopes, ssim.gradient), (features.peaks, weighted_sampling.race)
CASES: list[tuple[Any, dict[str, Any]]] = [
    *((project.project, {"channels": channels, "block": BLOCK}) for channels in (1, 3)),
    (bin.span, {"block": BLOCK // SPANS, "spans_per_round": SPANS}),
    (bin.intersect, {"block": BLOCK // INTERSECTIONS, "intersections_per_round": INTERSECTIONS}),
    (bin.scatter, {"block": BLOCK}),
    (bin.order, {"tiles": bin.TILES_PER_PROGRAM, "block": bin.ENTRIES_PER_ROUND}),
    *((tile.render, {"channels": channels, "as_bytes": flag}) for channels in (1, 3) for flag in (False, True)),
    *((tile.fit, {"channels": channels}) for channels in (1, 3)),
    *((tile.backward, {"channels": channels}) for channels in (1, 3)),
    *((residual.residual, {"channels": channels, "cell": cell}) for channels, cell in ((1, 1), (3, 4), (3, 16))),
    *((kernel, {"channels": 3, "block": ssim.COLUMNS_PER_PROGRAM}) for kernel in SSIM),
    (adam.collapse, {}),
    *((adam.gradients, {"channels": channels, "block": BLOCK}) for channels in (1, 3)),
    *((adam.update, {"channels": 3, "relative": flag, "block": BLOCK}) for flag in (False, True)),
    (adam.update, {"channels": 1, "relative": True, "block": BLOCK}),
    *((kernel, {"channels": 3, "window": 5, "block": weighted_sampling.PIXELS_PER_PROGRAM}) for kernel in FEATURES),
    *((median_color.medians, {"channels": channels, "side": side}) for channels, side in ((1, 16), (3, 64))),
]


def signature(kernel: Any, constants: dict[str, Any]) -> dict[str, str]:
    """Type of each argument."""
    own = ARRAYS.get(kernel.__name__, {})

    def kind(name: str) -> str:
        if name in constants:
            return "constexpr"
        if name in own:
            return own[name]
        if name in NUMBERS:
            return "i32"
        if name in FLOATS:
            return "fp32"
        if name == "out" and constants.get("as_bytes"):
            return "*u8"
        return POINTERS.get(name, "*fp32")

    return {name: kind(name) for name in kernel.arg_names}


def compiled(kernel: Any, constants: dict[str, Any], target: str) -> dict[str, Any]:
    backend, architecture = target.split(":")
    gpu = GPUTarget("cuda", int(architecture), 32) if backend == "cuda" else GPUTarget("hip", architecture, 64)
    types = signature(kernel, constants)
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
        for kernel, constants in CASES:
            print(json.dumps(compiled(kernel, constants, target)), flush=True)


if __name__ == "__main__":
    main()
