"""Interleaved rounds of contestants, each a process of its own: wall seconds, and core-seconds of all its descendants.

Core-seconds are user and system time of every process a contestant started, those that outlive it included: from a
cgroup of their own where one may be made, else from polling (psutil), which misses the last moments of each process.
A contestant may write `marks.json` into its folder: `begin` and `end` (Unix seconds) of what is to be compared once
everything is up, and any other figures. Each round is appended to a JSON-lines file at once: a run that was
interrupted goes on, unless the code, the machine or the job is another by now.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import datetime
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

RESULTS = Path(__file__).parent / "results"
MARKS = "marks.json"
_SAMPLE_EVERY = 0.02
_LINGER = 30.0
"""Seconds that descendants have to end after the contestant; then they are killed."""
ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1",
               "MLFLOW_TRACKING_URI": "sqlite:///mlflow.db", "MLFLOW_DISABLE_TELEMETRY": "true",
               "RAY_USAGE_STATS_ENABLED": "0", "PYTHONWARNINGS": "ignore"}
"""What every contestant is given: one thread, and MLflow in its own folder."""


@dataclass(frozen=True)
class Contestant:
    """A name and the command that does the work; it runs in a fresh folder."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)


class _Cgroup:
    """Every process born in it is counted, whoever its parent becomes."""

    def __init__(self) -> None:
        place = f"seqsweep-bench-{os.getpid()}-{time.monotonic_ns()}"
        self.folder = next(folder for folder in self._folders(place) if self._usable(folder))

    @staticmethod
    def _folders(place: str) -> Iterator[Path]:
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, path = line.split(":", 2)
            root = Path("/sys/fs/cgroup") / controllers
            yield root / path.lstrip("/") / place

    @staticmethod
    def _usable(folder: Path) -> bool:
        with contextlib.suppress(OSError):
            folder.mkdir()
            if (folder / "cpuacct.usage").exists() or (folder / "cpu.stat").exists():
                return os.access(folder / "cgroup.procs", os.W_OK)
            folder.rmdir()
        return False

    def wrap(self, command: Sequence[str]) -> list[str]:
        return ["/bin/sh", "-c", f'echo $$ > {self.folder}/cgroup.procs && exec "$@"', "sh", *command]

    def seconds(self) -> float:
        with contextlib.suppress(OSError):
            return int((self.folder / "cpuacct.usage").read_text()) / 1e9
        figures = dict(line.split() for line in (self.folder / "cpu.stat").read_text().splitlines())
        return int(figures["usage_usec"]) / 1e6

    def pids(self) -> list[int]:
        return [int(pid) for pid in (self.folder / "cgroup.procs").read_text().split()]

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.folder.rmdir()


class _Polling:
    """Descendants by polling; orphans become children of this process, so that they stay descendants."""

    def __init__(self) -> None:
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
        self._seen: dict[tuple[int, float], float] = {}
        self._before = {(child.pid, child.create_time()) for child in psutil.Process().children(recursive=True)}

    def wrap(self, command: Sequence[str]) -> list[str]:
        return list(command)

    def _alive(self) -> Iterator[psutil.Process]:
        for child in psutil.Process().children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if (child.pid, child.create_time()) not in self._before and child.status() != psutil.STATUS_ZOMBIE:
                    yield child

    def seconds(self) -> float:
        for child in self._alive():
            with contextlib.suppress(psutil.Error):
                times = child.cpu_times()
                self._seen[child.pid, child.create_time()] = times.user + times.system
        return sum(self._seen.values())

    def pids(self) -> list[int]:
        return [child.pid for child in self._alive()]

    def close(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


class _Sampler(threading.Thread):
    """Core-seconds over time, to be read at any moment afterwards."""

    def __init__(self, account: _Cgroup | _Polling) -> None:
        super().__init__(daemon=True)
        self._account, self._over = account, threading.Event()
        self.points: list[tuple[float, float]] = []

    def run(self) -> None:
        every = _SAMPLE_EVERY if isinstance(self._account, _Cgroup) else 10 * _SAMPLE_EVERY
        while not self._over.wait(every):
            self.points.append((time.time(), self._account.seconds()))

    def finish(self) -> float:
        self._over.set()
        self.join()
        self.points.append((time.time(), self._account.seconds()))
        return self.points[-1][1]

    def at(self, moment: float) -> float:
        """Core-seconds used until a moment, between the two samples around it."""
        before, after = (0.0, 0.0), self.points[-1]
        for point in self.points:
            if point[0] >= moment:
                after = point
                break
            before = point
        share = (moment - before[0]) / (after[0] - before[0]) if before[0] and after[0] > before[0] else 1.0
        return before[1] + min(1.0, max(0.0, share)) * (after[1] - before[1])


def run(contestant: Contestant, timeout: float = 3600.0) -> dict[str, Any]:
    """Run one contestant in a fresh folder.

    Returns its figures in seconds: `wall`, `cores` of the whole, and `search_wall`, `search_cores` between its marks;
    with all other marks. Raises RuntimeError with the end of its output where it fails.
    """
    folder = Path(tempfile.mkdtemp(prefix=f"bench-{contestant.name}-"))
    account = _account()
    sampler = _Sampler(account)
    begun = time.time()
    try:
        with (folder / "output.txt").open("w") as output:
            process = subprocess.Popen(account.wrap(contestant.command), cwd=folder, stdout=output,
                                       stderr=subprocess.STDOUT, start_new_session=True,
                                       env={**os.environ, **ENVIRONMENT, **contestant.environment})
            sampler.start()
            try:
                code = process.wait(timeout)
                ended = time.time()
                _wait_for_all(account, _LINGER)
            except BaseException:  # interrupted or hanging: nothing of it stays
                _wait_for_all(account, 0.0)
                raise
        cores = sampler.finish()
        if code:
            tail = (folder / "output.txt").read_text(errors="replace")[-4000:]
            raise RuntimeError(f"{contestant.name} ended with code {code}:\n{tail}")
        marks = json.loads((folder / MARKS).read_text()) if (folder / MARKS).exists() else {}
    finally:
        account.close()
        shutil.rmtree(folder, ignore_errors=True)
    figures = {"wall": ended - begun, "cores": cores}
    if "begin" in marks:
        begin, end = marks.pop("begin"), marks.pop("end")
        figures |= {"start": begin - begun, "search_wall": end - begin,
                    "search_cores": sampler.at(end) - sampler.at(begin)}
    return figures | marks


def _account() -> _Cgroup | _Polling:
    try:
        return _Cgroup()
    except (OSError, StopIteration):
        return _Polling()


def _wait_for_all(account: _Cgroup | _Polling, seconds: float) -> None:
    """Let descendants end by themselves for so long, then end them."""
    until = time.monotonic() + seconds
    while account.pids() and time.monotonic() < until:
        time.sleep(0.05)
    while pids := account.pids():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.05)


def options(description: str, *more: tuple[str, dict[str, Any]]) -> argparse.Namespace:
    """Read the command line: `--rounds`, `--fresh`, `--python` and the script's own."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--fresh", action="store_true", help="forget the rounds of an earlier run")
    parser.add_argument("--python", default=sys.executable, help="the rivals' Python, where it is another")
    for name, settings in more:
        parser.add_argument(name, **settings)
    return parser.parse_args()


def interleave(name: str, contestants: Sequence[Contestant], chosen: argparse.Namespace,
               setup: Mapping[str, Any], warm: Contestant | None = None) -> list[dict[str, Any]]:
    """Run each contestant once a round, in an order that turns from round to round; return all rounds' figures.

    `warm` is run once before the first round and not counted: what is compiled once an installation is there then.

    Rounds in `results/<name>.jsonl` of the same job, code, versions and machine are kept and not taken again; others
    are forgotten.
    """
    path = RESULTS / f"{name}.jsonl"
    same = json.loads(json.dumps({**setup, "code": _code(), "versions": versions(), "device": device()}))
    rows = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() and not chosen.fresh else []
    if any(row["setup"] != same for row in rows):
        print(f"{path} holds rounds of another job, code or machine: begun anew")
        rows = []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    if warm and not rows:
        print(f"not counted: {warm.name}  wall {run(warm)['wall']:.2f}", flush=True)
    for number in range(chosen.rounds):
        turn = number % len(contestants)
        for contestant in (*contestants[turn:], *contestants[:turn]):
            if any((row["round"], row["contestant"]) == (number, contestant.name) for row in rows):
                continue
            row = {"round": number, "contestant": contestant.name, **run(contestant), "commit": commit(),
                   "date": datetime.date.today().isoformat(), "load": os.getloadavg()[0], "setup": same}
            rows.append(row)
            with path.open("a") as file:
                file.write(json.dumps(row) + "\n")
            shown = ("wall", "cores", "start", "search_wall", "search_cores", "first_report")
            print(f"round {number + 1}/{chosen.rounds} {contestant.name:<12} " + "  ".join(
                f"{figure} {row[figure]:.2f}" for figure in shown if figure in row), flush=True)
    return [row for row in rows if row["round"] < chosen.rounds]


def _code() -> str:
    """Return a hash of the package's source and of the script's: rounds of two versions are not to be mixed."""
    import seqsweep

    ours = [Path(__file__).with_name(name) for name in ("rounds.py", "workload.py", "contestants.py")]
    source = [*sorted(Path(seqsweep.__file__).parent.rglob("*.py")), *ours, Path(sys.argv[0]).absolute()]
    return hashlib.sha256(b"".join(path.read_bytes() for path in source)).hexdigest()[:16]


def figures(rows: Sequence[Mapping[str, Any]], contestant: str, figure: str) -> list[Any]:
    """Return one figure of one contestant by round."""
    return [row[figure] for row in sorted(rows, key=lambda row: row["round"])
            if row["contestant"] == contestant and figure in row]


@dataclass(frozen=True)
class Ratio:
    """The median of the rounds' ratios, and an interval that holds the true median in 95 % of cases or more."""

    median: float
    low: float
    high: float
    rounds: int
    coverage: float
    """From signs alone (David & Nagaraja, 2003, 7.1): below .95 with fewer than 6 rounds."""

    def __str__(self) -> str:
        return f"{self.median:.3g} ({self.low:.3g} to {self.high:.3g})"


def ratio(above: Sequence[float], below: Sequence[float]) -> Ratio:
    """Divide round by round: what both saw of the machine's other work cancels."""
    each = sorted(a / b for a, b in zip(above, below, strict=True))
    n, rank = len(each), 0
    while rank < (n - 1) // 2 and _coverage(n, rank + 1) >= 0.95:
        rank += 1
    return Ratio(statistics.median(each), each[rank], each[n - 1 - rank], n, _coverage(n, rank))


def _coverage(n: int, rank: int) -> float:
    """Chance that the median lies between the order statistics `rank` from either end, counted from 0."""
    return 1 - 2 * sum(math.comb(n, k) for k in range(rank + 1)) / 2 ** n


def compare(rows: Sequence[Mapping[str, Any]], names: Sequence[str], base: str, shown: Mapping[str, str]) -> list[str]:
    """Return a markdown table: the median of each figure (`shown`: figure -> heading), and its ratio to `base`'s."""
    heads = [head for title in shown.values() for head in (title, f"of {base}")]
    lines = ["| | " + " | ".join(heads) + " |", "| --- |" + " ---: |" * len(heads)]
    for name in names:
        cells = []
        for figure in shown:
            own, other = figures(rows, name, figure), figures(rows, base, figure)
            paired = name != base and own and len(own) == len(other)
            cells += [f"{statistics.median(own):.3g}" if own else "", str(ratio(own, other)) if paired else ""]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return lines


CLAIMS = ["| | measured | target |", "| --- | ---: | --- |"]
"""Head of the table that `summary.py` copies into the README."""


def claims(measured: Sequence[tuple[str, str, str]]) -> list[str]:
    """Return the page's claims as a table: what, the figure, what it should be."""
    return ["", *CLAIMS, *(f"| {' | '.join(row)} |" for row in measured)]


def write(name: str, title: str, rows: Sequence[Mapping[str, Any]], body: Sequence[str]) -> Path:
    """Write `results/<name>.md`: what was measured, where, when, with what, and by which command."""
    rounds = len({row["round"] for row in rows})
    commits, dates = (sorted({str(row[key]) for row in rows}) for key in ("commit", "date"))
    loads = [row["load"] for row in rows]
    text = [f"# {title}", "", *body, "",
            f"- {rounds} interleaved round{'s' * (rounds != 1)}. A ratio is the median of the rounds' ratios, with an "
            f"interval from signs that holds the true median with a chance of {100 * _interval_of(rounds):.1f} %.",
            f"- Device: {device()}. One-minute load while measuring: {min(loads):.1f} to {max(loads):.1f}.",
            f"- Versions: {versions()}.",
            f"- Commit {', '.join(commits)}; {', '.join(dates)}.",
            f"- Command: `{command()}`.", ""]
    path = RESULTS / f"{name}.md"
    path.write_text("\n".join(text))
    return path


def _interval_of(rounds: int) -> float:
    return ratio([1.0] * rounds, [1.0] * rounds).coverage


def device() -> str:
    """Return the processor, and how many of its cores there are."""
    info = Path("/proc/cpuinfo")
    found = re.search(r"model name\s*: (.*)", info.read_text()) if info.exists() else None
    named = found[1] if found else platform.processor() or platform.machine()
    return f"{named}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB, {platform.system()}"


def versions(*packages: str) -> str:
    """Return Python's version and those of the packages that are installed."""
    found = [f"Python {platform.python_version()}"]
    for package in packages or ("seqsweep", "torch", "ray", "optuna", "mlflow", "neuralforecast"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found.append(f"{package} {importlib.metadata.version(package)}")
    return ", ".join(found)


def commit() -> str:
    """Return the checkout's commit, with a + where files differ from it."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty=+", "--abbrev=10", "--exclude=*"]
    found = subprocess.run(git, capture_output=True, text=True, check=False)
    return found.stdout.strip() or "unknown"


def command() -> str:
    """Return the command that was given, as one would type it."""
    return " ".join(["python", str(Path(sys.argv[0]).name and Path("benchmarks") / Path(sys.argv[0]).name),
                     *sys.argv[1:]])
