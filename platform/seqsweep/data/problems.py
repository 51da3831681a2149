"""Collects what is wrong with the data, so that one refusal names everything."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any

import numpy.typing as npt

from seqsweep.errors import InvalidData, Problem

SHOWN = 5
"""Problems of one kind that are written out; the rest are counted."""


_LONGEST = 600


class Problems:
    """The problems found so far, by kind. `raise_if_any` ends the check."""

    def __init__(self) -> None:
        self._shown: dict[str, list[Problem]] = {}
        self._count: dict[str, int] = {}

    def __bool__(self) -> bool:
        return bool(self._count)

    def add(self, kind: str, where: str, what: str, right: str = "") -> None:
        """Note one problem; beyond the first few of a kind only the number is kept."""
        self._count[kind] = self._count.get(kind, 0) + 1
        shown = self._shown.setdefault(kind, [])
        if len(shown) < SHOWN:
            shown.append(_short(Problem(where, what, right)))

    def add_each(self, kind: str, rows: npt.NDArray[Any], describe: Callable[[int], Problem]) -> None:
        """Note one problem for each of `rows`, describing only the first few."""
        shown = self._shown.setdefault(kind, [])
        shown.extend(_short(describe(int(row))) for row in rows[:SHOWN - len(shown)])
        if len(rows):
            self._count[kind] = self._count.get(kind, 0) + len(rows)

    def raise_if_any(self) -> None:
        """Raise InvalidData with everything found."""
        if not self._count:
            return
        listed: list[Problem] = []
        for kind, count in self._count.items():
            shown = self._shown[kind]
            listed += shown
            if count > len(shown):
                listed.append(Problem("", f"{count - len(shown)} more of the same kind ({kind})"))
        raise InvalidData(*listed)


def _short(problem: Problem) -> Problem:
    """Without the middle of a value that is a page long."""
    cut = [text if len(text) <= _LONGEST else f"{text[:_LONGEST - 100]}...{text[-90:]}"
           for text in (problem.where, problem.what, problem.right)]
    return Problem(*cut)


def nearest(name: str, known: Iterable[str], plural: str) -> str:
    """Suggest the known name nearest to a wrong one, and list what there is."""
    names = list(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    guess = f"did you mean {close[0]!r}? " if close else ""
    listed = ", ".join(names[:20]) + (", ..." if len(names) > 20 else "")
    return f"{guess}{plural}: {listed or 'none'}"
