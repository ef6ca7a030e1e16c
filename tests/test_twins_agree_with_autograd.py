"""The twin itself, against autograd asked for one gradient at a time and against cases worked by hand."""

import copy
import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import nn
from torch.autograd.graph import GradientEdge

import models
import twins
from random_models import MODULES
from strategies import FAMILIES, modules, run
from twins import account, data_ends, gradient_norm_at, gradients_one_by_one, slot_of

some = settings(max_examples=120, deadline=None)
few = settings(max_examples=60, deadline=None)
DTYPES = {torch.float64: 1e-10, torch.float32: 1e-4}


def leaf(*shape: int, seed: int = 0) -> torch.Tensor:
    """A random float64 leaf that requires a gradient."""
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=draw, dtype=torch.float64).requires_grad_()


def with_ends(loss: torch.Tensor):
    """(loss, its data ends)."""
    return loss, data_ends(loss)


def fixed_losses() -> dict[str, callable]:
    """A function that runs each fixed model once more, by name."""
    losses = {make.__name__: (lambda make=make: run(make())) for make in models.CASES}
    losses |= {f"gan {i}": (lambda i=i: models.run_step(models.gan()[i])) for i in (0, 1)}
    return losses | {"gradient_penalty": lambda: models.run_step(models.gradient_penalty())}


def assert_agrees_with_autograd(make_loss, tolerance: float) -> None:
    """Arrivals one by one, closed fronts, ends, shares and sums of one loss."""
    loss, ends = make_loss()
    kept = account(loss, ends)
    largest = max(kept.arriving.values())  # sums that cancel keep no more digits than their parts had
    close = lambda value: pytest.approx(value, rel=tolerance, abs=1e-3 * tolerance * largest)  # noqa: E731
    assert list(kept.arriving.values()) == close(gradients_one_by_one(make_loss))
    alone = [gradient_norm_at(loss, *slot_of(end)) for end in ends]
    assert list(kept.end_norms) == close(alone)
    assert 10**kept.total == close(math.hypot(*alone))
    assert len(kept.steps) == len(kept.width) and kept.width[-1] == 0
    assert kept.steps[0].before == 1.0
    assert all(a.after == b.before for a, b in zip(kept.steps, kept.steps[1:], strict=False))
    if kept.total > -math.inf:
        assert math.fsum(step.log_gain for step in kept.steps) == pytest.approx(kept.total, abs=1e-9)
    for feeders in kept.joins.values():
        assert math.isnan(sum(feeders.values())) or sum(feeders.values()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_agrees_with_gradients_asked_one_by_one(family, dtype):
    @settings(max_examples=20, deadline=None)
    @given(family(dtype))
    def agrees(case):
        assert_agrees_with_autograd(lambda: with_ends(run(case)), DTYPES[dtype])

    agrees()


@pytest.mark.parametrize("name", fixed_losses())
def test_models_a_user_would_bring_agree_with_gradients_asked_one_by_one(name):
    assert_agrees_with_autograd(lambda: with_ends(fixed_losses()[name]()), 1e-4)


@some
@given(modules())
def test_wherever_the_front_is_complete_it_is_the_joint_norm_of_what_autograd_gives_at_its_slots(case):
    loss, ends = with_ends(run(case))
    kept = account(loss, ends)
    stops = [slot_of(end) for end in ends]
    _, edges = twins.ways_to(loss, stops)
    waiting = {}  # slot -> edges that still have to send to it
    for node in edges:
        for _, slot in edges[node]:
            waiting[slot] = waiting.get(slot, 0) + 1
    everywhere = dict(waiting)
    for step in kept.steps:
        for _, slot in edges[step.node]:
            waiting[slot] -= 1
        waiting = {slot: left for slot, left in waiting.items() if slot[0] is not step.node or slot in stops}
        touched = [slot for slot, left in waiting.items() if left < everywhere[slot]]
        if all(waiting[slot] == 0 for slot in touched):
            front = [gradient_norm_at(loss, *slot) for slot in touched]
            assert step.after == pytest.approx(math.hypot(*front), rel=1e-9, abs=1e-300)


def called_by_hand(loss: torch.Tensor, node, edges) -> list[tuple[tuple, torch.Tensor]]:
    """(target slot, gradient) of every edge, from calling the node on what autograd gives at its slots."""
    slots = [GradientEdge(node, i) for i in range(len(node._input_metadata))]
    ask = lambda slot: torch.autograd.grad(loss, [slot], retain_graph=True, allow_unused=True)[0]  # noqa: E731
    with torch.no_grad():
        answer = node(*map(ask, slots))
    answer = answer if isinstance(answer, tuple) else (answer,)
    sent = []
    for index, slot in edges[node]:
        if answer[index] is not None:  # the engine sums over broadcast dimensions and drops imaginary parts
            shape = slot[0]._input_metadata[slot[1]]
            gradient = answer[index].sum_to_size(shape.shape)
            real = gradient.is_complex() and not shape.dtype.is_complex
            sent.append((slot, gradient.real if real else gradient))
    return sent


@some
@given(modules())
def test_the_front_is_right_at_every_step_when_each_operation_is_called_again_by_hand(case):
    loss, ends = with_ends(run(case))
    kept = account(loss, ends)
    stops = [slot_of(end) for end in ends]
    _, edges = twins.ways_to(loss, stops)
    assume(not any(hasattr(node, "saved_tensors") for node in edges))  # python Functions refuse the call
    flight = {}
    for step in kept.steps:
        flight = {slot: g for slot, g in flight.items() if slot[0] is not step.node or slot in stops}
        for slot, gradient in called_by_hand(loss, step.node, edges):
            flight[slot] = flight.get(slot, 0) + gradient
        front = math.hypot(*(float(g.abs().square().sum().sqrt()) for g in flight.values()))
        assert step.after == pytest.approx(front, rel=1e-9, abs=1e-300)


@few
@given(modules(), st.sampled_from([1e-30, 7.0, -3.0, 1e25]))
def test_a_scaled_loss_moves_the_total_and_nothing_else(case, scale):
    loss, ends = with_ends(run(case))
    plain, scaled = account(loss, ends), account(loss, ends, scale=scale)
    assert scaled.total == pytest.approx(plain.total + math.log10(abs(scale)), abs=1e-9)
    assert [s.own for s in scaled.steps] == pytest.approx([s.own for s in plain.steps], abs=1e-9, nan_ok=True)
    assert scaled.width == plain.width


@few
@given(modules())
def test_keeping_an_account_leaves_gradients_and_graph_alone(case):
    loss, ends = with_ends(run(case))
    parameters = list(case.model.parameters())
    before = torch.autograd.grad(loss, parameters, retain_graph=True, allow_unused=True)
    first, second = account(loss, ends), account(loss, ends)
    after = torch.autograd.grad(loss, parameters, allow_unused=True)
    assert all((a is None and b is None) or torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert str([step[1:] for step in first.steps]) == str([step[1:] for step in second.steps])  # nan too
    assert all(p.grad is None for p in parameters)


def test_a_chain_is_priced_as_worked_out_by_hand():
    x, w = leaf(3, 4), leaf(4, 2, seed=1).detach()
    loss = 5 * (x @ w).square().sum()
    kept = account(loss, [x])
    g = 10 * (x @ w).detach()
    norms = [1.0, 5.0, 5 * 6**0.5, float(g.norm()), float((g @ w.t()).norm())]  # x5, expand, square, matmul
    assert [step.after for step in kept.steps] == pytest.approx(norms[1:])
    assert [step.own for step in kept.steps] == pytest.approx([step.log_gain for step in kept.steps])
    assert kept.width == (1, 1, 1, 0) and kept.joins == {}


def test_a_residual_addition_shares_between_skip_and_branch_as_worked_out_by_hand():
    x, w = leaf(3, 4), leaf(4, 4, seed=1).detach()
    h = x * 1.0
    (loss,) = [(h + h @ w).sum()]
    kept = account(loss, [x])
    skip = torch.ones(3, 4, dtype=torch.float64)
    branch = skip @ w.t()
    whole = skip + branch
    by_name = {node.name(): share for (node, _), share in kept.joins[h.grad_fn, 0].items()}
    assert by_name["AddBackward0"] == pytest.approx(float((skip * whole).sum() / whole.square().sum()))
    assert by_name["MmBackward0"] == pytest.approx(float((branch * whole).sum() / whole.square().sum()))
    add, matmul = kept.steps[1], kept.steps[2]
    assert add.own == pytest.approx(math.log10(2) / 2) and add.skip == 0.0  # sent two ways: its own factor
    apart = math.hypot(skip.norm(), branch.norm())
    assert matmul.own == pytest.approx(math.log10(apart / (2 * 12) ** 0.5))
    assert matmul.skip == pytest.approx(math.log10(whole.norm() / apart))  # merging
    assert kept.width == (1, 2, 1, 0)


def test_a_square_feeds_one_slot_twice_and_its_merging_is_skip():
    x = leaf(5)
    h = x * 1.0
    kept = account((h * h).sum(), [x])
    assert list(kept.joins[h.grad_fn, 0].values()) == pytest.approx([0.5, 0.5])
    square = kept.steps[1]
    assert square.skip == pytest.approx(math.log10(2**0.5))


def test_an_end_that_got_its_gradient_early_stays_in_the_joint_norm_but_not_in_the_width():
    x, side = leaf(4), leaf(4, seed=1)
    kept = account(((x * 1e-6).sin() * 3 + side).sum(), [x, side])
    assert kept.width == (1, 1, 1, 1, 0)
    assert kept.end_norms[1] == 2.0 and kept.total == pytest.approx(math.log10(2.0), abs=1e-9)


def test_an_account_stops_at_an_end_in_the_middle():
    x = leaf(4)
    h = torch.sin(x)
    kept = account(h.exp().sum(), [h])
    assert [step.node.name() for step in kept.steps] == ["SumBackward0", "ExpBackward0"]
    assert kept.end_norms == pytest.approx((float(h.exp().detach().norm()),))


def test_a_slot_that_is_an_end_stays_in_flight_when_its_node_runs_for_another_slot():
    x = leaf(6)
    a, b = x.chunk(2)
    loss = (a * 3 + b * 4).sum()
    kept = account(loss, [a, x])
    assert kept.end_norms == pytest.approx((3 * 3**0.5, 5 * 3**0.5))
    assert kept.steps[-1].before == pytest.approx(5 * 3**0.5)
    assert 10**kept.total == pytest.approx(math.hypot(*kept.end_norms))  # the end counts here and in what it sent


def test_another_output_of_an_ends_node_is_no_way_to_that_end():
    a, b = leaf(6).chunk(2)
    kept = account((a.sin() + b.exp()).sum(), [a])
    assert [step.node.name() for step in kept.steps] == ["SumBackward0", "AddBackward0", "SinBackward0"]


def test_the_arrival_at_a_node_with_two_outputs_is_the_root_of_both_squares():
    x = leaf(6)
    a, b = x.chunk(2)
    kept = account((a * 3 + b * 4).sum(), [x])
    assert kept.arriving[a.grad_fn] == pytest.approx(5 * 3**0.5)


def test_complex_shares_are_real_parts_and_add_to_one():
    x = leaf(4)
    h = torch.complex(x, x)
    kept = account((h * 2j).real.sum() + (h * (3 + 1j)).imag.sum(), [x])
    first, second = torch.full((4,), -2j), torch.full((4,), 1 + 3j)  # conjugates of the Wirtinger convention
    whole = first + second
    expected = [float((g.conj() * whole).real.sum() / whole.abs().square().sum()) for g in (first, second)]
    assert sorted(kept.joins[h.grad_fn, 0].values()) == pytest.approx(sorted(expected))


def test_exact_cancellation_is_severed_once_and_without_nan():
    x = leaf(4)
    h = x * 2
    kept = account(torch.tanh(h - h).sum(), [x])
    gains = [step.log_gain for step in kept.steps]
    assert kept.total == -math.inf and gains.count(-math.inf) == 1 and not any(map(math.isnan, gains))
    (dying,) = [step for step in kept.steps if step.log_gain == -math.inf]
    assert dying.own == pytest.approx(math.log10(2**0.5)) and dying.skip == -math.inf
    assert all(math.isnan(share) for share in kept.joins[h.grad_fn, 0].values())


def test_an_operation_that_multiplies_by_zero_is_severed_by_itself():
    x = leaf(4)
    kept = account((torch.sin(x) * 0).sum(), [x])
    assert [step.own for step in kept.steps] == [pytest.approx(math.log10(2)), -math.inf, 0.0]
    assert [step.skip for step in kept.steps] == [0.0, 0.0, 0.0]


def test_norms_whose_squares_underflow_are_still_measured():
    x = leaf(4)
    assert account((x * 1e-200).sum(), [x]).total == pytest.approx(-200 + math.log10(2))


def test_a_loss_without_graph_an_unreachable_end_and_an_end_beyond_an_end_are_refused():
    x = leaf(4)
    h = torch.sin(x)
    with pytest.raises(ValueError, match="no graph"):
        account(h.sum().detach(), [x])
    with pytest.raises(ValueError, match="does not depend"):
        account(h.sum(), [leaf(4)])
    with pytest.raises(ValueError, match="lies beyond"):
        account((h * x).sum(), [h, x])


def test_between_sample_share_is_one_without_a_mean_and_zero_without_spread():
    assert twins.between_sample_share(torch.tensor([[1.0, -2.0], [-1.0, 2.0]])) == 1.0
    assert twins.between_sample_share(torch.ones(5, 3)) == 0.0
    assert twins.between_sample_share(torch.tensor([[1.0], [3.0]])) == pytest.approx(1 - 4 / 5)
    assert math.isnan(twins.between_sample_share(torch.zeros(2, 2)))


@pytest.mark.parametrize("name", MODULES)
def test_slopes_agree_with_finite_differences(name):
    act = MODULES[name]().double()
    z, step = leaf(6, 3).detach(), 1e-6
    with torch.no_grad():
        finite = (act(z + step) - act(z - step)) / (2 * step)
    assert torch.allclose(twins.slopes(act, z), finite, atol=1e-6)
    assert twins.mean_slope(act, z) == pytest.approx(float(finite.mean()), abs=1e-6)


def test_dead_and_saturated_are_counted_as_by_hand():
    z = torch.tensor([[-1.0, 1.0, -2.0], [-3.0, -1.0, -1.0]])
    assert twins.dead(torch.relu, z) == pytest.approx(2 / 3)
    assert twins.dead(torch.relu, z.t(), unit_dim=0) == pytest.approx(2 / 3)
    assert twins.saturated(torch.relu, z) == pytest.approx(5 / 6)
    # 1 - tanh(z)^2 < 0.08 from |z| > atanh(sqrt(0.92)) = 1.938 on; a quarter of it for the sigmoid, at 2 z
    assert twins.saturated(torch.tanh, torch.tensor([0.0, 1.93, -1.94, 5.0])) == 0.5
    assert twins.saturated(torch.sigmoid, torch.tensor([0.0, 3.87, -3.88, 9.0])) == 0.5


def test_update_ratio_of_sgd_and_of_the_first_adam_step_are_as_by_hand_and_touch_nothing():
    model = nn.Linear(4, 3)
    before = copy.deepcopy(model.state_dict())
    grads = {"weight": torch.randn(3, 4, generator=torch.Generator().manual_seed(0))}
    rms = float(model.weight.detach().square().mean().sqrt())
    sgd = twins.update_ratio(model, torch.optim.SGD(model.parameters(), lr=0.1), grads)
    adam = twins.update_ratio(model, torch.optim.Adam(model.parameters(), lr=0.1), grads)
    assert sgd["weight"] == pytest.approx(0.1 * float(grads["weight"].square().mean().sqrt()) / rms, rel=1e-5)
    assert adam["weight"] == pytest.approx(0.1 / rms, rel=1e-5)
    assert sgd["bias"] == 0.0 and model.weight.grad is None
    assert all(torch.equal(before[name], p) for name, p in model.state_dict().items())


def test_underflow_counts_what_the_cast_flushes_after_scaling_to_the_largest_number():
    # half precision holds 65504 down to 2^-24: 12.04 decades, and half of that is still rounded up
    grads = [torch.tensor([1.0, 1e-11, 0.0]), torch.tensor([1e-12, 1e-13, 1e-20])]
    assert twins.underflow_share(grads, torch.float16) == pytest.approx(2 / 5)
    assert twins.underflow_share(grads, torch.bfloat16) == 0.0
    assert twins.underflow_share([1e-9 * g.double() for g in grads], torch.float16) == pytest.approx(2 / 5)
    assert math.isnan(twins.underflow_share([torch.zeros(3)], torch.float16))


@given(st.floats(-9, 9), st.floats(-9, 9), st.integers(5, 20), st.floats(-1e6, 1e6))
def test_theil_sen_finds_the_slope_of_a_line_with_one_outlier(slope, start, n, outlier):
    y = [start + slope * i for i in range(n)]
    y[0] += outlier
    assert twins.theil_sen(y[1:]) == pytest.approx(slope, abs=1e-9)
    assert twins.theil_sen(y) == pytest.approx(slope, abs=1e-9)


@given(st.integers(1, 50), st.floats(1e-3, 1))
def test_even_branches_count_in_full_and_a_lonely_one_as_one(n, share):
    assert twins.effective_blocks([share] * n) == pytest.approx(n)
    assert twins.effective_blocks([share] + [0.0] * n) == pytest.approx(1)
