"""Every trained layer is in the account, or named outside it; where data enters decides what "the gradient" is."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils import parametrizations
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import fadeout

WIDTH, DEEP = 16, 12
X, Y = torch.randn(10, WIDTH, generator=torch.Generator().manual_seed(1)), torch.arange(10) % 4


def deep(count: int = DEEP, act: type[nn.Module] = nn.Sigmoid) -> nn.Sequential:
    """Layers that fade: a sigmoid passes at most a quarter."""
    return nn.Sequential(*(m for _ in range(count) for m in (nn.Linear(WIDTH, WIDTH), act())))


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.deep, self.head = deep(), nn.Linear(WIDTH, 4)


class LearnedQueries(Base):
    def __init__(self) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.randn(len(X), WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.deep(self.query))


class Constant(LearnedQueries):
    """As in StyleGAN: the input is learned, the data only gives the number of rows."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.deep(self.query[:1].repeat(len(x), 1)))


class Latent(LearnedQueries):
    def __init__(self) -> None:
        super().__init__()
        self.spread = nn.Parameter(torch.zeros(len(X), WIDTH))

    def forward(self, eps: Tensor) -> Tensor:
        return self.head(self.deep(self.query + torch.exp(self.spread) * eps))


class Scaled(Base):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.deep(x * self.scale))


class BehindFrozen(Base):
    def __init__(self) -> None:
        super().__init__()
        self.frozen = nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            x = self.frozen(x)
        return self.head(self.deep(x))


class BehindDetach(BehindFrozen):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.deep(self.frozen(x).detach()))


class ComputedTable(Base):
    """Rows are looked up in a tensor that was computed: that is no end."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.embedding(torch.arange(len(x)), self.deep(x)))


class ComputedBag(Base):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(F.embedding_bag(torch.arange(len(x)).unsqueeze(1), self.deep(x), mode="sum"))


class OwnCall(Base):
    def __call__(self, x: Tensor) -> Tensor:
        return self.head(self.deep(x))


FADING: dict[str, Callable[[], nn.Module]] = {
    kind.__name__: kind
    for kind in (
        LearnedQueries, Constant, Latent, Scaled, BehindFrozen, BehindDetach, ComputedTable, ComputedBag, OwnCall,
    )
}  # fmt: skip


def truth(model: nn.Module, run: Callable[[nn.Module], Tensor]) -> float:
    """log10 of the gradient at the output of the first deep layer over that at the last layer's, by plain hooks."""
    found: dict[str, float] = {}

    def keep(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, out: Tensor) -> None:
            out.register_hook(lambda g: found.__setitem__(name, float(g.double().norm())))

        return hook

    handles = [
        model.deep[0].register_forward_hook(keep("first")),  # type: ignore[index,union-attr]
        model.head.register_forward_hook(keep("last")),  # type: ignore[union-attr]
    ]
    run(model).backward()
    model.zero_grad()
    for handle in handles:
        handle.remove()
    return math.log10(found["first"] / found["last"])


@pytest.mark.parametrize("kind", FADING)
def test_what_leads_to_no_data_end_is_measured_as_deep_as_it_is(kind: str) -> None:
    torch.manual_seed(0)
    model = FADING[kind]()
    exam = fadeout.examine(model, (X, Y), loss=F.cross_entropy)
    expected = truth(model, lambda m: F.cross_entropy(m(X), Y))
    assert expected < -5
    assert exam.decades == pytest.approx(expected, abs=1e-4)
    assert exam.verdict == "vanishing"
    assert {w.path for w in exam.ledger.weights} >= {f"deep.{2 * n}" for n in range(DEEP)} | {"head"}
    assert not exam.ledger.outside


class DeepHeadOnDetached(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.trunk, self.first, self.deep, self.second = deep(2, nn.ReLU), nn.Linear(16, 4), deep(), nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        h = self.trunk(x)
        return self.first(h) + self.second(self.deep(h.detach()))


class DecoderFedLate(nn.Module):
    """Learned queries go a long way before they see any data."""

    def __init__(self) -> None:
        super().__init__()
        self.query, self.deep = nn.Parameter(torch.randn(1, 3, WIDTH)), deep()
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.encoder, self.head = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 4)

    def forward(self, x: Tensor) -> Tensor:
        q = self.deep(self.query).expand(len(x), -1, -1)
        memory = self.encoder(x).unsqueeze(1).expand(-1, 4, -1)
        return self.head((q + self.attention(q, memory, memory)[0]).mean(1))


@pytest.mark.parametrize("kind", [DeepHeadOnDetached, DecoderFedLate])
def test_a_part_that_no_data_enters_is_in_the_account_beside_it(kind: type[nn.Module]) -> None:
    torch.manual_seed(0)
    exam = fadeout.examine(kind(), (X, Y), loss=F.cross_entropy)
    paths = {w.path for w in exam.ledger.weights if not w.data}
    assert paths >= {f"deep.{2 * n}" for n in range(DEEP)}
    assert exam.ledger.beginnings
    assert exam.verdict == "vanishing"


class LowRank(nn.Module):
    """Products of parameters alone are no layers of their own."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.ParameterList(nn.Parameter(torch.randn(4, WIDTH) / 4) for _ in range(3))
        self.b = nn.ParameterList(nn.Parameter(torch.randn(WIDTH, 4) / 2) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        for a, b in zip(self.a, self.b, strict=True):
            x = torch.relu(x @ (b @ a).T)
        return x[:, :4]


def normed() -> nn.Module:
    return nn.Sequential(
        parametrizations.weight_norm(nn.Linear(WIDTH, WIDTH)), nn.ReLU(),
        parametrizations.spectral_norm(nn.Linear(WIDTH, WIDTH)), nn.ReLU(),
        parametrizations.orthogonal(nn.Linear(WIDTH, WIDTH)), nn.ReLU(), nn.Linear(WIDTH, 4),
    )  # fmt: skip


@pytest.mark.parametrize("make", [LowRank, normed])
def test_products_of_parameters_alone_belong_to_the_layer_they_make(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    exam = fadeout.examine(make(), (X, Y), loss=F.cross_entropy)
    layers = 3 if make is LowRank else 4
    assert len(exam.ledger.weights) == layers
    assert [e.what for e in exam.ledger.ends] == ["input"]
    assert exam.verdict == "flows"


# ---- the guard: whatever has a gradient stands in the account or is named


class Random(nn.Module):
    """A drawn graph: each layer reads sums, products, detached copies, tables or parameters of what came before."""

    def __init__(self, plan: list[tuple[str, int, int]]) -> None:
        super().__init__()
        self.plan = plan
        self.layers = nn.ModuleList(nn.Linear(6, 6) for _ in plan)
        self.loose = nn.ParameterList(nn.Parameter(torch.randn(5, 6)) for _ in plan)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        seen = [x]
        for n, (how, i, j) in enumerate(self.plan):
            a, b = seen[i % len(seen)], seen[j % len(seen)]
            h = {
                "chain": lambda a=a: a,
                "add": lambda a=a, b=b: a + b,
                "times": lambda a=a, b=b: a * torch.sigmoid(b),
                "detach": lambda a=a: a.detach(),
                "query": lambda n=n: self.loose[n],
                "scaled": lambda a=a, n=n: a * self.loose[n],
                "table": lambda a=a: F.embedding(torch.tensor([4, 3, 2, 1, 0]), a),
                "hyper": lambda a=a, b=b: a @ (b.T @ b) / 5,
            }[how]()
            seen.append(torch.tanh(self.layers[n](h)))
        return self.head(torch.stack(seen[1:]).sum(0))


KINDS = ("chain", "add", "times", "detach", "query", "scaled", "table", "hyper")
plans = st.lists(st.tuples(st.sampled_from(KINDS), st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(plan=plans)
def test_no_layer_with_a_gradient_is_left_out_without_a_word(plan: list[tuple[str, int, int]]) -> None:
    torch.manual_seed(0)
    model = Random(plan)
    x, y = torch.randn(5, 6), torch.arange(5) % 3
    exam = fadeout.examine(model, (x, y), loss=F.cross_entropy)
    F.cross_entropy(model(x), y).backward()
    trained = {name for name, p in model.named_parameters() if p.grad is not None}
    held = {w.path for w in exam.ledger.weights}
    layers = {name.rpartition(".")[0] for name in trained if name.startswith(("layers", "head"))}
    named = {name.rpartition(".")[0] for name in exam.ledger.outside}
    assert layers <= held | named
    if exam.ledger.outside:
        assert exam.verdict != "flows"
        assert named <= {u.path for u in exam.ledger.unaccounted}
    assert exam.ledger.closing_error < 1e-5


# ---- inputs that are easily missed


def test_a_jagged_batch_is_an_input() -> None:
    torch.manual_seed(0)
    model = FADING["Scaled"]()
    model.forward = lambda x: model.head(model.deep(x))  # type: ignore[method-assign,operator]
    batch = torch.nested.nested_tensor([torch.randn(3, WIDTH), torch.randn(5, WIDTH)], layout=torch.jagged)
    exam = fadeout.examine(model, batch, loss=lambda o: sum(p.square().mean() for p in o.unbind()))
    assert [e.what for e in exam.ledger.ends] == ["input"]


def test_the_input_is_an_end_under_a_flop_counter() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 4))
    plain = fadeout.measure(model, (X, Y), loss=F.cross_entropy)
    with FlopCounterMode(display=False):
        counted = fadeout.measure(model, (X, Y), loss=F.cross_entropy)
    assert [(e.what, e.decades) for e in counted.ends] == [(e.what, e.decades) for e in plain.ends]


class RefusesGradient(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 4))

    def forward(self, x: Tensor) -> Tensor:
        if x.requires_grad:
            raise RuntimeError("no gradients here")
        return self.net(x)


def test_a_retry_that_drops_the_input_says_so() -> None:
    ledger = fadeout.measure(RefusesGradient(), (X, Y), loss=F.cross_entropy)
    assert any(u.op == "input" for u in ledger.unaccounted)


@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_parts_are_in_the_account(reentrant: bool) -> None:
    class Checkpointed(Base):
        def forward(self, x: Tensor) -> Tensor:
            x = x.detach().requires_grad_()  # as the manual of the reentrant one asks
            for n in range(0, len(self.deep), 4):
                x = checkpoint(self.deep[n : n + 4], x, use_reentrant=reentrant)
            return self.head(x)

    torch.manual_seed(0)
    model = Checkpointed()
    exam = fadeout.examine(model, (X, Y), loss=F.cross_entropy)
    assert exam.decades == pytest.approx(truth(model, lambda m: F.cross_entropy(m.head(m.deep(X)), Y)), abs=1e-4)  # type: ignore[operator]


def test_a_reentrant_checkpoint_without_a_gradient_at_its_input_is_an_alarm() -> None:
    class Dark(Base):
        def forward(self, x: Tensor) -> Tensor:
            return self.head(checkpoint(self.deep, x, use_reentrant=True))

    exam = fadeout.examine(Dark(), (X, Y), loss=F.cross_entropy)
    assert exam.verdict == "severed"
    assert f"{DEEP} of the {DEEP + 1} layers" in exam.sentence and "checkpoint" in exam.sentence


def test_layers_under_no_grad_that_nobody_said_are_trained_are_a_warning() -> None:
    exam = fadeout.examine(BehindFrozen(), (X, Y), loss=F.cross_entropy)
    (finding,) = [f for f in exam.findings if f.code == "FO103"]
    assert finding.level == "warning" and "frozen" in finding.where


# ---- layers that never move


def optimizer_of(parameters: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(parameters, 0.1)


def test_layers_that_the_optimizer_does_not_hold_are_counted() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(*(m for _ in range(15) for m in (nn.Linear(WIDTH, WIDTH), nn.ReLU())), nn.Linear(WIDTH, 4))
    for layer in model[::2]:
        nn.init.kaiming_normal_(layer.weight)
    exam = fadeout.examine(model, (X, Y), loss=F.cross_entropy, optimizer=optimizer_of(model[-1].parameters()))
    assert any("does not hold 15 of 16 trainable layers" in f.claim for f in exam.findings)
    assert exam.effective_depth is not None and exam.effective_depth.moved == ("30",)


class PlainList(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = [nn.Linear(WIDTH, WIDTH) for _ in range(3)]
        self.table = {"key": nn.Parameter(torch.randn(WIDTH, WIDTH) / 4)}
        self.head = nn.Linear(WIDTH, 4)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.hidden:
            x = torch.relu(layer(x))
        return self.head(x @ self.table["key"])


def test_layers_kept_in_a_plain_list_are_named() -> None:
    model = PlainList()
    exam = fadeout.examine(model, (X, Y), loss=F.cross_entropy, optimizer=optimizer_of(model.parameters()))
    (finding,) = [f for f in exam.findings if f.code == "FO220"]
    assert {"hidden[0]", "hidden[1]", "hidden[2]"} <= set(finding.where)
    assert any("table" in path for path in finding.where)


class NotFiniteForOne(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.gain = nn.Linear(WIDTH, 4), nn.Parameter(torch.zeros(4))

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) * (1 + 0 * self.gain.sqrt())  # the slope of a square root at zero


class ZeroForOne(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer, self.other = nn.Linear(WIDTH, 4), nn.Linear(WIDTH, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(x) + 0 * self.other(x)


def test_a_gradient_that_is_not_finite_for_one_parameter_is_seen_in_one_step() -> None:
    exam = fadeout.examine(NotFiniteForOne(), (X, Y), loss=F.cross_entropy)
    assert exam.verdict == "not_finite"
    assert any("gain" in f.claim for f in exam.findings)


def test_a_gradient_that_is_all_zero_for_one_parameter_is_seen_in_one_step() -> None:
    exam = fadeout.examine(ZeroForOne(), (X, Y), loss=F.cross_entropy)
    assert any(f.code == "FO215" and any("other" in path for path in f.where) for f in exam.findings)
