"""Vanishing: sigmoid stacks, weights too small, a block that hardly passes anything, states that fade over time."""

from collections.abc import Callable, Iterator

import torch
from benchmarks.truth.case import Case
from benchmarks.truth.faults.twist import (
    at_places,
    change_weights,
    fault_case,
    hidden,
    paths_under,
    rescale,
    swap_acts,
    twisted,
)
from benchmarks.truth.hosts import chains, others, skips
from benchmarks.truth.program import Program, sgd
from benchmarks.truth.programs.branches import branches
from benchmarks.truth.programs.cnn import cnn
from benchmarks.truth.programs.mlp import mlp
from benchmarks.truth.programs.recurrent import elman, reader
from benchmarks.truth.programs.residual import residual
from torch import Tensor, nn


def cases() -> Iterator[Case]:
    """All of the family."""
    yield from sigmoid_stacks()
    yield from small_weights()
    yield from tiny_gains()
    yield from missing_skips()
    yield from fading_states()
    yield from fading_branches()


def sigmoid_stacks() -> Iterator[Case]:
    """Every activation a sigmoid, PyTorch's own initialisation; strength is depth."""
    for strength, depth in ((1, 6), (2, 12), (3, 20)):
        twins = [
            mlp("digits", "relu", depth),
            mlp("digits", "tanh", depth, optimizer=sgd(0.03), name=f"mlp-digits-tanh-{depth}-sgd"),
            mlp("parity", "tanh", depth, 32, 300),
            mlp("spirals", "tanh", depth, 32, 300),
            mlp("teacher", "tanh", depth, 32, 250),
            cnn(max(4, depth // 2), steps=150),
        ]
        for twin in twins:
            make = _default_sigmoid(twin)
            yield fault_case(make, twin, "sigmoid-stack", strength=strength, labels=("vanishing",), causes=("slope",))
    for strength, gain in ((1, 0.5), (2, 0.25), (3, 0.12)):  # softsign of a small multiple: slopes stay, weights fade
        twin = mlp("parity", "tanh", 14, 32, 300)
        faulty = change_weights(twin, lambda m, g=gain, p=twin: rescale(hidden(m, p), g))
        yield fault_case(
            faulty, twin, "small-gain-tanh", strength=strength, labels=("vanishing", "bad_init"), causes=("weight",)
        )


def _default_sigmoid(twin: Program) -> Program:
    def change(model: nn.Module) -> None:
        swap_acts(model, nn.Sigmoid)
        for m in model.modules():
            if isinstance(m, nn.Linear | nn.Conv2d):
                m.reset_parameters()

    return change_weights(twin, change)


def small_weights() -> Iterator[Case]:
    """Weights of every block N(0, small): the old habit of std 0.01, by strength."""
    for strength, std in ((1, 0.05), (2, 0.02), (3, 0.005)):
        twins = [
            mlp("digits", "relu", 8),
            mlp("digits", "gelu", 10, optimizer=sgd(0.02), name="mlp-digits-gelu-10-sgd"),
            mlp("parity", "relu", 8, 32, 300),
            mlp("spirals", "tanh", 10, 32, 300),
            mlp("digits", "selu", 12, optimizer=sgd(0.01), name="mlp-digits-selu-12-sgd"),
            cnn(8, steps=150),
        ]
        for twin in twins:

            def change(model: nn.Module, p: Program = twin, std: float = std) -> None:
                for m in hidden(model, p):
                    nn.init.normal_(m.weight, std=std)  # type: ignore[arg-type]
                    nn.init.zeros_(m.bias)  # type: ignore[arg-type]

            faulty = change_weights(twin, change)
            yield fault_case(
                faulty, twin, "small-weights", strength=strength, labels=("vanishing", "bad_init"), causes=("weight",)
            )


def tiny_gains() -> Iterator[Case]:
    """One block whose output is divided by far too much: a constant in the forward."""
    for strength, factor in ((1, 1e-2), (2, 1e-3), (3, 1e-5)):
        for twin in (*chains(), *skips(), *others()):
            for place, path in at_places(twin):
                faulty = twisted(twin, path, lambda x, f=factor: x * f)
                yield fault_case(
                    faulty,
                    twin,
                    "tiny-gain",
                    strength=strength,
                    place=place,
                    labels=("vanishing",),
                    where=paths_under(path),
                    causes=("weight", "other"),
                )


def missing_skips() -> Iterator[Case]:
    """A deep residual net whose author forgot the addition."""
    for strength, depth in ((1, 12), (2, 24), (3, 50)):
        for act in ("relu", "tanh"):
            twin = residual(depth, act)
            faulty = residual(depth, act, skip=False)
            yield fault_case(
                faulty,
                twin,
                "missing-skip",
                strength=strength,
                labels=("vanishing",),
                causes=("weight", "slope", "skip"),
            )


def fading_states() -> Iterator[Case]:
    """Recurrent states that forget: small recurrent weights, shut forget gates, truncated time."""
    for strength, gain in ((1, 0.6), (2, 0.35), (3, 0.1)):
        for length in (12, 20):
            for act, name in ((nn.Tanh, "weight"), (nn.ReLU, "weight")):
                twin = elman(length, act)
                faulty = elman(length, act, gain)
                yield fault_case(
                    faulty,
                    twin,
                    "fading-state",
                    strength=strength,
                    labels=("vanishing",),
                    where=("again", ""),
                    causes=(name,),
                )
        for kind in ("rnn", "gru"):
            twin = reader(kind, 20)
            faulty = change_weights(twin, lambda m, g=gain: _shrink_recurrent(m, g))
            if kind == "rnn":
                yield fault_case(
                    faulty, twin, "fading-rnn", strength=strength, labels=("vanishing",), where=("rnn",),
                    causes=("weight",),
                )  # fmt: skip
    for strength, bias in ((1, -1.5), (2, -3.0), (3, -6.0)):
        for length in (24, 40):
            twin = reader("lstm", length, forget=3.0, steps=300)
            faulty = reader("lstm", length, forget=bias, steps=300)
            yield fault_case(
                faulty, twin, "shut-gates", strength=strength, labels=("vanishing",), where=("rnn",), causes=("gates",)
            )
        twin = reader("lstm", 24, forget=3.0, by_cell=True)
        faulty = reader("lstm", 24, forget=bias, by_cell=True)
        yield fault_case(
            faulty, twin, "shut-gates", strength=strength, labels=("vanishing",), where=("cell",), causes=("gates",)
        )
    for strength, every in ((1, 8), (2, 4), (3, 2)):
        for kind in ("gru", "lstm"):
            twin = reader(kind, 20, by_cell=True, forget=3.0)
            faulty = reader(kind, 20, by_cell=True, forget=3.0, truncate=every)
            yield fault_case(
                faulty,
                twin,
                "truncated-time",
                strength=strength,
                labels=("vanishing", "severed"),
                where=("cell", ""),
                causes=("truncation",),
            )


@torch.no_grad()
def _shrink_recurrent(model: nn.Module, gain: float) -> None:
    for name, p in model.named_parameters():
        if "weight_hh" in name:
            p *= gain


def fading_branches() -> Iterator[Case]:
    """Two branches, of which the one that knows the answer fades."""
    squash: dict[str, Callable[[Tensor], Tensor]] = {
        "branch-gain": lambda x: x * 1e-2,
        "branch-softclip": lambda x: 0.05 * torch.tanh(0.05 * x),
    }
    for strength, depth in ((1, 4), (2, 8), (3, 14)):
        twin = branches(depth, "tanh")
        faulty = branches(depth, "sigmoid")
        yield fault_case(
            faulty,
            twin,
            "branch-sigmoid",
            strength=strength,
            labels=("vanishing",),
            where=paths_under("left"),
            causes=("slope",),
        )
        for name, op in squash.items():
            for place, path in at_places(twin):
                worse = twisted(twin, path, lambda x, op=op, s=strength: op(x) * 10.0 ** (1 - s))
                yield fault_case(
                    worse,
                    twin,
                    name,
                    strength=strength,
                    place=place,
                    labels=("vanishing",),
                    where=paths_under(path),
                    causes=("weight", "other"),
                )
