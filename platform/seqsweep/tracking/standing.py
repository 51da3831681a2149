"""Where registered versions stand now: the aliases they hold, who gave them, and when."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from seqsweep.errors import Outage, Problem
from seqsweep.tracking.address import masked, require_database, require_listener

if TYPE_CHECKING:
    from seqsweep.tracking.registry import ModelVersion, Registry

T = TypeVar("T")
PATIENCE = 8.0
"""Seconds that a table of sweeps waits for MLflow."""


@dataclass(frozen=True)
class Standing:
    """What has become of a version since the gate was asked."""

    holds: bool
    """Whether it has the alias that the gate was asked for."""
    says: str


def versions_now(uri: str, registered: Mapping[str, str]) -> dict[str, tuple[ModelVersion, ...]]:
    """Of each sweep the version named, and its other versions that hold an alias; none where the registry has none.

    `registered`: a sweep's uid -> `electricity/3`. Raises NotFound where MLflow's database is a file that is not there,
    Unavailable where MLflow does not answer, after PATIENCE seconds at the most.
    """
    open_registry = _registry(uri)

    def ask() -> dict[str, tuple[ModelVersion, ...]]:
        models = open_registry().of_models({_model(version) for version in registered.values()})
        return {uid: _of(uid, version, models.get(_model(version), ())) for uid, version in registered.items()}

    return within(PATIENCE, uri, ask)


def standing(uri: str, version: str, to: str, *, passed: bool) -> Standing | None:
    """What became of the version that the gate let pass as `to`, or did not; None where that is still so.

    Raises NotFound and Unavailable as `versions_now` does.
    """
    open_registry = _registry(uri)

    def ask() -> Standing | None:
        registry = open_registry()
        found = registry.resolve(version)
        if (holds := to in found.aliases) == passed:
            return None
        if holds:
            return Standing(True, f"{version} is {to}{_story(found, to)}")
        holder = registry.holder(found.name, to)
        return Standing(False, f"{version} is {to} no longer: " + (
            f"{holder} is{_story(holder, to)}" if holder else "no version is"))

    return within(PATIENCE, uri, ask)


def _registry(uri: str) -> Callable[[], Registry]:
    """What opens it. Its import takes a second, which a place where nothing is to be asked need not cost, and which is
    no silence of MLflow's.
    """
    require_listener(uri)
    require_database(uri)
    from seqsweep.tracking.registry import Registry

    return functools.partial(Registry, uri)


def _model(version: str) -> str:
    return version.partition("/")[0]


def _of(uid: str, version: str, versions: tuple[ModelVersion, ...]) -> tuple[ModelVersion, ...]:
    """The version first, then by number those of the same sweep that hold an alias."""
    from seqsweep.tracking.registry import KEY_TAG

    mine = [each for each in versions if str(each) == version or (
        each.aliases and each.tags.get(KEY_TAG, "").startswith(f"{uid}/"))]
    return tuple(sorted(mine, key=lambda each: (str(each) != version, each.version)))


def _story(holder: ModelVersion, to: str) -> str:
    """Who gave it the alias, when and why, as the tags tell: a promotion, a rollback, or neither."""
    promoted, restored = (holder.tags.get(f"{to}.{what}", "") for what in ("promoted_at", "restored_at"))
    if not promoted and not restored:
        return ", an alias given to it in MLflow"
    how, who, why = ("promoted", "promoted_by", "reason") if promoted > restored else (
        "restored", "restored_by", "restored_reason")
    reason = holder.tags.get(f"{to}.{why}", "")
    hand = "" if reason == f"sweep {holder.tags.get('seqsweep.sweep')}" else " by hand"  # as its own gate says
    return (f", {how}{hand} by {holder.tags.get(f'{to}.{who}', 'somebody')} at {max(promoted, restored)}"
            + f": {reason}" * bool(reason))


def within(seconds: float, uri: str, ask: Callable[[], T]) -> T:
    """What MLflow says; a server that takes a request and never answers would hold the caller for minutes."""
    said = Future[T]()

    def listen() -> None:
        try:
            said.set_result(ask())
        except BaseException as error:
            said.set_exception(error)

    threading.Thread(target=listen, name="mlflow", daemon=True).start()
    try:
        return said.result(seconds)
    except TimeoutError:
        raise Outage(Problem(masked(uri), f"MLflow does not answer within {seconds:.0f} s")) from None
