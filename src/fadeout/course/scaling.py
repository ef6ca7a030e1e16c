"""Scaling: what a loss scaler does in a training step - its scale, and the steps that it leaves out."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch


@dataclass(slots=True)
class Scaling:
    """Seen of the scalers of one step.

    Attributes:
        scale: What the loss was multiplied by; 1 where no scaler is in use.
        left_out: For each optimizer step that went through a scaler, whether it was left out.
    """

    scale: float = 1.0
    left_out: list[bool] = field(default_factory=list)

    @property
    def used(self) -> bool:
        """Whether a loss went through a scaler."""
        return self.scale != 1.0


@contextmanager
def scaling(factor: float = 1.0) -> Iterator[Scaling]:
    """Watches `torch.amp.GradScaler`, whose scale is made `factor` times as large in here."""
    kind: Any = torch.amp.GradScaler
    original_scale, original_step = kind.scale, kind.step
    seen = Scaling()

    def scale(scaler: Any, outputs: Any) -> Any:
        found = original_scale(scaler, outputs)
        if not scaler.is_enabled():
            return found
        seen.scale = float(scaler.get_scale()) * factor
        if factor == 1.0:
            return found
        return found * factor if isinstance(found, torch.Tensor) else type(found)(t * factor for t in found)

    def step(scaler: Any, optimizer: Any, *args: Any, **kwargs: Any) -> Any:
        found = original_step(scaler, optimizer, *args, **kwargs)
        if scaler.is_enabled():
            flags = scaler._per_optimizer_states[id(optimizer)]["found_inf_per_device"].values()
            seen.left_out.append(any(float(flag) > 0 for flag in flags))
        return found

    kind.scale, kind.step = scale, step
    try:
        yield seen
    finally:
        kind.scale, kind.step = original_scale, original_step
