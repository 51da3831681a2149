"""Numbers that are too small for a processor to be quick with are zero in training, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from seqsweep.models.subnormal import flushes, without_subnormals


def test_they_are_zero_inside_and_as_before_outside() -> None:
    assert not flushes()
    with without_subnormals():
        assert flushes()
        with without_subnormals():
            assert flushes()
        assert flushes()
    assert not flushes()
    with pytest.raises(ValueError, match="inside"), without_subnormals():
        raise ValueError("inside")
    assert not flushes()


def test_a_function_may_be_wrapped_and_called_again() -> None:
    @without_subnormals()
    def seen(one: Any) -> tuple[Any, bool]:
        return one, flushes()

    assert [seen(1), seen(2)] == [(1, True), (2, True)]
    assert float(torch.full((1,), 1e-38) * 0.1) > 0.0
