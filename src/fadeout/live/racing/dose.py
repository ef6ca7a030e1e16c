"""A dose: a treatment given to a live network and its optimizers before the first training forward."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from fadeout.call.batch import fresh, tensors
from fadeout.errors import FadeoutError
from fadeout.live.racing.escort import Before, Escort, same_everywhere
from fadeout.live.racing.first_call import Meeting
from fadeout.live.roots import unwrapped
from fadeout.treatments import Patient, Receipt, Treatment


class Opening:
    """The first call as a step: model -> scalar, on copies of what the script passes.

    The scalar is the loss where the network returns one, else a fixed mix of its outputs. It shows
    treatments what the network is made of; its value means nothing.
    """

    def __init__(self, meeting: Meeting) -> None:
        inner = unwrapped(meeting.called)
        self.path = next(path for path, m in meeting.model.named_modules() if m is inner)
        self.args, self.kwargs = fresh(_detached(meeting.args)), fresh(_detached(meeting.kwargs))

    def __call__(self, model: nn.Module) -> Tensor:
        found = model.get_submodule(self.path)(*fresh(self.args), **fresh(self.kwargs))
        outputs = [t for t in tensors(found) if t.requires_grad and t.is_floating_point()]
        if not outputs:
            raise FadeoutError("race: the network's first output has no gradient, so there is nothing to look at")
        loss = next((t for t in outputs if t.numel() == 1), None)
        if loss is not None:
            return loss.reshape(())
        return torch.stack([(t.float() * _mix(t)).mean() for t in outputs]).sum()


def _mix(like: Tensor) -> Tensor:
    """Numbers of both signs, the same every time."""
    return torch.cos(torch.arange(like.numel(), device=like.device, dtype=torch.float32)).reshape(like.shape)


def _detached(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().requires_grad_(value.requires_grad) if value.grad_fn is not None else value
    if type(value) in (tuple, list):
        return type(value)(_detached(item) for item in value)
    if type(value) is dict:
        return {key: _detached(item) for key, item in value.items()}
    return value


@dataclass(frozen=True, slots=True, kw_only=True)
class Dosed:
    """What was given.

    Attributes:
        lines: What was changed, a place each.
    """

    receipt: Receipt
    lines: tuple[str, ...]
    notes: tuple[str, ...]


def give(treatment: Treatment, meeting: Meeting, seed: int) -> Dosed:
    """Treat a network that is about to run for the first time, in place.

    Raises:
        FadeoutError: If it can't be done; nothing is changed then.
    """
    optimizers = meeting.optimizers
    before = [Before(o) for o in optimizers]
    held = {id(p) for o in optimizers for g in o.param_groups for p in g["params"]}
    patient = Patient(
        model=meeting.model,
        optimizer=optimizers[0] if len(optimizers) == 1 else optimizers,
        step=Opening(meeting),
        seed=seed,
    )
    receipt = treatment.apply(patient)
    new = [p for o in optimizers for g in o.param_groups for p in g["params"] if id(p) not in held]
    if new and meeting.called is not meeting.model and type(meeting.called).__name__ == "DistributedDataParallel":
        receipt.undo()
        raise FadeoutError("race: it adds parameters, which a network that DDP has wrapped would not keep alike")
    instead = receipt.optimizer
    for optimizer in (*optimizers, *([instead] if isinstance(instead, Optimizer) else [])):
        _in_order(optimizer, meeting.model, held)
    for one in before:
        escort = Escort(one, instead if isinstance(instead, Optimizer) else None)
        if escort.needed:
            escort.begin()
    same_everywhere([*meeting.model.parameters(), *meeting.model.buffers()])
    lines = tuple(f"{edit.path or 'the network'}: {edit.what} {edit.new}".strip() for edit in receipt.edits)
    return Dosed(receipt=receipt, lines=lines, notes=(*receipt.notes, *receipt.recipe))


def _in_order(optimizer: Optimizer, model: nn.Module, held: set[int]) -> None:
    """New weights where a patched program would list them: norms of gradients add up in this order."""
    place = {id(p): n for n, p in enumerate(model.parameters())}
    for group in optimizer.param_groups:
        old = [place.get(id(p), -1) for p in group["params"] if id(p) in held]
        if len(old) < len(group["params"]) and old == sorted(old) and -1 not in old:
            group["params"].sort(key=lambda p: place.get(id(p), len(place)))
