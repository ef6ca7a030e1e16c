"""One table names every operation that several hundred model classes produced."""

import csv
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fadeout.probe import measure
from fadeout.probe.graph import kinds

SEEN = list(csv.DictReader((Path(__file__).parent / "node_names.tsv").read_text().splitlines(), delimiter="\t"))
# functions of the models' own authors, and opaque nodes: unknown by name, and said to be so
CUSTOM = {row["node"] for row in SEEN if not row["node"][-1].isdigit() and "::" not in row["node"]}


@pytest.mark.parametrize("node", [r["node"] for r in SEEN if r["node"] not in CUSTOM and "autograd" not in r["node"]])
def test_every_built_in_operation_has_a_kind(node):
    kind, known = kinds.propose(node, "", "")
    assert known or "DifferentiableGraph" in node, f"{node} is proposed as {kind} without being known"


def test_an_unknown_operation_stands_in_a_line_of_its_own():
    class Mystery(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 3

        @staticmethod
        def backward(ctx, g):
            return g * 3

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 2)

        def forward(self, x):
            return self.b(Mystery.apply(self.a(x)))

    ledger = measure(Net(), (torch.randn(5, 4), torch.randn(5, 2)), loss=F.mse_loss)
    assert [u.op for u in ledger.unaccounted] == ["Mystery"]
    assert dict(ledger.by_kind)["other"] == pytest.approx(0.4771, abs=1e-4)  # log10 3


class RMSNorm(nn.Module):
    """Written by hand: pow, mean, add, rsqrt, mul, and a gain."""

    def __init__(self, width):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(width))

    def forward(self, x):
        return self.gain * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))


class Gated(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b, self.norm = nn.Linear(4, 4), nn.Linear(4, 4), RMSNorm(4)
        self.scale = nn.Parameter(torch.full((4,), 0.5))

    def forward(self, x):
        gate = torch.sigmoid(self.b(x))
        return self.norm(self.a(x) * gate) * self.scale * 2.0


def kinds_of(model, x):
    return [(e.path, e.op, e.kind) for e in measure(model, x).operations]


def test_a_multiplication_is_gate_norm_weight_or_constant_by_its_owner_and_inputs():
    found = kinds_of(Gated(), torch.randn(6, 4))
    multiplications = [(path, kind) for path, op, kind in found if op == "mul" and kind != "loss"]
    assert multiplications == [
        ("", "other"),
        ("", "weight"),
        ("norm", "norm"),
        ("norm", "norm"),
        ("", "slope"),
    ]


def test_every_operation_of_a_hand_written_norm_is_norm():
    found = kinds_of(Gated(), torch.randn(6, 4))
    assert {kind for path, op, kind in found if path == "norm" and op != "add"} == {"norm"}


def test_a_product_of_two_activations_is_mixing_and_one_with_a_parameter_is_weight():
    class Attend(nn.Module):
        def __init__(self):
            super().__init__()
            self.q, self.k = nn.Linear(4, 4), nn.Parameter(torch.randn(4, 4))

        def forward(self, x):
            q, k = self.q(x), x @ self.k
            return (q @ k.transpose(-1, -2)).softmax(-1) @ x

    found = [(op, kind) for _, op, kind in kinds_of(Attend(), torch.randn(2, 3, 4)) if kind in ("weight", "mix")]
    assert [kind for op, kind in found if op == "matmul"] == ["mix", "mix", "weight"]
    assert ("softmax", "mix") in found
    assert ("linear", "weight") in found
