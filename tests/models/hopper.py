"""Compile the Triton kernels for an H100, on a machine with or without one, and print what they take of it as JSON.

    PYTHONPATH=platform python tests/models/hopper.py float32:lstm:64 mixed:gru:128 ...
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from seqsweep.models import triton_cells, triton_kernels, triton_wide
from seqsweep.models.kernels import CellKind
from seqsweep.models.triton_cells import Plan, Precision

TARGET = GPUTarget("cuda", 90, 32)
TOOLS = Path(triton.backends.__file__).parent / "nvidia" / "bin"


def source(kernel: Any, options: dict[str, Any], hidden: int) -> ASTSource:
    """A kernel with the arguments that `triton_cells` gives it, pointers and H as they are aligned there."""
    signature, aligned = {}, {}
    for place, name in enumerate(kernel.arg_names):
        if name in options:
            signature[name] = "constexpr"
        elif name in ("T", "B", "H"):
            signature[name] = "i32"
            if name == "H" and hidden % 16 == 0:
                aligned[(place,)] = [["tt.divisibility", 16]]
        else:
            narrow = options["SUM"] == "bf16" and not name.startswith(("cell", "sum", "b_"))
            signature[name] = "*bf16" if narrow else "*fp32"
            aligned[(place,)] = [["tt.divisibility", 16]]
    return ASTSource(kernel, signature, {name: options[name] for name in kernel.arg_names if name in options}, aligned)


def usage(cubin: bytes) -> dict[str, int]:
    """Registers of a thread, and bytes of its stack: what does not fit into them."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(TOOLS / "cuobjdump"), "-res-usage", file.name]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", said)
    assert found, said
    return {"registers": int(found[1]), "stack": int(found[2])}


def compiled(precision: Precision, kind: CellKind, hidden: int, trials: int = 32, batch: int = 64) -> dict[str, Any]:
    """What the forward and the backward kernel of a layer take."""
    triton_cells._SUMS["mixed"] = "bf16"
    plan = Plan.of(kind, trials, batch, hidden, precision, torch.device("cpu"))
    options = plan.options | {"SUM": triton_cells._SUMS[precision], "SAVE": True, "RELU": kind == "elman_relu"}
    taken: dict[str, Any] = {}
    for way in ("forward", "backward"):
        name = f"{kind.split('_')[0]}_{way}"
        kernel = getattr(triton_wide, f"{name}_wide") if plan.part else getattr(triton_kernels, name)
        made = triton.compile(source(kernel, options, hidden), target=TARGET, options={"num_warps": plan.warps})
        taken[way] = usage(made.asm["cubin"]) | {"shared": made.metadata.shared, "wide": bool(plan.part)}
    return taken


def main() -> None:
    """Compile what is named."""
    wanted = (name.split(":") for name in sys.argv[1:])
    print(json.dumps({":".join(each): compiled(each[0], each[1], *map(int, each[2:])) for each in wanted}))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
