"""One strict reader of YAML: no tags, anchors, aliases or duplicate keys, and a line and a column for everything."""

from __future__ import annotations

import numbers
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import yaml

from seqsweep.config.problems import Place, Problems
from seqsweep.config.scalars import Scalar, read_scalar

MAX_BYTES = 1 << 20
MAX_DEPTH = 32
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# YAML 1.1 takes U+0085, U+2028 and U+2029 for line ends, editors and YAML 1.2 do not: lines would be counted apart.
_FORBIDDEN = re.compile("[^\t\n\r -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")

KeyPath = tuple[str | int, ...]


@dataclass
class Node:
    """A value with its place; mappings and lists hold nodes."""

    value: Scalar | dict[str, Node] | list[Node] | None
    place: Place
    key: Place
    """Where the key stands that leads here; the value's own place for list items."""
    name: str = ""
    """The key as it was written, before an alias was resolved."""

    @property
    def children(self) -> dict[str, Node]:
        """The entries of a mapping; none for anything else."""
        return self.value if isinstance(self.value, dict) else {}

    def find(self, path: KeyPath) -> Node:
        """Follow a path as far as it goes."""
        node = self
        for step in path:
            below = node._child(step)
            if below is None:
                break
            node = below
        return node

    def get(self, path: KeyPath) -> Node | None:
        """Follow a path to its end; None where it breaks off."""
        node: Node | None = self
        for step in path:
            node = node._child(step) if node else None
        return node

    def _child(self, step: str | int) -> Node | None:
        if isinstance(self.value, dict):
            return self.value.get(cast(str, step))
        if isinstance(self.value, list) and isinstance(step, int) and step < len(self.value):
            return self.value[step]
        return None

    def plain(self) -> Any:
        """Drop the places: dicts, tuples and scalars."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return tuple(node.plain() for node in self.value)
        return self.value


def read_file(path: Path, origin: str, problems: Problems) -> Node | None:
    """Read a YAML file; None where it cannot be read, with the reason among the problems."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        problems.add(Place(origin), f"the file cannot be read: {reason}", "a readable YAML file")
        return None
    text = _decode(data, origin, problems)
    return None if text is None else read_text(text, origin, problems)


def read_text(text: str, origin: str, problems: Problems) -> Node | None:
    """Read one YAML document whose top is a mapping; None where that fails, with the reasons among the problems."""
    if len(text) > MAX_BYTES:
        problems.add(Place(origin, 1, 1), "the file is larger than 1 MiB", "a sweep of at most 1 MiB")
        return None
    if match := _FORBIDDEN.search(text):
        place = _place_of(text, match.start(), origin)
        problems.add(place, f"an invisible character, U+{ord(match[0]):04X}, stands here", "plain text in UTF-8")
        return None
    reader = _Reader(origin, problems)
    try:
        for event in yaml.parse(text, Loader=_LOADER):
            reader.take(event)
    except yaml.MarkedYAMLError as error:
        problems.add(*_syntax_problem(error, origin))
        return None
    except _Stop:
        return None
    return reader.root()


def read_mapping(value: Mapping[str, Any], problems: Problems) -> Node | None:
    """Take a dict as if it had been read from a file; places are key paths. None where it cannot be one."""
    root = _from_python(value, "", 0, problems)
    return root if isinstance(root.value, dict) else None


def _decode(data: bytes, origin: str, problems: Problems) -> str | None:
    start = Place(origin, 1, 1)
    if len(data) > MAX_BYTES:
        problems.add(start, "the file is larger than 1 MiB", "a sweep of at most 1 MiB")
    elif data.startswith(b"\xef\xbb\xbf"):
        problems.add(start, "the file begins with a byte order mark", "save it as UTF-8 without BOM")
    elif data.startswith((b"\xff\xfe", b"\xfe\xff")) or data[1:4:2] == b"\0\0" or data[0:3:2] == b"\0\0":
        problems.add(start, "the file is UTF-16 or UTF-32 text", "save it as UTF-8 without BOM")
    elif b"\0" in data:
        before = data[:data.index(b"\0")].decode("utf-8", "replace")
        problems.add(_place_of(before, len(before), origin), "a NUL byte: this is a binary file", "a text in UTF-8")
    else:
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            before = data[:error.start].decode("utf-8", "replace")
            problems.add(_place_of(before, len(before), origin),
                         f"the byte 0x{data[error.start]:02x} is not UTF-8", "save the file as UTF-8")
    return None


def _place_of(text: str, index: int, origin: str) -> Place:
    lines = re.split("\r\n|\r|\n", text[:index])
    return Place(origin, len(lines), len(lines[-1]) + 1)


def _syntax_problem(error: yaml.MarkedYAMLError, origin: str) -> tuple[Place, str, str]:
    mark = error.problem_mark or error.context_mark
    place = Place(origin, mark.line + 1, mark.column + 1) if mark else Place(origin, 1, 1)
    if "nesting depth" in str(error.problem):  # libyaml reads ahead of its events: its own limit may come first
        return place, f"nested deeper than {MAX_DEPTH} levels", f"at most {MAX_DEPTH} levels"
    context = f" ({error.context})" if error.context else ""
    return place, f"this is not YAML: {error.problem or 'it cannot be read'}{context}", (
        "`key: value` lines, indented by spaces alike; text with : # { [ , & * ! | > ' \" % @ ` in quotes")


class _Stop(Exception):
    """Reading on would only cost time."""


@dataclass
class _Open:
    """A mapping or list that is being read."""

    node: Node
    pending: Node | None = None
    """A mapping's key that waits for its value."""


class _Reader:
    """Builds nodes from YAML events, never recursing and never following an alias."""

    def __init__(self, origin: str, problems: Problems) -> None:
        self._origin = origin
        self._problems = problems
        self._open: list[_Open] = []
        self._top: Node | None = None
        self._documents = 0

    def root(self) -> Node | None:
        if self._top is None or self._top.value is None:
            self._problems.add(Place(self._origin, 1, 1), "the file is empty", "`key: value` lines")
        elif not isinstance(self._top.value, dict):
            self._problems.add(self._top.place, "the top of the file is not a mapping", "`key: value` lines")
        else:
            return self._top
        return None

    def take(self, event: Any) -> None:
        place = Place(self._origin, event.start_mark.line + 1, event.start_mark.column + 1)
        if isinstance(event, yaml.DocumentStartEvent):
            self._documents += 1
            if self._documents > 1:
                self._problems.add(place, "a second document begins here", "one document a file: remove the `---`")
                raise _Stop
        elif isinstance(event, yaml.NodeEvent):
            self._refuse_extras(event, place)
            self._take_node(event, place)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._open.pop()

    def _refuse_extras(self, event: Any, place: Place) -> None:
        if isinstance(event, yaml.AliasEvent):
            self._problems.close(place, f"the alias *{event.anchor}", "the value itself: aliases are refused")
        elif event.anchor is not None:
            self._problems.add(place, f"the anchor &{event.anchor}", "remove it: anchors and aliases are refused")
        if (tag := getattr(event, "tag", None)) is not None:
            self._problems.add(place, f"the tag {tag}", "remove it: tags are refused; quotes make a text of a number")

    def _take_node(self, event: Any, place: Place) -> None:
        node = Node(None, place, place)
        if isinstance(event, yaml.ScalarEvent):
            node.value = self._scalar(event, place)
        elif not isinstance(event, yaml.AliasEvent):
            node.value = {} if isinstance(event, yaml.MappingStartEvent) else []
        self._attach(node)
        if isinstance(event, yaml.CollectionStartEvent):
            if len(self._open) == MAX_DEPTH:
                self._problems.add(place, f"nested deeper than {MAX_DEPTH} levels", f"at most {MAX_DEPTH} levels")
                raise _Stop
            self._open.append(_Open(node))

    def _scalar(self, event: Any, place: Place) -> Scalar | None:
        if event.style is not None and event.style != "":
            return cast(str, event.value)
        try:
            return read_scalar(event.value)
        except ValueError as error:
            self._problems.close(place, f"{error}", "a smaller number, or a text in quotes")
            return None

    def _attach(self, node: Node) -> None:
        if not self._open:
            self._top = node
        elif isinstance(items := self._open[-1].node.value, list):
            items.append(node)
        elif self._open[-1].pending is None:
            self._open[-1].pending = node
        else:
            self._enter(self._open[-1], node)

    def _enter(self, mapping: _Open, node: Node) -> None:
        """Put a value under its key: refuse keys that are no text, and keys written twice."""
        key, mapping.pending = cast(Node, mapping.pending), None
        if not isinstance(key.value, str):
            self._problems.add(key.place, "a key that is no text", "a name; in quotes where YAML reads something else")
            return
        entries = cast(dict[str, Node], mapping.node.value)
        if key.value in entries:
            first = entries[key.value].key
            self._problems.add(key.place, f'the key "{key.value[:60]}" stands here a second time',
                               f"once; it is first written at line {first.line}, column {first.column}")
            return
        node.key, node.name = key.place, key.value
        entries[key.value] = node


def _from_python(value: Any, path: str, depth: int, problems: Problems) -> Node:
    place = Place(path or "sweep")
    node = Node(None, place, place)
    if depth > MAX_DEPTH:
        problems.add(place, f"nested deeper than {MAX_DEPTH} levels", f"at most {MAX_DEPTH} levels")
    elif isinstance(value, Mapping):
        node.value = _entries(value, path, depth, problems)
    elif isinstance(value, (list, tuple)):
        node.value = [_from_python(item, f"{path}[{i}]", depth + 1, problems) for i, item in enumerate(value)]
    else:
        node.value = _python_scalar(value, place, problems)
    return node


def _entries(value: Mapping[Any, Any], path: str, depth: int, problems: Problems) -> dict[str, Node]:
    entries = {}
    for key, item in value.items():
        if not isinstance(key, str):
            problems.add(Place(path or "sweep"), f"the key {key!r:.60} is no text", "a name")
            continue
        entries[key] = _from_python(item, f"{path}.{key}" if path else key, depth + 1, problems)
        entries[key].name = key
    return entries


def _python_scalar(value: Any, place: Place, problems: Problems) -> Scalar | None:
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, numbers.Integral):  # numpy's integers too
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, os.PathLike):
        return str(os.fspath(value))
    if type(value).__name__ in ("bool", "bool_") and type(value).__module__ == "numpy":
        return bool(value)
    problems.close(place, f"a value of type {type(value).__name__}", "text, numbers, booleans, lists and dicts")
    return None
