"""What was observed: the passes of one measurement, and what they were taken of."""

from dataclasses import dataclass

from fadeout.call.batch import Closure
from fadeout.call.subject import Subject
from fadeout.probe.account.passes import Pass


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """A finished measurement.

    Attributes:
        first: The first pass, which observers saw.
        best: The pass that the ledger rests on; the first, or one with more range.
    """

    first: Pass
    best: Pass
    subject: Subject
    closure: Closure
