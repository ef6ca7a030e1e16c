"""Activation: an elementwise function read once, with its kinks and its largest slope."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.theory.mesh import NEAR, Mesh, find_mesh
from fadeout.theory.quadrature import legendre

Elementwise = Callable[[Tensor], Tensor]

_FINITE = 30.0  # phi must be finite up to here


@dataclass(frozen=True, slots=True, kw_only=True)
class Activation:
    """An elementwise activation, validated, ready for expectations.

    Attributes:
        name: What to call it.
        phi: The function, float64 in and out, safe for in-place code.
        mesh: Where phi and its slope have kinks, and how finely to cut.
        jumps: The kinks where phi itself jumps.
        slope_sup: Largest |slope| over |u| <= 61.
        at_zero: phi(0).
    """

    name: str
    phi: Elementwise
    mesh: Mesh
    jumps: tuple[float, ...]
    slope_sup: float
    at_zero: float


def read_activation(phi: Activation | Elementwise | nn.Module, *, name: str | None = None) -> Activation:
    """Validate an activation and find its kinks; draws no random numbers, leaves no trace.

    A module is copied, put into eval mode and float64, so RReLU means its mean slope.

    Args:
        phi: Elementwise function of a tensor: torch function, module, lambda; an Activation
            is returned as it is.
        name: Shown name; by default the function's or the module's own.

    Raises:
        ValueError: If phi is not elementwise, changes the shape, returns nan or infinity for
            |u| <= 30, has no slope, is constant, is random, has an unbounded slope, or is so
            rough that float64 quadrature can't follow it.
    """
    if isinstance(phi, Activation):
        return phi
    if not callable(phi):
        raise ValueError(f"read_activation: {phi!r} is not callable; pass a torch function, module or lambda")
    shown = name or str(getattr(phi, "__name__", type(phi).__name__))
    plain = prepare(phi)
    with torch.random.fork_rng(devices=[]):  # a random activation must not move the user's generator
        _check(plain, shown)
    mesh = find_mesh(partial(evaluate, plain), shown)
    return Activation(
        name=shown,
        phi=plain,
        mesh=mesh,
        jumps=_find_jumps(plain, mesh.kinks, shown),
        slope_sup=_find_slope_sup(plain, mesh.cuts),
        at_zero=float(plain(torch.zeros(1, dtype=torch.float64, device="cpu"))),
    )


def centre_activation(phi: Activation | Elementwise | nn.Module) -> Activation:
    """phi - phi(0): same slopes, no offset; the cure for sigmoid's saturated edge."""
    whole = read_activation(phi)
    offset = whole.at_zero
    return Activation(
        name=f"{whole.name} - {offset:.6g}",
        phi=lambda u: whole.phi(u) - offset,
        mesh=whole.mesh,
        jumps=whole.jumps,
        slope_sup=whole.slope_sup,
        at_zero=0.0,
    )


def evaluate(phi: Elementwise, u: Tensor) -> tuple[Tensor, Tensor]:
    """Values and slopes of phi at u, by autograd.  Same shape as u."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = u.detach().clone().requires_grad_()  # a clone: u may be an inference tensor
        value = phi(leaf)
        (slope,) = torch.autograd.grad(value, leaf, torch.ones_like(value))
    return value.detach(), slope


def prepare(phi: Any) -> Elementwise:
    """The bare function; a module is copied to float64 and eval mode."""
    if isinstance(phi, nn.Module):
        phi = copy.deepcopy(phi).to(device="cpu", dtype=torch.float64).eval().requires_grad_(False)
    call: Elementwise = phi
    return lambda u: call(u.clone())  # the clone lets in-place activations work on a leaf


def _check(phi: Elementwise, name: str) -> None:
    where = f"read_activation: {name!r}"
    u = torch.linspace(-_FINITE, _FINITE, 602, dtype=torch.float64, device="cpu")  # not 0, no round number
    other = u.clone()
    other[301:] = 0.37 * u[301:] + 1.3
    try:
        value, again, mixed = phi(u), phi(u), phi(other)
        few, turned = phi(u[:301]), phi(u.flip(0))
    except Exception as error:  # the user's code may raise anything; it is reported
        raise ValueError(
            f"{where} fails on a float64 tensor of shape (602,): {error}; "
            "pass an elementwise torch function of one tensor"
        ) from error
    if not isinstance(value, Tensor) or value.shape != u.shape:
        got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
        raise ValueError(f"{where} turns shape (602,) into {got}; pass an elementwise function, not a layer")
    if value.dtype != torch.float64:
        raise ValueError(f"{where} returns {value.dtype} for a float64 tensor; keep the dtype of the input inside it")
    value, again, mixed, few, turned = (v.detach() for v in (value, again, mixed, few, turned))
    if bool(value.isnan().any()):
        at = float(u[value.isnan()].abs().min())
        raise ValueError(f"{where} returns nan at |u| = {at:.3g}; it must be defined on the whole real line")
    if not bool(value.isfinite().all()):
        at = float(u[~value.isfinite()].abs().min())
        raise ValueError(f"{where} blows up: infinite at |u| = {at:.3g}; bound it, e.g. with clamp")
    if not torch.equal(value, again):
        raise ValueError(f"{where} gives two answers for one input; pass its mean (a module: eval mode)")
    near = 1e-9 * value.abs().clamp_min(1e-300)
    if bool(
        ((value - mixed).abs() > near)[:301].any()
        or ((value[:301] - few).abs() > near[:301]).any()
        or ((value - turned.flip(0)).abs() > near).any()
    ):
        raise ValueError(
            f"{where} is not elementwise: one output moves with another input (softmax, a norm?); "
            "for normalisation use norms.batch_norm_gain or norms.layer_norm_gain"
        )
    if bool((value == value[0]).all()):
        raise ValueError(f"{where} is constant: no signal and no gradient pass; its gain is 0 at any depth")
    try:
        slope = evaluate(phi, u)[1]
    except RuntimeError as error:
        raise ValueError(
            f"{where} has no gradient ({error}); look for detach, no_grad or a non-differentiable operation"
        ) from error
    if not bool(slope.isfinite().all()):
        at = float(u[~slope.isfinite()].abs().min())
        raise ValueError(f"{where} has slope nan or infinity at |u| = {at:.3g}; guard its formula there")
    if not bool(slope.any()):
        raise ValueError(
            f"{where} is piecewise constant: its slope is 0 wherever it exists, so its gain is 0; "
            "add a surrogate slope, e.g. x + (f(x) - x).detach()"
        )


def _find_jumps(phi: Elementwise, kinks: tuple[float, ...], name: str) -> tuple[float, ...]:
    if not kinks:
        return ()
    at = torch.tensor(kinks, dtype=torch.float64, device="cpu").unsqueeze(1)
    steps = torch.tensor([-1e-6, -1e-8, 1e-8, 1e-6], dtype=torch.float64, device="cpu")
    value, slope = evaluate(phi, at + steps * at.abs().clamp_min(1.0))
    inner, outer = slope[:, 1:3].abs().amax(1), slope[:, [0, 3]].abs().amax(1)
    if bool((inner > 3 * outer.clamp_min(1e-3)).any()):
        where = kinks[int((inner / outer.clamp_min(1e-300)).argmax())]
        raise ValueError(
            f"read_activation: {name!r} has an unbounded slope at u = {where:.6g}: the mean squared "
            "slope is infinite; smooth it there"
        )
    gap = (value[:, 2] - value[:, 1]).abs()
    expected = (slope.abs().amax(1) * 2e-8 * at.squeeze(1).abs().clamp_min(1.0)).clamp_min(1e-12)
    return tuple(k for k, jumps in zip(kinks, (gap > 4 * expected).tolist(), strict=True) if jumps)


def _find_slope_sup(phi: Elementwise, cuts: tuple[float, ...]) -> float:
    edges = torch.tensor([c for c in cuts if abs(c) <= NEAR + 1e-9], dtype=torch.float64, device="cpu")
    x, _ = legendre()
    mesh = (0.5 * (edges[1:] + edges[:-1])).unsqueeze(1) + 0.5 * edges.diff().unsqueeze(1) * x
    beside = torch.cat([edges - 1e-12, edges + 1e-12])  # a slope often peaks at one side of a kink
    grid = torch.linspace(-8, 8, 802, dtype=torch.float64, device="cpu")
    u = torch.cat([mesh.flatten(), beside, grid])
    slope = evaluate(phi, u)[1].abs()
    near = u[int(slope.argmax())] + torch.linspace(-0.05, 0.05, 402, dtype=torch.float64, device="cpu")
    return float(torch.cat([slope, evaluate(phi, near)[1].abs()]).max())
