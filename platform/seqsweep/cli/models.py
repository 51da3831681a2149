"""The verbs about registered models: predict, export, promote, rollback."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from seqsweep.cli.main import Json, app

ModelName = Annotated[str, typer.Argument(metavar="MODEL", help="A registered model.", show_default=False)]


@app.command()
def predict(model: Annotated[str, typer.Argument(metavar="MODEL[@ALIAS|/VERSION]", show_default=False)],
            data: Annotated[Path, typer.Option(help="CSV, Parquet or .ts file to predict from.", show_default=False)],
            out_file: Annotated[Path | None, typer.Option("--out", help="CSV to write; default: standard output.")]
            = None, json: Json = False) -> None:
    """Predict with a registered model: the next steps of each series, or the class of each sequence."""
    import sys

    from seqsweep.cli.output import err, print_json, require_place
    from seqsweep.config.settings import load_settings
    from seqsweep.data.presence import absent, exists
    from seqsweep.errors import InvalidData, Problem, Unavailable

    if out_file is not None:
        require_place(out_file)
    if not exists(data):
        raise InvalidData(absent(data))
    from seqsweep.serving import predict_file  # torch and MLflow take seconds to import

    found = predict_file(model, data, load_settings(), lambda line: err.print(line, highlight=False))
    if json:
        print_json(found.astype(object).where(found.notna(), None).to_dict("records"))
    elif out_file is None:
        found.to_csv(sys.stdout, index=False)
    else:
        try:
            found.to_csv(out_file, index=False)
        except OSError as error:
            raise Unavailable(Problem(str(out_file), f"it cannot be written: {error.strerror or error}")) from error
        err.print(f"wrote {len(found)} rows to {out_file}")


@app.command()
def export(model: Annotated[str, typer.Argument(metavar="MODEL[@ALIAS|/VERSION]", show_default=False)],
           out_file: Annotated[Path, typer.Option("--out", help="`.pt2` for torch.export, `.onnx` for ONNX.",
                                                  show_default=False)], json: Json = False) -> None:
    """Write a registered model as a program for runtimes without seqsweep; its data come prepared and scaled."""
    from seqsweep.cli.output import err, out, print_json
    from seqsweep.config.settings import load_settings
    from seqsweep.serving import export_file

    with err.status("tracing the model"):
        told = export_file(model, out_file, load_settings())
    if json:
        print_json(told)
        return
    out.print(f"wrote {told['model']} to {told['file']}, and how its data are scaled to {told['file']}.json")
    out.print(f"  reads  (batch, {told['steps']}, {len(told['features'])}): {', '.join(told['features'])}")
    if told["known"]:
        out.print(f"         in rows to be forecast only {', '.join(told['known'])}, else 0")
    if told["static"]:
        out.print(f"         (batch, {len(told['static'])}): {', '.join(told['static'])}")
    out.print(f"  gives  {told['gives']}" + (f" of {', '.join(told['classes'])}" if told["classes"] else ""))


@app.command()
def promote(model: Annotated[str, typer.Argument(metavar="MODEL[@ALIAS|/VERSION]", show_default=False,
                                                 help="The candidate; without alias or version: the newest.")],
            to: Annotated[str, typer.Option(help="Alias to give.")] = "champion",
            margin: Annotated[float, typer.Option(min=-1.0, max=1.0, help="How much better, as a share; below 0 "
                                                  "lets a slightly worse one pass.")] = 0.0,
            why: Annotated[str, typer.Option(help="Kept with the promotion.")] = "", json: Json = False) -> None:
    """Open the gate for a candidate: it must beat the champion and the baselines on its own test part."""
    from seqsweep.cli.output import err, out, print_json
    from seqsweep.config.settings import load_settings
    from seqsweep.promotion import promote as decide

    with err.status("scoring candidate, champion and baselines on the candidate's test part"):
        verdict = decide(model, load_settings(), to=to, margin=margin, why=why)
    if json:
        print_json(verdict.summary())
    elif not verdict.test_uses:
        out.print(f"{verdict.candidate} is {to} already")
    else:
        for reason in verdict.reasons:
            out.print(f"  {reason}")
        out.print(f"[green]{verdict.candidate} is now {to}[/]")


@app.command()
def rollback(model: ModelName, to: Annotated[str, typer.Option(help="Alias to give back.")] = "champion",
             why: Annotated[str, typer.Option(help="Kept with the change.")] = "", json: Json = False) -> None:
    """Give the alias back to the version that held it before."""
    import getpass

    from seqsweep.cli.output import out, print_json
    from seqsweep.config.settings import load_settings
    from seqsweep.tracking.registry import Registry

    restored = Registry(load_settings().tracking_uri).rollback(model, to, by=getpass.getuser(), why=why)
    if json:
        print_json({"model": restored.name, "version": restored.version, "alias": to})
    else:
        out.print(f"{restored} is {to} again")
