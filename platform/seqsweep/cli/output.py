"""Where verbs print: tables for people, JSON for programs, errors with their exit code."""

from __future__ import annotations

import json
import math
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from seqsweep.errors import NotFound, Problem, Refused, SeqsweepError


class _Outlet(Console):
    """Goes on in silence where nobody reads any more: `| head` and a `tee` that died end no sweep."""

    def on_broken_pipe(self) -> None:
        """Let all that follows go nowhere."""
        self.quiet = True
        with Path(os.devnull).open("w") as nowhere:
            os.dup2(nowhere.fileno(), (sys.stderr if self.stderr else sys.stdout).fileno())


out = _Outlet(highlight=False, soft_wrap=True)
err = _Outlet(stderr=True, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print a value as JSON to standard output; numbers JSON does not have become null."""
    sys.stdout.write(json.dumps(_jsonable(value), indent=2, ensure_ascii=False) + "\n")


def require_place(path: Path) -> None:
    """Raise NotFound where a file cannot be written because of its folder: asked before the work, not after."""
    if path.is_dir():
        raise NotFound(Problem(str(path), "it is a folder", "the name of a file"))
    if not path.parent.is_dir():
        raise NotFound(Problem(str(path), f"there is no folder {path.parent}"))


def print_error(error: SeqsweepError, *, as_json: bool) -> None:
    """Print an error to standard error, each problem with its place and what would be right."""
    if as_json:
        problems = [{"where": p.where, "what": p.what, "right": p.right} for p in error.problems]
        sys.stderr.write(json.dumps({"error": type(error).__name__, "exit_code": error.exit_code,
                                     "problems": problems}, indent=2, ensure_ascii=False) + "\n")
        return
    before = ""
    for problem in error.problems:
        if isinstance(error, Refused) and problem.where and problem.where == before:
            err.print(f"       {escape(problem.what)}")  # another of the gate's reasons
            continue
        before = problem.where
        place = f"[bold]{escape(problem.where)}:[/] " if problem.where else ""
        err.print(f"[bold red]error:[/] {place}{escape(problem.what)}")
        if problem.right:
            err.print(f"       {escape(problem.right)}", style="dim")


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[str] | None = None, title: str = "") -> Table:
    """A table of rows; columns default to the keys of all rows in the order they come."""
    rows = list(rows)
    columns = columns or list(dict.fromkeys(key for row in rows for key in row))
    drawn = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", pad_edge=False)
    for column in columns:
        numeric = any(isinstance(row.get(column), (int, float)) for row in rows)
        last = column == columns[-1]
        drawn.add_column(column, justify="right" if numeric else "left", no_wrap=not last,
                         overflow="fold" if last else "ellipsis")
    for row in rows:
        drawn.add_row(*(escape(cell(row.get(column))) for column in columns))
    return drawn


def cell(value: Any, digits: int = 4) -> str:
    """A value as text for a table: so many significant digits, nothing for what is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:.{digits}g}" if isinstance(value, float) else str(value)


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_jsonable(item) for item in value]
    if hasattr(value, "item") and not isinstance(value, (str, bytes)):
        value = value.item()
    if hasattr(value, "isoformat"):
        return value.isoformat()
    return None if isinstance(value, float) and not math.isfinite(value) else value
