"""Plain multi-layer perceptrons: any activation, depth 3 to 20, no skip."""

from collections.abc import Callable
from typing import Any

from benchmarks.truth import data
from benchmarks.truth.program import OptimizerMaker, Program, adam, spread
from benchmarks.truth.task import accuracy, explained
from torch import Tensor, nn

ACTS: dict[str, Callable[[], nn.Module]] = {
    "tanh": nn.Tanh,
    "relu": nn.ReLU,
    "gelu": nn.GELU,
    "silu": nn.SiLU,
    "elu": nn.ELU,
    "selu": nn.SELU,
    "leaky": lambda: nn.LeakyReLU(0.1),
    "softplus": nn.Softplus,
    "mish": nn.Mish,
    "sigmoid": nn.Sigmoid,
}
# sigma_w of a stable depth: He for rectifiers, LeCun for SELU, a little above 1 for tanh
GAINS = {
    "tanh": 1.2,
    "relu": 2**0.5,
    "gelu": 1.5,
    "silu": 1.7,
    "elu": 1.23,
    "selu": 1.0,
    "leaky": 1.41,
    "mish": 1.6,
    "softplus": 1.5,
}
TASKS: dict[str, tuple[Callable[[], data.Pairs], int, int]] = {
    "digits": (data.flat_digits, 64, 10),
    "spirals": (data.spirals, 2, 2),
    "parity": (data.parity, 8, 2),
    "teacher": (data.teacher, 12, 1),
    "multihot": (data.multi_hot, 200, 10),
}


class Block(nn.Module):
    """Linear, perhaps a norm, activation."""

    def __init__(self, width: int, act: Callable[[], nn.Module], norm: Callable[[int], nn.Module] | None) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.norm = norm(width) if norm is not None else nn.Identity()
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.norm(self.linear(x)))
        return y


class Mlp(nn.Module):
    """An input layer, `depth` blocks, a head."""

    def __init__(
        self,
        sizes: tuple[int, int, int],
        depth: int,
        act: Callable[[], nn.Module],
        norm: Callable[[int], nn.Module] | None = None,
    ) -> None:
        super().__init__()
        inputs, width, outputs = sizes
        self.inp = nn.Linear(inputs, width)
        self.first = act()
        self.blocks = nn.ModuleList(Block(width, act, norm) for _ in range(depth))
        self.head = nn.Linear(width, outputs)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(self.inp(x))
        for block in self.blocks:
            x = block(x)
        y: Tensor = self.head(x)
        return y


def scale_init(model: nn.Module, gain: float) -> None:
    """Weights of every Linear but the head N(0, gain^2 / fan_in), biases 0."""
    for name, m in model.named_modules():
        if isinstance(m, nn.Linear) and name != "head":
            nn.init.normal_(m.weight, std=gain / m.in_features**0.5)
            nn.init.zeros_(m.bias)


def mlp(
    task: str = "digits",
    act: str = "relu",
    depth: int = 6,
    width: int = 48,
    steps: int = 200,
    *,
    gain: float | None = None,
    norm: Callable[[int], nn.Module] | None = None,
    optimizer: OptimizerMaker | None = None,
    **others: Any,
) -> Program:
    """A perceptron on one of TASKS; gain 0 leaves PyTorch's own initialisation."""
    batches, inputs, outputs = TASKS[task]
    regress = task == "teacher"
    scale = GAINS.get(act, 0.0) if gain is None else gain

    def make() -> nn.Module:
        model = Mlp((inputs, width, outputs), depth, ACTS[act], norm)
        if scale:
            scale_init(model, scale)
        return model

    options: dict[str, Any] = {
        "name": f"mlp-{task}-{act}-{depth}" + ("-norm" if norm else ""),
        "steps": steps,
        "model": make,
        "batches": batches,
        "loss": nn.functional.mse_loss if regress else nn.functional.cross_entropy,
        "optimizer": optimizer or adam(2e-3),
        "skill": explained(batches) if regress else accuracy(batches),
        "places": spread(depth),
        "inputs": "inp",
    }
    return Program(**(options | others))


def batch_norm(width: int) -> nn.Module:
    """BatchNorm with running statistics quick enough for a short run."""
    return nn.BatchNorm1d(width, momentum=0.2)
