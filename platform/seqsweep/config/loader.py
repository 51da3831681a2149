"""From a YAML file to a Sweep: the one way in. Every problem of a file is told at once, each with its place."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from seqsweep.config.aliases import resolve_aliases
from seqsweep.config.code_files import take_code
from seqsweep.config.conditions import resolve_conditions
from seqsweep.config.consistency import check_sections
from seqsweep.config.document import MAX_BYTES, Node, read_file, read_mapping, read_text
from seqsweep.config.fields import Fields, fields_of
from seqsweep.config.own import Own
from seqsweep.config.parameters import check_parameters
from seqsweep.config.problems import Place, Problems
from seqsweep.config.search import check_search
from seqsweep.config.shipped import shipped_file, shipped_names
from seqsweep.config.spaces import merge_spaces, nearest_file
from seqsweep.config.splits import check_split, filled_split
from seqsweep.config.structure import draft_of
from seqsweep.config.sweep import Sweep
from seqsweep.config.tasks import METRICS
from seqsweep.errors import InvalidSweep, Problem

PIPELINES = "pipelines"


def load_sweep(source: str | Path | Mapping[str, Any]) -> Sweep:
    """Load a sweep from a YAML file, the name of a shipped pipeline, or a dict of the same shape.

    Search spaces are merged into `parameters` (the sweep's own win), `metric.goal` and `split.by` are filled in.
    Raises InvalidSweep with every problem: `file:line:column`, or the key path of a dict.
    """
    problems = Problems()
    if isinstance(source, Mapping):
        return _sweep(read_mapping(source, problems), problems)
    path = find_sweep(source)
    return _sweep(read_file(path, os.fspath(path), problems), problems, path.parent if path.is_file() else Path())


def parse_sweep(text: str, origin: str) -> Sweep:
    """Load a sweep from YAML text; `origin` names it in messages. Raises InvalidSweep as `load_sweep` does."""
    problems = Problems()
    return _sweep(read_text(text, origin, problems), problems)


def read_document(source: str | Path) -> str:
    """Give the text of a sweep file or shipped pipeline, as it is. Raises InvalidSweep where it cannot be read."""
    path = find_sweep(source)
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES).decode("utf-8")
    except (OSError, ValueError) as error:
        raise InvalidSweep(Problem(os.fspath(path), f"the file cannot be read: {error}")) from error


def find_sweep(source: str | Path) -> Path:
    """Find a sweep file; one that does not exist may be named like a shipped pipeline. Raises InvalidSweep."""
    path = Path(source)
    try:
        if path.is_file() or path.is_fifo() or path.is_char_device():
            return path
        found = shipped_file(PIPELINES, path.name)
    except (OSError, ValueError) as error:
        raise InvalidSweep(Problem(_short(source), f"this is no file name: {error}")) from error
    if found is not None:
        return found
    near = nearest_file(path)
    named = ", ".join(shipped_names(PIPELINES))
    what = "this is a folder" if path.is_dir() else "there is no such file"
    raise InvalidSweep(Problem(_short(source), what, "; ".join(filter(None, (
        f"did you mean {near}?" if near else "", f"shipped pipelines: {named}" if named else "a sweep YAML")))))


def _sweep(root: Node | None, problems: Problems, folder: Path = Path()) -> Sweep:
    """`folder`: where files of the user's own code lie."""
    if root is None:
        if not problems:
            problems.add(Place("sweep"), "the sweep is no mapping", "a dict")
        raise InvalidSweep(*problems.listed())
    if not take_code(root, folder, problems):
        raise InvalidSweep(*problems.listed())  # without its code nothing is known of the parameters
    fields = _fields(root)
    resolve_aliases(root, problems, fields)
    from_files = merge_spaces(root, problems, fields)
    draft = draft_of(root, problems, fields)
    before = len(problems.found)
    parameters = resolve_conditions(draft, check_parameters(draft), from_files)
    complete = draft.has_all_parameters and len(problems.found) == before and not problems.full
    check_search(draft, parameters, complete)
    check_sections(draft)
    check_split(draft)
    if problems:
        raise InvalidSweep(*problems.listed())
    sweep = draft.sweep
    goal = sweep.metric.goal if sweep.metric.entry else METRICS[sweep.task.type][sweep.metric.name]
    metric = sweep.metric.model_copy(update={"goal": goal})
    return sweep.model_copy(update={"parameters": parameters, "metric": metric, "split": filled_split(draft)})


def _fields(root: Node) -> Fields:
    """What may stand under `parameters`: arguments of the user's own model and learner where there are any."""
    return fields_of(_own(root, "model"), _own(root, "task"))


def _own(root: Node, section: str) -> Own | None:
    entry, code = root.get((section, "entry")), root.get((section, "code"))
    return Own(str(entry.value), str(code.value)) if entry and code else None


def _short(source: str | Path) -> str:
    text = os.fspath(source).replace("\n", "\\n")
    return text if len(text) <= 200 else text[:200] + "..."
