"""What a device would wait for: nothing is read layer by layer.  benchmarks/on_gpu.py has the same count for GPUs."""

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fadeout

MOST = 20  # synchronisations of an exam of a network that is no recurrent one; half of them ask what the loss means


def script(name: str) -> ModuleType:
    path = Path(__file__).parent.parent / "benchmarks" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", path)
    assert spec is not None and spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cuda = script("on_gpu")


def mlp(depth: int, act: type[nn.Module] = nn.ReLU) -> nn.Module:
    net: nn.Module = cuda.mlp(depth, 24, act)
    return net


def convolutional(depth: int) -> nn.Module:
    layers = [m for _ in range(depth) for m in (nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())]
    return nn.Sequential(nn.Unflatten(1, (1, 4, 6)), nn.Conv2d(1, 4, 1), *layers, nn.Flatten(), nn.Linear(96, 10))


class Residual(nn.Module):
    """Blocks with a plain number and a one-element tensor beside them, which a sketch for theory reads."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(24, 24) for _ in range(depth))
        self.register_buffer("scale", torch.tensor(0.5))
        self.out = nn.Linear(24, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for layer in self.layers:
            x = x + self.scale * F.gelu(layer(x)) / 2.0
        y: torch.Tensor = self.out(x)
        return y


def encoder(depth: int) -> nn.Module:
    layer = nn.TransformerEncoderLayer(24, 4, 48, batch_first=True, norm_first=True)
    inside = nn.TransformerEncoder(layer, depth, enable_nested_tensor=False)
    return nn.Sequential(nn.Unflatten(1, (1, 24)), inside, nn.Flatten(), nn.Linear(24, 10))


NETWORKS: dict[str, Callable[[int], nn.Module]] = {
    "mlp": mlp,
    "convolutional": convolutional,
    "residual": Residual,
    "encoder": encoder,
}


def waits(network: nn.Module, run: Callable[..., object]) -> "dict[str, int]":
    batch = (torch.randn(16, 24), torch.randint(0, 10, (16,)))
    optimizer = torch.optim.AdamW(network.parameters(), 1e-3)
    with cuda.Waits() as seen:
        run(network, batch, optimizer)
    return dict(seen.places)


def measured(network: nn.Module, batch: object, optimizer: object) -> object:
    return fadeout.measure(network, batch, loss=F.cross_entropy)


def examined(network: nn.Module, batch: object, optimizer: torch.optim.Optimizer) -> object:
    return fadeout.examine(network, batch, loss=F.cross_entropy, optimizer=optimizer)


@pytest.mark.parametrize("verb", [measured, examined])
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_deeper_network_waits_no_more_often(kind: str, verb: Callable[..., object]) -> None:
    torch.manual_seed(0)
    shallow, deep = (waits(NETWORKS[kind](depth), verb) for depth in (2, 7))
    assert deep == shallow
    assert sum(deep.values()) <= MOST


def test_neither_does_an_alarm_with_its_counterfactuals() -> None:
    torch.manual_seed(0)
    shallow, deep = (waits(mlp(depth, nn.Sigmoid), examined) for depth in (12, 20))
    assert sum(deep.values()) == sum(shallow.values()) > MOST  # every copy is measured in the same few reads


def test_a_read_inside_a_loop_is_counted() -> None:
    with cuda.Waits() as seen:
        fadeout.examine(mlp(3), (torch.randn(16, 24), torch.randint(0, 10, (16,))), loss=_reading)
    assert seen.count <= MOST + 8  # the loss is asked a few times what it means, and waits each time by itself


def _reading(output: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    loss = F.cross_entropy(output, y)
    loss.item()
    return loss


def test_more_steps_of_a_recurrent_layer_wait_no_more_often() -> None:
    def count(steps: int) -> int:
        torch.manual_seed(0)
        net = cuda.Reader(6, 12, 2)
        with cuda.Waits() as seen:
            fadeout.examine(net, (torch.randn(4, steps, 6), torch.randint(0, 10, (4,))), loss=F.cross_entropy)
        return int(seen.count)

    assert count(48) <= count(24) + 20
