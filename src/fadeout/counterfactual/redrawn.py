"""Redrawn: a copy whose linear and convolutional weights are drawn anew, the activation kept."""

import math

import torch
from torch import nn

from fadeout.call import privates
from fadeout.counterfactual.bench import Bench, copied, measured
from fadeout.counterfactual.entry import Counterfactual

CURVES = frozenset("sigmoid sigmoid_ tanh tanh_ hardsigmoid hardtanh softsign logsigmoid softplus".split())


def redraw(model: nn.Module, *, gain: float) -> frozenset[str]:
    """Draw every plain weight from N(0, gain^2 / fan_in) and zero its bias; the paths of those that were.

    Args:
        gain: sqrt 2 for rectifiers (He et al. 2015), 5/3 for tanh and its like.
    """
    draw = torch.Generator().manual_seed(0)
    drawn = set()
    for path, module in model.named_modules():
        weight = privates.parameters(module).get("weight")
        if not isinstance(module, (nn.Linear, privates.Conv)) or weight is None:
            continue
        turned = isinstance(module, privates.ConvTranspose)
        fan_in = (weight[:, 0] if turned else weight[0]).numel()
        noise = torch.randn(weight.shape, generator=draw, device="cpu") * (gain / math.sqrt(max(1, fan_in)))
        weight.copy_(noise.to(weight))
        if module.bias is not None:
            module.bias.zero_()
        drawn.add(path)
    return frozenset(drawn)


def own_gain(bench: Bench) -> float:
    """What the activations in use ask for."""
    return 5.0 / 3.0 if bench.activations & CURVES else math.sqrt(2.0)


def _left(bench: Bench) -> float:
    fresh = copied(bench, lambda model: redraw(model, gain=own_gain(bench)))
    return math.nan if fresh is None else measured(fresh)


redrawn = Counterfactual(
    title="a re-initialised copy, same activation",
    takes="weight",
    applies=lambda cause, bench: cause == "weight" or (cause == "slope" and bool(bench.activations & CURVES)),
    left=_left,
    confirms=True,
)
