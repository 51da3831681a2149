"""A store whose file was damaged says so, and never hands out what nobody wrote."""

from __future__ import annotations

import contextlib
import hashlib
import random
import re
import sqlite3
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy import text

from seqsweep.config.settings import Settings
from seqsweep.doctor.examination import examine
from seqsweep.errors import NotFound, SeqsweepError, Unavailable
from seqsweep.records import Outcome, Reason, Report, Trial, TrialState
from seqsweep.store.records import Lease, Store, SweepState


def fill(store: Store) -> Lease:
    """Five ended trials, one under way with two checkpoints, a stage."""
    store.create_sweep("wind", "name: wind\n", '{"metric":{"name":"mae"},"budget":{"max_trials":6}}', "hash", {"a": 1})
    lease = store.acquire("wind")
    store.update_sweep(lease, state=SweepState.RUNNING, data_hash="d1")
    draw = random.Random(0)
    for number in range(6):
        store.start_trial(lease, Trial(number, {"lr": draw.random(), "cell": "gru"}, draw.getrandbits(40)), "host")
        curve = [Report(epoch, {"val_mae": draw.random(), "train_loss": draw.random(), "seconds": 0.5})
                 for epoch in range(1, 13)]
        for epoch in (3, 6):
            store.save_progress(lease, number, curve[epoch - 3:epoch], last=draw.randbytes(3000),
                                best=draw.randbytes(1500), epoch=epoch)
        if number < 5:
            best = min(curve, key=lambda report: report.metrics["val_mae"])
            store.close_trial(lease, number, Outcome(TrialState.COMPLETE, Reason.FINISHED, best.metrics["val_mae"],
                                                     best.epoch), curve[6:], best=draw.randbytes(1500), keep=3, sign=1,
                              extra={"num_weights": 12})
    store.put_stage(lease, "evaluate", "key", {"winner": 2, "headline": "trial 2 wins"})
    return lease


def everything(url: str) -> tuple[object, ...]:
    """All that a resume reads, after the check that it begins with; the last checkpoint apart.

    Of a sweep's row two columns have no seal, and no result depends on them: when it was written, and its revision.
    """
    with Store.open(url) as store:
        store.check()
        trials = store.trials("wind")
        sweeps = [replace(record, updated=0.0) for record in store.sweeps()]
        return (sweeps, trials, store.stages("wind"), store.best_trials("wind", 1, 3),
                [store.best_weights("wind", record.number) for record in trials])


def last(url: str) -> object:
    with Store.open(url) as store:
        return store.last_checkpoint("wind", 5)


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "s.db"
    with Store.open(f"sqlite:///{path}") as store:
        fill(store)
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("VACUUM")  # pages that hold nothing cannot be damaged
    return path.read_bytes()


def flipped(content: bytes, draw: random.Random) -> bytes:
    """One bit, where something is written: half of a small file is empty."""
    place = draw.choice([place for place, byte in enumerate(content) if byte])
    return content[:place] + bytes([content[place] ^ 1 << draw.randrange(8)]) + content[place + 1:]


def truncated(content: bytes, draw: random.Random) -> bytes:
    return content[:draw.randrange(len(content))]


def zeroed(content: bytes, draw: random.Random) -> bytes:
    """A sector that was never written."""
    place = draw.choice([place for place in range(0, len(content), 512) if any(content[place:place + 512])])
    return content[:place] + bytes(512) + content[place + 512:]


@pytest.mark.parametrize(("damage", "places", "least"), [(flipped, 140, 70), (truncated, 40, 40), (zeroed, 60, 50)])
def test_a_damaged_file_is_told_of_or_does_no_harm(tmp_path: Path, content: bytes, places: int, least: int,
                                                   damage: Callable[[bytes, random.Random], bytes]) -> None:
    path, draw, told = tmp_path / "s.db", random.Random(1), Counter[str]()
    url, settings = f"sqlite:///{path}", Settings(f"sqlite:///{path}", f"sqlite:///{tmp_path}/none.db", "local")
    path.write_bytes(content)
    whole, before = everything(url), examine_quietly(settings)
    checkpoints = [last(url), None]
    with Store.open(url) as store, store._database.write() as connection:
        connection.execute(text("DELETE FROM seqsweep_checkpoints WHERE kind = 'last' AND epoch = 6"))
    checkpoints.append(last(url))
    for _ in range(places):
        for name in ("s.db-wal", "s.db-shm"):
            (tmp_path / name).unlink(missing_ok=True)
        path.write_bytes(damage(content, draw))
        try:
            found, checkpoint = everything(url), last(url)
        except Unavailable as error:
            assert error.problems[0].right or "restore a copy" in str(error)
            told["refused"] += 1
            if told["refused"] % 4 == 0:
                assert examine_quietly(settings) != before
        else:
            assert found == whole
            assert checkpoint in checkpoints
            told["an earlier checkpoint" if checkpoint != checkpoints[0] else "no harm"] += 1
    assert told["refused"] >= least, told


def examine_quietly(settings: Settings) -> list[str]:
    """What the doctor says; what it raises is for the user too."""
    try:
        return [str(finding) for finding in examine("wind", settings)]
    except SeqsweepError as error:
        return [str(error)]


def test_an_empty_file_is_no_new_store(tmp_path: Path) -> None:
    (tmp_path / "s.db").touch()
    with pytest.raises(Unavailable, match="the file is empty"):
        Store.open(f"sqlite:///{tmp_path}/s.db")
    (tmp_path / "s.db").unlink()
    Store.open(f"sqlite:///{tmp_path}/s.db").close()
    assert [path.name for path in tmp_path.iterdir()] == ["s.db"]


@pytest.mark.parametrize(("change", "what"), [
    ("trials SET value = value / 2 WHERE number = 1", "trial 1"),
    ("trials SET params = '{\"lr\": 2.0}' WHERE number = 5", "trial 5"),
    ("trials SET revision = revision + 100 WHERE number = 0", "trial 0"),
    ("reports SET metrics = replace(metrics, '0.5', '0.4') WHERE epoch = 2", "trial 0, its curve"),
    ("sweeps SET spec = replace(spec, '6', '7')", "sweep wind"),
    ("stages SET value = replace(value, '2', '3')", "stage evaluate")])
def test_a_changed_value_is_refused_where_it_is_read(store: Store, change: str, what: str) -> None:
    fill(store)
    with store._database.write() as connection:
        assert connection.execute(text(f"UPDATE seqsweep_{change}")).rowcount
    with pytest.raises(Unavailable, match=f"{what}.* is not what was written"):
        (store.sweep("wind"), store.trials("wind"), store.stages("wind"))


def test_text_that_became_bytes_is_refused(tmp_path: Path) -> None:
    with Store.open(f"sqlite:///{tmp_path}/s.db") as store:
        fill(store)
        with store._database.write() as connection:
            connection.execute(text("UPDATE seqsweep_trials SET message = CAST(message AS BLOB) WHERE number = 3"))
        with pytest.raises(Unavailable, match=r"trial 3.* is not what was written"):
            store.trials("wind")


def test_the_checkpoint_before_is_used(store: Store) -> None:
    fill(store)
    assert (store.last_checkpoint("wind", 5) or (0,))[0] == 6
    damage(store, "kind = 'last' AND epoch = 6")
    found = store.last_checkpoint("wind", 5)
    assert found is not None
    assert found[0] == 3
    assert len(found[1]) == 3000
    damage(store, "kind = 'last'")
    assert store.last_checkpoint("wind", 5) is None
    damage(store, "kind = 'best'")
    with pytest.raises(Unavailable, match="trial 5: its best checkpoint is damaged"):
        store.best_weights("wind", 5)


def test_a_checkpoint_that_moved_is_damaged(store: Store) -> None:
    fill(store)
    with store._database.write() as connection:
        connection.execute(text("UPDATE seqsweep_checkpoints SET epoch = 12 WHERE kind = 'last' AND epoch = 6"))
    assert (store.last_checkpoint("wind", 5) or (0,))[0] == 3


def damage(store: Store, which: str) -> None:
    with store._database.write() as connection:
        connection.execute(text(f"UPDATE seqsweep_checkpoints SET blob = :bad WHERE {which}"), {"bad": b"evil"})


def test_two_checkpoints_to_go_on_from_are_kept_and_one_of_weights(store: Store) -> None:
    lease = fill(store)
    for epoch, kept in ((7, [6, 7]), (9, [7, 9]), (8, [7, 8]), (1, [1])):  # to train on from 7, and from the start
        store.save_progress(lease, 5, [Report(epoch, {"val_mae": 1.0})], last=b"%d" % epoch, best=b"b%d" % epoch,
                            epoch=epoch)
        with store._database.read() as connection:
            rows = connection.execute(text("SELECT kind, c.epoch FROM seqsweep_checkpoints c JOIN seqsweep_trials t ON "
                                           "t.id = trial_id WHERE number = 5 ORDER BY kind, c.epoch")).all()
        assert [tuple(row) for row in rows] == [("best", epoch), *(("last", each) for each in kept)]
        assert store.last_checkpoint("wind", 5) == (epoch, b"%d" % epoch)


def to_the_first_layout(store: Store) -> None:
    """Make the tables what they were before rows had seals, and trials two checkpoints to go on from."""
    sqlite = store._database.is_sqlite
    with store._database.write() as connection:
        rows = connection.execute(text(
            "SELECT trial_id, kind, epoch, blob FROM seqsweep_checkpoints ORDER BY epoch")).all()
        connection.execute(text("DROP TABLE seqsweep_checkpoints"))
        connection.execute(text(
            "CREATE TABLE seqsweep_checkpoints (trial_id INTEGER NOT NULL, kind VARCHAR(4) NOT NULL, "
            "epoch INTEGER NOT NULL, sha256 VARCHAR(64) NOT NULL, "
            f"blob {'BLOB' if sqlite else 'BYTEA'} NOT NULL, PRIMARY KEY (trial_id, kind), "
            "FOREIGN KEY(trial_id) REFERENCES seqsweep_trials (id), CHECK (kind IN ('last', 'best')))"))
        for trial, kind, epoch, blob in {tuple(row[:2]): row for row in rows}.values():
            connection.execute(text("INSERT INTO seqsweep_checkpoints VALUES (:t, :k, :e, :s, :b)"), {
                "t": trial, "k": kind, "e": epoch, "s": hashlib.sha256(blob).hexdigest(), "b": blob})
        for table, column in (("sweeps", "seal"), ("stages", "seal"), ("trials", "seal"), ("trials", "curve")):
            connection.execute(text(f"ALTER TABLE seqsweep_{table} DROP COLUMN {column}"))
        connection.execute(text("UPDATE seqsweep_schema SET version = 1"))


def test_a_store_of_the_first_layout_is_brought_up_to_date(store: Store, store_url: str) -> None:
    fill(store)
    before = everything(store_url), last(store_url)
    to_the_first_layout(store)
    store.close()
    with Store.open(store_url):
        pass
    assert (everything(store_url), last(store_url)) == before
    with Store.open(store_url) as again:
        damage(again, "kind = 'last'")
        assert again.last_checkpoint("wind", 5) is None


def test_a_store_that_lost_its_version_is_damaged(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/s.db"
    with Store.open(url) as store, store._database.write() as connection:
        connection.execute(text("DROP TABLE seqsweep_schema"))
    with pytest.raises(Unavailable, match="it has no table seqsweep_schema"):
        Store.open(url)


def test_no_sweep_of_that_name(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "s.db").write_bytes(content)
    with pytest.raises(NotFound, match=re.escape("did you mean wind?")):
        examine("wimd", Settings(f"sqlite:///{tmp_path}/s.db", f"sqlite:///{tmp_path}/none.db", "local"))
