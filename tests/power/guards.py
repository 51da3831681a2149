"""Every guard, in the order of the rooms."""

from __future__ import annotations

from search_guards import SEARCH
from store_guards import STORE
from tracking_guards import TRACKING

GUARDS = (*STORE, *SEARCH, *TRACKING)
