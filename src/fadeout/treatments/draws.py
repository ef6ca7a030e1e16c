"""Draws: weights and biases of a layer, drawn anew by the activation that reads it."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from fadeout.errors import FadeoutError
from fadeout.treatments.patient import Edit
from fadeout.treatments.surgery import Surgery

# sigma_w of N(0, sigma_w^2 / fan_in) that keeps the gradient's size on zero biases: `fadeout.theory.find_critical`.
GAINS = {
    "relu": math.sqrt(2.0), "relu_": math.sqrt(2.0), "relu6": math.sqrt(2.0), "leaky_relu": math.sqrt(2 / 1.0001),
    "prelu": math.sqrt(2.0), "gelu": math.sqrt(2.0), "silu": math.sqrt(2.0), "mish": math.sqrt(2.0), "elu": 1.0,
    "selu": 1.0, "celu": 1.0, "tanh": 1.0, "hardtanh": 1.0, "softsign": 1.0, "erf": math.sqrt(math.pi) / 2,
    "sigmoid": 4.0, "hardsigmoid": 6.0, "log_sigmoid": 2.0, "softplus": 2.0,
}  # fmt: skip
FOLLOWS = "biases follow their weights, so that mean-field theory, which draws both by themselves, is silent"
CENTRED = frozenset({"sigmoid", "hardsigmoid"})  # their output's mean is 1/2 and must be taken off by the next bias


def redraw(on: Surgery, gain: Callable[[str, Tensor], float], words: str, *, orthogonal: bool = False) -> None:
    """Every layer on the way drawn anew.

    Args:
        gain: (path, weight) -> gain.

    Raises:
        FadeoutError: If there is none.
    """
    found = on.layers()
    if not found:
        raise FadeoutError(
            f"{words}_init: the model has no linear or convolutional layer on the way that could be drawn anew"
        )
    for path, layer in found:
        assert isinstance(layer.weight, Tensor)
        draw(on, path, layer, gain(path, layer.weight), words=words, orthogonal=orthogonal)


def swap_hidden(on: Surgery, name: str, make: Callable[[], nn.Module]) -> None:
    """Every hidden activation becomes this one, with the weights that belong to it.

    Raises:
        FadeoutError: If there is none to replace.
    """
    swapped = [a for a in on.anatomy.hidden if a.name != name]
    if not swapped:
        raise FadeoutError(f"{name}: the model has no hidden activation that could be replaced")
    for activation in swapped:
        on.swap(activation, make, name)
    redraw(on, lambda path, weight: gain_of(on, path), "critical")


def gain_of(surgery: Surgery, path: str) -> float:
    """What the activation that reads a layer asks for; 1 for a head and for a layer that none reads."""
    if path in surgery.anatomy.heads:
        return 1.0
    return GAINS.get(surgery.activation.get(path, ""), 1.0)


@torch.no_grad()
def draw(surgery: Surgery, path: str, layer: nn.Module, gain: float, *, words: str, orthogonal: bool = False) -> None:
    """A layer's weight from N(0, gain^2 / fan_in), or orthogonal with that variance; its bias 0, or centred."""
    weight = layer.weight
    assert isinstance(weight, Tensor)
    fan_in = max(1, weight[0].numel())
    flat = weight.shape[0], fan_in
    if orthogonal:
        fresh = torch.empty(flat, device="cpu")
        nn.init.orthogonal_(fresh, gain=gain * math.sqrt(max(flat[0] / flat[1], 1.0)), generator=surgery.draw)
    else:
        fresh = torch.randn(flat, generator=surgery.draw, device="cpu") * (gain / math.sqrt(fan_in))
    surgery.set(weight, fresh.view(weight.shape))
    centred = False
    if isinstance(bias := layer.bias, Tensor):
        behind = surgery.activation.get(surgery.anatomy.before.get(path, ""), "")
        centred = behind in CENTRED
        centre = -fresh.sum(1) / 2 if centred else torch.zeros(flat[0], device="cpu")
        if centred:
            surgery.notes.append(FOLLOWS)
        surgery.set(bias, centre)
    new = words if words in ("zeros", "glorot") else f"{words} {gain:.4g}" + (" centred" if centred else "")
    surgery.write(Edit(what="init", path=path, old="", new=new))
