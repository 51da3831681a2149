"""The verb that looks whether what is stored is sound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from seqsweep.cli.main import Json, app
from seqsweep.cli.sweeps import SweepName

if TYPE_CHECKING:
    from seqsweep.repair import Repair


@app.command()
def doctor(name: SweepName, json: Json = False, repair: Annotated[bool, typer.Option(
           "--repair", help="Mend what is safe, and say what was done and what is left.")] = False) -> None:
    """Look for lost, doubled, orphaned and contradicting records in the store, MLflow and the registry."""
    from seqsweep.cli.output import err, print_json
    from seqsweep.config.settings import load_settings
    from seqsweep.doctor.examination import examine
    from seqsweep.errors import Unavailable, Unsound
    from seqsweep.repair import Repair
    from seqsweep.repair import repair as mend

    with err.status("looking through what is stored"):
        found = mend(name, load_settings()) if repair else Repair((), (), tuple(examine(name, load_settings())))
    faulty = any(finding.is_fault for finding in found.left)
    if json:
        print_json({"sweep": name, "sound": not faulty, "done": found.done, "failed": found.failed,
                    "findings": [vars(finding) for finding in found.left]})
    else:
        _show(name, found)
    if faulty:
        raise typer.Exit(Unsound.exit_code)
    if any(finding.kind == "unchecked" for finding in found.left):
        raise typer.Exit(Unavailable.exit_code)


def _show(name: str, found: Repair) -> None:
    from rich.markup import escape

    from seqsweep.cli.output import out

    for done in found.done:
        out.print(f"[green]{'done':<13}[/] {escape(done)}")
    for failed in found.failed:
        out.print(f"[red]{'not done':<13}[/] {escape(failed)}")
    for finding in found.left:
        style = "bold red" if finding.is_fault else "yellow"
        out.print(f"[{style}]{finding.kind:<13}[/] [bold]{escape(finding.where)}:[/] {escape(finding.what)}")
        if finding.right:
            out.print(f"{'':<13} {escape(finding.right)}", style="dim")
    faults = [finding for finding in found.left if finding.is_fault]
    if not faults:
        out.print(f"[green]sound[/]: {name}")
    elif any(finding.remedy for finding in faults) and not found.done:
        out.print(f"`seqsweep doctor {name} --repair` mends what is safe")
