"""The names other tools give the same thing: one table, read by the loader, the JSON schema and the documentation.

A name is here only where it means the same. W&B's `log_uniform` (bounds are exponents), Katib's `objective.goal` (a
value to stop at) and the like are therefore refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from seqsweep.config.distributions import resolve_distribution
from seqsweep.config.document import KeyPath, Node
from seqsweep.config.fields import SHIPPED, Fields
from seqsweep.config.problems import Problems


@dataclass(frozen=True)
class Alias:
    """A key that is accepted in place of another."""

    scope: KeyPath
    """The mapping it stands in; `*` stands for any key."""
    name: str
    target: KeyPath
    """The real key: from the top of the sweep where it is moved, a single name where it stays in its mapping."""
    rival: str
    """Whose name it is."""
    note: str = ""
    """What it means there, where that has to be said."""
    values: Mapping[str, str] = field(default_factory=dict)
    """Words of the rival and the ones they stand for."""

    @property
    def written(self) -> str:
        """The alias as the documentation shows it."""
        return ".".join(str(step) for step in (*self.scope, self.name))

    @property
    def real(self) -> str:
        """The real key as the documentation shows it."""
        path = (*self.scope, *self.target) if self.stays else self.target
        return ".".join(str(step) for step in path)

    @property
    def stays(self) -> bool:
        """Whether it only renames a key within its mapping."""
        return "*" in self.scope or self.scope == ("parameters",)


_MODES = {"min": "minimize", "max": "maximize"}
_ANY = ("parameters", "*")

ALIASES = (
    Alias((), "run_cap", ("budget", "max_trials"), "W&B"),
    Alias((), "maxTrialCount", ("budget", "max_trials"), "Katib"),
    Alias((), "num_samples", ("budget", "max_trials"), "Ray Tune", "not beside a grid, of which Ray counts repeats"),
    Alias((), "n_trials", ("budget", "max_trials"), "Optuna"),
    Alias((), "time_budget_s", ("budget", "max_time"), "Ray Tune", "seconds"),
    Alias((), "timeout", ("budget", "max_time"), "Optuna", "seconds"),
    Alias((), "maxFailedTrialCount", ("budget", "max_failed_trials"), "Katib"),
    Alias((), "parallelTrialCount", ("resources", "workers"), "Katib", "a worker trains one trial at a time"),
    Alias((), "mode", ("metric", "goal"), "Ray Tune", "min or max", _MODES),
    Alias((), "direction", ("metric", "goal"), "Optuna"),
    Alias(("metric",), "mode", ("metric", "goal"), "Ray Tune", "min or max", _MODES),
    Alias(("metric",), "direction", ("metric", "goal"), "Optuna"),
    Alias(("objective",), "objectiveMetricName", ("metric", "name"), "Katib"),
    Alias(("objective",), "type", ("metric", "goal"), "Katib"),
    Alias(("budget",), "run_cap", ("budget", "max_trials"), "W&B"),
    Alias(("budget",), "maxTrialCount", ("budget", "max_trials"), "Katib"),
    Alias(("budget",), "num_samples", ("budget", "max_trials"), "Ray Tune", "not beside a grid"),
    Alias(("budget",), "n_trials", ("budget", "max_trials"), "Optuna"),
    Alias(("budget",), "time_budget_s", ("budget", "max_time"), "Ray Tune", "seconds"),
    Alias(("budget",), "timeout", ("budget", "max_time"), "Optuna", "seconds"),
    Alias(("budget",), "maxFailedTrialCount", ("budget", "max_failed_trials"), "Katib"),
    Alias(("early_terminate",), "min_iter", ("early_terminate", "min_epochs"), "W&B"),
    Alias(("early_terminate",), "grace_period", ("early_terminate", "min_epochs"), "Ray Tune"),
    Alias(("early_terminate",), "min_resource", ("early_terminate", "min_epochs"), "Optuna"),
    Alias(("early_terminate",), "reduction_factor", ("early_terminate", "eta"), "Ray Tune, Optuna"),
    Alias(_ANY, "low", ("min",), "Optuna"),
    Alias(_ANY, "high", ("max",), "Optuna"),
    Alias(_ANY, "choices", ("values",), "Optuna"),
    Alias(("parameters",), "lr", ("learning_rate",), "common"),
    Alias(("parameters",), "l2", ("weight_decay",), "common"),
    Alias(("parameters",), "hidden", ("hidden_size",), "common"),
    Alias(("parameters",), "hidden_dim", ("hidden_size",), "common"),
    Alias(("parameters",), "units", ("hidden_size",), "Keras"),
    Alias(("parameters",), "n_layers", ("num_layers",), "common"),
)
"""Every key that is accepted in place of another; `distribution` and `q` of W&B are in `distributions`."""

VALUE_ALIASES = {("method",): {"bayes": "tpe"}}
"""Words that are accepted in place of others: W&B's `method: bayes` is Bayesian optimisation, here by TPE."""

MOVED = tuple(alias for alias in ALIASES if not alias.stays)
_RENAMED = {scope: {alias.name: str(alias.target[0]) for alias in ALIASES if alias.scope == scope}
            for scope in (_ANY, ("parameters",))}


def resolve_aliases(root: Node, problems: Problems, fields: Fields = SHIPPED) -> None:
    """Put everything under its real key; an alias beside its real key, or beside another alias of it, is a problem."""
    metric = root.children.get("metric")
    if metric and isinstance(metric.value, str):  # Ray Tune: `metric: mae`
        metric.value = {"name": Node(metric.value, metric.place, metric.key, metric.name)}
    for alias in MOVED:
        _move(root, alias, problems)
    objective = root.children.get("objective")
    if objective and "metric" in root.children and objective.value == {}:
        del root.children["objective"]
    for path, words in VALUE_ALIASES.items():
        node = root.get(path)
        if node and isinstance(node.value, str):
            node.value = words.get(node.value, node.value)
    resolve_parameters(root.children.get("parameters"), problems, fields)


def resolve_parameters(parameters: Node | None, problems: Problems, fields: Fields = SHIPPED) -> None:
    """The same for the parameters of a sweep or of a search space; the names of `fields` go before aliases."""
    if parameters is None:
        return
    renamed = {alias: real for alias, real in _RENAMED["parameters",].items() if alias not in fields and real in fields}
    _rename(parameters, renamed, problems)
    for name, parameter in parameters.children.items():
        _rename(parameter, _RENAMED[_ANY], problems)
        resolve_distribution(name, parameter, problems, fields)
        if when := parameter.children.get("when"):
            _rename(when, renamed, problems)


def _move(root: Node, alias: Alias, problems: Problems) -> None:
    scope = root.get(alias.scope)
    if scope is None or alias.name not in scope.children:
        return
    node = scope.children[alias.name]
    section, key = (str(step) for step in alias.target)
    home = root.children.get(section) or Node({}, node.key, node.key, section)
    if not isinstance(home.value, dict):
        return  # the section itself is wrong, and reported
    del scope.children[alias.name]
    if key in home.value:
        _clash(node, alias.name, home.value[key], key, problems)
        return
    if isinstance(node.value, str):
        node.value = alias.values.get(node.value, node.value)
    home.value[key] = node
    root.children[section] = home


def _rename(mapping: Node, names: Mapping[str, str], problems: Problems) -> None:
    entries = mapping.children
    if not any(name in names for name in entries):
        return
    renamed: dict[str, Node] = {}
    for name, node in entries.items():
        real = names.get(name, name)
        if real in renamed:
            _clash(node, name, renamed[real], real, problems)
        else:
            renamed[real] = node
    mapping.value = renamed


def _clash(node: Node, name: str, other: Node, real: str, problems: Problems) -> None:
    what = f"{name} says again what {other.name} says" if other.name != real else f"{name} is another name of {real}"
    problems.add(node.key, f"{what}, and both are given (the other at {other.key})", f"one of them: {real}")
