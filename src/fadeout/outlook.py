"""The outlook: what theory says of an activation and its initialisation, as plain numbers.

What `fadeout predict` prints and its JSON holds.
"""

import math
from typing import Any

import torch
from torch import nn

from fadeout.errors import FadeoutError
from fadeout.theory import Critical, band, describe_phase, find_critical, follow_variance, phase_diagram, sum_beta

_KEYS = (
    "activation",
    "sigma_w",
    "sigma_b",
    "q",
    "chi",
    "xi_q",
    "xi_c",
    "phase",
    "trainable_depth",
    "decades",
    "stable",
)
EDGE = 1e-6
NAMES: dict[str, Any] = {
    "relu": torch.relu, "tanh": torch.tanh, "sigmoid": torch.sigmoid, "erf": torch.erf, "sin": torch.sin,
    "cos": torch.cos, "identity": nn.Identity(), "linear": nn.Identity(), "gelu": nn.functional.gelu,
    "silu": nn.functional.silu, "swish": nn.functional.silu, "mish": nn.functional.mish, "elu": nn.functional.elu,
    "selu": nn.functional.selu, "celu": nn.functional.celu, "softplus": nn.functional.softplus,
    "softsign": nn.functional.softsign, "hardtanh": nn.functional.hardtanh, "relu6": nn.functional.relu6,
    "leaky_relu": nn.functional.leaky_relu, "hardswish": nn.functional.hardswish,
    "hardsigmoid": nn.functional.hardsigmoid, "logsigmoid": nn.functional.logsigmoid,
    "tanhshrink": nn.functional.tanhshrink,
}  # fmt: skip


def activation_named(name: str) -> Any:
    """A torch activation by its name.

    Raises:
        FadeoutError: If there is none.
    """
    found = NAMES.get(name.lower()) or getattr(torch, name, None) or getattr(nn.functional, name, None)
    if found is None and isinstance(kind := getattr(nn, name, None), type) and issubclass(kind, nn.Module):
        found = kind()
    if not callable(found):
        raise FadeoutError(
            f"predict: torch has no activation {name!r}; for example {', '.join(list(NAMES)[:8])}, or file.py:function"
        )
    return found


def outlook(
    phi: Any, *, name: str, sigma_w: float, sigma_b: float, depth: int, width: int | None = None
) -> dict[str, Any]:
    """Fixed point, phase, depth scales and the profile over depth of a plain net.

    Args:
        phi: Elementwise activation.
        name: What to call it.
        sigma_w, sigma_b: Weights N(0, sigma_w^2 / fan_in), biases N(0, sigma_b^2).
        depth: Layers, at least 2.
        width: Units a layer, for the band of finite width; None: infinitely wide.
    """
    if depth < 2:
        raise FadeoutError(f"predict: a profile needs at least two layers, got --depth {depth}")
    field = describe_phase(phi, sigma_w=sigma_w, sigma_b=sigma_b)
    path = follow_variance(phi, sigma_w=sigma_w, sigma_b=sigma_b, depth=depth - 1)
    edge = abs(field.chi - 1) < EDGE  # sigma_w typed with eight digits is meant to be critical
    gains = list(path.log_gains)
    profile = [math.fsum(gains[i:]) for i in range(depth)]
    found: dict[str, Any] = {
        "activation": name,
        "sigma_w": sigma_w,
        "sigma_b": sigma_b,
        "q": field.q,
        "chi": field.chi,
        "xi_q": field.xi_q,
        "xi_c": field.xi_c,
        "phase": "critical" if edge else field.phase,
        "trainable_depth": math.inf if edge else field.trainable_depth,
        "decades": path.decades,
        "stable": field.stable,
        "depth": depth,
        "decades_per_layer": field.decades_per_layer,
        "profile": profile,
        "variances": list(path.q),
    }
    if width is not None:
        if width < 1:
            raise FadeoutError(f"predict: a layer has at least one unit, got --width {width}")
        kurtosis = max((k for k in path.kurtosis if math.isfinite(k)), default=1.0)
        spread = band(path.decades, beta=sum_beta([width] * (depth - 1), kurtosis=kurtosis))
        found |= {"width": width, "band": [spread.low, spread.high], "beta": spread.beta}
    return found


def critical_outlook(phi: Any, *, name: str, sigma_b: float | None) -> dict[str, Any]:
    """The critical point, or that there is none and what comes nearest."""
    point = find_critical(phi, sigma_b=sigma_b)
    found = _of_point(phi, name, point)
    found["reason"] = point.reason
    found["nearest"] = _of_point(phi, name, point.nearest) if point.nearest is not None else None
    found["centred"] = (
        {"what": f"{name} - {name}(0)", "sigma_w": point.centred.sigma_w, "sigma_b": point.centred.sigma_b}
        if point.centred is not None
        else None
    )
    return found


def _of_point(phi: Any, name: str, point: Critical) -> dict[str, Any]:
    found: dict[str, Any] = dict.fromkeys(_KEYS)
    found |= {
        "activation": name,
        "sigma_w": point.sigma_w,
        "sigma_b": point.sigma_b,
        "q": point.q,
        "chi": point.chi,
        "stable": point.stable,
    }
    if point.sigma_w is None or point.chi is None:
        return found
    rate = point.chi_par if point.chi_par is not None else math.nan
    critical = abs(point.chi - 1) < 1e-9
    found |= {
        "xi_q": math.inf if abs(rate - 1) < 1e-9 else -1 / math.log(rate) if 0 < rate < 1 else None,
        "phase": "critical" if critical else ("ordered" if point.chi < 1 else "chaotic"),
        "decades": math.log10(point.chi) / 2 if not critical else 0.0,
    }
    if critical:
        found |= {"xi_c": math.inf, "trainable_depth": math.inf}
    else:
        field = describe_phase(phi, sigma_w=point.sigma_w, sigma_b=point.sigma_b)
        found |= {"xi_c": field.xi_c, "trainable_depth": field.trainable_depth}
    return found


def diagram(phi: Any, *, name: str, steps: int = 120, most_w: float = 4.0, most_b: float = 1.0) -> dict[str, Any]:
    """The phase diagram over sigma_w and sigma_b, as nested lists [sigma_b][sigma_w]."""
    columns = [most_w * (i + 1) / steps for i in range(steps)]
    rows = [most_b * i / steps for i in range(steps + 1)]
    found = phase_diagram(phi, sigma_w=columns, sigma_b=rows)
    return {
        "activation": name,
        "sigma_w": columns,
        "sigma_b": rows,
        "chi": [list(row) for row in found.chi],
        "q": [list(row) for row in found.q],
        "phase": [list(row) for row in found.phase],
        "xi": [list(row) for row in found.xi],
        "error": found.error,
    }
