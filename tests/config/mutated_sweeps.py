"""Run as a program: so many damaged sweeps through the loader, within 512 MiB of address space.

    python mutated_sweeps.py FIRST COUNT

Prints what `mutations.judge` says of them.
"""

from __future__ import annotations

import json
import random
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

from config_corpus import VALID  # noqa: E402
from mutations import Wrong, damaged, judge, restructured, retokened  # noqa: E402

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


def judged(number: int, folder: Path) -> None:
    sweep = case(number, folder)
    again = Sweep.model_validate_json(json.dumps(sweep.model_dump(mode="json", by_alias=True)))
    if again != sweep:
        raise Wrong("what is stored of it reads back as another sweep")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        judge(lambda number: judged(number, Path(folder)), InvalidSweep, memory=LIMIT, longest=LONGEST)
