"""A controller in a process of its own, as `seqsweep submit` is one, that says what it learns and when.

python training_controller.py FOLDER WITNESS
"""

from __future__ import annotations

import functools
import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

CHECKPOINT_EVERY, SLICE = 1.0, 0.1
"""Seconds, in the place of the controller's 30 and 2."""


def main() -> int:
    """Submit the folder's `load.yaml`; returns the command line's exit code."""
    from stub_workers import Witness

    from seqsweep import pipeline
    from seqsweep.config.loader import load_sweep, read_document
    from seqsweep.config.settings import load_settings
    from seqsweep.errors import SeqsweepError

    os.chdir(sys.argv[1])
    witness = Witness(Path(sys.argv[2]))
    original = pipeline._Run._search

    @functools.wraps(original)
    def search(run: Any, data: Any) -> bool:
        _listen(witness)  # here, since the search is imported while Ray starts
        return original(run, data)

    pipeline._Run._search = search  # type: ignore[method-assign,assignment]
    try:
        result = pipeline.submit(load_sweep(Path("load.yaml")), read_document(Path("load.yaml")), load_settings(),
                                 Printed(), threading.Event())
    except SeqsweepError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    return 0 if result.state == "finished" else 130


class Printed:
    """An observer for a log."""

    def stage(self, name: str, detail: str = "") -> None:
        """A stage began, was done, or was skipped."""
        print(name, detail, flush=True)

    def progress(self, progress: Any) -> None:
        """The search moved on."""
        if progress.note:
            print(progress.note, flush=True)


def _listen(witness: Any) -> None:
    """Note each epoch when the controller learns of it, and each end when the store has confirmed it."""
    from seqsweep.store.records import Store
    from seqsweep.sweep import search

    search.CHECKPOINT_EVERY, search.Search._slice = CHECKPOINT_EVERY, SLICE
    learn, close = search.Search._learn, Store.close_trial

    @functools.wraps(learn)
    def learned(self: Any, hand: Any, answer: Any) -> None:
        learn(self, hand, answer)
        for report in answer.reports:
            witness.note("trained", hand.trial.number, report.epoch, time.monotonic())

    @functools.wraps(close)
    def closed(self: Store, lease: Any, number: int, outcome: Any, *words: Any, **named: Any) -> None:
        close(self, lease, number, outcome, *words, **named)
        witness.note("closed", number, outcome.state, repr(outcome.value))

    search.Search._learn = learned  # type: ignore[method-assign]
    Store.close_trial = closed  # type: ignore[method-assign]


if __name__ == "__main__":
    sys.exit(main())
