"""What the sections of a sweep must agree on: task and metric, columns and roles, splits, schedule, registry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime

from seqsweep.config.document import KeyPath
from seqsweep.config.entries import check_entries
from seqsweep.config.models import TIMED
from seqsweep.config.problems import suggestion
from seqsweep.config.structure import Draft
from seqsweep.config.sweep import PromoteConfig
from seqsweep.config.tasks import (
    METRICS,
    AnomalyConfig,
    ClassificationConfig,
    ForecastingConfig,
    RegressionConfig,
    WindowTask,
)

SUFFIXES = (".csv", ".csv.gz", ".txt", ".txt.gz", ".parquet", ".npz", ".ts", ".ts.gz")
_WITHOUT_HEADER = (".csv", ".csv.gz", ".txt", ".txt.gz")
_COARSER = {"minute": ("h", "D", "W", "MS", "QS", "YS"), "hour": ("D", "W", "MS", "QS", "YS"),
            "weekday": ("W", "MS", "QS", "YS"), "monthday": ("MS", "QS", "YS"), "yearday": ("YS",), "month": ("YS",)}
"""Calendar features that are the same at every step of these frequencies."""


def check_sections(draft: Draft) -> None:
    """Note every contradiction between the sections that are sound."""
    check_entries(draft)
    if draft.sound("metric") and draft.sweep.metric.entry is None:
        _check_metric(draft)
    if draft.sound("task"):
        _check_task(draft)
    if draft.sound("data"):
        _check_data(draft)
    if draft.sound("metric", "task", "data"):
        _check_judge(draft)
    if draft.sound("data", "task"):
        _check_windows(draft)
        _check_roles(draft)
    if draft.sound("data", "task", "prepare"):
        _check_prepare(draft)
    if draft.sound("task", "prepare", "parameters", "resources") and draft.has_all_parameters:
        _check_cells(draft)
    if draft.sound("early_terminate"):
        _check_pruner(draft)
    if draft.sound("task", "ensemble", "keep", "budget"):
        _check_ensemble(draft)
    if draft.sound("register", "promote"):
        _check_registry(draft)
    if draft.sound("resources", "deterministic"):
        _check_resources(draft)


def _check_metric(draft: Draft) -> None:
    metric = draft.sweep.metric
    written = draft.root.get(("task", "type"))
    kind = written.value if written else None
    if not isinstance(kind, str) or kind not in METRICS:
        return
    known = METRICS[kind]
    if metric.name not in known:
        bare = metric.name.lower().removeprefix("val_").removeprefix("validation_")
        near = f"did you mean {bare}? " if bare in known and bare != metric.name else ""
        right = f"metrics: {', '.join(known)}" if near else suggestion(metric.name, known, "metrics")
        draft.refuse(("metric", "name"), f'"{metric.name[:60]}" is no metric of {kind}', near + right)
    elif metric.goal not in (None, known[metric.name]):
        draft.refuse(("metric", "goal"), f"{metric.name} cannot be {metric.goal}d: that would look for the worst model",
                     f"goal: {known[metric.name]}, or no goal at all")


def _check_judge(draft: Draft) -> None:
    metric, task = draft.sweep.metric, draft.sweep.task
    known = METRICS[task.type]
    if metric.season is not None and "mase" not in known:
        draft.refuse(("metric", "season"), f"season is the unit of mase, and {task.type} has no such metric",
                     "remove it", key=True)
    if metric.test is not None and metric.test not in known:
        draft.refuse(("metric", "test"), f'"{metric.test[:60]}" is no metric of {task.type}',
                     suggestion(metric.test, known, "metrics"))
    data = draft.sweep.data
    labelled = isinstance(task, AnomalyConfig) and (task.label or data.windows)
    for key, name in (("name", metric.name), ("test", metric.test)):
        if isinstance(task, AnomalyConfig) and not labelled and name in known and name != "loss":
            draft.refuse(("metric", key), f"{name} counts labelled anomalies, and there are no labels",
                         "task.label, a column; or data.windows, a file; or name: loss")


def _check_windows(draft: Draft) -> None:
    """Windows mark anomalies by time, and labels are told once."""
    data, task = draft.sweep.data, draft.sweep.task
    if data.windows is None:
        return
    if not isinstance(task, AnomalyConfig):
        draft.refuse(("data", "windows"), f"windows mark anomalies, and the task is {task.type}", "remove it", key=True)
    elif task.label is not None:
        draft.refuse(("data", "windows"), "task.label and data.windows say the same twice", "one of them", key=True)
    if data.time is None:
        draft.refuse(("data", "windows"), "windows are stretches of time, and the rows have none",
                     "data.time, a column", key=True)


def _check_resources(draft: Draft) -> None:
    resources = draft.sweep.resources
    if resources.kernel == "torch" and resources.pack not in ("auto", "off", 1):
        draft.refuse(("resources", "pack"), "torch's own layers cannot train several trials in step",
                     "pack: off, or kernel: compiled or stacked (CPU), triton (GPU)")
    elif draft.sweep.deterministic and resources.pack not in ("auto", "off", 1):
        draft.refuse(("resources", "pack"), "deterministic trains each trial alone: a pack is filled as workers become "
                     "free", "pack: off, or deterministic: false")


def _check_task(draft: Draft) -> None:
    task = draft.sweep.task
    if isinstance(task, ForecastingConfig) and task.calibration != "none" and not task.quantiles:
        draft.refuse(("task", "calibration"), "it moves quantiles, and there are none",
                     "quantiles: [0.05, 0.5, 0.95], or no calibration")
    if isinstance(task, WindowTask):
        for name in ("naive_season", "highway"):
            _check_reach(draft, name, task.context)
    if isinstance(task, AnomalyConfig) and task.scorer == "autoencoder" and "naive_season" in draft.sweep.parameters:
        draft.refuse(("parameters", "naive_season"), "an auto-encoder forecasts nothing that a season corrects",
                     "remove it, or scorer: forecast", key=True)
    unread = () if isinstance(task, ForecastingConfig) else ("highway",) if isinstance(task, WindowTask) else (
        "highway", "naive_season", "window_norm", "decoder")
    for name in unread:
        if name in draft.sweep.parameters and not draft.fields.is_own(name):
            draft.refuse(("parameters", name), f"{name} is for forecasting, and the task is {task.type}", "remove it",
                         key=True)


def _check_reach(draft: Draft, name: str, context: int) -> None:
    """No value looks further back than the model sees."""
    parameter = draft.sweep.parameters.get(name)
    if parameter is None:
        return
    candidates: list[tuple[KeyPath, object]] = [(("values", number), value)
                                                for number, value in enumerate(parameter.values or ())]
    candidates += [(("value",), parameter.value), (("max",), parameter.max)]
    for below, value in candidates:
        if isinstance(value, int) and value > context:
            draft.refuse(("parameters", name, *below), f"{name} looks {value} steps back, and the model sees {context}",
                         f"at most task.context, {context}")


def _check_data(draft: Draft) -> None:
    data = draft.sweep.data
    if (data.path is None) == (data.name is None):
        what = "data has both path and name" if data.path else "data has neither path nor name"
        draft.refuse(("data", "name") if data.path else ("data",), what,
                     "path: a file, or name: a data set of an installed package", key=True)
    for key in ("path", "val", "test", "test_target"):
        path = getattr(data, key)
        if path is not None and "://" in path:
            scheme = path.partition("://")[0][:20]  # the rest may hold a password
            draft.refuse(("data", key), f'"{scheme}://..." is an address, not a file', "a file on this machine")
        elif path is not None and "${" in path:
            draft.refuse(("data", key), "a path is taken as it is written, and a sweep holds no secrets",
                         "a path without ${...}")
        elif path is not None and data.files is None and not path.lower().endswith(SUFFIXES):
            draft.refuse(("data", key), f'"{path[-60:]}" has no known ending', f"one of {', '.join(SUFFIXES)}")
    _check_files(draft)
    if data.columns and not (data.files or data.path or "").lower().endswith(_WITHOUT_HEADER):
        draft.refuse(("data", "columns"), "columns names those of a file without a header, and these data have names",
                     f"remove it, or a file that ends in {' or '.join(_WITHOUT_HEADER)}", key=True)
    for number, name in enumerate(data.columns):
        if name in data.columns[:number]:
            draft.refuse(("data", "columns", number), f'the column "{name}" stands twice in data.columns', "each once")
    if data.test_target is not None and data.test is None:
        draft.refuse(("data", "test_target"), "it holds the targets of data.test, and there is none",
                     "data.test, or no test_target", key=True)
    if data.dates is not None and (data.time is None or data.layout == "wide"):
        draft.refuse(("data", "dates"), "it says what comes first in the time column, and there is none",
                     "data.time, a column; or no dates", key=True)
    if data.start is not None:
        _check_start(draft, data.start)


def _check_files(draft: Draft) -> None:
    data = draft.sweep.data
    if data.layout == "wide":
        for key in ("files", "windows"):
            if getattr(data, key) is not None:
                draft.refuse(("data", key), f"{key} are not read beside layout: wide", "a file, a row a series",
                             key=True)
    if data.files is None:
        return
    for key in ("name", "val", "test", "series"):
        if getattr(data, key) is not None:
            right = "the files' own names tell the series apart" if key == "series" else "one of the two"
            draft.refuse(("data", key), f"files and {key} do not go together", right, key=True)
    if data.files.startswith("/") or ".." in data.files.split("/"):
        draft.refuse(("data", "files"), f'"{data.files[-60:]}" leaves the folder', "a pattern such as *.csv or */*.csv")
    elif not data.files.lower().endswith(SUFFIXES):
        draft.refuse(("data", "files"), f'"{data.files[-60:]}" has no known ending', f"one of {', '.join(SUFFIXES)}")


def _check_start(draft: Draft, start: str) -> None:
    try:
        datetime.fromisoformat(start)
    except ValueError:
        draft.refuse(("data", "start"), f'"{start[:60]}" is no time', 
                     "ISO 8601, such as 2000-06-05 or 2000-06-05T12:30")
    if draft.sweep.data.time is not None:
        draft.refuse(("data", "start"), "start and a time column say the same twice", "one of them", key=True)
    elif draft.sweep.data.freq is None:
        draft.refuse(("data", "start"), "start without freq: the times of later rows are unknown",
                     "freq: 30min, h, D or the like", key=True)


def _roles(draft: Draft) -> Iterator[tuple[str, str, KeyPath]]:
    """Every column that is named, with its role and place; data's own first."""
    data, task = draft.sweep.data, draft.sweep.task
    for role in ("time", "series"):
        if (column := getattr(data, role)) is not None:
            yield column, f"data.{role}", ("data", role)
    if isinstance(task, ClassificationConfig | AnomalyConfig) and task.label is not None:
        yield task.label, "task.label", ("task", "label")
    for role in ("target", "past", "known", "features", "static"):
        columns = getattr(task, role, ())
        if isinstance(columns, str):
            yield columns, f"task.{role}", ("task", role)
            continue
        for number, column in enumerate(columns):
            yield column, f"task.{role}", ("task", role, number)


def _check_roles(draft: Draft) -> None:
    """A column has one role; only a group may be the series or a static column."""
    first: dict[str, str] = {}
    for column, role, path in _roles(draft):
        if column not in first:
            first[column] = role
        elif first[column] == role:
            draft.refuse(path, f'the column "{column}" stands twice in {role}', "each column once")
        else:
            draft.refuse(path, f'the column "{column}" is {role} and {first[column]}', "one role a column")
    split = draft.sweep.split
    if not draft.sound("split") or split.key is None or split.key not in first:
        return
    role = first[split.key]
    if split.by == "given" or role not in ("data.series", "task.static"):
        draft.refuse(("split", "key"), f'the column "{split.key}" is split.key and {role}', "one role a column")


def _check_prepare(draft: Draft) -> None:
    data, prepare, task = draft.sweep.data, draft.sweep.prepare, draft.sweep.task
    for key in ("calendar", "lags", "differences"):
        values = getattr(prepare, key)
        for number, value in enumerate(values):
            if value in values[:number]:
                draft.refuse(("prepare", key, number), f"{value} stands twice in prepare.{key}", "each once")
    if prepare.calendar and data.time is None and (data.freq is None or data.start is None):
        draft.refuse(("prepare", "calendar"), "calendar features need the time of each row",
                     "data.time, a column; or data.freq and data.start where there is none", key=True)
    unit = re.sub(r"^\d+", "", data.freq) if data.freq else ""
    for number, feature in enumerate(prepare.calendar):
        if unit in _COARSER[feature]:
            draft.refuse(("prepare", "calendar", number), f"{feature} is the same at every step of {data.freq}",
                         "a feature that changes from step to step")
    for key in ("lags", "differences"):
        if getattr(prepare, key) and not isinstance(task, WindowTask):
            draft.refuse(("prepare", key), f"{key} are made of earlier values of targets, and {task.type} has none",
                         "remove it", key=True)
    if isinstance(task, RegressionConfig) and task.context is not None and prepare.scale_by == "series":
        draft.refuse(("prepare", "scale_by"), "a series' own figures tell of rows that come after a sample's end",
                     "scale_by: global; or no task.context, so that a sample is a whole sequence")
    if data.test_target is not None and not isinstance(task, RegressionConfig):
        draft.refuse(("data", "test_target"), f"it holds numbers to tell, and the task is {task.type}", "remove it",
                     key=True)
    if prepare.elapsed and isinstance(task, WindowTask):
        draft.refuse(("prepare", "elapsed"), f"{task.type} takes the steps of a series for equal", "remove it",
                     key=True)
    elif prepare.elapsed and data.time is None:
        draft.refuse(("prepare", "elapsed"), "time that has elapsed needs the time of each row", "data.time, a column",
                     key=True)
    if prepare.indicator and prepare.fill == "refuse":
        draft.refuse(("prepare", "indicator"), "indicator marks values that were filled, and fill: refuse lets none in",
                     "fill: interpolate, forward, zero or mean; or no indicator", key=True)


def _check_cells(draft: Draft) -> None:
    """Cells that read what time has done need it prepared."""
    cell, task = draft.sweep.parameters.get("cell"), draft.sweep.task
    prepare, resources = draft.sweep.prepare, draft.sweep.resources
    timed = [name for name in (cell.values or (cell.value,) if cell else ()) if name in TIMED]
    if not timed or draft.sweep.model is not None:
        return
    path = ("parameters", "cell")
    if not prepare.elapsed:
        draft.refuse(path, f"{timed[0]} reads the time between rows, and it is no feature",
                     f"another cell: {task.type} takes the steps of a series for equal" if isinstance(task, WindowTask)
                     else "prepare.elapsed: true, or another cell")
    if "gru_d" in timed and prepare.fill not in ("refuse", "forward"):
        draft.refuse(("prepare", "fill"), f"gru_d lets what was last seen fade, and fill: {prepare.fill} hides it",
                     "fill: forward, or another cell")
    if resources.pack not in ("auto", "off", 1):
        draft.refuse(("resources", "pack"), f"{timed[0]} is computed by torch alone, one trial at a time",
                     "pack: off, or another cell")


def _check_pruner(draft: Draft) -> None:
    pruner, epochs = draft.sweep.early_terminate, draft.sweep.parameters.get("epochs")
    for key, other in (("eta", "median"), ("min_trials", "asha"), ("min_trials", "hyperband")):
        usual = type(pruner).model_fields[key].default
        if pruner.type == other and getattr(pruner, key) != usual:
            draft.refuse(("early_terminate", key), f"{key} has no meaning for {other}",
                         "remove it, or another type", key=True)
    if pruner.type == "none" or not draft.sound("parameters", "parameters.epochs"):
        return
    written = (epochs.value, epochs.max, *(epochs.values or ())) if epochs else (draft.fields.default("epochs"),)
    numbers = [value for value in written if isinstance(value, int)]
    if numbers and pruner.min_epochs > max(numbers):
        draft.refuse(("early_terminate", "min_epochs"),
                     f"no trial is pruned before epoch {pruner.min_epochs}, and none has more than {max(numbers)}",
                     f"at most {max(numbers)}, or type: none")


def _check_ensemble(draft: Draft) -> None:
    sweep = draft.sweep
    if sweep.ensemble is None:
        return
    if isinstance(sweep.task, AnomalyConfig):
        draft.refuse(("ensemble",), "several detectors have no mean: each has a threshold of its own, and what is one "
                     "alarm to them all may come in different rows", "remove it: the best trial alone", key=True)
    elif sweep.keep.checkpoints == 1:
        draft.refuse(("keep", "checkpoints"), "the weights of one trial are kept, and an ensemble is of several",
                     "more, or no ensemble")
    elif sweep.budget.max_trials == 1:
        draft.refuse(("ensemble",), "there is one trial, and an ensemble is of several",
                     "a larger budget.max_trials, or no ensemble", key=True)


def _check_registry(draft: Draft) -> None:
    register, promote = draft.sweep.registration, draft.sweep.promote
    if register is None:
        if promote is not None:
            draft.refuse(("promote",), "promote without register: there would be no version to promote",
                         "register: {}", key=True)
        return
    for path, alias in ((("register", "alias"), register.alias), (("promote", "to"), promote.to if promote else "")):
        if alias == "latest" or re.fullmatch(r"v\d+", alias):
            draft.refuse(path, f"the alias {alias} is MLflow's own", "another name, such as challenger")
    if register.alias == (promote or PromoteConfig()).to:
        draft.refuse(("register", "alias"), f"every sweep would become {register.alias} without passing the gate",
                     "an alias of its own, such as challenger")
    if promote:
        for number, demand in enumerate(promote.require):
            if demand in promote.require[:number]:
                draft.refuse(("promote", "require", number), f"{demand} stands twice", "each once")
