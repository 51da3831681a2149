"""seqsweep finds, trains, registers and promotes the best recurrent model for a sequence problem."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["SweepResult", "open_sweep", "submit"]

if TYPE_CHECKING:
    from seqsweep.api import open_sweep, submit
    from seqsweep.result import SweepResult


def __getattr__(name: str) -> Any:
    """Import the Python face when it is first asked for: `seqsweep validate` needs none of it."""
    if name not in __all__:
        raise AttributeError(f"module 'seqsweep' has no attribute {name!r}")
    from seqsweep import api

    return getattr(api, name)


def __dir__() -> list[str]:
    """What there is, for completion in a notebook."""
    return sorted({*globals(), *__all__})
