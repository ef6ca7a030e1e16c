"""Exploding: weights too wide, rates too high, recurrent weights above 1, a missing norm, an amplifying block."""

from collections.abc import Iterator

from benchmarks.truth import data
from benchmarks.truth.case import Case
from benchmarks.truth.faults.twist import (
    alter,
    at_places,
    change_weights,
    fault_case,
    hidden,
    paths_under,
    replace,
    rescale,
    twisted,
)
from benchmarks.truth.hosts import chains, others, skips
from benchmarks.truth.program import OptimizerMaker, adam, sgd
from benchmarks.truth.programs.cnn import cnn, resnet
from benchmarks.truth.programs.mlp import mlp
from benchmarks.truth.programs.recurrent import elman, reader
from benchmarks.truth.programs.residual import residual
from benchmarks.truth.programs.transformer import encoder, gpt
from torch import nn

WIDE = ("exploding", "bad_init")


def cases() -> Iterator[Case]:
    """All of the family."""
    yield from wide_weights()
    yield from hot_rates()
    yield from wild_states()
    yield from loud_blocks()
    yield from missing_norms()
    yield from large_targets()


def wide_weights() -> Iterator[Case]:
    """Every block's weights times 2, 4, 10."""
    for strength, factor in ((1, 2.0), (2, 4.0), (3, 10.0)):
        twins = [
            mlp("digits", "relu", 10),
            mlp("teacher", "relu", 6, 32, 250),
            mlp("digits", "leaky", 14, optimizer=sgd(0.01), name="mlp-digits-leaky-14-sgd"),
            cnn(8, steps=150),
        ]
        for twin in twins:
            faulty = change_weights(twin, lambda m, p=twin, f=factor: rescale(hidden(m, p), f))
            labels = (*WIDE, "not_finite")
            yield fault_case(faulty, twin, "wide-weights", strength=strength, labels=labels, causes=("weight",))
        for twin in (mlp("digits", "tanh", 10), mlp("parity", "tanh", 8, 32, 300)):
            faulty = change_weights(twin, lambda m, p=twin, f=factor: rescale(hidden(m, p), f))
            labels = (*WIDE, "saturated")
            yield fault_case(faulty, twin, "wide-tanh", strength=strength, labels=labels, causes=("weight", "slope"))


def hot_rates() -> Iterator[Case]:
    """A rate 30, 300, 3,000 times the one that works."""
    makers: list[tuple[str, OptimizerMaker, float]] = [("sgd05", sgd, 0.05), ("adam2", adam, 2e-3)]  # type: ignore[list-item]
    for strength, factor in ((1, 30.0), (2, 300.0), (3, 3000.0)):
        for word, maker, rate in makers:
            twins = [
                mlp("digits", "relu", 6, optimizer=maker(rate), name=f"mlp-digits-relu-6-{word}"),
                mlp("teacher", "gelu", 6, 32, 250, optimizer=maker(rate), name=f"mlp-teacher-gelu-6-{word}"),
                mlp("parity", "tanh", 5, 32, 300, optimizer=maker(rate), name=f"mlp-parity-tanh-5-{word}"),
                cnn(5, optimizer=maker(rate), name=f"cnn-relu-5-{word}"),
                gpt(3, optimizer=maker(rate), name=f"gpt-3-{word}", bar=0.05),
                encoder(3, optimizer=maker(rate), name=f"encoder-3-{word}"),
                reader("lstm", 20, forget=3.0, optimizer=maker(rate * 5), name=f"lstm-first-T20-{word}"),
            ]
            for twin in twins:
                scale = 5 if twin.name.startswith("lstm") else 1
                faulty = replace(twin, optimizer=maker(rate * factor * scale))
                yield fault_case(
                    faulty,
                    twin,
                    "hot-rate",
                    strength=strength,
                    labels=("exploding", "not_finite", "dead", "saturated"),
                    trap=False,
                )


def wild_states() -> Iterator[Case]:
    """Recurrent weights above 1, in a ReLU net by hand and in torch's tanh layer."""
    for strength, gain in ((1, 1.5), (2, 2.5), (3, 5.0)):
        for length in (12, 20):
            yield fault_case(
                elman(length, nn.ReLU, gain),
                elman(length, nn.ReLU),
                "wild-state",
                strength=strength,
                labels=("exploding", "not_finite", "bad_init"),
                where=("again", ""),
                causes=("weight",),
            )
            yield fault_case(
                elman(length, nn.Tanh, gain),
                elman(length, nn.Tanh),
                "wild-tanh-state",
                strength=strength,
                labels=("exploding", "saturated", "bad_init"),
                where=("again", ""),
                causes=("weight", "slope"),
            )


def loud_blocks() -> Iterator[Case]:
    """One block whose output is multiplied by far too much."""
    for strength, factor in ((1, 1e2), (2, 1e4), (3, 1e6)):
        for twin in (*chains(), *skips(), *others()):
            if "tanh" in twin.name:
                continue  # there it saturates: the other family
            for place, path in at_places(twin):
                faulty = twisted(twin, path, lambda x, f=factor: x * f)
                yield fault_case(
                    faulty,
                    twin,
                    "loud-block",
                    strength=strength,
                    place=place,
                    labels=("exploding", "not_finite"),
                    where=paths_under(path),
                    causes=("weight", "other"),
                )


def missing_norms() -> Iterator[Case]:
    """Residual nets that add without a norm: the stream doubles with every block."""
    for strength, depth in ((1, 15), (2, 30), (3, 50)):
        for optimizer, word in ((adam(1e-3), ""), (sgd(0.02), "-sgd")):
            twin = residual(depth, "relu", optimizer=optimizer, name=f"residual-relu-{depth}{word}")
            faulty = residual(depth, "relu", normed=False, gain=1.5, optimizer=optimizer)
            yield fault_case(
                faulty,
                twin,
                "missing-norm",
                strength=strength,
                labels=("exploding", "not_finite", "bad_init"),
                causes=("weight", "skip"),
            )
        twin = resnet(4 + 2 * strength)

        def change(model: nn.Module) -> None:
            for m in model.modules():
                for word in ("bn1", "bn2"):
                    if hasattr(m, word):
                        setattr(m, word, nn.Identity())

        yield fault_case(
            alter(twin, change),
            twin,
            "missing-batchnorm",
            strength=strength,
            labels=("exploding", "not_finite", "dead"),
            causes=("weight", "skip"),
        )


def large_targets() -> Iterator[Case]:
    """Regression on targets in the thousands with a rate made for targets of 1."""
    for strength, scale in ((1, 30.0), (2, 300.0), (3, 3e4)):
        for act in ("relu", "gelu"):
            twin = mlp("teacher", act, 5, 32, 250, optimizer=sgd(0.02), name=f"mlp-teacher-{act}-5-sgd")
            faulty = replace(twin, batches=lambda s=scale: [(x, y * s) for x, y in data.teacher()])
            yield fault_case(
                replace(faulty, skill=twin.skill),
                twin,
                "large-targets",
                strength=strength,
                labels=("exploding", "not_finite", "dead"),
                trap=False,
            )
