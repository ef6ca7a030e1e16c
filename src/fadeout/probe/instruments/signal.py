"""Signal: what enters and leaves the network, in which number format."""

import math
from typing import Any

import torch
from torch import Tensor

from fadeout.call.batch import is_pair, tensors
from fadeout.call.modes import autocast_dtype
from fadeout.probe.account.norms import norm
from fadeout.probe.graph import kinds
from fadeout.probe.instruments.instrument import Instrument, Observed
from fadeout.probe.instruments.units import Units
from fadeout.records import Signal


class Signals(Instrument):
    """Sizes of input, output and targets, and the operations of the loss."""

    def fields(self, seen: Observed) -> dict[str, Any]:
        question = seen.held.question
        return {
            "loss": seen.first.loss,
            "signal": _signal(seen, seen.of(Units), question.batch),
            "dtype": _dtype(seen, question.autocast),
            "optimizer": type(question.optimizer).__name__ if question.optimizer is not None else "",
        }


def _signal(seen: Observed, units: Units, batch: Any) -> Signal:
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
    )


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
