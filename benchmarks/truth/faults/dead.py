"""Dying ReLU: large negative biases, all-negative weights, a rate that kills, in one layer or in all."""

from collections.abc import Iterator

from benchmarks.truth.case import Case
from benchmarks.truth.faults.twist import (
    alter,
    at_places,
    change_weights,
    fault_case,
    hidden,
    paths_under,
    replace,
    weighted,
)
from benchmarks.truth.program import Program, sgd
from benchmarks.truth.programs.autoencoder import autoencoder, vae
from benchmarks.truth.programs.bottleneck import bottleneck
from benchmarks.truth.programs.cnn import cnn
from benchmarks.truth.programs.contrastive import contrastive
from benchmarks.truth.programs.dqn import dqn
from benchmarks.truth.programs.gan import gan
from benchmarks.truth.programs.graph import graph
from benchmarks.truth.programs.mlp import mlp
from benchmarks.truth.programs.recommender import recommender
from benchmarks.truth.programs.residual import residual
from torch import nn


def _hosts() -> tuple[Program, ...]:
    return (
        mlp("digits", "relu", 8),
        mlp("parity", "relu", 6, 32, 300),
        mlp("teacher", "relu", 6, 32, 250),
        mlp("digits", "relu", 6, optimizer=sgd(0.03), name="mlp-digits-relu-6-sgd"),
        cnn(6),
        autoencoder(nn.ReLU),
        bottleneck("relu"),
        vae(),
        dqn(3),
        contrastive(),
        recommender(deep=True),
        graph(4),
        gan(),
    )


NO_RELU = ("dec.4", "net.4", "users", "mlp.4", "gen.4", "disc.0", "disc.2")  # outputs, tables, leaky units


def _at_relus(program: Program) -> Iterator[tuple[int, str]]:
    yield from ((place, path) for place, path in at_places(program) if path not in NO_RELU)


def _with_act(path: str) -> tuple[str, ...]:
    """A layer, and in a Sequential the activation after it."""
    stem, _, index = path.rpartition(".")
    return paths_under(path) if stem == "blocks" else paths_under(path, f"{stem}.{int(index) + 1}")


def cases() -> Iterator[Case]:
    """All of the family."""
    yield from one_layer()
    yield from every_layer()
    yield from residual_streams()
    yield from killing_rates()


def one_layer() -> Iterator[Case]:
    """One layer dead: its biases far below zero, or its weights all negative after a ReLU."""
    for strength, share in ((1, 0.9), (2, 1.0), (3, 1.0)):
        bias = -30.0 if strength == 3 else -12.0
        for twin in _hosts():
            for place, path in _at_relus(twin):

                def lower(model: nn.Module, path: str = path, share: float = share, bias: float = bias) -> None:
                    for _, m in weighted(model, path):
                        m.bias[: round(share * len(m.bias))] = bias  # type: ignore[index, arg-type, operator]

                def negate(model: nn.Module, path: str = path) -> None:
                    for _, m in weighted(model, path):
                        m.weight.copy_(-m.weight.abs())  # type: ignore[operator, union-attr]
                        m.bias.fill_(-0.01)  # type: ignore[operator, union-attr]

                faulty = change_weights(twin, lower)
                yield fault_case(
                    faulty, twin, "low-bias", strength=strength, place=place, labels=("dead",),
                    where=_with_act(path), trap=False,
                )  # fmt: skip
                if strength == 3:
                    faulty = change_weights(twin, negate)
                    yield fault_case(
                        faulty, twin, "negative-weights", strength=strength, place=place, labels=("dead", "bad_init"),
                        where=_with_act(path), trap=False,
                    )  # fmt: skip


def every_layer() -> Iterator[Case]:
    """All layers pushed below zero, a little or a lot."""
    for strength, bias in ((1, -1.0), (2, -3.0), (3, -10.0)):
        for twin in (p for p in _hosts() if p.places[0].startswith("blocks")):

            def lower(model: nn.Module, p: Program = twin, bias: float = bias) -> None:
                for m in hidden(model, p):
                    m.bias.fill_(bias)  # type: ignore[operator, union-attr]

            faulty = change_weights(twin, lower)
            yield fault_case(faulty, twin, "low-biases", strength=strength, labels=("dead",), trap=False)


def residual_streams() -> Iterator[Case]:
    """ReLU on the stream itself of a residual net, biases below zero: what dies takes the skip with it."""
    for strength, bias in ((1, -1.0), (2, -3.0), (3, -10.0)):
        twin = residual(20, "relu")

        def change(model: nn.Module, bias: float = bias) -> None:
            model.inp.bias.data.fill_(bias)  # type: ignore[union-attr, operator]
            model.inp = nn.Sequential(model.inp, nn.ReLU())  # type: ignore[assignment, arg-type]

        yield fault_case(
            alter(twin, change), twin, "dead-stem", strength=strength, labels=("dead",),
            where=("inp", "inp.0", "inp.1"), place=0, trap=False,
        )  # fmt: skip


def killing_rates() -> Iterator[Case]:
    """A rate that throws one group of weights so far that its units never fire again."""
    for strength, rate in ((1, 1.0), (2, 5.0), (3, 30.0)):
        for twin in (
            mlp("digits", "relu", 6, optimizer=sgd(0.03, 0.0), name="mlp-digits-relu-6-plain", steps=300),
            mlp("teacher", "relu", 5, 32, 300, optimizer=sgd(0.05, 0.0), name="mlp-teacher-relu-5-plain"),
            cnn(5, optimizer=sgd(0.05, 0.0), name="cnn-relu-5-plain", steps=250),
        ):
            faulty = replace(twin, optimizer=sgd(rate, 0.0))
            yield fault_case(
                faulty, twin, "killing-rate", strength=strength, labels=("dead", "exploding", "not_finite"), trap=False
            )
