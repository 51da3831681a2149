"""The command line: prints and asks, never decides. Each verb imports what it needs when it is called."""

from __future__ import annotations

import atexit
import contextlib
import gc
import os
import sys
from typing import Annotated, NoReturn

import typer

from seqsweep import __version__
from seqsweep.errors import SeqsweepError

app = typer.Typer(
    name="seqsweep", no_args_is_help=True, add_completion=False, rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Finds, trains, registers and promotes the best recurrent model for a sequence problem.",
    epilog="Exit codes: 0 done, 1 error, 2 wrong usage, 3 invalid sweep, 4 invalid data, 5 not found, 6 conflict, "
           "7 refused by the gate, 8 search failed, 9 unavailable, 10 unsound records, 130 interrupted.")



def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"seqsweep {__version__}")
        raise typer.Exit


@app.callback()
def _options(version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True,
                                                   help="Print the version.")] = False) -> None:
    pass


Json = Annotated[bool, typer.Option("--json", help="Print JSON to standard output.")]


def main() -> None:
    """Run a verb; errors for the user become one message and an exit code."""
    try:
        _run()
    except SystemExit as end:
        if sys.argv[1:2] == ["export"] and isinstance(end.code, int | None):
            _leave(end.code or 0)
        raise


def _leave(code: int) -> NoReturn:
    """End the process without Python's last steps, in which Triton, which torch.export imports, tells of its leaks."""
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError):  # whoever read it is gone
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


def _run() -> None:
    from seqsweep.cli.interrupts import leave_at_once

    leave_at_once()
    from seqsweep.cli import init  # noqa: F401, I001 - they register their verbs, in this order
    from seqsweep.cli import sweeps  # noqa: F401
    from seqsweep.cli import models  # noqa: F401
    from seqsweep.cli import doctor  # noqa: F401
    from seqsweep.cli import removal  # noqa: F401

    try:
        app(standalone_mode=True)
    except SeqsweepError as error:
        from seqsweep.cli.output import print_error

        print_error(error, as_json="--json" in sys.argv)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        sys.exit(141)
    finally:
        gc.freeze()  # the process ends: to look through torch and MLflow for garbage would take a second
