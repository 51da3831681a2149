"""Search spaces: files of parameters that sweeps share, found by name and merged in order."""

from __future__ import annotations

import os
from pathlib import Path

from seqsweep.config.aliases import resolve_parameters
from seqsweep.config.document import Node, read_file
from seqsweep.config.fields import SHIPPED, Fields
from seqsweep.config.problems import Problems, nearest, suggestion
from seqsweep.config.shipped import shipped, shipped_names

FOLDER = "search_spaces"
_KEYS = ("description", "parameters")


def merge_spaces(root: Node, problems: Problems, fields: Fields = SHIPPED) -> frozenset[str]:
    """Put the parameters of the named search spaces beneath the sweep's own, each taken or replaced whole.

    Returns the names of those that come from a file.
    """
    named = root.children.get("search_space")
    own = root.children.get("parameters")
    if named is None or not isinstance(named.value, list) or (own is not None and not isinstance(own.value, dict)):
        return frozenset()
    merged: dict[str, Node] = {}
    seen: set[str] = set()
    for item in named.value:
        if not isinstance(item.value, str):
            continue  # reported with the structure
        if item.value in seen:
            problems.add(item.place, f"the search space {item.value} is named twice", "each once")
        elif not problems.full:
            merged |= _parameters(item.value, item, problems, fields)
        seen.add(item.value)
    written = own.children if own else {}
    # In the order the spaces have them, so that overriding a parameter does not move it.
    root.children["parameters"] = Node(merged | written, own.place if own else named.place,
                                       own.key if own else named.key, "parameters")
    return frozenset(merged.keys() - written.keys())


def _parameters(name: str, item: Node, problems: Problems, fields: Fields) -> dict[str, Node]:
    path = _find(name)
    if path is None:
        known = _names()
        problems.add(item.place, f'there is no search space "{name[:60]}"',
                     f"{suggestion(name, known, 'search spaces')}; or a file {FOLDER}/NAME.yaml in the working folder")
        return {}
    space = read_file(path, _origin(path), problems)
    if space is None:
        return {}
    for key, node in space.children.items():
        if key not in _KEYS:
            problems.add(node.key, f'unknown key "{key[:60]}"', suggestion(key, _KEYS, "known keys"))
    parameters = space.children.get("parameters")
    if parameters is None or not isinstance(parameters.value, dict):
        problems.add(parameters.place if parameters else space.place, f"the search space {name} has no parameters",
                     "`parameters:` with one entry a parameter")
        return {}
    description = space.children.get("description")
    if description is not None and not isinstance(description.value, str):
        problems.add(description.place, "the description is no text", "a text")
    resolve_parameters(parameters, problems, fields)
    return parameters.children


def _find(name: str) -> Path | None:
    """A file of the working folder goes before a shipped one of the same name."""
    known = _names()
    if name not in known:
        return None
    own = Path(FOLDER) / f"{name}.yaml"
    return own if own.is_file() else shipped(FOLDER) / f"{name}.yaml"


def _names() -> list[str]:
    own = [path.stem for path in Path(FOLDER).glob("*.yaml")] if Path(FOLDER).is_dir() else []
    return sorted({*own, *shipped_names(FOLDER)})


def _origin(path: Path) -> str:
    """Shown from the working folder where it lies below it."""
    try:
        return os.fspath(path.absolute().relative_to(Path.cwd()))
    except ValueError:
        return os.fspath(path)


def nearest_file(path: Path) -> str:
    """The YAML file or shipped pipeline that a missing path was probably meant to be; empty where none is near."""
    siblings = [os.fspath(other) for other in sorted(path.parent.glob("*.yaml"))[:1000]] if path.parent.is_dir() else []
    by_name = {Path(other).name: other for other in siblings}
    if near := nearest(path.name, by_name):
        return by_name[near]
    return nearest(path.name.removesuffix(".yaml"), shipped_names("pipelines"))
