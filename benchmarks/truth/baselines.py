"""What a user has today: AutoTrainer's rule, and fixed thresholds on the gradient of each layer.

Both run the user's loop to its horizon and look at the weight gradients that the steps leave behind.

AutoTrainer: Zhang, Zhai, Ma, Shen, ICSE 2021, "AUTOTRAINER: An Automatic DNN Training Problem Detection and Repair
System"; conditions and defaults as in its code, github.com/shiningrain/AUTOTRAINER, AutoTrainer/utils/monitor.py
(commit 04f4033), functions gradient_issue, weights_issue, loss_issue, IssueMonitor.determine:

- not finite loss, weight or gradient, or loss >= 1e5                                              -> explode
- only where training has not converged, judged from 30 % of the epochs on: best accuracy below Theta = 0.7, or no
  epoch raised it by delta = 0.01
    - share of zeros over all gradients >= gamma = 0.7                                             -> dying ReLU
    - norm of the first kernel's gradient / the last kernel's > beta_3 = 70                        -> explode
    - that ratio < beta_1 = 1e-3 and the first norm < beta_2 = 1e-4                                -> vanish

Its other words (not_converge, unstable) are no gradient faults: flows. It names no layer.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from benchmarks.truth.case import Setup
from benchmarks.truth.program import advance
from torch import Tensor, nn

BETA_1, BETA_2, BETA_3, GAMMA, THETA, DELTA = 1e-3, 1e-4, 70.0, 0.7, 0.7, 0.01
JUDGED_FROM = 0.3  # of the epochs
LOSS_LIMIT = 1e5
TOO_SMALL, TOO_LARGE = 1e-7, 1e3
Answer = tuple[str, str | None]  # verdict word and module path
Baseline = Callable[[Setup, int], Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What one epoch leaves behind: norms by kernel in order of registration, zeros, progress."""

    done: float
    norms: tuple[tuple[str, float], ...]
    zeros: float
    loss: float
    accuracy: float | None
    finite: bool


def autotrainer(setup: Setup, steps: int) -> Answer:
    """The published rule; where a task has no accuracy, the gate asks of the loss what delta asks of the accuracy."""
    return _autotrainer(setup, steps, _stuck)


def autotrainer_ungated(setup: Setup, steps: int) -> Answer:
    """The same without its look at accuracy."""
    return _autotrainer(setup, steps, lambda looks: True)


def thresholds(setup: Setup, steps: int) -> Answer:
    """Any layer's weight gradient below 1e-7 or above 1e3 at any look."""
    for look in _looks(setup, steps):
        if not look.finite:
            return "not_finite", next((name for name, norm in look.norms if norm != norm or norm == float("inf")), None)
        for name, norm in look.norms:
            if norm < TOO_SMALL:
                return "vanishing", name
            if norm > TOO_LARGE:
                return "exploding", name
    return "flows", None


BASELINES: dict[str, Baseline] = {
    "AutoTrainer": autotrainer,
    "AutoTrainer without its gate": autotrainer_ungated,
    "fixed thresholds": thresholds,
}


def _autotrainer(setup: Setup, steps: int, gate: Callable[[list[Look]], bool]) -> Answer:
    looks: list[Look] = []
    dead = wide = faded = False
    for look in _looks(setup, steps):
        looks.append(look)
        if not look.finite:
            return "not_finite", None  # its word is explode; the kinder reading
        if look.loss >= LOSS_LIMIT:
            return "exploding", None
        if look.norms:
            first, last = look.norms[0][1], look.norms[-1][1]
            ratio = first / last if last else float("inf") if first else 0.0
            dead = dead or look.zeros >= GAMMA
            wide = wide or ratio > BETA_3
            faded = faded or (ratio < BETA_1 and first < BETA_2)
        if look.done >= JUDGED_FROM and gate(looks):
            for seen, word in ((dead, "dead"), (wide, "exploding"), (faded, "vanishing")):
                if seen:
                    return word, None
    return "flows", None


def _stuck(looks: list[Look]) -> bool:
    accuracies = [look.accuracy for look in looks if look.accuracy is not None]
    if accuracies:
        rises = [b - a for a, b in itertools.pairwise(accuracies)]
        return max(accuracies) < THETA or max(rises, default=1.0) < DELTA
    losses = [look.loss for look in looks]
    falls = [(a - b) / max(abs(a), 1e-12) for a, b in itertools.pairwise(losses)]
    return max(falls, default=1.0) < DELTA


def _looks(setup: Setup, steps: int) -> Iterator[Look]:
    """One look an epoch, ten at least over the horizon."""
    every = max(1, min(len(setup.batches), steps // 10))
    done = 0
    while done < steps:
        count = min(every, steps - done)
        start = done % len(setup.batches)
        turned = Setup(
            model=setup.model,
            batches=setup.batches[start:] + setup.batches[:start],
            loss=setup.loss,
            optimizer=setup.optimizer,
            train_step=setup.train_step,
        )
        losses = advance(turned, count)
        done += count
        yield _look(setup, losses, done / steps)


def _look(setup: Setup, losses: list[float], done: float) -> Look:
    norms, zeros, total = [], 0, 0
    finite = all(abs(v) < float("inf") for v in losses)
    for name, p in setup.model.named_parameters():
        finite = finite and bool(p.isfinite().all())
        if p.grad is None:
            continue
        grad = p.grad.to_dense() if p.grad.is_sparse else p.grad
        zeros += int((grad == 0).sum())
        total += grad.numel()
        finite = finite and bool(grad.isfinite().all())
        if p.dim() > 1:
            norms.append((name.rpartition(".")[0], grad.norm().item()))
    return Look(
        done=done,
        norms=tuple(norms),
        zeros=zeros / max(total, 1),
        loss=sum(losses) / len(losses),
        accuracy=_accuracy(setup.model, setup.batches[0]),
        finite=finite,
    )


def _accuracy(model: nn.Module, batch: Any) -> float | None:
    """On one batch, where the targets are classes."""
    pair = tuple(batch.values()) if isinstance(batch, dict) else batch
    if not isinstance(pair, tuple) or len(pair) != 2 or pair[1].is_floating_point():
        return None
    x, y = pair
    training, state = model.training, torch.get_rng_state()
    model.eval()
    with torch.no_grad():
        out = model(x)
    model.train(training)
    torch.set_rng_state(state)
    logits = getattr(out, "logits", out)
    if not isinstance(logits, Tensor) or logits.shape[:-1] != y.shape:
        return None
    kept = y >= 0
    return (logits.argmax(-1) == y)[kept].double().mean().item()
