"""The programs themselves: activations, depths, norms, optimizers, seeds."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from benchmarks.truth.program import OptimizerMaker, Program, adamw, rmsprop, sgd
from benchmarks.truth.programs.autoencoder import autoencoder, vae
from benchmarks.truth.programs.bottleneck import bottleneck
from benchmarks.truth.programs.branches import branches
from benchmarks.truth.programs.cnn import cnn, resnet
from benchmarks.truth.programs.contrastive import contrastive
from benchmarks.truth.programs.diffusion import diffusion
from benchmarks.truth.programs.dqn import dqn
from benchmarks.truth.programs.experts import experts
from benchmarks.truth.programs.gan import gan
from benchmarks.truth.programs.graph import graph
from benchmarks.truth.programs.mlp import batch_norm, mlp
from benchmarks.truth.programs.recommender import recommender
from benchmarks.truth.programs.recurrent import elman, reader
from benchmarks.truth.programs.residual import residual
from benchmarks.truth.programs.transformer import encoder, gpt
from benchmarks.truth.programs.unet import unet
from torch import nn
from torch.optim import Optimizer

DIGITS = {
    "relu": (3, 6, 10, 20),
    "tanh": (3, 8, 15, 20),
    "gelu": (4, 10, 20),
    "silu": (8,),
    "elu": (8,),
    "selu": (8, 15),
    "leaky": (8,),
    "mish": (6,),
    "softplus": (3,),
    "sigmoid": (1,),
}


def programs() -> Iterator[Program]:
    """All of them."""
    for act, depths in DIGITS.items():
        for depth in depths:
            yield mlp("digits", act, depth)
    for act in ("relu", "tanh", "gelu"):
        yield mlp("parity", act, 4, 32, 300)
        yield mlp("parity", act, 7, 32, 300)
        yield mlp("teacher", act, 5, 32, 250)
        yield mlp("spirals", act, 6, 32, 300)
        yield mlp("multihot", act, 3)
    yield from normed()
    yield from by_optimizer()
    yield from convolutions()
    yield from recurrent()
    yield from attention()
    yield from others()
    for seed in (1, 2):
        for p in (mlp("digits", "relu", 10), mlp("parity", "tanh", 5, 32, 300), cnn(6), reader(), gpt(3), resnet(4)):
            yield replace(p, seed=seed, name=f"{p.name}-seed{seed}")


def normed() -> Iterator[Program]:
    """With LayerNorm or BatchNorm in every block, sigmoid among them."""
    for act, depth in (("relu", 10), ("relu", 20), ("tanh", 12), ("sigmoid", 5), ("gelu", 15)):
        yield mlp("digits", act, depth, norm=nn.LayerNorm, name=f"mlp-digits-{act}-{depth}-ln")
        yield mlp("digits", act, depth, norm=batch_norm, name=f"mlp-digits-{act}-{depth}-bn")


def _muon(parameters: Any) -> Optimizer:
    matrices = [p for p in parameters if p.dim() == 2]
    return torch.optim.Muon(matrices, lr=0.02, weight_decay=0.0)


def _of(kind: type[Optimizer], **options: Any) -> OptimizerMaker:
    return lambda parameters: kind(parameters, **options)


def by_optimizer() -> Iterator[Program]:
    """One net by every optimizer."""
    makers: dict[str, OptimizerMaker] = {
        "sgd": sgd(0.03),
        "sgd-plain": sgd(0.1, 0.0),
        "nesterov": sgd(0.03, nesterov=True),
        "adamw": adamw(2e-3, weight_decay=0.1),
        "rmsprop": rmsprop(1e-3),
        "adagrad": _of(torch.optim.Adagrad, lr=0.02),
        "nadam": _of(torch.optim.NAdam, lr=2e-3),
        "adamax": _of(torch.optim.Adamax, lr=4e-3),
        "rprop": _of(torch.optim.Rprop, lr=1e-4),
        "muon": _muon,
    }
    for word, maker in makers.items():
        for act in ("relu", "tanh"):
            yield mlp("digits", act, 6, optimizer=maker, name=f"mlp-digits-{act}-6-{word}")
    yield mlp("teacher", "gelu", 5, 32, 250, optimizer=sgd(0.03), name="mlp-teacher-gelu-5-sgd")
    yield mlp("spirals", "tanh", 4, 32, 500, optimizer=sgd(0.1), name="mlp-spirals-tanh-4-sgd")


def convolutions() -> Iterator[Program]:
    """Chains and residual nets."""
    yield from (cnn(4), cnn(6), cnn(10), cnn(6, nn.Tanh), cnn(6, nn.GELU), cnn(12, nn.ReLU, norm=True))
    yield cnn(6, optimizer=sgd(0.03), name="cnn-relu-6-sgd")
    yield from (resnet(3), resnet(5), resnet(8), resnet(12))
    yield resnet(5, optimizer=adamw(3e-3), name="resnet-5-adamw")
    for depth, act in ((12, "relu"), (24, "gelu"), (50, "relu"), (50, "gelu"), (50, "tanh")):
        yield residual(depth, act)
    yield residual(50, "relu", optimizer=sgd(0.02), name="residual-relu-50-sgd")
    yield residual(20, "gelu", task="parity", steps=300, name="residual-gelu-20-parity")
    yield from (unet(), unet(norm=False))


def recurrent() -> Iterator[Program]:
    """Up to 50 steps, torch's layers and cells by hand."""
    yield from (reader("lstm", 8), reader("lstm", 24), reader("gru", 24), reader("rnn", 20), reader("gru", 12))
    yield reader("lstm", 50, forget=4.0, steps=400, name="lstm-first-T50-open")
    yield reader("lstm", 50, forget=6.0, steps=400, name="lstm-first-T50-wide-open")
    yield reader("gru", 50, steps=400, name="gru-first-T50")
    for kind in ("lstm", "gru", "rnn"):
        yield reader(kind, 24, task="rows")
        yield reader(kind, 16, by_cell=True, forget=3.0)
    yield reader("lstm", 48, task="rows")
    yield reader("lstm", 16, layers=2, forget=3.0)
    yield from (elman(8), elman(12), elman(20), elman(24, nn.ReLU), elman(40, nn.ReLU, steps=300))


def attention() -> Iterator[Program]:
    """Encoders and language models."""
    yield from (encoder(2), encoder(4), encoder(8), encoder(3, drop=0.5), encoder(3, optimizer=sgd(0.05), steps=300))
    yield from (gpt(1), gpt(3), gpt(6), gpt(3, drop=0.5), gpt(3, tied=True), gpt(3, own_loss=True), gpt(10, steps=100))


def others() -> Iterator[Program]:
    """One of everything else."""
    yield from (autoencoder(), autoencoder(nn.ReLU), autoencoder(nn.GELU), vae())
    yield from (gan(), gan(duo=True), gan(nn.Tanh), gan(hard=False), gan(nn.SiLU, depth=3))
    yield from (dqn(), dqn(3), dqn(4), contrastive(), diffusion())
    yield from (recommender(), recommender(sparse=True), recommender(deep=True), graph(2), graph(3))
    yield from (experts(), experts(8, 4), experts(16, 12), branches(), branches(3, "relu"))
    yield from (bottleneck("tanh"), bottleneck("relu"))
