"""The controller: from what the store holds to `max_trials`, whatever happens on the way."""

from seqsweep.sweep.search import Progress, Search

__all__ = ["Progress", "Search"]
