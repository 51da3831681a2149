"""The end of a sweep: its runs in MLflow first, then all of it in the store at once.

The store says until the last moment that the sweep is there. So whatever kills a deletion, the next one finds what is
left and ends it, and no run stays behind that no sweep knows of.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from seqsweep.config.settings import Settings
from seqsweep.config.sweep import Sweep
from seqsweep.errors import Conflict, NotFound, Problem, Unavailable
from seqsweep.store.deletion import all_facts, count_trials, delete_sweep
from seqsweep.store.lease import Lease
from seqsweep.store.records import Store, SweepRecord
from seqsweep.submission import PARENT_UID, TOLD

if TYPE_CHECKING:
    from seqsweep.tracking.registry import ModelVersion


@dataclass(frozen=True)
class Estate:
    """What there is of a sweep: what a deletion takes away, and what it leaves."""

    sweep: str
    uid: str
    state: str
    trials: int
    runs: int | None
    """In MLflow; None where they are kept."""
    versions: tuple[ModelVersion, ...] | None
    """Registered from it, which stay; None where MLflow could not be asked."""
    forks: dict[str, int]
    """Sweeps that were told its trials, and keep them: name -> how many."""
    unasked: str = ""
    """Why MLflow could not be asked."""

    def summary(self) -> dict[str, Any]:
        """As plain values."""
        versions = None if self.versions is None else [
            {"version": str(version), "aliases": list(version.aliases)} for version in self.versions]
        return {"sweep": self.sweep, "trials": self.trials, "runs": self.runs, "versions": versions,
                "forks": self.forks, "unasked": self.unasked or None}


def survey(name: str, settings: Settings, *, keep_runs: bool = False) -> Estate:
    """What a deletion would take away and leave; it changes nothing.

    Raises NotFound; Conflict while a controller is at work, where a fork was not told its trials yet, or where a
    registered version needs the sweep to predict; Unavailable where MLflow does not answer, unless its runs are kept.
    """
    with Store.open_existing(settings.store) as store:
        record = store.sweep(name)
        if holder := store.holder(name):
            raise Conflict(f"sweep {name} is being run by {holder}; stop it there, or with `seqsweep stop {name}`")
        return _survey(store, record, settings, keep_runs)


def delete(name: str, settings: Settings, *, keep_runs: bool = False, uid: str | None = None,
           watch: Callable[[int, int], None] = lambda done, of: None) -> Estate:
    """Delete a sweep, and with `keep_runs` not its runs in MLflow; returns what was deleted, and what is left.

    `uid`: of the sweep that is meant. `watch` is told how many of how many runs are deleted. Raises as `survey` does;
    Conflict too where the name is another sweep's by now. Cut short at any point it may be done again.
    """
    with Store.open_existing(settings.store) as store, store.acquire(name) as lease, lease.kept():
        record = lease.sweep
        if uid not in (None, record.uid):
            raise Conflict(f"{name} was deleted, and another sweep has its name now; nothing of that was deleted")
        found = _survey(store, record, settings, keep_runs)
        if not keep_runs:
            def held(done: int, of: int) -> None:
                _still_held(lease)
                watch(done, of)

            found = replace(found, runs=_delete_runs(record, settings, held))
        delete_sweep(store, lease)
        if not keep_runs:
            with contextlib.suppress(Unavailable):
                _delete_runs(record, settings, watch)  # what a controller that was frozen made meanwhile
        return found


def _still_held(lease: Lease) -> None:
    """Frozen for long, it may be another controller's sweep by now, whose runs are to stay."""
    try:
        lease.renew()
    except Conflict as error:
        again = Problem(lease.sweep.name, "some of its runs in MLflow may be deleted",
                        f"`seqsweep project {lease.sweep.name}` writes them again")
        raise Conflict(*error.problems, again) from error


def _survey(store: Store, record: SweepRecord, settings: Settings, keep_runs: bool) -> Estate:
    forks = {name: facts.get(TOLD) for name, facts in all_facts(store).items()
             if facts.get(PARENT_UID) == record.uid}
    for fork, told in forks.items():
        if told is None:
            raise Conflict(Problem(record.name, f"its fork {fork} was not told its trials yet",
                                   f"`seqsweep resume {fork}` tells it; or delete {fork} first"))
    runs, versions, unasked = _traces(record, settings, keep_runs)
    owns = Sweep.model_validate_json(record.spec).owns
    if owns and versions is None and (stage := store.stage(record.name, "register")):
        raise Unavailable(Problem(str(stage.value.get("version")), "it runs code of its own, and MLflow cannot tell "
                                  f"whether it is registered still: {unasked}", "delete the sweep once MLflow answers"))
    if versions and owns:
        files = ", ".join(sorted({own.file for own in owns.values()}))
        raise Conflict(*(Problem(str(version), f"it runs code of its own, {files}, and `predict` and `export` run "
                                 f"that only while the sweep {record.name} is in the store to vouch for it",
                                 "keep the sweep; or, if nothing needs the version, delete that in MLflow first: in "
                                 f"its UI, or `MlflowClient().delete_model_version({version.name!r}, "
                                 f"'{version.version}')`") for version in versions))
    return Estate(record.name, record.uid, str(record.state), count_trials(store, record.name), runs, versions,
                  {name: int(told or 0) for name, told in forks.items()}, unasked)


def _traces(record: SweepRecord, settings: Settings,
            keep_runs: bool) -> tuple[int | None, tuple[ModelVersion, ...] | None, str]:
    """How many runs go, which versions stay, and why that is not known."""
    from seqsweep.tracking.standing import PATIENCE, within
    from seqsweep.tracking.traces import Traces

    try:
        if keep_runs:  # then MLflow need not answer
            return None, within(PATIENCE, settings.tracking_uri, lambda: Traces(settings.tracking_uri,
                                                                                record.uid).versions()), ""
        traces = Traces(settings.tracking_uri, record.uid)
        return len(traces.runs()), traces.versions(), ""
    except NotFound:  # no file
        return None if keep_runs else 0, (), ""
    except Unavailable as error:
        if not keep_runs:
            raise _not_without_mlflow(error, record, "nothing was deleted") from error
        return None, None, error.problems[0].what


def _delete_runs(record: SweepRecord, settings: Settings, watch: Callable[[int, int], None]) -> int:
    from seqsweep.tracking.traces import Traces

    try:
        return Traces(settings.tracking_uri, record.uid).delete_runs(watch)
    except NotFound:
        return 0
    except Unavailable as error:
        raise _not_without_mlflow(error, record, "some of its runs may be deleted, and the sweep is still in the "
                                  "store") from error


def _not_without_mlflow(error: Unavailable, record: SweepRecord, state: str) -> Unavailable:
    again = Problem(record.name, f"{state}: a deletion ends with MLflow's runs of the sweep",
                    f"once MLflow answers, `seqsweep delete {record.name}` again; with --keep-runs it goes on without "
                    f"MLflow, and leaves there the runs whose tag seqsweep.uid is {record.uid}")
    return type(error)(*error.problems, again)
