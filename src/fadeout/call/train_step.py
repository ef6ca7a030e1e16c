"""A training step of the user's, as a function of (model, batch, optimizer)."""

import inspect
from collections.abc import Callable
from typing import Any

from torch import nn

_ROLES = (
    frozenset("model net network module m mdl policy agent".split()),
    frozenset("batch data b inputs xy xb sample samples minibatch x train_batch".split()),
    frozenset("optimizer optimizers optim opt opts o optims".split()),
)
_WORDS = ("model", "batch", "optimizer")
_COUNTERS = frozenset("i idx index n step epoch it iteration batch_idx batch_index global_step t k".split())


def bound(train_step: Callable[..., Any], *, verb: str) -> Callable[[nn.Module, Any, Any], Any]:
    """A training step as a function of (model, batch, optimizer), by its parameters' names or their order.

    Arguments that have a name of their role get it: `(batch)`, `(model, batch)`, `(batch, model)`.
    Names that say nothing stand for the documented order, from two arguments on.  One that takes
    nothing closes over what it trains.

    Raises:
        ValueError: If it takes more than three arguments, or one whose role can't be told.
    """
    try:
        parameters = [
            p
            for p in inspect.signature(train_step).parameters.values()
            if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.default is p.empty
        ]
    except (TypeError, ValueError):
        return train_step
    names = [p.name for p in parameters]
    roles = _roles(names)
    if roles is None:
        raise ValueError(
            f"{verb}: train_step= must take (model, batch, optimizer), or fewer of them by these names; this one takes "
            f"({', '.join(names)}), and it can't be told which is what"
        )
    only_keywords = [p.kind is p.KEYWORD_ONLY for p in parameters]

    def run(model: nn.Module, batch: Any, optimizer: Any) -> Any:
        given = (model, batch, optimizer)
        arguments = [given[role] for role in roles]
        plain = [a for a, only in zip(arguments, only_keywords, strict=True) if not only]
        named = {n: a for n, a, only in zip(names, arguments, only_keywords, strict=True) if only}
        return train_step(*plain, **named)

    return run


def _roles(names: list[str]) -> list[int] | None:
    """Which of model, batch and optimizer each argument is; None where that can't be told."""
    if len(names) > 3 or any(name.lower() in _COUNTERS for name in names):
        return None
    known = [_role(name) for name in names]
    if all(role is None for role in known):
        return list(range(len(names))) if len(names) != 1 else None
    free = [role for role in range(3) if role not in known]
    found = [place if role is None and place in free else role for place, role in enumerate(known)]
    settled = [role for role in found if role is not None]
    return settled if len(settled) == len(names) == len(set(settled)) else None


def _role(name: str) -> int | None:
    low = name.lower().strip("_")
    exact = [role for role, words in enumerate(_ROLES) if low in words]
    if exact:
        return exact[0]
    inside = [role for role, word in enumerate(_WORDS) if word in low]
    return inside[0] if len(inside) == 1 else None
