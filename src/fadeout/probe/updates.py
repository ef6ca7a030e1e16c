"""Updates: the change the optimizer's next step would make, layer by layer, without taking it."""

import copy
from collections import OrderedDict, defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.optim import Optimizer


def update_ratios(
    optimizer: Optimizer, gradients: Iterable[tuple[Tensor, Tensor | None]]
) -> tuple[dict[int, float], str]:
    """rms of the next update over rms of the parameter, for each parameter by its id.

    The optimizer's own `step` runs on a stand-in that holds one parameter's clone, a copy of
    its state and its group's options, so every torch optimizer is covered by its own code and
    nothing of the original is touched.

    Args:
        optimizer: The one in use; its state and options are read.
        gradients: Pairs of parameter and gradient.

    Returns:
        The ratios (inf where the parameter is all zero and moves), and why some are missing.
    """
    groups = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    ratios: dict[int, float] = {}
    keys: list[int] = []
    pairs: list[Tensor] = []
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
            moved = _next(optimizer, group, parameter, gradient)
        except Exception as error:  # the optimizer's own code: closures (LBFGS), fused state, sparse-only
            why = f"{type(optimizer).__name__} can't step on one parameter alone: {type(error).__name__}"
            continue
        keys.append(id(parameter))
        pairs.append(torch.linalg.vector_norm(moved.float(), dtype=torch.float64))
        pairs.append(torch.linalg.vector_norm(parameter.detach().float(), dtype=torch.float64))
    values = torch.stack(pairs).tolist() if pairs else []
    for n, key in enumerate(keys):
        update, size = values[2 * n], values[2 * n + 1]
        ratios[key] = update / size if size > 0 else (float("inf") if update > 0 else 0.0)
    return ratios, why


@torch.no_grad()
def _next(optimizer: Optimizer, group: dict[str, object], parameter: Tensor, gradient: Tensor) -> Tensor:
    clone = parameter.detach().clone()
    clone.grad = gradient.detach().to(clone.dtype)
    stand_in = object.__new__(type(optimizer))
    stand_in.__dict__.update(optimizer.__dict__)
    for name, value in optimizer.__dict__.items():
        if isinstance(value, OrderedDict) and "hook" in name:
            stand_in.__dict__[name] = OrderedDict()
    stand_in.param_groups = [{**group, "params": [clone]}]
    stand_in.state = defaultdict(dict)
    state = optimizer.state.get(parameter)
    if state:
        stand_in.state[clone] = copy.deepcopy(state)
    type(optimizer).step(stand_in)
    return clone - parameter.detach()
