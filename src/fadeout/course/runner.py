"""The runner: training steps one after another, with a record of each."""

import math
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.course.capture import clipping
from fadeout.course.habits import Habits
from fadeout.course.scaling import scaling
from fadeout.course.twin import Twin, calm, ran
from fadeout.probe.account.norms import norm, read
from fadeout.probe.graph.paths import readable_path

MEASURED = 3  # steps that change something, of which the updates are measured
AMONG = 21  # first steps that are looked at for them


@dataclass(frozen=True, slots=True, kw_only=True)
class StepRecord:
    """One training step.

    Attributes:
        number: From 1.
        loss: What the step returned; nan where it returned no number.
        finite: The loss is no infinity; nor nan, where losses were numbers before or a parameter is not finite now.
        clipped: For each clip_grad_norm_ of the step, whether it bit.
        moved: Whether a parameter changed; None where it was not measured.
        updates: Relative change of each layer's weights; empty where it was not measured.
        left_out: For each optimizer step that went through a loss scaler, whether it was left out.
    """

    number: int
    loss: float
    finite: bool
    clipped: tuple[bool, ...]
    moved: bool | None
    updates: dict[str, float]
    left_out: tuple[bool, ...] = ()


class Runner:
    """Trains a twin step by step.

    Attributes:
        records: Of every step so far.
        habits: What the loop does around its backward passes.
    """

    def __init__(self, twin: Twin, verb: str) -> None:
        self.twin = twin
        self.verb = verb
        self.records: list[StepRecord] = []
        self.habits = Habits(twin.model, twin.optimizer)

    @property
    def losses(self) -> tuple[float, ...]:
        """Of every step."""
        return tuple(record.loss for record in self.records)

    def run(self, batch: Any) -> StepRecord:
        """One step of the user's.

        Raises:
            ModelError: If it raises, with the step and the user's line.
        """
        number, model = len(self.records) + 1, self.twin.model
        watch = sum(record.moved is True for record in self.records) < MEASURED and number <= AMONG
        before = {name: p.detach().clone() for name, p in model.named_parameters()} if watch else {}
        bites: list[bool] = []
        with clipping(bites), scaling() as scaler, self.habits.watched(number), calm():
            loss = number_of(ran(self.twin, batch, number, self.verb))
        moved, updates = changes(model, before) if watch else (None, {})
        record = StepRecord(
            number=number,
            loss=loss,
            finite=not (math.isinf(loss) or (math.isnan(loss) and self._breaks(loss))),
            clipped=tuple(bites),
            moved=moved,
            updates=updates,
            left_out=tuple(scaler.left_out),
        )
        self.records.append(record)
        return record

    def _breaks(self, loss: float) -> bool:
        """Whether a nan is one: a step that returns no number gives it always."""
        return any(math.isfinite(record.loss) for record in self.records) or not sound(self.twin.model)

    def returned(self, *, first: bool = False) -> float:
        """Median loss of the first three steps, or of the latest ones: three, or a tenth; nan where none is a number.

        A scaler does not change what a step returns, as it changes what it sends backward.
        """
        count = 3 if first else max(3, len(self.records) // 10)
        part = self.losses[:count] if first else self.losses[-count:]
        known = [value for value in part if math.isfinite(value)]
        return median(known) if known else math.nan

    def left_out(self) -> tuple[int, int]:
        """(optimizer steps that a loss scaler left out, those that went through one)."""
        flags = [flag for record in self.records for flag in record.left_out]
        return sum(flags), len(flags)

    def clipped(self) -> float:
        """Share of the clippings that bit; nan where nothing clips."""
        bites = [bite for record in self.records for bite in record.clipped]
        return sum(bites) / len(bites) if bites else math.nan

    def updates(self) -> tuple[tuple[str, float], ...]:
        """Largest relative change of each layer's weights in the steps that were measured, the largest first."""
        largest: dict[str, float] = {}
        for record in self.records:
            for path, ratio in record.updates.items():
                largest[path] = max(largest.get(path, 0.0), ratio)
        return tuple(sorted(largest.items(), key=lambda item: -item[1]))


def changes(model: nn.Module, before: dict[str, Tensor]) -> tuple[bool, dict[str, float]]:
    """(whether a parameter changed, relative change of each layer's weights)."""
    names, scalars = [], []
    for name, p in model.named_parameters():
        old = before.get(name)
        if old is not None and old.shape == p.shape and p.layout == torch.strided:
            names.append((name, p.dim()))
            scalars += [norm(p.detach() - old).double(), norm(old).double()]
    values = read(scalars)
    moved, updates = False, dict[str, float]()
    for i, (name, dim) in enumerate(names):
        change, size = values[2 * i : 2 * i + 2]
        moved = moved or change != 0
        if dim >= 2 and size > 0 and math.isfinite(change):
            path = readable_path(name.rpartition(".")[0])
            updates[path] = max(updates.get(path, 0.0), change / size)
    return moved, updates


def number_of(value: Any) -> float:
    if isinstance(value, dict):
        value = value.get("loss")
    if isinstance(value, (tuple, list)) and value:
        value = value[0]
    if isinstance(value, Tensor):
        return float(value.detach()) if value.numel() == 1 else math.nan
    return float(value) if isinstance(value, (int, float)) else math.nan


def sound(model: nn.Module) -> bool:
    """Whether every parameter is finite."""
    parts = [torch.isfinite(p.detach()).all() for p in model.parameters() if p.layout == torch.strided]
    return not parts or bool(torch.stack([p.to(parts[0].device) for p in parts]).all())
