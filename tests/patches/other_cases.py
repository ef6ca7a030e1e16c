"""Programs whose calls, ends, optimizers or odd files are treated."""

import torch
from patch_case import (
    HEAD,
    After,
    Formula,
    Program,
    X,
    both,
    edit,
    functional,
    relu,
    stretched,
    swap,
    wrap,
)
from torch import nn

OTHERS = {
    "F.sigmoid": Program(
        files=functional(
            "        return self.b(F.sigmoid(self.a(x)))",
            HEAD.replace("nn\n", "nn\nfrom torch.nn import functional as F\n", 1),
        ),
        edits=(edit("function", "", "sigmoid", "F.relu", "net.py:13"),),
        treat=relu,
        holds=("+        return self.b(F.relu(self.a(x)))",),
    ),
    "torch.sigmoid": Program(
        files=functional(
            "        x = torch.sigmoid(self.a(x))\n        return self.b(x)",
            "import torch\nimport torch.nn as nn\n\n\n",
        ),
        edits=(edit("function", "", "sigmoid", "torch.relu", "net.py:12"),),
        treat=relu,
        holds=("+        x = torch.relu(self.a(x))",),
    ),
    "x.sigmoid()": Program(
        files=functional("        x = self.a(x).sigmoid()  # squash\n        return self.b(x)"),
        edits=(edit("function", "", "sigmoid", "F.relu", "net.py:12"),),
        treat=relu,
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
        treat=both(
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
        files=functional("        return self.b(torch.tanh(self.a(x)))"),
        edits=(edit("input", "", "", "(x - 3.5) / 2.0"),),
        treat=lambda model, _: model.register_forward_pre_hook(lambda m, args: ((args[0] - 3.5) / 2.0,)),
        holds=("+        x = (x - 3.5) / 2.0",),
    ),
    "standardised input of a sequential": Program(
        files={"net.py": HEAD + f"def build():\n    return nn.Sequential(nn.Linear(8, 2)), {X}\n"},
        edits=(edit("input", "", "x", "(x - torch.tensor([1.0])) / 2.0"),),
        treat=lambda model, _: model.register_forward_pre_hook(lambda m, args: ((args[0] - 1.0) / 2.0,)),
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
    "the output of a forward": Program(
        files=functional("        return torch.sigmoid(self.b(torch.tanh(self.a(x))))"),
        edits=(edit("output", "", "sigmoid", "-0.1 + 1.2 * sigmoid(x)"),),
        treat=stretched,
        holds=("+        return -0.1 + 1.2 * torch.sigmoid(self.b(torch.tanh(self.a(x))))",),
    ),
    "a way around a function": Program(
        files=functional("        x = torch.tanh(self.a(x))\n        return self.b(x)"),
        edits=(edit("skip", "a", "", "x + 0.5 * f(x)", "net.py:12"),),
        treat=lambda model, _: setattr(type(model), "forward", lambda self, x: self.b(x + 0.5 * torch.tanh(self.a(x)))),
        holds=("+        x = x + 0.5 * torch.tanh(self.a(x))",),
    ),
    "a compiled network": Program(
        files={
            "net.py": HEAD
            + "def build():\n    net = nn.Sequential(nn.Linear(8, 8), nn.Sigmoid())\n"
            + f"    return torch.compile(net, backend='eager'), {X}\n"
        },
        edits=(edit("module", "1", "Sigmoid", "nn.ReLU()"), edit("init", "0", "", "he")),
        treat=lambda model, _: setattr(model._orig_mod, "1", nn.ReLU()),
        holds=("nn.Linear(8, 8), nn.ReLU()", "+    return _initialise(torch.compile(net, "),
        runs=False,
    ),
    "the last of a sequential": Program(
        files={
            "net.py": HEAD
            + f"def build():\n    return nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2), nn.Tanh()), {X}\n"
        },
        edits=(edit("output", "", "tanh", "0.5 + 2 * tanh(x)"),),
        treat=lambda model, _: model.register_forward_hook(lambda m, args, out: 0.5 + 2 * out),
        holds=("nn.Linear(8, 2), nn.Tanh(), Stretch())",),
    ),
    "a byte order mark": Program(
        files={
            "net.py": "\ufeffimport torch\nfrom torch import nn\n\n"
            + f"def build():\n    print('hello')\n    return nn.Sequential(nn.Linear(8, 8), nn.Tanh()), {X}\n"
        },
        edits=(edit("module", "1", "Tanh", "nn.ReLU()"), edit("init", "0", "", "he")),
        treat=swap(("1", nn.ReLU())),
        holds=(" \ufeffimport torch", "+    return _initialise(nn.Sequential"),
    ),
    "names of the user's own": Program(
        files={
            "net.py": "import torch\nimport torch.nn as tnn\n\nF = 3\nnn = 4\n\n\nclass Residual:\n    pass\n\n\n"
            + f"def build():\n    return tnn.Sequential(tnn.Linear(8, 8), tnn.Tanh()), {X}\n"
        },
        edits=(edit("module", "1", "Tanh", "nn.ReLU()"), edit("skip", "0", "Linear", "x + f(x)")),
        treat=both(swap(("1", nn.ReLU())), wrap(p0=lambda m: Formula(m, lambda f, x: x + f(x)))),
        holds=("+class Residual2(tnn.Module):", "tnn.Sequential(Residual2(tnn.Linear(8, 8)), tnn.ReLU())"),
    ),
    "shared and repeated": Program(
        files={
            "net.py": HEAD
            + f"""class Net(nn.Module):
    def __init__(self, act=nn.Sigmoid()):
        super().__init__()
        self.act = act
        self.layers = nn.ModuleList([nn.Linear(8, 8) for _ in range(3)])
        self.again = self.act

    def forward(self, x):
        for layer in self.layers:
            x = self.act(layer(x))
        return self.again(x)


def build():
    return Net(), {X}
"""
        },
        edits=(
            edit("module", "again", "Sigmoid", "nn.ReLU()"),
            *(edit("norm", f"layers.{i}", "Linear", "nn.LayerNorm(8)") for i in range(3)),
        ),
        treat=both(
            swap(("act", act := nn.ReLU()), ("again", act)),
            wrap(**{f"layers_{i}": lambda m: After(m, nn.LayerNorm(8)) for i in range(3)}),
        ),
        holds=(
            "+    def __init__(self, act=nn.ReLU()):",
            "nn.ModuleList([nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8)) for _ in range(3)])",
        ),
    ),
}
