"""The main job: call forms, verdicts, headline numbers, and errors that teach."""

import copy
import dataclasses
import math
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import fadeout
from fadeout import FadeoutError, ModelError

X = torch.randn(64, 16, generator=torch.Generator().manual_seed(0))
Y = torch.arange(64) % 5


def mlp(depth, activation=nn.ReLU, *, gain=2**0.5, width=16):
    torch.manual_seed(0)
    layers = []
    for _ in range(depth):
        linear = nn.Linear(16 if not layers else width, width)
        if gain is not None:
            nn.init.normal_(linear.weight, 0, gain / linear.in_features**0.5)
        layers += [linear, activation()]
    return nn.Sequential(*layers, nn.Linear(width, 5))


class Carries(nn.Module):
    """Returns its own loss when it gets labels, as Hugging Face models do."""

    def __init__(self):
        super().__init__()
        self.net = mlp(3)

    def forward(self, x, labels=None):
        logits = self.net(x)
        return {"logits": logits, "loss": None if labels is None else F.cross_entropy(logits, labels)}


# ---- what a batch is


def test_three_call_forms_lead_to_the_same_account():
    model = Carries()
    pair = fadeout.measure(model, (X, Y), loss=lambda out, y: F.cross_entropy(out["logits"], y))
    carried = fadeout.measure(model, {"x": X, "labels": Y})
    given = fadeout.measure(model, {"x": X}, loss=lambda out: F.cross_entropy(out["logits"], Y))
    step = fadeout.measure(model, step=lambda m: F.cross_entropy(m(X)["logits"], Y))
    assert pair.log_gain == carried.log_gain == given.log_gain == step.log_gain
    assert pair.decades == step.decades


def test_without_a_loss_the_output_is_weighed_with_fixed_noise():
    model = mlp(3)
    assert fadeout.measure(model, X).log_gain == fadeout.measure(model, X).log_gain
    assert fadeout.examine(model, X).verdict == "flows"


def test_several_inputs_go_in_by_position_or_by_name():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(16, 8), nn.Linear(16, 8)

        def forward(self, left, right):
            return self.a(left) + self.b(right)

    model = Two()
    ends = {e.path for e in fadeout.measure(model, ((X, X + 1), None), loss=lambda o, _: o.square().mean()).ends}
    assert ends == {"left", "right"}
    assert fadeout.measure(model, {"left": X, "right": X}).log_gain


def test_targets_and_masks_are_never_ends():
    class Masked(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(16, 16)

        def forward(self, x, attention_mask, labels):
            out = self.a(x) * attention_mask
            return {"loss": F.mse_loss(out, labels)}

    ledger = fadeout.measure(Masked(), {"x": X, "attention_mask": torch.ones(64, 1), "labels": X.clone()})
    assert [e.path for e in ledger.ends] == ["x"]


def test_within_accounts_for_one_part():
    model = nn.Sequential(mlp(3), nn.Tanh(), nn.Linear(5, 5))
    whole = fadeout.examine(model, (X, Y), loss=F.cross_entropy)
    part = fadeout.examine(model, (X, Y), loss=F.cross_entropy, within="0")
    assert part.ledger.closing_error < 1e-6
    assert part.decades == pytest.approx(part.ledger.weights[0].norm - part.ledger.weights[-1].norm, abs=1e-9)
    assert part.weight_layers == 4 < whole.weight_layers == 5
    assert {layer.path for layer in part.layers} == {"0.0", "0.2", "0.4", "0.6"}
    deep = fadeout.examine(nn.Sequential(nn.Linear(16, 16), mlp(2)), (X, Y), loss=F.cross_entropy, within="1")
    assert [e.what for e in deep.ledger.ends] == ["input"]
    assert [w.path for w in deep.ledger.weights] == ["1.0", "1.2", "1.4"]


def test_within_a_part_that_is_bypassed_the_account_still_closes():
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.enc, self.head = nn.Linear(16, 16), mlp(2), nn.Linear(5, 5)
            self.side = nn.Linear(16, 5)

        def forward(self, x):
            h = self.a(x)
            return self.head(self.enc(h) + self.side(h) + self.side(x))

    exam = fadeout.examine(Around(), (X, Y), loss=F.cross_entropy, within="enc")
    assert exam.ledger.closing_error < 1e-6
    assert [e.path for e in exam.ledger.ends] == ["a"]

    class Unused(Around):
        def forward(self, x):
            return self.side(x)

    with pytest.raises(FadeoutError, match="did not run"):
        fadeout.examine(Unused(), (X, Y), loss=F.cross_entropy, within="enc")


def test_one_tensor_passed_twice_is_one_input_and_the_true_gradient():
    attention = nn.MultiheadAttention(16, 2, batch_first=True)
    x = torch.randn(4, 5, 16)
    ledger = fadeout.measure(attention, step=lambda m: m(x, x, x)[0].square().sum())
    leaf = x.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(attention(leaf, leaf, leaf)[0].square().sum(), leaf)
    assert ledger.log_gain == pytest.approx(math.log10(float(gradient.double().norm())), abs=1e-6)
    assert len(ledger.ends) == 1


# ---- verdicts


def test_twenty_sigmoids_vanish_by_slope_and_the_report_says_which_layers():
    model = mlp(20, nn.Sigmoid, gain=None)
    exam = fadeout.examine(model, (X, Y), loss=F.cross_entropy, optimizer=torch.optim.Adam(model.parameters()))
    assert exam.verdict == "vanishing"
    assert exam.decades < -14
    assert exam.decades_per_layer.slope == pytest.approx(-0.85, abs=0.06)
    assert exam.decades_per_layer.residual < 0.1
    finding = exam.findings[0]
    assert (finding.code, finding.level, finding.where[0]) == ("FO101", "alarm", "0")
    assert finding.cause[0].kind == "slope"
    assert finding.cause[0].share == pytest.approx(0.71, abs=0.03)
    assert exam.effective_depth.layers == 0
    assert exam.weight_layers == 21
    assert "in practice" in exam.sentence
    assert any("never exceeds 0.25" in w.why for w in finding.wont_help)


def test_a_gradient_of_1e_69_is_told_from_zero():
    exam = fadeout.examine(mlp(80, nn.Sigmoid, gain=None), (X, Y), loss=F.cross_entropy)
    wide = fadeout.measure(mlp(80, nn.Sigmoid, gain=None).double(), (X.double(), Y), loss=F.cross_entropy)
    assert exam.decades == pytest.approx(wide.decades, abs=1e-2)
    assert exam.decades < -60
    assert all(math.isfinite(w.norm) for w in exam.ledger.weights)


def test_what_no_float_can_hold_is_a_bound_and_no_severed_path():
    exam = fadeout.examine(mlp(400, nn.Sigmoid, gain=None, width=8), (X, Y), loss=F.cross_entropy)
    assert exam.verdict == "vanishing"
    assert exam.decades < -140
    assert any(u.op == "range" for u in exam.ledger.unaccounted)


def test_wide_weights_explode_and_the_largest_layer_is_named():
    exam = fadeout.examine(mlp(20, gain=3.0), (X, Y), loss=F.cross_entropy)
    assert exam.verdict == "exploding"
    assert exam.findings[0].cause[0].kind == "weight"
    assert exam.findings[0].where == ("0",)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 65536.0])
def test_a_healthy_network_is_left_in_peace_at_any_scale_of_loss(scale):
    exam = fadeout.examine(mlp(20), (X, Y), loss=lambda o, y: scale * F.cross_entropy(o, y))
    assert exam.verdict == "flows"
    assert exam.findings == ()
    assert exam.decades == pytest.approx(fadeout.measure(mlp(20), (X, Y), loss=F.cross_entropy).decades, abs=1e-4)


def test_a_dead_layer_is_named_and_the_operation_that_ends_the_gradient():
    model = mlp(4)
    with torch.no_grad():
        model[2].bias.fill_(-1e3)
    exam = fadeout.examine(model, (X, Y), loss=F.cross_entropy)
    assert exam.verdict == "dead"
    assert exam.decades == -math.inf
    assert exam.findings[0].where == ("2",)
    entries = exam.ledger.trunk.entries
    assert [e.path for e in entries if e.log_gain == -math.inf] == ["3"]
    assert sum(math.isinf(e.log_gain) for e in entries) == 1  # once, and no nan after it
    assert not any(math.isnan(e.log_gain) for e in entries)


def test_a_detached_front_part_is_severed():
    class Cut(nn.Module):
        def __init__(self):
            super().__init__()
            self.encoder, self.head = mlp(2), nn.Linear(5, 5)

        def forward(self, x):
            return self.head(self.encoder(x).detach())

    exam = fadeout.examine(Cut(), (X, Y), loss=F.cross_entropy)
    assert exam.verdict == "severed"
    assert exam.findings[0].where == ("encoder.4", "encoder.2", "encoder.0")  # the one beside the cut first
    assert exam.findings[0].line.startswith("test_examine.py:") and "detach" in exam.findings[0].claim


def test_a_frozen_front_part_is_no_finding():
    model = nn.Sequential(mlp(4), nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 5))
    model[0].requires_grad_(False)
    exam = fadeout.examine(model, (X, Y), loss=F.cross_entropy)
    assert exam.verdict == "flows"
    assert [(e.what, e.path) for e in exam.ledger.ends] == [("weight", "1")]


def test_backward_is_not_sent_through_a_frozen_part():
    class Spy(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, g):
            raise AssertionError("backward went where training would not go")

    class Frozen(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.head = nn.Linear(16, 16), nn.Linear(16, 16), nn.Linear(16, 5)
            self.a.bias.requires_grad_(False)
            self.b.requires_grad_(False)
            self.a.weight.requires_grad_(False)

        def forward(self, x):
            return self.head(self.b(Spy.apply(self.a(x))))

    assert fadeout.measure(Frozen(), (X, Y), loss=F.cross_entropy).ends[0].what == "weight"


def test_a_zero_parameter_elsewhere_does_not_hide_a_dead_layer():
    class Positioned(nn.Module):
        def __init__(self):
            super().__init__()
            self.pos, self.net = nn.Parameter(torch.zeros(1, 16)), mlp(4)

        def forward(self, x):
            return self.net(x + self.pos)

    model = Positioned()
    with torch.no_grad():
        model.net[2].bias.fill_(-1e3)
    exam = fadeout.examine(model, (X, Y), loss=F.cross_entropy)
    assert exam.verdict == "dead"
    assert exam.weight_layers == 5  # a position table is no layer


def test_a_function_that_drops_gradients_stands_in_a_line_of_its_own():
    class Drops(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x * 2

        @staticmethod
        def backward(ctx, g):
            return None

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 5)

        def forward(self, x):
            return self.b(Drops.apply(self.a(x)))

    exam = fadeout.examine(Net(), (X, Y), loss=F.cross_entropy)
    assert exam.verdict == "severed"
    assert any("drops the gradient" in u.why for u in exam.ledger.unaccounted)


def test_half_precision_that_flushes_is_vanishing_and_not_severed():
    for dtype, options in ((torch.float16, {}), (torch.float32, {"autocast": torch.float16})):
        model = mlp(20, nn.Sigmoid, gain=None).to(dtype)
        exam = fadeout.examine(model, (X.to(dtype), Y), loss=F.cross_entropy, **options)
        assert exam.verdict == "vanishing"
        assert exam.decades == pytest.approx(-16.5, abs=1.5)


def test_a_float64_network_may_explode_beyond_its_squares():
    model = mlp(60, nn.Identity, gain=1e3).double()
    exam = fadeout.examine(model, (X.double() * 1e-150, Y), loss=F.cross_entropy)
    assert exam.verdict == "exploding"
    assert exam.decades > 150


def test_layers_without_units_are_no_trouble():
    class Spare(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.none, self.b = nn.Linear(16, 8), nn.Linear(16, 0), nn.Linear(8, 5)

        def forward(self, x):
            return self.b(torch.cat([self.a(x), self.none(x)], 1))

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = Spare()
    assert fadeout.examine(model, (X, Y), loss=F.cross_entropy).verdict == "flows"


def test_a_moderate_fade_that_adam_carries_is_a_warning_and_no_alarm():
    model = mlp(8, nn.ReLU, gain=3**-0.5, width=64)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    exam = fadeout.examine(model, (X, Y), loss=F.cross_entropy, optimizer=optimizer)
    assert -4 < exam.decades < -3
    assert exam.verdict == "flows"
    assert {f.level for f in exam.findings} == {"warning"} and exam.findings[0].code == "FO101"
    assert "still carries it" in exam.sentence


def test_answers_without_a_loss_and_a_strangers_optimizer_are_refused():
    with pytest.raises(ValueError, match="there is no loss"):
        fadeout.examine(mlp(1), (X, Y))
    with pytest.raises(ValueError, match="holds no parameter"):
        fadeout.examine(mlp(1), (X, Y), loss=F.cross_entropy, optimizer=torch.optim.SGD(mlp(1).parameters(), lr=0.1))
    with pytest.raises(ModelError, match="in its loss"):
        fadeout.examine(mlp(1), (X, Y + 9), loss=F.cross_entropy)


def test_samples_are_told_from_positions_in_sequence_first_layouts():
    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(16, 16), nn.Linear(16, 5)

        def forward(self, x):
            return self.b(torch.tanh(self.a(x))).mean(0)

    same = torch.randn(7, 1, 16).expand(7, 64, 16).contiguous()  # 64 identical samples of 7 positions
    rows = fadeout.examine(First(), (same, Y), loss=F.cross_entropy).layers
    assert rows[0].between_samples < 1e-6


def test_a_zero_initialised_head_is_undetermined_and_not_an_alarm():
    model = mlp(4)
    nn.init.zeros_(model[-1].weight)
    exam = fadeout.examine(model, (X, Y), loss=F.cross_entropy)
    assert exam.verdict == "undetermined"
    assert exam.findings == ()
    assert "8.weight" in exam.sentence


def test_a_layerscale_of_a_millionth_is_healthy():
    class Scaled(nn.Module):
        def __init__(self):
            super().__init__()
            self.inside = nn.Linear(16, 16)
            self.branches = nn.ModuleList(mlp(1, width=16) for _ in range(6))
            self.lift = nn.ModuleList(nn.Linear(5, 16) for _ in range(6))
            self.gamma = nn.Parameter(torch.full((6, 16), 1e-6))
            self.out = nn.Linear(16, 5)

        def forward(self, x):
            h = self.inside(x)
            for i, (branch, lift) in enumerate(zip(self.branches, self.lift, strict=True)):
                h = h + self.gamma[i] * lift(branch(h))
            return self.out(h)

    assert fadeout.examine(Scaled(), (X, Y), loss=F.cross_entropy).verdict == "flows"


@pytest.mark.parametrize(
    ("spoil", "where"),
    [
        (lambda m, x: m[2].weight.data.fill_(math.nan), "parameters"),
        (lambda m, x: x.fill_(math.nan), "input"),
        (lambda m, x: m[4].weight.data.fill_(1e38), "forward"),
    ],
)
def test_what_is_not_finite_is_traced_to_its_origin(spoil, where):
    model, x = mlp(4), X.clone()
    spoil(model, x)
    exam = fadeout.examine(model, (x, Y), loss=F.cross_entropy)
    assert exam.verdict == "not_finite"
    assert {"parameters": "parameters", "input": "input", "forward": "forward pass"}[where] in exam.sentence
    expected = {"parameters": "2", "input": "0", "forward": "4"}[where]
    assert exam.findings[0].where[0] == expected


def test_a_slope_that_is_infinite_at_zero_is_found_in_the_backward_pass():
    exam = fadeout.examine(mlp(2), (X, Y), loss=lambda o, y: (o - o.detach()).abs().sqrt().sum())
    assert exam.verdict == "not_finite"
    assert "backward" in exam.sentence


# ---- the headline


def test_residual_blocks_are_counted_with_their_shares():
    class Block(nn.Module):
        def __init__(self, scale):
            super().__init__()
            self.a, self.scale = nn.Linear(16, 16), scale

        def forward(self, x):
            return x + self.scale * torch.tanh(self.a(x))

    model = nn.Sequential(nn.Linear(16, 16), *(Block(1.0 if i < 2 else 0.05) for i in range(8)), nn.Linear(16, 5))
    blocks = fadeout.examine(model, (X, Y), loss=F.cross_entropy).effective_blocks
    assert [b.path for b in blocks.blocks] == [str(i) for i in range(1, 9)]
    assert 1.5 < blocks.n < 4  # two blocks carry, six hardly do
    assert blocks.branch_total == pytest.approx(sum(b.share for b in blocks.blocks))
    stages = fadeout.measure(model, (X, Y), loss=F.cross_entropy).stages
    inside = [s for s in stages if len(s.branches) == 2]
    assert len(inside) == 8
    assert all(sum(b.share for b in s.branches) == pytest.approx(1.0) for s in inside)


def test_a_plain_network_has_no_residual_blocks():
    assert fadeout.examine(mlp(5), (X, Y), loss=F.cross_entropy).effective_blocks is None


def test_an_exam_is_immutable_and_shows_itself():
    exam = fadeout.examine(mlp(3), (X, Y), loss=F.cross_entropy)
    with pytest.raises(dataclasses.FrozenInstanceError):
        exam.verdict = "dead"
    assert "flows" in str(exam)
    assert "<svg" in exam._repr_html_()
    assert hash(exam.ledger.stages)


# ---- bad input


def no_parameters():
    return nn.ReLU(), X, {}


def frozen():
    return mlp(1).requires_grad_(False), (X, Y), {"loss": F.cross_entropy}


def not_scalar():
    return mlp(1), (X, Y), {"loss": lambda o, y: F.cross_entropy(o, y, reduction="none")}


def number():
    return mlp(1), (X, Y), {"loss": lambda o, y: F.cross_entropy(o, y).item()}


def not_connected():
    return mlp(1), (X, Y), {"loss": lambda o, y: F.cross_entropy(o.detach().requires_grad_() * 0 + 1, y).detach()}


def no_module():
    return F.relu, (X, Y), {"loss": F.cross_entropy}


def both_forms():
    return mlp(1), (X, Y), {"step": lambda m: m(X).sum()}


def no_batch():
    return mlp(1), None, {"loss": F.cross_entropy}


def three_parts():
    return mlp(1), (X, Y, X), {"loss": F.cross_entropy}


def meta():
    return mlp(1).to("meta"), (X, Y), {"loss": F.cross_entropy}


def no_such_part():
    return mlp(1), (X, Y), {"loss": F.cross_entropy, "within": "encoder"}


@pytest.mark.parametrize(
    ("make", "error", "words"),
    [
        (no_parameters, FadeoutError, "no parameters"),
        (frozen, FadeoutError, "everything is frozen"),
        (not_scalar, FadeoutError, r"scalar, got shape \(64,\)"),
        (number, FadeoutError, "not .item()"),
        (not_connected, FadeoutError, "does not depend on any parameter"),
        (no_module, TypeError, "torch.nn.Module"),
        (both_forms, ValueError, "leave out"),
        (no_batch, ValueError, "no batch"),
        (three_parts, ValueError, "ambiguous"),
        (meta, FadeoutError, "meta device"),
        (no_such_part, FadeoutError, "has no module 'encoder'"),
    ],
    ids=lambda p: getattr(p, "__name__", None),
)
def test_a_wrong_call_says_what_where_and_what_to_do(make, error, words):
    model, batch, options = make()
    before = copy.deepcopy(model) if isinstance(model, nn.Module) else None
    for verb in (fadeout.measure, fadeout.examine):
        with pytest.raises(error, match=words) as caught:
            verb(model, batch, **options)
        assert str(caught.value).startswith(verb.__name__)
    if before is not None:
        assert all(p.grad is None for p in model.parameters())


def test_a_failing_forward_names_the_module_and_keeps_the_cause():
    with pytest.raises(ModelError, match=r"in its forward in '0'.*check the shape") as caught:
        fadeout.examine(mlp(2), (X[:, :7], Y), loss=F.cross_entropy)
    assert isinstance(caught.value.__cause__, RuntimeError)


def test_several_optimizers_of_one_network_are_read_as_one():
    model = mlp(2)
    whole = torch.optim.SGD(model.parameters(), lr=0.1)
    parts = [torch.optim.SGD([p], lr=0.1) for p in model.parameters()]
    one, many = (fadeout.read(model, (X, Y), loss=F.cross_entropy, optimizer=given) for given in (whole, parts))
    assert [layer.update_ratio for layer in many.layers] == [layer.update_ratio for layer in one.layers]
    assert not many.unheld


def test_an_optimizer_of_another_kind_is_refused():
    with pytest.raises(TypeError, match=r"torch\.optim\.Optimizer"):
        fadeout.examine(mlp(1), (X, Y), loss=F.cross_entropy, optimizer="adam")


# ---- odd but right


def test_inference_mode_around_the_call_does_not_matter():
    model = mlp(3)
    expected = fadeout.measure(model, (X, Y), loss=F.cross_entropy).log_gain
    with torch.inference_mode():
        x, y = X.clone(), Y.clone()
        assert fadeout.measure(model, (x, y), loss=F.cross_entropy).log_gain == expected
    with torch.no_grad():
        assert fadeout.measure(model, (X, Y), loss=F.cross_entropy).log_gain == expected


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_other_dtypes_agree_with_float32(dtype):
    expected = fadeout.measure(mlp(4), (X, Y), loss=F.cross_entropy).decades
    found = fadeout.examine(mlp(4).to(dtype), (X.to(dtype), Y), loss=F.cross_entropy)
    assert found.decades == pytest.approx(expected, abs=0.05)
    assert found.environment.dtype == str(dtype).removeprefix("torch.")


def test_autocast_runs_the_forward_in_the_lower_precision():
    exact = fadeout.measure(mlp(4), (X, Y), loss=F.cross_entropy).decades
    rough = fadeout.measure(mlp(4), (X, Y), loss=F.cross_entropy, autocast=torch.bfloat16).decades
    assert rough != exact
    assert rough == pytest.approx(exact, abs=0.05)


def test_wrappers_are_taken_off_and_said_so():
    model = mlp(3)
    expected = fadeout.measure(model, (X, Y), loss=F.cross_entropy).log_gain
    compiled = torch.compile(model, backend="eager")
    exam = fadeout.examine(nn.DataParallel(compiled), (X, Y), loss=F.cross_entropy)
    assert exam.ledger.log_gain == expected
    assert any("torch.compile" in note for note in exam.environment.notes)


def test_an_input_written_in_place_is_cloned_first():
    class Writes(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = nn.Linear(16, 5)

        def forward(self, x):
            x.mul_(0.5)
            return self.a(x)

    x = X.clone()
    ledger = fadeout.measure(Writes(), (x, Y), loss=F.cross_entropy)
    assert ledger.ends[0].what == "input"
    assert torch.equal(x, X)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpoints_of_both_kinds_are_accounted_for(reentrant):
    from torch.utils.checkpoint import checkpoint

    class Saves(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.c = nn.Linear(16, 16), mlp(2), nn.Linear(5, 5)

        def forward(self, x):
            return self.c(checkpoint(self.b, torch.tanh(self.a(x)), use_reentrant=reentrant))

    model = Saves()
    model.a.weight.grad = torch.ones(16, 16)
    kept = model.a.weight.grad
    exam = fadeout.examine(model, (X, Y), loss=F.cross_entropy)
    assert model.a.weight.grad is kept
    assert torch.equal(kept, torch.ones(16, 16))
    assert exam.ledger.closing_error < 1e-6
    assert any("checkpoint" in text for text in exam.environment.notes)
    inside = [layer.path for layer in exam.layers if layer.reached]
    assert inside == ["a", *(f"b.{n}" for n, part in enumerate(model.b) if isinstance(part, nn.Linear)), "c"]


def test_a_shared_module_is_one_layer_used_twice():
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.out = nn.Linear(16, 16), nn.Linear(16, 5)

        def forward(self, x):
            return self.out(torch.tanh(self.a(torch.tanh(self.a(x)))))

    exam = fadeout.examine(Shared(), (X, Y), loss=F.cross_entropy)
    assert [layer.path for layer in exam.layers] == ["a", "out"]
    assert [w.path for w in exam.ledger.weights] == ["a", "a", "out"]


def test_a_solved_batch_is_undetermined():
    exam = fadeout.examine(mlp(2), (X, Y), loss=lambda o, y: F.relu(-o.square()).sum())
    assert exam.verdict == "undetermined"
    assert "sends no gradient" in exam.sentence
