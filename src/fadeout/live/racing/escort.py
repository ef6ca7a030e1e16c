"""An escort: what a treatment does to an optimizer, done around each of its steps.

A script holds its optimizer and its schedule writes rates into it, so a treated rate must survive a schedule, and
another optimizer must stand behind the one that the script knows. Everything is done when the gradients are there:
after the closure, where a step has one.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer


class Before:
    """An optimizer as it was before a treatment: its rates and its hooks."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.rates = [(g.get("lr"), g.get("initial_lr")) for g in optimizer.param_groups]
        self.hooks = _hooks(optimizer)


class Escort:
    """Goes with one optimizer.

    Args:
        before: As it was.
        instead: What makes the step now; None where it is the optimizer itself.
    """

    def __init__(self, before: Before, instead: Optimizer | None) -> None:
        self.optimizer, self.instead = before.optimizer, instead
        self.factors: list[tuple[Any, Any, float]] = []  # (rate at the treatment, treated rate, factor) of each group
        self._own: list[Any] = []
        self._gradients: list[tuple[Tensor, Tensor | None]] = []
        self._take_rates(before)
        new = [
            {k: v for k, v in now.items() if k not in old}
            for now, old in zip(self._tables(), before.hooks, strict=True)
        ]
        self.ahead, self.behind = (list(table.values()) for table in new)
        for table, fresh in zip(self._tables(), new, strict=True):
            for key in fresh:
                table.pop(key)
        if instead is not None:
            for target, table in zip((self.ahead, self.behind), self._tables_of(instead), strict=True):
                target += list(table.values())
                table.clear()

    @property
    def needed(self) -> bool:
        """Whether the treatment did anything to the optimizer."""
        return bool(self.ahead or self.behind or self.instead or any(f != 1.0 for _, _, f in self.factors))

    def begin(self) -> None:
        """Go with it from now on."""
        self.optimizer.register_step_pre_hook(self.before)
        self.optimizer.register_step_post_hook(self.after)

    def _tables(self) -> tuple[Any, Any]:
        return self._tables_of(self.optimizer)

    @staticmethod
    def _tables_of(optimizer: Optimizer) -> tuple[Any, Any]:
        return optimizer._optimizer_step_pre_hooks, optimizer._optimizer_step_post_hooks

    def _take_rates(self, before: Before) -> None:
        """The treated rates out of the groups, which get their old ones again."""
        for place, (group, (rate, initial)) in enumerate(zip(self.optimizer.param_groups, before.rates, strict=False)):
            treated = group.get("lr")
            if self.instead is not None and place < len(self.instead.param_groups):
                treated = self.instead.param_groups[place].get("lr")
            if rate is None or treated is None:
                self.factors.append((rate, rate, 1.0))
                continue
            group["lr"] = rate
            if initial is None:
                group.pop("initial_lr", None)
                base, meant = rate, treated
            else:
                base, meant = initial, group.get("initial_lr", treated)
                group["initial_lr"] = initial
            self.factors.append((rate, treated, float(meant) / float(base) if float(base) else 1.0))

    def before(self, optimizer: Optimizer, args: Any, kwargs: Any) -> Any:
        """The step begins."""
        closure = args[1] if len(args) > 1 else kwargs.get("closure")
        if not callable(closure):
            self._ready(optimizer)
            return None
        once = self._after(closure, optimizer)
        if len(args) > 1:
            return (args[0], once, *args[2:]), kwargs
        return args, {**kwargs, "closure": once}

    def _after(self, closure: Callable[..., Any], optimizer: Optimizer) -> Callable[..., Any]:
        done = False

        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal done
            out = closure(*args, **kwargs)
            if not done:
                done = True
                self._ready(optimizer)
            return out

        return run

    def _ready(self, optimizer: Optimizer) -> None:
        self._own = [group.get("lr") for group in optimizer.param_groups]
        for group, (rate, treated, factor) in zip(optimizer.param_groups, self.factors, strict=False):
            if factor != 1.0 or rate != treated:
                group["lr"] = treated if group["lr"] == rate else group["lr"] * factor
        target = optimizer if self.instead is None else self.instead
        if self.instead is not None:
            for theirs, ours in zip(optimizer.param_groups, self.instead.param_groups, strict=False):
                ours["lr"] = theirs["lr"]
        for hook in self.ahead:
            hook(target, (target,), {})
        if self.instead is not None:
            self.instead.step()
            for hook in self.behind:
                hook(self.instead, (self.instead,), {})
            self._gradients = [(p, p.grad) for group in optimizer.param_groups for p in group["params"]]
            for p, _ in self._gradients:
                p.grad = None  # an optimizer leaves weights without a gradient as they are

    def after(self, optimizer: Optimizer, args: Any, kwargs: Any) -> None:
        """The step was made."""
        if self.instead is None:
            for hook in self.behind:
                hook(optimizer, args, kwargs)
        for p, gradient in self._gradients:
            p.grad = gradient
        self._gradients = []
        for group, rate in zip(optimizer.param_groups, self._own, strict=False):
            if rate is not None:
                group["lr"] = rate


def _hooks(optimizer: Optimizer) -> tuple[set[Any], set[Any]]:
    return set(optimizer._optimizer_step_pre_hooks), set(optimizer._optimizer_step_post_hooks)


@torch.no_grad()
def same_everywhere(tensors: list[Tensor]) -> None:
    """Values of the first process in all of them: a treatment that looks at data saw other rows in each."""
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        for tensor in tensors:
            torch.distributed.broadcast(tensor.contiguous(), 0)
