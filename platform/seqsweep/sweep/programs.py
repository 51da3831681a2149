"""How the sweep's trials are computed: measured once for each bucket of shapes, stored, and kept by every resume."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from seqsweep.config.shapes import bucket, shape_key
from seqsweep.config.sweep import FitConfig, Sweep
from seqsweep.config.training import Choice, ProgramConfig
from seqsweep.store.lease import Lease
from seqsweep.store.records import Store


class Programs:
    """The choices so far, and how many trials followed each shape."""

    def __init__(self, sweep: Sweep, store: Store, lease: Lease) -> None:
        self._store, self._lease = store, lease
        pack = sweep.resources.pack
        self.pack = 1 if sweep.deterministic else {"auto": None, "off": 1}.get(pack) if isinstance(pack, str) else pack
        """Trials in step at the most; None: what a probe finds to pay."""
        self.timed = not sweep.deterministic
        """Whether a probe measures; else one program is chosen by rule, for all trials."""
        self.kernel = None if sweep.resources.kernel == "auto" else sweep.resources.kernel
        """The one that the user wants; None: the fastest."""
        self._most = max(1, sweep.budget.max_trials // 2)
        self._followers: dict[str, int] = {}
        self._known = chosen(store.sweep(sweep.name).facts)

    def find(self, config: FitConfig) -> Choice | None:
        """Return the choice for a shape; None where it must be measured first."""
        if bucket(config) not in self._known and (self.kernel == "torch" or (self._known and not self.timed)):
            self.keep(config, Choice(ProgramConfig(), 1, {}))  # it knows no packs: there is nothing to measure
        return self._known.get(bucket(config))

    def keep(self, config: FitConfig, choice: Choice) -> None:
        """Store what a probe found; the first of two answers stands, and without measurements for every shape."""
        if self._known and not self.timed:
            choice = next(iter(self._known.values()))
        if self._known.setdefault(bucket(config), choice) is choice:
            self._store.update_sweep(self._lease, facts={"programs": {
                name: {"kernel": each.program.kernel, "packed": each.program.packed, "pack": each.pack,
                       "seconds": each.seconds} for name, each in self._known.items()}})

    def may_follow(self, config: FitConfig) -> bool:
        """Whether one more trial may take this shape because another has it: half of a sweep's trials at the most."""
        return self._followers.get(shape_key(config), 0) < self._most

    def followed(self, config: FitConfig) -> None:
        """Count a trial that took its shape from another."""
        key = shape_key(config)
        self._followers[key] = self._followers.get(key, 0) + 1


def program_of(facts: Mapping[str, Any], config: FitConfig) -> ProgramConfig:
    """Return the program that trials of a shape have in a sweep; torch's own layers where none was chosen."""
    choice = chosen(facts).get(bucket(config))
    return choice.program if choice else ProgramConfig()


def chosen(facts: Mapping[str, Any]) -> dict[str, Choice]:
    """Return the choices among a sweep's facts, by bucket of shapes."""
    return {name: Choice(ProgramConfig(kernel=each["kernel"], packed=each["packed"]), each["pack"], each["seconds"])
            for name, each in facts.get("programs", {}).items()}
