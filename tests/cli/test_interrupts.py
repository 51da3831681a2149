"""Ctrl-C where KeyboardInterrupt may be raised, and where it would be swallowed or abort the process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

INTERRUPT = "import os, signal; os.kill(os.getpid(), signal.SIGINT)"
SWALLOWED = f"try:\n    {INTERRUPT}\nexcept BaseException:\n    print('swallowed')\n"
CLOSED = f"try:\n    {INTERRUPT}\nexcept KeyboardInterrupt:\n    print('closed')"


@pytest.mark.parametrize(("module", "script", "exit_code", "said"), [
    ("", CLOSED, 0, "closed\n"),
    (SWALLOWED, "import swallows", 130, ""),
    (SWALLOWED, "def later():\n    from swallows import anything\nlater()", 130, ""),
    ("value = 1", f"import swallows\n{CLOSED}", 0, "closed\n"),
], ids=["outside", "in an import", "in a late import", "after an import"])
def test_ctrl_c_ends_an_import_at_once_and_is_raised_elsewhere(
        tmp_path: Path, module: str, script: str, exit_code: int, said: str) -> None:
    (tmp_path / "swallows.py").write_text(module)
    (tmp_path / "script.py").write_text(
        f"from seqsweep.cli.interrupts import raise_again\nraise_again()\n{script}\n")
    done = subprocess.run([sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (exit_code, said), done.stderr
