"""Prepares new data exactly as the training data were."""

from __future__ import annotations

from dataclasses import replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from seqsweep.config.sweep import DataConfig, PrepareConfig
from seqsweep.config.tasks import ForecastingConfig, RegressionConfig, WindowTask
from seqsweep.data import remarks
from seqsweep.data.batch import DataInfo, Prepared, indicator_name
from seqsweep.data.build import build_table
from seqsweep.data.calendar import Frequency
from seqsweep.data.checks import check_lengths, check_missing
from seqsweep.data.dates import Given
from seqsweep.data.features import Features, Layout, StaticLayout, assemble
from seqsweep.data.identity import row_keys, sequence_keys
from seqsweep.data.own import own_columns
from seqsweep.data.prepare import packed, sequence_samples, window_samples
from seqsweep.data.problems import Problems
from seqsweep.data.scaling import Figures, figures_of
from seqsweep.data.sources import Source
from seqsweep.data.table import TRAIN, VAL, Ints, Table, Task, roles_of, target_columns
from seqsweep.data.targets import ending_samples
from seqsweep.data.times import with_times
from seqsweep.data.wide import is_melted, melted
from seqsweep.data.windows import runs, target_rows, usable, window_origins
from seqsweep.errors import InvalidData, InvalidSweep

Mask = npt.NDArray[np.bool_]
Part = npt.NDArray[np.int8]


def transform(frame: pd.DataFrame, *, task: Task, prepare: PrepareConfig, data: DataConfig, info: DataInfo,
              origins: Literal["last", "all"] = "last") -> Prepared:
    """Prepare new data for a trained model; the result has one part, `predict`.

    Classification gives one sample a sequence; labels are read where there are any (-1 elsewhere). Regression gives
    one that ends at each series' last row; with a context and origins `all`, at every row. Its targets are not read.
    Anomalies are sought in every row with a whole context before it, whatever `origins`.
    Forecasting with origins `last` gives one window a series, which begins after the last observed target. Rows below
    that hold covariates known ahead, with the target left empty; without such covariates they may be missing and
    their times follow. With `all` every window whose horizon lies within the rows is given, one step apart.
    Without a time column, the first row of each series is at `data.start`. Times between slashes are read as in
    training.

    Series are scaled by their training figures; a series the model has not seen, where scaling is by series, by its
    own first `context` rows. Unknown categories of static columns are zeros. Raises InvalidData with every problem.
    """
    problems = Problems()
    table = _read(frame, task, prepare, data, info, problems)
    problems.raise_if_any()
    if isinstance(task, WindowTask):
        last = origins == "last" and isinstance(task, ForecastingConfig)
        return _windows(table, task, prepare, info, last, problems)
    check_missing(table, prepare, problems)
    problems.raise_if_any()
    part_T = np.full(len(table.values_TR), TRAIN, dtype=np.int8)
    features, figures = _features(table, task, prepare, info, part_T)
    if isinstance(task, RegressionConfig) and info.target_scaling is not None:
        ends = np.arange(len(part_T)) if task.context is not None and origins == "all" else table.bounds[1:] - 1
        samples = ending_samples(table, ends, task, info.target_scaling, row_keys(table))
        return packed(table, features, figures, _static(info), _info(table, info), {"predict": samples},
                      {"predict": np.unique(samples.key_N)})
    keys_S = sequence_keys(table)
    samples = sequence_samples(table, np.arange(len(table.series)), info.classes, keys_S)
    return packed(table, features, figures, _static(info), _info(table, info),
                  {"predict": samples}, {"predict": np.unique(keys_S)})


def _read(frame: pd.DataFrame, task: Task, prepare: PrepareConfig, data: DataConfig, info: DataInfo,
          problems: Problems) -> Table:
    """Read the frame with the columns, the categories and the frequency of the training data."""
    shown = str(frame.attrs.get("source", "data"))
    source = Source(melted(frame, data, shown) if data.layout == "wide" and not is_melted(frame) else frame, shown)
    if prepare.own is not None:
        try:
            source = replace(source, frame=own_columns(source.frame, prepare.own, task, data))
        except InvalidSweep as error:  # it did well in training: the rows are others
            raise InvalidData(*error.problems) from error
    roles = replace(roles_of(source, task, data, None), values=info.columns)
    given = Given(info.dates, "training") if info.dates else Given(data.dates, "key" if data.dates else "nobody")
    table = build_table([source], roles, task, problems, categories=tuple(info.static_categories), dates=given)
    if table.time and info.time != table.time:
        problems.add("times", f"{source.name}, column {data.time}", f"it holds {table.time}s",
                     f"{info.time}s, as in training")
        return table
    table = with_times(table, task, data.model_copy(update={"freq": info.freq or None}), prepare, problems,
                       _trained(info, table))
    if problems or not isinstance(task, ForecastingConfig) or table.times_T is None:
        return table
    return _with_step(table, info, problems)


def _trained(info: DataInfo, table: Table) -> Frequency | None:
    """The training data's frequency in the unit of the new times; None where none of their steps can be as long."""
    step = info.time_step * info.time_unit / table.time_unit
    return Frequency(info.freq, round(step)) if round(step) > 0 and abs(step - round(step)) <= 1e-9 * step else None


def _with_step(table: Table, info: DataInfo, problems: Problems) -> Table:
    """Take the training data's step where the new rows show none; else the two must be equal."""
    trained = info.time_step * info.time_unit
    if table.frequency is None:
        return replace(table, frequency=Frequency(info.freq, nanoseconds=round(trained / table.time_unit)))
    found = table.frequency.nanoseconds * table.time_unit
    if abs(found - trained) > 1e-9 * trained:
        unit = "" if table.time == "number" else " nanoseconds"
        problems.add("steps", table.where(0), f"a step is {found:g}{unit}",
                     f"{trained:g}{unit}, as in the training data")
    return table


def _features(table: Table, task: Task, prepare: PrepareConfig, info: DataInfo,
              part_T: Part) -> tuple[Features, Figures]:
    indicated = [name for name in info.columns if indicator_name(name) in info.features]
    layout = Layout.of(info.columns, indicated, task, prepare)
    figures = figures_of(table, info.scaling, prepare, task)
    begin, end = runs(part_T, table.bounds)
    end_T = np.repeat(end, end - begin)
    return assemble(table, layout, figures, info.fill_values, prepare, end_T, info.difference_scales,
                    info.elapsed_scale), figures


def _static(info: DataInfo) -> StaticLayout:
    return StaticLayout(info.static_features, info.static_categories, info.static_scaling)


def _info(table: Table, info: DataInfo) -> DataInfo:
    """The training data's facts, with the series and time unit of the new ones."""
    return info.model_copy(update={"series": table.series, "time": table.time, "time_unit": table.time_unit,
                                   "added_rows": table.added_rows})


def _windows(table: Table, task: WindowTask, prepare: PrepareConfig, info: DataInfo, last: bool,
             problems: Problems) -> Prepared:
    """Prepare windows of new data."""
    lead = prepare.lead
    observed_T = table.observed_rows(len(target_columns(task, table.columns)))
    origin_S = _origins(table, observed_T)
    known = task.known if isinstance(task, ForecastingConfig) else ()
    told = remarks.of_rows(table, task, info.series)
    if last and isinstance(task, ForecastingConfig):
        given_S = table.bounds[1:] - origin_S
        table, origin_S = _with_future(table, task, origin_S, problems)
        problems.raise_if_any()
        told += remarks.of_forecasts(table, task, origin_S, given_S)
    future_T = np.arange(len(table.values_TR)) >= origin_S[table.series_T]
    exempt_R = np.array([name not in known or not last for name in table.columns])
    check_missing(table, prepare, problems, future_T[:, None] & exempt_R)
    check_lengths(table, task, lead, problems, ahead=task.horizon if last else 0)
    problems.raise_if_any()
    part_T = np.where(future_T & last, VAL, TRAIN).astype(np.int8)
    features, figures = _features(table, task, prepare, info, part_T)
    if last:
        for f in set(range(len(info.features))) - set(info.known):
            features.values_TF[future_T, f] = 0.0
        origins = origin_S
    else:
        every = task.model_copy(update={"stride": 1})
        origins = window_origins(part_T, table.bounds, every, lead, 1)[TRAIN]
        origins = usable(origins, observed_T, features.ahead_T, task.horizon)
    keys_T = row_keys(table)
    found = packed(table, features, figures, _static(info), _info(table, info),
                   {"predict": window_samples(table, origins, task, keys_T)},
                   {"predict": np.unique(keys_T[target_rows(origins, task.horizon, len(keys_T))])})
    return replace(found, remarks=tuple(told))


def _origins(table: Table, observed_T: Mask) -> Ints:
    """(S,) the row after the last observed target of each series."""
    after_T = np.where(observed_T, np.arange(1, len(observed_T) + 1), 0)
    return np.maximum(np.maximum.reduceat(after_T, table.first_S), table.first_S)


def _with_future(table: Table, task: ForecastingConfig, origin_S: Ints, problems: Problems) -> tuple[Table, Ints]:
    """Cut or extend each series to `horizon` rows after its last observed target; also returns the origins there."""
    given_S = np.minimum(table.bounds[1:] - origin_S, task.horizon)
    if task.known:
        for s in np.flatnonzero(given_S < task.horizon).tolist():
            problems.add("future rows", table.where(int(origin_S[s]) - 1 if origin_S[s] > table.bounds[s] else
                                                    int(table.bounds[s])),
                         f"{table.named(s)} has {given_S[s]} rows after its last observed target",
                         f"{task.horizon} rows with {', '.join(task.known)} filled in and the target empty")
        problems.raise_if_any()
    length_S = origin_S - table.first_S + task.horizon
    bounds = np.concatenate([[0], np.cumsum(length_S)])
    step_T = np.arange(bounds[-1]) - np.repeat(bounds[:-1], length_S)
    from_T = np.repeat(table.first_S, length_S) + step_T
    is_given_T = from_T < np.repeat(origin_S + given_S, length_S)
    from_T = np.where(is_given_T, from_T, np.repeat(np.maximum(origin_S - 1, table.first_S), length_S))
    values_TR = np.where(is_given_T[:, None], table.values_TR[from_T], np.nan)
    longer = replace(table, values_TR=values_TR, bounds=bounds, file_T=table.file_T[from_T],
                     row_T=np.where(is_given_T, table.row_T[from_T], 0), part_T=table.part_T[from_T],
                     times_T=_extended_times(table, from_T, is_given_T, bounds, task.horizon, given_S))
    return longer, bounds[1:] - task.horizon


def _extended_times(table: Table, from_T: Ints, is_given_T: Mask, bounds: Ints, horizon: int,
                    given_S: Ints) -> Ints | None:
    """Times of the rows kept, continued by the frequency."""
    if table.times_T is None or table.frequency is None:
        return None
    times_T = table.times_T[from_T]
    for s in np.flatnonzero(given_S < horizon):
        end = int(bounds[s + 1])
        new = int(horizon - given_S[s])
        if end - new > bounds[s]:
            times_T[end - new:end] = table.frequency.advance(int(times_T[end - new - 1]), np.arange(1, new + 1))
    return times_T


def target_row_numbers(data: Prepared, part: str, task: ForecastingConfig) -> Ints:
    """(N, horizon) rows in `values_TF` that each window forecasts."""
    start_N: Ints = data.parts[part].start_N
    rows: Ints = start_N[:, None] + task.context + np.arange(task.horizon)
    return rows
