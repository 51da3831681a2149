"""Runs the shipped pipelines and writes their rows of pipelines/README.md.

    python benchmarks/pipelines.py                            # those whose code or data changed since their row
    python benchmarks/pipelines.py electricity                # one; killed, the same command goes on
    python benchmarks/pipelines.py electricity --seeds 1,2,3  # several searches: mean, least and most
    python benchmarks/pipelines.py list                       # say and mark which rows are older, and why; run nothing

A row is what the store holds of the sweep, kept in results/pipelines.json; what it is held against stands in
published.toml. It is current while three hashes stay as they were: of the pipeline with its search spaces, of the data
files, and of the code in ROOMS, without comments and docstrings. Each run has a store and a registry of its own in
`.results/`, so no champion stands before it.
"""

from __future__ import annotations

import argparse
import ast
import datetime
import functools
import hashlib
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import rounds

from seqsweep.api import submit
from seqsweep.config.base import format_duration
from seqsweep.config.loader import load_sweep
from seqsweep.config.settings import Settings
from seqsweep.config.sweep import Sweep
from seqsweep.config.tasks import METRICS
from seqsweep.data.presence import check_presence, files_of
from seqsweep.errors import InvalidData, SeqsweepError
from seqsweep.ledger import ASIDE
from seqsweep.result import SweepResult
from seqsweep.submission import digest

ROOT = Path(__file__).parents[1]
PIPELINES = ROOT / "pipelines"
RECORDS = rounds.RESULTS / "pipelines.json"
PUBLISHED = Path(__file__).with_name("published.toml")
RUNS = ROOT / ".results"
HOUSE = ROOT / "platform" / "seqsweep"
ROOMS = ("config", "data", "evaluation", "models", "search", "sweep", "tasks", "training", "promotion.py", "records.py")
"""The code that decides a figure or a verdict; what prints, stores, projects and serves is not among it."""
ASIDE_OF = ("config/entries.py", "config/schema.py", "config/describe.py", "config/problems.py", "config/own.py",
            "config/code_files.py", "config/consistency.py", "data/checks.py", "data/remarks.py", "training/export.py",
            "training/contract.py", "training/verify.py")
"""Files of these rooms that refuse, tell, read own code, export or examine: no figure of a row follows from them."""
BEGIN, END = "<!-- results: written by benchmarks/pipelines.py -->", "<!-- /results -->"
HEAD = ["| pipeline | what it tells | test part | best baseline | target | published | who wins | how it was run |",
        "| --- | --- | ---: | ---: | --- | --- | --- | --- |"]

Run = dict[str, Any]


@functools.cache
def code_hash() -> str:
    """Hash the code of ROOMS; comments, docstrings and layout do not count."""
    whole = hashlib.sha256()
    rooms = [HOUSE / room for room in ROOMS]
    files = {path for room in rooms for path in ([room] if room.suffix else room.rglob("*.py"))}
    for path in sorted(files - {HOUSE / name for name in ASIDE_OF}):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                node.body = [line for line in node.body if not (
                    isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant)
                    and isinstance(line.value.value, str))] or [ast.Pass()]
        whole.update(f"{path.relative_to(HOUSE)}\n{ast.unparse(tree)}\n".encode())
    return whole.hexdigest()[:16]


def sweep_hash(sweep: Sweep) -> str:
    """Hash what the pipeline and its search spaces say, comments and `data.source` aside; not what they leave open."""
    said = sweep.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude={"data": {"source"}})
    return digest(said)[:16]


def data_hash(sweep: Sweep) -> str | None:
    """Hash the bytes of the data files; None where one is not there."""
    try:
        check_presence(sweep.data)
    except InvalidData:
        return None
    whole = hashlib.sha256()
    for path in files_of(sweep.data):
        for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
            if file.is_file():
                whole.update(f"{file.name} {file.stat().st_size}\n".encode())
                whole.update(file.read_bytes())
    return whole.hexdigest()[:16]


def key_of(sweep: Sweep) -> dict[str, str | None]:
    """What a row must agree with to be current."""
    return {"pipeline": sweep_hash(sweep), "data": data_hash(sweep), "code": code_hash()}


def older(run: Run, key: Mapping[str, str | None]) -> list[str]:
    """What changed since a run; data that are not here now are taken for those of then."""
    return [what for what, value in key.items() if value is not None and run["key"].get(what) != value]


def commit() -> str:
    """Return the checkout's commit, with a + where code, pipelines or search spaces differ from it."""
    def git(*words: str) -> str:
        done = subprocess.run(["git", "-C", str(ROOT), *words], capture_output=True, text=True, check=False)
        return done.stdout.strip()

    dirty = git("status", "--porcelain", "--", "platform", "search_spaces", "pipelines/*.yaml")
    return (git("rev-parse", "--short=10", "HEAD") or "unknown") + "+" * bool(dirty)


def run(sweep: Sweep, seed: int, key: Mapping[str, str | None]) -> Run:
    """Submit the pipeline, or go on with it, and return what the store then holds; how it failed, where it did."""
    name = f"{digest(dict(key))[:12]}-{seed}"
    (RUNS / sweep.name).mkdir(parents=True, exist_ok=True)
    for before in (RUNS / sweep.name).glob(f"*-{seed}"):
        if before.name != name:
            shutil.rmtree(before)  # of other code or data
    folder = RUNS / sweep.name / name
    folder.mkdir(exist_ok=True)
    settings = Settings(f"sqlite:///{folder}/seqsweep.db", f"sqlite:///{folder}/mlflow.db", "local")
    told: Run = {"key": dict(key), "commit": commit(), "device": rounds.device(), "versions": rounds.versions()}
    try:
        told |= figures(submit(sweep.model_copy(update={"seed": seed}), settings))
    except SeqsweepError as error:
        told["failed"] = str(error).splitlines()[0]
    return told | {"date": datetime.datetime.now(datetime.UTC).date().isoformat(), "load": os.getloadavg()[2]}


def figures(result: SweepResult) -> Run:
    """Return the sweep's figures, verdict and cost, as its store holds them."""
    status, rows = result.status(), result.leaderboard_rows()
    test = {row["name"]: {name.removeprefix("test_"): value for name, value in row.items() if name.startswith("test_")}
            for row in rows if row["kind"] in ("winner", "baseline")}
    metric, won = result.sweep.metric.name, next(row for row in rows if row["kind"] == "winner")
    winner = won["name"]
    return {"headline": result.headline, "first": rows[0]["name"], "winner": winner, "test": test.pop(winner),
            "baselines": test, "validation": {metric: won[f"val_{metric}"]},
            "params": dict(result.best.params), "gate": result.gate, "model": result.model,
            "trials": status["trials"], "data_hash": status["data_hash"],
            "seconds": round(sum(seconds for name, seconds in status["ledger"].items() if name not in ASIDE), 1)}


def row(name: str, sweep: Sweep, runs: Mapping[str, Run], key: Mapping[str, str | None],
        published: Mapping[str, Any]) -> str:
    """Return a pipeline's line of the table; `runs` by seed, empty where it was not run."""
    done = [each for each in runs.values() if "failed" not in each]
    target = published.get("target", {})
    ours = [f"{figure} {spread([each['test'].get(figure, math.nan) for each in done])}"
            for figure in published["figures"]] if done else []
    naive = [f"{figure} {best}" for figure in published["figures"] if (best := baseline(sweep, figure, done, target))]
    cells = [f"[{name}]({name}.yaml)", f"{published['problem']} ({published['data']})", "<br>".join(ours),
             "<br>".join(naive), "<br>".join(aim(figure, reach, done) for figure, reach in target.items()),
             published["published"], "<br>".join(verdicts(runs)), "<br>".join(costs(sweep, runs, key))]
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def spread(values: Sequence[float]) -> str:
    """Write one figure, or the mean of several with the least and the most."""
    told = plain(statistics.fmean(values))
    return told if len(values) == 1 else f"{told} ({plain(min(values))} to {plain(max(values))})"


def plain(value: float) -> str:
    """Write a figure with four digits, or all before the point."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def baseline(sweep: Sweep, figure: str, runs: Sequence[Run], target: Mapping[str, Sequence[float]]) -> str:
    """Tell the best baseline's figure, and its name; empty where neither metric nor target says which way is better."""
    low, high = target.get(figure, (0.0, 0.0))
    goal = METRICS[sweep.task.type].get(figure)
    if goal is None and math.inf in (high, -low):
        goal = "maximize" if high == math.inf else "minimize"
    means = {name: statistics.fmean(each["baselines"][name].get(figure, math.nan) for each in runs)
             for name in (runs[0]["baselines"] if runs else ()) if all(name in each["baselines"] for each in runs)}
    known = {name: value for name, value in means.items() if not math.isnan(value)}
    if not known or not goal:
        return ""
    best = (max if goal == "maximize" else min)(known, key=lambda name: known[name])
    return f"{plain(known[best])}, {best}"


def aim(figure: str, reach: Sequence[float], runs: Sequence[Run]) -> str:
    """Write a target, and whether the mean over seeds reaches it."""
    low, high = reach
    said = f"{figure} {low:g} to {high:g}"
    if math.inf in (high, -low):
        said = f"{figure} {f'at most {high:g}' if low == -math.inf else f'at least {low:g}'}"
    if not runs:
        return said
    mean = statistics.fmean(run["test"].get(figure, math.nan) for run in runs)
    return f"{said}: {'reached' if low <= mean <= high else '**not reached**'}"


def verdicts(runs: Mapping[str, Run]) -> list[str]:
    """Say in words who wins, and what the gate said."""
    told: dict[str, list[str]] = {}
    for seed, each in runs.items():
        if "failed" in each:
            said = f"**failed**: {each['failed']}"
        else:
            wins = f"the model{', not beyond chance' * ('not beyond chance' in each['gate'])}"
            wins = wins if each["first"] == each["winner"] else f"**baseline wins**, {each['first']}"
            said = f"{wins}; {'promoted' if 'is now' in each['gate'] else 'refused by the gate'}"
        told.setdefault(said, []).append(seed)
    return [said if len(told) == 1 else f"seed {', '.join(seeds)}: {said}" for said, seeds in told.items()]


def costs(sweep: Sweep, runs: Mapping[str, Run], key: Mapping[str, str | None]) -> list[str]:
    """Say when, by what commit, with which seeds and budget, on what, and how long; and whether the row is older."""
    if not runs:
        return ["not run yet"]
    latest = max(runs.values(), key=lambda each: each["date"])
    changed = sorted({what for each in runs.values() for what in older(each, key)})
    commits = sorted({each["commit"] for each in runs.values()})
    trials = sum(sum(each.get("trials", {}).values()) for each in runs.values())
    seconds = [each["seconds"] for each in runs.values() if "seconds" in each]
    limit = f" in {format_duration(sweep.budget.max_time)}" if sweep.budget.max_time else ""
    several = len(runs) > 1
    told = [f"**older: {', '.join(changed)} changed since**"] if changed else []
    return [*told, f"{latest['date']}, commit {', '.join(commits)}", f"seed{'s' * several} {', '.join(runs)}",
            f"{trials} trials, at most {sweep.budget.max_trials}{limit}{' each' * several}",
            f"{spread(seconds)} s" if seconds else "ended early",
            latest["device"] + (f", load {latest['load']:.1f}" if "load" in latest else "")]


def render(records: Mapping[str, Mapping[str, Run]]) -> str:
    """Return the table of all pipelines in the folder."""
    published = tomllib.loads(PUBLISHED.read_text(encoding="utf-8"))
    sweeps = {path.stem: load_sweep(path) for path in sorted(PIPELINES.glob("*.yaml"))}
    rows = [row(name, sweep, records.get(name, {}), key_of(sweep), published[name]) for name, sweep in sweeps.items()]
    sources = [f"- {name}: {sweep.data.source}" for name, sweep in sweeps.items() if sweep.data.source]
    return "\n".join([*HEAD, *rows, "", "Where the data come from:", "", *sources])


def write(records: Mapping[str, Mapping[str, Run]]) -> None:
    """Write the records, and the table between the README's two markers."""
    RECORDS.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    readme = PIPELINES / "README.md"
    before, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    readme.write_text(f"{before}{BEGIN}\n{render(records)}\n{END}{rest.split(END)[1]}", encoding="utf-8")


def read_records() -> dict[str, dict[str, Run]]:
    """Return what is known, by pipeline and seed."""
    found: dict[str, dict[str, Run]] = json.loads(RECORDS.read_text(encoding="utf-8")) if RECORDS.exists() else {}
    return found


def state(sweep: Sweep, runs: Mapping[str, Run], key: Mapping[str, str | None]) -> str:
    """Say in words how a row stands: current, older, not run yet; and whether its data are there."""
    changed = sorted({what for each in runs.values() for what in older(each, key)})
    said = f"older: {', '.join(changed)} changed since" if changed else "current" if runs else "not run yet"
    return f"{said}; its data are not here: {sweep.data.source}" if key["data"] is None else said


def main(words: Sequence[str] | None = None) -> None:
    """Run what is asked for, one after the other, and write each row as soon as it is known."""
    names = sorted(path.stem for path in PIPELINES.glob("*.yaml"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pipeline", nargs="?", choices=[*names, "list"], metavar="PIPELINE",
                        help=f"{', '.join(names)}, or list; default: all whose code or data changed")
    parser.add_argument("--seeds", type=lambda text: [int(seed) for seed in text.split(",")], metavar="1,2,3",
                        help="default: those of the row, or the pipeline's own")
    chosen = parser.parse_args(words)
    os.chdir(ROOT)  # which the pipelines' paths are taken from
    records = read_records()
    for name in names if chosen.pipeline in (None, "list") else [chosen.pipeline]:
        sweep = load_sweep(PIPELINES / f"{name}.yaml")
        key, runs = key_of(sweep), records.get(name, {})
        if chosen.pipeline in (None, "list"):
            print(f"{name:<20} {state(sweep, runs, key)}", flush=True)
        if chosen.pipeline == "list":
            continue
        seeds = chosen.seeds or [int(seed) for seed in runs] or [sweep.seed]
        current = {seed: each for seed, each in runs.items() if int(seed) in seeds and not older(each, key)}
        if chosen.pipeline is None and (key["data"] is None or len(current) == len(seeds)):
            continue
        check_presence(sweep.data)
        for seed in seeds:
            current[str(seed)] = run(sweep, seed, key)
            records[name] = dict(current)
            write(records)
    write(records)


if __name__ == "__main__":
    try:
        main()
    except SeqsweepError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
