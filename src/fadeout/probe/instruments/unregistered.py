"""Unregistered: trainable layers that run inside the model though it does not know them."""

from typing import Any

from torch.optim import Optimizer

from fadeout.probe.account.passes import Pass
from fadeout.probe.graph.unregistered import attribute_of
from fadeout.probe.instruments.instrument import Instrument, Observed


class Unregistered(Instrument):
    """What `model.parameters()` leaves out, and an optimizer made from it never trains."""

    def fields(self, seen: Observed) -> dict[str, Any]:
        return {"unregistered": _unregistered(seen.first, seen.held.question.optimizer)}


def _unregistered(first: Pass, optimizer: Optimizer | None) -> tuple[str, ...]:
    """Trainable layers that ran inside the model though it does not know them; not those the optimizer holds."""
    held = {id(p) for group in optimizer.param_groups for p in group["params"]} if optimizer is not None else set()
    layers = [
        first.names.path_of(module)
        for module in first.names.unregistered.values()
        if any(p.requires_grad and id(p) not in held for p in module.parameters(recurse=False))
    ]
    known = {id(p) for p in first.names.model.parameters()} | held | first.names.given
    known |= {id(p) for module in first.names.unregistered.values() for p in module.parameters()}
    loose = [leaf for leaf in first.graph.variables if id(leaf) not in known]
    for path, module in first.names.model.named_modules() if loose else ():
        layers += [".".join(filter(None, (path, name))) for leaf in loose if (name := attribute_of(module, leaf))]
    return tuple(dict.fromkeys(layers))
