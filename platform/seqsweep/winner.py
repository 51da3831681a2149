"""What wins a sweep: its best trial alone, or the mean of several where that is better on the validation part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from seqsweep.config.settings import Settings
from seqsweep.config.sweep import Sweep, fit_config, goal_sign
from seqsweep.errors import SearchFailed
from seqsweep.records import TrialRecord, model_name
from seqsweep.store.records import Store, SweepRecord

if TYPE_CHECKING:  # torch and MLflow take seconds to import
    from seqsweep.data.batch import Prepared
    from seqsweep.tracking.registry import ModelVersion
    from seqsweep.training.predict import Member


def best_trial(store: Store, sweep: Sweep) -> TrialRecord:
    """The trial with the best validation value, whole or pruned; the earlier of two equals. Raises SearchFailed."""
    best = store.best_trials(sweep.name, goal_sign(sweep), 1)
    if not best:
        raise SearchFailed(f"no trial of {sweep.name} gave a finite {sweep.metric.name}; "
                           f"`seqsweep status {sweep.name}` tells why each failed")
    return best[0]


def candidates(store: Store, sweep: Sweep) -> list[TrialRecord]:
    """The trials an ensemble is picked from, best first: the best `keep.checkpoints`, as far as they have weights."""
    having = store.weighted_trials(sweep.name)
    best = store.best_trials(sweep.name, goal_sign(sweep), sweep.keep.checkpoints)
    return [record for record in best if record.number in having]


def pick(store: Store, sweep: Sweep, size: int, records: list[TrialRecord],
         data: tuple[Prepared, ...]) -> dict[str, Any]:
    """Pick an ensemble of the candidates; what is returned is stored as the stage `ensemble`."""
    from seqsweep.evaluation.ensemble import select

    found = select(sweep.task, sweep.metric, size, (_member(store, sweep, record) for record in records), data)
    return {"picks": list(found.picks.items()), "validation": found.validation, "alone": found.alone,
            "better": found.better, "said": str(found)}


def members(store: Store, sweep: Sweep, picks: Mapping[int, int], data: tuple[Prepared, ...]) -> tuple[Member, ...]:
    """The trials that were picked with their weights, their quantiles calibrated where the task says so.

    Raises SearchFailed where the store has not the weights of one.
    """
    from seqsweep.training.calibration import calibrated

    records = {record.number: record for record in store.trials(sweep.name, curves=False)}
    return calibrated([replace(_member(store, sweep, records[number]), picks=count)
                       for number, count in picks.items()], data)


def _member(store: Store, sweep: Sweep, record: TrialRecord) -> Member:
    from seqsweep.training.predict import Member

    weights = store.best_weights(sweep.name, record.number)
    if weights is None:
        raise SearchFailed(f"the weights of trial {record.number} are not in the store")
    return Member(record.number, fit_config(sweep, record.trial.params, record.trial.seed), weights)


def registered_winner(record: SweepRecord, sweep: Sweep, picks: Mapping[int, int],
                      settings: Settings) -> ModelVersion | None:
    """The version that was registered of these trials; None where the registry has none."""
    if sweep.registration is None:
        return None
    from seqsweep.tracking.registry import Registry

    registry = Registry(settings.tracking_uri, create=True)
    return registry.registered(sweep.registration.model or sweep.name, registration_key(record, picks))


def registration_key(record: SweepRecord, picks: Mapping[int, int]) -> str:
    """What tells a registered version that it is of these trials."""
    return f"{record.uid}/{model_name(picks).removeprefix('trial ')}"
