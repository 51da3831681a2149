"""Every guard, in the order of the rooms."""

from __future__ import annotations

from store_guards import STORE

GUARDS = (*STORE,)
