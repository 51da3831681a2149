"""The power of the tests: each guard is removed in turn, and a test must turn red.

    python tests/power/removals.py                        # every guard: minutes
    python tests/power/removals.py --list
    python tests/power/removals.py "a trial's end is one transaction"

The checkout is copied first, and only the copies are changed, `--jobs` at once. The tests named by a guard are those
that are run, once without a removal, when they must pass, and then for each guard until the first that fails.
"""

from __future__ import annotations

import argparse
import os
import platform
import queue
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from guard import KINDS, ROOT, Guard  # noqa: E402
from guards import GUARDS  # noqa: E402

HUNG = 60
"""Seconds after which a test that does not end counts as red."""
GIVEN_UP, GIVEN_UP_WHOLE = 240, 3600
"""Seconds after which a run of one guard's tests, and that of all of them, is killed whole."""
RED, GREEN, SKIPPED, BROKEN = "red", "NOT FOUND", "skipped here", "does not run"
PYTEST = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--no-header", "--tb=no", "-rfE"]


class Verdict(NamedTuple):
    """What a run of tests said."""

    colour: str
    """RED, GREEN, SKIPPED or BROKEN."""
    said: str = ""
    """The failing test, or what went wrong."""
    failed: tuple[str, ...] = ()
    """Every test that failed."""


def run_tests(root: Path, tests: Iterable[str], *options: str, seconds: float) -> Verdict:
    """Run tests of a checkout."""
    environment = os.environ | {"PYTHONPATH": str(root / "platform"), "PYTHONDONTWRITEBYTECODE": "1", "COLUMNS": "400"}
    process = subprocess.Popen([*PYTEST, f"--timeout={HUNG}", *options, *(f"tests/{test}" for test in tests)], cwd=root,
                               env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        return Verdict(RED, "the run does not end")
    failed = re.findall(r"^(?:FAILED|ERROR) tests/(\S+(?:\[.*?\])?)(?: - (.*))?$", output, re.MULTILINE)
    if process.returncode == 1 and failed:
        test, why = failed[0]
        said = f"{test} (it hangs)" if "pytest-timeout" in why else test
        return Verdict(RED, said, tuple(name for name, _ in failed))
    if process.returncode == 0:
        return Verdict(GREEN if " passed" in output else SKIPPED)
    return Verdict(BROKEN, output.strip()[-2000:])


def copy_of(root: Path, folder: Path) -> Path:
    """The tracked files of a checkout, as they are now."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (root / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, folder / name)
    return folder


def remove(guard: Guard, root: Path) -> Verdict:
    """Run a guard's tests in a checkout without it, which is whole again afterwards."""
    path = root / guard.path
    whole = path.read_bytes()
    path.write_text(guard.removed(root), encoding="utf-8")
    try:
        return run_tests(root, guard.tests, "-x", seconds=GIVEN_UP)
    finally:
        path.write_bytes(whole)


def shown(verdicts: Sequence[tuple[Guard, Verdict]]) -> Table:
    """The verdicts for a terminal."""
    table = Table("guard", "kind")
    table.add_column("red without it", overflow="fold")
    for guard, verdict in verdicts:
        table.add_row(guard.name, guard.kind, verdict.said if verdict.colour == RED else f"[red]{verdict.colour}")
    return table


def page(verdicts: Sequence[tuple[Guard, Verdict]]) -> str:
    """The verdicts as Markdown."""
    counts = Counter(guard.kind for guard, _ in verdicts)
    found = sum(verdict.colour == RED for _, verdict in verdicts)
    kinds = ", ".join(f"{counts[kind]} {kind}{'s' * (counts[kind] != 1)}" for kind in KINDS if counts[kind])
    lines = ["# Test power", "",
             "What keeps a kill, a lost answer or another process from doing harm was taken out of the code, one guard "
             f"at a time (`make power`): without {found} of {len(verdicts)} a test turns red. By kind: {kinds}.", "",
             "| guard | kind | where | red without it |", "| --- | --- | --- | --- |"]
    for guard, verdict in verdicts:
        said = f"`{verdict.said}`" if verdict.colour == RED else f"**{verdict.colour}**"
        lines.append(f"| {guard.name} | {guard.kind} | `{guard.file}` | {said} |")
    commit = subprocess.run(["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--exclude=*"], check=False,
                            capture_output=True, text=True).stdout.strip()
    lines += ["", f"- Commit {commit or 'unknown'}; {platform.machine()}, {os.cpu_count()} CPUs, {platform.system()}, "
              f"Python {platform.python_version()}."]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Remove what is asked for; 0 where each removal turned a test red, or its tests cannot run on this machine."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("guards", nargs="*", help="names, or parts of them; default: all")
    parser.add_argument("--list", action="store_true", help="name the guards, and remove none")
    parser.add_argument("--jobs", type=int, default=2, help="copies of the checkout that are tried at once")
    parser.add_argument("--write", type=Path, help="a Markdown file for the table")
    asked = parser.parse_args()
    chosen = [guard for guard in GUARDS if not asked.guards or any(name in guard.name for name in asked.guards)]
    console = Console()
    if asked.list or not chosen:
        for guard in chosen:
            console.print(f"{guard.kind:12} {guard.name}  [dim]{guard.file}", highlight=False, soft_wrap=True)
        return 0 if chosen else 2
    with tempfile.TemporaryDirectory(prefix="seqsweep-power-") as folder:
        roots = [copy_of(ROOT, Path(folder, str(number))) for number in range(asked.jobs)]
        root = roots[0]
        for guard in chosen:
            guard.removed(root)
        before = run_tests(root, dict.fromkeys(test for guard in chosen for test in guard.tests),
                           seconds=GIVEN_UP_WHOLE)
        if before.colour == RED and before.failed:  # a busy machine breaks some that wait; not twice
            before = run_tests(root, before.failed, seconds=GIVEN_UP_WHOLE)
        if before.colour in (RED, BROKEN):
            console.print(f"nothing was removed, and yet: {before.colour}: {before.said}", markup=False)
            return 1
        free: queue.SimpleQueue[Path] = queue.SimpleQueue()
        for copy in roots:
            free.put(copy)

        def judge(guard: Guard) -> tuple[Guard, Verdict]:
            copy = free.get()
            verdict = remove(guard, copy)
            free.put(copy)
            console.print(f"{guard.name}: {verdict.colour} {verdict.said}", markup=False, highlight=False,
                          soft_wrap=True)
            return guard, verdict

        with ThreadPoolExecutor(asked.jobs) as threads:
            verdicts = list(threads.map(judge, chosen))
    console.print(shown(verdicts))
    if asked.write:
        asked.write.write_text(page(verdicts), encoding="utf-8")
    return 0 if all(verdict.colour in (RED, SKIPPED) for _, verdict in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
