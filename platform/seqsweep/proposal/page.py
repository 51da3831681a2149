"""Writes a sweep YAML with a comment beside each choice; text from a file is quoted wherever it is needed."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from seqsweep.config.scalars import read_scalar
from seqsweep.data.calendar import Frequency

_WIDTH = 120
_PLAIN = re.compile(r"[A-Za-z0-9_/][A-Za-z0-9_./%-]*")
_RISKY = re.compile("[^ -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
"""What the reader of sweeps refuses to see unescaped."""
_OLD_WORDS = frozenset({"on", "off", "yes", "no", "y", "n"})
"""Plain text in YAML 1.2, but not for every editor."""
_LONGEST_NAME = 40
_UNITS = (("week", 604_800), ("day", 86_400), ("hour", 3600), ("minute", 60))
_COLUMN = 34
"""Where comments beside a key begin, if what stands before leaves room."""

SCHEMA = "sweep.schema.json"
"""The file beside a sweep from which editors complete and check it."""


@dataclass(frozen=True)
class Line:
    """One key of the page."""

    key: str
    value: Any
    """A scalar, list or mapping, written on one line; or a tuple of Lines, written below the key."""
    why: str = ""
    """Why this value, and what else could stand here."""


def render(head: Sequence[str], lines: Sequence[Line]) -> str:
    """Write the page: comment paragraphs, then the keys."""
    written = [f"# yaml-language-server: $schema={SCHEMA}"]
    for paragraph in head:
        written += _comment(paragraph, "") if paragraph else ["#"]
    return "\n".join([*written, *_lines(lines, "")]) + "\n"


def written(value: Any) -> str:
    """A value in YAML's flow style, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_text(key)}: {written(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(written, value)) + "]"
    return _text(value) if isinstance(value, str) else repr(value)


def named(name: str) -> str:
    """A column as comments show it: on one line, quoted where it is not plain, and not at length."""
    return _text(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME - 3]}...")


def listed(names: Sequence[str], most: int = 8) -> str:
    """Columns as comments list them; beyond the first few they are counted."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(named, names[:most])) + more


def duration_words(seconds: float) -> str:
    """A length of time in the largest unit that leaves a whole number: 90 minutes, a day."""
    unit, length = next(((name, length) for name, length in _UNITS if seconds >= length and seconds % length == 0),
                        ("second", 1))
    return f"a {unit}".replace("a hour", "an hour") if seconds == length else f"{seconds / length:g} {unit}s"


def frequency_words(frequency: Frequency) -> str:
    """The distance of two steps: a day, 30 minutes, 3 months."""
    if frequency.months:
        return month_words(frequency.months)
    return duration_words(frequency.nanoseconds / 1e9)


def month_words(months: int) -> str:
    """A number of months, in years where they are whole: 18 months, a year."""
    unit, count = ("year", months // 12) if months % 12 == 0 else ("month", months)
    return f"a {unit}" if count == 1 else f"{count} {unit}s"


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and _read(text) == text and text.lower() not in _OLD_WORDS:
        return text
    return '"' + _RISKY.sub(_escape, text.replace("\\", "\\\\").replace('"', '\\"')) + '"'


def _read(text: str) -> object:
    """What YAML reads where the text stands unquoted; None where it cannot be read."""
    try:
        return read_scalar(text)
    except ValueError:
        return None


def _escape(found: re.Match[str]) -> str:
    code = ord(found[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _lines(lines: Sequence[Line], indent: str) -> list[str]:
    found: list[str] = []
    for line in lines:
        below = isinstance(line.value, tuple) and line.value and isinstance(line.value[0], Line)
        text = f"{indent}{line.key}:" + ("" if below else f" {written(line.value)}")
        beside = f"{text:<{_COLUMN}}  # {line.why}"
        if not line.why:
            found.append(text)
        elif len(beside) <= _WIDTH and "\n" not in line.why:
            found.append(beside)
        else:
            found += [*_comment(line.why, indent), text]
        if below:
            found += _lines(line.value, f"{indent}  ")
    return found


def _comment(text: str, indent: str) -> list[str]:
    return [f"{indent}# {piece}" for line in text.split("\n")
            for piece in textwrap.wrap(line, _WIDTH - len(indent) - 2, break_long_words=False, break_on_hyphens=False)]
