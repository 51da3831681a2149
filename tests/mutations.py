"""Damage, of every kind and reproducible by a number: to bytes, to tokens, and to the structure of a tree.

A program beside a test judges damaged cases within limits (`judge`), and the test runs that program (`judged`).
"""

from __future__ import annotations

import copy
import json
import os
import random
import re
import resource
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

Tree = Any

NASTY = (
    b"\0", b"\xff", b"\xfe\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\xc0\xaf", b"\x1b[2J", b"\r", b"\n", b"\t", b"'",
    b'"', b"{", b"}", b"[", b"]", b",", b":", b": ", b"- ", b"? ", b"#", b"&a ", b"*a", b"|\n", b">-\n", b"!!int ",
    b"!!python/object/apply:os.system [true]", b"<<: *a", b"---\n", b"...\n", b"%YAML 9.9\n", b"null", b"~", b"yes",
    b"on", b"0x1F", b"0o17", b"1_000", b"1e400", b"-1e400", b".inf", b"-.inf", b".nan", b"nan", b"-0", b"-0.0",
    b"1e-400", b"9" * 20, b"9" * 400, b"9" * 5000, b"0." + b"3" * 400, b"12:30", b"2024-01-01", b"2024-99-99T99:99",
    "\u202e\u2028\u0085\ufeff".encode(), "\U0001f9e8 é 数 \u0301".encode(), b"../../etc/passwd", b"%2e%2e%2f",
    b"${env:HOME}", b"a" * 300, b"a" * 100_000, b"[" * 40 + b"]" * 40, b"{a: " * 40 + b"}" * 40, b"?", b"NA", b"inf",
    b"1,2,3", b"1;2", b"@data", b"@", b"(0,1)", b"1e308", b"-1e308", b"5e-324", b"18446744073709551616",
    b"-9223372036854775809",
)
"""What parsers stumble over."""

VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2, 2**31, 2**63, -(2**63), 10**400, 0.0, -0.0, 1e-320, 1e308, float("nan"),
    float("inf"), "", " ", "0", "1e-4", "yes", "null", "a" * 300, "a" * 100_000, "../x", "..", "%2e%2e", "a\0b",
    "\ud800", "\u202e", "é\u0301", "${env:HOME}", "x\ny", "10%", "200%", "14d", "99999999999d", "0%", [], {}, [[]],
    [None], [{}], {"": 1}, {"a": {"b": {}}}, list(range(3)), [0] * 3000, ["a"] * 3000,
    {f"k{number}": 1 for number in range(1000)}, [1, "a", None, 2.5, True],
)


def damaged(data: bytes, chance: random.Random, words: Sequence[bytes] = NASTY) -> bytes:
    """The data after one to six small accidents."""
    for _ in range(chance.choice((1, 1, 1, 2, 3, 6))):
        at = chance.randrange(len(data) + 1)
        end = min(len(data), at + chance.choice((1, 1, 2, 4, 16, 100, 1000)))
        kind = chance.randrange(8)
        if kind == 0:
            data = data[:at] + data[end:]
        elif kind == 1:
            data = data[:at] + chance.choice(words) + data[at:]
        elif kind == 2:
            data = data[:at] + chance.choice(words) + data[end:]
        elif kind == 3:
            data = data[:end] + data[at:end] * chance.choice((1, 1, 2, 30, 3000)) + data[end:]
        elif kind == 4 and at < len(data):
            data = data[:at] + bytes([data[at] ^ 1 << chance.randrange(8)]) + data[at + 1:]
        elif kind == 5:
            data = data[:at]
        elif kind == 6:
            data = data[:at] + chance.randbytes(chance.choice((1, 4, 64))) + data[end:]
        else:
            other = chance.randrange(len(data) + 1)
            data = data[:at] + data[other:other + end - at] + data[end:]
    return data


def retokened(text: str, chance: random.Random) -> str:
    """The text with some of its words, numbers and marks replaced, dropped, doubled or exchanged."""
    tokens = re.findall(r"\w[\w.%-]*|\s+|.", text)
    for _ in range(chance.choice((1, 1, 2, 5))):
        at, other = chance.randrange(len(tokens)), chance.randrange(len(tokens))
        kind = chance.randrange(5)
        if kind == 0:
            tokens[at] = chance.choice(NASTY).decode("utf-8", "replace")
        elif kind == 1:
            tokens[at] = ""
        elif kind == 2:
            tokens[at] = tokens[other]
        elif kind == 3:
            tokens[at], tokens[other] = tokens[other], tokens[at]
        else:
            tokens[at] *= 2
    return "".join(tokens)


def restructured(tree: Tree, chance: random.Random) -> Tree:
    """The tree with one to three nodes replaced, deleted, moved, renamed or buried."""
    tree = copy.deepcopy(tree)
    for _ in range(chance.choice((1, 1, 2, 3))):
        places = list(_places(tree))
        if not places:
            return tree
        home, key = chance.choice(places)
        donor, source = chance.choice(places)
        kind = chance.randrange(9)
        if kind <= 2:
            home[key] = _off(home[key], chance)
        elif kind <= 4:
            home[key] = copy.deepcopy(chance.choice(VALUES))  # which is damaged next, perhaps
        elif kind == 5:
            home[key] = copy.deepcopy(donor[source])
        elif kind == 6:
            home.pop(key)
        elif kind == 7 and isinstance(home, dict):
            home[chance.choice(_KEYS)] = home.pop(key)
        else:
            for level in range(chance.choice((1, 2, 31, 40, 200))):
                home[key] = [home[key]] if level % 2 else {"value": home[key]}
    return tree


_KEYS = ("", "a" * 300, "é", "a\0b", "\u202e", "..", "name", "value", "values", "min", "max", "when", "log", "step",
         "search", "type", "path", "lr", "units", "distribution", "q", "parameters", "task", "null", "1")


def _places(tree: Tree) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    if isinstance(tree, dict):
        for key, value in tree.items():
            found += [(tree, key), *_places(value)]
    elif isinstance(tree, list) and len(tree) < 100:
        for number, value in enumerate(tree):
            found += [(tree, number), *_places(value)]
    return found[:2000]


def _off(value: Any, chance: random.Random) -> Any:
    """A number that is a little or far off, a text or list without its first, anything else as text."""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        if abs(value) > 1e300:
            return 0
        return chance.choice((value + 1, value - 1, -value, value * 10**6, value / 3, float(value), str(value)))
    return value[1:] if isinstance(value, (str, list)) else str(value)[:200]


class Wrong(Exception):
    """A case that was neither taken nor refused as it should be."""


def judge(case: Callable[[int], None], refusal: type[Exception], *, memory: int, longest: float) -> None:
    """Judge the cases FIRST COUNT of the command line, with at most so many bytes and seconds of processor each.

    `case` returns where its damage was taken, and raises `refusal` where it was refused. Prints JSON: how many were
    `taken` and `refused`, the slowest, the peak of memory, and every case that was neither, with its number.
    """
    first, count = int(sys.argv[1]), int(sys.argv[2])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    counts = {"taken": 0, "refused": 0}
    wrong: list[tuple[int, str]] = []
    slowest = (0.0, -1)
    for number in range(first, first + count):
        began = time.process_time()
        try:
            case(number)
            found = "taken"
        except refusal as error:
            problems = getattr(error, "problems", ())
            told = problems and all(problem.what and len(str(problem)) < 5000 for problem in problems)
            found = "refused" if told else f"told at length or not at all: {str(error)[:300]}"
        except BaseException:
            found = traceback.format_exc()[-1500:]
        seconds = time.process_time() - began
        slowest = max(slowest, (seconds, number))
        if seconds > longest:
            found = f"it took {seconds:.1f} s"
        if found in counts:
            counts[found] += 1
        else:
            wrong.append((number, found))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps({**counts, "slowest": slowest, "peak_mib": peak, "wrong": wrong[:20]}))


def judged(program: Path, first: int, count: int) -> dict[str, Any]:
    """What `program`, which calls `judge`, says of so many cases; none may be wrong."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, program, str(first), str(count)], capture_output=True, text=True,
                          timeout=1500, env=environment, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["wrong"] == [], "\n\n".join(f"case {number}: {why}" for number, why in found["wrong"])
    assert found["taken"] + found["refused"] == count
    return found
