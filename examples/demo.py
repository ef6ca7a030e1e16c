"""The main job on real data: a network that can't learn, why, and two that can.

    make demo            or: python examples/demo.py [--page out/demo.html]

Three networks of the same depth read scikit-learn's digits, 1,797 real scans.  Each is examined
before its first step, then all are trained for the same number of steps, so that verdict and
accuracy stand side by side.  At the end treatments of the sick one are raced.
"""

import argparse
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from rich.console import Console
from sklearn.datasets import load_digits
from torch import Tensor, nn

import fadeout
from fadeout.pages import report_side_by_side
from fadeout.render.comparison_text import side_by_side

DEPTH, WIDTH, STEPS, BATCH = 20, 64, 400, 64


class Residual(nn.Module):
    """h + branch(h): the gradient keeps a way past every layer."""

    def __init__(self, width: int, scale: float) -> None:
        super().__init__()
        self.linear = nn.Linear(width, width)
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        return x + self.scale * self.linear(torch.relu(x))


def plain(activation: type[nn.Module], *, he: bool) -> nn.Sequential:
    """A chain of DEPTH hidden layers, with PyTorch's default or He initialisation."""
    layers: list[nn.Module] = []
    for _ in range(DEPTH):
        linear = nn.Linear(64, WIDTH)
        if he:
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
            nn.init.zeros_(linear.bias)
        layers += [linear, activation()]
    return nn.Sequential(*layers, nn.Linear(WIDTH, 10))


def residual() -> nn.Sequential:
    """The same depth with skip connections; branches scaled by 1 / sqrt(depth)."""
    blocks = [Residual(WIDTH, DEPTH**-0.5) for _ in range(DEPTH - 1)]
    return nn.Sequential(nn.Linear(64, WIDTH), *blocks, nn.Linear(WIDTH, 10))


def digits() -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Training and test scans, standardised by one mean and deviation."""
    bundle = load_digits()
    x = torch.tensor(bundle.data, dtype=torch.float32)
    y = torch.tensor(bundle.target)
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(0))
    x, y = x[order], y[order]
    x = (x - x[:1437].mean()) / x[:1437].std()
    return x[:1437], y[:1437], x[1437:], y[1437:]


def accuracy_after_training(
    model: nn.Module, optimizer: torch.optim.Optimizer, data: tuple[Tensor, Tensor, Tensor, Tensor]
) -> float:
    """Share of the test scans named right after STEPS steps."""
    x, y, x_test, y_test = data
    draw = torch.Generator().manual_seed(0)
    for _ in range(STEPS):
        rows = torch.randint(len(y), (BATCH,), generator=draw)
        optimizer.zero_grad()
        F.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    with torch.no_grad():
        return float((model(x_test).argmax(1) == y_test).float().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--page", type=Path, help="also write the three reports as one HTML page")
    options = parser.parse_args()
    torch.manual_seed(0)
    data = digits()
    networks = {
        "sigmoid": plain(nn.Sigmoid, he=False),
        "ReLU + He": plain(nn.ReLU, he=True),
        "residual": residual(),
    }
    console = Console()
    exams, accuracies = [], []
    for name, model in networks.items():
        optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
        exam = fadeout.examine(model, (data[0][:256], data[1][:256]), loss=F.cross_entropy, optimizer=optimizer)
        console.rule(f"[bold]{name}[/bold]: {DEPTH} hidden layers, before the first step")
        console.print(exam)
        exams.append(exam)
        accuracies.append(accuracy_after_training(model, optimizer, data))
    console.rule(f"[bold]verdict and accuracy[/bold], after {STEPS} steps of Adam on real digits")
    extra = {"test accuracy": [f"{100 * a:.0f} %" for a in accuracies]}
    console.print(side_by_side(exams, tuple(networks), extra=extra))
    if options.page:
        options.page.parent.mkdir(parents=True, exist_ok=True)
        title = f"Three networks of {DEPTH} hidden layers on real digits"
        page = report_side_by_side(exams, options.page, names=tuple(networks), extra=extra, title=title)
        console.print(f"  page: {page}")
    console.rule("[bold]the sick one, treated[/bold]: what would help is raced against no treatment")
    console.print(race(data))


def race(data: tuple[Tensor, Tensor, Tensor, Tensor]) -> fadeout.Trial:
    """Treatments of the sigmoid network, on the training scans; the test scans score them."""
    x, y, x_test, y_test = data
    case = fadeout.Case(
        lambda: plain(nn.Sigmoid, he=False),
        list(zip(x.split(BATCH), y.split(BATCH), strict=True)),
        F.cross_entropy,
        partial(torch.optim.SGD, lr=0.1, momentum=0.9),
        [(x_test, y_test)],
        steps=200,
        name="20 sigmoid layers on digits",
    )
    setup = case.build(0)
    few = [t for t in fadeout.TREATMENTS if t.id in ("relu", "init_batchnorm", "init_adam", "layer_norm", "slower")]
    plan = fadeout.plan(setup.model, setup.batches[0], loss=F.cross_entropy, optimizer=setup.optimizer, treatments=few)
    return fadeout.trial(case, plan, seeds=(0,))


if __name__ == "__main__":
    main()
