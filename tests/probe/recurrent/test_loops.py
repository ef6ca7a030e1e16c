"""Hand-written recurrences are time: horizons against torch's fused layers, and where a graph is cut."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fadeout


class Loop(nn.Module):
    """A cell stepped by hand, detached every `cut` steps."""

    def __init__(self, kind, cut=0):
        super().__init__()
        torch.manual_seed(0)
        self.cell, self.head, self.cut = kind(5, 12), nn.Linear(12, 3), cut

    def forward(self, x):
        h = c = torch.zeros(x.shape[0], 12)
        for t in range(x.shape[1]):
            if isinstance(self.cell, nn.LSTMCell):
                h, c = self.cell(x[:, t], (h, c))
            else:
                h = self.cell(x[:, t], h)
            if self.cut and (t + 1) % self.cut == 0 and t + 1 < x.shape[1]:
                h, c = h.detach(), c.detach()
        return self.head(h)


class Fused(nn.Module):
    """The same weights in torch's fused layer."""

    def __init__(self, loop):
        super().__init__()
        kinds = {nn.RNNCell: nn.RNN, nn.LSTMCell: nn.LSTM, nn.GRUCell: nn.GRU}
        self.layer, self.head = kinds[type(loop.cell)](5, 12, batch_first=True), loop.head
        for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
            getattr(self.layer, f"{name}_l0").data.copy_(getattr(loop.cell, name))

    def forward(self, x):
        return self.head(self.layer(x)[0][:, -1])


class Plain(nn.Module):
    """A recurrence of bare parameters, s times an orthogonal matrix, no activation."""

    def __init__(self, scale):
        super().__init__()
        torch.manual_seed(0)
        self.w = nn.Parameter(torch.linalg.qr(torch.randn(12, 12)).Q * scale)
        self.u, self.head = nn.Parameter(torch.randn(5, 12) / 5**0.5), nn.Linear(12, 3)

    def forward(self, x):
        h = torch.zeros(x.shape[0], 12)
        for t in range(x.shape[1]):
            h = h @ self.w + x[:, t] @ self.u
        return self.head(h)


class Tied(nn.Module):
    """One layer again and again in depth: no new data enters."""

    def __init__(self):
        super().__init__()
        self.into, self.layer, self.head = nn.Linear(5, 12), nn.Linear(12, 12), nn.Linear(12, 3)

    def forward(self, x):
        h = self.into(x[:, 0])
        for _ in range(12):
            h = torch.tanh(self.layer(h))
        return self.head(h)


class Frames(nn.Module):
    """One layer on every frame, side by side: nothing leads from one frame to the next."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(5, 12), nn.Linear(12, 3)

    def forward(self, x):
        return self.head(sum(torch.tanh(self.layer(x[:, t])) for t in range(x.shape[1])))


class Chunks(nn.Module):
    """Truncated backpropagation with a fused layer, in chunks of ten steps."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.GRU(5, 12, batch_first=True), nn.Linear(12, 3)

    def forward(self, x):
        h = None
        for part in x.split(10, 1):
            out, h = self.layer(part, h)
            h = h.detach()
        return self.head(out[:, -1])


def exam(model, steps=40):
    torch.manual_seed(1)
    return fadeout.examine(model, (torch.randn(6, steps, 5), torch.randint(0, 3, (6,))), loss=F.cross_entropy)


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
def test_a_cell_stepped_by_hand_has_the_profile_of_the_fused_layer(kind):
    loop = Loop(kind)
    (by_hand,), (fused,) = exam(loop).time, exam(Fused(loop)).time
    assert by_hand.path == "cell" and by_hand.steps == 40
    assert by_hand.log_gain == pytest.approx(fused.log_gain, abs=1e-4)
    assert by_hand.horizon == pytest.approx(fused.horizon, rel=1e-4)
    assert by_hand.gates == fused.gates or all(
        a[1:] == pytest.approx(b[1:], rel=1e-4, nan_ok=True) for a, b in zip(by_hand.gates, fused.gates, strict=True)
    )
    assert by_hand.cause == fused.cause


@pytest.mark.parametrize("kind", [nn.RNNCell, nn.LSTMCell, nn.GRUCell])
def test_the_trace_of_a_loop_agrees_with_the_exact_twin(kind):
    """A detach far back forces the trace; up to there it must say what the twin says."""
    (cut,), (whole,) = exam(Loop(kind, cut=30)).time, exam(Loop(kind)).time
    assert cut.cut.step == 30 and cut.cut.op == "detach" and cut.cut.line.startswith("test_loops.py:")
    assert cut.log_gain[:10] == pytest.approx(whole.log_gain[:10], abs=1e-4)
    assert set(cut.log_gain[10:]) == {-math.inf}


@pytest.mark.parametrize("scale", [0.7, 0.9, 1.0])
def test_a_linear_loop_of_an_orthogonal_weight_loses_its_scale_a_step(scale):
    (row,) = exam(Plain(scale)).time
    assert row.log_gain == pytest.approx([k * math.log10(scale) for k in range(40)], abs=1e-5)
    closed = -1 / math.log10(scale) if scale < 1 else math.inf
    assert row.horizon == pytest.approx(closed if closed < 39 else math.inf, rel=1e-5)
    assert row.path.startswith("test_loops.py:")


def test_truncation_is_named_with_its_step_and_line():
    found = exam(Loop(nn.RNNCell, cut=2))
    (row,) = found.time
    assert (row.cause, row.cut.step, row.horizon) == ("truncation", 38, 2.0)
    assert "remembers 2 of 40 steps (cut by detach() before step 38 at test_loops.py:" in found.sentence


def test_a_state_detached_at_every_step_is_still_seen_as_time():
    (row,) = exam(Loop(nn.GRUCell, cut=1)).time
    assert (row.cause, row.cut.step, row.horizon) == ("truncation", 39, 1.0)


def test_a_state_detached_between_calls_of_a_fused_layer_is_named():
    (row,) = exam(Chunks()).time
    assert row.source == "loss" and row.steps == 10
    assert row.cut.op == "detach" and row.cut.line.startswith("test_loops.py:")


@pytest.mark.parametrize("model", [Tied, Frames])
def test_depth_and_frames_are_no_time(model):
    assert exam(model()).time == ()
