"""The verb that ends a sweep."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from seqsweep.cli.main import Json, app
from seqsweep.cli.sweeps import SweepName

if TYPE_CHECKING:
    from seqsweep.removal import Estate


@app.command()
def delete(name: SweepName, yes: Annotated[bool, typer.Option(
           "--yes", "-y", help="Do not ask; needed where there is no terminal to ask on.")] = False,
           keep_runs: Annotated[bool, typer.Option(
           "--keep-runs", help="Leave its runs in MLflow, which then need not answer.")] = False,
           json: Json = False) -> None:
    """Delete a sweep: its trials and weights in the store, its runs in MLflow. Registered versions stay."""
    from rich.markup import escape

    from seqsweep.cli.interrupts import raise_again
    from seqsweep.cli.output import err, out, print_json
    from seqsweep.config.settings import load_settings
    from seqsweep.removal import delete as delete_sweep
    from seqsweep.removal import survey

    settings, uid = load_settings(), None
    raise_again()
    if not yes:
        found = survey(name, settings, keep_runs=keep_runs)
        if not sys.stdin.isatty():
            raise typer.BadParameter(f"there is no terminal to ask on, so nothing was deleted; `seqsweep delete {name} "
                                     "--yes` deletes without asking", param_hint="--yes")
        for line in _goes(found):
            err.print(escape(line))
        for line in _stays(found):
            err.print(escape(line), style="dim")
        err.print(escape(f"delete {name}? [y/N] "), end="")
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            err.print("nothing was deleted")
            raise typer.Exit(1)
        uid = found.uid
    with err.status("deleting") as shown:
        found = delete_sweep(name, settings, keep_runs=keep_runs, uid=uid, watch=lambda done, of: shown.update(
            f"deleting: {done} of {of} runs"))
    if json:
        print_json(found.summary())
        return
    out.print(f"{name} is deleted: {_amount(found)}")
    for line in _stays(found) if yes else ():
        out.print(escape(line))


def _amount(found: Estate) -> str:
    runs = "" if found.runs is None else f", {_count(found.runs, 'run')} in MLflow"
    return f"{_count(found.trials, 'trial')} in the store{runs}"


def _goes(found: Estate) -> Iterator[str]:
    yield f"{found.sweep} ({found.state}): {_amount(found)}"
    yield "  store    its trials, curves and weights are gone for good"
    if found.runs:
        yield "  MLflow   its runs can be restored there, until `mlflow gc` ends them"


def _stays(found: Estate) -> Iterator[str]:
    for version in found.versions or ():
        held = "".join(f" @{alias}" for alias in version.aliases)
        yield f"  stays    {version}{held}: `predict` works with it; `promote`, which needs the sweep, does not"
    if found.versions is None:
        yield f"  stays    what was registered from it, which is not known: {found.unasked}"
    if found.runs is None:
        yield f"  stays    its runs in MLflow: those whose tag seqsweep.uid is {found.uid}"
    for fork, told in found.forks.items():
        yield f"  stays    its fork {fork}, with the {_count(told, 'trial')} it was told"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"
