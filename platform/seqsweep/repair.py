"""The doctor's other half: sets right what an examination found, where that is safe, by the project's own ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from seqsweep.config.settings import Settings
from seqsweep.doctor.examination import STORE, examine
from seqsweep.doctor.findings import Finding, Kind, Remedy
from seqsweep.errors import SeqsweepError
from seqsweep.pipeline import project
from seqsweep.store.mending import Mending
from seqsweep.store.records import Store

if TYPE_CHECKING:
    from seqsweep.tracking.mending import Surplus


@dataclass(frozen=True)
class Repair:
    """What was done, what could not be, and what an examination finds now."""

    done: tuple[str, ...]
    failed: tuple[str, ...]
    left: tuple[Finding, ...]


def repair(name: str, settings: Settings) -> Repair:
    """Do what is safe about each finding of a sweep that no controller is at work on, and examine it again.

    Raises Conflict where a controller holds the sweep; NotFound, Unavailable as `examine` does.
    """
    findings = examine(name, settings)
    if not any(finding.remedy for finding in findings):
        return Repair((), (), tuple(findings))
    if any(finding.where == STORE for finding in findings):
        return Repair((), ("nothing is written to a damaged file",), tuple(findings))
    with Store.open_existing(settings.store) as store, store.acquire(name) as lease:
        work = _Work(name, settings, Mending(store, lease))
        for finding in findings:
            if finding.kind is not Kind.UNCHECKED:
                work.mend(finding)
        work.project()
    return Repair(tuple(work.done), tuple(work.failed), tuple(examine(name, settings)))


class _Work:
    """Remedies one by one; one that fails leaves the others."""

    def __init__(self, name: str, settings: Settings, mending: Mending) -> None:
        self._name, self._settings, self._mending = name, settings, mending
        self._surplus: Surplus | None = None
        self._projects = False
        self._gone = set[object]()
        self.done: list[str] = []
        self.failed: list[str] = []

    def mend(self, finding: Finding) -> None:
        """Do what the finding asks for, once for each target."""
        remedy, target = finding.remedy, finding.target
        if remedy is None or (target and (remedy, target) in self._gone):
            return
        self._gone.add((remedy, target))
        try:
            if remedy is not Remedy.PROJECT:
                self._do(remedy, target)
                self.done.append(f"{finding.where}: {finding.what}: {remedy}")
        except SeqsweepError as error:
            self.failed.append(f"{finding.where}: {error}")
        # Runs that a change of the store makes superfluous, missing or old are found as they are projected.
        self._projects = self._projects or remedy in (Remedy.PROJECT, Remedy.RENEW_RUN)

    def project(self) -> None:
        """Write what MLflow lacks."""
        if self._projects:
            try:
                self.done.append(f"MLflow: {project(self._name, self._settings)} runs were written from the store, or "
                                 "were there")
            except SeqsweepError as error:
                self.failed.append(f"MLflow: {error}")

    def _do(self, remedy: Remedy, target: tuple[str | int, ...]) -> None:
        if remedy is Remedy.DROP_ROWS:
            self._mending.drop_rows(str(target[0]))
        elif remedy is Remedy.DROP_CHECKPOINT:
            self._mending.drop_checkpoint(int(target[0]), str(target[1]), int(target[2]))
        elif remedy is Remedy.FORGET_TRIAL:
            self._delete_runs_of(int(target[0]))
            self._mending.forget_trial(int(target[0]))
        elif remedy is Remedy.REOPEN_TRIAL:
            self._delete_runs_of(int(target[0]))
            self._mending.reopen_trial(int(target[0]))
        elif remedy is Remedy.DROP_ALIAS:
            self._tracking().delete_alias(str(target[0]), str(target[1]))
        else:
            self._tracking().delete_run(str(target[0]))

    def _tracking(self) -> Surplus:
        from seqsweep.tracking.mending import Surplus

        self._surplus = self._surplus or Surplus(self._settings.tracking_uri)
        return self._surplus

    def _delete_runs_of(self, number: int) -> None:
        """A trial that is trained again gets a new run: points of the old one would stand beside the new."""
        from seqsweep.tracking.runs import find_run

        with Store.open_existing(self._settings.store) as store:
            run = find_run(self._settings.tracking_uri, store.sweep(self._name), number)
        if run is not None:
            self._tracking().delete_run(run)
            self._projects = True
