"""FO210 to FO212: the network as written - no nonlinearity, an activation in the wrong place, raw inputs."""

import math

from fadeout.records import Evidence, Finding, Reading, WontHelp
from fadeout.rules.build import STANDARDISE, remark
from fadeout.rules.limits import Limits
from fadeout.rules.signs import last_layers

_LINEAR = frozenset("Linear Conv1d Conv2d Conv3d Embedding ConvTranspose1d ConvTranspose2d".split())
_TWICE = {
    ("Softmax", "LogSoftmax"): ("softmax", "cross_entropy applies it again"),
    ("Sigmoid", "LogSoftmax"): ("sigmoid", "cross_entropy wants logits of any size"),
    ("Relu", "LogSoftmax"): ("ReLU", "a class's logit can't fall below 0, nor learn from there"),
    ("Sigmoid", "BinaryCrossEntropyWithLogits"): ("sigmoid", "the loss applies it again"),
    ("Softmax", "BinaryCrossEntropyWithLogits"): ("softmax", "the loss applies a sigmoid of its own"),
    ("Relu", "BinaryCrossEntropyWithLogits"): ("ReLU", "logits below 0 can't be said"),
}


def no_nonlinearity(reading: Reading, limits: Limits) -> Finding | None:
    """FO210: layers with nothing between them are one layer."""
    ledger = reading.ledger
    deep = [w for w in ledger.weights if w.trunk]
    kinds = {op.kind for op in ledger.operations} - {"loss", "skip"}
    if any(layer.kind not in _LINEAR for layer in reading.layers):
        return None  # a recurrent layer bends inside
    if len(deep) < 2 or kinds != {"weight"} or any(layer.activation for layer in reading.layers):
        return None
    return remark(
        reading,
        code="FO210",
        label="flows",
        level="note",
        claim=f"{len(deep)} weight layers follow each other without a nonlinearity: together they are one linear map",
        where=[w.path for w in deep],
        helps=("an activation between the layers",),
    )


def misplaced_activation(reading: Reading, limits: Limits) -> Finding | None:
    """FO211: an output activation that the loss applies again, or that cuts off half of what it needs."""
    found = twice(reading)
    if found is None:
        return None
    name, why = found
    return remark(
        reading,
        code="FO211",
        label="saturated",
        claim=f"the output goes through {name} before a loss that must not see it: {why}",
        where=last_layers(reading),
        helps=(f"leaving out the {name} before the loss",),
        wont=(WontHelp(what="a larger learning rate", why="the loss stays bounded away from 0"),),
    )


def twice(reading: Reading) -> tuple[str, str] | None:
    """(activation of the output, why the loss must not see it), where it is so."""
    signal = reading.signal
    if signal is None:
        return None
    pairs = _TWICE.items()
    return next((said for (o, loss), said in pairs if signal.output_op == o and loss in signal.loss_ops), None)


def raw_input(reading: Reading, limits: Limits) -> Finding | None:
    """FO212: inputs far from mean 0 and spread 1 that saturate or blow up the first layer."""
    signal = reading.signal
    if signal is None or not signal.input > limits.inputs:
        return None
    first = next((layer for layer in reading.layers if layer.reached or layer.trained), None)
    bad = first is not None and (first.saturated > limits.saturated or first.activation_rms > limits.inputs)
    return remark(
        reading,
        code="FO212",
        label="saturated",
        level="warning" if bad and first is not None and not math.isnan(first.saturated) else "note",
        claim=f"the input has an rms of {signal.input:.3g}: networks are initialised for inputs near 1",
        where=[first.path] if first is not None else [],
        evidence=(Evidence(name="rms of the input", value=signal.input, bound=limits.inputs, unit="ratio"),),
        helps=(STANDARDISE,),
    )
