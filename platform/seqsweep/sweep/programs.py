"""How the sweep's trials are computed: measured once for each bucket of shapes, stored, and kept by every resume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from seqsweep.config.shapes import bucket, shape_key
from seqsweep.config.sweep import FitConfig, Sweep
from seqsweep.config.training import Choice, ProgramConfig
from seqsweep.records import Scalar
from seqsweep.store.records import Store
from seqsweep.sweep.writer import Writer


class Programs:
    """The choices so far, and how many trials followed each shape."""

    def __init__(self, sweep: Sweep, store: Store, writer: Writer) -> None:
        self._store, self._writer = store, writer
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
            self._save()

    def shrink(self, config: FitConfig, pack: int) -> None:
        """Train at most so many trials of a shape in step from now on, which changes no figure of theirs."""
        choice = self._known[bucket(config)]
        if pack < choice.pack:
            self._known[bucket(config)] = replace(choice, pack=pack)
            self._save()

    def _save(self) -> None:
        self._writer.put(self._store.update_sweep, facts={"programs": {
            name: {"kernel": each.program.kernel, "packed": each.program.packed, "recorded": each.program.recorded,
                   "pack": each.pack, "seconds": each.seconds} for name, each in self._known.items()}})

    def may_follow(self, config: FitConfig) -> bool:
        """Whether one more trial may take this shape because another has it: half of a sweep's trials at the most."""
        return self._followers.get(shape_key(config), 0) < self._most

    def followed(self, config: FitConfig) -> None:
        """Count a trial that took its shape from another."""
        key = shape_key(config)
        self._followers[key] = self._followers.get(key, 0) + 1


def program_of(facts: Mapping[str, Any], config: FitConfig, extra: Mapping[str, Scalar] | None = None
               ) -> ProgramConfig:
    """Return the program that trials of a shape have in a sweep; torch's own layers where none was chosen.

    `extra`: what is stored of one of them, which may have gone on in micro-batches.
    """
    choice = chosen(facts).get(bucket(config))
    pieces = {name: extra[name] for name in ("micro_batch", "whole_epochs") if extra and name in extra}
    return (choice.program if choice else ProgramConfig()).model_copy(update=pieces)


def chosen(facts: Mapping[str, Any]) -> dict[str, Choice]:
    """Return the choices among a sweep's facts, by bucket of shapes."""
    return {name: Choice(ProgramConfig(kernel=each["kernel"], packed=each["packed"],
                                       recorded=each.get("recorded", False)), each["pack"], each["seconds"])
            for name, each in facts.get("programs", {}).items()}
