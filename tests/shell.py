"""The command line as a user has it: a process of its own in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from warm import begins_cold, run

SEQSWEEP = str(Path(sys.executable).with_name("seqsweep"))
PLACES = ("SEQSWEEP_STORE", "MLFLOW_TRACKING_URI", "RAY_ADDRESS", "COLUMNS", "FORCE_COLOR")


def environment(**variables: str) -> dict[str, str]:
    """Of a user who has set nothing but these."""
    return {name: value for name, value in os.environ.items() if name not in PLACES} | variables


def seqsweep(folder: Path, *words: str | Path, exit_code: int = 0,
             **variables: str) -> subprocess.CompletedProcess[str]:
    """Run a verb to its end; it must end with this exit code, and never with a traceback."""
    if begins_cold(variables):
        return cold(folder, *words, exit_code=exit_code, **variables)
    return _sound(run([SEQSWEEP, *map(str, words)], folder, environment(**variables), timeout=240), exit_code)


def cold(folder: Path, *words: str | Path, exit_code: int = 0, **variables: str) -> subprocess.CompletedProcess[str]:
    """As `seqsweep`, in a process that begins as a user's does."""
    return _sound(subprocess.run([SEQSWEEP, *map(str, words)], cwd=folder, env=environment(**variables), text=True,
                                 capture_output=True, timeout=240, stdin=subprocess.DEVNULL), exit_code)


def _sound(done: subprocess.CompletedProcess[str], exit_code: int) -> subprocess.CompletedProcess[str]:
    said = f"{done.stdout}\n{done.stderr}"
    assert "Traceback" not in said, said
    assert done.returncode == exit_code, f"exit code {done.returncode}, not {exit_code}: {said}"
    return done


def answer(folder: Path, *words: str | Path) -> Any:
    """What a verb prints with --json."""
    return json.loads(seqsweep(folder, *words, "--json").stdout)


def refusal(folder: Path, *words: str | Path, exit_code: int, **variables: str) -> dict[str, Any]:
    """The error a verb prints with --json, on standard error alone."""
    done = seqsweep(folder, *words, "--json", exit_code=exit_code, **variables)
    assert done.stdout == ""
    found: dict[str, Any] = json.loads(done.stderr)
    assert found["exit_code"] == exit_code
    return found


def until(condition: Any, seconds: float = 60.0, every: float = 0.1) -> Any:
    """What the condition says once it is true."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(every)
    raise AssertionError(f"not within {seconds} s")
