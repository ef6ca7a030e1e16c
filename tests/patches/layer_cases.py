"""Programs whose layers are treated: activations, norms, ways around, initialisations."""

from patch_case import HEAD, After, Formula, Program, ReZero, X, around, both, edit, he, swap, wrap
from torch import nn

from fadeout.treatments.patient import Edit

LAYERS = {
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
        treat=both(swap(("1", nn.ReLU())), he),
        holds=(
            "+def _initialise(model):",
            "+    layers = [m for m in model.modules() if isinstance(m, nn.Linear)]",
            "+    for module in layers:",
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
            "+    for module in layers[:-1]:",
            "+    for module in layers[-1:]:",
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
        treat=both(
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
        treat=both(
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
        treat=both(
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
        treat=both(swap(("act", nn.SELU())), wrap(fc=lambda m: After(m, nn.BatchNorm1d(8)))),
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
}
