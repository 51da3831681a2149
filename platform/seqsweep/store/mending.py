"""What a repair does to the store, each in one transaction under the controller's lease."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select, update

from seqsweep.errors import NotFound
from seqsweep.records import TrialState
from seqsweep.store import seals
from seqsweep.store.database import now
from seqsweep.store.lease import Lease
from seqsweep.store.records import Store
from seqsweep.store.sweeps import SweepState
from seqsweep.store.tables import checkpoints, leases, metadata, reports, stages, sweeps, trials

_OWNERS = {trials: sweeps, leases: sweeps, stages: sweeps, reports: trials, checkpoints: trials}


class Mending:
    """Repairs of one sweep's rows. Each raises Conflict, and writes nothing, once the lease was taken."""

    def __init__(self, store: Store, lease: Lease) -> None:
        self._store, self._lease = store, lease

    def drop_rows(self, table: str) -> int:
        """Delete the rows of a table whose owner is not in the store, of any sweep; returns how many they were."""
        child = metadata.tables[table]
        owner = next(iter(child.foreign_keys)).parent
        with self._store._held(self._lease) as connection:
            return connection.execute(delete(child).where(owner.not_in(select(_OWNERS[child].c.id)))).rowcount

    def drop_checkpoint(self, number: int, kind: str, epoch: int) -> None:
        """Delete one checkpoint of a trial."""
        with self._store._held(self._lease) as connection:
            connection.execute(delete(checkpoints).where(
                checkpoints.c.trial_id == self._trial(connection, number), checkpoints.c.kind == kind,
                checkpoints.c.epoch == epoch))

    def forget_trial(self, number: int) -> None:
        """Delete a trial with all that it gave: its number is free again."""
        with self._store._held(self._lease) as connection:
            key = self._trial(connection, number)
            for table in (reports, checkpoints):
                connection.execute(delete(table).where(table.c.trial_id == key))
            connection.execute(delete(trials).where(trials.c.id == key))
            self._search_again(connection, f"trial {number} was damaged, and is to be trained anew")

    def reopen_trial(self, number: int) -> None:
        """Make an ended trial a running one that has not begun."""
        with self._store._held(self._lease) as connection:
            key = self._trial(connection, number)
            for table in (reports, checkpoints):
                connection.execute(delete(table).where(table.c.trial_id == key))
            self._search_again(connection, f"the weights of trial {number} were damaged, and it is to be trained again")
            revision = connection.execute(select(sweeps.c.revision).where(
                sweeps.c.id == self._lease.sweep.id)).scalar_one()
            connection.execute(update(trials).where(trials.c.id == key).values(
                state=TrialState.RUNNING, ended=None, reason=None, value=None, best_epoch=None, message="",
                curve=seals.seal(()), revision=revision))
            seals.renew(connection, trials, trials.c.id == key)

    def _search_again(self, connection: Connection, why: str) -> None:
        """A sweep that is not through: submitted or resumed it goes on with its search."""
        mine = sweeps.c.id == self._lease.sweep.id
        connection.execute(delete(stages).where(stages.c.sweep_id == self._lease.sweep.id, stages.c.stage == "search"))
        connection.execute(update(sweeps).where(mine).values(
            state=SweepState.STOPPED, message=why, updated=now(), revision=sweeps.c.revision + 1))
        seals.renew(connection, sweeps, mine)

    def _trial(self, connection: Connection, number: int) -> int:
        key = connection.execute(select(trials.c.id).where(
            trials.c.sweep_id == self._lease.sweep.id, trials.c.number == number)).scalar_one_or_none()
        if key is None:
            raise NotFound(f"no trial {number} in sweep {self._lease.sweep.name}")
        return int(key)
