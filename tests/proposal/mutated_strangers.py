"""Run as a program: so many damaged files of strangers, for each a proposal that prepares, or a refusal.

    python mutated_strangers.py FIRST COUNT

Prints JSON: how many were proposed for and refused, the slowest, and every case that was neither, with its number.
"""

from __future__ import annotations

import gzip
import json
import random
import resource
import sys
import tempfile
import time
import traceback
import warnings
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "data")]

from mutated_data import LIMIT, LONGEST, WORDS, packed_again  # noqa: E402
from mutations import damaged  # noqa: E402
from strangers import FILES  # noqa: E402

from seqsweep.errors import InvalidData  # noqa: E402
from seqsweep.proposal.propose import propose  # noqa: E402


def damage(file: Path, content: bytes, chance: random.Random) -> bytes:
    """The file after small accidents; an archive is whole around them as often as not."""
    if file.suffix == ".gz" and chance.random() < 0.8:
        return gzip.compress(damaged(gzip.decompress(content), chance, WORDS), 1)
    if file.suffix == ".npz" and chance.random() < 0.8:
        return packed_again(content, chance)
    return damaged(content, chance, WORDS)


def main() -> None:
    first, count = int(sys.argv[1]), int(sys.argv[2])
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT))
    counts = {"proposed": 0, "refused": 0, "wrong": 0}
    cases: list[tuple[int, str]] = []
    slowest = (0.0, -1)
    with tempfile.TemporaryDirectory() as name:
        files = [maker(Path(name)) for maker, _ in FILES.values()]
        whole = {file: file.read_bytes() for file in files}
        for number in range(first, first + count):
            chance, file = random.Random(number), files[number % len(files)]
            file.write_bytes(damage(file, whole[file], chance))
            began = time.process_time()
            try:
                propose(str(file), chance.choice(("", "", "", "forecasting", "classification")))
                found, why = "proposed", ""
            except InvalidData as error:
                told = error.problems and all(problem.what and len(str(problem)) < 5000 for problem in error.problems)
                found, why = ("refused", "") if told else ("wrong", f"told at length or not at all: {str(error)[:300]}")
            except BaseException:
                found, why = "wrong", traceback.format_exc()[-900:]
            seconds = time.process_time() - began
            slowest = max(slowest, (seconds, number))
            if seconds > LONGEST:
                found, why = "wrong", f"it took {seconds:.1f} s"
            counts[found] += 1
            if found == "wrong":
                cases.append((number, f"{file.name} {why}"))
            file.write_bytes(whole[file])
    print(json.dumps({**counts, "slowest": slowest, "cases": cases[:20]}))


if __name__ == "__main__":
    main()
