"""The controller: from what the store holds to `max_trials`, whatever happens on the way."""

from seqsweep.config.sweep import Sweep
from seqsweep.sweep.order import OrderedSearch
from seqsweep.sweep.progress import Progress
from seqsweep.sweep.search import Search

__all__ = ["Progress", "Search", "search_of"]


def search_of(sweep: Sweep) -> type[Search]:
    """The controller that a sweep asks for."""
    return OrderedSearch if sweep.deterministic else Search
