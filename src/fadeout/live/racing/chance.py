"""Chance: whether a script draws from what its network computes, as policies do: its loss ranks nothing then."""

import functools
from collections.abc import Callable
from typing import Any

from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Normal


class Chance:
    """Watches draws that no gradient passes through.

    Attributes:
        sampled: There was one from a distribution that a gradient reaches.
    """

    def __init__(self) -> None:
        self.sampled = False

    def begin(self) -> None:
        """From now on."""
        for kind in (Bernoulli, Categorical, Normal):
            kind.sample = self._watched(kind.sample)  # type: ignore[method-assign]

    def _watched(self, sample: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(sample)
        def drawn(distribution: Any, *args: Any, **kwargs: Any) -> Any:
            known = distribution.__dict__.values()
            self.sampled = self.sampled or any(isinstance(t, Tensor) and t.requires_grad for t in known)
            return sample(distribution, *args, **kwargs)

        return drawn
