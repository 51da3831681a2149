"""The long form of the chaos tests: faults by the thousand, and what was seen.

    python tests/chaos/campaign.py                     # all of it: an hour and more on 2 cores
    python tests/chaos/campaign.py stub --count 100    # the controller killed at random moments, stub workers
    python tests/chaos/campaign.py points disk         # each commit point x kill, each commit point x disk full
    python tests/chaos/campaign.py training --seed 3   # the controller killed, real training on Ray
    python tests/chaos/campaign.py workers nodes       # workers killed, nodes removed; real training on Ray

What was survived is counted in a file (`--totals`), so that a campaign may be interrupted, or done `--seconds` by
seconds. A failure says the seed of its series, which `--seed` repeats, and the folder it left.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import random
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parents[1] / "platform")]

from nursery import Nursery  # noqa: E402
from series import INTERVAL, POINTS, UNLOOKED_FOR, Stubs, phases, random_kills, struck_points  # noqa: E402
from trainings import Trainings, finish, kill_controllers, kill_workers, remove_nodes  # noqa: E402

COUNTS = {"stub": 1000, "points": 1, "disk": 1, "training": 30, "workers": 200, "nodes": 3}
"""Faults of each series; of `points` and `disk`: times that every point is struck."""
WHAT = {"stub": "controller killed at random moments, stub workers", "points": "controller killed at a commit point",
        "disk": "disk full at a commit point, free again half a second later",
        "training": "controller killed at random moments, training on 2 Ray workers",
        "workers": "Ray worker killed while it trains", "nodes": "Ray node removed while its worker trains"}
Totals = dict[str, dict[str, Any]]


def run(name: str, seed: int, folder: Path, known: dict[str, Any], count: int, seconds: float) -> dict[str, Any]:
    """One series: goes on from what is known until `count` faults, or for so many seconds."""
    draw, until = random.Random(seed), time.monotonic() + seconds
    if name in ("training", "workers", "nodes"):
        trainings = Trainings(folder)

        def more() -> bool:
            return known.get("faults", 0) + trainings.faults < count and time.monotonic() < until

        {"training": kill_controllers, "workers": kill_workers, "nodes": remove_nodes}[name](trainings, draw, more)
        finish(trainings)
        return {"faults": trainings.faults, "sweeps": trainings.sweeps, "repeated_s": trainings.repeated,
                "resumed_s": trainings.resumed}
    with Nursery() as nursery:
        stubs = Stubs(nursery, folder, empty_tracking(folder), disk=name == "disk")
        if name == "stub":
            random_kills(stubs, draw, lambda: known.get("faults", 0) + stubs.faults < count
                         and time.monotonic() < until)
            points: list[str] = []
        else:
            points = strike(stubs, "kill" if name == "points" else "fill", known.get("points", []), count,
                            lambda: time.monotonic() < until)
    nameless = stubs.reached - {*POINTS, *UNLOOKED_FOR}
    assert not nameless, f"commit points without a name: {nameless}"
    return {"faults": stubs.faults, "sweeps": stubs.sweeps, "repeated_epochs": stubs.repeated, "points": points}


def strike(stubs: Stubs, act: str, known: list[str], count: int, more: Callable[[], bool]) -> list[str]:
    """Every commit point in every phase that was not struck `count` times; returns those that were."""
    wanted = [(point, phase) for point in POINTS for phase in phases(point)
              for _ in range(count - known.count(f"{point} {phase}"))]
    struck = struck_points(stubs, act, itertools.takewhile(lambda _: more(), wanted))
    return [f"{point} {phase}" for point, phase in struck]


def empty_tracking(folder: Path) -> Path:
    """An MLflow database with its tables and nothing in them, which takes seconds to make."""
    from seqsweep.tracking.client import connect

    connect(f"sqlite:///{folder}/empty.db")
    return folder / "empty.db"


def merge(known: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Counts and lists add up, of worst cases the worst stays."""
    both = dict(known)
    for key, value in new.items():
        if key.startswith("repeated"):
            both[key] = max(both.get(key, 0), value)
        else:
            both[key] = both[key] + value if key in both else value
    return both


def is_done(name: str, known: dict[str, Any], count: int) -> bool:
    """Whether a series has survived what it was to survive."""
    if name in ("points", "disk"):
        return all(known.get("points", []).count(f"{point} {phase}") >= count
                   for point in POINTS for phase in phases(point))
    return bool(known.get("faults", 0) >= count)


def page(totals: Totals) -> str:
    """The totals as Markdown."""
    lines = [f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}; "
             "`python tests/chaos/campaign.py`", "",
             "After every fault the trials that had ended were what they had been. At the end of every sweep there "
             "were exactly `max_trials`, each with one run in MLflow, none of them running, and one version of the "
             "model; `seqsweep doctor` found nothing. Sweeps with real training ended with the trials, to the bit, "
             "of a run that nothing disturbed.", "",
             "| fault | faults | sweeps | lost trials | duplicates | most work done twice | resume to first epoch |",
             "| --- | ---: | ---: | ---: | ---: | ---: | ---: |"]
    for name, total in totals.items():
        twice = (f"{total['repeated_s']:.1f} s of a 1 s interval" if "repeated_s" in total else
                 f"{total['repeated_epochs']} of an interval's {INTERVAL} epochs")
        resumed = sorted(total.get("resumed_s", []))
        took = f"median {resumed[len(resumed) // 2]:.1f} s, most {resumed[-1]:.1f} s" if resumed else ""
        lines.append(f"| {WHAT[name]} | {total['faults']} | {total['sweeps']} | 0 | 0 | {twice} | {took} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run what is asked for; 0 once all of it is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("series", nargs="*", choices=[[], *COUNTS], default=[], help="default: all")
    parser.add_argument("--count", type=int, help="faults; of points and disk: times each point is struck")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="then end the sweep under way, and stop")
    parser.add_argument("--seed", type=int, help="of a series that failed")
    parser.add_argument("--totals", type=Path, help="a file that counts what was survived, and is gone on from")
    parser.add_argument("--write", type=Path, help="a Markdown file for the table")
    chosen = parser.parse_args()
    totals: Totals = json.loads(chosen.totals.read_text()) if chosen.totals and chosen.totals.exists() else {}
    done = True
    for name in chosen.series or COUNTS:
        count = chosen.count or COUNTS[name]
        if is_done(name, totals.get(name, {}), count):
            continue
        seed = random.SystemRandom().randrange(2**32) if chosen.seed is None else chosen.seed
        folder = Path(tempfile.mkdtemp(prefix=f"seqsweep-chaos-{name}-"))
        print(f"{name}, seed {seed}, in {folder}", flush=True)
        new = run(name, seed, folder, totals.get(name, {}), count, chosen.seconds)
        totals[name] = merge(totals.get(name, {}), new)
        print({key: value for key, value in totals[name].items() if key != "points"}, flush=True)
        if chosen.totals:
            chosen.totals.write_text(json.dumps(totals))
        done = done and is_done(name, totals[name], count)
    text = page(totals)
    print(text)
    if chosen.write and done:
        chosen.write.write_text(text, encoding="utf-8")
    return 0 if done else 75


if __name__ == "__main__":
    sys.exit(main())
