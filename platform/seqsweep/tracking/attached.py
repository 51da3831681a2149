"""The user's own code in a model package: files beside package.json, which names each and has its hash.

This module travels inside the package.
"""

from __future__ import annotations

import copy
import hashlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from seqsweep.config.own import ENTRY


def apart(facts: dict[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the facts with a hash in the place of each code, and the code of each file."""
    facts, files = copy.deepcopy(facts), dict[str, str]()
    for section in _sections(facts):
        if (code := section.pop("code", None)) is not None:
            files[section["entry"].partition(":")[0]] = code
            section["sha256"] = hashlib.sha256(code.encode()).hexdigest()
    return facts, files


def together(facts: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Put the code back, read from a folder; raises ValueError where it is not what its hash says."""
    for section in _sections(facts):
        expected, entry = section.pop("sha256", None), str(section["entry"])
        if not re.fullmatch(ENTRY, entry):
            raise ValueError(f"{entry[:60]!r} names no file and class or function")
        code = (folder / entry.partition(":")[0]).read_bytes()
        if hashlib.sha256(code).hexdigest() != expected:
            raise ValueError(f"{entry.partition(':')[0]} is not the code that this package was written with")
        section["code"] = code.decode()
    return facts


def _sections(facts: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Those parts of the facts, whole or damaged, that name own code."""
    fits = [_get(member, "fit") for member in facts.get("members") or ()]
    for section in (facts.get("prepare"), *(_get(fit, name) for fit in fits for name in ("model", "metric", "task"))):
        if _get(section, "entry") is not None:
            yield section


def _get(facts: Any, name: str) -> Any:
    return facts.get(name) if isinstance(facts, dict) else None
