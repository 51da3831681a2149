"""A stored trial, trained again and compared with torch's own layers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from seqsweep.config.settings import Settings
from seqsweep.config.sweep import Sweep, fit_config
from seqsweep.data.prepare import prepare
from seqsweep.errors import Conflict, NotFound, Problem
from seqsweep.store.records import Store
from seqsweep.sweep.programs import program_of
from seqsweep.training.verify import Evidence, verify


@dataclass(frozen=True)
class Verified:
    """What was found of a trial."""

    sweep: str
    trial: int
    program: str
    """The kernel of its recurrent layers, whether it was packed, and its micro-batches where it had some."""
    worker: str
    """Where it was trained."""
    evidence: Evidence


def verify_trial(name: str, number: int, settings: Settings, tell: Callable[[str], None] = lambda _: None) -> Verified:
    """Train a closed trial again on this machine: on a GPU if one trained it and one is here.

    Raises NotFound; Conflict where the data are others now.
    """
    with Store.open_existing(settings.store) as store:
        stored = store.sweep(name)
        records = [record for record in store.trials(name) if record.number == number]
    if not records or records[0].outcome is None or not records[0].reports:
        raise NotFound(f"{name} has no trial {number} that has ended after at least an epoch")
    record, sweep = records[0], Sweep.model_validate_json(stored.spec)
    tell("preparing the data")
    data = prepare(sweep)
    if data[0].info.data_hash != stored.data_hash:
        raise Conflict(Problem(name, "the prepared data are not those that the trial was trained on",
                               "the file as it was, and the version of seqsweep that began the sweep"))
    config = fit_config(sweep, record.trial.params, record.trial.seed)
    program = program_of(stored.facts, config, record.extra)
    evidence = verify(config.model_copy(update={"program": program}), data, record.reports,
                      threads=sweep.resources.cpus_per_worker, on_gpu=_on_gpu(record.worker), tell=tell)
    return Verified(name, number, str(program), record.worker, evidence)


def _on_gpu(worker: str) -> bool:
    """Whether a worker's name, host device pid number, tells of a GPU."""
    return " pid " in worker and " cpu pid " not in worker
