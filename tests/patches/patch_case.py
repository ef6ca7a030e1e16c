"""A user program, the edits that a treatment made to it, and how its live network is treated."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from fadeout.treatments.patient import Edit


def edit(what: str, path: str, old: str, new: str, line: str = "") -> Edit:
    return Edit(what=what, path=path, old=old, new=new, line=line)


def put(model: nn.Module, path: str, module: nn.Module) -> None:
    holder, _, leaf = path.rpartition(".")
    setattr(model.get_submodule(holder), leaf, module)


class After(nn.Module):
    """How a treatment may put a norm after a module: a wrap of its own."""

    def __init__(self, first: nn.Module, second: nn.Module) -> None:
        super().__init__()
        self.first = first
        self.second = second

    def forward(self, *args):
        return self.second(self.first(*args))


class Formula(nn.Module):
    """How a treatment may lead a way around a module, or stretch an output."""

    def __init__(self, block: nn.Module, formula: Callable, *more: nn.Module) -> None:
        super().__init__()
        self.block = block
        self.more = nn.ModuleList(more)
        self.formula = formula

    def forward(self, x):
        return self.formula(self.block, x, *self.more)


class ReZero(nn.Module):
    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        self.alpha = nn.Parameter(torch.zeros(()))
        self.block = block

    def forward(self, x):
        return x + self.alpha * self.block(x)


def swap(*pairs: tuple[str, nn.Module]) -> Callable:
    def treat(model, optimizer):
        for path, module in pairs:
            put(model, path, module)

    return treat


def wrap(**wraps: Callable[[nn.Module], nn.Module]) -> Callable:
    def treat(model, optimizer):
        for path, make in wraps.items():
            name = path.replace("_", ".").lstrip("p")
            put(model, name, make(model.get_submodule(name)))

    return treat


@dataclass(frozen=True, kw_only=True)
class Program:
    files: dict[str, str]
    edits: tuple[Edit, ...]
    treat: Callable = lambda model, optimizer: None
    holds: tuple[str, ...] = ()  # lines of the diff
    recipe: tuple[str, ...] = ()  # what the recipe says; then there is no patch
    spec: str = "net.py:build"
    runs: bool = True  # its forward is quick enough for a test


HEAD = "import torch\nfrom torch import nn\n\n\n"
X = "torch.randn(16, 8)"


def he(model, optimizer):
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)


def both(*treats):
    def treat(model, optimizer):
        for one in treats:
            one(model, optimizer)

    return treat


def functional(forward: str, head: str = HEAD) -> dict[str, str]:
    return {
        "net.py": head
        + "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        + "        self.a = nn.Linear(8, 8)\n"
        + "        self.b = nn.Linear(8, 2)\n\n    def forward(self, x):\n"
        + forward
        + f"\n\ndef build():\n    return Net(), {X}\n"
    }


def relu(model, optimizer):
    type(model).forward = lambda self, x: self.b(torch.relu(self.a(x)))


def around(model, optimizer):
    """As fadeout's own treatments do it: hooks, and a norm inside the layer."""
    model[3] = nn.LeakyReLU()
    model[2].add_module("fadeout_norm", nn.LayerNorm(8))
    model[2].register_forward_hook(lambda m, args, out: m.fadeout_norm(out))
    held = []
    model[2].register_forward_pre_hook(lambda m, args: held.append(args[0]))
    model[3].register_forward_hook(lambda m, args, out: held.pop() + 0.5 * out)


def stretched(model, optimizer):
    model.register_forward_hook(lambda m, args, out: -0.1 + 1.2 * out)
