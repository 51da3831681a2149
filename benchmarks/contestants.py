"""The contestants' own processes: `python contestants.py NAME WORKLOAD-AS-JSON EMPTY-MLFLOW.db` in a fresh folder.

Each notes in `marks.json` when its workers were up with their data (`begin`) and when all trials were trained and
their runs complete in MLflow (`end`). The rivals are written as their documentation says, one thread a worker.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import multiprocessing
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workload import SPACE, Workload, draw, epochs, read_series

SERIES, MARKS = Path("series.csv"), Path("marks.json")
EXPERIMENT = "benchmark"


def mark(begin: float, end: float, **figures: Any) -> None:
    MARKS.write_text(json.dumps({"begin": begin, "end": end, **figures}))


def in_processes(work: Workload, body: Callable[..., None], libraries: tuple[str, ...]) -> None:
    """Run `body(work, worker)` in as many processes as there are workers, all beginning at once."""
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(work.workers + 1)
    processes = [context.Process(target=_one, args=(work, worker, body, libraries, barrier))
                 for worker in range(work.workers)]
    for process in processes:
        process.start()
    barrier.wait()
    begin = time.time()
    for process in processes:
        process.join()
    mark(begin, time.time())
    sys.exit(max(abs(process.exitcode or 0) for process in processes))


def _one(work: Workload, worker: int, body: Callable[..., None], libraries: tuple[str, ...], barrier: Any) -> None:
    for library in ("torch", *libraries):
        importlib.import_module(library)
    values_T = read_series(SERIES)
    barrier.wait()
    body(work, worker, values_T)


def _bare(work: Workload, worker: int, values_T: Any) -> None:
    for trial in range(worker, work.trials, work.workers):
        loop = epochs(work, values_T, draw(trial), trial)
        for _ in range(work.epochs):
            next(loop)


def bare(work: Workload) -> None:
    """Nothing but PyTorch, the trials shared out beforehand, nothing tracked: the limit of one-by-one training."""
    in_processes(work, _bare, ())


def _optuna(work: Workload, worker: int, values_T: Any) -> None:
    import mlflow
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    mlflow.set_experiment(EXPERIMENT)

    def objective(trial: optuna.Trial) -> float:
        params = {name: trial.suggest_float(name, *bounds, log=True) for name, bounds in SPACE.items()}
        loop, values = epochs(work, values_T, params, trial.number), []
        with mlflow.start_run(run_name=f"trial {trial.number}"):
            mlflow.log_params(params)
            for epoch in range(1, work.epochs + 1):
                metrics = next(loop)
                mlflow.log_metrics(metrics, step=epoch)
                values.append(metrics["val_mae"])
        return min(values)

    study = optuna.load_study(study_name=EXPERIMENT, storage="sqlite:///optuna.db")
    share = len(range(worker, work.trials, work.workers))
    study.optimize(objective, n_trials=share)


def optuna(work: Workload) -> None:
    """As many Optuna processes as workers on one SQLite study, each run written to MLflow."""
    import mlflow
    import optuna as library

    mlflow.set_experiment(EXPERIMENT)
    library.create_study(study_name=EXPERIMENT, storage="sqlite:///optuna.db")
    in_processes(work, _optuna, ("optuna", "mlflow"))


def _train_tune(config: Mapping[str, float], work: Workload, values_T: Any, begun: str) -> None:
    import os

    from ray import tune

    with contextlib.suppress(FileExistsError):
        Path(begun).open("x").close()  # its time is that of the first trial's begin
    loop = epochs(work, values_T, config, os.getpid())
    for _ in range(work.epochs):
        tune.report(next(loop))


def tune(work: Workload, reuse_actors: bool = False) -> None:
    """Ray Tune with its OptunaSearch and its MLflow callback, defaults else."""
    import mlflow
    import ray
    import torch  # noqa: F401  its import is start-up
    from ray import tune as library
    from ray.air.integrations.mlflow import MLflowLoggerCallback
    from ray.tune.search.optuna import OptunaSearch

    mlflow.set_experiment(EXPERIMENT)
    ray.init(address="local", num_cpus=work.workers, include_dashboard=False, log_to_driver=False)
    begun = Path("begun").absolute()
    trainable = library.with_resources(library.with_parameters(
        _train_tune, work=work, values_T=read_series(SERIES), begun=str(begun)), {"cpu": 1})
    space = {name: library.loguniform(*bounds) for name, bounds in SPACE.items()}
    results = library.Tuner(
        trainable, param_space=space,
        tune_config=library.TuneConfig(metric="val_mae", mode="min", num_samples=work.trials, search_alg=OptunaSearch(),
                                       reuse_actors=reuse_actors),
        run_config=library.RunConfig(
            storage_path=str(Path("tune").absolute()), verbose=0,
            callbacks=[MLflowLoggerCallback(tracking_uri="sqlite:///mlflow.db", experiment_name=EXPERIMENT)]),
    ).fit()
    end = time.time()
    assert len(results) == work.trials and not results.errors, results.errors
    mark(begun.stat().st_mtime, end)


def tune_reuse(work: Workload) -> None:
    """Ray Tune, its actors used again for the next trial."""
    tune(work, reuse_actors=True)


def seqsweep(work: Workload, resources: Mapping[str, Any] | None = None) -> None:
    """`seqsweep submit` of a YAML, as a user types it."""
    Path("benchmark.yaml").write_text(work.sweep(resources))
    program = shutil.which("seqsweep", path=str(Path(sys.executable).parent))
    assert program, "seqsweep is not installed beside this Python"
    submitted = time.time()
    process = subprocess.Popen([program, "submit", "benchmark.yaml"], stderr=subprocess.PIPE, text=True)
    assert process.stderr
    end = 0.0
    for line in process.stderr:
        sys.stdout.write(line)
        if line.startswith("search") and " done:" in line:
            end = _all_tracked(work.trials)
    assert process.wait() == 0 and end
    whole = time.time() - submitted
    with sqlite3.connect("seqsweep.db") as store:
        begin, last = store.execute("SELECT min(started), max(ended) FROM seqsweep_trials").fetchone()
        first, = store.execute("SELECT min(reported) FROM seqsweep_reports").fetchone()
        facts = json.loads(store.execute("SELECT facts FROM seqsweep_sweeps").fetchone()[0])
        metrics = [json.loads(text) for text, in store.execute("SELECT metrics FROM seqsweep_reports")]
    assert len(metrics) == work.trials * work.epochs, f"{len(metrics)} epochs"
    ledger = {name.removeprefix("ledger."): seconds for name, seconds in facts.items() if name.startswith("ledger.")}
    mark(begin, max(end, last), first_report=first - submitted, submit=whole, ledger=ledger,
         programs=facts.get("programs", {}),
         training=sum(epoch["seconds"] for epoch in metrics))


def _all_tracked(trials: int) -> float:
    """Wait until MLflow has every trial's run, ended; return when."""
    query = ("SELECT count(*) FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid "
             "WHERE tags.key = 'mlflow.parentRunId' AND runs.status != 'RUNNING'")
    for _ in range(1_200):
        with contextlib.suppress(sqlite3.OperationalError), \
                contextlib.closing(sqlite3.connect("file:mlflow.db?mode=ro", uri=True)) as tracking:
            if tracking.execute(query).fetchone()[0] >= trials:
                return time.time()
        time.sleep(0.05)
    raise AssertionError("MLflow did not get all runs within a minute")


def unpacked(work: Workload) -> None:
    """seqsweep with one trial a worker at a time."""
    seqsweep(work, {"pack": '"off"'})


CONTESTANTS: dict[str, Callable[[Workload], None]] = {
    "bare": bare, "seqsweep": seqsweep, "unpacked": unpacked, "tune": tune, "tune-reuse": tune_reuse, "optuna": optuna}

if __name__ == "__main__":
    job = Workload(**json.loads(sys.argv[2]))
    job.write_series(SERIES)
    shutil.copy(sys.argv[3], "mlflow.db")
    CONTESTANTS[sys.argv[1]](job)
