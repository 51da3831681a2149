"""What a fork is told of the sweep it was made from: kept with the fork before its first trial, and never changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from seqsweep.config.sweep import Sweep
from seqsweep.errors import NotFound
from seqsweep.store.lease import Lease
from seqsweep.store.records import Store, SweepRecord
from seqsweep.submission import COMPARED, FORKED_FROM, PARENT_UID, TOLD, differences, digest, identity, specification

if TYPE_CHECKING:
    from seqsweep.search.heritage import Heritage

STAGE = "fork"
"""Stage of a fork's record that holds the trials it is told: the parent may be gone when the fork goes on."""


def tell_parent(store: Store, lease: Lease, sweep: Sweep) -> str:
    """Keep the parent's trials that the fork is told, once its data are known; returns what a person should read.

    Empty for a sweep that is no fork, and for one that was told before: its search knows what that was.
    """
    record = store.sweep(sweep.name)
    if FORKED_FROM not in record.facts:
        return ""
    name, known = str(record.facts[FORKED_FROM]), store.stage(sweep.name, STAGE)
    key = digest([identity(specification(sweep)), record.data_hash])
    if known is not None and known.key == key and TOLD in record.facts:
        return ""
    parent = _parent(store, record)
    if parent is None and known is not None and store.trials(sweep.name, curves=False, limit=1):
        return ""  # its search began with what it was told, and nobody can tell that again
    found, said = _told(store, parent, sweep, record) if parent else (None, f"{name} is no longer in the store")
    count = len(found.trials) if found else 0
    store.put_stage(lease, STAGE, key, {"parent": record.facts[PARENT_UID], **(found.stored() if found else {})})
    store.update_sweep(lease, facts={TOLD: count})
    return said if count else f"{said}: the search starts anew"


def _parent(store: Store, record: SweepRecord) -> SweepRecord | None:
    try:
        parent = store.sweep(str(record.facts[FORKED_FROM]))
    except NotFound:
        return None
    return parent if parent.uid == record.facts[PARENT_UID] else None


def _told(store: Store, parent: SweepRecord, sweep: Sweep, record: SweepRecord) -> tuple[Heritage | None, str]:
    """Values are told only where they mean the same: of one task, one metric and the same prepared data."""
    from seqsweep.search.heritage import Heritage  # imports Optuna, which Ray's start need not wait for

    old, new = specification(Sweep.model_validate_json(parent.spec)), specification(sweep)
    changes = [line for key in COMPARED for line in differences(old.get(key), new.get(key), key)]
    if changes:
        return None, f"values of {parent.name} cannot be compared ({'; '.join(changes)})"
    if parent.data_hash != record.data_hash:
        return None, f"values of {parent.name} cannot be compared (the data have changed)"
    records = store.trials(parent.name)
    before = store.stage(parent.name, STAGE)
    heritage = Heritage.of(sweep, records, Heritage.read(before.value) if before else None)
    ended = sum(known.outcome is not None for known in records) + (len(before.value.get("trials", ())) if before else 0)
    return heritage, f"{len(heritage.trials)} of the {ended} ended trials of {parent.name} fit and are told"
