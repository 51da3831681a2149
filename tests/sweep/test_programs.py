"""The choice of programs: what a probe found stands, whoever probes again."""

from __future__ import annotations

from pathlib import Path

from toys import toy_sweep

from seqsweep.config.sweep import fit_config
from seqsweep.config.training import Choice, ProgramConfig
from seqsweep.ledger import Ledger
from seqsweep.store.records import Store
from seqsweep.sweep.programs import Programs, program_of
from seqsweep.sweep.writer import Writer


def test_the_first_of_two_probes_of_a_shape_stands(tmp_path: Path) -> None:
    """Two workers are given trials of one shape at a time, and measure it both."""
    sweep = toy_sweep(resources={"kernel": "auto"})
    config = fit_config(sweep, {"hidden_size": 4, "learning_rate": 0.01, "epochs": 3, "batch_size": 32}, 1)
    first, second = Choice(ProgramConfig(kernel="stacked"), 1, {}), Choice(ProgramConfig(kernel="torch"), 1, {})
    with Store.open(f"sqlite:///{tmp_path}/store.db") as store:
        store.create_sweep("toy", "", "{}", "hash", {})
        with store.acquire("toy") as lease, Writer(lease, Ledger(), lambda: None) as writer:
            programs = Programs(sweep, store, writer)
            programs.keep(config, first)
            programs.keep(config, second)
            assert programs.find(config) == first
        assert program_of(store.sweep("toy").facts, config) == first.program
