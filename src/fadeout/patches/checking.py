"""A check: whether a patched program builds the network that the treatment made."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call import batch as batches
from fadeout.call.case import seeded
from fadeout.patches.program import Program

Examine = Callable[[Any], tuple[str, float]]
_ROUNDING = 1e-2  # of numbers in edits, which have four digits
_HOLDERS = (nn.Sequential, nn.ModuleList, nn.ModuleDict, nn.Identity)


def parts_of(model: nn.Module, known: frozenset[str]) -> list[tuple[str, tuple[tuple[int, ...], ...]]]:
    """Class and shapes of weights of every module in order, without what only holds or wraps others.

    Args:
        known: Names of classes of the untreated network; what is neither these nor torch's is a wrap.
    """
    parts = []
    for module in model.modules():
        kind = type(module)
        wrap = not kind.__module__.startswith("torch.") and kind.__name__ not in known
        if not isinstance(module, _HOLDERS) and not wrap:
            parts.append((kind.__name__, tuple(tuple(p.shape) for p in module.parameters(recurse=False))))
    return parts


def differs(user: nn.Module, patched: Program, treated: nn.Module, optimizer: Any) -> str:
    """What the patched program builds otherwise; "" where it is the same.

    Args:
        user: The network as the user's source makes it.
        optimizer: That of the treated network, where the patch is about it.
    """
    known = frozenset(type(m).__name__ for m in user.modules())
    wanted, found = (Counter(parts_of(m, known)) for m in (treated, patched.model))
    if wanted != found:
        return f"the patched program {_difference(wanted, found)}"
    return _optimizers(optimizer, patched.optimizer) if optimizer is not None and patched.optimizer is not None else ""


def other_outputs(treated: nn.Module, patched: Program) -> str:
    """Whether the outputs differ once the weights are the same; the patched network gets those of the other."""
    gap = _gap(treated, patched) if patched.batch is not None else None
    if gap is None or gap <= _ROUNDING:
        return ""
    return f"on the same weights the patched program gives other outputs (they differ by {gap:.2g} of their size)"


def _difference(wanted: Counter[Any], found: Counter[Any]) -> str:
    lacks, extra = (sorted({kind for kind, _ in c}) for c in (wanted - found, found - wanted))
    if lacks and lacks == extra:
        return f"has another number or other sizes of {', '.join(lacks)} than the treated network"
    said = [f"lacks {', '.join(lacks)} of the treated network"] if lacks else []
    return " and ".join(said + ([f"has {', '.join(extra)} too many"] if extra else []))


def _optimizers(wanted: Any, found: Any) -> str:
    if type(wanted) is not type(found):
        return f"the patched program makes {type(found).__name__}, not {type(wanted).__name__}"
    rates = [sorted({float(g["lr"]) for g in o.param_groups}) for o in (wanted, found)]
    same = len(rates[0]) == len(rates[1])
    if not (same and all(math.isclose(a, b, rel_tol=1e-6) for a, b in zip(*rates, strict=True))):
        return f"the patched program trains at rate {rates[1]}, not {rates[0]}"
    return ""


def _gap(treated: nn.Module, patched: Program) -> float | None:
    """Relative difference of the outputs once the weights are the same; None where that can't be asked."""
    ours = [*patched.model.parameters(), *patched.model.buffers()]
    theirs = [*treated.parameters(), *treated.buffers()]
    if [t.shape for t in ours] != [t.shape for t in theirs]:
        return None
    modes = [(m, m.training) for m in treated.modules()]
    try:
        data = batches.parse(patched.batch, verb="patch")
        with torch.no_grad(), seeded(0):
            for mine, its in zip(ours, theirs, strict=True):
                mine.copy_(its)
            patched.model.eval()
            treated.eval()
            outputs = [list(batches.tensors(_plain(batches.call(m, data)))) for m in (treated, patched.model)]
    except Exception:  # a batch that needs the user's own loop: the exam decides
        return None
    finally:
        for module, mode in modes:
            module.training = mode
    if len(outputs[0]) != len(outputs[1]) or any(a.shape != b.shape for a, b in zip(*outputs, strict=True)):
        return math.inf
    return max((_relative(a, b) for a, b in zip(*outputs, strict=True)), default=0.0)


def _plain(output: Any) -> Any:
    return list(output.values()) if hasattr(output, "values") and not isinstance(output, Tensor) else output


def _relative(a: Tensor, b: Tensor) -> float:
    if not a.is_floating_point():
        return 0.0
    gap = (a.double() - b.double()).norm() / a.double().norm().clamp_min(1e-30)
    return float(gap) if torch.isfinite(a).all() else 0.0


def far(wanted: tuple[str, float], found: Sequence[tuple[str, float]], tolerance: float) -> str:
    """What the exams of the patched program say otherwise: most of several draws must agree; "" where they do."""
    near = [e for e in found if e[0] == wanted[0] and _near(wanted[1], e[1], tolerance)]
    if 2 * len(near) > len(found):
        return ""
    verdict, decades = found[0]
    return (
        f"the exam of the patched program says {verdict} with {decades:+.1f} decades, "
        f"that of the treated network {wanted[0]} with {wanted[1]:+.1f}"
    )


def _near(a: float, b: float, tolerance: float) -> bool:
    return a == b or abs(a - b) <= max(tolerance, 0.25 * abs(a)) or (math.isnan(a) and math.isnan(b))
