"""Hosts: the healthy programs into which faults are put at five places."""

from functools import cache

from benchmarks.truth.program import Program, sgd
from benchmarks.truth.programs.autoencoder import autoencoder, vae
from benchmarks.truth.programs.cnn import cnn, resnet
from benchmarks.truth.programs.contrastive import contrastive
from benchmarks.truth.programs.diffusion import diffusion
from benchmarks.truth.programs.dqn import dqn
from benchmarks.truth.programs.gan import gan
from benchmarks.truth.programs.graph import graph
from benchmarks.truth.programs.mlp import mlp
from benchmarks.truth.programs.recommender import recommender
from benchmarks.truth.programs.residual import residual
from benchmarks.truth.programs.transformer import encoder, gpt
from benchmarks.truth.programs.unet import unet


@cache
def chains() -> tuple[Program, ...]:
    """Programs in which what one block loses is lost."""
    return (
        mlp("digits", "relu", 8),
        mlp("parity", "tanh", 7, 32, 300),
        mlp("teacher", "gelu", 6, 32, 250),
        mlp("digits", "relu", 6, optimizer=sgd(0.03), name="mlp-digits-relu-6-sgd"),
        cnn(6),
        autoencoder(),
    )


@cache
def skips() -> tuple[Program, ...]:
    """Programs whose blocks stand beside a skip."""
    return (resnet(5), residual(20, "gelu"), encoder(5, steps=150), gpt(5, steps=120))


@cache
def others() -> tuple[Program, ...]:
    """Programs of other shapes: several networks, several losses, tables, graphs, long skips."""
    return (
        vae(), gan(), gan(hard=False), dqn(3), contrastive(), recommender(deep=True), graph(4), diffusion(), unet(),
        gpt(3, own_loss=True), residual(30, "relu", optimizer=sgd(0.02), name="residual-relu-30-sgd"),
    )  # fmt: skip
