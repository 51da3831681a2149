"""Run as a program: so many damaged files of strangers, for each a proposal that prepares, or a refusal.

    python mutated_strangers.py FIRST COUNT

Prints what `mutations.judge` says of them.
"""

from __future__ import annotations

import gzip
import random
import sys
import tempfile
import warnings
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "data")]

from mutated_data import LIMIT, LONGEST, WORDS, packed_again  # noqa: E402
from mutations import damaged, judge  # noqa: E402
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


def propose_for_damaged(number: int, whole: dict[Path, bytes]) -> None:
    chance, file = random.Random(number), list(whole)[number % len(whole)]
    file.write_bytes(damage(file, whole[file], chance))
    try:
        propose(str(file), chance.choice(("", "", "", "forecasting", "classification")))
    finally:
        file.write_bytes(whole[file])


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    with tempfile.TemporaryDirectory() as name:
        originals = {file: file.read_bytes() for file in (maker(Path(name)) for maker, _ in FILES.values())}
        judge(lambda number: propose_for_damaged(number, originals), InvalidData, memory=LIMIT, longest=LONGEST)
