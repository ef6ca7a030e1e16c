"""Initials: what an initialisation is called in an edit, and the lines of torch that draw it."""

import libcst as cst
from torch import nn

from fadeout.theory.activation import read_activation
from fadeout.theory.critical import find_critical

_KAIMING = 'nn.init.kaiming_normal_(module.weight, nonlinearity="{0}")'
_ZERO = "nn.init.zeros_(module.bias)"
_CENTRED = "module.bias.data.copy_(-module.weight.data.flatten(1).sum(1) / 2)"
_ORTHOGONAL = (
    "wide = max(module.weight.shape[0] / module.weight[0].numel(), 1.0) ** 0.5",
    "nn.init.orthogonal_(module.weight, gain={gain:.4g} * wide)",
)
_CODE = {
    "zeros": ("nn.init.zeros_(module.weight)", _ZERO),
    "zero bias": (_ZERO,),
    "embedding": ("nn.init.normal_(module.weight, std=module.weight.shape[1] ** -0.5)",),
    "identity": (
        "for name, weight in module.named_parameters():",
        '    if "weight_hh" in name:',
        "        nn.init.eye_(weight)",
        '    elif "bias" in name:',
        "        nn.init.zeros_(weight)",
    ),
    "forget bias 1": (
        "for name, bias in module.named_parameters():",
        '    if "bias_ih" in name:',
        "        bias.data[module.hidden_size : 2 * module.hidden_size] = 1.0",
        '    elif "bias_hh" in name:',
        "        nn.init.zeros_(bias)",
    ),
}
_STANDARD = {"he": 2**0.5, "kaiming": 2**0.5, "lecun": 1.0, "orthogonal": 1.0, "critical": None, "fixup": None}
_SHORT = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU, "selu": nn.SELU, "elu": nn.ELU}
_GAINS = {"relu": 2**0.5, "leaky": (2 / 1.0001) ** 0.5, "tanh": 1.0, "linear": 1.0, "selu": 1.0}


def initial_code(new: str) -> tuple[str, ...] | None:
    """Lines for one `module`; None where the name says nothing.

    Args:
        new: "he", "lecun", "glorot", "orthogonal"; with a gain, "critical 1.414", "orthogonal 4": weights of
            variance gain^2 / fan_in; with an activation, "critical gelu"; with biases that take off the mean of
            a sigmoid before, "critical 4 centred"; "zeros", "zero bias", "identity", "forget bias 1", "chrono(100)",
            "embedding"; or lines of Python about `module`, parted by line ends or semicolons.
    """
    if "module" in new and "(" in new:
        lines = [line for part in new.split("\n") for line in part.split("; ")]
        try:
            cst.parse_module("\n".join(lines))
        except cst.ParserSyntaxError:
            return None
        return tuple(line.rstrip() for line in lines if line.strip())
    said = new.strip().lower()
    if said in _CODE:
        return _CODE[said]
    if said.startswith("chrono("):
        longest = said[len("chrono(") :].rstrip(")")
        made = f"fadeout.init.chrono_(module, {longest}, generator=torch.Generator().manual_seed(0))"
        return (made,) if longest.isdigit() else None
    name, *rest = said.split() or [""]
    name = "critical" if name == "centred" else name  # "centred sigmoid 4 centred"
    centre = _CENTRED if "centred" in rest else _ZERO
    if name in ("glorot", "xavier"):
        return "nn.init.xavier_normal_(module.weight)", centre
    if name not in _STANDARD:
        return None
    gain = next((g for word in rest if (g := _gain(word)) is not None), None)
    if gain is None and name == "critical" and rest and rest[0] in _SHORT:
        return _critical(rest[0])
    gain = gain if gain is not None else _STANDARD[name]
    return None if gain is None else (*_weights(name, gain), centre)


def _weights(name: str, gain: float) -> tuple[str, ...]:
    if name == "orthogonal":
        return tuple(line.format(gain=gain) for line in _ORTHOGONAL)
    if gain == 0.0:
        return ("nn.init.zeros_(module.weight)",)
    named = next((n for n, g in (("relu", 2**0.5), ("linear", 1.0)) if abs(gain - g) < 1e-3), None)
    if named is not None:
        return (_KAIMING.format(named),)
    return (f"nn.init.normal_(module.weight, std={gain:.4g} / module.weight[0].numel() ** 0.5)",)


def _gain(word: str) -> float | None:
    try:
        return float(word.rpartition("=")[2].rstrip(","))
    except ValueError:
        return _GAINS.get(word)


def _critical(activation: str) -> tuple[str, ...]:
    """The edge of chaos of an activation, in numbers where torch has no name for it."""
    point = find_critical(read_activation(_SHORT[activation]()))
    bias = f"nn.init.normal_(module.bias, std={point.sigma_b:.4g})" if point.sigma_b > 1e-4 else _ZERO
    return f"nn.init.normal_(module.weight, std={point.sigma_w:.4g} / module.weight[0].numel() ** 0.5)", bias
