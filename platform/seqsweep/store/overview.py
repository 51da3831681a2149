"""The sweeps of a store at a glance, in two queries; a row that is damaged keeps nobody from seeing the others."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row, func, select

from seqsweep.store import seals
from seqsweep.store.records import Store
from seqsweep.store.tables import stages, sweeps, trials

DAMAGED = "damaged"


@dataclass(frozen=True)
class Glance:
    """What a list shows of a sweep."""

    uid: str
    name: str
    state: str
    """Of a sweep's states; or `damaged`, where its row or the one below is not what was written."""
    trials: int
    created: float | None
    """Unix seconds on the store's clock; None where the row is damaged."""
    active_seconds: float | None
    registered: str | None
    """The version it registered last, such as `electricity/3`."""


def glances(store: Store) -> list[Glance]:
    """All sweeps, oldest first."""
    counts = select(trials.c.sweep_id, func.count().label("trials")).group_by(trials.c.sweep_id).subquery()
    with store._database.read() as connection:
        rows = connection.execute(select(sweeps, func.coalesce(counts.c.trials, 0).label("trials"))
                                  .outerjoin(counts, counts.c.sweep_id == sweeps.c.id).order_by(sweeps.c.id)).all()
        registers = {row.sweep_id: row for row in connection.execute(
            select(stages).where(stages.c.stage == "register"))}
    found = []
    for row in rows:
        register = registers.get(row.id)
        whole = row.seal == seals.seal_of(sweeps, row)
        version = None if register is None else _version(register)
        told = register is None or version is not None
        found.append(Glance(
            row.uid, str(row.name), row.state if whole and told else DAMAGED, row.trials,
            row.created if whole else None, row.active_seconds if whole else None,
            version))
    return found


def _version(register: Row[Any]) -> str | None:
    """What a stage `register` gave; None where its row is damaged."""
    try:
        return str(json.loads(register.value)["version"]) if register.seal == seals.seal_of(stages, register) else None
    except (ValueError, KeyError, TypeError):
        return None
