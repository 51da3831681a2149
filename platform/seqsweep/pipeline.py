"""From a sweep to a registered model: prepare -> search -> evaluate -> register -> promote.

Each stage's result is stored with a hash of what went in, and is not made twice. Submitting again goes on where the
last controller ended, however it ended. Libraries that take seconds are imported by the stage that needs them: the
first worker trains before scikit-learn and MLflow are read from the disk.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from seqsweep.cluster.pool import import_ray, open_pool, ray_session
from seqsweep.config.order import promise, waiting
from seqsweep.config.settings import Settings
from seqsweep.config.sweep import Sweep, fit_config
from seqsweep.errors import InvalidData, InvalidSweep, Outage, Refused, SeqsweepError, Unavailable
from seqsweep.forks import tell_parent
from seqsweep.ledger import PROJECTOR, Ledger, read
from seqsweep.outage import OutageNews, Patience
from seqsweep.records import TrialRecord, model_name
from seqsweep.result import SweepResult
from seqsweep.store.deletion import delete_sweep
from seqsweep.store.lease import Lease
from seqsweep.store.records import StageRecord, Store, SweepState
from seqsweep.submission import changed, current_facts, digest, enter, forked, identity, in_stored_order, specification
from seqsweep.tracking.projector import Projector
from seqsweep.winner import best_trial, candidates, members, pick, registered_winner

if TYPE_CHECKING:
    from seqsweep.data.batch import Prepared
    from seqsweep.sweep import Progress

_PROJECTION_GRACE = 20.0
"""Seconds at the end of a run for MLflow to take what is left; `seqsweep project` brings the rest."""


class Observer(Protocol):
    """Sees a run go by."""

    def stage(self, name: str, detail: str = "") -> None:
        """A stage began, was done, or was skipped."""

    def progress(self, progress: Progress) -> None:
        """The search moved on."""


def submit(sweep: Sweep, document: str, settings: Settings, observer: Observer, stop: threading.Event,
           ledger: Ledger | None = None, fork: str | None = None) -> SweepResult:
    """Run a sweep to its end, or until `stop` is set; submitted again it goes on, and does nothing twice.

    `document` is the text the sweep was read from; `ledger` is told where the time goes; `fork`: the name of a new
    sweep, to which the trials of the one that has this sweep's name are told. Raises Conflict where the sweep or its
    data differ from what is stored under its name, or another controller holds it; InvalidData, SearchFailed,
    Unavailable; NotFound where there is nothing to fork. A new sweep whose data are refused is not kept.
    """
    parent = "" if fork is None else sweep.name
    sweep = sweep if fork is None else forked(sweep, fork)
    with Store.open(settings.store) as store:
        store.check()
        enter(store, sweep, document, parent)
        with store.acquire(sweep.name) as lease, lease.kept():
            record = enter(store, sweep, document, parent)  # again, now that nobody else can add a trial
            sweep = in_stored_order(sweep, record)
            _Run(store, lease, sweep, document, settings, observer, stop, ledger or Ledger()).run()
    return SweepResult(sweep.name, settings)


def project(name: str, settings: Settings) -> int:
    """Write a sweep's runs to MLflow from the store. Returns how many runs it has, the sweep's own included."""
    from seqsweep.tracking.runs import project as project_runs

    with Store.open_existing(settings.store) as store:
        project_runs(store, name, settings.tracking_uri)
        return 1 + len(store.trials(name, curves=False))


class _Run:
    def __init__(self, store: Store, lease: Lease, sweep: Sweep, document: str, settings: Settings,
                 observer: Observer, stop: threading.Event, ledger: Ledger) -> None:
        self.store, self.lease, self.sweep, self.settings = store, lease, sweep, settings
        self.observer, self.stop, self.ledger = observer, stop, ledger
        self.spec = specification(sweep)
        self.document = document
        self.is_new = lease.sweep.state is SweepState.QUEUED  # no controller was at work on it before
        self.taken_back = False
        self.accepted = False
        """Whether its data are there, and those that it began with."""
        self.projector = Projector(settings.store, sweep.name, settings.tracking_uri,
                                   worked=lambda seconds: ledger.add({PROJECTOR: seconds}), lease=lease)
        self.importing: threading.Thread | None = None
        self.mlflow = OutageNews("MLflow")
        self.patiently = Patience(self._tell, stop)

    def run(self) -> None:
        self.patiently(self.store.update_sweep, self.lease, state=SweepState.RUNNING, message="",
                       document=self.document, spec=json.dumps(self.spec),
                       spec_hash=identity(self.spec), facts=current_facts())
        self.ledger.add(read(self.lease.sweep.facts))
        try:
            state, message = self._stages()
        except KeyboardInterrupt:
            if not self._as_before():
                self._end(SweepState.STOPPED, "interrupted before its budget was spent")
            raise
        except BaseException as error:
            if not self._take_back(error) and not self._as_before():
                self._end(SweepState.FAILED,
                          str(error) if isinstance(error, SeqsweepError) else f"{type(error).__name__}: {error}")
            raise
        else:
            self.patiently(self.store.update_sweep, self.lease, state=state, message=message)
        finally:
            if self._is_held():
                with self.ledger("project"):
                    self._finish_projection()
                self._save_ledger()
            elif not self.taken_back:
                self.projector.finish(_PROJECTION_GRACE)  # what it was at when the sweep was lost

    def _as_before(self) -> bool:
        """Leave a sweep that had ended as it was: one that is refused before any work undoes nothing."""
        before = self.lease.sweep
        if self.accepted or before.state not in (SweepState.FINISHED, SweepState.STOPPED):
            return False
        self._end(before.state, before.message)
        return True

    def _take_back(self, error: BaseException) -> bool:
        """Delete a sweep that was entered just now, and whose data are not there or do not fit: it never began."""
        if not self.is_new or not isinstance(error, InvalidData | InvalidSweep):
            return False
        with contextlib.suppress(SeqsweepError):
            if self.store.sweep(self.sweep.name).data_hash is None:
                delete_sweep(self.store, self.lease)
                self.taken_back = True
        return self.taken_back

    def _is_held(self) -> bool:
        """Whether the sweep's runs are still this controller's to write; where the store cannot tell, they are."""
        try:
            return self.lease.is_held()
        except SeqsweepError:
            return True

    def _finish_projection(self) -> None:
        if self.projector.problem:
            self.observer.stage("mlflow", f"{self.projector.problem}; tried for another {_PROJECTION_GRACE:.0f} s")
        self._save_ledger()
        if not self.projector.finish(_PROJECTION_GRACE):
            self.observer.stage("mlflow", f"{self.projector.problem or 'MLflow has not taken all runs'}; "
                                          f"`seqsweep project {self.sweep.name}` brings the runs later")
        elif line := self.mlflow.look(None):  # it came back once the search, which looks now and then, had ended
            self._tell(line)

    def _save_ledger(self) -> None:
        with contextlib.suppress(SeqsweepError):
            self.store.update_sweep(self.lease, facts=self.ledger.facts())

    def _end(self, state: SweepState, message: str) -> None:
        with contextlib.suppress(SeqsweepError):  # what ended the run is told, not that it could not be noted
            self.store.update_sweep(self.lease, state=state, message=message)

    def _stages(self) -> tuple[SweepState, str]:
        with contextlib.ExitStack() as session:
            data = self.patiently(self._prepare, session)
            if not self.patiently(self._search, data):
                return SweepState.STOPPED, "stopped before its budget was spent"
        with self.ledger("evaluate"):
            winner = self.patiently(best_trial, self.store, self.sweep)
            picks = self.patiently(self._ensemble, data, winner)
            self.patiently(self._evaluate, data, winner, picks)
        with self.ledger("register"):
            if self.sweep.registration is not None:
                self.patiently(self._register, data, winner, picks)
            if self.sweep.promote is not None:
                self.patiently(self._promote, data)
        return SweepState.FINISHED, ""

    def _tell(self, line: str) -> None:
        self.observer.stage("outage", line)

    def _prepare(self, session: contextlib.ExitStack) -> tuple[Prepared, ...]:
        """Prepare the data while Ray, which the session then holds, is starting."""
        from seqsweep.data.presence import check_presence

        check_presence(self.sweep.data)
        searched = self._searched()
        if searched:
            self.projector.start()  # no training is delayed
        elif self.sweep.resources.workers:
            import_ray()  # alone, since the start of Ray is what takes longest
        with ThreadPoolExecutor(1, "seqsweep-prepare") as executor:
            preparing = executor.submit(_prepared, self.sweep)
            if not searched:
                self._start_ray(preparing, session)
            with self.ledger("data"):
                data = preparing.result()
        self._keep_outline(data[0])
        self.accepted = True
        sizes = ", ".join(f"{len(data[0].parts.get(part, ())):,} {part}" for part in ("train", "val", "test"))
        folds = f" in {len(data)} folds" if len(data) > 1 else ""
        info = data[0].info
        added = f", {info.added_rows:,} missing row{'s' * (info.added_rows > 1)} added" if info.added_rows else ""
        self.observer.stage("prepare", f"{sizes} samples{folds}, {len(info.features)} features{added}")
        for remark in data[0].remarks:
            self.observer.stage("prepare", remark)
        if said := tell_parent(self.store, self.lease, self.sweep):
            self.observer.stage("fork", said)
        return data

    def _keep_outline(self, data: Prepared) -> None:
        """Note what the data are; Conflict, with what changed, where trials were trained on others."""
        known, stage = self.store.sweep(self.sweep.name).data_hash, self.store.stage(self.sweep.name, "data")
        data_hash = data.info.data_hash  # of all folds
        if known not in (None, data_hash) and self.store.trials(self.sweep.name, curves=False, limit=1):
            from seqsweep.data.batch import Outline
            from seqsweep.data.outline import compare

            before = [Outline.model_validate(kept, strict=False) for kept in stage.value["files"]] if stage else []
            changes = (compare(before, data.outlines) if before else []) or [
                f"hash of the prepared data: {str(known)[:12]} -> {data_hash[:12]}"]
            what = "the data, or how seqsweep splits them, have changed since this sweep began"
            raise changed(self.sweep.name, what, changes, told=False)
        self.store.update_sweep(self.lease, data_hash=data_hash)
        if stage is None or stage.key != data_hash:
            self.store.put_stage(self.lease, "data", data_hash, {
                "files": [sketch.model_dump(mode="json") for sketch in data.outlines]})

    def _start_ray(self, preparing: Future[tuple[Prepared, ...]], session: contextlib.ExitStack) -> None:
        if not (preparing.done() and preparing.exception()):
            session.enter_context(ray_session(self.settings.ray_address, self.sweep.resources))

    def _searched(self) -> bool:
        stage = self.store.stage(self.sweep.name, "search")
        return stage is not None and stage.key == self._search_key()

    def _search_key(self) -> str:
        return digest([identity(self.spec), self.spec["budget"]])

    def _search(self, data: tuple[Prepared, ...]) -> bool:
        if self._searched():
            count = len(self.store.trials(self.sweep.name, curves=False))
            self.observer.stage("search", f"nothing to train: all {count} trials are there")
            return True
        from seqsweep.sweep import search_of  # was imported while Ray started

        pool = open_pool(data, self.sweep.resources, most=self.sweep.budget.max_trials)
        self.observer.stage("search", f"{self.sweep.budget.max_trials} trials of {self.sweep.method} on "
                                      f"{pool.size} worker{'s' * (pool.size != 1)}, "
                                      f"pruned by {self.sweep.early_terminate.type}")
        if self.sweep.deterministic:
            self.observer.stage("order", promise(self.sweep))
        try:
            search = search_of(self.sweep)(self.sweep, self.store, self.lease, pool, self._watch, self.stop,
                                           self.ledger)
            if not search.run():
                return False
        finally:
            pool.close()
        progress = search.progress()
        counts = {str(state): number for state, number in progress.trials.items() if number}
        self.store.put_stage(self.lease, "search", self._search_key(), {"trials": counts})
        self.observer.stage("search", "done: " + ", ".join(f"{number} {state}" for state, number in counts.items())
                            + waiting(progress.waiting))
        return True

    def _watch(self, progress: Progress) -> None:
        """Show progress; from the first epoch on MLflow's seconds of imports no longer delay the workers."""
        if not self.importing and (progress.best or any(progress.running.values())):
            self.projector.start()
            fitted = self.sweep.task.type in ("classification", "regression")  # baselines of scikit-learn's
            ahead = ["seqsweep.promotion", *["seqsweep.evaluation.numbers"] * fitted]
            self.importing = threading.Thread(target=lambda: [*map(import_module, ahead)], daemon=True)
            if self.sweep.registration is not None:
                self.importing.start()
        if line := self.mlflow.look(self._mlflow_problem(), "training goes on, and its runs are written later"):
            self._tell(line)
        self.observer.progress(progress)

    def _mlflow_problem(self) -> str | None:
        """Why MLflow has not what is in the store; that the store itself is away is told by the search."""
        failure = self.projector.failure
        if isinstance(failure, Outage) and failure.problems[0].where in repr(self.store):
            return None
        return self.projector.problem

    def _stage_done(self, stage: str, key: str, what: str) -> bool:
        known = self.store.stage(self.sweep.name, stage)
        if known is None or known.key != key:
            return False
        self.observer.stage(stage, f"unchanged: {what}")
        return True

    def _ensemble(self, data: tuple[Prepared, ...], winner: TrialRecord) -> Mapping[int, int]:
        """Trial -> how often it counts: the best alone, or with others where their mean is better on validation."""
        if self.sweep.ensemble is None:
            return {winner.number: 1}
        best = candidates(self.store, self.sweep)
        if not best:
            return {winner.number: 1}
        key = digest([self._search_key(), self.spec["ensemble"], [record.number for record in best]])
        known = self.store.stage(self.sweep.name, "ensemble")
        if known is not None and self._stage_done("ensemble", key, str(known.value["said"])):
            value = known.value
        else:
            value = pick(self.store, self.sweep, self.sweep.ensemble.size, best, data)
            self.store.put_stage(self.lease, "ensemble", key, value)
            self.observer.stage("ensemble", value["said"])
        return dict(value["picks"]) if value["better"] else {winner.number: 1}

    def _evaluate(self, data: tuple[Prepared, ...], winner: TrialRecord, picks: Mapping[int, int]) -> None:
        name, tried = model_name(picks), self._tried()
        key = digest([self._search_key(), winner.number, self.spec["evaluate"], *([tried.key] if tried else ())])
        if self._stage_done("evaluate", key, f"{name} was scored on the test part"):
            return
        from seqsweep.evaluation.leaderboard import evaluate, leaderboard

        config = fit_config(self.sweep, winner.trial.params, winner.trial.seed)
        found = evaluate(members(self.store, self.sweep, picks, data), data,
                         with_baselines=self.sweep.evaluate.baselines == "auto")
        uses = self.store.touch_test(data[0].info.data_hash, self.sweep.name, name)
        board = leaderboard(config.metric, config.task, winner.number,
                            self.store.trials(self.sweep.name, curves=False), found, top=1,
                            ensemble=tried.value if tried else None)
        self.store.put_stage(self.lease, "evaluate", key, {
            "headline": board.headline, "winner": winner.number, "rows": [asdict(row) for row in board.rows],
            "test_uses": uses})
        self.observer.stage("evaluate", f"{name} and {len(found.baselines)} baselines were scored on the test part")

    def _tried(self) -> StageRecord | None:
        """What the stage `ensemble` gave; None where the sweep asks for none."""
        return None if self.sweep.ensemble is None else self.store.stage(self.sweep.name, "ensemble")

    def _register(self, data: tuple[Prepared, ...], winner: TrialRecord, picks: Mapping[int, int]) -> None:
        what = winner.number if len(picks) == 1 else model_name(picks)
        key = digest([self._search_key(), what, self.spec["register"]])
        known = self.store.stage(self.sweep.name, "register")
        if known is not None and self._still_registered(known.value, picks) and self._stage_done(
                "register", key, str(known.value["version"])):
            return
        from seqsweep.promotion import register_winner

        with self.ledger("project"):
            # The model hangs on the sweep's run, which must be there.
            if not self.projector.flush(_PROJECTION_GRACE) and isinstance(self.projector.failure, Outage):
                raise self.projector.failure
        stage = self.store.stage(self.sweep.name, "evaluate")
        version = register_winner(self.lease.sweep, self.sweep, winner,
                                  members(self.store, self.sweep, picks, data), data, stage.value if stage else {},
                                  self.settings)
        self.store.put_stage(self.lease, "register", key, {"version": str(version), "run": version.run_id})
        alias = self.sweep.registration.alias if self.sweep.registration else ""
        self.observer.stage("register", f"{version} @{alias}")

    def _still_registered(self, stage: Mapping[str, Any], picks: Mapping[int, int]) -> bool:
        """Whether the registry has what was registered; a registry that was deleted and made anew does not."""
        try:
            found = registered_winner(self.lease.sweep, self.sweep, picks, self.settings)
        except Unavailable:
            return True  # it cannot be asked now, and a finished sweep is no failure because of that
        return found is not None and (str(found), found.run_id) == (stage["version"], stage["run"])

    def _promote(self, data: tuple[Prepared, ...]) -> None:
        registered, config = self.store.stage(self.sweep.name, "register"), self.sweep.promote
        if registered is None or config is None:
            return
        version = str(registered.value["version"])
        key = digest([version, registered.value["run"], self.spec["promote"]])
        known = self.store.stage(self.sweep.name, "promote")
        if known is not None and known.key == key:
            now = SweepResult(self.sweep.name, self.settings).standing  # it may have been promoted by hand since
            self.observer.stage("promote", now or f"unchanged: {known.value['said']}")
            return
        from seqsweep.promotion import promote as open_gate

        try:
            verdict = open_gate(version, self.settings, to=config.to, margin=config.margin, require=config.require,
                                why=f"sweep {self.sweep.name}", data=data)
            said, reasons = f"{version} is now {config.to}", verdict.reasons
        except Refused as refusal:
            said, reasons = f"{version} stays a candidate", tuple(problem.what for problem in refusal.problems)
        self.store.put_stage(self.lease, "promote", key, {"said": said, "reasons": list(reasons)})
        self.observer.stage("promote", said)


def _prepared(sweep: Sweep) -> tuple[Prepared, ...]:
    """The sweep's data, and the libraries that the search needs, pandas and Optuna among them, imported."""
    from seqsweep.data.prepare import prepare

    data = prepare(sweep)
    import seqsweep.sweep  # noqa: F401

    return data
