"""Updates: the change the optimizer's next step would make, layer by layer, without taking it."""

import copy
import inspect
from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor
from torch.optim import Optimizer

from fadeout.probe.norms import norm, read

SAMPLE = 1 << 14  # elements of a matrix on which an elementwise optimizer is tried
_ELEMENTWISE = frozenset("SGD Adam AdamW NAdam RAdam Adamax RMSprop Adagrad Adadelta ASGD Rprop SparseAdam".split())


def update_ratios(
    optimizer: Optimizer, gradients: Iterable[tuple[Tensor, Tensor | None]], *, sizes: Mapping[int, float]
) -> tuple[dict[int, float], str]:
    """rms of the next update over rms of the parameter, for each parameter by its id.

    The optimizer's own `step` runs on a stand-in that holds one parameter's clone, a copy of
    its state and its group's options, so every torch optimizer is covered by its own code and
    nothing of the original is touched.  Optimizers that treat elements one by one step on a
    regular sample of a large matrix (relative error of the rms below 1 %).

    Args:
        optimizer: The one in use; its state and options are read.
        gradients: Pairs of parameter and gradient.
        sizes: Norm of each parameter by its id.

    Returns:
        The ratios (inf where the parameter is all zero and moves), and why some are missing.
    """
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    ratios: dict[int, float] = {}
    single = type(optimizer).__module__.startswith("torch.optim") and type(optimizer).__name__ in _ELEMENTWISE
    keys: list[int] = []
    factors: list[float] = []
    updates: list[Tensor] = []
    why = ""
    for parameter, gradient in gradients:
        group = groups.get(id(parameter))
        if group is None or gradient is None:
            if group is None:
                why = "some parameters are in no group of the optimizer"
            elif gradient is None:
                ratios[id(parameter)] = 0.0
            continue
        try:
            every = max(1, -(-parameter.numel() // SAMPLE)) if single else 1
            moved = _next(optimizer, group, parameter, gradient, every=every)
        except Exception as error:  # the optimizer's own code: closures (LBFGS), fused state, sparse-only
            why = f"{type(optimizer).__name__} can't step on one parameter alone: {type(error).__name__}"
            continue
        keys.append(id(parameter))
        factors.append((parameter.numel() / max(1, moved.numel())) ** 0.5)
        updates.append(norm(moved))
    for key, factor, length in zip(keys, factors, read(updates), strict=True):
        update, size = factor * length, sizes[key]
        ratios[key] = update / size if size > 0 else (float("inf") if update > 0 else 0.0)
    return ratios, why


@torch.no_grad()
def _next(optimizer: Optimizer, group: dict[str, object], parameter: Tensor, gradient: Tensor, *, every: int) -> Tensor:
    def part(tensor: Tensor) -> Tensor:
        whole = tensor.detach()
        return whole.reshape(-1)[::every].clone() if every > 1 else whole.clone()

    before = part(parameter)
    clone = before.clone()
    clone.grad = part(gradient).to(clone.dtype)
    stand_in = object.__new__(type(optimizer))
    stand_in.__dict__.update(optimizer.__dict__)
    for name, value in optimizer.__dict__.items():
        if isinstance(value, OrderedDict) and "hook" in name:
            stand_in.__dict__[name] = OrderedDict()
    stand_in.param_groups = [{**group, "params": [clone]}]
    stand_in.state = defaultdict(dict)
    state = optimizer.state.get(parameter)
    if state:
        stand_in.state[clone] = {
            name: (part(value) if value.shape == parameter.shape else value.clone())
            if isinstance(value, Tensor)
            else copy.deepcopy(value)
            for name, value in state.items()
        }
    inspect.unwrap(type(optimizer).step)(stand_in)  # without the global hooks that watch real steps
    return clone - before
