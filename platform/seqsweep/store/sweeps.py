"""What the store keeps beside trials: the sweep itself and the results of its stages."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class SweepState(enum.StrEnum):
    """Where a sweep stands; any sweep that is not finished can go on."""

    QUEUED = "queued"
    RUNNING = "running"
    STOPPING = "stopping"
    """A stop was asked for; the controller ends after what is under way."""
    STOPPED = "stopped"
    FINISHED = "finished"
    FAILED = "failed"


@dataclass(frozen=True)
class SweepRecord:
    """A sweep as the store holds it. Times are Unix seconds on the store's clock."""

    id: int
    uid: str
    """Unlike the name, never given twice in any store: 32 hexadecimal digits."""
    name: str
    document: str
    """The YAML text as submitted."""
    spec: str
    """Canonical JSON of the validated sweep."""
    spec_hash: str
    data_hash: str | None
    """Of the prepared data; None until they were prepared."""
    state: SweepState
    message: str
    """Why it stands so, for a failed or stopped sweep."""
    created: float
    updated: float
    active_seconds: float
    """Time a controller worked on it, summed over resumes."""
    facts: Mapping[str, Any]
    """Code version, hardware and the like."""


@dataclass(frozen=True)
class StageRecord:
    """Result of one pipeline stage."""

    key: str
    """Hash of what went in: another key means the result is stale."""
    value: Mapping[str, Any]
    created: float
    """Unix seconds on the store's clock."""
