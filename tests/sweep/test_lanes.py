"""The logical clock by hand: what is next, and when that is known."""

from __future__ import annotations

from seqsweep.sweep.lanes import Lanes


def test_an_event_waits_while_another_trial_may_have_ended_before_it() -> None:
    lanes = Lanes(2)
    first, second = lanes.start(0, 0, cost=1.0, step=3), lanes.start(1, 1, cost=1.0, step=9)
    first.known, second.known = 3, 1
    assert lanes.due() is None  # the second may end with its second epoch
    second.known = 2
    assert lanes.due() is first  # of two events at one time that of the lower place
    second.finish(2)
    assert lanes.due() is second
    assert second.ended


def test_a_place_is_taken_when_it_was_freed() -> None:
    lanes = Lanes(3)
    assert [lanes.vacant(), lanes.start(0, 0, 2.0, 1).began] == [0, 0.0]
    lanes.start(1, 1, 1.0, 3)
    assert lanes.vacant() == 2
    lanes.start(2, 2, 5.0, 1)
    for number, epochs in ((1, 3), (0, 1)):
        lanes[number].known = epochs
        lanes[number].finish(epochs)
    assert lanes.due() is lanes[0]
    lanes.free(lanes[0])
    lanes.free(lanes[1])
    assert lanes.vacant() == 0
    assert (lanes.start(0, 3, 1.0, 1).began, lanes.start(1, 4, 1.0, 1).began) == (2.0, 3.0)
    assert [lane.number for lane in lanes.busy] == [3, 4, 2]


def test_a_decision_comes_before_an_end_that_is_later() -> None:
    lane = Lanes(1).start(0, 0, cost=2.0, step=1)
    lane.known = 1
    lane.finish(2)
    assert (lane.ready, lane.ended, lane.time) == (True, False, 2.0)
    lane.step = 3
    assert (lane.ready, lane.ended, lane.time) == (True, True, 4.0)
