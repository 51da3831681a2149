"""How samples become batches."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from training_toys import CONTEXT, HORIZON, tones, wave

from seqsweep.data.batch import Prepared
from seqsweep.tasks.batch import Arrays, Batch
from seqsweep.tasks.metrics import naive_error
from seqsweep.training.batches import Loader


def loader(data: Prepared, size: int = 16) -> Loader:
    return Loader(Arrays.of(data, naive_error(data), torch.device("cpu")), data.parts["train"], size)


def shuffled(loader: Loader, seed: int) -> Iterator[Batch]:
    return loader.batches(loader.shuffle(np.random.default_rng(seed)))


def rows_of(batches: list[Batch], data: Prepared) -> list[tuple[int, ...]]:
    """Recover the first row of each sample from its values."""
    place = {tuple(row): number for number, row in enumerate(data.values_TF.tolist())}
    return [tuple(place[tuple(first)] for first in batch.x_BLF[:, 0].tolist()) for batch in batches]


def test_windows_are_the_rows_themselves() -> None:
    data = wave(gaps=True)
    assert data.observed_TD is not None
    starts = data.parts["train"].start_N
    batches = list(loader(data).in_order())
    assert [len(batch.x_BLF) for batch in batches] == [16] * (len(starts) // 16) + [len(starts) % 16]
    for number, start in enumerate(starts):
        batch, row = batches[number // 16], number % 16
        stretch = slice(start, start + CONTEXT + HORIZON)
        np.testing.assert_array_equal(batch.x_BLF[row].numpy(), data.values_TF[stretch])
        assert batch.observed_BLD is not None
        np.testing.assert_array_equal(batch.observed_BLD[row].numpy(), data.observed_TD[stretch])
        assert batch.length_B is None


def test_sequences_are_padded_with_zeros_to_the_longest() -> None:
    data = tones()
    samples, number = data.parts["train"], 0
    for batch in loader(data, 7).in_order():
        assert batch.length_B is not None
        assert batch.x_BLF.shape[1] == int(batch.length_B.max())
        for x_LF, length, label in zip(batch.x_BLF, batch.length_B.tolist(), batch.label_B.tolist(), strict=True):
            start = samples.start_N[number]
            np.testing.assert_array_equal(x_LF[:length].numpy(), data.values_TF[start:start + length])
            assert not x_LF[length:].any()
            assert (length, label) == (samples.length_N[number], samples.label_N[number])
            number += 1
    assert number == len(samples)


@pytest.mark.parametrize("data", [wave(), tones(400)], ids=["equal", "varied"])
def test_a_shuffle_holds_every_sample_once_and_follows_its_seed(data: Prepared) -> None:
    orders = [rows_of(list(shuffled(loader(data, 8), seed)), data) for seed in (1, 2, 1)]
    assert orders[0] == orders[2] != orders[1]
    flat = [row for batch in orders[0] for row in batch]
    assert sorted(flat) == data.parts["train"].start_N.tolist() != flat


def test_alike_lengths_share_a_batch() -> None:
    data = tones(600)
    work = loader(data, 8)

    def padded(batches: list[Batch]) -> int:
        return sum(batch.x_BLF.shape[0] * batch.x_BLF.shape[1] for batch in batches)

    real = int(data.parts["train"].length_N.sum())
    assert padded(list(shuffled(work, 0))) < 1.1 * real
    assert padded(list(work.in_order())) > 1.3 * real
