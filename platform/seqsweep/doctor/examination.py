"""The examination: MLflow first, then one moment of the store, so that a sweep may run meanwhile."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TypeVar

from mlflow import MlflowClient
from sqlalchemy import text

from seqsweep.config.settings import Settings
from seqsweep.doctor.findings import Finding, Kind
from seqsweep.doctor.registry import check_registry
from seqsweep.doctor.runs import check_runs, client_of, read_runs
from seqsweep.doctor.stored import find_sweep, integrity, read, reading
from seqsweep.doctor.sweeps import check_sweep
from seqsweep.doctor.trials import check_checkpoints, check_seals, check_trials
from seqsweep.errors import Unavailable

T = TypeVar("T")
STORE = "the store's file"
_PASSWORD = re.compile(r"(\w://[^:/@\s]*):[^/\s]*@")


def examine(name: str, settings: Settings) -> list[Finding]:
    """Everything that is wrong with what is stored of a sweep; empty if it is healthy.

    Raises NotFound where there is no store or no such sweep, Unavailable where the store cannot be read at all.
    """
    damage: list[Finding] = []
    try:
        with reading(settings.store) as connection:
            damage += [Finding(Kind.DAMAGED, STORE, line, "restore a copy, or save what can be read with `sqlite3 FILE "
                               ".recover`") for line in integrity(connection)]
            uid = str(find_sweep(connection, name)["uid"])
    except Unavailable as error:
        if not damage and "malformed" not in str(error):
            raise
        return [*damage, Finding(Kind.DAMAGED, STORE, str(error))]
    tracking = _Tracking(settings.tracking_uri)
    projected = tracking.ask("its runs", lambda client: read_runs(client, uid))
    try:
        with reading(settings.store) as connection:
            stored = read(connection, name)
            sweeps = set(connection.execute(text("SELECT uid FROM seqsweep_sweeps")).scalars())
    except Unavailable as error:
        return [*damage, Finding(Kind.DAMAGED, STORE, str(error)), *tracking.unanswered]
    broken = list(check_seals(stored))
    try:
        found = [*check_sweep(stored), *check_trials(stored), *check_checkpoints(stored)]
        if projected is not None:
            found += check_runs(stored, projected)
            found += tracking.ask("the registry", lambda client: list(check_registry(stored, client, sweeps))) or []
    except (TypeError, ValueError, KeyError, AttributeError, IndexError) as error:
        if not (damage or broken or isinstance(error, KeyError)):  # a column's name may be damaged
            raise
        found = [Finding(Kind.DAMAGED, STORE, f"the rest cannot be compared: {type(error).__name__}: {error}")]
    return [*damage, *broken, *found, *tracking.unanswered]


class _Tracking:
    """MLflow, which may not answer."""

    def __init__(self, uri: str) -> None:
        self._uri = uri
        self._client: MlflowClient | None = None
        self.unanswered: list[Finding] = []

    def ask(self, what: str, question: Callable[[MlflowClient], T]) -> T | None:
        """The answer; None, and a finding, where there is none."""
        try:
            self._client = self._client or client_of(self._uri)
            return question(self._client)
        except Exception as error:  # its stores let errors of SQLAlchemy, requests and the file system through
            said = next(iter(_PASSWORD.sub(r"\1:***@", str(error)).strip().splitlines()), type(error).__name__)
            self.unanswered.append(Finding(Kind.UNCHECKED, f"MLflow, {what}", f"MLflow does not answer: {said}",
                                           "is MLFLOW_TRACKING_URI right, and is the server running?"))
            return None

