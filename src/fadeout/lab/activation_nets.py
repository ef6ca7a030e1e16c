"""Networks of the experiment `activation`, and how the slopes of their activations are read."""

import functools
import math
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fadeout
from fadeout import theory
from fadeout.lab import nets
from fadeout.lab.data import Data
from fadeout.records import Reading


class Centred(nn.Module):
    """The sigmoid with its 1/2 taken away."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(x) - 0.5


WIDE = 10.15  # the only scale of weights at which theory gives the sigmoid a gain of 1 (theory.find_critical)
SIGMOID, SATURATING, CENTRED, LONG = "sigmoid", "sigmoid, weights of 10", "sigmoid minus 1/2", "sigmoid, 4 layers"
TOP, FIRST = "top layer", "first layer"  # of the four
Makes = Callable[[], nn.Module]
Measured = Iterator[tuple[str, float, float]]  # quantity, value, x
ARMS: dict[str, tuple[Makes, nets.Start]] = {
    SIGMOID: (nn.Sigmoid, nets.glorot),
    SATURATING: (nn.Sigmoid, nets.gaussian(WIDE)),
    CENTRED: (Centred, nets.gaussian(4.0)),
    "tanh": (nn.Tanh, nets.glorot),
    "ReLU": (nn.ReLU, nets.he),
    "GELU": (nn.GELU, nets.he),
    "SiLU": (nn.SiLU, nets.he),
    "SELU": (nn.SELU, nets.gaussian(1.0)),
}
HEALTHY = ("tanh", "ReLU", "SELU")
SWEPT = (SIGMOID, CENTRED, "tanh", "ReLU")
SCALES = (0.5, 1.0, math.sqrt(2.0), 2.0, 3.0, 4.0, 6.0, 8.0, WIDE, 14.0, 20.0)
FEWER = (1.0, math.sqrt(2.0), 3.0, WIDE)  # of a smoke run
USUAL = 3.0  # weights up to here are of a usual scale
POINTS = tuple(z / 2 for z in range(-20, 21))  # inputs at which slopes are read
FEW = (-10.0, -5.0, -2.0, -0.5, 0.0, 0.5, 2.0, 5.0, 10.0)
INPUTS = (1.0, 3.0, 10.0, 30.0, 100.0)  # scales of the data
ROWS, WIDTH = 240, 64
DEPTH, SHORT = 20, 10  # hidden layers that are trained, and of the sweep


def read(model: nn.Module, data: Data, scale: float = 1.0) -> Reading:
    return fadeout.read(model, (scale * data.x[:ROWS], data.y[:ROWS]), loss=F.cross_entropy)


@functools.cache
def supremum(activation: Makes) -> float:
    """The largest slope; an exam's slopes are shares of it."""
    return theory.read_activation(activation()).slope_sup


def at_points(activation: Makes, data: Data, points: tuple[float, ...]) -> Measured:
    """What part of the gradient an activation passes on whose inputs are all `z`."""
    layer = nn.Linear(data.features, 4)
    model = nn.Sequential(layer, activation(), nn.Linear(4, 10))
    nn.init.zeros_(layer.weight)
    for z in points:
        nn.init.constant_(layer.bias, z)
        (gain,) = (e.log_gain for e in read(model, data).ledger.operations if e.kind == "slope")
        yield "slope", 10.0**gain, z
        at = torch.tensor(z, dtype=torch.float64, requires_grad=True)
        yield "slope by hand", abs(float(torch.autograd.grad(activation()(at), at)[0])), z


def large_inputs(activation: Makes, data: Data) -> Measured:
    """The share of a first layer's units that hardly respond, over the scale of the data."""
    model = nets.plain(activation, 1, start=nets.glorot, features=data.features)
    for scale in INPUTS:
        yield "saturated by inputs", read(model, data, scale).layers[0].saturated, scale


def sweep(activation: Makes, data: Data, scales: tuple[float, ...]) -> Measured:
    """Decades a hidden layer, and what theory says of a network of this width from the same first layer on."""
    hops = SHORT - 1
    for scale in scales:
        model = nets.plain(activation, SHORT, start=nets.gaussian(scale), features=data.features)
        layers = read(model, data).layers[:SHORT]
        lost = math.log10(layers[0].gradient_norm / layers[-1].gradient_norm)
        path = theory.follow_variance(activation(), sigma_w=scale, depth=hops, start=layers[0].activation_rms ** 2)
        beta = sum(theory.layer_beta(WIDTH, kurtosis=k) for k in path.kurtosis)
        yield "decades a layer", lost / hops, scale
        yield "decades a layer, theory", theory.band(path.decades, beta=beta).centre / hops, scale
        if not math.isnan(layers[0].saturated):
            yield "saturated", sum(layer.saturated for layer in layers) / SHORT, scale


def slopes(activation: Makes, reading: Reading, step: int) -> Measured:
    hidden = reading.layers[:-1]
    yield "slope in training", supremum(activation) * sum(r.mean_slope for r in hidden) / len(hidden), float(step)
    if not math.isnan(hidden[0].dead):
        yield "dead in training", sum(r.dead for r in hidden) / len(hidden), float(step)
