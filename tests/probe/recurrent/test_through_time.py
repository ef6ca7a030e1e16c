"""The way back through time against autograd, closed forms, and at lengths no float holds."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recurrent_cases import Case, cases, decades, loss, slow_profile
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence

from fadeout.errors import FadeoutError
from fadeout.probe.recurrent import fused_states, walk_back
from fadeout.probe.recurrent.profiles import Walked
from fadeout.probe.recurrent.through_time import one_decade, time_profile
from fadeout.probe.recurrent.unrolled import Step, unroll


def place(profile: Walked) -> tuple[int, int]:
    return profile.layer, int(profile.direction == "reverse")


@pytest.mark.parametrize("case", cases(), ids=str)
def test_every_step_of_the_whole_loss_equals_autograd(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused_states, "SEGMENT_BYTES", 1)  # several segments even here
    monkeypatch.setattr(fused_states, "SHORTEST", 4)
    monkeypatch.setattr(walk_back, "STRIDE", 3)
    module = case.module()
    x, hx = case.call(module)
    torch.manual_seed(1)
    output, state = unroll(module, x, hx)
    _, gradient, others = loss(output, state)
    torch.manual_seed(1)
    found = time_profile(
        module, x, hx, gradient=gradient, state_gradient=others if case.kind.startswith("lstm") else others[0]
    )
    lengths = [case.lengths[0]] if case.layout == "one sequence" else case.lengths
    torch.manual_seed(1)
    expected = {
        (layer, way): whole for layer, way, whole, _ in slow_profile(module, x, hx, lengths, lambda o, s: loss(o, s)[0])
    }
    assert len(found) == len(expected)
    for profile in found:
        wanted = [decades(v) for v in expected[place(profile)]]
        assert profile.log_norm == pytest.approx(wanted, abs=1e-9)
        for lag, gain in enumerate(profile.log_gain):
            whole = sum(p.share[lag] for p in profile.paths)
            assert math.isnan(whole) if gain == -math.inf else whole == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("kind", ["tanh", "relu", "lstm", "lstm projected", "gru"])
@pytest.mark.parametrize("layout", ["steps first", "unsorted"])
def test_gain_follows_the_last_valid_step_alone(kind: str, layout: str) -> None:
    case = Case(kind=kind, layers=2, bidirectional=False, layout=layout, states=True)
    module = case.module().eval()
    x, hx = case.call(module)
    output, state = unroll(module, x, hx)
    _, gradient, _ = loss(output, state)
    found = time_profile(module, x, hx, gradient=gradient)
    flat = gradient if isinstance(gradient, Tensor) else gradient.data

    def read(output: object, state: object) -> Tensor:
        values = output if isinstance(output, Tensor) else output.data
        sizes = [values.shape[1]] * len(values) if isinstance(output, Tensor) else output.batch_sizes.tolist()
        last = [t < len(sizes) - 1 and b < sizes[t + 1] for t, n in enumerate(sizes) for b in range(n)]
        mask = ~torch.tensor(last).reshape(values.shape[:-1])
        return (values * flat * mask.unsqueeze(-1)).sum()

    for layer, way, square, start in slow_profile(module, x, hx, case.lengths, read):
        profile = next(p for p in found if place(p) == (layer, way))
        assert profile.source == "loss"
        assert profile.log_gain == pytest.approx(
            [decades(a) - decades(b) for a, b in zip(square, start, strict=True)], abs=1e-9
        )


def test_reverse_direction_is_measured_from_its_own_last_step() -> None:
    torch.manual_seed(0)
    module = nn.GRU(3, 5, num_layers=2, bidirectional=True, dtype=torch.float64)
    x = torch.randn(6, 4, 3, dtype=torch.float64)
    gradient = torch.randn(6, 4, 10, dtype=torch.float64)
    found = time_profile(module, x, gradient=gradient)

    def read(output: Tensor, state: object) -> Tensor:
        return (output[0, :, 5:] * gradient[0, :, 5:]).sum()

    for layer, way, square, start in slow_profile(module, x, None, [6] * 4, read):
        if way:
            profile = next(p for p in found if place(p) == (layer, way))
            assert profile.log_gain == pytest.approx(
                [decades(a) - decades(b) for a, b in zip(square, start, strict=True)], abs=1e-9
            )


@given(scale=st.floats(0.3, 1.3), units=st.integers(1, 12), seed=st.integers(0, 2**16), steps=st.integers(1, 60))
@settings(max_examples=30, deadline=None)
def test_horizon_of_a_scaled_orthogonal_recurrence_is_the_closed_form(
    scale: float, units: int, seed: int, steps: int
) -> None:
    draw = torch.Generator().manual_seed(seed)
    module = nn.RNN(1, units, nonlinearity="relu", dtype=torch.float64)
    with torch.no_grad():
        nn.init.orthogonal_(module.weight_hh_l0, gain=scale, generator=draw)
        module.weight_ih_l0.zero_()
        module.bias_hh_l0.zero_()
        # Every state stays at 1, where relu is linear: b = 1 - W 1.
        module.bias_ih_l0.copy_(1.0 - module.weight_hh_l0.sum(1))
    h = torch.ones(1, 3, units, dtype=torch.float64)
    gradient = torch.zeros(steps, 3, units, dtype=torch.float64)
    gradient[-1] = torch.randn(3, units, generator=draw, dtype=torch.float64)
    (profile,) = time_profile(module, torch.zeros(steps, 3, 1, dtype=torch.float64), h, gradient=gradient)
    assert profile.gates[0].slope == 1.0
    assert profile.log_gain == pytest.approx([k * math.log10(scale) for k in range(steps)], abs=1e-9)
    closed = -1.0 / math.log10(scale) if scale < 1 else math.inf
    if closed > steps - 1 + 1e-9:
        assert profile.horizon is None and profile.reach == 1.0
    elif closed < steps - 1 - 1e-9:
        assert profile.horizon == pytest.approx(closed, rel=1e-9)


@pytest.mark.parametrize("kind", ["relu", "lstm", "gru"])
def test_horizon_of_a_diagonal_recurrence_is_the_closed_form(kind: str) -> None:
    units, steps = 6, 40
    keep = torch.linspace(0.5, 0.98, units, dtype=torch.float64)
    x = torch.zeros(steps, 1, 1, dtype=torch.float64)
    options = {"dtype": torch.float64}
    module = {
        "relu": lambda: nn.RNN(1, units, nonlinearity="relu", **options),
        "lstm": lambda: nn.LSTM(1, units, **options),
        "gru": lambda: nn.GRU(1, units, **options),
    }[kind]()
    with torch.no_grad():
        for p in module.parameters():
            p.zero_()
        logit = torch.log(keep / (1 - keep))
        if kind == "relu":
            module.weight_hh_l0.copy_(torch.diag(keep))
            module.bias_ih_l0.fill_(1.0)
        else:
            module.bias_ih_l0[units : 2 * units] = logit
    gradient = torch.zeros(steps, 1, units, dtype=torch.float64)
    gradient[-1] = 1.0
    # An LSTM's cell alone is the diagonal recurrence: let the loss read c.
    given = {"gradient": None, "state_gradient": (None, torch.ones(1, 1, units, dtype=torch.float64))}
    (profile,) = time_profile(module, x, **(given if kind == "lstm" else {"gradient": gradient}))
    lags = torch.arange(steps, dtype=torch.float64).unsqueeze(1)
    wanted = (keep ** (2 * lags)).mean(1).log10() / 2
    assert profile.log_gain == pytest.approx(wanted.tolist(), abs=1e-9)
    assert profile.horizon == pytest.approx(one_decade(wanted.tolist()))
    cell = next(p for p in profile.paths if p.name == "cell")
    if kind != "relu":
        assert cell.share == pytest.approx([1.0] * steps)


@pytest.mark.parametrize("kind", ["lstm", "lstm projected", "gru"])
def test_cell_path_equals_autograd_with_the_hidden_state_cut(kind: str) -> None:
    case = Case(kind=kind, layers=1, bidirectional=False, layout="steps first", states=True)
    module = case.module()
    x, hx = case.call(module)
    lstm = kind != "gru"
    gradient = torch.zeros(7, 4, module.proj_size or 5, dtype=torch.float64)
    gradient[-1] = torch.randn(gradient.shape[1:], dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    (profile,) = time_profile(module, x, hx, gradient=gradient)
    steps: list[Step] = []
    with torch.no_grad():
        unroll(module, x, hx, watch=steps.append)
    # The product of the gates, made of nothing but their values; an entry at the last step.
    last = steps[-1]
    if lstm:
        _, _, _, o = last.gates
        outer = gradient[-1] @ module.weight_hr_l0.detach() if module.proj_size else gradient[-1]
        vector = outer * o * (1 - torch.tanh(last.c).square())
        first = vector.square().sum() + gradient[-1].square().sum()
    else:
        vector = gradient[-1]
        first = vector.square().sum()
    squares = [first]
    for s in reversed(steps[1:]):
        vector = vector * s.gates[1]
        squares.append(vector.square().sum())
    cell, hidden = profile.paths
    assert cell.log_gain == pytest.approx([decades(float(v / first)) for v in squares], abs=1e-9)
    assert hidden.share[0] == pytest.approx(0.0, abs=1e-12) and hidden.log_gain[0] == -math.inf
    for lag in range(7):  # |g|^2 = |cell|^2 + |hidden|^2 + 2 <cell, hidden>: the shares say the same
        whole, a, b = (10 ** (2 * v[lag]) for v in (profile.log_gain, cell.log_gain, hidden.log_gain))
        assert cell.share[lag] - hidden.share[lag] == pytest.approx((a - b) / whole, abs=1e-9)


def test_lower_layers_get_what_comes_from_above_as_a_path_of_its_own() -> None:
    case = Case(kind="lstm", layers=2, bidirectional=False, layout="steps first", states=False)
    module = case.module().eval()
    x, _ = case.call(module)
    low, high = time_profile(module, x)
    assert [p.name for p in high.paths] == ["cell", "hidden"]
    assert [p.name for p in low.paths] == ["cell", "hidden", "above"]
    assert low.paths[2].share[0] == 0.0 and low.paths[2].share[3] != 0.0


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_float32_keeps_decades_that_float64_has_not(kind: type[nn.RNNBase]) -> None:
    torch.manual_seed(0)
    module = kind(4, 16)
    x = torch.randn(2500, 2, 4)
    gradient = torch.zeros(2500, 2, 16)
    gradient[-1] = 1e-3
    gradient[40] = 1e-3  # far below what is left of the end by then
    (profile,) = time_profile(module, x, gradient=gradient)
    assert profile.log_gain[-1] < -330
    double = kind(4, 16, dtype=torch.float64)
    double.load_state_dict(module.state_dict())
    (exact,) = time_profile(double, x.double(), gradient=gradient.double())
    assert profile.log_gain == pytest.approx(exact.log_gain, rel=1e-5, abs=1e-4)
    assert profile.log_norm == pytest.approx(exact.log_norm, rel=1e-5, abs=1e-4)
    assert profile.log_norm[2459] > -4 and profile.log_norm[2458] < -300


@pytest.mark.parametrize("gain", [1e-6, 1e6])
def test_steps_that_leave_the_range_of_a_stride_are_walked_one_by_one(gain: float) -> None:
    module = nn.RNN(1, 4, nonlinearity="relu", bias=False)
    with torch.no_grad():
        module.weight_hh_l0.copy_(torch.eye(4) * gain)
        module.weight_ih_l0.fill_(1.0)
    x = torch.zeros(20, 1, 1)
    x[0] = 1e-3
    if gain < 1:
        x += 1.0
    gradient = torch.zeros(20, 1, 4)
    gradient[-1] = 1.0
    if gain > 1:
        x, gradient = x[:6], gradient[-6:]
    (profile,) = time_profile(module, x, gradient=gradient)
    wanted = [k * math.log10(gain) for k in range(len(x))]
    assert profile.log_gain == pytest.approx(wanted, rel=1e-5, abs=1e-5)


def test_a_gradient_that_enters_far_above_what_is_carried_does_not_flush_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(fused_states, "SEGMENT_BYTES", 1)  # what is carried crosses a segment's border
    module = nn.RNN(1, 4, nonlinearity="relu", bias=False)
    with torch.no_grad():
        module.weight_hh_l0.copy_(torch.eye(4) * 10**-1.5)  # 12 decades a segment: in range
        module.weight_ih_l0.fill_(1.0)
    gradient = torch.zeros(40, 1, 4)
    gradient[-1] = gradient[4] = 0.5
    (profile,) = time_profile(module, torch.ones(40, 1, 1), gradient=gradient)
    wanted = [-1.5 * lag for lag in range(35)] + [-1.5 * lag for lag in range(5)]
    assert profile.log_norm == pytest.approx(wanted, rel=1e-5, abs=1e-5)


@pytest.mark.parametrize("kind", [nn.RNN, nn.LSTM, nn.GRU])
def test_half_precision_modules_are_measured_in_float32(kind: type[nn.RNNBase]) -> None:
    torch.manual_seed(0)
    module = kind(3, 5, num_layers=2, dtype=torch.bfloat16)
    x, gradient = torch.randn(9, 2, 3).bfloat16(), torch.randn(9, 2, 5).bfloat16()
    full = kind(3, 5, num_layers=2)
    full.load_state_dict(module.state_dict())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = time_profile(module, x, gradient=gradient)
    for a, b in zip(half, time_profile(full, x.float(), gradient=gradient.float()), strict=True):
        assert a.log_norm == pytest.approx(b.log_norm, abs=1e-5)


def test_gates_are_the_means_over_valid_steps() -> None:
    case = Case(kind="lstm", layers=1, bidirectional=False, layout="unsorted", states=False)
    module = case.module()
    x, _ = case.call(module)
    steps: list[Step] = []
    with torch.no_grad():
        unroll(module, x, watch=steps.append)
    (profile,) = time_profile(module, x)
    for n, gate in enumerate(profile.gates):
        values = torch.cat([s.gates[n] for s in steps])
        slope = 1 - values.square() if gate.name == "candidate" else values * (1 - values)
        assert gate.slope == pytest.approx(float(slope.mean()), rel=1e-9)
        if gate.name == "candidate":
            assert math.isnan(gate.openness)
        else:
            assert gate.openness == pytest.approx(float(values.mean()), rel=1e-9)


def test_ragged_gain_compares_the_same_sequences() -> None:
    torch.manual_seed(0)
    module = nn.GRU(3, 5)
    x = torch.randn(9, 2, 3)
    both = time_profile(module, pack_padded_sequence(x, torch.tensor([9, 3])))[0]
    alone = time_profile(module, pack_padded_sequence(x[:, :1], torch.tensor([9])))[0]
    assert both.log_gain[3:] == pytest.approx(alone.log_gain[3:], abs=1e-5)  # the noise of row 0 is the same


def test_one_step_has_no_horizon_and_all_of_it_in_reach() -> None:
    (profile,) = time_profile(nn.LSTM(3, 4), torch.randn(1, 2, 3), gradient=torch.ones(1, 2, 4))
    assert profile.steps == 1 and profile.log_gain == (0.0,)
    assert profile.horizon is None and profile.reach == 1.0


def test_an_output_that_no_loss_reads_is_measured_with_noise_and_says_so() -> None:
    (profile,) = time_profile(nn.GRU(3, 4), torch.randn(12, 2, 3))
    assert profile.source == "noise" and profile.log_norm == ()
    assert profile.horizon is not None
    (zero,) = time_profile(nn.GRU(3, 4), torch.randn(12, 2, 3), gradient=torch.zeros(12, 2, 4))
    assert zero.source == "noise" and set(zero.log_norm) == {-math.inf}


def test_a_layer_above_the_only_state_that_is_read_gets_nothing() -> None:
    module = nn.GRU(3, 4, num_layers=2)
    state = torch.zeros(2, 2, 4)
    state[0] = 1.0
    low, high = time_profile(module, torch.randn(6, 2, 3), state_gradient=state)
    assert low.source == "loss" and low.horizon is not None
    assert high.source == "none" and high.horizon is None and math.isnan(high.reach)


def test_nan_in_the_middle_of_time_names_the_step() -> None:
    x = torch.randn(9, 3, 4)
    x[5, 1, 2] = math.nan
    with pytest.raises(FadeoutError, match=r"^time_profile: the input of 'encoder.rnn' is not finite at step 5 of 9"):
        time_profile(nn.LSTM(4, 3), x, path="encoder.rnn")


@pytest.mark.parametrize("reverse", [False, True])
def test_a_state_that_overflows_names_the_first_step(reverse: bool) -> None:
    module = nn.RNN(1, 2, nonlinearity="relu", bidirectional=reverse)
    with torch.no_grad():
        for name, p in module.named_parameters():
            p.fill_(1e20 if ("weight_hh" in name and name.endswith("reverse") == reverse) else 0.0)
        getattr(module, "bias_ih_l0" + "_reverse" * reverse).fill_(1.0)
    with pytest.raises(FadeoutError, match=rf"hidden state of layer 0 .* at step {6 if reverse else 2} of 9"):
        time_profile(module, torch.zeros(9, 1, 1))


def test_a_gradient_that_does_not_fit_or_is_not_finite_is_refused() -> None:
    module, x = nn.GRU(3, 4), torch.randn(5, 2, 3)
    with pytest.raises(ValueError, match="the gradient has shape"):
        time_profile(module, x, gradient=torch.zeros(5, 2, 3))
    bad = torch.zeros(5, 2, 4)
    bad[3] = math.inf
    with pytest.raises(FadeoutError, match="arriving at step 3"):
        time_profile(module, x, gradient=bad)


def test_nothing_is_left_on_the_module() -> None:
    module = nn.LSTM(3, 4, num_layers=2)
    before = {k: v.clone() for k, v in module.state_dict().items()}
    keys = set(module.__dict__)
    state = torch.get_rng_state()
    time_profile(module, torch.randn(5, 2, 3, generator=torch.Generator().manual_seed(0)))
    assert set(module.__dict__) == keys and torch.equal(torch.get_rng_state(), state)
    assert all(p.grad is None for p in module.parameters())
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())


@pytest.mark.parametrize(
    ("curve", "wanted"),
    [
        ([0.0, -0.5, -1.5], 1.5),
        ([0.0, -1.0], 1.0),
        ([0.0, -0.9], None),
        ([0.0, -math.inf], 1.0),
        ([2.0, 1.5, 0.5], 1.5),
    ],
)
def test_one_decade_is_interpolated_in_decades(curve: list[float], wanted: float | None) -> None:
    assert one_decade(curve) == (None if wanted is None else pytest.approx(wanted))
