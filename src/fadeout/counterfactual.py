"""Counterfactuals: would the far end recover, if one thing were different?  Measured, not argued.

Two ways.  *Replay*: the same backward on the same graph with one kind's factor replaced by 1
(`probe.replay`); in a plain chain it repeats the account, where paths join it can refute it.
*Copy*: the network re-initialised, or with another activation, run forward and backward once;
what backward alone can't tell - weights too small, or slopes too small - it settles.
"""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from fadeout.call.batch import Closure
from fadeout.errors import FadeoutError
from fadeout.probe.guard import Guard
from fadeout.probe.passes import Observer
from fadeout.probe.replay import WithoutFactor
from fadeout.probe.session import Session
from fadeout.records import Cause, Evidence, Finding, Kind

CONFIRMED = 2 / 3  # of the decades lost that a counterfactual brings back
REFUTED = 1 / 3
BLOWN_UP = 3.0  # decades: a copy that explodes proves nothing
_CURVES = frozenset("sigmoid sigmoid_ tanh tanh_ hardsigmoid hardtanh softsign logsigmoid softplus".split())


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What a counterfactual runs on: the user's network and one closure of it.

    Attributes:
        trunk: Paths of the weight layers whose account is in question.
    """

    model: nn.Module
    closure: Closure
    within: str | None
    autocast: torch.dtype | bool | None
    trunk: frozenset[str] = frozenset()


def can_confirm(finding: Finding) -> bool:
    """Whether there is a cause that a counterfactual can test: that of an alarm of vanishing."""
    tested = finding.code == "FO101" and finding.level == "alarm"
    return tested and bool(finding.cause) and math.isfinite(finding.decades)


def confirm(finding: Finding, bench: Bench, *, activations: frozenset[str]) -> Finding:
    """The finding with its cause confirmed or refuted where a counterfactual could say.

    Args:
        activations: Names of the activations in use.
    """
    kind = finding.cause[0].kind
    copied = _by_copy(finding, bench, kind, activations)
    if copied is not None:
        return copied
    left = replayed(bench, kind)
    return _judged(finding, left, f"decades with {_KIND_WORDS.get(kind, kind)} replaced by 1", confirms=False)


_KIND_WORDS: dict[Kind, str] = {"slope": "every slope", "weight": "every weight's gain", "norm": "every norm's gain"}


def replayed(bench: Bench, kind: Kind) -> float:
    """`decades` of the same backward with one kind's factors replaced by 1; nan where it can't be said."""
    observer = WithoutFactor(kind)
    return _decades(bench.model, bench, observer) if kind in ("slope", "weight", "norm") else math.nan


def _by_copy(finding: Finding, bench: Bench, kind: Kind, activations: frozenset[str]) -> Finding | None:
    """The cheap real thing: re-initialised weights, and if slopes are blamed another activation."""
    curved = bool(activations & _CURVES)
    gain = math.sqrt(2.0) if not curved else 5.0 / 3.0
    fresh = reinitialised(bench, gain=gain)
    if kind == "weight":
        return _judged(finding, fresh, "decades of a re-initialised copy", confirms=True)
    if kind == "slope" and curved:
        swapped = reinitialised(bench, gain=math.sqrt(2.0), swap=True)
        back = _recovered(finding, fresh)
        if back >= CONFIRMED:  # new weights alone do it: the slopes were their doing
            rest = tuple(c for c in finding.cause if c.kind not in ("weight", kind))
            other = replace(finding, cause=(Cause(kind="weight", share=min(1.0, back)), *rest), status="confirmed")
            return _with(other, fresh, "decades of a re-initialised copy, same activation")
        return _judged(finding, swapped, "decades of a copy with ReLU and He initialisation", confirms=True)
    return None


def reinitialised(bench: Bench, *, gain: float, swap: bool = False) -> float:
    """`decades` of a copy whose linear and convolutional weights are drawn anew; nan where it can't be made.

    Args:
        gain: Of N(0, gain^2 / fan_in): sqrt 2 for rectifiers (He et al. 2015), 5/3 for tanh.
        swap: ReLU instead of every sigmoid, tanh and their like.
    """
    try:
        model = copy.deepcopy(bench.model)
    except Exception:  # user code: __deepcopy__ can raise anything
        return math.nan
    draw = torch.Generator().manual_seed(0)
    drawn = set()
    with torch.no_grad():
        for path, module in model.named_modules():
            weight = getattr(module, "weight", None)
            plain = isinstance(module, (nn.Linear, nn.modules.conv._ConvNd)) and isinstance(weight, nn.Parameter)
            if plain and isinstance(weight, Tensor) and "weight" in module._parameters:
                turned = isinstance(module, nn.modules.conv._ConvTransposeNd)
                fan_in = (weight[:, 0] if turned else weight[0]).numel()
                drawn.add(path)
                noise = torch.randn(weight.shape, generator=draw) * (gain / math.sqrt(max(1, fan_in)))
                weight.copy_(noise.to(weight))
                if module.bias is not None:
                    module.bias.zero_()
    if not bench.trunk <= drawn:  # weights that a copy can't draw anew prove nothing
        return math.nan
    if not swap:
        return _decades(model, bench, None)
    run = bench.closure.run

    def swapped(m: nn.Module) -> Tensor:
        with _Rectified():
            return run(m)

    return _decades(model, replace(bench, closure=replace(bench.closure, run=swapped)), None)


class _Rectified(TorchFunctionMode):
    """ReLU instead of every curve, module or function, while a copy runs."""

    def __torch_function__(self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = getattr(func, "__name__", "")
        if name in _CURVES:
            given = args[0] if args else (kwargs or {})["input"]
            return torch.relu_(given) if name.endswith("_") else functional.relu(given)
        return func(*args, **(kwargs or {}))


def _decades(model: nn.Module, bench: Bench, observer: Observer | None) -> float:
    try:
        with (
            Guard([]),
            Session(
                model,
                None,
                loss=None,
                step=bench.closure.run,
                within=bench.within,
                autocast=bench.autocast,
                verb="examine",
            ) as session,
        ):
            first = session.take(*([] if observer is None else [observer]))
            return session.ledger(session.widen(first)).decades
    except (FadeoutError, RuntimeError, ValueError, TypeError):  # the changed network does not run
        return math.nan


def _recovered(finding: Finding, left: float) -> float:
    """Part of the lost decades that came back, 0 to 1."""
    if math.isnan(left) or not finding.decades < 0 or left > BLOWN_UP:
        return math.nan
    return 1.0 - left / finding.decades if left < 0 else 1.0


def _judged(finding: Finding, left: float, name: str, *, confirms: bool) -> Finding:
    back = _recovered(finding, left)
    if math.isnan(back):
        return finding
    status = finding.status
    if back >= CONFIRMED and confirms:
        status = "confirmed"
    elif back < REFUTED:
        status = "refuted"
    return _with(replace(finding, status=status), left, name)


def _with(finding: Finding, left: float, name: str) -> Finding:
    if math.isnan(left):
        return finding
    return replace(
        finding,
        evidence=(*finding.evidence, Evidence(name=name, value=left, bound=math.nan, unit="decades")),
    )


__all__ = ["Bench", "confirm", "reinitialised", "replayed"]
