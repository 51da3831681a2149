"""What a notebook holds of a sweep: its trials, its winner, its leaderboard, and what can be done with the model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from seqsweep.config.order import waiting
from seqsweep.config.settings import Settings
from seqsweep.config.sweep import PromoteConfig, Sweep, goal_sign
from seqsweep.config.tasks import METRICS
from seqsweep.errors import NotFound, Unavailable
from seqsweep.ledger import IN_ORDER, read
from seqsweep.records import Scalar, TrialRecord, TrialState
from seqsweep.store.overview import glances
from seqsweep.store.records import Store, SweepRecord, SweepState
from seqsweep.submission import FORKED_FROM, TOLD

if TYPE_CHECKING:
    import pandas as pd

    from seqsweep.promotion import Promotion
    from seqsweep.tracking.standing import Standing


@dataclass(frozen=True)
class Best:
    """The winner of a sweep."""

    number: int
    value: float
    """The sweep's metric at the best validation epoch."""
    epoch: int
    params: Mapping[str, Scalar]


class SweepResult:
    """A sweep in the store, read when asked; valid while it runs and after.

    `name`: the sweep's. `settings`: where the store and MLflow are. Every member raises NotFound where there is no
    such sweep.
    """

    def __init__(self, name: str, settings: Settings) -> None:
        self.name = name
        self._settings = settings

    def __repr__(self) -> str:
        return f"<sweep {self.name}: {self.headline}>"

    @property
    def state(self) -> str:
        """queued, running, stopping, stopped, finished or failed."""
        return str(self._record().state)

    @property
    def message(self) -> str:
        """Why it stopped or failed."""
        return self._record().message

    @property
    def sweep(self) -> Sweep:
        """The validated sweep."""
        return Sweep.model_validate_json(self._record().spec)

    @property
    def trials(self) -> pd.DataFrame:
        """One row a trial: state, reason, value, best_epoch, trained_epochs, seconds, and its active parameters."""
        rows = [_trial_row(record) for record in self._trials(curves=True)]
        frame = _frame(rows)
        return frame.set_index("number") if rows else frame

    @property
    def best(self) -> Best:
        """The trial with the best validation value. Raises NotFound before the first has ended."""
        ranked = self._ranked()
        if not ranked or (outcome := ranked[0].outcome) is None or outcome.value is None:
            raise NotFound(f"no trial of {self.name} has a value yet")
        return Best(ranked[0].number, outcome.value, outcome.best_epoch or 0, dict(ranked[0].trial.params))

    @property
    def headline(self) -> str:
        """Who wins, the baselines included, in one sentence."""
        if headline := self._stage("evaluate").get("headline"):
            return str(headline)
        ranked = self._ranked()
        if not ranked:
            return f"{self.state}: no trial has a value yet"
        return f"{self.state}: trial {self.best.number} leads on the validation part with {self.best.value:.5g}"

    @property
    def model(self) -> str | None:
        """The registered version, such as `electricity/3`; None where none is registered."""
        return self._stage("register").get("version")

    @property
    def ensemble(self) -> Mapping[int, int]:
        """Trial -> how often it counts in the mean that was registered; empty where a trial stands alone."""
        stage = self._stage("ensemble") if self.sweep.ensemble else {}
        return dict(stage["picks"]) if stage.get("better") else {}

    @property
    def gate(self) -> str:
        """What the gate said; empty where it was not asked."""
        stage = self._stage("promote")
        return "\n".join([f"gate: {stage['said']}", *(f"  {reason}" for reason in stage["reasons"])]) if stage else ""

    @property
    def standing(self) -> str:
        """What has become of the version since the gate was asked, or it was registered; empty where that still is so.

        Where MLflow cannot tell it is empty, too.
        """
        found = self._standing()
        return found.says if found else ""

    def leaderboard(self, top: int = 10) -> pd.DataFrame:
        """The winner and the baselines with their test figures, and the next best trials by validation value."""
        return _frame(self.leaderboard_rows(top))

    def leaderboard_rows(self, top: int = 10) -> list[dict[str, Any]]:
        """The leaderboard as plain values, a row each; what a row has not is not in it."""
        metric = f"val_{self.sweep.metric.name}"
        rows = [{"name": row["name"], "kind": row["kind"], metric: row["validation"]}
                | {f"test_{name}": value for name, value in row["test"].items()} | row["params"]
                for row in self._stage("evaluate").get("rows", [])]
        shown = {row["name"] for row in rows}
        others = [{"name": f"trial {record.number}", "kind": "trial",
                   metric: record.outcome.value if record.outcome else None} | dict(record.trial.params)
                  for record in self._ranked(top)]
        at = max((index + 1 for index, row in enumerate(rows) if row["kind"] in ("winner", "ensemble")), default=0)
        return rows[:at] + [row for row in others if row["name"] not in shown] + rows[at:]

    def failures(self) -> list[dict[str, Any]]:
        """The trials that failed, with reason and message."""
        return _failures(self._trials())

    def leaderboard_figures(self) -> list[str]:
        """The leaderboard's columns that a terminal has room for: the sweep's metric, and the task's others."""
        metric, judged = self.sweep.metric.name, self.sweep.metric.judged.name
        measured = {name for row in self._stage("evaluate").get("rows", []) for name in row["test"]}
        others = ["errors", "coverage", *METRICS[self.sweep.task.type]]
        shown = [f"test_{name}" for name in others if name in measured and name not in (judged, "loss")]
        return ["name", "kind", f"val_{metric}", f"test_{judged}", *shown[:3]]

    def promote(self, to: str = "champion", margin: float = 0.0, why: str = "") -> Promotion:
        """Open the gate for this sweep's registered version. Raises Refused where it does not pass."""
        from seqsweep.promotion import promote  # torch and MLflow take seconds, which reading a table need not

        return promote(self._registered(), self._settings, to=to, margin=margin, why=why)

    def predict(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Predict with this sweep's registered version."""
        from seqsweep.serving import predict

        return predict(self._registered(), frame, self._settings)

    def status(self) -> dict[str, Any]:
        """Everything `seqsweep status` shows, as plain values."""
        record, trials = self._record(), self._trials()
        with self._store() as store:
            holder = store.holder(self.name)
        controller = str(holder) if holder else None
        if holder is None and record.state is SweepState.RUNNING:
            controller = f"none: it ended without a word; `seqsweep resume {self.name}` goes on"
        parent = record.facts.get(FORKED_FROM)
        held = {state: str(state) for state in TrialState} | ({} if holder else {TrialState.RUNNING: "unfinished"})
        counts = {held[state]: n for state in TrialState if (n := sum(t.state is state for t in trials))}
        return {"sweep": self.name, "state": str(record.state), "message": record.message, "trials": counts,
                "max_trials": self.sweep.budget.max_trials, "order": _order(record), "headline": self.headline,
                "active_seconds": round(record.active_seconds, 1), "created": _time(record.created),
                "updated": _time(record.updated), "model": self.model,
                "kernels": _kernels(record),
                "controller": controller,
                "forked_from": f"{parent}, {record.facts.get(TOLD, 0)} of whose trials it was told" if parent else None,
                "data_hash": record.data_hash, "retried": _retried(trials), "failures": _failures(trials),
                "ledger": {name: seconds for name, seconds in read(record.facts).items() if name != IN_ORDER}}

    def summary(self) -> dict[str, Any]:
        """The outcome as plain values: what `seqsweep submit --json` prints."""
        best = self.best if self._ranked() else None
        return {"sweep": self.name, "state": self.state, "message": self.message, "headline": self.headline,
                "best": vars(best) if best else None, "ensemble": self.ensemble or None, "model": self.model,
                "gate": self.gate or None, "standing": self.standing or None}

    def next_commands(self) -> list[tuple[str, str]]:
        """What to do next, each with the reason."""
        name = (self.model or self.name).split("/")[0]
        standing = self._standing()
        promoted = standing.holds if standing else self._stage("promote").get("said", "").endswith("champion")
        commands = [("mlflow ui", f"compare the trials: in the experiment, Views > {self.name}: trials, best first"),
                    (f"seqsweep leaderboard {self.name}", "the table again")]
        if self.model is None:
            return commands
        if not promoted:
            commands.append((f"seqsweep promote {name}", "open the gate by hand; --margin relaxes it"))
        alias = "champion" if promoted else "challenger"
        return [*commands, (f"seqsweep predict {name}@{alias} --data new.csv", "use the model")][:3 + (not promoted)]

    def _store(self) -> Store:
        return Store.open_existing(self._settings.store)

    def _record(self) -> SweepRecord:
        with self._store() as store:
            return store.sweep(self.name)

    def _trials(self, *, curves: bool = False) -> list[TrialRecord]:
        with self._store() as store:
            return store.trials(self.name, curves=curves)

    def _ranked(self, top: int = 1) -> list[TrialRecord]:
        """The `top` best of the complete and pruned trials, the best first."""
        with self._store() as store:
            return store.best_trials(self.name, goal_sign(self.sweep), top)

    def _stage(self, name: str) -> Mapping[str, Any]:
        with self._store() as store:
            stage = store.stage(self.name, name)
        return stage.value if stage else {}

    def _standing(self) -> Standing | None:
        from seqsweep.tracking.standing import standing  # MLflow takes a second, which reading a table need not

        stage, asked, model = self._stage("promote"), self.sweep.promote, self.model
        if model is None or (asked and not str(stage.get("said")).startswith(f"{model} ")):
            return None
        to = (asked or PromoteConfig()).to
        try:
            return standing(self._settings.tracking_uri, model, to, passed=stage.get("said") == f"{model} is now {to}")
        except (NotFound, Unavailable):
            return None

    def _registered(self) -> str:
        if self.model is None:
            raise NotFound(f"sweep {self.name} has registered no model")
        return self.model


def sweep_rows(settings: Settings) -> list[dict[str, Any]]:
    """One row a sweep of the store, oldest first; none where there is no store.

    `model` is what it registered last, `versions` that and its others that hold an alias, as the registry has them
    now; None, and `registry` says why, where MLflow cannot tell.
    """
    try:
        store = Store.open_existing(settings.store)
    except NotFound:
        return []
    with store:
        found = glances(store)
    registered = {each.uid: each.registered for each in found if each.registered}
    rows = {each.uid: {"sweep": each.name, "state": each.state, "trials": each.trials,
                       "created": _time(each.created) if each.created is not None else None,
                       "active_seconds": round(each.active_seconds, 1) if each.active_seconds is not None else None,
                       "model": each.registered} for each in found}
    known, problem = _versions_now(registered, settings)
    return [row | {"versions": known.get(uid), "registry": problem if uid in registered else None}
            for uid, row in rows.items()]


def _versions_now(registered: Mapping[str, str], settings: Settings) -> tuple[dict[str, list[Any]], str | None]:
    """By the sweeps' uids; and why they cannot be told."""
    if not registered:
        return {}, None
    from seqsweep.tracking.standing import versions_now

    try:
        found = versions_now(settings.tracking_uri, registered)
    except (NotFound, Unavailable) as error:
        return {}, error.problems[0].what
    return {uid: [{"version": str(version), "aliases": list(version.aliases)} for version in versions]
            for uid, versions in found.items()}, None


def _failures(trials: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    return [{"trial": trial.number, "reason": str(trial.outcome.reason), "message": trial.outcome.message[:200]}
            for trial in trials if trial.outcome is not None and trial.state is TrialState.FAILED]


def _retried(trials: Sequence[TrialRecord]) -> str:
    """How many trials went on after a breakdown of their own."""
    count, pieces = sum(trial.attempts > 0 for trial in trials), sum("micro_batch" in trial.extra for trial in trials)
    return (f"{count} trial{'s' * (count != 1)} after a breakdown"
            + f", {pieces} in micro-batches" * bool(pieces)) * bool(count)


def _frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """A table in which whole numbers stay whole where some are missing."""
    import pandas as pd  # takes half a second, which a terminal's table need not

    frame = pd.DataFrame(rows)
    for name in map(str, frame):
        present = [row[name] for row in rows if row.get(name) is not None]
        if len(present) < len(rows) and present and all(type(value) is int for value in present):
            frame[name] = frame[name].astype("Int64")
    return frame


def _trial_row(record: TrialRecord) -> dict[str, Any]:
    outcome = record.outcome
    return {"number": record.number, "state": str(record.state), "reason": str(outcome.reason) if outcome else None,
            "value": outcome.value if outcome else None, "best_epoch": outcome.best_epoch if outcome else None,
            "trained_epochs": len(record.reports),
            "seconds": sum(report.metrics.get("seconds", 0.0) for report in record.reports), **record.trial.params}


def _order(record: SweepRecord) -> str | None:
    """Of a deterministic sweep: whose order its trials have, and what that cost."""
    if "order" not in record.facts:
        return None
    workers = record.facts["order"]["workers"]
    waited, whole = read(record.facts).get(IN_ORDER, 0.0), workers * record.active_seconds
    return f"of {workers} logical worker{'s' * (workers > 1)}{waiting(waited / whole if whole else 0.0)}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _kernels(record: SweepRecord) -> dict[str, str]:
    """What trains the sweep's trials, and how many of one shape in step at the most: as the probes chose."""
    found = Counter((each["kernel"], each["pack"]) for each in record.facts.get("programs", {}).values())
    return {kernel + (f" {pack} in step" if pack > 1 else ""): f"({count} shape{'s' * (count > 1)})"
            for (kernel, pack), count in found.items()}
