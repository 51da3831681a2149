"""What the gate is asked must make sense before anything is fetched, scored or counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_sweeps import settings_in

from seqsweep.errors import Refused
from seqsweep.promotion import promote


@pytest.mark.parametrize(("alias", "margin", "where"), [
    ("../x", 0.0, "to"), ("", 0.0, "to"), ("champion", 7.0, "margin")])
def test_an_alias_or_a_margin_that_cannot_be_is_refused(tmp_path: Path, alias: str, margin: float, where: str) -> None:
    with pytest.raises(Refused) as caught:
        promote("load", settings_in(tmp_path), to=alias, margin=margin)
    assert caught.value.problems[0].where == where
    assert list(tmp_path.iterdir()) == []
