"""The end of a sweep in the store: every row of it goes in one transaction, under the lease of whoever deletes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import delete, func, select, update

from seqsweep.store.lease import Lease
from seqsweep.store.records import Store
from seqsweep.store.tables import checkpoints, leases, reports, stages, sweeps, test_uses, trials


def delete_sweep(store: Store, lease: Lease) -> None:
    """Delete a sweep: trials, curves, checkpoints, stages, lease. Conflict, and nothing deleted, once it was taken.

    How often its test part was used stays counted, under a name that no sweep can have: nobody unsees what was seen,
    and trial 3 of a later sweep of this name is another model.
    """
    sweep = lease.sweep
    mine = select(trials.c.id).where(trials.c.sweep_id == sweep.id)
    with store._held(lease) as connection:
        for table in (reports, checkpoints):
            connection.execute(delete(table).where(table.c.trial_id.in_(mine)))
        connection.execute(update(test_uses).where(test_uses.c.sweep == sweep.name).values(
            sweep=f"{sweep.name} (deleted, {sweep.uid})"))
        for table in (trials, stages, leases):
            connection.execute(delete(table).where(table.c.sweep_id == sweep.id))
        connection.execute(delete(sweeps).where(sweeps.c.id == sweep.id))


def count_trials(store: Store, name: str) -> int:
    """How many trials a sweep has, the damaged ones too."""
    with store._database.read() as connection:
        return connection.execute(select(func.count()).select_from(trials).join(
            sweeps, sweeps.c.id == trials.c.sweep_id).where(sweeps.c.name == name)).scalar_one()


def all_facts(store: Store) -> dict[str, Mapping[str, Any]]:
    """The facts of every sweep by its name; a record that is damaged keeps nobody from reading the others."""
    found = dict[str, Mapping[str, Any]]()
    with store._database.read() as connection:
        for name, text in connection.execute(select(sweeps.c.name, sweeps.c.facts)).all():
            try:
                facts = json.loads(text)
            except (TypeError, ValueError):
                continue
            if isinstance(facts, dict):
                found[str(name)] = facts
    return found
