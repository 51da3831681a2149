"""Every error a user can cause, each with the exit code the command line answers with."""

from __future__ import annotations

import re
from dataclasses import dataclass

from seqsweep.secrets import shown

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong: where it is, what was found, and what would be right."""

    where: str
    """`file:line:column`, `file, row 17, column load`, or a trial; empty where there is no place."""
    what: str
    """What was found."""
    right: str = ""
    """What would be accepted instead, with the nearest known name where there is one."""

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        return f"{place}{self.what}" + (f"\n    {self.right}" if self.right else "")


class SeqsweepError(Exception):
    """Base of all errors with a message for the user, free of secrets; anything else that escapes is a bug."""

    exit_code = 1

    def __init__(self, *problems: Problem | str) -> None:
        found = (problem if isinstance(problem, Problem) else Problem("", problem) for problem in problems)
        self.problems = tuple(Problem(_sayable(p.where), _sayable(p.what), _sayable(p.right)) for p in found)
        super().__init__(*self.problems)

    def __str__(self) -> str:
        return "\n".join(str(problem) for problem in self.problems)


def _sayable(text: str) -> str:
    """Text that every terminal takes: no secret, no character that moves its cursor, no half of a surrogate pair."""
    plain = _CONTROL.sub(lambda found: repr(found[0])[1:-1], shown(text))
    return plain.encode("utf-8", "backslashreplace").decode("utf-8")


class InvalidSettings(SeqsweepError):
    """An environment variable or seqsweep.toml that names no place."""


class InvalidSweep(SeqsweepError):
    """The sweep YAML is refused; every problem of the file is listed."""

    exit_code = 3


class InvalidData(SeqsweepError):
    """The data are refused before any trial."""

    exit_code = 4


class NotFound(SeqsweepError):
    """A sweep, trial, model or version that does not exist."""

    exit_code = 5


class Conflict(SeqsweepError):
    """Another controller holds the sweep, or what was submitted differs from what is stored."""

    exit_code = 6


class Refused(SeqsweepError):
    """The gate does not let a candidate pass; nothing was changed."""

    exit_code = 7


class SearchFailed(SeqsweepError):
    """The search ended without a trained trial, or user code broke."""

    exit_code = 8


class Unavailable(SeqsweepError):
    """A store, tracking server or cluster that cannot be reached, or answers wrongly."""

    exit_code = 9


class Outage(Unavailable):
    """An Unavailable that may pass: locked, full, restarting, no answer. Whoever has work to lose waits and retries."""


class Unsound(SeqsweepError):
    """What is stored of a sweep is not as it should be; `seqsweep doctor` tells what."""

    exit_code = 10
