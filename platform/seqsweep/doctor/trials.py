"""What must be true of each trial: its row, its curve, its checkpoints."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

from seqsweep.doctor.findings import Finding, Kind, Remedy
from seqsweep.doctor.stored import Record, Stored

_ENDED_AS = {"finished": "complete", "early stopped": "complete", "pruned": "pruned", "time up": "pruned"}
"""Reason -> state; every other reason is a failure's."""


def best_of(curve: list[Record], metric: str, maximise: bool) -> tuple[int, float] | None:
    """Epoch and value of the best finite `metric`, the first of equals."""
    best: tuple[int, float] | None = None
    for report in curve:
        value = (report["metrics"] or {}).get(metric)
        if not isinstance(value, (int, float)) or not math.isfinite(value):
            continue
        if best is None or (value > best[1] if maximise else value < best[1]):
            best = report["epoch"], float(value)
    return best


def ranked(stored: Stored) -> list[Record]:
    """The complete and pruned trials with a value, the best first, the earlier of two equals first."""
    sign = -1.0 if is_maximised(stored) else 1.0
    having = [trial for trial in stored.trials if trial["state"] in ("complete", "pruned")
              and trial["value"] is not None]
    return sorted(having, key=lambda trial: (sign * trial["value"], trial["number"]))


def metric_of(stored: Stored) -> str:
    """Name of the figure that decides, as curves have it."""
    return f"val_{stored.spec.get('metric', {}).get('name')}"


def is_maximised(stored: Stored) -> bool:
    """Whether more is better."""
    return bool(stored.spec.get("metric", {}).get("goal") == "maximize")


def check_seals(stored: Stored) -> Iterator[Finding]:
    """Findings about rows that are not what was written."""
    for where in stored.broken:
        yield Finding(Kind.DAMAGED, where, "its record is not what was written", "restore a copy of the store")
    for number in sorted(stored.broken_trials, key=str):
        yield Finding(Kind.DAMAGED, f"trial {number}", "its record or its curve is not what was written", "",
                      Remedy.FORGET_TRIAL, (number,))


def check_trials(stored: Stored) -> Iterator[Finding]:
    """Findings about trials one by one, and beside each other."""
    for trial in stored.trials:
        where, curve = f"trial {trial['number']}", stored.curves.get(trial["id"], [])
        if trial["number"] in stored.broken_trials:
            continue
        yield from _row(stored, trial, where)
        yield from _curve(stored, trial, curve, where)
        yield from _params(stored, trial, where)
    yield from _twins(stored)


def _row(stored: Stored, trial: Record, where: str) -> Iterator[Finding]:
    state, reason = trial["state"], trial["reason"]
    closing = {name: trial[name] for name in ("ended", "reason", "value", "best_epoch")}
    if state == "running":
        if said := [name for name, value in closing.items() if value is not None]:
            yield Finding(Kind.CONTRADICTING, where, f"it is running, and has {' and '.join(said)}")
        if stored.has_ended:
            yield Finding(Kind.CONTRADICTING, where, "it is running, and the sweep is finished",
                          "`seqsweep resume` goes on with it")
        return
    if state not in ("complete", "pruned", "failed"):
        yield Finding(Kind.DAMAGED, where, f"there is no state {state!r}")
        return
    if trial["ended"] is None or reason is None:
        yield Finding(Kind.CONTRADICTING, where, f"it is {state}, and has no end or no reason")
    elif _ENDED_AS.get(reason, "failed") != state:
        yield Finding(Kind.CONTRADICTING, where, f"it is {state}, for the reason {reason!r}")
    if not 0 < trial["revision"] <= stored.sweep["revision"]:
        yield Finding(Kind.CONTRADICTING, where, f"its revision is {trial['revision']}, and the sweep has had "
                                                 f"{stored.sweep['revision']}")


def _curve(stored: Stored, trial: Record, curve: list[Record], where: str) -> Iterator[Finding]:
    epochs = [report["epoch"] for report in curve]
    if twice := [epoch for epoch, times in Counter(epochs).items() if times > 1]:
        yield Finding(Kind.DUPLICATED, where, f"its curve has epoch {_some(twice)} more than once")
    if missing := sorted(set(range(1, max(epochs, default=0) + 1)) - set(epochs)):
        yield Finding(Kind.LOST, where, f"its curve lacks epoch {_some(missing)}")
    if odd := sorted({name for report in curve for name, value in (report["metrics"] or {}).items()
                      if isinstance(value, bool) or not isinstance(value, (int, float))}):
        yield Finding(Kind.DAMAGED, where, f"its curve's {_some(odd)} is no number")
    planned = (trial["params"] or {}).get("epochs")
    if isinstance(planned, int) and len(epochs) > planned:
        yield Finding(Kind.CONTRADICTING, where, f"its curve has {len(epochs)} epochs, and it was to train {planned}")
    if trial["state"] == "running":
        return
    if trial["reason"] == "finished" and isinstance(planned, int) and len(epochs) < planned:
        yield Finding(Kind.LOST, where, f"it finished its {planned} epochs, and its curve has {len(epochs)}")
    elif trial["state"] in ("complete", "pruned") and not epochs:
        yield Finding(Kind.LOST, where, f"it is {trial['state']}, and has no curve")
    found = best_of(curve, metric_of(stored), is_maximised(stored))
    says = None if trial["value"] is None else (trial["best_epoch"], trial["value"])
    if found != says:
        yield Finding(Kind.CONTRADICTING, where,
                      f"its value is {_value(says)}, and the best of its curve {_value(found)}")


def _params(stored: Stored, trial: Record, where: str) -> Iterator[Finding]:
    space, params = stored.spec.get("parameters"), trial["params"]
    if not isinstance(space, dict) or params is None:
        return
    if unknown := sorted(set(params) - set(space)):
        yield Finding(Kind.CONTRADICTING, where, f"it has {_some(unknown)}, which the sweep does not search")
    for name, value in params.items():
        if name in space and not _is_inside(space[name], value):
            yield Finding(Kind.CONTRADICTING, where, f"{name} is {value!r}, which the sweep does not allow")


def _is_inside(allowed: Record, value: Any) -> bool:
    if allowed.get("value") is not None:
        return bool(value == allowed["value"])
    if allowed.get("values") is not None:
        return value in allowed["values"]
    low, high = allowed.get("min"), allowed.get("max")
    if low is None or high is None:
        return True
    slack = 1e-9 * max(abs(low), abs(high))
    return isinstance(value, (int, float)) and low - slack <= value <= high + slack


def _twins(stored: Stored) -> Iterator[Finding]:
    """Two trials with equal parameters, where the search can hardly have drawn them twice."""
    seen: dict[str, int] = {}
    for trial in stored.trials:
        params = trial["params"]
        if params is None or not (stored.spec.get("method") == "grid" or _was_drawn(stored, params)):
            continue
        first = seen.setdefault(json.dumps(params, sort_keys=True), trial["number"])
        if first != trial["number"]:
            yield Finding(Kind.DUPLICATED, f"trial {trial['number']}", f"it has the parameters of trial {first}")
    numbers = Counter(trial["number"] for trial in stored.trials)
    revisions = Counter(trial["revision"] for trial in stored.trials)
    for number in (number for number, times in numbers.items() if times > 1):
        yield Finding(Kind.DUPLICATED, f"trial {number}", f"it is there {numbers[number]} times")
    for revision in (revision for revision, times in revisions.items() if times > 1):
        yield Finding(Kind.CONTRADICTING, stored.sweep["name"], f"{revisions[revision]} trials have revision "
                                                                f"{revision}: one write did not see the other")


def _was_drawn(stored: Stored, params: Record) -> bool:
    """Whether one of the parameters is from a continuous range."""
    space = stored.spec.get("parameters") or {}
    return any(is_continuous(space[name]) for name in params if name in space)


def is_continuous(allowed: Record) -> bool:
    """Whether a parameter has a range of floats, without steps."""
    return isinstance(allowed.get("min"), float) and allowed.get("step") is None


def check_checkpoints(stored: Stored) -> Iterator[Finding]:
    """Findings about checkpoints: damaged ones, those that should be gone, those that are missing."""
    keep = (stored.spec.get("keep") or {}).get("checkpoints")
    best = [trial["number"] for trial in ranked(stored)]
    kept = [number for number in best if any(each["number"] == number and each["kind"] == "best"
                                             for each in stored.checkpoints)]
    ends = {trial["id"]: max((report["epoch"] for report in stored.curves.get(trial["id"], [])), default=0)
            for trial in stored.trials}
    for each in stored.checkpoints:
        where, target = f"trial {each['number']}", (each["number"], each["kind"], each["epoch"])
        if not each["is_whole"]:
            yield _damaged(stored, each, where, target)
        elif each["state"] != "running" and each["kind"] == "last":
            yield Finding(Kind.ORPHANED, where, "it has ended, and has a checkpoint to go on from", "",
                          Remedy.DROP_CHECKPOINT, target)
        elif each["state"] == "failed":
            yield Finding(Kind.ORPHANED, where, "it failed, and its weights were kept", "", Remedy.DROP_CHECKPOINT,
                          target)
        elif each["epoch"] > ends[each["trial_id"]]:
            yield Finding(Kind.LOST, where, f"it has a checkpoint of epoch {each['epoch']}, and its curve ends at "
                                            f"{ends[each['trial_id']]}")
    if best and best[0] not in kept and not any(trial["state"] == "running" for trial in stored.trials):
        yield Finding(Kind.LOST, f"trial {best[0]}", "it is the best, and its weights are not in the store", "",
                      *_again(stored, best[0]))
    if not isinstance(keep, int):
        return
    for number in [number for number in best[1:keep] if number not in kept]:
        yield Finding(Kind.NOTE, f"trial {number}", f"it is among the best {keep}, and its weights are not in the "
                                                    "store; so it is where keep.checkpoints was raised")
    for each in stored.checkpoints:
        if each["kind"] == "best" and each["number"] in kept[keep:]:
            yield Finding(Kind.ORPHANED, f"trial {each['number']}", f"its weights were kept, and it is not among the "
                          f"best {keep}", "", Remedy.DROP_CHECKPOINT, (each["number"], "best", each["epoch"]))


def _damaged(stored: Stored, each: Record, where: str, target: tuple[str | int, ...]) -> Finding:
    what = f"its {each['kind']} checkpoint, of epoch {each['epoch']}, is not what was written"
    if each["state"] == "running":
        earlier = [other["epoch"] for other in stored.checkpoints if other["trial_id"] == each["trial_id"]
                   and other["kind"] == "last" and other["is_whole"] and other["epoch"] < each["epoch"]]
        if each["kind"] == "last":
            what += f"; it goes on from epoch {max(earlier, default=0)}"
        return Finding(Kind.DAMAGED, where, what, "", Remedy.DROP_CHECKPOINT, target)
    best = next(iter(ranked(stored)), None)
    if best is not None and best["number"] == each["number"]:
        return Finding(Kind.DAMAGED, where, what, "", *_again(stored, each["number"]))
    return Finding(Kind.DAMAGED, where, what, "", Remedy.DROP_CHECKPOINT, target)


def _again(stored: Stored, number: int) -> tuple[Remedy | None, tuple[int, ...]]:
    """The best trial's weights can be had by training it again; a registered model has them already."""
    return (None, ()) if "register" in stored.stages else (Remedy.REOPEN_TRIAL, (number,))


def _value(found: tuple[int, float] | None) -> str:
    return "none" if found is None else f"{found[1]!r} at epoch {found[0]}"


def _some(items: list[Any]) -> str:
    return ", ".join(map(str, items[:5])) + (f" and {len(items) - 5} more" if len(items) > 5 else "")
