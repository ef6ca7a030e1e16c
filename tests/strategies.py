"""Strategies: random small models with a batch and a loss, deterministic by their seed.

`modules()` is the union of `FAMILIES`; every family is a strategy of `Case` and takes the dtype.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from operations import OPERATIONS
from random_models import (
    ACTIVATIONS,
    Attention,
    Chain,
    Conv,
    Dense,
    Heads,
    Nested,
    Piece,
    Recurrent,
    Residual,
    SeveralInputs,
    Shared,
    Tokens,
    Transformer,
    UShape,
)

seeds = st.integers(0, 2**31 - 1)
widths = st.integers(2, 9)
depths = st.integers(1, 7)
batch_sizes = st.integers(3, 6)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Case:
    """A model, one batch (x, y) and a loss(output, y).

    x is what the model is called with: a tensor, or a tuple of two that the model takes as one argument
    or as two. y is long where the loss is a cross-entropy, else float.
    """

    name: str
    model: nn.Module
    batch: tuple[Any, Any]
    loss: Callable[[Any, Any], Tensor]

    def __repr__(self) -> str:  # what hypothesis prints for a failing example
        return f"Case({self.name})"


def run(case: Case) -> Tensor:
    """The loss of one forward pass, with float inputs copied and made leaves that require a gradient."""
    x, y = case.batch
    return case.loss(case.model(as_leaves(x)), y)


def as_leaves(x: Any) -> Any:
    """Fresh leaves for float tensors; everything else as it is."""
    if isinstance(x, tuple):
        return tuple(as_leaves(part) for part in x)
    return x.detach().clone().requires_grad_(x.is_floating_point())


def build(name: str, seed: int, dtype: torch.dtype, make: Callable[[], tuple[nn.Module, Any, Any]], loss) -> Case:
    """A case whose model and batch are drawn from the seed, with the global generator put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model, x, y = make()
    to = lambda t: t.to(dtype) if t.is_floating_point() else t  # noqa: E731
    x = tuple(map(to, x)) if isinstance(x, tuple) else to(x)
    return Case(name=f"{name}, seed {seed}", model=model.to(dtype), batch=(x, to(y)), loss=loss)


def labels(n: int, classes: int) -> Tensor:
    """Random classes, shape (n,)."""
    return torch.randint(classes, (n,))


def half_square(output: Tensor, y: Tensor) -> Tensor:
    """Half the squared error, summed: the gradient at the output is output - y."""
    return 0.5 * (output - y).square().sum()


def first_plus_second(output: Any, y: Tensor) -> Tensor:
    """Two heads with their losses added, whatever form the output has."""
    if isinstance(output, dict):
        one, two = output["one"], output["two"]
    elif isinstance(output, list):
        one, two = output[0], output[1]["deep"][0]
    else:
        one, two = output if isinstance(output, tuple) else (output.one, output.two)
    return F.cross_entropy(one, y) + 0.3 * F.cross_entropy(two, y)


@st.composite
def chains(draw, dtype=torch.float64, wrap=None):
    """Linear chains with module, functional and in-place activations; wrap parametrizes each linear."""
    n, depth = draw(batch_sizes), draw(depths)
    sizes = draw(st.lists(widths, min_size=depth + 1, max_size=depth + 1))
    acts = draw(st.lists(st.sampled_from(ACTIVATIONS), min_size=depth - 1, max_size=depth - 1))

    def make():
        model = Chain(sizes, acts, *([wrap] if wrap else []))
        return model, torch.randn(n, sizes[0]), labels(n, sizes[-1])

    name = "weight-normed chain" if wrap else "chain"
    return build(f"{name} {sizes} {acts}", draw(seeds), dtype, make, F.cross_entropy)


def weight_normed(dtype=torch.float64):
    """Chains whose weights are computed from direction and length at each forward."""
    return chains(dtype, wrap=weight_norm)


@st.composite
def residuals(draw, dtype=torch.float64):
    """Residual nets, also with a zero-initialised head or zero-initialised branches (exact zeros)."""
    n, d, w, blocks = draw(batch_sizes), draw(widths), draw(widths), draw(st.integers(1, 4))
    where, zero = (
        draw(st.sampled_from(["pre", "post", "relu"])),
        draw(st.sampled_from(["", "", "head", "branches"])),
    )

    def make():
        model = Residual(d, w, blocks, 3, where, 4)
        for layer in {"head": [model.head], "branches": [b[-1] for b in model.branches]}.get(zero, []):
            nn.init.zeros_(layer.weight)
        return model, torch.randn(n, d), labels(n, 3)

    return build(f"residual {where} {d} {w} x {blocks} zero={zero!r}", draw(seeds), dtype, make, F.cross_entropy)


@st.composite
def nested(draw, dtype=torch.float64):
    """A branch inside a branch."""
    n, half, depth = draw(batch_sizes), draw(st.integers(1, 4)), draw(st.integers(1, 3))
    make = lambda: (Nested(half, depth), torch.randn(n, 2 * half), torch.randn(n, 2 * half))  # noqa: E731
    return build(f"nested {half} x {depth}", draw(seeds), dtype, make, half_square)


@st.composite
def dense(draw, dtype=torch.float64):
    """Dense connections."""
    n, d, growth, depth = draw(batch_sizes), draw(widths), draw(widths), draw(depths)
    make = lambda: (Dense(d, growth, depth, 2), torch.randn(n, d), torch.randn(n, 2))  # noqa: E731
    return build(f"dense {d} + {growth} x {depth}", draw(seeds), dtype, make, F.smooth_l1_loss)


@st.composite
def u_shapes(draw, dtype=torch.float64):
    """Down and up again with long skips."""
    n, sizes = draw(batch_sizes), draw(st.lists(widths, min_size=2, max_size=5))
    make = lambda: (UShape(sizes, 3), torch.randn(n, sizes[0]), torch.randn(n, 3))  # noqa: E731
    return build(f"u shape {sizes}", draw(seeds), dtype, make, F.mse_loss)


@st.composite
def shared(draw, dtype=torch.float64):
    """The same linear several times."""
    n, w, times = draw(batch_sizes), draw(widths), draw(depths)
    make = lambda: (Shared(w, times), torch.randn(n, w), labels(n, w))  # noqa: E731
    return build(f"shared {w} x {times}", draw(seeds), dtype, make, F.cross_entropy)


@st.composite
def several_inputs(draw, dtype=torch.float64):
    """Two towers, a condition at each layer, or a late side input; x is a pair."""
    n, d, w, depth = draw(batch_sizes), draw(widths), draw(widths), draw(st.integers(1, 4))
    how = draw(st.sampled_from(["towers", "condition", "late"]))

    def make():
        return SeveralInputs(d, w, depth, 3, how), (torch.randn(n, d), torch.randn(n, d)), labels(n, 3)

    return build(f"{how} {d} {w} x {depth}", draw(seeds), dtype, make, F.cross_entropy)


@st.composite
def convs(draw, dtype=torch.float64):
    """Convolutions with batch norm in training mode."""
    n, channels, depth = draw(batch_sizes), draw(st.integers(2, 5)), draw(st.integers(1, 3))
    skip = draw(st.booleans())
    pool = draw(st.sampled_from([nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)]))

    def make():
        return Conv(channels, depth, 3, skip, pool), torch.randn(n, 1, 4, 4), labels(n, 3)

    return build(f"conv {channels} x {depth} skip={skip} {pool}", draw(seeds), dtype, make, F.cross_entropy)


@st.composite
def transformers(draw, dtype=torch.float64):
    """Encoder layers without dropout, on tokens or on floats."""
    n, heads, per, layers = (
        draw(batch_sizes),
        draw(st.integers(1, 2)),
        draw(st.integers(1, 4)),
        draw(st.integers(1, 2)),
    )
    first, tokens = draw(st.booleans()), draw(st.booleans())
    width = max(2, heads * per)

    def make():
        reader = nn.Embedding(7, width) if tokens else nn.Linear(3, width)
        x = torch.randint(7, (n, 4)) if tokens else torch.randn(n, 4, 3)
        return Transformer(reader, width, heads, layers, 3, first), x, labels(n, 3)

    name = f"transformer {width} / {heads} x {layers} norm_first={first} tokens={tokens}"
    return build(name, draw(seeds), dtype, make, F.cross_entropy)


@st.composite
def attentions(draw, dtype=torch.float64):
    """scaled_dot_product_attention, causal, read at the last position."""
    n, heads, per = draw(batch_sizes), draw(st.integers(1, 2)), draw(st.integers(1, 4))
    make = lambda: (Attention(3, heads * per, heads, 3), torch.randn(n, 4, 3), labels(n, 3))  # noqa: E731
    return build(f"attention {heads} x {per}", draw(seeds), dtype, make, F.cross_entropy)


@st.composite
def tokens(draw, dtype=torch.float64):
    """Token input, output tied to the embedding."""
    n, w, depth = draw(batch_sizes), draw(widths), draw(depths)
    make = lambda: (Tokens(6, w, depth), torch.randint(6, (n, 3)), labels(n, 6))  # noqa: E731
    return build(f"tokens {w} x {depth}", draw(seeds), dtype, make, F.cross_entropy)


@st.composite
def recurrents(draw, dtype=torch.float64):
    """Loops over time with a cell."""
    n, d, w, steps = draw(batch_sizes), draw(widths), draw(widths), draw(depths)
    cell, every = draw(st.sampled_from([nn.LSTMCell, nn.GRUCell, nn.RNNCell])), draw(st.booleans())
    make = lambda: (Recurrent(d, w, 3, cell, every), torch.randn(n, steps, d), labels(n, 3))  # noqa: E731
    return build(f"{cell.__name__} {d} {w} x {steps} every={every}", draw(seeds), dtype, make, F.cross_entropy)


@st.composite
def operations(draw, dtype=torch.float64):
    """One of OPERATIONS between two linears."""
    n, d, w, name = (
        draw(batch_sizes),
        draw(widths),
        draw(st.integers(3, 9)),
        draw(st.sampled_from(list(OPERATIONS))),
    )
    make = lambda: (Piece(d, w, 2, OPERATIONS[name]), torch.randn(n, d), torch.randn(n, 2))  # noqa: E731
    return build(f"{name} {d} {w}", draw(seeds), dtype, make, F.mse_loss)


@st.composite
def heads(draw, dtype=torch.float64):
    """Two heads, their losses added; outputs as tuple, dict, dataclass, or nested list."""
    n, d, w = draw(batch_sizes), draw(widths), draw(widths)
    form = draw(st.sampled_from(["tuple", "dict", "dataclass", "list"]))
    make = lambda: (Heads(d, w, 3, form), torch.randn(n, d), labels(n, 3))  # noqa: E731
    return build(f"heads as {form} {d} {w}", draw(seeds), dtype, make, first_plus_second)


FAMILIES = (
    *(chains, weight_normed, residuals, nested, dense, u_shapes, shared, several_inputs, convs),
    *(transformers, attentions, tokens, recurrents, operations, heads),
)


def modules(dtype: torch.dtype = torch.float64) -> st.SearchStrategy[Case]:
    """Any of the families."""
    return st.one_of(*(family(dtype) for family in FAMILIES))
