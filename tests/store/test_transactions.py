"""A kill between any two statements of a write: nothing of it is there, on SQLite and PostgreSQL alike."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event, select
from test_damage import everything, fill, to_the_first_layout

from seqsweep.records import Outcome, Reason, Report, Trial, TrialState
from seqsweep.store.deletion import delete_sweep
from seqsweep.store.mending import Mending
from seqsweep.store.records import Lease, Store
from seqsweep.store.tables import metadata

CURVE = [Report(epoch, {"val_mae": 0.5, "seconds": 0.1}) for epoch in range(7, 10)]
ENDED = Outcome(TrialState.COMPLETE, Reason.FINISHED, 0.001, 7)


class Killed(BaseException):
    """The process is gone: no code of its own runs any more, and the database rolls back what was not committed."""


@contextmanager
def killed_at(statement: int) -> Iterator[Callable[[], bool]]:
    """The process dies before so many statements; yields whether it did."""
    left = [statement]

    def arrive(*_: object) -> None:
        left[0] -= 1
        if left[0] == 0:
            raise Killed

    event.listen(Engine, "before_cursor_execute", arrive)
    try:
        yield lambda: left[0] <= 0
    except Killed:
        pass
    finally:
        event.remove(Engine, "before_cursor_execute", arrive)


def rows(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every table."""
    with store._database.read() as connection:
        return {name: sorted(map(tuple, connection.execute(select(table))), key=repr)
                for name, table in metadata.tables.items()}


WRITES: dict[str, Callable[[Store, Lease], object]] = {
    "create_sweep": lambda store, lease: store.create_sweep("tide", "", "{}", "", {}),
    "acquire": lambda store, lease: store.acquire("free"),
    "release": lambda store, lease: lease.release(),
    "request_stop": lambda store, lease: store.request_stop("wind"),
    "update_sweep": lambda store, lease: store.update_sweep(lease, message="x", facts={"b": 2}),
    "start_trial": lambda store, lease: store.start_trial(lease, Trial(6, {"lr": 0.1}, 1)),
    "save_progress": lambda store, lease: store.save_progress(lease, 5, CURVE, last=b"l", best=b"b", epoch=9),
    "close_trial": lambda store, lease: store.close_trial(lease, 5, ENDED, CURVE, best=b"b", keep=3, sign=1, extra={}),
    "put_stage": lambda store, lease: store.put_stage(lease, "evaluate", "other", {"winner": 1}),
    "touch_test": lambda store, lease: store.touch_test("data", "wind", "trial 2"),
    "drop_checkpoint": lambda store, lease: Mending(store, lease).drop_checkpoint(5, "last", 6),
    "forget_trial": lambda store, lease: Mending(store, lease).forget_trial(2),
    "reopen_trial": lambda store, lease: Mending(store, lease).reopen_trial(2),
    "delete_sweep": lambda store, lease: delete_sweep(store, lease),
}


@pytest.mark.parametrize("write", WRITES)
def test_a_write_that_is_killed_leaves_nothing_of_it(store: Store, write: str) -> None:
    lease = fill(store)
    store.create_sweep("free", "", "{}", "", {})
    before, number = rows(store), 0
    struck = True
    while struck:
        number += 1
        with killed_at(number) as was_struck:
            WRITES[write](store, lease)
        struck = was_struck()
        assert (rows(store) == before) is struck, f"killed before statement {number}"
    assert number > 1  # it began, and it did something


def test_a_store_that_is_killed_while_it_is_brought_up_to_date_is_still_the_older(store: Store, store_url: str) -> None:
    fill(store)
    before = everything(store_url)
    to_the_first_layout(store)
    store.close()
    number, struck = 0, True
    while struck:
        number += 1
        with killed_at(number) as was_struck:
            Store.open(store_url).close()
        struck = was_struck()
    assert number > 40
    assert everything(store_url) == before


MAKING = """
import os, signal, sys
from sqlalchemy import Engine, event
from seqsweep.store.records import Store

def kill(connection, cursor, statement, *_):
    if "CREATE TABLE seqsweep_trials" in statement:
        os.kill(os.getpid(), signal.SIGKILL)

event.listen(Engine, "before_cursor_execute", kill)
Store.open(sys.argv[1])
"""


def test_a_kill_while_a_store_is_made_leaves_none(store_url: str, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", MAKING, store_url], check=False,
                          env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)})
    assert done.returncode == -signal.SIGKILL
    assert not (tmp_path / "seqsweep.db").exists()
    with Store.open(store_url) as store:
        assert store.sweeps() == []
