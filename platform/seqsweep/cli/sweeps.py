"""The verbs about sweeps: validate, schema, plan, submit, list, status, stop, resume, leaderboard, project."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from seqsweep.cli.main import Json, app

if TYPE_CHECKING:
    from seqsweep.config.sweep import Sweep
    from seqsweep.result import SweepResult

SweepFile = Annotated[Path, typer.Argument(metavar="SWEEP.yaml", help="A sweep YAML, or the name of a shipped one.",
                                           show_default=False)]
SweepName = Annotated[str, typer.Argument(metavar="SWEEP", help="Name of a submitted sweep.", show_default=False)]


@app.command()
def validate(files: Annotated[list[Path], typer.Argument(metavar="SWEEP.yaml...", show_default=False)],
             json: Json = False, contract: Annotated[bool, typer.Option(
             "--contract", help="Run it, too: hold the model, and own code, to what every model promises.")] = False
             ) -> None:
    """Check sweep files; every problem of every file is listed with its line and column."""
    from seqsweep.cli.output import out, print_json
    from seqsweep.config.loader import load_sweep
    from seqsweep.config.order import promise
    from seqsweep.errors import InvalidSweep, Problem

    problems, names, promises = list[Problem](), list[str](), dict[str, str]()
    sweeps: list[Sweep] = []
    for file in files:
        try:
            sweep = load_sweep(file)
            names.append(sweep.name)
            sweeps.append(sweep)
            promises |= {sweep.name: promise(sweep)} if sweep.deterministic else {}
        except InvalidSweep as error:
            problems += error.problems
    if problems:
        raise InvalidSweep(*problems)
    clauses = {sweep.name: _contract(sweep, quiet=json) for sweep in sweeps} if contract else {}
    if json:
        print_json({"valid": True, "sweeps": names} | ({"deterministic": promises} if promises else {})
                   | ({"contract": clauses} if clauses else {}))
        return
    out.print(f"[green]valid[/]: {', '.join(names)}")
    for name, promised in promises.items():
        out.print(f"{name} is deterministic: {promised}")


def _contract(sweep: Sweep, *, quiet: bool) -> dict[str, str]:
    """Show each clause and whether it is kept; raises InvalidSweep where one is not."""
    from rich.markup import escape

    from seqsweep.cli.output import err, out
    from seqsweep.contract import examine
    from seqsweep.errors import InvalidSweep

    with err.status(f"holding {sweep.name} to the contract"):
        clauses = examine(sweep)
    for clause in () if quiet else clauses:
        out.print(f"{'[green]kept[/]  ' if clause.kept else '[red]broken[/]'}  {clause.name:<20} {escape(clause.says)}",
                  highlight=False, soft_wrap=True)
    if broken := [clause.problem for clause in clauses if not clause.kept]:
        raise InvalidSweep(*broken)
    return {clause.name: clause.says for clause in clauses}


@app.command()
def schema(json: Json = False) -> None:
    """Print the JSON schema of a sweep, for editors (always JSON)."""
    from seqsweep.cli.output import print_json
    from seqsweep.config.schema import sweep_schema

    print_json(sweep_schema())


@app.command()
def plan(file: SweepFile, json: Json = False) -> None:
    """Say what a sweep will cost before any training: trials, model sizes, memory, time."""
    from dataclasses import asdict

    from seqsweep.cli.interrupts import raise_again
    from seqsweep.cli.output import err, out, print_json
    from seqsweep.cli.progress import clock
    from seqsweep.config.loader import load_sweep
    from seqsweep.config.order import promise
    from seqsweep.config.settings import load_settings
    from seqsweep.plan import plan as make_plan

    sweep = load_sweep(file)
    raise_again()
    with err.status("preparing the data and timing a sample of the trials"):
        found = make_plan(sweep, load_settings().ray_address)
    if json:
        print_json(asdict(found))
        return
    points = "a continuous space" if found.grid_points is None else f"{found.grid_points} combinations"
    least, middle, most = found.epoch_seconds
    out.print(f"[bold]{sweep.name}[/]: about [bold]{clock(found.seconds)}[/] of search on {found.workers} "
              f"worker{'s' * (found.workers != 1)} (probed in {found.probe_seconds:.0f} s)")
    out.print(f"  trials   {found.trials} of {points}, pruned by {sweep.early_terminate.type}")
    out.print(f"  weights  {found.weights[0]:,} to {found.weights[2]:,}, median {found.weights[1]:,}")
    out.print(f"  memory   {found.memory_bytes / 2**20:,.0f} MiB a worker for the largest trial and the data")
    if promised := promise(sweep):
        out.print(f"  order    {promised}; waiting for it is not in the estimate")
    out.print(f"  epoch    {least:.2f} to {most:.2f} s, median {middle:.2f} s, of {found.train_samples:,} samples")


@app.command()
def submit(file: SweepFile, json: Json = False, fork: Annotated[str | None, typer.Option(
           metavar="NAME", help="Store it as a new sweep NAME, told the trials of the sweep that has the YAML's name.",
           show_default=False)] = None) -> None:
    """Run a sweep: prepare, search, evaluate, register, and the gate if it asks for one. Submit again to go on."""
    from seqsweep.config.loader import load_sweep, read_document

    _run(load_sweep(file), read_document(file), as_json=json, fork=fork)


@app.command()
def resume(name: SweepName, json: Json = False) -> None:
    """Go on with a stopped, failed or killed sweep, from what the store holds."""
    from seqsweep.config.settings import load_settings
    from seqsweep.store.records import Store
    from seqsweep.submission import stored_sweep

    with Store.open_existing(load_settings().store) as store:
        sweep, document = stored_sweep(store, name)
    _run(sweep, document, as_json=json)


def _run(sweep: Sweep, document: str, *, as_json: bool, fork: str | None = None) -> None:
    from seqsweep.cli.interrupts import interruptible
    from seqsweep.cli.output import err, print_json
    from seqsweep.cli.progress import Display
    from seqsweep.config.settings import load_settings
    from seqsweep.ledger import Ledger, process_age
    from seqsweep.pipeline import submit as run

    with Display(err, sweep.metric.name) as display, interruptible(fork or sweep.name) as stop:
        result = run(sweep, document, load_settings(), display, stop, Ledger(process_age()), fork)
    if as_json:
        print_json(result.summary())
    else:
        _show_end(result)
    if result.state != "finished":
        raise typer.Exit(130)


def _show_end(result: SweepResult) -> None:
    from seqsweep.cli.output import out

    if result.state != "finished":
        why = (result.message or "not finished").removeprefix(f"{result.state} ")
        out.print(f"[yellow]{result.state}[/]: {why}")
        out.print(f"go on with:  seqsweep resume {result.name}")
        return
    _show_leaderboard(result)
    if standing := result.standing:
        out.print(standing)
        if result.gate:
            out.print(f"  as the gate had it: {result.gate.splitlines()[0].removeprefix('gate: ')}")
    elif result.gate:
        out.print(result.gate)
    out.print("\nnext:")
    for command, why in result.next_commands():
        out.print(f"  [bold]{command}[/]", f"[dim]# {why}[/]")


def _show_leaderboard(result: SweepResult, top: int = 10) -> None:
    from seqsweep.cli.output import cell, out, table

    rows = result.leaderboard_rows(top)
    figures = [name for name in result.leaderboard_figures() if any(name in row for row in rows)]
    figures = figures[:6 if out.width >= 100 else 5]
    out.print(f"\n[bold]{result.headline}[/]")
    beaten = rows and rows[0]["kind"] == "baseline"
    out.print(table([row | {"kind": "candidate"} if beaten and row["kind"] == "winner" else row for row in rows],
                    figures))
    for row in rows:
        if row["kind"] == "winner":
            chosen = {name: value for name, value in row.items() if name in result.sweep.parameters}
            if not chosen:
                continue  # an ensemble: its name tells its members
            out.print(f"{row['name']}: " + ", ".join(f"{k} {cell(v, 3)}" for k, v in chosen.items() if cell(v)))
    if reasons := Counter(failure["reason"] for failure in result.failures()):
        out.print(f"failed: {', '.join(f'{count} {reason}' for reason, count in reasons.items())}; "
                  f"`seqsweep status {result.name}` says of each why")


@app.command("list")
def list_sweeps(json: Json = False) -> None:
    """List the sweeps of the store, each with what it registered and the aliases that holds now."""
    from rich.markup import escape

    from seqsweep.cli.output import out, print_json, table
    from seqsweep.config.settings import load_settings
    from seqsweep.result import sweep_rows
    from seqsweep.store.overview import DAMAGED

    rows = sweep_rows(load_settings())
    if json:
        print_json(rows)
    elif rows:
        out.print(table({"sweep": row["sweep"], "state": row["state"], "trials": row["trials"], "created (UTC)":
                         (row["created"] or "")[:16], "active s": row["active_seconds"], "model": _registered(row)}
                        for row in rows))
        for name in (row["sweep"] for row in rows if row["state"] == DAMAGED):
            out.print(f"what is stored of {escape(name)} is not what was written: `seqsweep doctor {escape(name)}` "
                      "says where")
        for problem in dict.fromkeys(row["registry"] for row in rows if row["registry"]):
            out.print(f"who holds which alias is not known: {escape(problem)}")
    else:
        out.print("no sweep yet; `seqsweep submit SWEEP.yaml` starts one")


def _registered(row: dict[str, Any]) -> str:
    """`electricity/3 @champion`, or that its aliases are not known, or that it is gone."""
    if row["versions"] is None:
        return f"{row['model']} @?" if row["model"] else ""
    known = {each["version"]: each["aliases"] for each in row["versions"]}
    return ", ".join(version + "".join(f" @{alias}" for alias in known.get(version, ()))
                     + " (not in the registry)" * (version not in known) for version in {row["model"]: 0} | known)


@app.command()
def status(name: SweepName, json: Json = False, verbose: Annotated[bool, typer.Option(
           "--verbose", help="Show where the time went, too.")] = False) -> None:
    """Show where a sweep stands: state, trials, best so far, who runs it, failures with their reasons."""
    from rich.markup import escape

    from seqsweep.cli.output import out, print_json, table
    from seqsweep.config.settings import load_settings
    from seqsweep.result import SweepResult

    found = SweepResult(name, load_settings()).status()
    if json:
        print_json(found)
        return
    failures, ledger = found.pop("failures"), found.pop("ledger")
    width = max(len(key) for key in found)
    for key, value in found.items():
        if value not in (None, "", {}):
            shown = ", ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else value
            out.print(f"[bold]{key:<{width}}[/]  {escape(str(shown))}")
    if failures:
        out.print(table(failures, title="failed trials"))
    if verbose and ledger:
        _show_ledger(ledger)


def _show_ledger(ledger: dict[str, float]) -> None:
    from seqsweep.cli.output import out, table
    from seqsweep.ledger import ASIDE, CATEGORIES

    whole = sum(seconds for category, seconds in ledger.items() if category not in ASIDE)
    what = CATEGORIES | {"all": "submit and every resume, from start to end"}
    spent = {category: seconds for category, seconds in ledger.items() if category not in ASIDE} | {"all": whole}
    out.print(table(({"": category, "seconds": f"{seconds:.1f}", "share": f"{seconds / whole:.1%}",
                      "spent on": what.get(category, "")} for category, seconds in spent.items()),
                    title="where the time went"))
    for thread, work in ASIDE.items():
        if thread in ledger:
            out.print(f"beside it, {work} took {ledger[thread]:.1f} s of a thread's time")


@app.command()
def stop(name: SweepName, json: Json = False) -> None:
    """Ask a running sweep to stop tidily, from any machine that reaches the store."""
    from seqsweep.cli.output import out, print_json
    from seqsweep.config.settings import load_settings
    from seqsweep.store.records import Store

    with Store.open_existing(load_settings().store) as store:
        state = store.request_stop(name)
    if json:
        print_json({"sweep": name, "state": state})
    else:
        out.print({"stopping": f"{name} was asked to stop; it ends once the epochs in hand are saved"}.get(
            state, f"{name} is {state}"))


@app.command()
def leaderboard(name: SweepName, top: Annotated[int, typer.Option(min=1, help="Trials to show.")] = 10,
                json: Json = False) -> None:
    """Show the best trials beside the baselines, the winner first, what the gate said, and why others failed."""
    from seqsweep.cli.output import out, print_json
    from seqsweep.config.settings import load_settings
    from seqsweep.result import SweepResult

    result = SweepResult(name, load_settings())
    if json:
        print_json({"sweep": name, "headline": result.headline, "rows": result.leaderboard_rows(top),
                    "failures": result.failures(), "gate": result.gate or None})
    else:
        _show_leaderboard(result, top)
        if result.gate:
            out.print(result.gate)


@app.command()
def verify(name: SweepName, trial: Annotated[int, typer.Argument(metavar="TRIAL", help="Its number.")],
           json: Json = False) -> None:
    """Train a trial again and compare: to the bit with what is stored, and with torch's own layers."""
    from dataclasses import asdict

    from seqsweep.cli.output import err, out, print_json
    from seqsweep.config.settings import load_settings
    from seqsweep.verification import verify_trial

    with err.status("reading") as shown:
        found = verify_trial(name, trial, load_settings(), shown.update)
    evidence = found.evidence
    if json:
        print_json(asdict(found) | {"problems": evidence.problems})
    else:
        out.print(f"[bold]{name} trial {trial}[/]: kernel {found.program}, trained on {found.worker}")
        same = "equal to the bit" if evidence.differs_at is None else f"differs from epoch {evidence.differs_at} on"
        same += "" if evidence.bits else " (trained on a GPU, where bits are not promised)"
        out.print(f"  again      {evidence.epochs} epochs, {same}")
        out.print(f"  20 steps   losses within {evidence.steps_difference:.1e} of torch's layers (float32; "
                  f"rounding alone gives {evidence.sensitivity:.1e})")
        out.print(f"  one epoch  figures within {evidence.epoch_difference:.1e} of torch's layers (float64)")
        if evidence.interval:
            low, high = evidence.interval
            out.print(f"  five seeds {min(evidence.seeds):.6g} to {max(evidence.seeds):.6g} with torch's layers; this "
                      f"one {evidence.value:.6g}, where 99% of others lie between {low:.6g} and {high:.6g}")
        if len(evidence.seeds) < 5:
            out.print(f"  of five other seeds, {5 - len(evidence.seeds)} diverged with torch's layers")
        out.print("[green]verified[/]" if not evidence.problems else "[red]not verified[/]: " + "; ".join(
            evidence.problems))
    if evidence.problems:
        raise typer.Exit(1)


@app.command()
def project(name: SweepName, json: Json = False) -> None:
    """Write the sweep's runs to MLflow from the store; what is there already is not written twice."""
    from seqsweep.cli.output import err, out, print_json
    from seqsweep.config.settings import load_settings
    from seqsweep.pipeline import project as write

    with err.status("writing runs to MLflow"):
        runs = write(name, load_settings())
    if json:
        print_json({"sweep": name, "runs": runs})
    else:
        out.print(f"{name}: {runs} runs are in MLflow")
