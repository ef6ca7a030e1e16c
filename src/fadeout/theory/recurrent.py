"""Recurrent nets: what one step back in time does to the gradient, and how long gates remember."""

import math
from collections.abc import Sequence

from fadeout.theory.activation import Activation, Elementwise, read_activation
from fadeout.theory.expectation import check_variance, expect_moments


def step_gain(phi: Activation | Elementwise, *, sigma_w: float, q: float = 0.0) -> float:
    """Gain of one step of h' = phi(W h + ..), sqrt(sigma_w^2 E phi'^2), for a random W.

    nn.RNN's own initialisation has Var W = 1 / (3 H): sigma_w = 0.577, and with tanh near 0 a
    gain of 0.577 a step, 0.24 decades.

    Args:
        phi: Elementwise activation, or one already read.
        sigma_w: Scale of the recurrent weights, N(0, sigma_w^2 / H).
        q: Variance of the pre-activations; at 0 the largest gain that tanh can have.
    """
    if not (math.isfinite(sigma_w) and sigma_w >= 0):
        raise ValueError(f"step_gain: sigma_w must be finite and >= 0, got {sigma_w}; it is sqrt(H Var W)")
    at = expect_moments(read_activation(phi), check_variance("step_gain", q))
    return sigma_w * math.sqrt(at.slope_second)


def bound_step(phi: Activation | Elementwise, *, spectral_norm: float) -> float:
    """Upper bound on the decades of one step: log10(s_max(W) sup |phi'|).

    Below 0 the gradient vanishes for sure; above 0 it may explode, and need not.

    Args:
        phi: Elementwise activation, or one already read.
        spectral_norm: Largest singular value of the recurrent matrix.

    Source: Pascanu, Mikolov, Bengio 2013, arXiv:1211.5063.
    """
    if not (math.isfinite(spectral_norm) and spectral_norm >= 0):
        raise ValueError(f"bound_step: spectral_norm must be finite and >= 0, got {spectral_norm}; pass s_max")
    bound = spectral_norm * read_activation(phi).slope_sup
    return math.log10(bound) if bound > 0 else -math.inf


def gate_time_scale(bias: float) -> float:
    """Steps that a gate of this bias remembers, 1 / (1 - sigmoid(b)) = 1 + e^b.

    The forget gate of an LSTM, the update gate z of torch's GRU (h = (1 - z) n + z h).
    """
    return 1 + math.exp(min(bias, 709.0))


def gate_bias(time_scale: float) -> float:
    """Bias of a gate that remembers `time_scale` > 1 steps, ln(time_scale - 1)."""
    if not time_scale > 1:
        raise ValueError(f"gate_bias: a gate remembers more than 1 step, got {time_scale}; pass steps > 1")
    return math.log(time_scale - 1)


def gate_log_gain(biases: Sequence[float], *, lag: int) -> float:
    """Decades of the cell path over `lag` steps: log10 of the root mean square of f^lag over units.

    Units with the largest gates carry the tail, so this is far above lag times the mean log f.

    Args:
        biases: Bias of the keep gate of every unit, with no other input.
        lag: Steps back, >= 0.
    """
    if not biases:
        raise ValueError("gate_log_gain: no biases; pass one for every unit")
    if lag < 0:
        raise ValueError(f"gate_log_gain: lag counts steps back and must be >= 0, got {lag}")
    # ln sigmoid(b) = -ln(1 + e^-b), written so that neither end overflows
    logs = [-2 * lag * (max(-b, 0.0) + math.log1p(math.exp(-abs(b)))) for b in biases]
    top = max(logs)
    mean = math.fsum(math.exp(value - top) for value in logs) / len(logs)
    return (top + math.log(mean)) / (2 * math.log(10))
