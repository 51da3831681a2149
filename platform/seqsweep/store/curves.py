"""A trial's learning curve: one row an epoch, with the time it ended."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise
from operator import itemgetter

from sqlalchemy import ColumnElement, Connection, Select, delete, insert, select

from seqsweep.records import Report
from seqsweep.store.database import now
from seqsweep.store.seals import seal
from seqsweep.store.tables import reports as table


@dataclass
class Curve:
    """Reports in the order of their epochs, each with its time in Unix seconds on the store's clock."""

    reports: list[Report] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    seal: str = seal(())
    """Of its rows as they were read."""


def append_reports(connection: Connection, trial_id: int, reports: Sequence[Report], ago: float = 0.0) -> None:
    """Write reports; stored ones of the same or a later epoch give way, since training went back to a checkpoint.

    The last of them came `ago` seconds before this write. ValueError if the epochs do not rise.
    """
    if not reports:
        return
    epochs = [report.epoch for report in reports]
    if any(later <= earlier for earlier, later in pairwise(epochs)):
        raise ValueError(f"epochs must rise: {epochs}")
    connection.execute(delete(table).where(table.c.trial_id == trial_id, table.c.epoch >= epochs[0]))
    clock = connection.execute(select(now())).scalar_one() - ago
    connection.execute(insert(table), [
        {"trial_id": trial_id, "epoch": report.epoch, "reported": time, "metrics": _encode(report)}
        for report, time in zip(reports, _times(reports, clock), strict=True)])


def seal_curve(connection: Connection, trial_id: int) -> str:
    """Seal of a trial's curve as it is stored."""
    rows = connection.execute(_rows_of(table.c.trial_id == trial_id))
    return seal((epoch, reported, metrics) for _, epoch, reported, metrics in rows)


def read_curves(connection: Connection, trial_ids: Select[int]) -> dict[int, Curve]:
    """The curves of a query's trials, by trial id."""
    curves: dict[int, Curve] = {}
    rows = connection.execute(_rows_of(table.c.trial_id.in_(trial_ids)))
    for trial_id, group in groupby(rows, key=itemgetter(0)):
        stored = [(epoch, reported, metrics) for _, epoch, reported, metrics in group]
        curves[trial_id] = Curve([Report(epoch, json.loads(metrics)) for epoch, _, metrics in stored],
                                 [reported for _, reported, _ in stored], seal(stored))
    return curves


def _rows_of(condition: ColumnElement[bool]) -> Select[int, int, float, str]:
    return select(table.c.trial_id, table.c.epoch, table.c.reported, table.c.metrics).where(condition).order_by(
        table.c.trial_id, table.c.epoch)


def _times(reports: Sequence[Report], clock: float) -> list[float]:
    """When each epoch ended, counted back from the last by the `seconds` each later one took."""
    times = [clock]
    for report in reversed(reports[1:]):
        times.append(times[-1] - max(0.0, report.metrics.get("seconds", 0.0)))
    return times[::-1]


def _encode(report: Report) -> str:
    return json.dumps({name: float(value) for name, value in report.metrics.items()})
