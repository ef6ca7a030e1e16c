"""Regular samples: large tensors are read in part, and no unit, row or channel is left out of that part."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import fadeout
from fadeout.probe.account.norms import stride


@given(st.integers(1, 10**7), st.integers(1, 10**5))
def test_a_stride_shares_no_factor_with_the_size_and_keeps_about_as_many(size, most):
    step = stride(size, most)
    assert step == 1 or math.gcd(step, size) == 1
    assert step >= -(-size // most) and (size <= most) == (step == 1 or size <= most)
    assert step <= 2 * -(-size // most) + 30


@pytest.mark.parametrize("rows", [64, 240, 256, 512, 1024])
@pytest.mark.parametrize("width", [32, 60, 64, 128])
def test_shares_of_units_do_not_depend_on_rows_and_width(rows, width):
    """Every second unit is saturated, so half of the slopes are flat, whatever powers of two the sizes are."""
    layer, head = nn.Linear(16, width), nn.Linear(width, 4)
    with torch.no_grad():
        layer.weight.mul_(0.1)
        layer.bias.zero_()
        layer.bias[::2] = 30.0
    model = nn.Sequential(layer, nn.Sigmoid(), head)
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(rows, 16, generator=draw), torch.randint(0, 4, (rows,), generator=draw)
    exam = fadeout.examine(model, (x, y), loss=F.cross_entropy)
    assert exam.layers[0].saturated == pytest.approx(0.5, abs=0.02)
    assert exam.layers[0].mean_slope == pytest.approx(0.49, abs=0.03)


def test_underflow_is_read_from_all_units():
    """A layer of which only every sixteenth unit is alive: its gradients are seen."""
    layer, head = nn.Linear(16, 64), nn.Linear(64, 4)
    with torch.no_grad():
        layer.bias.fill_(-100.0)
        layer.bias[5::16] = 1.0
    model = nn.Sequential(layer, nn.ReLU(), head)
    draw = torch.Generator().manual_seed(0)
    x, y = torch.randn(256, 16, generator=draw), torch.randint(0, 4, (256,), generator=draw)
    exam = fadeout.examine(model, (x, y), loss=F.cross_entropy)
    assert not math.isnan(exam.layers[0].underflow.fp16)


class Attending(nn.Module):
    """One attention by hand over random tokens, its scores as large as asked."""

    def __init__(self, scale):
        super().__init__()
        self.scale, self.q, self.k, self.v, self.out = scale, *(nn.Linear(16, 16) for _ in range(3)), nn.Linear(16, 4)

    def forward(self, x):
        scores = self.q(x) @ self.k(x).mT * self.scale
        return self.out((scores.softmax(-1) @ self.v(x)).mean(1))


def test_a_row_whose_other_probabilities_underflow_still_counts_as_saturated():
    """With huge scores all probabilities but one are exactly zero: such rows are dead, not gone."""
    torch.manual_seed(0)
    x, y = torch.randn(8, 24, 16), torch.randint(0, 4, (8,))
    found = {}
    for scale in (1.0, 30.0, 1e5):
        torch.manual_seed(1)
        exam = fadeout.examine(Attending(scale), (x, y), loss=F.cross_entropy)
        (row,) = (t for t in exam.tokens if not math.isnan(t.live_rows))
        found[scale] = (row.live_rows, row.entropy)
    assert found[1.0][0] > 0.9 and found[1.0][1] > 0.5
    assert found[1e5][0] < 0.05 < found[30.0][0] < found[1.0][0]
    assert found[1e5][1] < 0.005 < found[30.0][1] < found[1.0][1]
