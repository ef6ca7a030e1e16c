"""The forms of a batch are the same with and without steps=; a training step's arguments are told apart or refused."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BatchEncoding
from transformers.utils import ModelOutput

import fadeout

X, Y = torch.randn(8, 6, generator=torch.Generator().manual_seed(4)), torch.arange(8) % 3


class Pair(NamedTuple):
    x: Tensor
    y: Tensor


class Net(nn.Module):
    """Takes its input in any of a few ways, and carries its own loss where it is given labels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 8), nn.Linear(8, 3)

    def forward(self, x: Any = None, other: Any = None, labels: Tensor | None = None) -> Any:
        if isinstance(x, (tuple, list)) and not isinstance(x, Pair):
            x = x[0] + (x[1][0] if isinstance(x[1], (tuple, list)) else x[1])
        elif not isinstance(x, Tensor):
            x = x.x if hasattr(x, "x") else x["x"]
        if other is not None:
            x = x + other
        found = self.b(torch.relu(self.a(x)))
        return found if labels is None else ModelOutput(loss=F.cross_entropy(found, labels), logits=found)


@dataclass
class Graph:
    x: Tensor


def ce(output: Tensor, y: Tensor) -> Tensor:
    return F.cross_entropy(output, y)


FORMS: dict[str, tuple[Any, Callable[..., Tensor] | None]] = {
    "a tuple": ((X, Y), ce),
    "a list": ([X, Y], ce),
    "a named tuple, one argument": (Pair(X, Y), lambda output: ce(output, Y)),
    "a nested input": (((X, X), Y), ce),
    "a deeper one": (((X, (X, X)), Y), ce),
    "a dict with labels": ({"x": X, "labels": Y}, None),
    "an ordered dict": (OrderedDict(x=X, labels=Y), None),
    "a BatchEncoding": (BatchEncoding({"x": X, "labels": Y}), None),
    "a dict and its answer": (({"x": X}, Y), ce),
    "a dataclass and its answer": ((Graph(X), Y), ce),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_means_the_same_with_steps(name: str) -> None:
    batch, loss = FORMS[name]
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    alone = fadeout.examine(model, batch, loss=loss)
    stepped = fadeout.examine(model, [batch], loss=loss, optimizer=optimizer, steps=3)
    one = fadeout.examine(model, batch, loss=loss, optimizer=optimizer, steps=3)
    assert alone.environment.loss == pytest.approx(F.cross_entropy(model(*_given(batch)), Y).item())
    assert stepped.environment.loss == pytest.approx(alone.environment.loss)
    assert one.course.losses == stepped.course.losses
    assert any("one batch was given" in note for note in one.environment.notes)
    assert alone.ledger.log_gain == pytest.approx(stepped.ledger.log_gain)


def _given(batch: Any) -> tuple[Any, ...]:
    if isinstance(batch, (tuple, list)) and not isinstance(batch, Pair):
        return (batch[0],)
    return (batch if isinstance(batch, Pair) else batch["x"],)


@pytest.mark.parametrize("steps", [0, 2])
def test_numpy_arrays_are_refused_with_the_way_out(steps: int) -> None:
    model = Net()
    options: dict[str, Any] = {}
    batch: Any = (X.numpy(), np.asarray(Y))
    if steps:
        batch, options = [batch], {"optimizer": torch.optim.SGD(model.parameters(), 0.1), "steps": steps}
    with pytest.raises(TypeError, match=r"torch\.from_numpy"):
        fadeout.examine(model, batch, loss=ce, **options)


# ---- training steps


def trains(model: Any, batch: Any, optimizer: Any) -> Tensor:
    assert isinstance(model, nn.Module) and isinstance(optimizer, torch.optim.Optimizer)
    optimizer.zero_grad()
    loss = F.cross_entropy(model(batch[0]), batch[1])
    loss.backward()
    optimizer.step()
    return loss.detach()


def steps_of(model: nn.Module, optimizer: Any) -> dict[str, Callable[..., Any]]:
    """Every order and subset of names that people give their step."""
    return {
        "model, batch, optimizer": lambda model, batch, optimizer: trains(model, batch, optimizer),
        "batch, model, optimizer": lambda batch, model, optimizer: trains(model, batch, optimizer),
        "batch": lambda batch: trains(model, batch, optimizer),
        "model, batch": lambda model, batch: trains(model, batch, optimizer),
        "net, data, opt": lambda net, data, opt: trains(net, data, opt),
        "keywords": lambda *, model, batch, optimizer: trains(model, batch, optimizer),
        "with a default": lambda model, batch, optimizer, verbose=False: trains(model, batch, optimizer),
        "by place": lambda m, b, o: trains(m, b, o),
    }


@pytest.mark.parametrize("names", steps_of(nn.Linear(1, 1), None))
def test_a_training_step_is_called_by_its_names(names: str) -> None:
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    exam = fadeout.examine(model, [(X, Y)], optimizer=optimizer, train_step=steps_of(model, optimizer)[names], steps=4)
    assert exam.course.losses[0] > exam.course.losses[-1]


@pytest.mark.parametrize(
    "step",
    [
        lambda batch, batch_idx: None,  # Lightning's: the second is a number
        lambda batch, index: None,
        lambda thing: None,  # the batch, or the model?
        lambda model, batch, optimizer, scheduler: None,  # a fourth that nobody hands over
    ],
)
def test_arguments_that_cannot_be_told_are_refused(step: Callable[..., Any]) -> None:
    model = Net()
    with pytest.raises((TypeError, ValueError, fadeout.FadeoutError), match="train_step"):
        fadeout.examine(model, [(X, Y)], optimizer=torch.optim.SGD(model.parameters(), 0.1), train_step=step, steps=2)


def test_a_rule_of_the_users_own_joins_ours() -> None:
    def talkative(reading: fadeout.Reading, limits: fadeout.Limits) -> fadeout.Finding | None:
        return fadeout.Finding(
            code="MY001", label="flows", level="note", claim=f"{len(reading.layers)} layers", where=(), line="",
            decades=float("nan"), expected=float("nan"), since=0, confidence=float("nan"), cause=(),
            status="not tested", evidence=(),
        )  # fmt: skip

    exam = fadeout.examine(Net(), (X, Y), loss=ce, rules=(*fadeout.RULES, talkative))
    assert [f.claim for f in exam.findings if f.code == "MY001"] == ["2 layers"]
    reading = fadeout.read(Net(), (X, Y), loss=ce)
    assert isinstance(reading, fadeout.Reading)
    assert list(fadeout.diagnose(reading)) == []
