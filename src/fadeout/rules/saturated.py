"""FO106: an activation so far out on its flat sides that its slope passes almost nothing."""

import math
from collections.abc import Callable

from fadeout.records import Evidence, Finding, Layer, Level, Reading, WontHelp
from fadeout.rules.build import STANDARDISE, advise, named, remark
from fadeout.rules.factors import before, near_one
from fadeout.rules.limits import Limits
from fadeout.rules.persistence import all_along, hindered, learning, plateau, probes, since, stands
from fadeout.rules.signs import hidden_saturation, last_layers, output_saturation, shut_gate
from fadeout.rules.wiring import twice

Find = Callable[[Reading, Limits], Layer | None]
_WONT = (
    WontHelp(what="a larger learning rate", why="it drives the units further out; the slope is what is missing"),
    WontHelp(what="gradient clipping", why="nothing is too large here"),
)


def saturated(reading: Reading, limits: Limits) -> Finding | None:
    """A hidden, gate or output activation saturated on most elements, where nothing is learned."""
    return (
        _of(reading, limits, _hidden, bound=limits.saturated)
        or _of(reading, limits, shut_gate, bound=limits.shut)
        or _of(reading, limits, _output, bound=limits.output_saturated)
        or _certain(reading, limits)
    )


def _certain(reading: Reading, limits: Limits) -> Finding | None:
    """A loss that sends back decades less than at the start, though nothing is solved: a judge that is certain."""
    course = reading.course
    if course is None or course.broken is not None or learning(reading, limits) not in ("not", "unknown"):
        return None
    sent = [max((w.norm for w in probe.ledger.weights if w.last), default=math.nan) for probe in course.probes]
    first, last = course.probes[0].loss, course.probes[-1].loss
    if course.backwards == 1 and not abs(last) >= 0.5 * abs(first):
        return None  # so little is left to be sent because the loss is solved
    flags = [value <= sent[0] + limits.silenced for value in sent]
    if not math.isfinite(sent[0]) or not flags[-1] or 2 * sum(flags) < len(flags):
        return None
    start = course.probes[flags.index(True)].step
    fallen = sent[-1] - sent[0]
    return remark(
        reading,
        code="FO106",
        label="saturated",
        level="alarm",
        claim="the loss itself sends back "
        + ("nothing any more" if fallen == -math.inf else f"{-fallen:.0f} decades less than at the start")
        + ": what judges the output, or the end of the network, has become certain",
        where=last_layers(reading),
        since=start,
        evidence=(Evidence(name="gradient of the loss", value=fallen, bound=limits.silenced, unit="decades"),),
        helps=(
            "a loss that still pushes where the judge is certain: -log D(G(z)) in place of log(1 - D(G(z)))",
            "fewer or slower steps of the judge, or a penalty on its gradient",
        ),
        wont=_WONT,
    )


def _of(reading: Reading, limits: Limits, find: Find, *, bound: float) -> Finding | None:
    flags = [find(probe, limits) is not None for probe in probes(reading)]
    level = _level(reading, limits, flags, find(reading, limits), output=find is _output)
    if level is None or not any(flags):
        return None
    probe = probes(reading)[max(i for i, flag in enumerate(flags) if flag)]
    layer = find(probe, limits)
    assert layer is not None
    start = since(reading, lambda p: find(p, limits) is not None)
    held = bound if reading.course is not None else max(bound, limits.saturated_at_start)
    wide = _off_scale(probe, layer, limits)
    return _finding(reading, probe, layer, level, held, find is _output, start, wide, limits)


def _level(reading: Reading, limits: Limits, flags: list[bool], start: Layer | None, *, output: bool) -> Level | None:
    how = learning(reading, limits)
    if reading.course is None:
        if output or start is None or start.saturated < limits.saturated_at_start:
            return None
        return "warning" if start.path in reading.bypassed else "alarm"
    if how == "not":
        late = reading.course.one_class and not flags[0]  # one class a batch drives any network out
        return "alarm" if stands(flags) and not late else None
    if how == "little":  # what came with the learning is not what hinders it
        return "alarm" if all_along(flags) or (len(flags) > 2 and all_along(flags[1:])) else None
    if not all_along(flags):
        return None
    if output:  # normal once something is learned, unless the loss applies an activation of its own
        return (
            "alarm"
            if how == "well" and twice(reading) is not None and reading.course.learned[-1] < limits.slack
            else None
        )
    if how == "unknown" or (len(flags) >= 4 and plateau(reading, limits)):
        return "alarm"
    if start is not None and start.mean_slope < limits.flat and hindered(reading, limits):
        return "alarm"
    return "warning" if reading.course.learned[-1] < limits.slack else None


def _hidden(probe: Reading, limits: Limits) -> Layer | None:
    found = hidden_saturation(probe)
    return found if found is not None and found.saturated > limits.saturated else None


def _output(probe: Reading, limits: Limits) -> Layer | None:
    found = output_saturation(probe)
    return found if found is not None and found.saturated > limits.output_saturated else None


def _off_scale(probe: Reading, layer: Layer, limits: Limits) -> bool:
    """The layer reads an input that nobody standardised."""
    return probe.signal is not None and probe.signal.input > limits.wide and probe.layers[0].path == layer.path


def _factor(reading: Reading, probe: Reading, layer: Layer) -> str:
    """What makes the layer's output large: then, or at the start, where something still comes through."""
    return before(probe, layer.activation) or before(reading, layer.activation)


def _finding(
    reading: Reading,
    probe: Reading,
    layer: Layer,
    level: Level,
    bound: float,
    output: bool,
    start: int,
    wide: bool,
    limits: Limits,
) -> Finding:
    helps = (
        *((STANDARDISE,) if wide else ()),
        *near_one(_factor(reading, probe, layer)),
        advise("smaller initial weights (Glorot)", "glorot_init"),
        advise("a normalisation before the activation", "layer_norm", "batch_norm"),
        *(("a loss that takes logits, without an activation of its own",) if output else ()),
    )
    rows = (
        f"; {probe.silent_rows:.0%} of the rows are wrong and send next to nothing back"
        if output and probe.silent_rows >= limits.silent_rows
        else ""
    )
    paths = tuple(dict.fromkeys([layer.path, *(r.path for r in probe.layers if not output and r.saturated > bound)]))
    return remark(
        probe,
        code="FO106",
        label="saturated",
        level=level,
        claim=f"{layer.saturated:.0%} of the {layer.activation} behind {named(layer.path)} is saturated: "
        f"its mean slope is {layer.mean_slope:.2g} of the largest{rows}",
        where=paths,
        since=start,
        evidence=(
            Evidence(name="saturated elements", value=layer.saturated, bound=bound, unit="share"),
            Evidence(name="mean slope over the largest", value=layer.mean_slope, bound=math.nan, unit="share"),
        ),
        helps=helps,
        wont=_WONT,
    )
