"""Several residual streams: the product of their mixings against closed forms and against autograd."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fadeout


class Block(nn.Module):
    def __init__(self, matrix, form):
        super().__init__()
        self.mix, self.form = nn.Parameter(matrix.clone()), form
        self.branch = nn.Sequential(nn.LayerNorm(24), nn.Linear(24, 24), nn.Tanh())

    def forward(self, x):
        if self.form == "matmul":
            mixed = self.mix @ x
        elif self.form == "einsum":
            mixed = torch.einsum("ij,bjc->bic", self.mix, x)
        else:
            mixed = torch.einsum("bjc,ji->bic", x, self.mix.t())
        return mixed + self.branch(x.mean(1, keepdim=True))


class Net(nn.Module):
    def __init__(self, matrices, form="matmul"):
        super().__init__()
        torch.manual_seed(0)
        self.into, self.out = nn.Linear(8, 24), nn.Linear(24, 3)
        self.blocks = nn.ModuleList(Block(m, form) for m in matrices)

    def forward(self, x):
        x = self.into(x).unsqueeze(1).expand(-1, len(self.blocks[0].mix), -1)
        for block in self.blocks:
            x = block(x)
        return self.out(x.sum(1))


def streams(model):
    torch.manual_seed(1)
    return fadeout.examine(model, (torch.randn(6, 8), torch.randint(0, 3, (6,))), loss=F.cross_entropy).streams


def even(off, n=4, scale=1.0):
    matrix = torch.full((n, n), off)
    return matrix.fill_diagonal_(1 - (n - 1) * off) * scale


def test_differences_between_evenly_mixed_streams_shrink_by_their_second_eigenvalue():
    found = streams(Net([even(0.0433)] * 64))
    assert found.distinct == pytest.approx((1 - 4 * 0.0433) ** 64, rel=1e-3)  # 5.2e-6, as a trial of 64 layers gave
    assert (found.forward, found.backward) == pytest.approx((1.0, 1.0), abs=1e-4)
    assert (found.width, found.layers, found.path) == (4, 64, "blocks.0")


@pytest.mark.parametrize("form", ["matmul", "einsum", "transposed"])
def test_composite_gains_are_the_largest_row_and_column_sums_of_the_product(form):
    torch.manual_seed(2)
    matrices = [torch.eye(3) + 0.2 * torch.rand(3, 3) for _ in range(6)]
    found = streams(Net(matrices, form))
    product = torch.eye(3)
    for m in matrices:
        product = m @ product
    assert found.forward == pytest.approx(float(product.sum(1).abs().max()), rel=1e-5)
    assert found.backward == pytest.approx(float(product.sum(0).abs().max()), rel=1e-5)
    assert found.columns == pytest.approx(float(product.sum(0).abs().log10().abs().max()), rel=1e-4)


def test_free_mixings_that_each_look_harmless_explode_over_depth():
    found = streams(Net([even(0.05, scale=1.1)] * 64))
    assert found.backward == pytest.approx(1.1**64, rel=1e-3) and math.log10(found.backward) > 2.6


def test_a_net_without_streams_has_none():
    net = nn.Sequential(*(nn.Linear(8, 8) for _ in range(6)), nn.Linear(8, 3))
    assert streams(net) is None
