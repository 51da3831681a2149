"""The Python face of seqsweep, for notebooks and scripts: `seqsweep.submit(...)`."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqsweep.cli.output import err
from seqsweep.cli.progress import Display
from seqsweep.config.loader import load_sweep, read_document
from seqsweep.config.settings import Settings, load_settings
from seqsweep.config.sweep import Sweep
from seqsweep.pipeline import submit as run
from seqsweep.result import SweepResult
from seqsweep.submission import specification


def submit(sweep: str | Path | Mapping[str, Any] | Sweep, settings: Settings | None = None, *,
           fork: str | None = None) -> SweepResult:
    """Run a sweep from a notebook or a script: a path, a dict as in the YAML, or a validated Sweep.

    `fork`: store it as a new sweep of this name, to which the trials of the sweep it is a fork of are told.
    Progress goes to standard error. Interrupt it with KeyboardInterrupt; submit again to go on.
    """
    if isinstance(sweep, Sweep):
        loaded, document = sweep, json.dumps(specification(sweep), indent=2)
    else:
        loaded = load_sweep(sweep)
        document = json.dumps(sweep, indent=2) if isinstance(sweep, Mapping) else read_document(sweep)
    with Display(err, loaded.metric.name) as display:
        return run(loaded, document, settings or load_settings(), display, threading.Event(), fork=fork)


def open_sweep(name: str, settings: Settings | None = None) -> SweepResult:
    """A sweep that was submitted before. Raises NotFound."""
    result = SweepResult(name, settings or load_settings())
    _ = result.state  # asks the store, so that a wrong name is told here
    return result
