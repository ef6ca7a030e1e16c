"""Healthy architectures that puzzle a rule: tied weights, checkpoints, gates, straight-through, idle parts."""

from collections.abc import Callable, Iterator
from typing import Any

import torch
from benchmarks.truth import data
from benchmarks.truth.faults.twist import put
from benchmarks.truth.program import Program, adam, alter
from benchmarks.truth.programs.cnn import resnet
from benchmarks.truth.programs.mlp import mlp
from benchmarks.truth.programs.residual import residual
from benchmarks.truth.programs.transformer import encoder, gpt
from benchmarks.truth.task import accuracy, explained
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint


class Custom(nn.Module):
    """Parts by name and a forward that is a function of them."""

    def __init__(self, run: Callable[[Any, Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self, x)


def _digits(
    name: str, make: Callable[[], nn.Module], places: tuple[str, ...] = (), *, steps: int = 200, **others: Any
) -> Program:
    options: dict[str, Any] = {
        "name": name,
        "steps": steps,
        "model": make,
        "batches": data.flat_digits,
        "loss": nn.functional.cross_entropy,
        "optimizer": adam(2e-3),
        "skill": accuracy(data.flat_digits),
        "places": places,
    }
    return Program(**(options | others))


def programs() -> Iterator[Program]:
    """All of them."""
    yield from shared()
    yield from gated()
    yield from checkpointed()
    yield from discrete()
    yield from idle()
    yield from odd_activations()


def _head() -> nn.Linear:
    return nn.Linear(48, 10)


def shared() -> Iterator[Program]:
    """One block used many times; an autoencoder whose decoder is the encoder's transpose."""

    def again(times: int, act: Callable[[Tensor], Tensor], skip: bool) -> Callable[[Any, Tensor], Tensor]:
        def run(m: Any, x: Tensor) -> Tensor:
            x = act(m.inp(x))
            for _ in range(times):
                x = x + 0.3 * act(m.block(x)) if skip else act(m.block(x))
            y: Tensor = m.head(x)
            return y

        return run

    for times, skip in ((4, False), (8, False), (12, True)):
        yield _digits(
            f"tied-block-x{times}",
            lambda t=times, s=skip: Custom(
                again(t, torch.relu, s), inp=nn.Linear(64, 48), block=_he(nn.Linear(48, 48)), head=_head()
            ),
        )

    def mirrored(m: Any, x: Tensor) -> Tensor:
        h = (m.enc1(x)).tanh()
        h = (m.enc2(h)).tanh()
        h = nn.functional.linear(h, m.enc2.weight.t()).tanh()
        return nn.functional.linear(h, m.enc1.weight.t()) + m.shift.bias

    yield Program(
        name="tied-autoencoder", steps=300,
        model=lambda: Custom(mirrored, enc1=nn.Linear(64, 48), enc2=nn.Linear(48, 16), shift=nn.Linear(1, 64)),
        batches=data.unit_digits, loss=nn.functional.mse_loss, optimizer=adam(3e-3),
        skill=explained(data.unit_digits), places=(), bar=0.3,
    )  # fmt: skip


def _he(linear: nn.Linear) -> nn.Linear:
    nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
    return linear


class Highway(nn.Module):
    """t * h(x) + (1 - t) * x, the gate shut at first."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.change, self.gate = nn.Linear(width, width), nn.Linear(width, width)
        nn.init.constant_(self.gate.bias, -2.0)

    def forward(self, x: Tensor) -> Tensor:
        t = self.gate(x).sigmoid()
        return t * self.change(x).tanh() + (1 - t) * x


class Glu(nn.Module):
    """SwiGLU with a skip and an RMS norm by hand."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(width))
        self.up, self.gate, self.down = nn.Linear(width, width), nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        h = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * self.scale
        y: Tensor = self.down(self.up(h) * nn.functional.silu(self.gate(h)))
        return x + y


class Dense(nn.Module):
    """DenseNet's concatenation."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.linear = nn.Linear(inputs, growth)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, self.linear(x).relu()], 1)


class Post(nn.Module):
    """LN(x + branch(x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear, self.out, self.norm = nn.Linear(width, width), nn.Linear(width, width), nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.norm(x + self.out(self.linear(x).relu()))
        return y


class Drop(nn.Module):
    """Stochastic depth: the branch is left out half of the time."""

    def __init__(self, branch: nn.Module) -> None:
        super().__init__()
        self.branch = branch

    def forward(self, x: Tensor) -> Tensor:
        if self.training and torch.rand(()) < 0.5:
            return x
        y: Tensor = self.branch(x)
        return y


def _row(make: Callable[[], nn.Module], depth: int) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Linear(64, 48), *(make() for _ in range(depth)), _head())


def gated() -> Iterator[Program]:
    """Highways, gated units, dense concatenation, post-norm, stochastic depth, normalised weights."""
    yield _digits("highway-10", _row(lambda: Highway(48), 10))
    yield _digits("highway-20", _row(lambda: Highway(48), 20))
    yield _digits("swiglu-8", _row(lambda: Glu(48), 8))
    yield _digits("post-norm-4", _row(lambda: Post(48), 4))
    yield _digits("post-norm-10", _row(lambda: Post(48), 10))
    yield _digits("maxout", lambda: nn.Sequential(nn.Linear(64, 96), nn.Unflatten(1, (48, 2)), _Max(), _head()))
    yield _digits("dense-6", lambda: nn.Sequential(*(Dense(64 + 12 * i, 12) for i in range(6)), nn.Linear(64 + 72, 10)))
    p = residual(16, "relu", steps=200)
    yield alter(p, _drop_blocks, name="stochastic-depth-16")
    yield alter(resnet(6, steps=150), _drop_blocks, name="stochastic-depth-resnet")
    for word, wrap in (
        ("weight-norm", nn.utils.parametrizations.weight_norm),
        ("spectral-norm", nn.utils.parametrizations.spectral_norm),
        ("orthogonal", nn.utils.parametrizations.orthogonal),
    ):
        yield alter(mlp("digits", "tanh", 4), _wrapper(wrap), name=f"{word}-tanh-4")


class _Max(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.amax(-1)


def _drop_blocks(model: nn.Module) -> None:
    for name, m in list(model.get_submodule("blocks").named_children()):
        put(model, f"blocks.{name}", Drop(m))


def _wrapper(wrap: Callable[[nn.Module], nn.Module]) -> Callable[[nn.Module], None]:
    def change(model: nn.Module) -> None:
        for m in list(model.get_submodule("blocks").modules()):
            if isinstance(m, nn.Linear):
                wrap(m)

    return change


class Checkpointed(nn.Module):
    """A block computed again in the backward, non-reentrant."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = checkpoint(self.inner, x, use_reentrant=False)
        return y


def _checkpoint_blocks(model: nn.Module) -> None:
    for name, m in list(model.get_submodule("blocks").named_children()):
        put(model, f"blocks.{name}", Checkpointed(m))


def checkpointed() -> Iterator[Program]:
    """Blocks under torch's checkpoint."""
    for p in (residual(20, "relu"), gpt(3, steps=100), resnet(4), mlp("digits", "relu", 8), encoder(3)):
        yield alter(p, _checkpoint_blocks, name=f"checkpoint-{p.name}")


def discrete() -> Iterator[Program]:
    """Detach where it belongs: straight-through rounding, vector quantisation, Gumbel choice, targets of one's own."""

    def rounded(m: Any, x: Tensor) -> Tensor:
        h = m.a(x).tanh()
        h = h + (h.sign() - h).detach()
        y: Tensor = m.head(m.b(h).relu())
        return y

    def quantised(m: Any, x: Tensor) -> Tensor:
        h = m.a(x).relu()
        code = m.book.weight[torch.cdist(h.detach(), m.book.weight).argmin(1)]
        h = h + (code - h).detach() + 0.0 * code
        y: Tensor = m.head(m.b(torch.cat([h, m.a(x)], 1)).relu())
        return y

    def chosen(m: Any, x: Tensor) -> Tensor:
        choice = nn.functional.gumbel_softmax(m.gate(x), hard=True)
        out = torch.stack([m.a(x).relu(), m.b(x).tanh()], 1)
        y: Tensor = m.head((choice.unsqueeze(-1) * out).sum(1))
        return y

    yield _digits(
        "straight-through", lambda: Custom(rounded, a=nn.Linear(64, 64), b=nn.Linear(64, 48), head=_head()), steps=300
    )
    yield _digits(
        "vector-quantised",
        lambda: Custom(quantised, a=nn.Linear(64, 24), book=nn.Embedding(32, 24), b=nn.Linear(48, 48), head=_head()),
        steps=300,
    )
    yield _digits(
        "gumbel-choice",
        lambda: Custom(chosen, gate=nn.Linear(64, 2), a=nn.Linear(64, 48), b=nn.Linear(64, 48), head=_head()),
    )


def idle() -> Iterator[Program]:
    """Parts without work: an unused layer, a padded embedding, a vocabulary mostly unseen, zeros, dropout."""

    def plain(m: Any, x: Tensor) -> Tensor:
        y: Tensor = m.head(m.b(m.a(x).relu()).relu())
        return y

    yield _digits(
        "unused-layer",
        lambda: Custom(plain, a=nn.Linear(64, 48), b=nn.Linear(48, 48), old=nn.Linear(48, 48), head=_head()),
    )

    def bag(m: Any, tokens: Tensor) -> Tensor:
        y: Tensor = m.head(m.b(m.embed(tokens).mean(1)).relu())
        return y

    for vocabulary in (50, 2000):
        yield Program(
            name=f"vocabulary-{vocabulary}", steps=200,
            model=lambda v=vocabulary: Custom(
                bag, embed=nn.Embedding(v, 16, padding_idx=0), b=nn.Linear(16, 32), head=nn.Linear(32, 2)
            ),
            batches=data.majority, loss=nn.functional.cross_entropy, optimizer=adam(1e-2),
            skill=accuracy(data.majority), places=(),
        )  # fmt: skip

    def zeroed() -> data.Pairs:
        g = data.seeded(21)
        return [(x * (torch.rand(x.shape, generator=g) < 0.15), y) for x, y in data.flat_digits()]

    yield _digits(
        "mostly-zero-inputs",
        lambda: Custom(plain, a=nn.Linear(64, 48), b=nn.Linear(48, 48), head=_head()),
        batches=zeroed,
        skill=accuracy(zeroed),
        steps=400,
    )
    for rate in (0.5, 0.7):
        yield _digits(
            f"dropout-{rate:g}",
            lambda r=rate: nn.Sequential(
                nn.Linear(64, 96),
                nn.ReLU(),
                nn.Dropout(r),
                nn.Linear(96, 96),
                nn.ReLU(),
                nn.Dropout(r),
                nn.Linear(96, 10),
            ),
        )


class Sine(nn.Module):
    """sin(x), in the manner of SIREN."""

    def forward(self, x: Tensor) -> Tensor:
        return x.sin()


class Square(nn.Module):
    """relu(x)^2."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu().square()


def odd_activations() -> Iterator[Program]:
    """Functions a table of activations does not know."""
    acts: dict[str, Callable[[], nn.Module]] = {
        "sine": Sine, "squared-relu": Square, "hardswish": nn.Hardswish, "relu6": nn.ReLU6, "softsign": nn.Softsign,
        "hardtanh": nn.Hardtanh, "prelu": nn.PReLU, "celu": nn.CELU, "logsigmoid": nn.LogSigmoid, "linear": nn.Identity,
    }  # fmt: skip
    for word, act in acts.items():
        yield _digits(
            f"act-{word}",
            lambda a=act: nn.Sequential(
                nn.Linear(64, 48), a(), nn.Linear(48, 48), a(), nn.Linear(48, 48), a(), nn.Linear(48, 10)
            ),
        )
