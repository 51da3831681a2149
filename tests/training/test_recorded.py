"""Steps that are replayed: what they give is what steps give that are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import emulated_graph
import pytest
import torch
from test_pack import CASES, curve, own
from training_toys import tones, wave, wave_config

from seqsweep.config.sweep import FitConfig
from seqsweep.config.training import ProgramConfig
from seqsweep.data.batch import Prepared
from seqsweep.tasks.batch import Batch
from seqsweep.training import probe, recorded
from seqsweep.training.engine import Together
from seqsweep.training.fit import Fit, Pack

RULES: dict[str, Any] = {f"rule {rule}": (wave_config, (wave(),), {"cell": "gru", "optimizer": rule, "momentum": 0.5})
                         for rule in ("adam", "adamw", "rmsprop", "sgd")}


@pytest.fixture
def graphs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A CPU with graphs; how often one was recorded, and how often replayed."""
    counts = [0, 0]

    def record(function: Callable[[], None]) -> Callable[[], None]:
        replay = emulated_graph.record(function)
        counts[0] += 1

        def counted() -> None:
            counts[1] += 1
            replay()

        return counted

    monkeypatch.setattr("seqsweep.training.engine.stacks_rules", lambda device: True)
    for module in ("engine", "probe"):
        monkeypatch.setattr(f"seqsweep.training.{module}.can_record", lambda device: True)
    monkeypatch.setattr(recorded, "record", record)
    return counts


def curves(configs: list[FitConfig], data: tuple[Prepared, ...], *, as_graph: bool, epochs: int = 3) -> list[Any]:
    fits = [Fit(config.model_copy(update={"program": config.program.model_copy(update={"recorded": as_graph})}), data)
            for config in configs]
    pack = Pack(fits)
    reports = [pack.advance() for _ in range(epochs)]
    assert all(engine.recorded is as_graph for engine in pack.engines if isinstance(engine, Together))
    return [curve(each) for each in zip(*reports, strict=True)] + [fit.best_weights() for fit in fits]


@pytest.mark.parametrize("case", [*CASES, *RULES])
def test_replayed_steps_give_the_same_bits(case: str, graphs: list[int]) -> None:
    make, data, fields = {**CASES, **RULES}[case]
    configs = [own(k, "stacked", make, **fields) for k in range(3)]
    expected = curves(configs, data, as_graph=False)
    assert graphs == [0, 0]
    assert curves(configs, data, as_graph=True) == expected
    steps = sum(-(-len(fold.parts["train"]) // configs[0].training.batch_size) for fold in data)
    assert graphs[0] == len(data)
    assert graphs[1] >= 3 * (steps - len(data)) - 3 * len(data)  # all but an epoch's smaller batch and the first three


def test_one_may_go_and_another_come(graphs: list[int]) -> None:
    data = (wave(),)

    def all_curves(as_graph: bool) -> list[list[dict[str, float]]]:
        program = ProgramConfig(kernel="stacked", packed=True, recorded=as_graph)
        fits = [Fit(own(k, "stacked", cell="gru").model_copy(update={"program": program}), data) for k in range(3)]
        reports: list[list[Any]] = [[], [], []]
        for members in ([0, 1], [1, 0, 2], [2, 0, 1], [2]):
            for k, report in zip(members, Pack([fits[k] for k in members]).advance(), strict=True):
                reports[k].append(report)
        return [curve(each) for each in reports]

    assert all_curves(True) == all_curves(False)
    assert graphs[0] == 4


def test_what_cannot_be_recorded_is_taken_step_by_step(graphs: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(function: Callable[[], None]) -> Callable[[], None]:
        raise RuntimeError("operation not permitted when stream is capturing")

    data, configs = (wave(),), [own(k, "stacked", cell="gru") for k in range(2)]
    expected = curves(configs, data, as_graph=False)
    monkeypatch.setattr(recorded, "record", refuse)
    fits = [Fit(config.model_copy(update={"program": config.program.model_copy(update={"recorded": True})}), data)
            for config in configs]
    pack = Pack(fits)
    reports = [pack.advance() for _ in range(3)]
    assert [curve(each) for each in zip(*reports, strict=True)] == expected[:2]


def test_micro_batches_are_not_recorded(graphs: list[int]) -> None:
    config = own(1, "stacked", cell="gru")
    program = config.program.model_copy(update={"recorded": True, "micro_batch": 4})
    Fit(config.model_copy(update={"program": program}), (wave(),)).advance()
    assert graphs == [0, 0]


def test_a_checkpoint_goes_on_with_and_without_a_graph(graphs: list[int]) -> None:
    data, config = (wave(),), own(1, "stacked", cell="gru")
    both = [config.model_copy(update={"program": config.program.model_copy(update={"recorded": yes})})
            for yes in (True, False)]
    first = Fit(both[0], data)
    first.advance()
    second = Fit(both[1], data)
    second.restore(first.checkpoint())
    assert curve([first.advance()]) == curve([second.advance()])


def test_the_probe_takes_graphs_that_keep_the_figures(graphs: list[int]) -> None:
    choice = probe.choose(wave_config(cell="gru"), (wave(),), "cpu", 3, "stacked")
    assert (choice.program, choice.pack) == (ProgramConfig(kernel="stacked", packed=True, recorded=True), 3)
    assert list(choice.seconds) == ["stacked x3 graph"]


def test_the_probe_takes_no_graph_that_does_nothing(graphs: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorded, "record", lambda function: lambda: None)
    choice = probe.choose(wave_config(cell="gru"), (wave(),), "cpu", 3, "stacked")
    assert choice.program == ProgramConfig(kernel="stacked", packed=True)


def test_the_probe_takes_no_graph_that_sees_the_first_batch_for_ever(graphs: list[int],
                                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    fill = Batch.fill
    calls = []

    def stale(self: Any, other: Any) -> bool:
        calls.append(other)
        return fill(self, other) if len(calls) <= 3 else True

    monkeypatch.setattr(Batch, "fill", stale)
    choice = probe.choose(wave_config(cell="gru"), (wave(),), "cpu", 3, "stacked")
    assert choice.program == ProgramConfig(kernel="stacked", packed=True)


def test_alone_it_may_be_a_graph_too(graphs: list[int]) -> None:
    choice = probe.choose(wave_config(cell="gru"), (wave(),), "cpu", 1, "stacked")
    assert set(choice.seconds) == {"stacked", "stacked x1 graph"}
    Fit(wave_config(cell="gru").model_copy(update={"program": choice.program}), (wave(),)).advance()


@pytest.mark.parametrize("change", [{"length_B": torch.ones(2, dtype=torch.int64)}, {"first": 3},
                                    {"label_B": torch.zeros(3, dtype=torch.int64)}, {"key": None}], ids=str)
def test_a_batch_of_other_shapes_is_not_taken_for_the_recorded_one(change: dict[str, Any]) -> None:
    none = torch.zeros(0)
    fields: dict[str, Any] = {"arrays": None, "x_BLF": torch.zeros(2, 3, 1), "length_B": None, "series_B": none,
                              "label_B": torch.zeros(2, dtype=torch.int64), "observed_BLD": None,
                              "key": torch.tensor(1)}
    batch = Batch(**fields)
    mine = batch.copy()
    assert mine.fill(Batch(**fields | {"x_BLF": torch.ones(2, 3, 1)}))
    assert mine.x_BLF.sum() == 6
    assert not batch.x_BLF.any()
    assert not mine.fill(Batch(**fields | change))


def test_tones_of_varied_lengths_have_one_shape(graphs: list[int]) -> None:
    configs = [own(k, "stacked", CASES["varied lengths"][0], cell="gru") for k in range(2)]
    assert curves(configs, (tones(),), as_graph=True) == curves(configs, (tones(),), as_graph=False)
