"""Changes of a store as a faulty writer would make them: with every row well sealed."""

from __future__ import annotations

from sqlalchemy import Connection, text

from seqsweep.store import seals
from seqsweep.store.curves import seal_curve
from seqsweep.store.tables import stages, sweeps, trials


def seal_all(connection: Connection) -> None:
    """Seal every curve and row anew."""
    for key in connection.execute(text("SELECT id FROM seqsweep_trials")).scalars().all():
        connection.execute(text("UPDATE seqsweep_trials SET curve = :curve WHERE id = :key"),
                           {"curve": seal_curve(connection, key), "key": key})
    for each in (sweeps, trials, stages):
        seals.renew(connection, each)
