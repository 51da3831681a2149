"""What becomes of a trial that broke down: the one place of retries."""

from __future__ import annotations

from dataclasses import dataclass

from seqsweep.cluster.messages import Failure, Lost
from seqsweep.records import Reason
from seqsweep.sweep.hand import Hand
from seqsweep.sweep.programs import Programs

_MICRO = 8
"""Into how many pieces a batch is cut that did not fit into memory: there is one more try, which should do."""


@dataclass(frozen=True)
class Verdict:
    """Whether a trial goes on from its checkpoint, or has ended."""

    note: str
    """What the user is told."""
    ends: Reason | None = None
    message: str = ""
    """Of the outcome, where it has ended."""


def after_loss(hand: Hand, lost: Lost, retries: int) -> Verdict:
    """A worker that died leaves its trial `retries` more tries elsewhere, one that hung a single one.

    Of a pack at most one trial is to blame, and nobody knows which: none is, and each goes on alone for a while, where
    the one that kills its worker again has killed its own. Where Ray killed it for memory, which another trial may have
    filled, it goes on in micro-batches, and as often as after another loss.
    """
    name, verb = f"trial {hand.trial.number}", "hung" if lost.reason is Reason.HUNG else "lost its worker"
    if hand.mates:
        hand.alone = True
        return Verdict(f"a pack of {hand.mates + 1} trials {verb}: each goes on alone from its checkpoint "
                       f"({lost.message})")
    hand.attempts += 1
    hand.hangs += lost.reason is Reason.HUNG
    if lost.reason is Reason.HUNG and hand.hangs > 1:
        return _end(name, Reason.HUNG, f"hung twice; the last time: {lost.message}")
    if lost.reason is Reason.OUT_OF_MEMORY and _cut(hand):
        return Verdict(f"{name} {verb} and goes on {_in_pieces(hand)} ({lost.message})")
    if lost.reason is not Reason.HUNG and hand.losses > retries:
        return _end(name, lost.reason, f"lost {hand.losses} times; the last time: {lost.message}")
    return Verdict(f"{name} {verb} and goes on from epoch {hand.checkpoint_epoch} ({lost.message})")


def after_failure(hand: Hand, failure: Failure, programs: Programs) -> Verdict:
    """Out of memory, a trial is tried once more in micro-batches, alone; a pack is what may have been too large."""
    name = f"trial {hand.trial.number}"
    if hand.mates:
        hand.alone, hand.pack = True, 1 + hand.mates // 2
        programs.shrink(hand.config, hand.pack)
        return Verdict(f"a pack of {hand.mates + 1} trials ran out of memory: each goes on alone from its checkpoint, "
                       f"and packs of their shape have {hand.pack} from now on")
    if not _cut(hand):
        pieces = f"even in micro-batches of {hand.micro_batch}: " if hand.micro_batch else ""
        return _end(name, failure.reason, f"{pieces}{failure.message}")
    hand.attempts += 1
    return Verdict(f"{name} ran out of memory and goes on {_in_pieces(hand)}")


def _cut(hand: Hand) -> bool:
    """Have a trial go on in micro-batches; False where it did already, or its batches are of one sample."""
    size = hand.config.training.batch_size
    if hand.micro_batch is not None or size == 1:
        return False
    hand.micro_batch, hand.whole_epochs = -(-size // _MICRO), hand.checkpoint_epoch
    hand.compute(hand.config.program)
    return True


def _in_pieces(hand: Hand) -> str:
    size = hand.config.training.batch_size
    return (f"from epoch {hand.checkpoint_epoch} in micro-batches of {hand.micro_batch}, "
            f"which add up to its batches of {size}")


def _end(name: str, reason: Reason, message: str) -> Verdict:
    return Verdict(f"{name} failed, {reason}: {message}", reason, message)
