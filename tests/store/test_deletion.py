"""A sweep that is deleted: nothing of it is left, all of the others is, and who held it before writes no more."""

from __future__ import annotations

import pytest
from sqlalchemy import delete, select
from test_at_once import amid
from test_damage import fill
from test_transactions import rows

from seqsweep.errors import Conflict, NotFound
from seqsweep.records import Trial
from seqsweep.store.deletion import all_facts, count_trials, delete_sweep
from seqsweep.store.records import Store
from seqsweep.store.tables import leases, sweeps, test_uses


def uses(store: Store) -> list[tuple[str, str]]:
    with store._database.read() as connection:
        return [(sweep, model) for sweep, model in connection.execute(
            select(test_uses.c.sweep, test_uses.c.model).order_by(test_uses.c.id))]


def other(store: Store) -> None:
    """Another sweep with a trial."""
    store.create_sweep("tide", "", "{}", "", {"b": 2})
    with store.acquire("tide") as lease:
        store.start_trial(lease, Trial(0, {}, 1))
        store.save_progress(lease, 0, (), last=b"l", best=b"b", epoch=1)
        store.put_stage(lease, "search", "k", {})


def test_every_row_of_it_goes_and_no_other(store: Store) -> None:
    other(store)
    alone = rows(store)
    lease = fill(store)
    assert count_trials(store, "wind") == 6
    delete_sweep(store, lease)
    assert rows(store) == alone
    with pytest.raises(NotFound, match="no sweep named wind"):
        store.sweep("wind")
    lease.release()  # nothing happens
    assert rows(store) == alone


def test_uses_of_its_test_part_stay_counted_and_are_no_later_sweeps(store: Store) -> None:
    lease = fill(store)
    uid = lease.sweep.uid
    for model in ("trial 1", "trial 2"):
        store.touch_test("d1", "wind", model)
    delete_sweep(store, lease)
    assert store.test_uses("d1") == 2
    fill(store)
    assert store.touch_test("d1", "wind", "trial 2") == 3
    assert uses(store) == [(f"wind (deleted, {uid})", "trial 1"), (f"wind (deleted, {uid})", "trial 2"),
                           ("wind", "trial 2")]


def test_who_lost_the_lease_deletes_nothing(store: Store) -> None:
    lease = fill(store)
    lease.release()
    store.acquire("wind")
    before = rows(store)
    with pytest.raises(Conflict, match="no longer holds it, nothing was written"):
        delete_sweep(store, lease)
    assert rows(store) == before


def test_a_frozen_controller_writes_nothing_to_the_next_sweep_of_that_name(store: Store) -> None:
    """The next one has its number in SQLite, and as many changes of holder."""
    frozen = fill(store)
    with_the_same_number = frozen.sweep.id
    delete_sweep(store, frozen)
    with pytest.raises(Conflict, match="no longer holds it, nothing was written; it was deleted"):
        store.start_trial(frozen, Trial(0, {}, 1))
    store.create_sweep("wind", "", "{}", "", {})
    new = store.acquire("wind")
    assert new.token == frozen.token
    if store._database.is_sqlite:
        assert new.sweep.id == with_the_same_number
    assert new.is_held()
    assert not frozen.is_held()
    before = rows(store)
    for write in (frozen.renew, lambda: store.start_trial(frozen, Trial(0, {}, 1)),
                  lambda: store.update_sweep(frozen, message="x"), lambda: delete_sweep(store, frozen)):
        with pytest.raises(Conflict, match="it was deleted"):
            write()
    frozen.release()
    assert rows(store) == before


def test_who_comes_while_it_is_deleted_is_told_so(store: Store, store_url: str) -> None:
    store.create_sweep("wind", "", "{}", "", {})
    with pytest.raises(NotFound, match="wind"):
        amid(store, store_url, lambda connection: (connection.execute(delete(leases)),
                                                   connection.execute(delete(sweeps))),
             lambda waiting: waiting.acquire("wind"))


def test_facts_are_read_beside_a_damaged_record(store: Store) -> None:
    other(store)
    lease = fill(store)
    with store._database.write() as connection:
        connection.execute(sweeps.update().where(sweeps.c.id == lease.sweep.id).values(facts="{"))
    assert all_facts(store) == {"tide": {"b": 2}}
