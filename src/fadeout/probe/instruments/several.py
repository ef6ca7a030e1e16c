"""Several: the optimizers that train one network together, read as if they were one."""

from collections.abc import Sequence
from typing import Any

from torch.optim import Optimizer


class Several(Optimizer):
    """Only to be read: groups of all of them; no step is taken with it.

    Attributes:
        members: The optimizers themselves.
    """

    members: list[Optimizer]


def several(optimizers: Sequence[Optimizer]) -> Optimizer:
    """One optimizer as it is; of more, one whose class is named after all of theirs: "AdamW + Muon"."""
    if len(optimizers) == 1:
        return optimizers[0]
    name = " + ".join(dict.fromkeys(type(one).__name__ for one in optimizers))
    kind: Any = type(name, (Several,), {})
    made: Several = kind.__new__(kind)  # without the constructor, which would refuse parameters that two of them hold
    made.members = list(optimizers)
    made.param_groups = [group for one in optimizers for group in one.param_groups]
    return made
