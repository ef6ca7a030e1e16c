"""Inputs of a command: what its options name, made - model, batch, loss, optimizer."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from fadeout.errors import FadeoutError
from fadeout.records import Exam

if TYPE_CHECKING:
    from fadeout.target import Target

LOSSES = (
    "cross_entropy",
    "mse_loss",
    "l1_loss",
    "binary_cross_entropy_with_logits",
    "nll_loss",
    "smooth_l1_loss",
)
OPTIMIZERS = ("SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "NAdam", "Muon")


def run_exam(
    spec: str,
    data: str,
    shape: str,
    tokens: int,
    rows: int,
    loss: str,
    optimizer: str,
    lr: float,
    within: str,
    steps: int,
    reach: int,
    seed: int,
    planned: bool = False,
) -> Exam:
    import torch

    from fadeout.exams import examine as run
    from fadeout.target import make

    torch.manual_seed(seed)
    with prints_aside():
        target = make(spec, verb="examine")
    chosen = target.loss
    if steps:
        batch = batches_of(target, data, shape, tokens, rows, seed)
    else:
        batch = batch_of(target, data, shape, tokens, rows, seed, "examine")
    if loss:
        chosen = loss_named(loss)
    elif chosen is None and (isinstance(batch, tuple) or steps):
        chosen = torch.nn.functional.cross_entropy if data == "digits" else None
    used = target.optimizer
    if optimizer:
        used = optimizer_named(optimizer, target, lr)
    with prints_aside():
        exam = run(target.model, batch, loss=chosen, optimizer=used, within=within or None, reach=reach, steps=steps)
        if not planned:
            return exam
        from fadeout.planning import plan

        one = batch[0] if steps and isinstance(batch, list) else batch
        found = plan(target.model, one, loss=chosen, optimizer=used, exam=exam)
        return replace(exam, plan=found.entries, wont_help=found.wont_help)


def batches_of(target: "Target", data: str, shape: str, tokens: int, rows: int, seed: int) -> Any:
    """What steps= trains on: the factory's own batches, the bundled data cut into batches, or random ones."""
    if not data and not shape:
        batch = batch_of(target, data, shape, tokens, rows, seed, "examine")
        single = isinstance(batch, dict) or (isinstance(batch, (tuple, list)) and _is_pair(batch))
        return [batch] if single else batch
    if data == "digits":
        x, y = batch_of(target, data, shape, tokens, 1797, seed, "examine")
        return [(a, b) for a, b in zip(x.split(rows), y.split(rows), strict=True) if len(a) == min(rows, len(x))]
    return [batch_of(target, data, shape, tokens, rows, seed + n, "examine") for n in range(8)]


def _is_pair(batch: Any) -> bool:
    """(x, y), not a list of two batches."""
    return len(batch) == 2 and not all(isinstance(part, (tuple, list, dict)) for part in batch)


def run_forecast(spec: str, data: str, shape: str, tokens: int, rows: int, seed: int) -> Any:
    import torch

    from fadeout.forecast import predict as run
    from fadeout.target import make

    torch.manual_seed(seed)
    with prints_aside():
        target = make(spec, verb="predict")
    batch = batch_of(target, data, shape, tokens, rows, seed, "predict")
    pair = isinstance(batch, (tuple, list)) and len(batch) == 2
    with prints_aside():
        return run(target.model, batch[0] if pair else batch)  # theory asks for no answers


def batch_of(target: "Target", data: str, shape: str, tokens: int, rows: int, seed: int, verb: str) -> Any:
    from fadeout import data as bundled

    if data and data not in bundled.NAMES:
        raise FadeoutError(
            f"{verb}: there is no data set {data!r}, only {' and '.join(bundled.NAMES)}; "
            "for your own data let the function return (model, batch, loss)"
        )
    if data == "digits":
        return bundled.digits(target.model, rows=rows, verb=verb)
    if shape or data == "random":
        try:
            size = tuple(int(part) for part in shape.replace("x", ",").split(","))
        except ValueError:
            size = ()
        if not size or min(size) < 1:
            raise FadeoutError(
                f"{verb}: --shape {shape!r} is no shape of one sample; write for example --shape 64 or --shape 3,32,32"
            )
        return bundled.random_batch(target.model, size, rows=rows, seed=seed, vocabulary=tokens or None)
    if target.batch is None:
        raise FadeoutError(
            f"{verb}: the function returned no batch to feed the model; let it return (model, batch, loss), "
            "or add --data digits, or --shape 3,32,32 for random input"
        )
    return target.batch


def loss_named(name: str, verb: str = "examine") -> Any:
    import torch.nn.functional as functional

    from fadeout.target import load_object

    if ":" in name:
        return load_object(name, verb=verb)
    found = getattr(functional, name, None) or getattr(functional, f"{name}_loss", None)
    if not callable(found):
        raise FadeoutError(f"{verb}: torch.nn.functional has no loss {name!r}; it has for example {', '.join(LOSSES)}")
    return found


def optimizer_named(name: str, target: "Target", lr: float, verb: str = "examine") -> Any:
    import torch

    known = {o.lower(): o for o in OPTIMIZERS if hasattr(torch.optim, o)}
    if name.lower() not in known:
        raise FadeoutError(
            f"{verb}: there is no optimizer {name!r} here; choose one of {', '.join(known.values())}, "
            "or let the function return (model, batch, loss, optimizer)"
        )
    flat = known[name.lower()] != "Muon"  # which takes matrices only
    trained = [p for p in target.model.parameters() if p.requires_grad and (flat or p.dim() == 2)]
    if not trained:
        raise FadeoutError(
            f"{verb}: {name} finds nothing to train: no parameter of the model requires a gradient"
            + ("" if flat else " and is a matrix, which Muon needs")
        )
    try:
        return getattr(torch.optim, known[name.lower()])(trained, lr=lr)
    except ValueError as error:
        raise FadeoutError(f"{verb}: {name} refuses this: {error}; check --lr") from error


@contextmanager
def prints_aside() -> Iterator[None]:
    """What the user's code prints goes to standard error, so that --json stays JSON."""
    with redirect_stdout(sys.stderr):
        yield
