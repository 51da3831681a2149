"""pydantic's view of a sweep, told to its author: which key is missing, unknown or holds what it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from seqsweep.config.aliases import MOVED
from seqsweep.config.describe import choices_of, describe, homes_of, keys_of, schema_of
from seqsweep.config.document import KeyPath, Node
from seqsweep.config.fields import SHIPPED, Fields
from seqsweep.config.problems import Problems, nearest, shown, suggestion
from seqsweep.config.sweep import Sweep
from seqsweep.config.tasks import METRICS

_TASKS = tuple(METRICS)
_STAND_INS: dict[str, Any] = {
    "name": "unnamed", "data": {"path": "data.csv"}, "metric": {"name": "loss"},
    "task": {"type": "forecasting", "target": "y", "horizon": 1, "context": 1},
}


@dataclass(frozen=True)
class Draft:
    """A sweep whose sound sections can be judged further, although others are broken."""

    root: Node
    sweep: Sweep
    broken: frozenset[str]
    """Sections that hold a stand-in or a default, because what is written there is refused."""
    problems: Problems
    fields: Fields = SHIPPED
    """What may stand under `parameters`."""

    def sound(self, *sections: str) -> bool:
        """Whether these sections are as they are written."""
        return not self.broken.intersection(sections)

    @property
    def has_all_parameters(self) -> bool:
        """Whether no parameter is missing because it is broken."""
        return not any(section.startswith("parameters") for section in self.broken)

    def written(self, *path: str | int) -> bool:
        """Whether this key is in the file and not null."""
        node = self.root.get(path)
        return node is not None and node.value is not None

    def refuse(self, path: KeyPath, what: str, right: str = "", key: bool = False) -> None:
        """Note a problem at the value of a path, or at its key; where it is not written, above."""
        node = self.root.get(path)
        found = node or self.root.find(path)
        self.problems.add(found.key if key or node is None else found.place, what, right)


def draft_of(root: Node, problems: Problems, fields: Fields = SHIPPED) -> Draft:
    """Validate every section by itself, so that one that is broken does not hide what is wrong with another."""
    mended = _mend_task_type(root, problems)
    tree = root.plain()
    try:
        return Draft(root, Sweep.model_validate(tree), mended, problems, fields)
    except ValidationError as error:
        broken = _report(error, root, problems) | mended
    kept = {key: value for key, value in tree.items() if key not in broken}
    if isinstance(parameters := kept.get("parameters"), dict):
        kept["parameters"] = {name: parameter for name, parameter in parameters.items()
                              if f"parameters.{name}" not in broken}
    return Draft(root, Sweep.model_validate(_STAND_INS | kept), frozenset(broken), problems, fields)


def _mend_task_type(root: Node, problems: Problems) -> frozenset[str]:
    """Take a misspelt type for the nearest one, once refused, so that the rest of the task is judged too."""
    task = root.find(("task",)).children if "task" in root.children else {}
    if "type" not in task and (key := next((key for key in task if nearest(key, ["type"])), None)):
        problems.add(task[key].key, f'unknown key "{key[:60]}" under task', "did you mean type?")
        task["type"] = task.pop(key)
        return _mend_task_type(root, problems) | {"task"}
    node = task.get("type")
    written = node.value if node else None
    near = nearest(written, _TASKS) if isinstance(written, str) and written not in _TASKS else ""
    if node is None or not near:
        return frozenset()
    problems.add(node.place, f"task.type cannot be {shown(written)}", suggestion(str(written), _TASKS, "one of"))
    node.value = near
    return frozenset({"task"})


def _report(error: ValidationError, root: Node, problems: Problems) -> set[str]:
    """Note every error of pydantic's once a place. Returns the sections that cannot be used; parameters singly."""
    broken: set[str] = set()
    seen: set[KeyPath] = set()
    for detail in error.errors(include_url=False, include_input=False):
        path = _path(detail, root)
        broken.add(_section(path, root))
        if path in seen or _is_under(path, seen):
            continue
        seen.add(path)
        if problems.full:
            problems.left_out += 1
        else:
            _tell(detail, path, root, problems)
    return broken


def _section(path: KeyPath, root: Node) -> str:
    if not path:
        return ""
    parameters = root.children.get("parameters")
    if path[0] == "parameters" and len(path) > 1 and parameters and isinstance(parameters.value, dict):
        return f"parameters.{path[1]}"
    return str(path[0])


def _is_under(path: KeyPath, seen: set[KeyPath]) -> bool:
    return any(path[:length] in seen for length in range(1, len(path)))


def _path(detail: Any, root: Node) -> KeyPath:
    """Drop what pydantic puts in between: the branch of a union, the tag of a task."""
    return tuple(_steps(detail["loc"], detail["type"], root))


def _steps(location: tuple[str | int, ...], kind: str, root: Node) -> Iterator[str | int]:
    node: Node | None = root
    for number, step in enumerate(location):
        if number == 1 and location[0] == "task" and step in _TASKS:
            continue
        below = node.get((step,)) if node else None
        is_last = number == len(location) - 1
        if below is not None or (is_last and kind == "missing"):
            yield step
            node = below
    if kind.startswith("union_tag") and node is not None and isinstance(node.value, dict):
        yield "type"


def _tell(detail: Any, path: KeyPath, root: Node, problems: Problems) -> None:
    node = root.get(path)
    if detail["type"] == "missing" or (detail["type"].startswith("union_tag") and node is None):
        _tell_missing(path, root, problems)
    elif node is None or not path:
        problems.add(root.place, f"{detail['msg']}", "")
    elif detail["type"] == "extra_forbidden":
        _tell_unknown(path, node, root, problems)
    elif detail["type"] == "value_error":
        problems.add(node.place, f"{dotted(path)} cannot be {shown(node.value)}", str(detail["ctx"]["error"]))
    else:
        _tell_wrong(path, node, root, problems)


def _tell_missing(path: KeyPath, root: Node, problems: Problems) -> None:
    home = root.find(path)
    schema = schema_of(path, root)
    if path == ("task", "type"):
        right = f"one of {', '.join(_TASKS)}"
    else:
        about = schema.get("description", "")
        right = describe(schema) + (f": {about}" if about else "")
    problems.add(home.key, f"{dotted(path)} is missing", right)


def _tell_unknown(path: KeyPath, node: Node, root: Node, problems: Problems) -> None:
    home = path[:-1]
    known = keys_of(schema_of(home, root))
    key = str(path[-1])
    where = f" under {dotted(home)}" if home else ""
    what = f'unknown key "{node.name[:60]}"{where}'
    aliases = [alias.name for alias in MOVED if alias.scope == home]
    if not nearest(key, known) and (elsewhere := _elsewhere(key, home)):
        right = f"it belongs under {elsewhere}"
    elif (near := nearest(key, aliases)) and not nearest(key, known):
        right = f"did you mean {near}?"
    else:
        right = suggestion(key, known, "known keys")
    problems.add(node.key, what, right)


def _elsewhere(key: str, home: KeyPath) -> str:
    if key in SHIPPED and home != ("parameters",):
        return "parameters"
    return " or ".join(section for section in homes_of(key) if home != (section,))


def _tell_wrong(path: KeyPath, node: Node, root: Node, problems: Problems) -> None:
    schema = schema_of(path, root)
    value = node.value
    if path == ("task", "type"):
        words: tuple[str, ...] = _TASKS
        right = f"one of {', '.join(_TASKS)}"
    else:
        words, right = choices_of(schema), describe(schema)
    if value == "" and isinstance(value, str):
        right += ", not empty"
    meant = hint(value, schema, words) or _form_hint(path, value)
    problems.add(node.place, f"{dotted(path)} cannot be {shown(value)}", f"{meant}{right}")


def hint(value: Any, schema: dict[str, Any], words: tuple[str, ...]) -> str:
    """Say what was probably meant by a scalar; empty where nothing comes to mind."""
    wants = {branch.get("type") for branch in schema.get("anyOf") or [schema]}
    if isinstance(value, str):
        if near := nearest(value, words):
            return f"did you mean {near}? "
        if "boolean" in wants and value.lower() in ("yes", "no", "on", "off"):
            return f"write {str(value.lower() in ('yes', 'on')).lower()}: "
        if wants & {"integer", "number"} and _is_number(value):
            return "write it without quotes and underscores: "
    elif isinstance(value, (bool, int, float)) and "string" in wants and not wants & {"integer", "number"}:
        return "put it in quotes: "
    return ""


def _form_hint(path: KeyPath, value: Any) -> str:
    """Say how a parameter or a condition is written that was shortened to its value."""
    if len(path) == 2 and path[0] == "parameters" and not isinstance(value, dict) and value is not None:
        return f"write {{{'values' if isinstance(value, list) else 'value'}: ...}}: "
    if len(path) == 4 and path[0] == "parameters" and path[2] == "when" and not isinstance(value, (list, dict)):
        return "write it in brackets, [...]: "
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def dotted(path: KeyPath) -> str:
    """Write a key path the way people do: `task.quantiles[2]`."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return text.removeprefix(".")[:120]
