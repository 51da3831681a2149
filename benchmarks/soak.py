"""What a long sweep leaks: memory by the trial and by the hour, then file handles, shared memory and processes by kill.

    python benchmarks/soak.py                              # 45 minutes, then 50 kills: an hour and a half on 2 cores
    python benchmarks/soak.py --minutes 5 --kills 5        # a first look
    python benchmarks/soak.py --write benchmarks/results/soak.md

One sweep through `seqsweep submit`, with TPE, asha, MLflow and two Ray workers that train. A worker is killed each
minute; the controller never. For a third of the time the workers are frozen: time then goes by without a trial, which
tells what memory grows by time alone from what grows by finished trials. Then the controller is killed again and again
at random moments, and goes on each time; what its processes left behind is looked for.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import random
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import psutil
from workload import Workload

SEQSWEEP = str(Path(sys.executable).with_name("seqsweep"))
SHARED = Path("/dev/shm")
WORK = Workload(hidden=16, epochs=27, windows=2560, context=24, horizon=6, val_windows=4, val_stride=6)
CYCLE, FROZEN = 90.0, 30.0
"""Seconds between two times that the workers are frozen, and of that time."""
EVERY = 2.0
"""Seconds between two looks at the controller."""
AGENTS_LIVE = 100.0
"""Seconds after which the last of Ray's processes must be gone: its agents look for a dead parent for a minute."""
Row = tuple[str, str, str]
"""What was measured, the figure, the target."""


@dataclass
class Look:
    """The controller at one moment."""

    seconds: float
    trials: int
    """Finished."""
    memory: float
    """KiB of its own, without what it shares with the workers."""
    handles: int
    threads: int


@dataclass
class Soak:
    """One sweep in one folder, and every process that its controllers started."""

    folder: Path
    family: dict[int, psutil.Process] = field(default_factory=dict)

    def __post_init__(self) -> None:
        WORK.write_series(self.folder / "series.csv")
        document = WORK.sweep(early_terminate="asha").replace("max_trials: 40", "max_trials: 200000")
        (self.folder / "sweep.yaml").write_text(document + "retries: 100\n", encoding="utf-8")

    @contextlib.contextmanager
    def controller(self) -> Iterator[psutil.Process]:
        """`seqsweep submit`; killed at the end."""
        environment = os.environ | {"SEQSWEEP_STORE": f"sqlite:///{self.folder}/seqsweep.db", "OMP_NUM_THREADS": "1",
                                    "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder}/mlflow.db"}
        environment.pop("RAY_ADDRESS", None)
        with (self.folder / "log").open("a") as log:
            process = psutil.Popen([SEQSWEEP, "submit", "sweep.yaml"], cwd=self.folder, env=environment,
                                   stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        try:
            yield process
        finally:
            self.remember(process)
            process.kill()
            process.wait()

    def remember(self, controller: psutil.Process) -> None:
        """Which processes it has, to see later whether they are gone."""
        with contextlib.suppress(psutil.NoSuchProcess):
            self.family |= {child.pid: child for child in controller.children(recursive=True)}

    def left(self) -> list[psutil.Process]:
        """Those that still run."""
        return [one for one in self.family.values() if _runs(one)]

    def workers(self, controller: psutil.Process) -> list[psutil.Process]:
        """Its Ray workers."""
        self.remember(controller)
        return [one for one in self.family.values() if _runs(one) and _name(one).startswith("ray::Worker")]

    def count(self) -> int:
        """Trials that have ended."""
        with (contextlib.suppress(sqlite3.Error),
              closing(sqlite3.connect(f"file:{self.folder}/seqsweep.db?mode=ro", uri=True, timeout=20)) as store):
            return int(store.execute("SELECT count(*) FROM seqsweep_trials WHERE state != 'running'").fetchone()[0])
        return 0


def run_long(soak: Soak, minutes: float, draw: random.Random) -> tuple[list[Look], int]:
    """A worker killed each minute, all frozen now and then: looks at the controller, and how many were killed."""
    looks, killed, frozen = list[Look](), 0, False
    with soak.controller() as controller:
        while not soak.count():
            time.sleep(0.5)
            if controller.poll() is not None:
                raise SystemExit((soak.folder / "log").read_text())
        began = time.monotonic()
        while (now := time.monotonic() - began) < 60 * minutes:
            workers = soak.workers(controller)
            if frozen != (now % CYCLE > CYCLE - FROZEN):
                frozen = not frozen
                for worker in workers:
                    worker.send_signal(signal.SIGSTOP if frozen else signal.SIGCONT)
            if not frozen and now > 60 * (killed + 1) and workers:
                draw.choice(workers).kill()
                killed += 1
            looks.append(Look(now, soak.count(), controller.memory_full_info().uss / 1024, controller.num_fds(),
                              controller.num_threads()))
            time.sleep(EVERY)
    return looks, killed


def run_kills(soak: Soak, kills: int, draw: random.Random) -> tuple[list[int], list[float]]:
    """The controller killed at random moments, and after every other kill when it has finished trials again.

    Returns the file handles of those just before, and the seconds that they took to finish a trial.
    """
    handles, resumed = [], []
    for number in range(kills):
        with soak.controller() as controller:
            began, known, until = time.monotonic(), soak.count(), draw.uniform(0.5, 12.0)
            while (now := time.monotonic() - began) < until or (number % 2 and len(resumed) <= number // 2):
                soak.remember(controller)
                if controller.poll() is not None or now > 300:
                    raise SystemExit((soak.folder / "log").read_text())
                if number % 2 and len(resumed) <= number // 2 and soak.count() > known:
                    resumed.append(now)
                time.sleep(0.1)
            if number % 2:
                handles.append(controller.num_fds())
        print(f"\r{number + 1} kills", end="", file=sys.stderr, flush=True)
    return handles, resumed


def fit(looks: list[Look]) -> tuple[float, float, float, float]:
    """Memory as a + b x finished trials + c x hours, after the first fifth: b, its error, c, its error.

    Errors are of ten blocks of time left out in turn (jackknife): neighbouring looks are not independent.
    """
    used = looks[len(looks) // 5:]
    x = np.array([[1.0, look.trials, look.seconds / 3600] for look in used])
    y = np.array([look.memory for look in used])
    whole = np.linalg.lstsq(x, y, rcond=None)[0]
    blocks = np.array_split(np.arange(len(used)), 10)
    parts = np.array([np.linalg.lstsq(np.delete(x, block, 0), np.delete(y, block), rcond=None)[0] for block in blocks])
    errors = np.sqrt(9 / 10 * ((parts - parts.mean(0)) ** 2).sum(0))
    return float(whole[1]), float(errors[1]), float(whole[2]), float(errors[2])


def measure(folder: Path, minutes: float, kills: int, seed: int) -> list[Row]:
    """Both parts."""
    draw, soak, shared = random.Random(seed), Soak(folder), _shared()
    rows: list[Row] = []
    if minutes:
        looks, killed = run_long(soak, minutes, draw)
        each, each_error, hour, hour_error = fit(looks)
        tenth = max(1, len(looks) // 10)
        rows += [
            (f"minutes, workers killed, trials finished since the first look ({FROZEN / CYCLE:.0%} of the time frozen)",
             f"{minutes:g}, {killed}, {looks[-1].trials - looks[0].trials}", ""),
            ("controller's memory by finished trial", f"{each:.2f} ± {each_error:.2f} KiB", "at most 20 KiB"),
            ("controller's memory by time alone", f"{hour / 1024:.2f} ± {hour_error / 1024:.2f} MiB an hour", "none"),
            ("its memory at the first and the last look",
             f"{looks[0].memory / 1024:.0f} and {looks[-1].memory / 1024:.0f} MiB", ""),
            ("its file handles, most in the first and in the last tenth of the time",
             f"{max(look.handles for look in looks[:tenth])} and {max(look.handles for look in looks[-tenth:])}",
             "equal"),
            ("its threads, likewise", f"{max(look.threads for look in looks[:tenth])} and "
                                      f"{max(look.threads for look in looks[-tenth:])}", "equal")]
    if kills:
        before = soak.count()
        handles, resumed = run_kills(soak, kills, draw)
        half = max(1, len(handles) // 2)
        deadline = time.monotonic() + AGENTS_LIVE
        while soak.left() and time.monotonic() < deadline:
            time.sleep(1.0)
        left = sorted(_name(one) for one in soak.left())
        rows += [
            ("controllers killed; trials finished meanwhile", f"{kills}; {soak.count() - before}", ""),
            (f"from a start with {before} trials to the next finished one, median and most",
             f"{np.median(resumed):.1f} s and {max(resumed):.1f} s" if resumed else "", ""),
            ("their file handles, median of the first and of the second half of the kills",
             f"{np.median(handles[:half]):g} and {np.median(handles[half:]):g}" if handles else "", "equal"),
            (f"of {len(soak.family)} processes, left {AGENTS_LIVE:.0f} s after the last kill",
             ", ".join(left) or "0", "0"),
            ("entries left in /dev/shm", ", ".join(sorted(_shared() - shared)) or "0", "0")]
    return rows


def page(rows: list[Row]) -> str:
    """A Markdown table."""
    lines = [f"{platform.machine()}, {os.cpu_count()} CPUs, Python {platform.python_version()}; "
             "`python benchmarks/soak.py`", "", "| | measured | target |", "| --- | ---: | --- |"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)]) + "\n"


def _shared() -> set[str]:
    """What lies in shared memory, but for the segments of a PostgreSQL beside, which this sweep does not use."""
    found = SHARED.iterdir() if SHARED.is_dir() else ()
    return {path.name for path in found if not path.name.startswith("PostgreSQL.")}


def _runs(process: psutil.Process) -> bool:
    with contextlib.suppress(psutil.NoSuchProcess):
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    return False


def _name(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.NoSuchProcess):
        return str(process.name())
    return ""


def main() -> None:
    """Run what is asked for and show the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--write", type=Path, help="a Markdown file for the table")
    chosen = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="seqsweep-soak-"))
    rows = measure(folder, chosen.minutes, chosen.kills, chosen.seed)
    shutil.rmtree(folder)
    print(page(rows))
    if chosen.write:
        chosen.write.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
