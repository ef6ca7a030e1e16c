"""An entry of the table of counterfactuals."""

from collections.abc import Callable
from dataclasses import dataclass

from fadeout.counterfactual.bench import Bench
from fadeout.records import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Counterfactual:
    """One change that takes a cause away, and what is left of the fade.

    Attributes:
        title: As a reader is told: "a copy with ReLU and He initialisation".
        takes: The cause that is gone in it.
        applies: (the cause that the account blames, bench) -> whether the change speaks about it.
        left: The finding's quantity after the change, decades; nan where it can't be made.
        confirms: Whether a recovery proves the cause; a replay repeats the account.
    """

    title: str
    takes: Kind
    applies: Callable[[Kind, Bench], bool]
    left: Callable[[Bench], float]
    confirms: bool
