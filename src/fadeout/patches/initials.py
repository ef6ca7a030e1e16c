"""Initials: what an initialisation is called in an edit, and the lines of torch that draw it."""

import libcst as cst
from torch import nn

from fadeout.theory.activation import read_activation
from fadeout.theory.critical import find_critical

_KAIMING = "nn.init.kaiming_normal_(module.weight, nonlinearity='{0}')"
_ZERO = "nn.init.zeros_(module.bias)"
_CODE = {
    "he": (_KAIMING.format("relu"), _ZERO),
    "kaiming": (_KAIMING.format("relu"), _ZERO),
    "lecun": (_KAIMING.format("linear"), _ZERO),
    "glorot": ("nn.init.xavier_normal_(module.weight)", _ZERO),
    "xavier": ("nn.init.xavier_normal_(module.weight)", _ZERO),
    "orthogonal": ("nn.init.orthogonal_(module.weight{gain})", _ZERO),
    "zeros": ("nn.init.zeros_(module.weight)", _ZERO),
    "zero": ("nn.init.zeros_(module.weight)", _ZERO),
    "zero-bias": (_ZERO,),
    "centred": (
        "nn.init.normal_(module.weight, std=4 / module.weight[0].numel() ** 0.5)",
        "module.bias.data = -module.weight.data.flatten(1).sum(1) / 2",
    ),
    "embedding": ("nn.init.normal_(module.weight, std=module.weight.shape[1] ** -0.5)",),
    "identity": (
        "for name, weight in module.named_parameters():",
        "    if 'weight_hh' in name:",
        "        nn.init.eye_(weight)",
        "    elif 'bias' in name:",
        "        nn.init.zeros_(weight)",
    ),
}
_SHORT = {"relu": nn.ReLU, "tanh": nn.Tanh, "gelu": nn.GELU, "silu": nn.SiLU, "selu": nn.SELU, "elu": nn.ELU}
_GAINS = {"relu": 2**0.5, "leaky": (2 / 1.0001) ** 0.5, "tanh": 1.0, "linear": 1.0, "selu": 1.0}


def initial_code(new: str) -> tuple[str, ...] | None:
    """Lines for one `module`; None where the name says nothing.

    Args:
        new: "he relu", "critical tanh", "glorot", "lecun", "orthogonal", "orthogonal 1.4", "orthogonal relu",
            "centred sigmoid", "identity", "zero-bias", "zero", "embedding", or lines of Python about `module`,
            parted by line ends or semicolons: "nn.init.normal_(module.weight, std=0.02); nn.init.zeros_(module.bias)".
    """
    if "module" in new and "(" in new:
        lines = [line for part in new.split("\n") for line in part.split("; ")]
        try:
            cst.parse_module("\n".join(lines))
        except cst.ParserSyntaxError:
            return None
        return tuple(line.rstrip() for line in lines if line.strip())
    words = new.lower().replace("_", "-").split()
    name, rest = (words[0], words[1:]) if words else ("", [])
    if name == "critical":
        return _critical(rest[0] if rest else "relu")
    gain = _gain(rest[0]) if rest else None
    return (
        tuple(line.format(gain=f", gain={gain:.4g}" if gain else "") for line in _CODE[name]) if name in _CODE else None
    )


def _gain(word: str) -> float | None:
    try:
        return float(word.rpartition("=")[2])
    except ValueError:
        return _GAINS.get(word)


def _critical(activation: str) -> tuple[str, ...] | None:
    """The edge of chaos of an activation, in numbers where torch has no name for it."""
    if activation in ("relu", "tanh", "linear", "selu"):
        return _CODE["he" if activation == "relu" else "lecun"]
    if activation not in _SHORT:
        return None
    point = find_critical(read_activation(_SHORT[activation]()))
    bias = f"nn.init.normal_(module.bias, std={point.sigma_b:.4g})" if point.sigma_b > 1e-4 else _ZERO
    return f"nn.init.normal_(module.weight, std={point.sigma_w:.4g} / module.weight[0].numel() ** 0.5)", bias
