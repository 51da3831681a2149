"""What must be true of a sweep after any number of faults, by SQL of its own and by the doctor; no writer is asked."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy import Connection, NullPool, create_engine, text
from stub_workers import figures, testimony

from seqsweep.config.settings import Settings
from seqsweep.doctor.examination import examine

STATUS = {"complete": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
"""State of a trial in the store -> status of its run in MLflow."""


class Ended(NamedTuple):
    """Everything the store knows of a trial that has ended."""

    number: int
    params: str
    seed: int
    grid_cell: str
    started: float
    state: str
    reason: str
    value: float | None
    best_epoch: int | None
    message: str
    ended: float
    attempts: int
    worker: str
    extra: str
    revision: int
    curve: tuple[tuple[int, str, float], ...]
    """Epoch, metrics, time."""


Closed = Mapping[int, Ended]
"""By number."""


@dataclass
class Scene:
    """The files of one sweep, and what was known of its ended trials so far."""

    folder: Path
    witness: Path
    store: str = ""
    """URL of its store; empty: a file in the folder."""
    closed: Closed = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """Its places."""
        return Settings(self.store or f"sqlite:///{self.folder}/seqsweep.db", f"sqlite:///{self.folder}/mlflow.db",
                        "local")

    @property
    def has_begun(self) -> bool:
        """Whether there is a store to look at."""
        return bool(self.store) or (self.folder / "seqsweep.db").exists()

    def look(self) -> None:
        """After each fault: what had ended is as it was, and the store is whole."""
        with opened(self.settings.store) as store:
            if not self.store:
                assert rows(store, "PRAGMA quick_check") == [("ok",)]
                assert rows(store, "PRAGMA foreign_key_check") == []
            tables = rows(store, "SELECT 1 FROM information_schema.tables WHERE table_name = 'seqsweep_trials'"
                          if self.store else "SELECT 1 FROM sqlite_master WHERE name = 'seqsweep_trials'")
            if not tables:
                return
            found = closed(store)
        for number, before in self.closed.items():
            assert found.get(number) == before, f"trial {number} had ended, and is not what it was"
        self.closed = found
        for _, said, state, value in testimony(self.witness, "closed"):
            assert int(said) in found, f"trial {said} was said to be closed, and is not"
            trial = found[int(said)]
            assert (trial.state, repr(trial.value)) == (state, value), trial

    def conclude(self, max_trials: int) -> None:
        """At the end: exactly the trials asked for, each once, here and in MLflow; nothing is left under way."""
        self.look()
        found = examine("load", self.settings)
        assert found == [], "\n".join(map(str, found))
        assert sorted(self.closed) == list(range(max_trials)), sorted(self.closed)
        with opened(self.settings.store) as store:
            ((uid, name, state),) = rows(store, "SELECT uid, name, state FROM seqsweep_sweeps")
            assert state == "finished", state
            assert rows(store, "SELECT count(*) FROM seqsweep_trials") == [(max_trials,)]
            assert rows(store, "SELECT count(*) FROM seqsweep_checkpoints WHERE kind = 'last'") == [(0,)]
            orphans = "SELECT count(*) FROM {} WHERE trial_id NOT IN (SELECT id FROM seqsweep_trials)"
            for table in ("seqsweep_reports", "seqsweep_checkpoints"):
                assert rows(store, orphans.format(table)) == [(0,)]
            weighted = rows(store, "SELECT count(DISTINCT trial_id) FROM seqsweep_checkpoints WHERE kind = 'best'")
            assert weighted == [(min(5, max_trials),)], weighted
        with opened(self.settings.tracking_uri) as tracking:
            self._projected(tracking, uid)
            registered(tracking, name)

    def _projected(self, tracking: Connection, uid: str) -> None:
        runs = rows(tracking, "SELECT r.run_uuid, r.status, t.value FROM runs r JOIN tags s ON s.run_uuid = r.run_uuid "
                    "AND s.key = 'seqsweep.uid' LEFT JOIN tags t ON t.run_uuid = r.run_uuid "
                    "AND t.key = 'seqsweep.trial' WHERE r.lifecycle_stage = 'active' AND s.value = :uid", uid=uid)
        stray = rows(tracking, "SELECT run_uuid FROM runs WHERE lifecycle_stage = 'active' AND run_uuid NOT IN "
                     "(SELECT run_uuid FROM tags WHERE key = 'seqsweep.uid')")
        assert stray == [], f"runs that belong to no sweep: {stray}"
        expected = Counter({None: 1} | {f"{uid}/{number}": 1 for number in self.closed})
        assert Counter(run[2] for run in runs) == expected
        for run, status, key in runs:
            if key is None:
                assert status == "FINISHED", status
                continue
            trial = self.closed[int(key.partition("/")[2])]
            assert status == STATUS[trial.state], (key, status, trial)
            parent = "SELECT value FROM tags WHERE run_uuid = :run AND key = 'mlflow.parentRunId'"
            assert rows(tracking, parent, run=run) == [(next(each for each, _, none in runs if none is None),)]
            points = rows(tracking, "SELECT step, value FROM metrics WHERE run_uuid = :run AND key = 'val_mae' "
                          "ORDER BY step", run=run)
            assert points == [(epoch, json.loads(metrics)["val_mae"]) for epoch, metrics, _ in trial.curve], key
            params = dict(rows(tracking, "SELECT key, value FROM params WHERE run_uuid = :run", run=run))
            assert params == {key: str(value) for key, value in json.loads(trial.params).items()}


def registered(tracking: Connection, name: str) -> None:
    """One version of the model, whole, that holds its alias."""
    versions = rows(tracking, "SELECT version, status, source FROM model_versions WHERE name = :name", name=name)
    assert [version[:2] for version in versions] == [(1, "READY")], versions
    aliases = dict(rows(tracking, "SELECT alias, version FROM registered_model_aliases WHERE name = :name",
                        name=name))
    assert aliases.get("challenger") == 1, aliases
    folder = Path(versions[0][2].removeprefix("file://"))
    assert (folder / "MLmodel").is_file(), folder
    models = rows(tracking, "SELECT model_id, status FROM logged_models WHERE lifecycle_stage = 'active'")
    assert len(models) == 1, models


def closed(store: Connection) -> Closed:
    """The ended trials of the only sweep, with their curves."""
    curves = defaultdict(list)
    for trial, epoch, reported, metrics in rows(
            store, "SELECT trial_id, epoch, reported, metrics FROM seqsweep_reports ORDER BY trial_id, epoch"):
        curves[trial].append((epoch, metrics, reported))
    found = rows(store, f"SELECT id, {', '.join(Ended._fields[:-1])} FROM seqsweep_trials WHERE state != 'running'")
    return {row[1]: Ended._make((*row[1:], tuple(curves[row[0]]))) for row in found}


def stub_curves(found: Closed) -> None:
    """Each curve is whole, from the first epoch on, and the one that its parameters give."""
    for number, trial in found.items():
        params, curve = json.loads(trial.params), trial.curve
        assert [epoch for epoch, _, _ in curve] == list(range(1, len(curve) + 1)), f"trial {number}: {curve}"
        for epoch, metrics, _ in curve:
            known = json.loads(metrics)
            assert figures(params, epoch).items() <= known.items(), f"trial {number}, epoch {epoch}: {metrics}"
        assert trial.value == min(json.loads(metrics)["val_mae"] for _, metrics, _ in curve), trial


def most_repeated(witness: Path) -> int:
    """The most epochs of one trial that were trained twice because of one kill."""
    reached: dict[str, int] = {}
    most = 0
    for _, trial, epoch in testimony(witness, "trained"):
        most = max(most, reached.get(trial, 0) + 1 - int(epoch))
        reached[trial] = int(epoch)
    return most


@contextmanager
def opened(url: str) -> Iterator[Connection]:
    """A database, read in one transaction and let go of."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), poolclass=NullPool)
    with engine.connect() as connection:
        yield connection


def rows(connection: Connection, question: str, **values: object) -> list[tuple[Any, ...]]:
    """All rows of an answer."""
    return [tuple(row) for row in connection.execute(text(question), values)]
