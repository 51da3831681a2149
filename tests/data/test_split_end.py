"""A published split: parts of so many rows, and the rest of the file in none of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_cases import forecast, needs_shared, refusal, series_table

from seqsweep.config.loader import load_sweep
from seqsweep.config.tasks import ForecastingConfig
from seqsweep.data.prepare import prepare
from seqsweep.errors import InvalidSweep
from seqsweep.evaluation.windows import naive_forecasts
from seqsweep.tasks.metrics import metrics_from_predictions, truth_of

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("end", [80, "2024-01-04T08:00"])  # the 81st hour
def test_what_follows_the_end_is_in_no_part(tmp_path: Path, end: int | str) -> None:
    series_table(100, series=2).to_csv(tmp_path / "y.csv", index=False)
    data = {"time": "t", "series": "id"}
    split = {"val": 10, "test": 20, "end": end}
    (found,) = prepare(forecast(tmp_path / "y.csv", data=data, split=split))
    for s in (0, 1):
        rows = {part: np.flatnonzero(found.parts[part].series_N == s) for part in found.parts}
        first = {part: found.parts[part].start_N[rows[part]] + 4 - 100 * s for part in rows}
        assert (first["train"].max(), first["val"].min(), first["val"].max()) == (48, 50, 58)
        assert (first["test"].min(), first["test"].max()) == (60, 78)
    again = prepare(forecast(tmp_path / "y.csv", data=data, split={**split, "end": 79}))[0]
    assert again.info.data_hash != found.info.data_hash


def test_a_time_needs_times(tmp_path: Path) -> None:
    series_table(100).to_csv(tmp_path / "y.csv", index=False)
    assert "split.end: 2024-01-04: a time, but the rows have no times" in refusal(
        forecast(tmp_path / "y.csv", split={"end": "2024-01-04"}))


@pytest.mark.parametrize(("split", "data", "says"), [
    ({"by": "random", "end": 5}, {"series": "id"}, "end has no meaning with by: random"),
    ({"by": "time", "end": "soon"}, {"time": "t"}, '"soon" is no time'),
    ({"by": "time", "end": "2024-01-04"}, {}, "end is 2024-01-04, and the rows have no times"),
    ({"by": "time", "end": 80}, {"test": "test.csv"}, "data.test is the test part, from its first row to its last"),
])
def test_an_end_without_meaning_is_refused(split: dict[str, Any], data: dict[str, Any], says: str) -> None:
    document = {"name": "test", "task": {"type": "forecasting", "target": "y", "horizon": 2, "context": 4},
                "data": {"path": "y.csv", **data}, "split": split, "metric": {"name": "mae"},
                "budget": {"max_trials": 1}}
    with pytest.raises(InvalidSweep, match=says):
        load_sweep(document)


@needs_shared
def test_the_naive_figure_of_etth1_is_the_published_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeating yesterday, all seven columns standardised, every origin of the Informer split's test part."""
    monkeypatch.chdir(ROOT)
    sweep = load_sweep(ROOT / "pipelines" / "etth1.yaml")
    (data,) = prepare(sweep)
    assert len(data.parts["test"]) == 2880 - 24 + 1
    assert isinstance(sweep.task, ForecastingConfig)
    task = sweep.task.model_copy(update={"quantiles": ()})
    naive = naive_forecasts(task, data, "test")["seasonal naive (24)"]
    figures = metrics_from_predictions(task, naive, truth_of(task, data, "test"))
    assert figures["scaled_mse"] == pytest.approx(0.4244, abs=1e-4)


@needs_shared
def test_the_naive_figures_of_m4_hourly_are_the_competitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    sweep = load_sweep(ROOT / "pipelines" / "m4_hourly.yaml")
    (data,) = prepare(sweep)
    assert (len(data.info.series), len(data.parts["test"]), len(data.parts["val"])) == (414, 414, 414)
    assert isinstance(sweep.task, ForecastingConfig)
    naive = naive_forecasts(sweep.task, data, "test")["seasonal naive (24)"]
    figures = metrics_from_predictions(sweep.task, naive, truth_of(sweep.task, data, "test"))
    assert figures["smape"] == pytest.approx(13.912, abs=2e-3)
    assert figures["mase"] == pytest.approx(1.193, rel=0.03)  # in units of our training part, which is two days shorter
