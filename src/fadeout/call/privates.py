"""Privates: everything of torch's that has no public name and that we stand on, in one place.

`tests/call/test_privates.py` uses each of them, so that a torch which renames one fails there and not in a user's run.
"""

import sys
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.modules.module as torch_module
from torch import Tensor, nn
from torch.autograd.graph import Node
from torch.optim import optimizer as torch_optimizer
from torch.utils._pytree import tree_map_only

BatchNorm = nn.modules.batchnorm._BatchNorm
InstanceNorm = nn.modules.instancenorm._InstanceNorm
Conv = nn.modules.conv._ConvNd
ConvTranspose = nn.modules.conv._ConvTransposeNd
Dropout = nn.modules.dropout._DropoutNd
PARAMETERS, MODULES, BUFFERS = "_parameters", "_modules", "_buffers"  # a module's own tables, in its __dict__
COMPILED = "_orig_mod"  # of a compiled wrapper: the module inside
TENSOR_HOOKS = ("_backward_hooks", "_post_accumulate_grad_hooks")
IN_PLACE = ("_foreach_", "_fused_")  # beginnings of names of functions that write into lists of tensors
CALL = "_call_impl"  # the function of torch/nn/modules/module.py that every call of a module goes through
SCHEDULED = "_wrapped_by_lr_sched"  # mark of an optimizer's step that a scheduler counts

__all__ = ["tree_map_only"]
_MODULE_HOOKS = (
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
    "_forward_hooks_with_kwargs",
    "_forward_pre_hooks_with_kwargs",
    "_forward_hooks_always_called",
    "_state_dict_hooks",
    "_load_state_dict_pre_hooks",
)
TABLES = frozenset({PARAMETERS, MODULES, BUFFERS, "_non_persistent_buffers_set", *_MODULE_HOOKS})  # of a module


# ---- modules and tensors


def _table(table: Any) -> dict[str, Any]:
    """A module's table itself; of a ScriptModule, where it is no dict, its items."""
    return table if isinstance(table, dict) else dict(table.items())


def parameters(module: nn.Module) -> dict[str, nn.Parameter | None]:
    """A module's own, not its children's."""
    return _table(module._parameters)


def buffers(module: nn.Module) -> dict[str, Tensor | None]:
    """A module's own."""
    return _table(module._buffers)


def children(module: nn.Module) -> dict[str, nn.Module | None]:
    """A module's own."""
    return _table(module._modules)


def in_backward() -> bool:
    """Whether this thread is inside a backward pass: a hook of a gradient is running."""
    return bool(torch._C._current_graph_task_id() != -1)


def carry_hooks(old: nn.Module, new: nn.Module) -> None:
    """The hooks of a module on the one that takes its place."""
    for table in _MODULE_HOOKS:
        getattr(new, table).update(getattr(old, table))


def has_backward_hooks(module: nn.Module) -> bool:
    """Whether something may change the gradient at a module."""
    return bool(module._backward_hooks or module._backward_pre_hooks)


def hooks_of(module: nn.Module) -> tuple[dict[int, Any], ...]:
    """A module's tables of hooks that its call runs."""
    return tuple(getattr(module, table) for table in _MODULE_HOOKS[:4])


def version(tensor: Tensor) -> int:
    """How often a tensor was written into."""
    return tensor._version


def norms(tensors: list[Tensor], dtype: torch.dtype | None) -> Sequence[Tensor]:
    """Euclidean lengths of many tensors in few kernels."""
    return torch._foreach_norm(tensors, 2.0, dtype=dtype)


def differences(left: list[Tensor], right: list[Tensor]) -> Sequence[Tensor]:
    """Tensor by tensor."""
    return torch._foreach_sub(left, right)


def copy_all(into: list[Tensor], values: list[Tensor]) -> None:
    """Tensor by tensor."""
    torch._foreach_copy_(into, values)


# ---- autograd nodes


def saved(node: Node, name: str, default: Any = None) -> Any:
    """What an operation saved for its backward, e.g. "result"; the default where it has none of this name."""
    return getattr(node, f"_saved_{name}", default)


def arriving(node: Node) -> tuple[torch.Size, torch.dtype, torch.device]:
    """Shape, dtype and device of the gradient that a node is handed."""
    metadata = node._input_metadata[0]
    return torch.Size(metadata.shape), metadata.dtype, metadata.device


# ---- the process


def transformed() -> bool:
    """Whether a torch.func transform is active: tensors are then wrapped, and must not leave it."""
    return torch._C._functorch.peek_interpreter_stack() is not None


def open_modes() -> int:
    """How many function modes are entered."""
    return torch._C._len_torch_function_stack()


def leave_mode() -> None:
    """The innermost function mode, entered no longer."""
    torch._C._pop_torch_function_stack()


def forward_hook_tables() -> tuple[dict[int, Any], dict[int, Any], dict[int, Any]]:
    """torch's global tables of module hooks: before, after, and those to be called after a failure as well."""
    return (
        torch_module._global_forward_pre_hooks,
        torch_module._global_forward_hooks,
        torch_module._global_forward_hooks_always_called,
    )


def global_hook_tables() -> tuple[dict[int, Any], ...]:
    """torch's global tables of hooks that every module's call runs, forward and backward."""
    return (
        torch_module._global_forward_pre_hooks,
        torch_module._global_forward_hooks,
        torch_module._global_backward_pre_hooks,
        torch_module._global_backward_hooks,
    )


def forget_hook(key: int) -> None:
    """An entry of torch's global tables of forward hooks, gone from all: a handle's `remove` leaves parts of it."""
    for table in (*forward_hook_tables(), keyword_hook_table()):
        table.pop(key, None)


def keywords_of_call(up: int = 1) -> dict[str, Any]:
    """The keyword arguments of the call of a module, asked for in a global hook before it, which is not given them.

    Args:
        up: Frames from the caller of this function to the code of torch that called it.
    """
    found = sys._getframe(1 + up).f_locals.get("kwargs")
    return found if isinstance(found, dict) else {}


def keyword_hook_table() -> dict[int, Any]:
    """torch's global table of forward hooks that take keyword arguments."""
    return torch_module._global_forward_hooks_with_kwargs


def optimizer_hook_tables() -> tuple[dict[int, Any], dict[int, Any]]:
    """torch's global tables of optimizer hooks: before and after a step."""
    return torch_optimizer._global_optimizer_pre_hooks, torch_optimizer._global_optimizer_post_hooks


def compiler_loaded() -> bool:
    """Whether torch.compile was imported: nothing can be compiled without it, and it is slow to import."""
    return "torch._dynamo" in sys.modules


def compiled() -> bool:
    """Whether anything was given to torch.compile in this process."""
    frames = sys.modules.get("torch._dynamo.eval_frame")
    return frames is not None and any(backend is not None for backend in frames.cached_backends.values())


COMPILED_CALL = "_compiled_call_impl"  # among the attributes of a module compiled in place


def compiled_call(module: Any) -> Any:
    """What a module is called by after `module.compile()`; None where that was not done."""
    return module.__dict__.get(COMPILED_CALL)


def set_compiled_call(module: Any, call: Any) -> None:
    """Call a module compiled in place by this; a copy of it knows nothing of that, nor does a pickle."""
    module.__dict__[COMPILED_CALL] = call


def stance() -> Any:
    """How torch.compile treats compiled functions now; None where it was never imported."""
    frames = sys.modules.get("torch._dynamo.eval_frame")
    return None if frames is None else frames._stance


def set_stance(wanted: Any) -> None:
    """The stance put back; None: the one that torch begins with."""
    frames = sys.modules.get("torch._dynamo.eval_frame")
    if frames is not None:
        wanted = wanted or frames.DynamoStance()
        if frames._stance != wanted:
            frames._set_stance(wanted)
