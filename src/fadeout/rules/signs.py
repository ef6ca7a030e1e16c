"""Signs: what one reading shows of dead and saturated units, of fades in a part and along time.  No torch."""

import math
from dataclasses import dataclass
from itertools import pairwise

from fadeout.records import Advice, Chain, Layer, Reading, TimeProfile
from fadeout.rules.build import STANDARDISE
from fadeout.rules.limits import Limits

CEILING = {"sigmoid": 0.25, "hardsigmoid": 1 / 6}  # largest slope


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """Units whose slope is zero on every row.

    Attributes:
        worst: The layer with the largest share, the data side first.
        share: Of its units.
        overall: Of all rectified units.
    """

    worst: Layer | None
    share: float
    overall: float


def dead(reading: Reading) -> Dead:
    """Dead units by layer and over all.

    Where all rows that reach a layer are alike, each of its units is on for every row or off for every row, and that
    says nothing: a layer with living units that does not tell the samples apart is left out.
    """
    seen = reading.depth.seen if reading.depth.layers is not None else None
    known = [
        layer
        for layer in reading.layers
        if not math.isnan(layer.dead) and layer.units > 0 and (seen is None or layer.dead >= 1 or layer.path in seen)
    ]
    units = sum(layer.units for layer in known)
    worst = max(known, key=lambda layer: layer.dead, default=None)
    overall = sum(layer.dead * layer.units for layer in known) / units if units else 0.0
    return Dead(worst=worst, share=worst.dead if worst else 0.0, overall=overall)


def unjudged(probe: Reading, decades: float, limits: Limits) -> bool:
    """A change that one step alone does not judge: standard networks with norms on the way have it and train."""
    normed = any(entry.kind == "norm" for entry in probe.ledger.trunk.entries)
    return normed and abs(decades) < -limits.surely


def last_layers(reading: Reading) -> list[str]:
    """Paths of the layers with no other weights between them and the loss."""
    return [w.path for w in reading.ledger.weights if w.last]


def is_last(reading: Reading) -> frozenset[str]:
    """The same, to ask whether a layer is among them."""
    return frozenset(last_layers(reading))


def hidden_saturation(reading: Reading) -> Layer | None:
    """The hidden layer, gates left out, whose activation is most saturated."""
    last = is_last(reading)
    instead = {"tanh", "erf"} if reading.live else set()  # DyT and Derf: a finding of their own
    known = [
        layer
        for layer in reading.layers
        if not math.isnan(layer.saturated)
        and not layer.gated
        and layer.path not in last
        and layer.activation not in instead
    ]
    return max(known, key=lambda layer: layer.saturated, default=None)


def shut_gate(reading: Reading, limits: Limits) -> Layer | None:
    """A gate that is shut or open for good on nearly every element; one that is merely biased still passes a slope."""
    known = [
        r
        for r in reading.layers
        if r.gated and r.saturated >= limits.shut and r.mean_slope < limits.flat and r.path not in is_last(reading)
    ]
    return max(known, key=lambda layer: layer.saturated, default=None)


def output_saturation(reading: Reading) -> Layer | None:
    """The last layer, where its activation is bounded."""
    last = is_last(reading)
    known = [layer for layer in reading.layers if not math.isnan(layer.saturated) and layer.path in last]
    return max(known, key=lambda layer: layer.saturated, default=None)


def chain_fade(reading: Reading) -> Chain | None:
    """The chain of layers that loses most, where one was found."""
    known = [chain for chain in reading.chains if not math.isnan(chain.fade)]
    return min(known, key=lambda chain: chain.lost, default=None)


def time_fade(reading: Reading) -> TimeProfile | None:
    """The recurrence whose first steps receive least of the whole loss's gradient.

    Of several over equally many steps the one that fades least counts: the layers of a stack carry
    the same time side by side, and what one loses another may bring.
    """
    carries: dict[int, TimeProfile] = {}
    for row in reading.time:
        best = carries.get(row.steps)
        if not math.isnan(row.early) and (best is None or row.early > best.early):
            carries[row.steps] = row
    return min(carries.values(), key=lambda row: row.early, default=None)


def gated(row: TimeProfile) -> bool:
    """Whether a recurrent layer has gates: its reach at the start says little about what it can learn."""
    return any(name not in ("state", "decay") for name, _, _ in row.gates)


def growth(reading: Reading) -> list[tuple[str, float]]:
    """(layer, rms of its output over that of the layer before), the first layer's over the input last."""
    rows = [layer for layer in reading.layers if layer.activation_rms > 0 and math.isfinite(layer.activation_rms)]
    grown = [(b.path, b.activation_rms / a.activation_rms) for a, b in pairwise(rows)]
    if rows and reading.signal is not None and reading.signal.input > 0:
        grown.append((rows[0].path, rows[0].activation_rms / reading.signal.input))
    return grown


def off_scale(reading: Reading, limits: Limits) -> bool:
    """The inputs are raw: far from mean 0 and spread 1."""
    return reading.signal is not None and reading.signal.input > limits.inputs


def raw_first(reading: Reading, limits: Limits) -> tuple[Advice, ...]:
    """The advice that comes before all other where the inputs are raw."""
    return (STANDARDISE,) if off_scale(reading, limits) else ()


def all_zero(reading: Reading) -> bool:
    """No trained layer receives any gradient, though the loss is one."""
    grown = [layer.weight_gradient_norm for layer in reading.layers if layer.trained]
    return bool(grown) and all(g == 0 for g in grown) and math.isfinite(reading.loss)


def still(reading: Reading) -> tuple[str, ...]:
    """Trained layers in the optimizer whose gradient is exactly zero, while others receive one."""
    rows = [layer for layer in reading.layers if layer.trained and not math.isnan(layer.update_ratio)]
    if all(layer.weight_gradient_norm == 0 for layer in rows):
        return ()
    return tuple(layer.path for layer in rows if layer.weight_gradient_norm == 0)
