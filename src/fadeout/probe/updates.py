"""Updates: the change the optimizer's next step would make, layer by layer, without taking it.

torch's own optimizers step on stand-ins: clones of the parameters, or of regular samples of them where
they treat elements one by one, all in one call.  Any other optimizer steps once on a copy of itself and
of the parameters, made with one memo, or not at all: nothing of the user's is ever handed to it.
"""

import copy
import inspect
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.optimizer import _global_optimizer_post_hooks, _global_optimizer_pre_hooks

from fadeout.probe.isolate import Isolation
from fadeout.probe.norms import norm, read

SAMPLE = 1 << 14  # elements of a matrix on which an elementwise optimizer is tried
LARGE = 1 << 26  # elements of all parameters from which no copy of them is made for one number a layer
_ELEMENTWISE = frozenset("SGD Adam AdamW NAdam RAdam Adamax RMSprop Adagrad Adadelta ASGD Rprop SparseAdam".split())
_ALONE = frozenset({"Adafactor", "Muon"})  # a matrix at a time, with no state beside the parameter's


def optimizers_in(value: Any, *, depth: int = 2) -> list[Optimizer]:
    """The torch optimizers behind what a user calls the optimizer: itself, in a list or dict, inside a wrapper.

    A wrapper shares its groups with the optimizer inside (Accelerate's) or holds one as an attribute.
    """
    if isinstance(value, (list, tuple)):
        return [found for item in value for found in optimizers_in(item, depth=depth)]
    if isinstance(value, Mapping):
        return [found for item in value.values() for found in optimizers_in(item, depth=depth)]
    held = [_attribute(value, name) for name in ("optimizer", "_optimizer", "optim", "base")]
    inner = [o for o in held if isinstance(o, Optimizer)]
    if isinstance(value, Optimizer):
        shared = next((o for o in inner if o.param_groups is value.param_groups), None)
        return [shared if shared is not None and type(value).step is not type(shared).step and _thin(value) else value]
    return inner[:1]


def _thin(wrapper: Optimizer) -> bool:
    """Whether a wrapper only hands on: it has no groups of its own."""
    return isinstance(getattr(type(wrapper), "param_groups", None), property)


def _attribute(value: Any, name: str) -> Any:
    return vars(value).get(name) if hasattr(value, "__dict__") else None


def update_ratios(
    optimizer: Optimizer, gradients: Iterable[tuple[Tensor, Tensor | None]], *, sizes: Mapping[int, float]
) -> tuple[dict[int, float], str]:
    """rms of the next update over rms of the parameter, for each parameter by its id.

    Elementwise optimizers step on a regular sample of a large matrix (relative error of the rms below 1 %).

    Args:
        optimizer: The one in use; its state and options are read.
        gradients: Pairs of parameter and gradient.
        sizes: Norm of each parameter by its id.

    Returns:
        The ratios (inf where the parameter is all zero and moves), and why some are missing.
    """
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    pairs = list(gradients)
    ratios: dict[int, float] = {id(p): 0.0 for p, g in pairs if g is None and id(p) in held}
    why = "" if all(id(p) in held for p, _ in pairs) else "some parameters are in no group of the optimizer"
    given = [(p, g) for p, g in pairs if g is not None and id(p) in held]
    try:
        with torch.no_grad(), _unseen():
            moved = _moved(optimizer, given)
    except Exception as error:  # the optimizer's own code: a closure that it needs, fused state, sparse-only
        return ratios, f"{type(optimizer).__name__} can't step on a copy: {type(error).__name__}"
    if moved is None:
        return ratios, f"{type(optimizer).__name__} is not torch's own, and the parameters are too many to copy"
    for (p, _), change, length in zip(given, moved, read([norm(m) for m in moved]), strict=True):
        update, size = (p.numel() / max(1, change.numel())) ** 0.5 * length, sizes[id(p)]
        ratios[id(p)] = update / size if size > 0 else (float("inf") if update > 0 else 0.0)
    return ratios, why


def _moved(optimizer: Optimizer, given: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor] | None:
    """What the next step adds to each parameter, or to a sample of it; None where that is not measured."""
    kind = type(optimizer)
    own = kind is getattr(torch.optim, kind.__name__, None)
    if own and kind.__name__ in _ELEMENTWISE:
        return _by_stand_in(optimizer, given, sample=SAMPLE)
    if own and kind.__name__ in _ALONE:
        return _by_stand_in(optimizer, given, sample=0)
    if sum(p.numel() for group in optimizer.param_groups for p in group["params"]) > LARGE:
        return None
    return _by_copy(optimizer, given)


def _by_stand_in(optimizer: Optimizer, given: Sequence[tuple[Tensor, Tensor]], *, sample: int) -> list[Tensor]:
    """One step of a stand-in of torch's own class, which holds nothing but clones."""

    def part(tensor: Tensor, every: int) -> Tensor:
        whole = tensor.detach()
        return whole.reshape(-1)[::every].clone() if every > 1 else whole.clone()

    clones: dict[int, Tensor] = {}
    before: list[Tensor] = []
    state: dict[Tensor, dict[str, Any]] = {}
    for p, gradient in given:
        every = max(1, -(-p.numel() // sample)) if sample and gradient.layout == torch.strided else 1
        start = part(p, every)
        clone = clones[id(p)] = start.clone()
        clone.grad = part(gradient, every).to(clone.dtype)
        before.append(start)
        known = optimizer.state.get(p)
        if known:
            state[clone] = {
                name: (part(value, every) if value.shape == p.shape else value.clone())
                if isinstance(value, Tensor)
                else copy.deepcopy(value)
                for name, value in known.items()
            }
    stand_in = type(optimizer).__new__(type(optimizer))
    groups = [
        {**group, "params": [clones[id(p)] for p in group["params"] if id(p) in clones]}
        for group in optimizer.param_groups
    ]
    stand_in.__setstate__({"defaults": optimizer.defaults, "state": _Fresh(state), "param_groups": groups})
    inspect.unwrap(type(optimizer).step)(stand_in)  # without the global hooks that watch real steps
    return [clones[id(p)] - start for (p, _), start in zip(given, before, strict=True)]


class _Fresh(dict[Tensor, dict[str, Any]]):
    """State by parameter, empty where there is none yet."""

    def __missing__(self, key: Tensor) -> dict[str, Any]:
        found: dict[str, Any] = {}
        self[key] = found
        return found


def _by_copy(optimizer: Optimizer, given: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """One step of a whole copy: of the optimizer, everything it holds, and all of its parameters."""
    isolation = Isolation(verb="examine")
    twin = isolation.copied(optimizer)
    copies = [isolation.memo[id(p)] for p, _ in given]
    for group in twin.param_groups:
        for p in group["params"]:
            p.grad = None
    for clone, (p, gradient) in zip(copies, given, strict=True):
        clone.grad = gradient.detach().clone().to(p.dtype)
    inspect.unwrap(type(twin).step)(twin)
    return [clone.detach() - p.detach() for clone, (p, _) in zip(copies, given, strict=True)]


@contextmanager
def _unseen() -> Iterator[None]:
    """Global hooks that watch real optimizer steps stay out of it."""
    tables: list[dict[int, Any]] = [_global_optimizer_pre_hooks, _global_optimizer_post_hooks]
    kept = [dict(table) for table in tables]
    for table in tables:
        table.clear()
    try:
        yield
    finally:
        for table, own in zip(tables, kept, strict=True):
            table.update(own)
