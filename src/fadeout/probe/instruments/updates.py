"""Updates: the change the optimizer's next step would make, layer by layer, without taking it.

torch's own elementwise optimizers step on a stand-in that holds regular samples of all parameters in a
few long vectors.  Any other optimizer steps once on a copy of itself and of the parameters, made with
one memo, or not at all: nothing of the user's is ever handed to it.
"""

import copy
import inspect
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from fadeout.call import privates
from fadeout.call.isolate import Isolation
from fadeout.probe.account.norms import lengths, stride
from fadeout.probe.instruments.several import Several
from fadeout.probe.later import Answer, Later

SAMPLE = 1 << 14  # elements of a matrix on which an elementwise optimizer is tried
LARGE = 1 << 26  # elements of all parameters from which no copy of them is made for one number a layer
_ELEMENTWISE = frozenset("SGD Adam AdamW NAdam RAdam Adamax RMSprop Adagrad Adadelta ASGD Rprop SparseAdam".split())


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


@dataclass(slots=True)
class Asked:
    """Updates that were measured, still on their device.

    Attributes:
        given: The parameters.
        sampled: Of each, how many elements were stepped on.
        answer: The norms of the updates; None where the step could not be taken.
        still: Parameters that receive no gradient: no update.
        why: Why some are missing.
    """

    given: list[Tensor]
    sampled: list[int]
    answer: Answer | None
    still: set[int]
    why: str

    def ratios(self, sizes: Mapping[int, float]) -> tuple[dict[int, float], str]:
        """rms of the next update over rms of the parameter, for each parameter by its id; why some are missing.

        inf where the parameter is all zero and moves.

        Args:
            sizes: Norm of each parameter by its id.
        """
        found = dict.fromkeys(self.still, 0.0)
        values = self.answer.values if self.answer is not None else ()
        for p, count, length in zip(self.given, self.sampled, values, strict=False):
            update, size = (p.numel() / max(1, count)) ** 0.5 * length, sizes[id(p)]
            found[id(p)] = update / size if size > 0 else (float("inf") if update > 0 else 0.0)
        return found, self.why


def ask_updates(optimizer: Optimizer, gradients: Iterable[tuple[Tensor, Tensor | None]], later: Later) -> Asked:
    """Ask for the change that the next step makes to each parameter.

    Elementwise optimizers step on a regular sample of a large matrix (relative error of the rms below 1 %).

    Args:
        optimizer: The one in use; its state and options are read.
        gradients: Pairs of parameter and gradient.
    """
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    pairs = list(gradients)
    still = {id(p) for p, g in pairs if g is None and id(p) in held}
    why = "" if all(id(p) in held for p, _ in pairs) else "some parameters are in no group of the optimizer"
    given = [(p, g) for p, g in pairs if g is not None and id(p) in held]
    parameters = [p for p, _ in given]
    if not given:
        return Asked([], [], None, still, why)
    try:
        with torch.no_grad(), _unseen():
            moved = _moved(optimizer, given)
            if moved is None:
                why = f"{type(optimizer).__name__} is not torch's own, and the parameters are too many to copy"
                return Asked([], [], None, still, why)
            return Asked(parameters, [m.numel() for m in moved], later.ask(lengths(moved)), still, why)
    except Exception as error:  # the optimizer's own code: a closure that it needs, fused state, sparse-only
        return Asked([], [], None, still, f"{type(optimizer).__name__} can't step on a copy: {type(error).__name__}")


def _moved(optimizer: Optimizer, given: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor] | None:
    """What the next step adds to each parameter, or to a sample of it; None where that is not measured."""
    if isinstance(optimizer, Several):
        return _by_each(optimizer, given)
    kind = type(optimizer)
    own = kind is getattr(torch.optim, kind.__name__, None)
    if own and kind.__name__ in _ELEMENTWISE and all(g.layout == torch.strided for _, g in given):
        return _by_stand_in(optimizer, given)
    if sum(p.numel() for group in optimizer.param_groups for p in group["params"]) > LARGE:
        return None
    return _by_copy(optimizer, given)


def _by_each(together: Several, given: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor] | None:
    """Of every parameter, what the first optimizer that holds it does."""
    found: dict[int, Tensor] = {}
    for optimizer in together.members:
        held = {id(p) for group in optimizer.param_groups for p in group["params"]} - found.keys()
        own = [(p, g) for p, g in given if id(p) in held]
        moved = _moved(optimizer, own) if own else []
        if moved is None:
            return None
        found |= {id(p): change for (p, _), change in zip(own, moved, strict=True)}
    return [found[id(p)] for p, _ in given]


def _by_stand_in(optimizer: Optimizer, given: Sequence[tuple[Tensor, Tensor]]) -> list[Tensor]:
    """One step of a stand-in of torch's own class, elementwise: samples of all parameters in a few long vectors."""
    groups = {id(p): n for n, group in enumerate(optimizer.param_groups) for p in group["params"]}
    buckets: dict[Any, list[int]] = {}
    states: list[dict[str, Any]] = []
    for n, (p, _) in enumerate(given):
        state = optimizer.state.get(p) or {}
        states.append(state)
        alike = tuple(  # numbers beside the moments: how many steps were taken
            (name, float(value) if isinstance(value, Tensor) else value)
            for name, value in sorted(state.items())
            if not isinstance(value, Tensor) or value.shape != p.shape
        )
        buckets.setdefault((groups[id(p)], p.dtype, p.device, tuple(sorted(state)), alike), []).append(n)
    stand_in = type(optimizer).__new__(type(optimizer))
    placed: list[tuple[list[int], Tensor, Tensor, list[int]]] = []
    held: dict[Tensor, dict[str, Any]] = {}
    made: list[dict[str, Any]] = [{**group, "params": []} for group in optimizer.param_groups]
    for (group, *_), members in buckets.items():
        every = [max(1, stride(given[n][0].numel(), SAMPLE)) for n in members]

        def joined(tensors: Iterable[Tensor], every: Sequence[int] = every) -> Tensor:
            flat = [t.detach().reshape(-1) for t in tensors]
            return torch.cat([t[::k] if k > 1 else t for t, k in zip(flat, every, strict=True)])

        start = joined(given[n][0] for n in members)
        flat = start.clone()
        flat.grad = joined(given[n][1] for n in members).to(flat.dtype)
        first = states[members[0]]
        if first:
            held[flat] = {
                name: joined(states[n][name] for n in members)
                if isinstance(value, Tensor) and value.shape == given[members[0]][0].shape
                else (value.clone() if isinstance(value, Tensor) else copy.deepcopy(value))
                for name, value in first.items()
            }
        made[group]["params"].append(flat)
        counts = [-(-given[n][0].numel() // k) for n, k in zip(members, every, strict=True)]
        placed.append((members, start, flat, counts))
    stand_in.__setstate__({"defaults": optimizer.defaults, "state": _Fresh(held), "param_groups": made})
    inspect.unwrap(type(optimizer).step)(stand_in)  # without the global hooks that watch real steps
    moved: list[Tensor] = [given[0][0]] * len(given)
    for members, start, flat, counts in placed:
        for n, part in zip(members, torch.split(flat - start, counts), strict=True):
            moved[n] = part
    return moved


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
    """Global hooks that watch real optimizer steps stay out of it; steps of other threads they still see."""
    tables: list[dict[int, Any]] = list(privates.optimizer_hook_tables())
    kept = [dict(table) for table in tables]
    here = threading.get_ident()
    for table in tables:
        table.update({key: _elsewhere(hook, here) for key, hook in table.items()})
    try:
        yield
    finally:
        for table, own in zip(tables, kept, strict=True):
            table.update({key: hook for key, hook in own.items() if key in table})


def _elsewhere(hook: Callable[..., Any], here: int) -> Callable[..., Any]:
    def run(*args: Any, **kwargs: Any) -> Any:
        return hook(*args, **kwargs) if threading.get_ident() != here else None

    return run
