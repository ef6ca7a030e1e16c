"""Horizons of gated and linear recurrences, read off their parameters before any data.

A recurrence s' = a s + .. with factor a a token loses a decade in ln 10 / -ln a tokens.
"""

import math
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call import privates
from fadeout.errors import FadeoutError
from fadeout.probe.recurrent.gate_families import FAMILIES, Family
from fadeout.probe.recurrent.profiles import GateHorizon

_TORCH_RECURRENT = (nn.RNNBase, nn.RNNCellBase)


def gate_horizons(model: nn.Module) -> tuple[GateHorizon, ...]:
    """Tokens to one decade of every gated or linear recurrence in a model, from parameters alone.

    Returns:
        One record a recurrence (a layer and direction, in torch's own), in the order of
        `named_modules`; empty where there is none.

    Raises:
        FadeoutError: Parameters without values (meta device).
    """
    return horizons_of(model.named_modules())


@torch.no_grad()
def horizons_of(modules: Iterable[tuple[str, nn.Module]]) -> tuple[GateHorizon, ...]:
    """The same of modules that are listed already."""
    found = []
    for path, module in modules:
        if type(module).__module__.startswith("torch.nn.") and not isinstance(module, _TORCH_RECURRENT):
            continue  # torch's other layers have no gates over time, and there are many of them
        family = _family(module)
        if family is None:
            continue
        if any(p.is_meta for p in module.parameters()):
            raise FadeoutError(
                f"gate_horizons: the parameters of '{path}' are on the meta device and have no values; "
                "build or load the model on a real device first"
            )
        for part, rate in family.rates(module):
            found.append(_horizon(path, part, family, rate.double().flatten().cpu()))
    return tuple(found)


_KNOWN: dict[Any, Family | None] = {}  # by class and by the names of what a module holds


def _family(module: nn.Module) -> Family | None:
    key = (
        type(module),
        tuple(module.__dict__),
        tuple(privates.parameters(module)),
        tuple(privates.buffers(module)),
        tuple(
            (name, type(child), len(privates.children(child)))
            for name, child in privates.children(module).items()
            if child is not None
        ),
    )
    if key not in _KNOWN:
        _KNOWN[key] = next((f for f in FAMILIES if f.fits(module)), None)
    return _KNOWN[key]


def _horizon(path: str, part: str, family: Family, rate: Tensor) -> GateHorizon:
    stuck = ~(rate > 0) | rate.isinf()
    rate = torch.where(rate.isnan(), math.inf, rate)
    tokens = math.log(10.0) / rate  # inf: never forgets; 0: keeps nothing
    moving = tokens[~stuck]
    return GateHorizon(
        path=path,
        part=part,
        family=family.name,
        median=float(tokens.quantile(0.5)) if bool(tokens.isfinite().all()) else float(tokens.median()),
        slowest=float((moving if len(moving) else tokens).max()),
        pooled=_pooled(rate),
        heads=len(rate),
        stuck=int(stuck.sum()),
        formula=family.formula,
        source=family.source,
    )


def _pooled(rate: Tensor) -> float:
    """Lag k with mean(a^2k) = 1/100, by bisection."""

    def left(k: float) -> float:
        return float(torch.exp(-2.0 * k * rate).nan_to_num(nan=0.0).mean())

    if float((rate == 0).double().mean()) >= 0.01:
        return math.inf
    if not bool(rate.isfinite().any()) or left(1e-9) <= 0.01:
        return 0.0
    low, high = 0.0, 1.0
    while left(high) > 0.01:
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if left(middle) > 0.01 else (low, middle)
    return high
