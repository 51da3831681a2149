"""Every search space but those of plain cells, which other tests use, as a sweep of two trials from end to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from small_sweeps import classification, forecasting, settings_in, write_classes, write_series

import seqsweep
from seqsweep.config.settings import Settings
from seqsweep.config.shipped import shipped_names

SMALL = {"hidden_size": {"value": 4}, "batch_size": {"value": 64}, "epochs": {"value": 2}}
SMALLER = {"residual": {"num_layers": {"value": 3}}, "cnn_rnn": {"conv_channels": {"value": 4}},
           "lstm_fcn": {"fcn_channels": {"value": 4}}}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """One place for all, since MLflow takes seconds to make its tables."""
    folder = tmp_path_factory.mktemp("families")
    write_series(folder / "load.csv", rows=240)
    trend = write_classes(folder / "trend.csv", sequences=80)
    trend.assign(hour=trend.groupby("id").cumcount() ** 2).to_csv(folder / "timed.csv", index=False)
    return settings_in(folder)


@pytest.mark.parametrize("space", sorted({*shipped_names("search_spaces")} - {"elman", "gru", "lstm", "recurrent"}))
def test_a_family_is_searched(space: str, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(settings.store.removeprefix("sqlite:///")).parent
    monkeypatch.chdir(folder)
    keys: dict[str, Any] = {"search_space": [space], "parameters": SMALL | SMALLER.get(space, {}),
                            "budget": {"max_trials": 2}, "register": None}
    name = f"family-{space}"
    if space == "irregular":
        sweep = classification(folder / "timed.csv", name, **keys, prepare={"elapsed": True})
        sweep["data"] |= {"time": "hour"}
    elif space in ("lstm_fcn", "attention"):
        sweep = classification(folder / "trend.csv", name, **keys)
    else:
        sweep = forecasting(folder / "load.csv", name, **keys)
    result = seqsweep.submit(sweep, settings)
    assert list(result.trials["state"]) == ["complete"] * 2, result.trials
    assert result.trials["value"].notna().all()
