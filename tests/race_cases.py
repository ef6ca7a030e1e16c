"""Programs and treatments for races: small, sick or healthy, and treatments that do all that can go wrong."""

import functools
import math
import time
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

import fadeout
from fadeout.records import Measured, Plan, Planned
from fadeout.treatments.patient import Patient, Receipt
from fadeout.treatments.treatment import Treatment

UNKNOWN = Measured(decades=math.nan, effective_depth=math.nan)


def batches(count=10, size=32):
    """Three noisy classes in 16 dimensions."""
    draw = torch.Generator().manual_seed(3)
    centres = torch.randn(3, 16, generator=draw) * 1.5
    found = []
    for _ in range(count):
        y = torch.randint(0, 3, (size,), generator=draw)
        found.append((centres[y] + torch.randn(size, 16, generator=draw), y))
    return found


def mlp(activation=nn.Sigmoid, depth=8, width=16):
    layers = [nn.Linear(16, width), activation()]
    for _ in range(depth - 1):
        layers += [nn.Linear(width, width), activation()]
    model = nn.Sequential(*layers, nn.Linear(width, 3))
    if activation is nn.ReLU:
        he(model)
    return model


def he(model, generator=None):
    linears = [m for m in model.modules() if isinstance(m, nn.Linear)]
    for layer in linears[:-1]:
        nn.init.kaiming_normal_(layer.weight, generator=generator)
        nn.init.zeros_(layer.bias)


def case(make=mlp, *, steps=60, lr=3e-3, **more):
    adam = functools.partial(torch.optim.Adam, lr=lr)
    return fadeout.Case(make, batches(), F.cross_entropy, adam, steps=steps, name="toy", **more)


def healthy(**more):
    return case(functools.partial(mlp, nn.ReLU, 3), **more)


def receipt(treatment, **more):
    return Receipt(treatment=treatment.id, touched=(), undo=lambda: None, **more)


@dataclass(frozen=True, slots=True, kw_only=True)
class Own(Treatment):
    """A treatment of these tests."""

    def applies_to(self, exam):
        return "it is tried"

    def explain(self):
        return self.title


def relu_he(model, draw):
    for name, module in list(model.named_children()):
        if isinstance(module, nn.Sigmoid):
            setattr(model, name, nn.ReLU())
    he(model, draw)


@dataclass(frozen=True, slots=True, kw_only=True)
class ReluHe(Own):
    id = "relu-he"
    title = "ReLU with He initialisation"
    parts = ("activation", "init")

    def apply(self, patient: Patient):
        relu_he(patient.model, patient.generator())
        return receipt(self, recipe=("replace nn.Sigmoid() by nn.ReLU()",))


@dataclass(frozen=True, slots=True, kw_only=True)
class Redrawn(Own):
    id = "redrawn"
    title = "He initialisation alone"
    parts = ("init",)

    def apply(self, patient: Patient):
        he(patient.model, patient.generator())
        return receipt(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Smaller(Own):
    id = "smaller-rate"
    title = "a tenth of the rate"
    parts = ("optimizer",)

    def apply(self, patient: Patient):
        for group in patient.optimizer.param_groups:
            group["lr"] /= 10
        return receipt(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewOptimizer(Own):
    id = "sgd"
    title = "SGD"
    parts = ("optimizer",)

    def apply(self, patient: Patient):
        return receipt(self, optimizer=torch.optim.SGD(patient.model.parameters(), lr=0.05, momentum=0.9))


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle(Own):
    """ReLU with He, and a rate that nobody needs."""

    id = "bundle"
    title = "ReLU, He and decay"
    parts = ("activation", "init", "optimizer")
    left_out: tuple[str, ...] = ()

    def apply(self, patient: Patient):
        if "activation" not in self.left_out:
            for name, module in list(patient.model.named_children()):
                if isinstance(module, nn.Sigmoid):
                    setattr(patient.model, name, nn.ReLU())
        if "init" not in self.left_out:
            he(patient.model, patient.generator())
        if "optimizer" not in self.left_out:
            for group in patient.optimizer.param_groups:
                group["weight_decay"] = 1e-6
        return receipt(self)

    def without(self, part):
        return Bundle(left_out=(*self.left_out, part))


@dataclass(frozen=True, slots=True, kw_only=True)
class Raises(Own):
    id = "raises"
    title = "one that raises"
    parts = ("norm",)

    def apply(self, patient: Patient):
        raise RuntimeError("no layer to stand behind")


@dataclass(frozen=True, slots=True, kw_only=True)
class Diverges(Own):
    id = "diverges"
    title = "a rate of 1e38"
    parts = ("optimizer",)

    def apply(self, patient: Patient):
        return receipt(self, optimizer=torch.optim.SGD(patient.model.parameters(), lr=1e38))


@dataclass(frozen=True, slots=True, kw_only=True)
class Kills(Own):
    id = "kills"
    title = "biases of -1e4 before ReLU"
    parts = ("init",)

    def apply(self, patient: Patient):
        relu_he(patient.model, patient.generator())
        linears = [m for m in patient.model.modules() if isinstance(m, nn.Linear)]
        for layer in linears[:-1]:
            nn.init.constant_(layer.bias, -1e4)
        linears[-1].bias.requires_grad_(False)
        return receipt(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Hangs(Own):
    id = "hangs"
    title = "one that hangs"
    parts = ("skip",)

    def apply(self, patient: Patient):
        patient.model.register_forward_pre_hook(lambda *_: time.sleep(30))
        return receipt(self)


def planned(treatment):
    return Planned(
        treatment=treatment.id, title=treatment.title, predicted=UNKNOWN, measured=UNKNOWN, reason="it is tried"
    )


def plan(*treatments, wont=()):
    return Plan(entries=tuple(planned(t) for t in treatments), wont_help=tuple(planned(t) for t in wont))


def race(given, *treatments, wont=(), **more):
    return fadeout.trial(given, plan(*treatments, wont=wont), treatments=[*treatments, *wont], **more)
