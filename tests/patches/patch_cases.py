"""A table of user programs, the edits that a treatment made to each, and how its live network is treated."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

from fadeout.treatments.treatment import Edit


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
    extra: dict = field(default_factory=dict)


HEAD = "import torch\nfrom torch import nn\n\n\n"
X = "torch.randn(16, 8)"


def _he(model, optimizer):
    for module in model.modules():
        if isinstance(module, nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            nn.init.zeros_(module.bias)


def _both(*treats):
    def treat(model, optimizer):
        for one in treats:
            one(model, optimizer)

    return treat


def _functional(forward: str, head: str = HEAD) -> dict[str, str]:
    return {
        "net.py": head
        + "class Net(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        + "        self.a = nn.Linear(8, 8)\n"
        + "        self.b = nn.Linear(8, 2)\n\n    def forward(self, x):\n"
        + forward
        + f"\n\ndef build():\n    return Net(), {X}\n"
    }


def _relu(model, optimizer):
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


PROGRAMS = {
    "a sequential literal": Program(
        files={
            "net.py": HEAD
            + f"""def build():
    model = nn.Sequential(
        nn.Linear(8, 8),  # first
        nn.Sigmoid(),  # gate?
        nn.Linear(8, 8),
        nn.Sigmoid(),
        nn.Linear(8, 2),
    )
    return model, {X}
"""
        },
        edits=(edit("module", "1", "Sigmoid", "nn.ReLU()"), edit("module", "3", "Sigmoid", "nn.ReLU()")),
        treat=swap(("1", nn.ReLU()), ("3", nn.ReLU())),
        holds=("-        nn.Sigmoid(),  # gate?", "+        nn.ReLU(),  # gate?"),
    ),
    "activation with its initialisation": Program(
        files={
            "net.py": HEAD
            + f"def build():\n    return nn.Sequential(nn.Linear(8, 8), nn.Sigmoid(), nn.Linear(8, 2)), {X}\n"
        },
        edits=(
            edit("module", "1", "Sigmoid", "nn.ReLU()"),
            edit("init", "0", "", "he relu"),
            edit("init", "2", "", "he relu"),
        ),
        treat=_both(swap(("1", nn.ReLU())), _he),
        holds=(
            "+def _initialise(model):",
            "+    for module in [m for m in model.modules() if isinstance(m, nn.Linear)]:",
            "+    return _initialise(nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 2))), torch.randn(16, 8)",
        ),
    ),
    "hidden layers and the last differently": Program(
        files={
            "net.py": HEAD
            + "def build():\n    net = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))\n"
            + f"    return net, {X}\n"
        },
        edits=(
            edit("init", "0", "", "critical gelu"),
            edit("init", "2", "", "glorot"),
            edit("norm", "0", "Linear", "nn.LayerNorm(8)"),
        ),
        treat=swap(("0", After(nn.Linear(8, 8), nn.LayerNorm(8)))),
        holds=(
            "isinstance(m, nn.Linear)][:-1]:",
            "isinstance(m, nn.Linear)][-1:]:",
            "+    _initialise(net)",
            "xavier_normal_",
        ),
    ),
    "a list comprehension": Program(
        files={
            "net.py": HEAD
            + f"""def build():
    pairs = [m for i in range(3) for m in (nn.Linear(8, 8), nn.Sigmoid())]
    return nn.Sequential(*pairs, nn.Linear(8, 2)), {X}
"""
        },
        edits=tuple(
            e
            for i in (0, 2, 4)
            for e in (
                edit("norm", str(i), "Linear", "nn.LayerNorm(8)"),
                edit("module", str(i + 1), "Sigmoid", "nn.SiLU()"),
            )
        ),
        treat=_both(
            swap(*[(str(i), nn.SiLU()) for i in (1, 3, 5)]),
            wrap(**{f"p{i}": lambda m: After(m, nn.LayerNorm(8)) for i in (0, 2, 4)}),
        ),
        holds=("+    pairs = [m for i in range(3) for m in (nn.Linear(8, 8), nn.LayerNorm(8), nn.SiLU())]",),
    ),
    "one of a loop's three": Program(
        files={
            "net.py": HEAD
            + f"""def build():
    return nn.Sequential(*[m for i in range(3) for m in (nn.Linear(8, 8), nn.Sigmoid())]), {X}
"""
        },
        edits=(edit("module", "1", "Sigmoid", "nn.ReLU()"),),
        treat=swap(("1", nn.ReLU())),
        recipe=("net.py:6: write nn.ReLU() in place of nn.Sigmoid().", "must stay as it is"),
    ),
    "a loop with append": Program(
        files={
            "net.py": "from torch.nn import Linear, Sequential, Sigmoid\nimport torch\n\n\n"
            + f"""def build(sizes=(8, 16, 4)):
    layers = []
    for a, b in zip(sizes, sizes[1:]):
        layers.append(Linear(a, b))
        layers += [Sigmoid()]
    return Sequential(*layers), {X}
"""
        },
        edits=(
            edit("norm", "0", "Linear", "nn.LayerNorm(16)"),
            edit("norm", "2", "Linear", "nn.LayerNorm(4)"),
            edit("module", "1", "Sigmoid", "nn.ReLU()"),
            edit("module", "3", "Sigmoid", "nn.ReLU()"),
        ),
        treat=_both(
            swap(("1", nn.ReLU()), ("3", nn.ReLU())),
            wrap(p0=lambda m: After(m, nn.LayerNorm(16)), p2=lambda m: After(m, nn.LayerNorm(4))),
        ),
        holds=(
            "+        layers.append(Sequential(Linear(a, b), torch.nn.LayerNorm(b)))",
            "+        layers += [torch.nn.ReLU()]",
        ),
    ),
    "add_module": Program(
        files={
            "net.py": HEAD
            + f"""def build():
    net = nn.Sequential()
    for i in range(2):
        net.add_module(f"fc{{i}}", nn.Linear(8, 8))
        net.add_module(f"act{{i}}", nn.Tanh())
    return net, {X}
"""
        },
        edits=(
            edit("module", "act0", "Tanh", "nn.GELU()"),
            edit("module", "act1", "Tanh", "nn.GELU()"),
            edit("skip", "fc0", "Linear", "x + f(x)"),
            edit("skip", "fc1", "Linear", "x + f(x)"),
        ),
        treat=_both(
            swap(("act0", nn.GELU()), ("act1", nn.GELU())),
            wrap(fc0=lambda m: Formula(m, lambda f, x: x + f(x)), fc1=lambda m: Formula(m, lambda f, x: x + f(x))),
        ),
        holds=(
            '+        net.add_module(f"fc{i}", Residual(nn.Linear(8, 8)))',
            "+class Residual(nn.Module):",
            "+        return x + self.block(x)",
        ),
    ),
    "a class with self.act": Program(
        files={
            "net.py": HEAD
            + f"""class Net(nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.fc = nn.Linear(8, width)
        self.act = nn.Sigmoid()
        self.head = nn.Linear(width, 2)

    def forward(self, x):
        return self.head(self.act(self.fc(x)))


def build():
    return Net(), {X}
"""
        },
        edits=(
            edit("module", "act", "Sigmoid", "nn.SELU()"),
            edit("norm", "fc", "Linear", "nn.BatchNorm1d(8, eps=1e-05, momentum=0.1, affine=True)"),
            edit("init", "fc", "", "lecun"),
            edit("init", "head", "", "nn.init.normal_(module.weight, std=0.1); nn.init.zeros_(module.bias)"),
        ),
        treat=_both(swap(("act", nn.SELU())), wrap(fc=lambda m: After(m, nn.BatchNorm1d(8)))),
        holds=(
            "+        self.fc = nn.Sequential(nn.Linear(8, width), nn.BatchNorm1d(width))",
            "+        self.act = nn.SELU()",
            "+    return _initialise(Net()), ",
        ),
    ),
    "a class as factory": Program(
        files={
            "net.py": HEAD
            + """class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)

    def forward(self, x):
        return self.fc(x)
"""
        },
        edits=(edit("init", "fc", "", "orthogonal 1.2"),),
        holds=("+        _initialise(self)", "+        nn.init.orthogonal_(module.weight, gain=1.2 * wide)"),
        spec="net.py:Net",
    ),
    "F.sigmoid": Program(
        files=_functional(
            "        return self.b(F.sigmoid(self.a(x)))",
            HEAD.replace("nn\n", "nn\nfrom torch.nn import functional as F\n", 1),
        ),
        edits=(edit("function", "", "sigmoid", "F.relu", "net.py:13"),),
        treat=_relu,
        holds=("+        return self.b(F.relu(self.a(x)))",),
    ),
    "torch.sigmoid": Program(
        files=_functional(
            "        x = torch.sigmoid(self.a(x))\n        return self.b(x)",
            "import torch\nimport torch.nn as nn\n\n\n",
        ),
        edits=(edit("function", "", "sigmoid", "torch.relu", "net.py:12"),),
        treat=_relu,
        holds=("+        x = torch.relu(self.a(x))",),
    ),
    "x.sigmoid()": Program(
        files=_functional("        x = self.a(x).sigmoid()  # squash\n        return self.b(x)"),
        edits=(edit("function", "", "sigmoid", "F.relu", "net.py:12"),),
        treat=_relu,
        holds=("+        x = nn.functional.relu(self.a(x))  # squash",),
    ),
    "a class chosen by name": Program(
        files={
            "net.py": HEAD
            + f"""CONFIG = {{"act": "Sigmoid"}}


def build():
    return nn.Sequential(nn.Linear(8, 8), getattr(nn, CONFIG["act"])(), nn.Linear(8, 2)), {X}
"""
        },
        edits=(edit("module", "1", "Sigmoid", "nn.ReLU()"),),
        treat=swap(("1", nn.ReLU())),
        recipe=("net.py:9: write nn.ReLU() in place of nn.Sigmoid().", "chosen while the program runs"),
    ),
    "two files": Program(
        files={
            "blocks.py": HEAD
            + """class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(8, 8)
        self.act = nn.Tanh()

    def forward(self, x):
        return self.act(self.fc(x))
""",
            "net.py": HEAD.replace("nn\n", "nn\n\nfrom blocks import Block\n", 1)
            + f"""def build():
    return nn.Sequential(Block(), Block(), nn.Linear(8, 2), nn.Sigmoid()), {X}
""",
        },
        edits=(
            edit("module", "0.act", "Tanh", "nn.ReLU()"),
            edit("module", "1.act", "Tanh", "nn.ReLU()"),
            edit("skip", "0", "Block", "(x + f(x)) / 2 ** 0.5"),
            edit("skip", "1", "Block", "(x + f(x)) / 2 ** 0.5"),
            edit("output", "3", "Sigmoid", "-0.1 + 1.2 * y"),
        ),
        treat=_both(
            swap(("0.act", nn.ReLU()), ("1.act", nn.ReLU())),
            wrap(
                p0=lambda m: Formula(m, lambda f, x: (x + f(x)) / 2**0.5),
                p1=lambda m: Formula(m, lambda f, x: (x + f(x)) / 2**0.5),
                p3=lambda m: Formula(m, lambda f, x: -0.1 + 1.2 * f(x)),
            ),
        ),
        holds=(
            "+++ b/blocks.py",
            "+++ b/net.py",
            "Residual(Block()), Residual(Block()), nn.Linear(8, 2), nn.Sigmoid(), Stretch()",
        ),
    ),
    "a factory with an optimizer": Program(
        files={
            "net.py": HEAD
            + f"""def build():
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    return model, ({X}, torch.randn(16, 2)), nn.MSELoss(), optimizer


def train(model, batches, loss, optimizer):
    for x, y in batches:
        optimizer.zero_grad()
        loss(model(x), y).backward()
        optimizer.step()
"""
        },
        edits=(
            edit("module", "1", "Tanh", "nn.ReLU()"),
            edit("optimizer", "", "SGD(lr=0.1)", "torch.optim.Adam(lr=0.01)"),
            edit("optimizer", "", "", "torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)"),
        ),
        treat=swap(("1", nn.ReLU())),
        holds=(
            "+    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)",
            "+        nn.utils.clip_grad_norm_(model.parameters(), 1.0)",
        ),
    ),
    "another rate": Program(
        files={
            "net.py": HEAD
            + f"""def build():
    model = nn.Sequential(nn.Linear(8, 2))
    return model, {X}, None, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
"""
        },
        edits=(edit("optimizer", "", "SGD(lr=0.1)", "torch.optim.SGD(lr=0.01)"),),
        holds=("torch.optim.SGD(model.parameters(), 0.01, momentum=0.9)",),
    ),
    "crlf and tabs": Program(
        files={
            "net.py": (
                HEAD
                + "def build():\n\tact = nn.Sigmoid()  # é\n"
                + f"\treturn nn.Sequential(nn.Linear(8, 8), act, nn.Linear(8, 2)), {X}"
            ).replace("\n", "\r\n")
        },
        edits=(edit("module", "1", "Sigmoid", "nn.ReLU()"), edit("init", "0", "", "he")),
        treat=swap(("1", nn.ReLU())),
        holds=("+\tact = nn.ReLU()  # é\r\n", "+\tfor module in", "No newline at end of file"),
    ),
    "recurrent layers": Program(
        files={
            "net.py": HEAD
            + """class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn = nn.RNN(4, 8, nonlinearity="tanh", batch_first=True)
        self.head = nn.Linear(8, 1)

    def forward(self, x):
        out, _ = self.rnn(x)
        return self.head(out[:, -1])


def build():
    return Net(), torch.randn(3, 5, 4)
"""
        },
        edits=(edit("module", "rnn", "RNN", "nn.LSTM(4, 8, batch_first=True)"),),
        treat=swap(("rnn", nn.LSTM(4, 8, batch_first=True))),
        holds=("+        self.rnn = nn.LSTM(4, 8, batch_first=True)",),
    ),
    "standardised input of a class": Program(
        files=_functional("        return self.b(torch.tanh(self.a(x)))"),
        edits=(edit("input", "", "", "(x - 3.5) / 2.0"),),
        holds=("+        x = (x - 3.5) / 2.0",),
    ),
    "standardised input of a sequential": Program(
        files={"net.py": HEAD + f"def build():\n    return nn.Sequential(nn.Linear(8, 2)), {X}\n"},
        edits=(edit("input", "", "", "(x - torch.tensor([1.0])) / 2.0"),),
        holds=("+    return nn.Sequential(Standardise(), nn.Linear(8, 2))", "device=x.device"),
    ),
    "inside torch": Program(
        files={
            "net.py": HEAD
            + """def build():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), torch.randn(2, 3, 8)
"""
        },
        edits=(edit("module", "layers.0.norm1", "LayerNorm", "nn.RMSNorm(8)"),),
        treat=swap(("layers.0.norm1", nn.RMSNorm(8))),
        recipe=("net.py:6: write nn.RMSNorm(8) in place of nn.LayerNorm().", "code that is not yours"),
    ),
    "a keyword of a copied layer": Program(
        files={
            "net.py": HEAD
            + """def build():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.TransformerEncoder(layer, 2, enable_nested_tensor=False), torch.randn(2, 3, 8)
"""
        },
        edits=tuple(edit("attribute", f"layers.{i}", "norm_first=False", "norm_first=True") for i in range(2)),
        treat=lambda model, optimizer: [setattr(layer, "norm_first", True) for layer in model.layers],
        holds=("nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=True)",),
    ),
    "a projection and a learned scale": Program(
        files={"net.py": HEAD + f"def build():\n    return nn.Sequential(nn.Linear(8, 4), nn.Linear(4, 4)), {X}\n"},
        edits=(
            edit("skip", "0", "Linear", "nn.Linear(8, 4, bias=False)(x) + f(x)"),
            edit("skip", "1", "Linear", "x + alpha * f(x)"),
        ),
        treat=wrap(
            p0=lambda m: Formula(m, lambda f, x, way: way(x) + f(x), nn.Linear(8, 4, bias=False)),
            p1=lambda m: ReZero(m),
        ),
        holds=("Residual(nn.Linear(8, 4), nn.Linear(8, 4, bias=False)), Residual2(nn.Linear(4, 4))",),
    ),
    "a way around layer and activation": Program(
        files={
            "net.py": HEAD
            + f"""def build():
    return nn.Sequential(
        nn.Linear(8, 8),
        nn.Tanh(),  # squash
        nn.Linear(8, 8),
        nn.Tanh(),
        nn.Linear(8, 2),
    ), {X}
"""
        },
        edits=(
            edit("module", "3", "Tanh", "nn.LeakyReLU(negative_slope=0.01)"),
            edit("norm", "2", "Linear", "nn.LayerNorm((8,), eps=1e-05, elementwise_affine=True)"),
            Edit(what="skip", path="2", old="", new="x + 0.5 * f(x)", until="3"),
        ),
        treat=around,
        holds=("+        Residual(nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.LeakyReLU())),",),
    ),
    "the output of a forward": Program(
        files=_functional("        return torch.sigmoid(self.b(torch.tanh(self.a(x))))"),
        edits=(edit("output", "", "sigmoid", "-0.1 + 1.2 * sigmoid(x)"),),
        treat=stretched,
        holds=("+        return (-0.1 + 1.2 * torch.sigmoid(self.b(torch.tanh(self.a(x)))))",),
    ),
    "a helper makes the tuple": Program(
        files={
            "net.py": HEAD
            + f"""def make():
    return nn.Sequential(nn.Linear(8, 2)), {X}


def build():
    return make()
"""
        },
        edits=(edit("init", "0", "", "critical 1.253 centred"),),
        holds=("+    return _initialise(nn.Sequential(nn.Linear(8, 2)))", "std=1.253 / ", ".sum(1) / 2)"),
    ),
    "a way around a function": Program(
        files=_functional("        x = torch.tanh(self.a(x))\n        return self.b(x)"),
        edits=(edit("skip", "a", "", "x + 0.5 * f(x)", "net.py:12"),),
        treat=lambda model, _: setattr(type(model), "forward", lambda self, x: self.b(x + 0.5 * torch.tanh(self.a(x)))),
        holds=("+        x = (x + 0.5 * torch.tanh(self.a(x)))",),
    ),
}
