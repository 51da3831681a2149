"""What must be true of a sweep as a whole: its budget, its end, its stages, the rows around it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from seqsweep.doctor.findings import Finding, Kind, Remedy
from seqsweep.doctor.stored import Stored
from seqsweep.doctor.trials import is_continuous, ranked


def check_sweep(stored: Stored) -> Iterator[Finding]:
    """Findings about the sweep's row, its numbers and its stages."""
    name, sweep = stored.sweep["name"], stored.sweep
    for where in stored.unreadable:
        yield Finding(Kind.DAMAGED, where, "what is stored is no JSON object")
    if not stored.spec:
        yield Finding(Kind.DAMAGED, name, "its specification is no JSON object")
    if stored.lease is None:
        yield Finding(Kind.LOST, name, "it has no lease row")
    if sweep["data_hash"] is None and stored.trials:
        yield Finding(Kind.CONTRADICTING, name, f"it has {len(stored.trials)} trials, and no hash of their data")
    if sweep["state"] in ("running", "stopping") and not stored.is_live:
        yield Finding(Kind.NOTE, name, f"it says {sweep['state']}, and no controller holds it",
                      f"`seqsweep resume {name}` goes on")
    yield from _numbers(stored)
    if stored.has_ended:
        yield from _stages(stored)
    for table, count in stored.orphans.items():
        yield Finding(Kind.ORPHANED, f"table {table}", f"{count} row{'s' * (count != 1)} of what is not in the store",
                      "", Remedy.DROP_ROWS, (table,))


def _numbers(stored: Stored) -> Iterator[Finding]:
    """No trial beyond the budget; once the search is through, none missing."""
    name, budget = stored.sweep["name"], stored.spec.get("budget") or {}
    numbers = {trial["number"] for trial in stored.trials}
    most = budget.get("max_trials")
    if not isinstance(most, int):
        return
    if len(stored.trials) > most:
        yield Finding(Kind.CONTRADICTING, name, f"it has {len(stored.trials)} trials, and budget.max_trials is {most}; "
                                                "so it is where the budget was lowered")
    if not stored.has_ended or budget.get("max_time") is not None:
        return
    if missing := sorted(set(range(max(numbers, default=-1) + 1)) - numbers):
        yield Finding(Kind.LOST, name, f"there is no trial {', '.join(map(str, missing[:10]))}")
    elif len(numbers) < most and not _may_be_exhausted(stored):
        yield Finding(Kind.LOST, name, f"it is finished with {len(numbers)} of {most} trials")


def _may_be_exhausted(stored: Stored) -> bool:
    """Whether the search may have ended because there was nothing left to try."""
    space: dict[str, dict[str, Any]] = stored.spec.get("parameters") or {}
    endless = [each for each in space.values() if is_continuous(each) and not each.get("when")]
    return stored.spec.get("method") == "grid" or not endless


def _stages(stored: Stored) -> Iterator[Finding]:
    name, spec = stored.sweep["name"], stored.spec
    wanted = ["search", "evaluate", *(stage for stage in ("ensemble", "register", "promote")
                                      if spec.get(stage) is not None)]
    if wanted[-1] == "promote" and "register" not in wanted:
        wanted.pop()
    for stage in wanted:
        if stage not in stored.stages:
            yield Finding(Kind.LOST, name, f"it is finished, and its stage {stage} has no result",
                          f"`seqsweep resume {name}` makes it")
    yield from _search(stored)
    yield from _ensemble(stored)
    yield from _evaluate(stored)


def _search(stored: Stored) -> Iterator[Finding]:
    said = _value(stored, "search").get("trials")
    counted = Counter(trial["state"] for trial in stored.trials)
    if isinstance(said, dict) and {state: count for state, count in said.items() if count} != dict(counted):
        yield Finding(Kind.CONTRADICTING, "stage search", f"it told of {said}, and there are {dict(counted)}")


def _ensemble(stored: Stored) -> Iterator[Finding]:
    """Its members are trials with a value and weights, no more of them than were to be picked."""
    spec, value = stored.spec.get("ensemble"), _value(stored, "ensemble")
    if not spec or not value:
        return
    picks, where = dict(value.get("picks") or ()), "stage ensemble"
    if not 1 <= sum(picks.values()) <= spec.get("size", 0) or min(picks.values()) < 1:
        yield Finding(Kind.CONTRADICTING, where, f"it picked {sum(picks.values())} times, and was to pick "
                                                 f"{spec.get('size')} times at the most")
    having = {trial["number"] for trial in ranked(stored)}
    for number in picks:
        if number not in having:
            yield Finding(Kind.CONTRADICTING, where, f"it picked trial {number}, which has no value")
        elif not any(each["number"] == number and each["kind"] == "best" for each in stored.checkpoints):
            yield Finding(Kind.LOST, f"trial {number}", "it is in the ensemble, and its weights are not in the store",
                          f"`seqsweep resume {stored.sweep['name']}` picks again among those that are")


def winner(stored: Stored) -> str:
    """What won: `trial 18`, or `ensemble 18 x3 + 4`."""
    value = _value(stored, "ensemble") if stored.spec.get("ensemble") else {}
    if not value.get("better"):
        return f"trial {_value(stored, 'evaluate').get('winner')}"
    return "ensemble " + " + ".join(str(number) + (f" x{count}" if count > 1 else "")
                                    for number, count in value.get("picks") or ())


def _evaluate(stored: Stored) -> Iterator[Finding]:
    value, order, model = _value(stored, "evaluate"), ranked(stored), winner(stored)
    if not value:
        return
    number = value.get("winner")
    best = next((trial for trial in stored.trials if trial["number"] == number), None)
    if best is None:
        yield Finding(Kind.CONTRADICTING, "stage evaluate", f"its winner is trial {number}, which is not there")
    elif order and order[0]["number"] != number:
        yield Finding(Kind.CONTRADICTING, "stage evaluate", f"its winner is trial {number}, and trial "
                                                            f"{order[0]['number']} is better")
    rows = [row for row in value.get("rows") or () if isinstance(row, dict) and row.get("kind") == "winner"]
    if best is not None and rows:
        figure = best["value"] if model == f"trial {number}" else _value(stored, "ensemble").get("validation")
        if [(row.get("name"), row.get("validation")) for row in rows] != [(model, figure)]:
            yield Finding(Kind.CONTRADICTING, "stage evaluate", f"its row of the winner is not that of {model}")
    uses = Counter((use["sweep"], use["model"]) for use in stored.test_uses)
    if not uses[stored.sweep["name"], model]:
        yield Finding(Kind.LOST, "stage evaluate", f"that the test part judged {model} was not counted")
    for (sweep, judged), times in uses.items():
        if times > 1:
            yield Finding(Kind.DUPLICATED, f"{judged} of {sweep}", f"its use of the test part was counted "
                                                               f"{times} times")


def _value(stored: Stored, stage: str) -> dict[str, Any]:
    return (stored.stages.get(stage) or {}).get("value") or {}
