"""Ensembles from a sweep to a registered model that predicts in another process, whoever is killed on the way."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from shell import environment, seqsweep
from small_sweeps import anomaly, classification, forecasting, settings_in, table, write_classes, write_series

import seqsweep as package
from seqsweep.config.loader import load_sweep
from seqsweep.config.settings import Settings
from seqsweep.config.sweep import fit_config
from seqsweep.data.prepare import prepare
from seqsweep.doctor.examination import examine
from seqsweep.errors import InvalidSweep
from seqsweep.evaluation import ensemble
from seqsweep.promotion import promote
from seqsweep.result import SweepResult
from seqsweep.serving import fetch
from seqsweep.store.records import Store
from seqsweep.submission import identity, specification
from seqsweep.tasks.metrics import metrics_from_predictions, truth_of
from seqsweep.tracking.client import connect
from seqsweep.tracking.registry import Registry
from seqsweep.training.predict import Member, predict, predict_together

WEAK = {"learning_rate": {"min": 3e-3, "max": 3e-2, "log": True}, "hidden_size": {"values": [4, 8]},
        "epochs": {"value": 3}, "batch_size": {"value": 32}}
"""Trials that err in different ways."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ensembles")
    write_series(folder / "load.csv")
    write_classes(folder / "trend.csv")
    return folder


@pytest.fixture(scope="module")
def settings(place: Path) -> Settings:
    return settings_in(place)


@pytest.fixture(autouse=True)
def in_place(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place)


def sweep(path: Path, name: str = "several", **keys: Any) -> dict[str, Any]:
    return forecasting(path, name, **{"parameters": WEAK, "budget": {"max_trials": 6}, "ensemble": {"size": 5},
                                      "promote": {"to": "champion", "require": ["beats_champion"]}} | keys)


@pytest.fixture(scope="module")
def finished(place: Path, settings: Settings) -> SweepResult:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        return package.submit(sweep(place / "load.csv"), settings)


def members_of(result: SweepResult, settings: Settings) -> tuple[Member, ...]:
    with Store.open(settings.store) as store:
        trials = {record.number: record.trial for record in store.trials(result.name)}
        return tuple(Member(number, fit_config(result.sweep, trials[number].params, trials[number].seed),
                            store.best_weights(result.name, number) or b"", count)
                     for number, count in result.ensemble.items())
