"""Compile the Triton layers for an H100, on a machine with or without one, and print what they take of it as JSON.

    PYTHONPATH=platform python tests/models/hopper.py float32:lstm:64 mixed:gru:128 ...

The layers are called as in training, forward and back, but for the launch; a name may go on with trials:rows:steps.
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

from seqsweep.models import triton_cells, triton_kernels, triton_wide
from seqsweep.models.kernels import CellKind
from seqsweep.models.triton_cells import GATES, Plan, Precision, run_stack

TOOLS = Path(triton.backends.__file__).parent / "nvidia" / "bin"
made: list[tuple[str, Any, bool]] = []


class Absent:
    """A driver that knows what the card is, and has none."""

    def get_current_target(self) -> Any:
        return GPUTarget("cuda", 90, 32)

    def get_current_device(self) -> int:
        return 0

    def get_current_stream(self, device: int) -> int:
        return 0


def compile_only(plan: Plan, name: str, trials: int, batch: int, *arguments: Any, **options: Any) -> None:
    """Stand in for `Plan.launch`."""
    kernel = getattr(triton_wide, f"{name}_wide") if plan.part else getattr(triton_kernels, name)
    ready = kernel.warmup(*arguments, **plan.options, **options, num_warps=plan.warps, grid=(trials, 1))
    made.append((name, ready, bool(plan.part)))


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


def compiled(precision: Precision, kind: CellKind, hidden: int, trials: int = 2, batch: int = 3, steps: int = 2
             ) -> dict[str, Any]:
    """What the forward and the backward kernel of a layer take."""
    made.clear()
    shapes = ((GATES[kind] * hidden, 4), (GATES[kind] * hidden, hidden), (GATES[kind] * hidden,))
    w_ih, w_hh, b_ih = (torch.zeros(trials, *shape, requires_grad=True) for shape in shapes)
    run_stack(kind, torch.zeros(trials, batch, steps, 4), w_ih, w_hh, b_ih, b_ih, precision).sum().backward()  # type: ignore[no-untyped-call]
    return {name.split("_")[1]: usage(ready.asm["cubin"]) | {"shared": ready.metadata.shared, "wide": wide}
            for name, ready, wide in made}


def main() -> None:
    """Compile what is named."""
    triton.runtime.driver.set_active(Absent())
    Plan.launch = compile_only  # type: ignore[assignment, method-assign]
    triton_cells._products = lambda precision, device: triton_cells._SUMS[precision]
    wanted = (name.split(":") for name in sys.argv[1:])
    taken = {":".join(each): compiled(each[0], each[1], *map(int, each[2:])) for each in wanted}  # type: ignore[arg-type]
    kernels = [kernel for module in (triton_kernels, triton_wide) for kernel in vars(module).values()
               if isinstance(kernel, triton.JITFunction)]
    variants = sum(len(cache[0]) for kernel in kernels for cache in kernel.device_caches.values())
    print(json.dumps({"taken": taken, "variants": variants}))


if __name__ == "__main__":
    main()
