"""Roots: the outermost module that holds an optimizer's parameters, found among the objects that live."""

import gc
from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from fadeout.call import privates

WRAPPERS = ("OptimizedModule", "DistributedDataParallel", "DataParallel", "FullyShardedDataParallel", "_FabricModule")


def modules_alive() -> list[nn.Module]:
    """All modules of the process that are whole.  By their type alone: `isinstance` trips over weak proxies."""
    return [o for o in gc.get_objects() if issubclass(type(o), nn.Module) and "_parameters" in o.__dict__]


def roots_of(parameters: Iterable[Tensor], among: Sequence[nn.Module] | None = None) -> list[nn.Module]:
    """The outermost modules, wrappers included, that hold any of these parameters; those that hold most come first.

    Of several that hold the same ones, such as a wrapper that does not register what it wraps, the first
    alone is kept.
    """
    wanted = {id(p) for p in parameters}
    alive = modules_alive() if among is None else list(among)
    own = {id(m): {id(p) for p in m._parameters.values() if p is not None} & wanted for m in alive}
    inside = {id(c) for m in alive for c in m._modules.values() if c is not None and c is not m}
    found = []
    for module in alive:
        if id(module) in inside:
            continue
        held = set().union(*(own.get(id(m), set()) for m in module.modules()))
        if held:
            found.append((module, held))
    found.sort(key=lambda pair: -len(pair[1]))
    kept: list[nn.Module] = []
    covered: set[int] = set()
    for module, held in found:
        if held - covered:
            kept.append(module)
            covered |= held
    return kept


def compiled_around(module: nn.Module) -> list[nn.Module]:
    """What torch.compile has made of a module."""
    kinds = ((o, o._modules.get(privates.COMPILED)) for o in modules_alive() if type(o).__name__ == "OptimizedModule")
    return [wrapper for wrapper, inner in kinds if inner is module]


def unwrapped(module: nn.Module) -> nn.Module:
    """The user's own module inside DDP, compile and their like."""
    while type(module).__name__ in WRAPPERS:
        inner = next((m for m in module._modules.values() if m is not None), None)
        if inner is None:
            return module
        module = inner
    return module


def narrowed(root: nn.Module, parameters: Sequence[Tensor]) -> nn.Module:
    """The smallest part of a network that holds all these parameters."""
    wanted = {id(p) for p in parameters}
    module = unwrapped(root)
    while wanted:
        inner = next(
            (m for m in module._modules.values() if m is not None and wanted <= {id(p) for p in m.parameters()}), None
        )
        if inner is None:
            break
        module = inner
    return module


def names_of(root: nn.Module, parameters: Sequence[Tensor]) -> list[str]:
    """The name of each parameter in the root; its place where the root does not hold it."""
    known = {id(p): name for name, p in root.named_parameters(remove_duplicate=False)}
    return [known.get(id(p), f"parameter {i}") for i, p in enumerate(parameters)]
