"""What a sweep costs as it grows: 5,000 trials, and 16 workers on few cores.

    python benchmarks/scale.py                # ten minutes on 2 cores
    python benchmarks/scale.py busy --quick   # one of the two, smaller; writes no page

trials: one sweep through the real controller, store, TPE, asha and MLflow (SQLite). Only the workers are stubs that
answer at once, without Ray and without training; every 100 trials they wait until MLflow has all of them, so that the
processor time of a hundred trials is theirs alone. busy: the real controller and Ray actors that sleep in the place of
training. Writes results/scale_<part>.md.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import json
import math
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import rounds

from seqsweep.cluster import pool as pools
from seqsweep.cluster.messages import Advance, Advanced, Event, Probe
from seqsweep.config.sweep import Sweep
from seqsweep.records import Reason, Report
from seqsweep.store.records import Lease, Store
from seqsweep.sweep import Progress, Search

Row = tuple[str, str, str]
"""What was measured, the figure, the target."""
SEQSWEEP = str(Path(sys.executable).with_name("seqsweep"))
STEP = 100
"""Trials between two looks at the clock."""


def sweep_of(max_trials: int, epochs: int, **keys: Any) -> Sweep:
    """A sweep of five continuous dimensions and three cells, pruned by asha."""
    return Sweep.model_validate_json(json.dumps({
        "name": "scale", "task": {"type": "forecasting", "target": "y", "horizon": 1, "context": 4},
        "data": {"path": "toy.csv"}, "metric": {"name": "mae", "goal": "minimize"}, "method": "tpe", "seed": 1,
        "parameters": {"cell": {"values": ["elman", "gru", "lstm"]},
                       "learning_rate": {"min": 1e-5, "max": 1e-1, "log": True},
                       "hidden_size": {"min": 8, "max": 512, "log": True}, "dropout": {"min": 0.0, "max": 0.9},
                       "weight_decay": {"min": 1e-6, "max": 1e-2, "log": True}, "epochs": {"value": epochs}},
        "early_terminate": {"type": "asha", "min_epochs": 1, "eta": 3}, "budget": {"max_trials": max_trials},
        "resources": {"kernel": "torch"} | keys}))  # which knows no packs: stubs have nothing to be probed


def answer(work: Advance, name: str, seconds: float = 0.0, **more: float) -> Advanced:
    """What a worker would say after the epochs asked for; the loss falls towards a value that the parameters decide."""
    training, model = work.config.training, work.config.model
    floor = ((math.log10(training.learning_rate) + 3) ** 2 + (model.dropout - 0.3) ** 2
             + (math.log2(model.hidden_size) - 6) ** 2 / 4)
    reports = tuple(Report(epoch, {
        "train_loss": floor, "val_loss": floor, "val_mae": floor + math.exp(-epoch), "grad_norm": 1.0,
        "learning_rate": training.learning_rate, "seconds": seconds, **more,
    }) for epoch in range(work.from_epoch + 1, work.to_epoch + 1))
    done = Reason.FINISHED if work.to_epoch >= training.epochs else None
    return Advanced(work.trial, work.attempt, work.to_epoch, reports, done, best=bytes(20_000), num_weights=5_000,
                    worker=name, last=bytes(60_000) if work.want_checkpoint else None)


class InstantPool:
    """Two workers that have always just finished, and that wait for MLflow at every so many trials."""

    size = 2

    def __init__(self) -> None:
        self._work: dict[int, tuple[Advance | Probe, ...]] = {}

    def idle(self) -> list[int]:
        """Those without work."""
        return [worker for worker in range(self.size) if worker not in self._work]

    def submit(self, worker: int, *work: Advance | Probe) -> None:
        """Keep it until `wait`."""
        self._work[worker] = work

    def wait(self, timeout: float) -> list[Event]:
        """Every piece of work is done."""
        events = [Event(worker, answer(each, f"stub {worker}")) for worker, work in self._work.items()
                  for each in work if isinstance(each, Advance)]
        self._work.clear()
        return events

    def kill(self, worker: int) -> None:
        """Forget its work."""
        self._work.pop(worker, None)

    def close(self) -> None:
        """Nothing to let go of."""


def run_trials(folder: Path, count: int) -> list[Row]:
    """One sweep of `count` trials in this process."""
    from mlflow import MlflowClient

    from seqsweep.tracking.projector import Projector

    url, uri = f"sqlite:///{folder}/seqsweep.db", f"sqlite:///{folder}/mlflow.db"
    sweep = sweep_of(count, epochs=9)
    process = psutil.Process()
    marks: list[tuple[int, float, int]] = []
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(url))
        lease = stack.enter_context(enter(store, sweep))
        projector = Projector(url, sweep.name, uri, every=0.2)
        projector.start()

        def observe(progress: Progress) -> None:
            ended = sum(number for state, number in progress.trials.items() if state != "running")
            if ended // STEP > len(marks):
                until_projected(projector)
                used = [each.cpu_times() for each in (process, *process.children())]  # it, and who writes to MLflow
                marks.append((ended, sum(each.user + each.system for each in used), process.memory_info().rss))
                print(f"\r{ended} trials, {marks[-1][1]:.0f} CPU s", end="", file=sys.stderr, flush=True)

        Search(sweep, store, lease, InstantPool(), observe).run()
        if not projector.finish(600.0):
            raise SystemExit(f"MLflow: {projector.problem}")
    print(file=sys.stderr)
    costs = [1e3 * (later[1] - earlier[1]) / (later[0] - earlier[0])
             for earlier, later in itertools.pairwise(marks)]  # the first hundred also imports MLflow
    memory = (marks[-1][2] - marks[1][2]) / (marks[-1][0] - marks[1][0]) / 1024
    client = MlflowClient(uri)
    found = client.search_runs([str(client.get_experiment_by_name(sweep.name).experiment_id)], max_results=50_000)
    first, last = statistics.median(costs[:3]), statistics.median(costs[-3:])
    seconds = leaderboard_seconds(folder, sweep.name)
    return [(f"one sweep of {count:,}: trials in MLflow", f"{len(found) - 1:,}", "all"),
            (f"processor time a trial at {count:,} / at {2 * STEP} trials: {last:.1f} / {first:.1f} ms",
             f"{last / first:.2f}", "at most 1.6"),
            (f"controller's memory a trial, of {count:,}", f"{memory:.1f} KiB", "at most 20 KiB"),
            (f"`seqsweep leaderboard` of {count:,} trials", f"{seconds:.2f} s", "under 2 s")]


def until_projected(projector: Any) -> None:
    """Wait until MLflow holds what the store does now."""
    began = time.monotonic()
    while projector.lag > time.monotonic() - began:
        time.sleep(0.02)


def leaderboard_seconds(folder: Path, name: str) -> float:
    """The verb in a process of its own, imports included; the median of five."""
    environment = os.environ | {"SEQSWEEP_STORE": f"sqlite:///{folder}/seqsweep.db"}
    took = []
    for _ in range(5):
        began = time.perf_counter()
        subprocess.run([SEQSWEEP, "leaderboard", name], check=True, env=environment,
                       stdout=subprocess.DEVNULL)
        took.append(time.perf_counter() - began)
    return statistics.median(took)


class Sleeper:
    """A Ray actor in the place of a worker: an epoch is half a second of sleep, give or take."""

    def __init__(self, *_: Any) -> None:
        self.name = f"sleeper {os.getpid()}"

    def ready(self, kernel: str) -> tuple[str, str]:
        """Its name, and no reason to refuse any kernel."""
        return self.name, ""

    def do(self, work: tuple[Advance | Probe, ...], pulse: float) -> tuple[Advanced, ...]:
        """Sleep for each in turn."""
        return tuple(self.advance(each) for each in work if isinstance(each, Advance))

    def advance(self, work: Advance) -> Advanced:
        """Sleep through the epochs asked for; each report tells when they began and ended."""
        began = time.time()
        drawn = random.Random(f"{work.trial}/{work.from_epoch}")
        time.sleep(sum(drawn.uniform(0.25, 0.75) for _ in range(work.from_epoch, work.to_epoch)))
        return answer(work, self.name, 0.5, began=began, ended=time.time())


def run_busy(folder: Path, places: int, count: int) -> list[Row]:
    """Share of the time in which the workers sleep, from when all are up until the first has no more to do."""
    from seqsweep.tracking.projector import Projector

    url, sweep = f"sqlite:///{folder}/seqsweep.db", sweep_of(count, epochs=9, workers=places)
    pools.Worker = Sleeper  # type: ignore[misc,assignment,attr-defined]
    with ExitStack() as stack:
        store = stack.enter_context(Store.open(url))
        lease = stack.enter_context(enter(store, sweep))
        stack.enter_context(pools.ray_session("local", sweep.resources))
        projector = Projector(url, sweep.name, f"sqlite:///{folder}/mlflow.db")
        projector.start()
        pool = pools.open_pool((), sweep.resources, most=count)
        Search(sweep, store, lease, pool).run()
        pool.close()
        projector.finish(120.0)
        spans: dict[str, set[tuple[float, float]]] = {}
        for record in store.trials(sweep.name):
            spans.setdefault(record.worker, set()).update(
                (report.metrics["began"], report.metrics["ended"]) for report in record.reports)
    begin, end = (max(min(each)[0] for each in spans.values()), min(max(each)[1] for each in spans.values()))
    slept = sum(max(0.0, min(ended, end) - max(began, begin)) for each in spans.values() for began, ended in each)
    share = 100 * slept / (len(spans) * (end - begin))
    return [(f"{len(spans)} workers busy, of {end - begin:.0f} s", f"{share:.1f} %",
             "at least 95 %")]


def enter(store: Store, sweep: Sweep) -> Lease:
    """The sweep's record in the store, and the right to run it."""
    store.create_sweep(sweep.name, "", sweep.model_dump_json(by_alias=True), "hash", {})
    return store.acquire(sweep.name)


PARTS = {"trials": ("One sweep of many trials", run_trials, (5_000,), (300,)),
         "busy": ("Many workers on few cores", run_busy, (16, 320), (8, 80))}
"""Title, what is run, and its sizes: whole and quick."""


def main() -> None:
    """Run what is asked for and write its page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--quick", action="store_true")
    chosen = parser.parse_args()
    for part in chosen.parts:
        title, work, whole, quick = PARTS[part]
        load = os.getloadavg()[0]
        with tempfile.TemporaryDirectory(prefix="seqsweep-scale-") as folder:
            found = work(Path(folder), *(quick if chosen.quick else whole))
        page = "\n".join([
            f"# {title}", *rounds.claims(found), "",
            f"- Once. One-minute load before and after: {load:.1f}, {os.getloadavg()[0]:.1f}.",
            f"- Device: {rounds.device()}.",
            f"- Versions: {rounds.versions('seqsweep', 'ray', 'optuna', 'mlflow')}.",
            f"- Commit {rounds.commit()}; {datetime.date.today().isoformat()}.",
            f"- Command: `{rounds.command()}`.", ""])
        print(page)
        if not chosen.quick:
            (rounds.RESULTS / f"scale_{part}.md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
