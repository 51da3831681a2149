"""What `deterministic: true` costs: the workers' time spent waiting for a trial's turn, by simulation.

    PYTHONPATH=platform python benchmarks/order.py                                   # the table; a minute on one core
    PYTHONPATH=platform python benchmarks/order.py --write benchmarks/results/order.md

The lanes are the controller's own, the trials random ones of the shipped space `recurrent`, the workers simulated: an
epoch takes what the cost model says times a trial's own error, drawn from a log-normal distribution. Nothing is timed.
Beside the model stands a clock that counts epochs, and a search that deals with each report as it comes.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path

from seqsweep.config.loader import load_sweep
from seqsweep.config.sweep import Sweep, fit_config
from seqsweep.plan import sample
from seqsweep.records import Report, Trial
from seqsweep.search.pruning import Pruner
from seqsweep.sweep.cost import cost_model, epoch_cost
from seqsweep.sweep.lanes import Lane, Lanes

SEEDS = range(20)
TRIALS_A_WORKER = 30
CLOCKS: dict[str, Callable[[float, random.Random], float]] = {
    "costs exact": lambda cost, draw: cost,
    "costs within 5%": lambda cost, draw: cost * math.exp(draw.gauss(0, 0.05)),
    "costs within 10%": lambda cost, draw: cost * math.exp(draw.gauss(0, 0.10)),
    "costs within 13%": lambda cost, draw: cost * math.exp(draw.gauss(0, 0.13)),
    "counting epochs": lambda cost, draw: 1.0,
}
"""What an epoch takes on the logical clock, by what it takes in truth."""


def sweep_of(pruner: str, trials: int, seed: int) -> Sweep:
    """Random trials of the shipped space."""
    return load_sweep({"name": "order", "data": {"path": "none.csv"}, "metric": {"name": "mae"}, "method": "random",
                       "task": {"type": "forecasting", "target": "y", "context": 96, "horizon": 24}, "seed": seed,
                       "search_space": ["recurrent"], "early_terminate": {"type": pruner},
                       "budget": {"max_trials": trials}})


class Simulation:
    """One sweep on workers that are as fast as their trials are cheap."""

    def __init__(self, sweep: Sweep, trials: Sequence[Trial], workers: int,
                 clock: Callable[[float, random.Random], float] | None) -> None:
        draw = random.Random(sweep.seed)
        configs = [fit_config(sweep, trial.params, trial.seed) for trial in trials]
        costs = [epoch_cost(config, cost_model("auto")) for config in configs]
        mean = statistics.fmean(costs)
        self._truth = [cost / mean for cost in costs]
        self._clock = [clock(cost, draw) if clock else cost for cost in self._truth]
        self._in_order = clock is not None
        self._values = [draw.random() for _ in trials]
        self._trials, self._epochs = trials, [config.training.epochs for config in configs]
        self._metric, self._pruner = f"val_{sweep.metric.name}", Pruner(sweep)
        self._lanes, self._started = Lanes(workers), 0
        self._events: list[tuple[float, int]] = []
        self.now = self.waited = 0.0

    def run(self) -> None:
        """Until the last trial ends."""
        self._proceed()
        while self._events:
            at, number = heapq.heappop(self._events)
            more = self._started < len(self._trials)  # at the end workers are idle anyway
            self.waited += (at - self.now) * more * sum(lane.ready for lane in self._lanes.busy)
            self.now = at
            lane = self._lanes[number]
            lane.known += 1
            if lane.known < lane.step:
                self._train(number)
            self._proceed()

    def _train(self, number: int) -> None:
        heapq.heappush(self._events, (self.now + self._truth[number], number))

    def _due(self) -> Lane | None:
        if self._in_order:
            return self._lanes.due()
        return next((lane for lane in self._lanes.busy if lane.ready), None)

    def _proceed(self) -> None:
        while True:
            while self._started < len(self._trials) and (place := self._lanes.vacant()) is not None:
                number, self._started = self._started, self._started + 1
                self._lanes.start(place, number, self._clock[number],
                                  self._pruner.next_step(number, 0, self._epochs[number]))
                self._train(number)
            lane = self._due()
            if lane is None:
                return
            self._decide(lane)

    def _decide(self, lane: Lane) -> None:
        number = lane.number
        self._pruner.see(self._trials[number], [Report(epoch, {self._metric: self._values[number]})
                                                for epoch in range(1, lane.step + 1)])
        if lane.step >= self._epochs[number] or self._pruner.should_prune(number, lane.step):
            lane.finish(lane.step)
            self._lanes.free(lane)
        else:
            lane.step = self._pruner.next_step(number, lane.step, self._epochs[number])
            self._train(number)


def shares(pruner: str, workers: int, clock: Callable[[float, random.Random], float]) -> tuple[float, float]:
    """Share of the workers' time spent waiting, and how much longer the searches take, of all seeds."""
    waited = whole = free_whole = 0.0
    for seed in SEEDS:
        sweep = sweep_of(pruner, TRIALS_A_WORKER * workers, seed)
        trials = sample(sweep, TRIALS_A_WORKER * workers)
        ordered, free = (Simulation(sweep, trials, workers, each) for each in (clock, None))
        ordered.run()
        free.run()
        waited += ordered.waited / workers
        whole += ordered.now
        free_whole += free.now
    return waited / whole, whole / free_whole - 1


def table() -> str:
    """A Markdown table of all clocks, pruners and numbers of workers."""
    columns = [(pruner, workers) for workers in (2, 8) for pruner in ("none", "asha")]
    lines = ["| logical clock | " + " | ".join(f"{pruner}, W={workers}" for pruner, workers in columns) + " |",
             "| --- |" + " ---: |" * len(columns)]
    for name, clock in CLOCKS.items():
        cells = [shares(pruner, workers, clock) for pruner, workers in columns]
        lines.append(f"| {name} | " + " | ".join(f"{wait:.1%} ({longer:+.1%})" for wait, longer in cells) + " |")
    return "\n".join(lines)


PAGE = f"""# What the order of a deterministic sweep costs

Share of the workers' time spent waiting for a trial's turn while trials are left to start, and in brackets how much
longer the whole search took than one that deals with each report as it comes; W workers, {TRIALS_A_WORKER} random
trials of the shipped space `recurrent` for each, 30 epochs, pruned by asha or not at all; {len(SEEDS)} seeds
together.

{{table}}

- By simulation with the controller's own lanes, not timed: an epoch takes what the cost model says, times an error of
  the trial's own (log-normal, of this deviation). Curves never cross; no trial ends by itself.
- The cost model's error on a machine is measured by `benchmarks/costs.py`; on the one it was fitted on (AMD EPYC, one
  thread, 828 random trials, windows of 12 to 192 steps): 13.6% with compiled layers, 5.4% with torch's own, trials
  weighted by the time they take.
- Command: `python benchmarks/order.py --write benchmarks/results/order.md`.
"""


def main() -> None:
    """Simulate and show the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", type=Path, help="a Markdown file for the page")
    chosen = parser.parse_args()
    found = table()
    print(found)
    if chosen.write:
        chosen.write.write_text(PAGE.format(table=found), encoding="utf-8")


if __name__ == "__main__":
    main()
