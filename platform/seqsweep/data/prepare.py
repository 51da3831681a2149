"""From a sweep to the arrays training reads: every check, the split, and preparation fitted on the training part."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from seqsweep.config.sweep import PrepareConfig, Sweep
from seqsweep.config.tasks import AnomalyConfig, ClassificationConfig, RegressionConfig, WindowTask
from seqsweep.data.batch import DataInfo, Keys, Prepared, Samples, Scaling
from seqsweep.data.build import build_table
from seqsweep.data.checks import check_classes, check_labelled, check_lengths, check_missing, check_targets
from seqsweep.data.dates import Given
from seqsweep.data.features import Features, Layout, StaticLayout, assemble, encode_static, fit_static
from seqsweep.data.identity import data_hash, row_keys, sequence_keys
from seqsweep.data.outline import outline
from seqsweep.data.own import check_causal, hidden_columns, own_columns
from seqsweep.data.problems import Problems
from seqsweep.data.scaling import Figures, figures_of, fit, fit_scaling
from seqsweep.data.sources import read_sources, told_apart
from seqsweep.data.splits import Split, split_table
from seqsweep.data.table import PARTS, TRAIN, Ints, Table, roles_of, target_columns, value_columns
from seqsweep.data.targets import check_target, ending_samples, sample_ends, with_targets
from seqsweep.data.times import with_times
from seqsweep.data.windows import runs, target_rows, usable, window_origins

_WORDS = {"train": "training", "val": "validation", "test": "test"}


def prepare(sweep: Sweep) -> tuple[Prepared, ...]:
    """Read, check, split and prepare a sweep's data; one Prepared a fold. Raises InvalidData listing every problem."""
    problems = Problems()
    table = _read(sweep, problems)
    problems.raise_if_any()
    split = split_table(table, sweep.split, sweep.task, problems)
    for part_T in split.folds:
        if isinstance(sweep.task, WindowTask):
            check_targets(table, sweep.task, part_T, problems)
            check_labelled(table, sweep.metric, sweep.task, part_T, problems)
        elif isinstance(sweep.task, RegressionConfig):
            check_target(table, sweep.task, part_T, problems)
        else:
            check_classes(table, sweep.task, part_T, split.drawn, split.remedy, problems)
        problems.raise_if_any()
    name = data_hash(table, split.folds, sweep.task, sweep.prepare, sweep.split)
    return tuple(_fold(table, sweep, split, part_T, name) for part_T in split.folds)


def _read(sweep: Sweep, problems: Problems) -> Table:
    """Read every file into one checked table."""
    task, data, split = sweep.task, sweep.data, sweep.split
    label = task.label if isinstance(task, ClassificationConfig) else None
    if not isinstance(task, WindowTask) and sweep.prepare.lead:
        problems.add("lags", "prepare", f"{task.type} has no targets to look back at", "no lags and differences")
    text = {name for name in (data.series, label, split.key) if name}
    named = value_columns(task)
    others = [data.time, getattr(task, "target", None), task.label if isinstance(task, AnomalyConfig) else None]
    also = {name for name in others if isinstance(name, str)}
    own = sweep.prepare.own
    columns = {*named, *task.static, *text, *also, "series", "label"} if named and own is None else None
    sources = read_sources(data, text, columns)
    raw: tuple[str, ...] = ()
    if own is not None:
        hidden = hidden_columns(sources[0].frame, task)
        raw = tuple(str(name) for name in sources[0].frame.columns if name not in hidden)
        for source in sources:
            check_causal(source.frame, own, task, data)
        sources = tuple(replace(source, frame=own_columns(source.frame, own, task, data)) for source in sources)
    if isinstance(task, RegressionConfig):
        sources = told_apart(sources, data.series)
    roles = roles_of(sources[0], task, data, split)
    table = build_table(sources, roles, task, problems, by_given=split.by == "given",
                        dates=Given(data.dates, "key"))
    table = replace(table, outlines=tuple(outline(source, roles.used) for source in sources), raw=raw)
    table = with_times(table, task, data, sweep.prepare, problems)
    check_missing(table, sweep.prepare, problems)
    if isinstance(task, WindowTask):
        check_lengths(table, task, sweep.prepare.lead, problems)
    if isinstance(task, RegressionConfig):
        problems.raise_if_any()  # what remains is counted by times that are in order
        table = with_targets(table, task, data, problems)
    return table


def _fold(table: Table, sweep: Sweep, split: Split, part_T: npt.NDArray[np.int8], name: str) -> Prepared:
    """Prepare one fold; everything is fitted on its training part."""
    task, config = sweep.task, sweep.prepare
    train_T = part_T == TRAIN
    scaling = fit_scaling(table, train_T, config, task)
    indicated = [column for r, column in enumerate(table.columns)
                 if config.indicator and np.isnan(table.values_TR[train_T, r]).any()]
    layout = Layout.of(table.columns, indicated, task, config)
    static = fit_static(table, _any_in_series(train_T, table), config.scale)
    frequency = table.frequency
    info = DataInfo(
        features=layout.features, targets=layout.targets, known=layout.known, static_features=static.features,
        static_categories=static.categories or {}, static_scaling=static.scaling, columns=table.columns, raw=table.raw,
        classes=_classes(table) if isinstance(task, ClassificationConfig) else (), series=table.series,
        target_scaling=None if table.target_T is None else fit(table.target_T[train_T, None], "standard", None),
        scaling=scaling, fill_values=_means(table, train_T),
        freq=frequency.text if frequency else "", time=table.time, time_unit=table.time_unit, dates=table.dates,
        time_step=frequency.nanoseconds if frequency and table.times_T is not None else 0,
        start=sweep.data.start or "", seasons=_seasons(table, config),
        mase_season=sweep.metric.season or 0, added_rows=table.added_rows, data_hash=name)
    figures = figures_of(table, scaling, config, task)
    begin, end = runs(part_T, table.bounds)
    features = assemble(table, layout, figures, info.fill_values, config, np.repeat(end, end - begin), train_T)
    info = info.model_copy(update={"difference_scales": features.difference_scales,
                                    "elapsed_scale": features.elapsed_scale})
    if isinstance(task, WindowTask):
        parts, keys = _windows(table, sweep, task, features, part_T, split)
    elif isinstance(task, RegressionConfig) and info.target_scaling:
        parts, keys = _numbers(table, task, sweep.split.stride or 1, features, part_T, split, info.target_scaling)
    else:
        parts, keys = _sequences(table, info.classes, part_T, split)
    return packed(table, features, figures, static, info, parts, keys)


def _seasons(table: Table, config: PrepareConfig) -> tuple[int, ...]:
    """What the frequency suggests; where there is none, the seasons whose differences the model is shown."""
    if table.frequency and table.time != "number":
        return table.frequency.seasons
    return tuple(sorted(steps for steps in set(config.differences) if steps > 1))


def packed(table: Table, features: Features, figures: Figures, static: StaticLayout, info: DataInfo,
           parts: dict[str, Samples], keys: dict[str, Keys]) -> Prepared:
    """Put the arrays together. Raises InvalidData where scaled values do not fit into 32 bits."""
    _check_finite(table, features)
    D = len(info.targets)
    missing_TD = np.isnan(table.values_TR[:, :D])
    shift_SD, scale_SD = figures.shift_SR[:, :D], figures.scale_SR[:, :D]
    if info.target_scaling is not None:
        shift_SD, scale_SD = (np.full((len(table.series), 1), each[0])
                              for each in (info.target_scaling.shift, info.target_scaling.scale))
    return Prepared(
        values_TF=features.values_TF, static_SC=encode_static(table, static),
        shift_SD=np.ascontiguousarray(shift_SD, dtype=np.float32),
        scale_SD=np.ascontiguousarray(scale_SD, dtype=np.float32),
        observed_TD=~missing_TD if missing_TD.any() else None, parts=parts, row_keys=keys, info=info,
        times_T=table.times_T, first_S=table.first_S.astype(np.int64), window_T=table.window_T, outlines=table.outlines,
        remarks=table.remarks)


def _check_finite(table: Table, features: Features) -> None:
    """Refuse values that scaling leaves too large."""
    problems = Problems()
    for r, name in enumerate(table.columns):
        for t in np.flatnonzero(~np.isfinite(features.values_TF[:, r]))[:1]:
            problems.add("large values", table.where(int(t), name), f"{table.values_TR[t, r]:g} does not fit into 32 "
                         "bits after scaling", "smaller units, or prepare.scale")
    problems.raise_if_any()


def _any_in_series(mask_T: npt.NDArray[np.bool_], table: Table) -> npt.NDArray[np.bool_]:
    return np.logical_or.reduceat(mask_T, table.first_S)


def _means(table: Table, train_T: npt.NDArray[np.bool_]) -> tuple[float, ...]:
    """Mean of each raw column's observed training values; 0 where there are none."""
    means = []
    for column in table.values_TR.T:
        observed = column[train_T & ~np.isnan(column)]
        means.append(float(observed.mean()) if len(observed) else 0.0)
    return tuple(means)


def _classes(table: Table) -> tuple[str, ...]:
    """All classes: numbers by size, then text by alphabet."""
    def order(name: str) -> tuple[bool, float, str]:
        try:
            return False, float(name), name
        except ValueError:
            return True, 0.0, name
    return tuple(sorted(set(table.label_S), key=order))


def _windows(table: Table, sweep: Sweep, task: WindowTask, features: Features, part_T: npt.NDArray[np.int8],
             split: Split) -> tuple[dict[str, Samples], dict[str, Keys]]:
    """The windows of each part. Raises InvalidData for a part without any."""
    problems = Problems()
    found = window_origins(part_T, table.bounds, task, sweep.prepare.lead,
                           sweep.split.stride or task.horizon)
    observed_T = table.observed_rows(len(target_columns(task, table.columns)))
    keys_T = row_keys(table)
    parts, keys = {}, {}
    for name, part in PARTS.items():
        origins = usable(found.get(part, np.zeros(0, dtype=np.int64)), observed_T, features.ahead_T, task.horizon)
        if not len(origins):
            rows = int(np.count_nonzero(part_T == part))
            needed = f"{task.context} context and " if part == TRAIN else ""
            problems.add("empty parts", f"{_WORDS[name]} part", f"no window fits into its {rows} rows",
                         f"a stretch of {needed}{task.horizon} horizon rows in one series at least"
                         f"{_gap_advice(sweep.prepare)}; {split.remedy}")
        parts[name] = window_samples(table, origins, task, keys_T)
        keys[name] = np.unique(keys_T[target_rows(origins, task.horizon, len(keys_T))])
    problems.raise_if_any()
    return parts, keys


def _gap_advice(config: PrepareConfig) -> str:
    return ", not begun within a gap (prepare.fill: forward allows it)" if config.fill == "interpolate" else ""


def window_samples(table: Table, origins: Ints, task: WindowTask, keys_T: Keys) -> Samples:
    """Windows as samples, one an origin."""
    return Samples(
        start_N=origins - task.context, length_N=np.full(len(origins), task.context + task.horizon, dtype=np.int64),
        series_N=np.searchsorted(table.bounds, origins, side="right").astype(np.int64) - 1,
        label_N=np.zeros(0, dtype=np.int64), key_N=keys_T[origins])


def _numbers(table: Table, task: RegressionConfig, stride: int, features: Features, part_T: npt.NDArray[np.int8],
             split: Split, scaling: Scaling) -> tuple[dict[str, Samples], dict[str, Keys]]:
    """The samples of each part that end at a row with a target. Raises InvalidData for a part without any."""
    problems = Problems()
    found = sample_ends(table, part_T, task, stride, features.ahead_T)
    keys_T, (begin, end) = row_keys(table), runs(part_T, table.bounds)
    run_T = np.repeat(begin, end - begin)
    parts, keys = {}, {}
    for name, part in PARTS.items():
        ends = found.get(part, np.zeros(0, dtype=np.int64))
        if not len(ends):
            rows = int(np.count_nonzero(part_T == part))
            problems.add("empty parts", f"{_WORDS[name]} part", f"none of its {rows} rows has a target",
                         split.remedy)
        # training samples lie in the training part; the others may reach back, since the past is known by then
        parts[name] = ending_samples(table, ends, task, scaling, keys_T, run_T if part == TRAIN else None)
        keys[name] = np.unique(parts[name].key_N)
    problems.raise_if_any()
    return parts, keys


def _sequences(table: Table, classes: tuple[str, ...], part_T: npt.NDArray[np.int8],
               split: Split) -> tuple[dict[str, Samples], dict[str, Keys]]:
    """The sequences of each part. Raises InvalidData for a part without any."""
    problems = Problems()
    part_S, keys_S = part_T[table.first_S], sequence_keys(table)
    parts, keys = {}, {}
    for name, part in PARTS.items():
        chosen = np.flatnonzero(part_S == part)
        if not len(chosen):
            problems.add("empty parts", f"{_WORDS[name]} part", f"none of {len(table.series)} sequences is in it",
                         split.remedy)
        parts[name] = sequence_samples(table, chosen, classes, keys_S)
        keys[name] = np.unique(keys_S[chosen])
    problems.raise_if_any()
    return parts, keys


def sequence_samples(table: Table, chosen: Ints, classes: tuple[str, ...], keys_S: Keys) -> Samples:
    """Whole sequences as samples; the label is -1 where it is missing or unknown."""
    index = {name: c for c, name in enumerate(classes)}
    label_S = np.array([index.get(name, -1) for name in table.label_S] or [-1] * len(table.series), dtype=np.int64)
    return Samples(start_N=table.first_S[chosen].astype(np.int64), length_N=table.length_S[chosen].astype(np.int64),
                   series_N=chosen.astype(np.int64), label_N=label_S[chosen], key_N=keys_S[chosen])
