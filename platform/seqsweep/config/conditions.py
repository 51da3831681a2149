"""`when`: parents that exist, no circles, and no condition that never comes true."""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter
from itertools import islice

from seqsweep.config.parameters import count, points
from seqsweep.config.problems import shown, suggestion
from seqsweep.config.space import ParameterConfig, Parameters, Scalar
from seqsweep.config.structure import Draft

Domain = frozenset[Scalar]
_MOST_VALUES = 100_000


def resolve_conditions(draft: Draft, parameters: Parameters, from_files: frozenset[str]) -> Parameters:
    """Check every `when`, and narrow those of search spaces to what the sweep's own parameters leave possible.

    A search space is written for every sweep, so a condition of it that a sweep rules out is no mistake: the
    parameter is left out. In the sweep's own parameters, and within one file, a dead condition is refused.
    """
    conditions = _Conditions(draft, parameters, from_files)
    for name in conditions.order():
        conditions.resolve(name)
    return {name: conditions.resolved[name] for name in parameters if name in conditions.resolved}


def values_of(parameter: ParameterConfig) -> Domain:
    """Every value of a parameter that others can depend on; none for a continuous or very long range."""
    size = count(parameter)
    return frozenset(points(parameter) or ()) if size is not None and size <= _MOST_VALUES else frozenset()


class _Conditions:
    """The parameters in the order of their dependence. Conditions are conjunctions of lists: intersecting is exact."""

    def __init__(self, draft: Draft, parameters: Parameters, from_files: frozenset[str]) -> None:
        self._draft = draft
        self._parameters = parameters
        self._from_files = from_files
        self._written = tuple(draft.root.get(("parameters",)).children) if parameters else ()  # type: ignore[union-attr]
        self._ruled_out: set[str] = set()
        self._needed: dict[str, dict[str, Domain]] = {}
        """Parameter -> ancestor -> the values that the ancestor has while the parameter is active."""
        self.resolved: Parameters = {}

    def order(self) -> list[str]:
        """Parents first, as written otherwise. Those that go in a circle are refused and left out."""
        graph = {name: {parent for parent in parameter.when if parent in self._parameters and parent != name}
                 for name, parameter in self._parameters.items()}
        while True:
            try:
                return list(TopologicalSorter(graph).static_order())
            except CycleError as error:
                circle: list[str] = error.args[1][::-1]
                self._draft.refuse(("parameters", circle[0], "when"), f"when goes in a circle: {' -> '.join(circle)}",
                                   "a parameter that depends on none of these", key=True)
                graph = {name: parents - set(circle) for name, parents in graph.items() if name not in circle}

    def resolve(self, name: str) -> None:
        """Note what is wrong with one parameter's conditions; keep it if it can be active."""
        parameter = self._parameters[name]
        known = [self._has_parent(name, parent) for parent in parameter.when]  # every parent is judged
        if not all(known):
            return
        base = self._base(name)
        when: dict[str, tuple[Scalar, ...]] = {}
        for parent, listed in parameter.when.items():
            wanted = tuple(self._draft.fields.cast(parent, value) for value in listed)
            if not self._are_values(name, parent, wanted):
                return
            when[parent] = tuple(value for value in wanted if value in base[parent])
            if when[parent] != wanted and not self._is_excused(name, base):
                self._refuse_dead(name, parent, wanted, base[parent])
                return
        if not all(when.values()):
            self._ruled_out.add(name)
            return
        self._needed[name] = base | {parent: frozenset(values) for parent, values in when.items()}
        self.resolved[name] = parameter.model_copy(update={"when": when})

    def _has_parent(self, name: str, parent: str) -> bool:
        path = ("parameters", name, "when", parent)
        if parent == name:
            self._draft.refuse(path, f"{name} depends on itself", "another parameter", key=True)
        elif parent not in self._written:
            others = [other for other in self._written if other != name]
            self._draft.refuse(path, f'when: there is no parameter "{parent[:60]}" in this sweep',
                               suggestion(parent, others, "parameters of this sweep"), key=True)
        elif parent in self._ruled_out and name not in self._from_files:
            self._draft.refuse(path, f"{parent} is never active in this sweep, so {name} never is",
                               "a parameter that can be active", key=True)
        elif parent in self._ruled_out:
            self._ruled_out.add(name)
        return parent in self.resolved

    def _base(self, name: str) -> dict[str, Domain]:
        """What the ancestors can be while all parents are active; the parameter's own lists are left aside."""
        domains: dict[str, Domain] = {}
        for parent in self._parameters[name].when:
            for ancestor, domain in (self._needed[parent] | {parent: values_of(self.resolved[parent])}).items():
                domains[ancestor] = domains.get(ancestor, domain) & domain
        return domains

    def _are_values(self, name: str, parent: str, wanted: tuple[Scalar, ...]) -> bool:
        """Whether every listed value is one that the parent's field takes, each once, and the parent has such."""
        path = ("parameters", name, "when", parent)
        before = len(self._draft.problems.found)
        home = self.resolved[parent]
        if not values_of(home):
            self._draft.refuse(path, f"{parent} is a range of too many values to depend on",
                               "a parent with values: [...]", key=True)
        elif self._parameters[name].is_grid and not home.is_grid and home.value is None:
            self._draft.refuse(path, f"{name} is a grid axis and cannot depend on {parent}, which is drawn",
                               f"search: grid for {parent} too", key=True)
        elif not wanted:
            self._draft.refuse(path, f"no value of {parent} is listed, so {name} would never be active",
                               "[...], the values it is active for")
        for number, value in enumerate(wanted):
            if not self._draft.fields.accepts(parent, value):
                self._draft.refuse((*path, number), f"{parent} cannot be {shown(value)}",
                                   self._draft.fields.allowed(parent))
            elif value in wanted[:number]:
                self._draft.refuse((*path, number), f"{shown(value)} is listed twice", "each value once")
        return len(self._draft.problems.found) == before

    def _is_excused(self, name: str, ancestors: dict[str, Domain]) -> bool:
        """Whether the condition was written in a search space, and what it hangs on at another place."""
        origins = {self._draft.root.find(("parameters", one)).key.origin for one in (name, *ancestors)}
        return name in self._from_files and len(origins) > 1

    def _refuse_dead(self, name: str, parent: str, wanted: tuple[Scalar, ...], possible: Domain) -> None:
        values = ", ".join(sorted(map(_bare, islice(possible, 20)), key=lambda text: (len(text), text)))
        for number, value in enumerate(wanted):
            if value not in possible:
                self._draft.refuse(("parameters", name, "when", parent, number),
                                   f"{parent} is never {_bare(value)} where {name} could be active",
                                   f"its values there: {values}" if values else "conditions that can be met at once")


def _bare(value: Scalar) -> str:
    return str(value).lower() if isinstance(value, bool) else f"{value}"[:60]
