"""What a guard is: a piece of code without which a kill, a lost answer or another process would do harm."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
TRANSACTION, LEASE_CHECK, RETRY, REPLAY, LOCK = "transaction", "lease check", "retry guard", "replay guard", "lock"
KINDS = (TRANSACTION, LEASE_CHECK, RETRY, REPLAY, LOCK)


@dataclass(frozen=True)
class Guard:
    """One guard, what the code is without it, and who would notice."""

    name: str
    """What is true because of it."""
    kind: str
    file: str
    """Below `platform/seqsweep`."""
    text: str
    """Its source, which is there exactly once."""
    without: str
    """What stands in its place once it is removed."""
    tests: tuple[str, ...]
    """Tests one of which turns red: ids below `tests`, tried in this order."""

    @property
    def path(self) -> Path:
        """Its file, below the checkout."""
        return Path("platform", "seqsweep", self.file)

    def removed(self, root: Path = ROOT) -> str:
        """The text of its file without it; ValueError where the guard is not there, or not only there."""
        source = (root / self.path).read_text(encoding="utf-8")
        if (times := source.count(self.text)) != 1:
            raise ValueError(f"{self.name}: its text is {times} times in {self.path}; correct tests/power")
        return source.replace(self.text, self.without)
