"""Activations that many tests share, by name."""

import torch
import torch.nn.functional as F
from torch import nn


def centred_sigmoid(x):
    return torch.sigmoid(x) - 0.5


ACTIVATIONS = {
    "tanh": torch.tanh,
    "erf": torch.erf,
    "sigmoid": torch.sigmoid,
    "centred sigmoid": centred_sigmoid,
    "relu": torch.relu,
    "leaky .01": nn.LeakyReLU(0.01),
    "leaky .2": nn.LeakyReLU(0.2),
    "gelu": F.gelu,
    "gelu tanh": nn.GELU("tanh"),
    "silu": F.silu,
    "mish": F.mish,
    "elu": F.elu,
    "celu 2": nn.CELU(2.0),
    "selu": F.selu,
    "softplus": F.softplus,
    "softplus 100": nn.Softplus(100.0),
    "hardtanh": F.hardtanh,
    "hardsigmoid": F.hardsigmoid,
    "hardswish": F.hardswish,
    "relu6": F.relu6,
    "softsign": F.softsign,
    "sin": torch.sin,
    "tanhshrink": F.tanhshrink,
    "softshrink": F.softshrink,
    "logsigmoid": F.logsigmoid,
    "odd kink": lambda x: torch.where(x > 0.7071, 2 * x - 0.7071, x),
    "identity": lambda x: x,
}
