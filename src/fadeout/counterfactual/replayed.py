"""Replayed: the same backward on the same graph, with one kind's factors replaced by 1.

In a plain chain it repeats the account and confirms nothing; where paths join it can refute it.
"""

from fadeout.counterfactual.bench import Bench, measured
from fadeout.counterfactual.entry import Counterfactual
from fadeout.probe.replay import WithoutFactor
from fadeout.records import Kind

_WORDS: dict[Kind, str] = {"slope": "every slope", "weight": "every weight's gain", "norm": "every norm's gain"}


def replayed(kind: Kind) -> Counterfactual:
    """The replay without one kind."""

    def left(bench: Bench) -> float:
        return measured(bench, WithoutFactor(kind))

    return Counterfactual(
        title=f"the same backward with {_WORDS[kind]} replaced by 1",
        takes=kind,
        applies=lambda cause, bench: cause == kind,
        left=left,
        confirms=False,
    )
