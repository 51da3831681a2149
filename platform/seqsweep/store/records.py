"""The store: the one truth about sweeps and trials, in one transactional database.

Each write is one transaction that also checks the controller's lease; nothing else is a commit point.
"""

from __future__ import annotations

import difflib
import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from types import TracebackType
from typing import Any, Self

from sqlalchemy import Connection, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from seqsweep.errors import Conflict, NotFound, Problem
from seqsweep.records import Outcome, Report, Scalar, Trial, TrialRecord, TrialState
from seqsweep.secrets import shown
from seqsweep.store import checkpoints, seals
from seqsweep.store import lease as leasing
from seqsweep.store.curves import Curve, append_reports, read_curves, seal_curve
from seqsweep.store.database import Database, now
from seqsweep.store.layout import ensure_layout
from seqsweep.store.lease import Holder, Lease
from seqsweep.store.rows import check_outcome, outcome_of, sweep_record, trial_of, trial_record
from seqsweep.store.sweeps import StageRecord, SweepRecord, SweepState
from seqsweep.store.tables import leases, stages, sweeps, test_uses, trials

__all__ = ["Holder", "Lease", "StageRecord", "Store", "SweepRecord", "SweepState"]

_NOTICED = 2.0
"""Seconds after which an impatient store says that it is locked."""


class Store:
    """Sweeps, trials, curves, checkpoints and leases; safe to share between threads, a context that closes it.

    Every method raises Unavailable if the database fails or a row is not what was written, and NotFound for a sweep
    that does not exist.
    Times are Unix seconds on the database's clock.
    """

    def __init__(self, database: Database, patience: float | None = None) -> None:
        self._database, self._patience = database, patience

    @classmethod
    def open(cls, url: str) -> Store:
        """Open `sqlite:///FILE` or `postgresql://...`, creating its tables where there are none."""
        database = Database(url)
        try:
            ensure_layout(database)
        except BaseException:
            database.close()
            raise
        return cls(database)

    @classmethod
    def open_existing(cls, url: str) -> Store:
        """Open a store that only asks are made of; NotFound, and no new file, where there is none."""
        database = Database(url)
        if not database.is_there:
            raise NotFound(Problem(str(database), "there is no store here",
                                   "`seqsweep submit` makes one in the working folder; SEQSWEEP_STORE names another"))
        database.close()
        return cls.open(url)

    def impatient(self) -> Store:
        """The same store, whose controller's writes wait for a lock no longer than it takes to tell that there is one.

        For whoever tries again.
        """
        return Store(self._database, patience=_NOTICED)

    def check(self) -> None:
        """Look through the structure of a SQLite file; Unavailable, with what to do, if it is damaged."""
        self._database.check()

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Store({self._database})"

    # -- sweeps

    def create_sweep(self, name: str, document: str, spec: str, spec_hash: str,
                     facts: Mapping[str, Any]) -> SweepRecord:
        """Enter a new sweep, queued; Conflict if the name is taken."""
        try:
            with self._database.write() as connection:
                connection.execute(insert(sweeps).values(
                    uid=uuid.uuid4().hex, name=name, document=document, spec=spec, spec_hash=spec_hash,
                    state=SweepState.QUEUED, message="", created=now(), updated=now(), active_seconds=0.0,
                    facts=json.dumps(dict(facts)), revision=0, seal=""))
                seals.renew(connection, sweeps, sweeps.c.name == name)
                record = _sweep(connection, name)
                connection.execute(insert(leases).values(
                    sweep_id=record.id, token=0, host="", place="", pid=0, born=0.0, since=0.0, expires=0.0))
                return record
        except IntegrityError:
            raise Conflict(f"a sweep named {name} is already in the store") from None

    def sweep(self, name: str) -> SweepRecord:
        """One sweep; NotFound with the nearest name."""
        with self._database.read() as connection:
            return _sweep(connection, name)

    def sweeps(self) -> list[SweepRecord]:
        """All sweeps, oldest first."""
        with self._database.read() as connection:
            return [sweep_record(row) for row in connection.execute(select(sweeps).order_by(sweeps.c.id))]

    def acquire(self, name: str, ttl: float | None = None) -> Lease:
        """Become the sweep's one controller; Conflict naming the host and process that is.

        A controller of this host whose process is dead is replaced at once, another `ttl` seconds after its last sign.
        """
        ttl = leasing.TTL if ttl is None else ttl
        with self._database.write() as connection:
            sweep = _sweep(connection, name)
            token = leasing.take(connection, sweep, ttl)
        return Lease(self._database, sweep, token, ttl)

    def lease(self, name: str, token: int) -> Lease:
        """The lease that another process took, which got this token; it may be lost by now."""
        return Lease(self._database, self.sweep(name), token, leasing.TTL)

    def holder(self, name: str) -> Holder | None:
        """The process that controls the sweep; None if there is none."""
        with self._database.read() as connection:
            return leasing.holder(connection, _sweep(connection, name).id)

    def request_stop(self, name: str) -> SweepState:
        """Ask the sweep's controller, wherever it runs, to stop; a sweep without one is stopped at once.

        Returns the state the sweep is in now. One that has ended stays as it is.
        """
        with self._database.write() as connection:
            sweep = _sweep(connection, name, lock=True)  # its controller may be ending it
            if sweep.state not in (SweepState.QUEUED, SweepState.RUNNING, SweepState.STOPPING):
                return sweep.state
            held = leasing.holder(connection, sweep.id) is not None
            state = SweepState.STOPPING if held else SweepState.STOPPED
            connection.execute(update(sweeps).where(sweeps.c.id == sweep.id).values(state=state, updated=now()))
            seals.renew(connection, sweeps, sweeps.c.id == sweep.id)
            return state

    def stop_requested(self, name: str) -> bool:
        """Whether the sweep was asked to stop since its controller last set it running."""
        return self.sweep(name).state in (SweepState.STOPPING, SweepState.STOPPED)

    # -- writes of the controller: Conflict, and nothing written, once the lease was taken
    # Each may be done again after an answer that was lost. `at`: when it happened, by time.monotonic(); None: now.

    def update_sweep(self, lease: Lease, *, spec: str | None = None, document: str | None = None,
                     spec_hash: str | None = None, data_hash: str | None = None, state: SweepState | None = None,
                     message: str | None = None, active_seconds: float | None = None,
                     facts: Mapping[str, Any] | None = None, at: float | None = None) -> None:
        """Change what is given; `facts` are merged."""
        given = {"spec": spec, "document": document, "spec_hash": spec_hash, "data_hash": data_hash, "state": state,
                 "active_seconds": active_seconds, "message": None if message is None else _plain(message)}
        changes: dict[str, Any] = {column: value for column, value in given.items() if value is not None}
        with self._held(lease) as connection:
            if facts is not None:
                changes["facts"] = json.dumps({**_sweep(connection, lease.sweep.name).facts, **facts})
            connection.execute(update(sweeps).where(sweeps.c.id == lease.sweep.id).values(
                updated=now() - _ago(at), **changes))
            seals.renew(connection, sweeps, sweeps.c.id == lease.sweep.id)

    def start_trial(self, lease: Lease, trial: Trial, worker: str = "", *, at: float | None = None) -> None:
        """Enter a trial as running; starting it again does nothing, Conflict if its number is another trial's."""
        try:
            with self._held(lease) as connection:
                connection.execute(insert(trials).values(
                    sweep_id=lease.sweep.id, number=trial.number, params=json.dumps(dict(trial.params)),
                    seed=trial.seed, grid_cell=trial.grid_cell, state=TrialState.RUNNING, message="",
                    started=now() - _ago(at), attempts=0, worker=_plain(worker), extra="{}",
                    revision=_next_revision(connection, lease), curve=seals.seal(()), seal=""))
                seals.renew(connection, trials, trials.c.sweep_id == lease.sweep.id, trials.c.number == trial.number)
        except IntegrityError:
            with self._held(lease) as connection:
                row = _trial_row(connection, lease, trial.number)
            if row.state != TrialState.RUNNING or trial_of(row) != trial:
                raise Conflict(f"trial {trial.number} of sweep {lease.sweep.name} was already started") from None

    def save_progress(self, lease: Lease, number: int, reports: Sequence[Report], *, last: bytes | None,
                      best: bytes | None, epoch: int, attempts: int | None = None, worker: str | None = None,
                      extra: Mapping[str, Scalar] | None = None, at: float | None = None) -> None:
        """Add a running trial's reports since the last call, and checkpoints of `epoch` in place of the earlier ones.

        Stored reports of the same or later epochs give way to these. Conflict if the trial is closed.
        """
        given = {"attempts": attempts, "worker": None if worker is None else _plain(worker),
                 "extra": None if extra is None else json.dumps(dict(extra))}
        changes = {column: value for column, value in given.items() if value is not None}
        with self._held(lease) as connection:
            row = _trial_row(connection, lease, number)
            if row.state != TrialState.RUNNING:
                raise Conflict(f"trial {number} of sweep {lease.sweep.name} is closed ({row.state}); nothing written")
            append_reports(connection, row.id, reports, _ago(at))
            for kind, blob in ((checkpoints.LAST, last), (checkpoints.BEST, best)):
                if blob is not None:
                    checkpoints.put(connection, row.id, kind, epoch, blob)
            connection.execute(update(trials).where(trials.c.id == row.id).values(
                revision=_next_revision(connection, lease), curve=seal_curve(connection, row.id), **changes))
            seals.renew(connection, trials, trials.c.id == row.id)

    def close_trial(self, lease: Lease, number: int, outcome: Outcome, reports: Sequence[Report], *,
                    best: bytes | None, keep: int, sign: int, extra: Mapping[str, Scalar],
                    attempts: int | None = None, worker: str | None = None, at: float | None = None) -> None:
        """End a trial, once: the reports not yet stored, its outcome and its weights, in one transaction.

        Of the sweep's complete and pruned trials only the `keep` best keep their weights (sign +1: the least value is
        best, -1: the greatest). Closing again with an equal outcome does nothing, with another is a Conflict.
        """
        check_outcome(number, outcome)
        outcome = replace(outcome, message=_plain(outcome.message))
        given = {"attempts": attempts, "worker": None if worker is None else _plain(worker)}
        changes = {column: value for column, value in given.items() if value is not None}
        with self._held(lease) as connection:
            row = _trial_row(connection, lease, number)
            if row.state != TrialState.RUNNING:
                if outcome_of(row) == outcome:
                    return
                raise Conflict(f"trial {number} of sweep {lease.sweep.name} is closed already ({row.state}, "
                               f"{row.reason}); nothing was written")
            append_reports(connection, row.id, reports, _ago(at))
            if best is not None:
                checkpoints.put(connection, row.id, checkpoints.BEST, outcome.best_epoch or 0, best)
            checkpoints.drop(connection, row.id, checkpoints.LAST)
            connection.execute(update(trials).where(trials.c.id == row.id).values(
                state=outcome.state, reason=outcome.reason, value=outcome.value, best_epoch=outcome.best_epoch,
                message=outcome.message, ended=now() - _ago(at), extra=json.dumps(dict(extra)),
                revision=_next_revision(connection, lease), curve=seal_curve(connection, row.id), **changes))
            seals.renew(connection, trials, trials.c.id == row.id)
            checkpoints.keep_best(connection, lease.sweep.id, keep, sign)

    def put_stage(self, lease: Lease, stage: str, key: str, value: Mapping[str, Any]) -> None:
        """Store a pipeline stage's result in the place of an earlier one."""
        with self._held(lease) as connection:
            connection.execute(delete(stages).where(stages.c.sweep_id == lease.sweep.id, stages.c.stage == stage))
            connection.execute(insert(stages).values(
                sweep_id=lease.sweep.id, stage=stage, key=key, value=json.dumps(dict(value)), created=now(),
                seal=""))
            seals.renew(connection, stages, stages.c.sweep_id == lease.sweep.id, stages.c.stage == stage)

    # -- reads

    def trials(self, name: str, *, curves: bool = True, since: int = 0, limit: int | None = None) -> list[TrialRecord]:
        """The sweep's trials by number, those written after revision `since`, with their curves where wanted.

        With a `limit`, of those the ones of the least revisions: the next call goes on `since` the greatest of them.
        """
        with self._database.read() as connection:
            wanted = select(trials.c.id).where(
                trials.c.sweep_id == _sweep(connection, name).id, trials.c.revision > since)
            if limit is not None:
                wanted = wanted.order_by(trials.c.revision).limit(limit)
            rows = connection.execute(select(trials, checkpoints.last_epoch()).where(trials.c.id.in_(wanted))
                                      .order_by(trials.c.number)).all()
            found = read_curves(connection, wanted) if curves else None
        return [trial_record(row, None if found is None else found.get(row.id, Curve())) for row in rows]

    def best_trials(self, name: str, sign: int, limit: int) -> list[TrialRecord]:
        """The `limit` best complete or pruned trials with a value, without curves; sign +1: the least is best."""
        with self._database.read() as connection:
            rows = connection.execute(
                select(trials, checkpoints.last_epoch())
                .where(trials.c.sweep_id == _sweep(connection, name).id, trials.c.value.is_not(None),
                       trials.c.state.in_((TrialState.COMPLETE, TrialState.PRUNED)))
                .order_by(sign * trials.c.value, trials.c.number).limit(limit)).all()
        return [trial_record(row) for row in rows]

    def revision(self, name: str) -> int:
        """The sweep's counter, raised by each write of a trial."""
        with self._database.read() as connection:
            _sweep(connection, name)
            return int(connection.execute(select(sweeps.c.revision).where(sweeps.c.name == name)).scalar_one())

    def last_checkpoint(self, name: str, number: int) -> tuple[int, bytes] | None:
        """Epoch and bytes to go on from with a running trial, of the last checkpoint that is whole; None without one.
        """
        with self._database.read() as connection:
            return checkpoints.read(connection, _sweep(connection, name).id, number, checkpoints.LAST)

    def best_weights(self, name: str, number: int) -> bytes | None:
        """Weights of the trial's best epoch; None if they were not kept."""
        with self._database.read() as connection:
            found = checkpoints.read(connection, _sweep(connection, name).id, number, checkpoints.BEST)
        return None if found is None else found[1]

    def weighted_trials(self, name: str) -> frozenset[int]:
        """Numbers of the trials whose weights were kept."""
        with self._database.read() as connection:
            return checkpoints.weighted(connection, _sweep(connection, name).id)

    def stage(self, name: str, stage: str) -> StageRecord | None:
        """Result of one pipeline stage; None if it has none."""
        return self.stages(name).get(stage)

    def stages(self, name: str) -> dict[str, StageRecord]:
        """Results of the pipeline stages, by stage, in the order they were stored."""
        with self._database.read() as connection:
            rows = connection.execute(select(stages).where(stages.c.sweep_id == _sweep(connection, name).id)
                                      .order_by(stages.c.created)).all()
            for row in rows:
                seals.require_whole(stages, row, f"sweep {name}, stage {row.stage}")
            return {row.stage: StageRecord(row.key, json.loads(row.value), row.created) for row in rows}

    # -- uses of test parts

    def touch_test(self, data_hash: str, sweep: str, model: str) -> int:
        """Record that a test part was used to judge a model; returns how many models it has judged, this one included.

        Judging the same model again tells nothing new, and counts once.
        """
        same = (test_uses.c.data_hash == data_hash, test_uses.c.sweep == sweep, test_uses.c.model == model)
        with self._database.write() as connection:
            connection.execute(select(sweeps.c.id).where(sweeps.c.name == sweep).with_for_update())
            if connection.execute(select(func.count()).select_from(test_uses).where(*same)).scalar_one() == 0:
                connection.execute(insert(test_uses).values(data_hash=data_hash, sweep=sweep, model=model,
                                                            created=now()))
            return _test_uses(connection, data_hash)

    def test_uses(self, data_hash: str) -> int:
        """How many models a test part has judged."""
        with self._database.read() as connection:
            return _test_uses(connection, data_hash)

    @contextmanager
    def _held(self, lease: Lease) -> Iterator[Connection]:
        with self._database.write(self._patience) as connection:
            lease.check(connection)
            yield connection


def _ago(at: float | None) -> float:
    """Seconds since a moment: asked for once the transaction has its lock, for which it may have waited."""
    return 0.0 if at is None else max(0.0, time.monotonic() - at)


def _sweep(connection: Connection, name: str, *, lock: bool = False) -> SweepRecord:
    name = _plain(name)
    wanted = select(sweeps).where(sweeps.c.name == name)
    row = connection.execute(wanted.with_for_update() if lock else wanted).one_or_none()
    if row is None:
        names = list(connection.execute(select(sweeps.c.name)).scalars())
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else "`seqsweep list` shows those there are"
        raise NotFound(f"no sweep named {name} in the store; {hint}")
    return sweep_record(row)


def _next_revision(connection: Connection, lease: Lease) -> int:
    raised = update(sweeps).where(sweeps.c.id == lease.sweep.id).values(revision=sweeps.c.revision + 1, updated=now())
    return int(connection.execute(raised.returning(sweeps.c.revision)).scalar_one())


def _trial_row(connection: Connection, lease: Lease, number: int) -> Row[Any]:
    row = connection.execute(
        select(trials).where(trials.c.sweep_id == lease.sweep.id, trials.c.number == number)).one_or_none()
    if row is None:
        raise NotFound(f"no trial {number} in sweep {lease.sweep.name}")
    seals.require_whole(trials, row, f"trial {number}")
    return row


def _test_uses(connection: Connection, data_hash: str) -> int:
    counted = select(func.count()).select_from(test_uses).where(test_uses.c.data_hash == data_hash)
    return connection.execute(counted).scalar_one()


def _plain(text: str) -> str:
    """Text that every database takes, without secrets: no NUL (PostgreSQL), and no half of a surrogate pair."""
    return shown(text).replace("\0", "\ufffd").encode("utf-8", "replace").decode("utf-8")
