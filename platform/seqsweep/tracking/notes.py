"""What a person reads in the MLflow UI: descriptions in Markdown, and a view of a sweep's trials, best first."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from mlflow.entities import Dataset, DatasetInput

from seqsweep.config.sweep import Sweep
from seqsweep.config.tasks import TaskConfig
from seqsweep.store.records import StageRecord, SweepRecord

VIEW_TAG = "mlflow.sharedViewState."
"""MLflow keeps a saved view of an experiment's runs as a tag of the experiment; its id follows."""
_OURS = f"{VIEW_TAG}seqsweep-"
VIEWS = 20
"""Views of sweeps kept in an experiment; with 40 of any origin MLflow's UI lets nobody save another."""
_GAP = "&emsp;"
"""MLflow's UI sets the columns of a table edge to edge."""
_FIGURES = 5
"""Test metrics in a table: more do not fit beside each other."""


def sweep_note(evaluation: Mapping[str, Any], metric: str, link: str) -> str:
    """Describe an evaluated sweep: who wins, the leaderboard, the winner's parameters.

    `evaluation` is the stored result of the evaluate stage, `link` leads to the trials.
    """
    return "\n\n".join([f"**{evaluation['headline']}**", f"[All trials, best first]({link})",
                        _table(evaluation, metric), _winner(evaluation)])


def version_note(evaluation: Mapping[str, Any], metric: str, sweep: str) -> str:
    """Describe a registered version: how it does beside the baselines, and what it is."""
    said = evaluation.get("headline")
    return "\n\n".join([f"{said} (sweep {sweep})", _table(evaluation, metric), _winner(evaluation)]) if said else ""


def model_note(sweep: Sweep, name: str) -> str:
    """Describe a registered model: what it predicts from what, and how it is used."""
    return (f"{_says(sweep.task)} Trained on {dataset_name(sweep.data.model_dump())} by seqsweep.\n\n"
            f"    seqsweep promote {name} --to champion\n    seqsweep predict {name}@champion --data new.csv")


def _says(task: TaskConfig) -> str:
    if task.type == "forecasting":
        return f"Forecasts {', '.join(task.targets)} {task.horizon} steps ahead from the last {task.context}."
    if task.type == "regression":
        return f"Tells {task.target} from " + (f"the last {task.context} rows." if task.context else "whole sequences.")
    if task.type == "anomaly":
        return f"Seeks anomalies in the light of the last {task.context} rows."
    return "Classifies sequences."


def dataset_name(data: Mapping[str, Any]) -> str:
    """Short name of what a sweep's `data` section points at: a file's name or a named data set."""
    return str(data.get("name") or str(data.get("path")).rstrip("/").rpartition("/")[2])


def dataset(record: SweepRecord) -> DatasetInput | None:
    """The sweep's data as MLflow's `Dataset` column shows them; None before they were prepared."""
    if record.data_hash is None:
        return None
    data = {key: value for key, value in json.loads(record.spec)["data"].items() if value is not None}
    return DatasetInput(Dataset(name=dataset_name(data), digest=record.data_hash[:16], source_type="seqsweep",
                                source=json.dumps(data, sort_keys=True)))


def test_figures(stage: StageRecord) -> dict[str, float]:
    """The winner's finite figures on the test part, as `test_<metric>`."""
    return {f"test_{name}": value for row in stage.value["rows"] if row["kind"] == "winner"
            for name, value in row["test"].items() if math.isfinite(value)}


def members(evaluation: Mapping[str, Any]) -> Mapping[str, int]:
    """Of an ensemble that won: trial -> how often it counts; empty where a trial stands alone."""
    rows = [row for row in evaluation["rows"] if row["kind"] == "winner"]
    return rows[0].get("members") or {} if rows else {}


def view_tag(uid: str) -> str:
    """Tag of the experiment that holds the view of this sweep's trials."""
    return f"{_OURS}{uid}"


def view_link(experiment: str, record: SweepRecord) -> str:
    """Address of that view within MLflow's UI."""
    return (f"#/experiments/{experiment}/runs?workflowType=machine_learning"
            f"&viewStateShareKey={view_tag(record.uid).removeprefix(VIEW_TAG)}")


def trials_view(record: SweepRecord, parent: str, sign: int) -> str:
    """The view as MLflow saves one: children of the run `parent`, best value first, with what was searched over."""
    spec = json.loads(record.spec)
    metric = spec["metric"]["name"]
    searched = [name for name, given in spec["parameters"].items() if given.get("value") is None]
    judged = spec["metric"].get("test") or metric
    columns = [f"metrics.`best_val_{metric}`", f"metrics.`test_{judged}`", "tags.`seqsweep.state`",
               *(f"params.`{name}`" for name in searched)]
    state = {"searchFilter": f"tags.mlflow.parentRunId = '{parent}'", "orderByKey": columns[0], "orderByAsc": sign > 0,
             "startTime": "ALL", "lifecycleFilter": "Active", "datasetsFilter": [], "modelVersionFilter": "All Runs",
             "selectedColumns": columns, "columnOrder": columns}
    created = round(record.created * 1000)
    return json.dumps({"name": f"{record.name}: trials, best first", "createdAt": created, "updatedAt": created,
                       "state": json.dumps(state)})


def superfluous_views(tags: Mapping[str, str]) -> list[str]:
    """Of an experiment's tags those that hold the oldest views of sweeps, beyond the newest `VIEWS`."""
    ours = [tag for tag in tags if tag.startswith(_OURS)]
    return sorted(ours, key=lambda tag: float(json.loads(tags[tag])["createdAt"]))[:-VIEWS]


def _table(evaluation: Mapping[str, Any], metric: str) -> str:
    rows = evaluation["rows"]
    shown = [metric, *(name for name in rows[0]["test"] if name not in (metric, "loss"))][:_FIGURES] if rows else []
    lines = [["", f"val {metric}", *(f"test {name}" for name in shown)]]
    lines += [[_bold(row), _figure(row["validation"]), *(_figure(row["test"].get(name)) for name in shown)]
              for row in rows]
    head, *body = [f"| {f' | {_GAP}'.join(line)} |" for line in lines]
    return "\n".join([head, "|---" * len(lines[0]) + "|", *body])


def _winner(evaluation: Mapping[str, Any]) -> str:
    if several := members(evaluation):
        whole = sum(several.values())
        return "The mean of " + ", ".join(f"trial {number} ({count} of {whole} parts)" for number, count in
                                          several.items())
    params: Mapping[str, object] = next((row["params"] for row in evaluation["rows"] if row["kind"] == "winner"), {})
    told = ", ".join(f"`{name}` {_figure(value)}" for name, value in params.items())
    return f"Parameters of trial {evaluation['winner']}: {told}"


def _bold(row: Mapping[str, Any]) -> str:
    return f"**{row['name']}**" if row["kind"] == "winner" else str(row["name"])


def _figure(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if 1e4 <= abs(value) < math.inf else f"{value:.4g}"
    return "" if value is None else str(value)
