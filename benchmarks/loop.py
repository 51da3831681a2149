"""What an epoch costs in seqsweep's training loop, in a plain PyTorch loop, and in NeuralForecast.

    python benchmarks/loop.py                             # 10 rounds of 9 models: 30 minutes
    python benchmarks/loop.py --models lstm-32 --rounds 3

Writes results/loop.md. A round is a process in which the contestants take turns, an epoch each, in every order alike:
who follows a rival with other code finds the processor's caches cold. A round's figure is the median epoch.
NeuralForecast is left out where it is not installed.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import logging
import statistics
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import rounds
from workload import Workload, draw, epochs

MODELS = [f"{cell}-{hidden}" for cell in ("lstm", "gru", "elman") for hidden in (16, 32, 64)]
TURNS = 6
"""Epochs of each contestant in a round, after a first one that is not counted: one for each order of three."""


def workload(model: str) -> Workload:
    """Return the README's workload with validation windows as NeuralForecast cuts them: at every row."""
    cell, hidden = model.split("-")
    return Workload(cell=cell, hidden=int(hidden), epochs=TURNS + 1, val_stride=1)


def fit_epochs(work: Workload) -> Iterator[Any]:
    """Train with seqsweep's own loop."""
    from seqsweep.config.loader import load_sweep
    from seqsweep.config.sweep import fit_config
    from seqsweep.data.prepare import prepare
    from seqsweep.training.fit import Fit

    work.write_series(Path("series.csv"))
    Path("benchmark.yaml").write_text(work.sweep())
    sweep = load_sweep(Path("benchmark.yaml"))
    shape = {"cell": work.cell, "hidden_size": work.hidden, "num_layers": 1, "batch_size": work.batch,
             "epochs": work.epochs}
    data = prepare(sweep)
    assert (len(data[0].parts["train"]), len(data[0].parts["val"])) == (work.windows, work.val_windows)
    fit = Fit(fit_config(sweep, draw(0) | shape, 0), data)
    while True:
        yield fit.advance().metrics["val_mae"]


def bare_epochs(work: Workload) -> Iterator[Any]:
    """Train with nothing but PyTorch."""
    for metrics in epochs(work, work.values(), draw(0), 0):
        yield metrics["val_mae"]


def neuralforecast_epochs(work: Workload) -> Iterator[Any]:
    """Train NeuralForecast's model of this cell with as many steps of as many windows, validated as often.

    Its loop is Lightning's own: it runs in a thread that waits at the end of every epoch.
    """
    import pandas as pd
    from neuralforecast import NeuralForecast, models
    from pytorch_lightning import Callback

    steps = -(-work.windows // work.batch)
    may_train, trained = threading.Semaphore(0), threading.Semaphore(0)

    class Turns(Callback):
        def on_train_batch_start(self, trainer: Any, *_: Any) -> None:
            if trainer.global_step % steps == 0:  # the validation of the epoch before is done
                if trainer.global_step:
                    trained.release()
                may_train.acquire()

    rows = work.train_rows + work.val_rows
    values_T = work.values()[:rows]
    scaled_T = (values_T - values_T[:work.train_rows].mean()) / values_T[:work.train_rows].std()
    frame = pd.DataFrame({"unique_id": "load", "ds": pd.date_range("2024-01-01", periods=rows, freq="h"),
                          "y": scaled_T.astype("float32")})
    kind = {"lstm": models.LSTM, "gru": models.GRU, "elman": models.RNN}[work.cell]
    model = kind(h=work.horizon, input_size=work.context, encoder_n_layers=1, encoder_hidden_size=work.hidden,
                 decoder_layers=1, max_steps=steps * (work.epochs + 1), val_check_steps=steps,
                 learning_rate=draw(0)["learning_rate"], windows_batch_size=work.batch, scaler_type="identity",
                 accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
                 enable_model_summary=False, callbacks=[Turns()])
    fitting = threading.Thread(daemon=True, target=lambda: NeuralForecast([model], freq="h").fit(
        frame, val_size=work.val_rows))
    fitting.start()
    while True:
        may_train.release()
        while not trained.acquire(timeout=1.0):
            if not fitting.is_alive():
                raise RuntimeError("NeuralForecast ended early")
        yield None


CONTESTANTS: dict[str, Callable[[Workload], Iterator[Any]]] = {"seqsweep": fit_epochs, "bare": bare_epochs}
if importlib.util.find_spec("neuralforecast"):
    CONTESTANTS["neuralforecast"] = neuralforecast_epochs


def one(model: str) -> None:
    """Let the contestants take turns; write each one's median core-seconds an epoch."""
    import torch

    from seqsweep.models.memory import keep_pages

    torch.set_num_threads(1)
    keep_pages()  # as a worker does; the rivals gain from it too
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    loops = {name: contestant(workload(model)) for name, contestant in CONTESTANTS.items()}
    seconds: dict[str, list[float]] = {name: [] for name in loops}
    orders = list(itertools.permutations(loops))
    for turn in range(TURNS + 1):
        for name in orders[turn % len(orders)]:
            before = time.process_time()
            next(loops[name])
            seconds[name].append(time.process_time() - before)
    Path(rounds.MARKS).write_text(json.dumps({name: statistics.median(each[1:]) for name, each in seconds.items()}))


def body(rows: list[dict[str, Any]], models: list[str]) -> list[str]:
    """Return the page's table."""
    lines = ["Core-milliseconds per epoch of 3,110 windows (context 96, horizon 24, batches of 64, one thread), "
             "validation and figures included. Bare: the same layers and the same update rule in a plain PyTorch loop, "
             "batches gathered from one array. NeuralForecast: its own model of the cell, direct, one linear layer on "
             "top, no logging, checkpoints, progress bar or clipping; its last batch is full (3,136 windows). "
             "All three keep freed memory as a worker does.", "",
             "| | seqsweep | bare | NeuralForecast | seqsweep / bare | NeuralForecast / seqsweep |",
             "| --- | ---: | ---: | ---: | ---: | ---: |"]
    for model in models:
        own, bare, rival = (rounds.figures(rows, model, name) for name in ("seqsweep", "bare", "neuralforecast"))
        if own:
            cells = [f"{1e3 * statistics.median(each):.0f}" if each else "" for each in (own, bare, rival)]
            cells += [str(rounds.ratio(own, bare)), str(rounds.ratio(rival, own)) if rival else ""]
            lines.append(f"| {model} | " + " | ".join(cells) + " |")
    return lines + rounds.claims(list(claims(rows, models)))


def claims(rows: list[dict[str, Any]], models: list[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the worst of the models measured."""
    own, bare, rival = ({model: found for model in models if (found := rounds.figures(rows, model, name))}
                        for name in ("seqsweep", "bare", "neuralforecast"))
    over = {model: rounds.ratio(own[model], bare[model]) for model in own}
    worst = max(over, key=lambda model: over[model].median)
    yield (f"an epoch / plain PyTorch loop, core-seconds; worst of {len(own)} models: {worst}", str(over[worst]),
           "at most 1.03")
    if ahead := {model: rounds.ratio(rival[model], own[model]) for model in rival if model.startswith("lstm")}:
        least = min(ahead, key=lambda model: ahead[model].median)
        yield (f"NeuralForecast's LSTM / seqsweep, core-seconds an epoch; least of {len(ahead)} sizes: {least}",
               str(ahead[least]), "at least 1.2")


def main() -> None:
    """Run the rounds and write the page."""
    chosen = rounds.options(str(__doc__), ("--models", {"nargs": "+", "choices": MODELS, "default": MODELS}))
    entries = [rounds.Contestant(model, [chosen.python, str(Path(__file__).absolute()), model])
               for model in chosen.models]
    rows = rounds.interleave("loop", entries, chosen, {"turns": TURNS, "contestants": list(CONTESTANTS)})
    print(rounds.write("loop", "The training loop", rows, body(rows, MODELS)).read_text())


if __name__ == "__main__":
    if sys.argv[1:] and sys.argv[1] in MODELS:
        one(sys.argv[1])
    else:
        main()
