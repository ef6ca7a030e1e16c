"""Fingerprints: everything reachable from some objects, to be held against itself later."""

import contextlib
import random
from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

DEPTH = 7


def fingerprint(*things: Any) -> list[tuple[Any, ...]]:
    """Values, identities and gradients of all tensors, plain values, sizes of containers, states of generators."""
    found: list[tuple[Any, ...]] = []
    seen: set[int] = set()
    kept: list[Any] = []  # so that no id is used again

    def look(value: Any, path: str, depth: int) -> None:
        if isinstance(value, (bool, int, float, str, bytes, type(None))):
            found.append((path, repr(value)))
            return
        if id(value) in seen or depth > DEPTH:
            return
        seen.add(id(value))
        kept.append(value)
        if isinstance(value, Tensor):
            dense = value.detach()
            dense = dense.to_dense() if dense.layout != torch.strided else dense
            grad = value.grad.clone() if value.is_leaf and value.grad is not None else None
            found.append((path, dense.clone(), id(value), value.requires_grad, value.layout, grad))
            look(vars(value), f"{path}.__dict__", depth + 1)
            for hooks in ("_backward_hooks", "_post_accumulate_grad_hooks"):
                found.append((path, hooks, len(getattr(value, hooks, None) or ())))
        elif isinstance(value, (dict, OrderedDict)):
            found.append((path, len(value), sorted(map(str, value))))
            for key, item in value.items():
                look(item, f"{path}.{key if isinstance(key, (str, int)) else type(key).__name__}", depth + 1)
        elif isinstance(value, (list, tuple, set, deque)):
            found.append((path, type(value).__name__, len(value)))
            for n, item in enumerate(value):
                look(item, f"{path}[{n}]", depth + 1)
        elif isinstance(value, torch.Generator):
            found.append((path, value.get_state().clone()))
        elif isinstance(value, np.random.Generator):
            found.append((path, str(value.bit_generator.state)))
        elif isinstance(value, random.Random):
            found.append((path, str(value.getstate())))
        elif isinstance(value, np.ndarray):
            found.append((path, value.tobytes()))
        elif callable(value) and getattr(value, "__closure__", None):
            for cell in value.__closure__:
                look(cell.cell_contents, f"{path}.cell", depth + 1)
        if hasattr(value, "__dict__") and not isinstance(value, (type, Tensor)):
            look(vars(value), path, depth + 1)

    found.append(("torch", torch.get_rng_state().clone()))
    found += [("numpy", str(np.random.get_state())), ("random", str(random.getstate()))]
    for n, thing in enumerate(things):
        look(thing, str(n), 0)
    return found


def difference(before: list[tuple[Any, ...]], after: list[tuple[Any, ...]]) -> str:
    """Path of the first thing that is not as it was; "" where all is."""
    for one, other in zip(before, after, strict=False):
        if one[0] != other[0] or len(one) != len(other):
            return f"{one[0]} became {other[0]}"
        for a, b in zip(one[1:], other[1:], strict=True):
            if isinstance(a, Tensor) and isinstance(b, Tensor):
                if a.shape != b.shape or not torch.equal(a.nan_to_num(7.0), b.nan_to_num(7.0)):
                    return str(one[0])
            elif isinstance(a, Tensor) != isinstance(b, Tensor) or a != b:
                return f"{one[0]}: {a} became {b}"
    return "" if len(before) == len(after) else f"{len(before)} things became {len(after)}"


def untouched(act: Callable[[], object], *things: Any) -> str:
    """What an action changed; whatever it raised is let go."""
    before = fingerprint(*things)
    with contextlib.suppress(Exception):  # an outcome like any other
        act()
    return difference(before, fingerprint(*things))
