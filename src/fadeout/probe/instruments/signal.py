"""Signal: what enters and leaves the network, in which number format."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from fadeout.call.batch import is_pair, tensors
from fadeout.call.guard import Guard
from fadeout.call.modes import autocast_dtype
from fadeout.call.question import Question
from fadeout.call.standard import NOTHING, Standard, against_constants
from fadeout.probe.account.norms import norm
from fadeout.probe.graph import kinds
from fadeout.probe.instruments.instrument import Held, How, Instrument, Observed
from fadeout.probe.instruments.units import Units
from fadeout.records import Signal

_BENT = {"ThresholdBackwardBackward": "ReLU", "LeakyReluBackwardBackward": "LeakyReLU"}


class Signals(Instrument):
    """Sizes of input, output and targets, the operations of the loss, and what a constant output would get."""

    def __init__(self, question: Question, how: How) -> None:
        super().__init__(question, how)
        self._standard = NOTHING

    def measure(self, held: Held) -> None:
        question, output = held.question, held.of(Units).returned  # a course judges by a standard of its own
        if held.how != "whole" or question.loss is None or output is None or not is_pair(question.batch):
            return
        modules = question.loss.modules() if isinstance(question.loss, nn.Module) else ()
        try:
            with Guard(modules), torch.no_grad():
                self._standard = against_constants(output, question.batch[1], question.loss)
        except Exception:  # the user's loss on outputs it was not written for: nothing is known then
            self._standard = NOTHING

    def fields(self, seen: Observed) -> dict[str, Any]:
        question = seen.held.question
        return {
            "loss": seen.first.loss,
            "signal": _signal(seen, seen.of(Units), question.batch, self._standard),
            "dtype": _dtype(seen, question.autocast),
            "optimizer": type(question.optimizer).__name__ if question.optimizer is not None else "",
        }


def _signal(seen: Observed, units: Units, batch: Any, standard: Standard) -> Signal:
    """What enters and leaves the network."""
    graph = seen.first.graph
    ends = [j for i, edges in enumerate(graph.edges) if graph.loss_side[i] for _, j, _ in edges]
    outputs = sorted({j for j in ends if not graph.loss_side[j]})
    readers = [kinds.base_name(name) for name, side in zip(graph.names, graph.loss_side, strict=True) if side]
    pair = batch if is_pair(batch) else (batch, None)
    return Signal(
        input=_rms_of(next((t for t in tensors(pair[0]) if t.is_floating_point()), None)),
        output=units.output,
        target=_rms_of(pair[1]) if isinstance(pair[1], Tensor) else math.nan,
        output_op=kinds.base_name(graph.names[outputs[0]]) if outputs else "",
        loss_ops=tuple(dict.fromkeys(reversed(readers))),
        constant=standard.constant,
        ignores_targets=standard.ignores_targets,
        bends_twice=next((word for name, word in _BENT.items() if any(n.startswith(name) for n in graph.names)), ""),
        shapes=_shapes(units.returned, pair[1]),
    )


def _shapes(output: Tensor | None, answers: Any) -> str:
    """'(64, 1) against (64,)' where the two differ and broadcast; '' else."""
    if output is None or not isinstance(answers, Tensor) or not answers.is_floating_point():
        return ""
    if output.shape == answers.shape or not output.dim() or not answers.dim():
        return ""
    try:
        torch.broadcast_shapes(output.shape, answers.shape)  # type: ignore[no-untyped-call]
    except RuntimeError:
        return ""
    return f"{tuple(output.shape)} against {tuple(answers.shape)}"


def _rms_of(tensor: Tensor | None) -> float:
    """Root mean square; 1 for classes."""
    if tensor is None or not tensor.numel() or tensor.layout != torch.strided:
        return math.nan
    if not tensor.is_floating_point():
        return 1.0
    return float(norm(tensor.detach())) / math.sqrt(tensor.numel())


def _dtype(seen: Observed, autocast: torch.dtype | bool | None) -> str:
    """The narrowest format that gradients pass through."""
    kind = autocast_dtype(seen.subject.model, autocast) or seen.first.parameters[0][1].dtype
    return str(kind).removeprefix("torch.")
