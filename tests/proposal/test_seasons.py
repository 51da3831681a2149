"""Seasons that are there, and none where there are none."""

from __future__ import annotations

import numpy as np
import pytest
from strangers import wave

from seqsweep.proposal.seasons import find_season, naive_errors


@pytest.mark.parametrize("season", [4, 7, 12, 24, 96])
def test_a_season_is_found_with_and_without_a_hint(season: int) -> None:
    y_T = wave(season * 12, season) + np.linspace(0, 20, season * 12)
    for candidates in ((), (season,), (season, 5 * season)):
        found = find_season([y_T], candidates)
        assert found is not None and found.steps == season and found.strength > 0.8


def test_a_week_is_stronger_than_a_day_where_days_differ() -> None:
    rows = np.arange(24 * 7 * 10)
    load = np.sin(rows * 2 * np.pi / 24) * np.where(rows // 24 % 7 < 5, 3.0, 0.5)
    y_T = load + np.random.default_rng(0).normal(0, 0.1, len(rows))
    for candidates in ((24, 168), ()):
        found = find_season([y_T], candidates)
        assert found is not None and found.steps == 168


def test_a_season_upon_a_drifting_level_is_found() -> None:
    draw = np.random.default_rng(2)
    y_T = np.cumsum(draw.normal(0, 0.5, 2000)) + np.sin(np.arange(2000) * np.pi / 12)
    found = find_season([y_T], (24, 168))
    assert found is not None and found.steps == 24


def test_a_random_walk_and_noise_have_none() -> None:
    draw = np.random.default_rng(1)
    for _ in range(60):
        walk = np.cumsum(draw.normal(size=400))
        assert find_season([walk], ()) is None
        assert find_season([draw.normal(size=400)], (7, 24)) is None
        errors = naive_errors([walk], 5, None)
        assert errors[1] < errors[0]


def test_short_and_constant_series() -> None:
    assert find_season([np.zeros(100)], (7,)) is None
    assert find_season([np.arange(3.0)], (7,)) is None
    assert find_season([], (7,)) is None
    assert naive_errors([np.zeros(5)], 2, None) == {0: 0.0, 1: 0.0}


def test_naive_errors_by_hand() -> None:
    errors = naive_errors([np.array([0.0, 1.0, 0.0, 1.0, 0.0, 1.0])], 3, 2)
    assert errors == pytest.approx({0: 0.5, 1: 2 / 3, 2: 0.0})  # of 1, 2 and 3 steps back, two are off by 1
