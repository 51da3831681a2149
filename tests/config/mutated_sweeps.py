"""Run as a program: so many damaged sweeps through the loader, within 512 MiB of address space.

    python mutated_sweeps.py FIRST COUNT

Prints JSON: how many were taken and refused, the slowest in seconds of the processor, and every case that was neither
taken nor refused as it should be, with the number that makes it again.
"""

from __future__ import annotations

import json
import random
import resource
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from config_corpus import VALID  # noqa: E402
from mutations import damaged, restructured, retokened  # noqa: E402

from seqsweep.config.document import read_text  # noqa: E402
from seqsweep.config.loader import load_sweep, parse_sweep  # noqa: E402
from seqsweep.config.problems import Problems  # noqa: E402
from seqsweep.config.sweep import Sweep  # noqa: E402
from seqsweep.errors import InvalidSweep  # noqa: E402


def tree_of(text: str) -> Any:
    """As dicts and lists, every number a number."""
    root = read_text(text, "sweep.yaml", Problems())
    assert root is not None
    return json.loads(json.dumps(root.plain()))


LIMIT = 512 << 20
"""Bytes of address space, Python and its libraries included."""
LONGEST = 1.0
"""Seconds of the processor for one sweep."""
SHIPPED = {path.stem: path.read_text(encoding="utf-8")
           for path in sorted((Path(__file__).parents[2] / "pipelines").glob("*.yaml"))}
TEXTS = list((VALID | SHIPPED).values())
TREES = [tree_of(text) for text in TEXTS]


def case(number: int, folder: Path) -> Sweep:
    """Load the damaged sweep of this number, by file, by text or as a dict."""
    chance = random.Random(number)
    which, kind = chance.randrange(len(TEXTS)), number % 4
    if kind == 0:
        path = folder / "sweep.yaml"
        path.write_bytes(damaged(TEXTS[which].encode(), chance))
        return load_sweep(path)
    if kind == 1:
        return parse_sweep(retokened(TEXTS[which], chance), "sweep.yaml")
    tree = restructured(TREES[which], chance)
    if kind == 2:
        return load_sweep(tree)
    return parse_sweep(json.dumps(tree, ensure_ascii=False), "sweep.yaml")


def verdict(number: int, folder: Path) -> tuple[str, str]:
    """`taken`, `refused`, or `wrong` with the reason."""
    try:
        sweep = case(number, folder)
        again = Sweep.model_validate_json(json.dumps(sweep.model_dump(mode="json", by_alias=True)))
    except InvalidSweep as error:
        empty = not error.problems or not all(problem.what for problem in error.problems)
        return ("wrong", "no problem is named") if empty or len(str(error)) > 300_000 else ("refused", "")
    except BaseException:
        return "wrong", traceback.format_exc()[-1500:]
    return ("taken", "") if again == sweep else ("wrong", "what is stored of it reads back as another sweep")


def main() -> None:
    first, count = int(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    counts = {"taken": 0, "refused": 0, "wrong": 0}
    wrong: list[tuple[int, str]] = []
    slowest = (0.0, -1)
    with tempfile.TemporaryDirectory() as folder:
        for number in range(first, first + count):
            began = time.process_time()
            found, why = verdict(number, Path(folder))
            seconds = time.process_time() - began
            slowest = max(slowest, (seconds, number))
            if seconds > LONGEST:
                found, why = "wrong", f"it took {seconds:.1f} s"
            counts[found] += 1
            if found == "wrong":
                wrong.append((number, why))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({**counts, "slowest": slowest, "peak_mib": peak, "cases": wrong[:20]}))


if __name__ == "__main__":
    main()
