"""FO205 and FO206: gradients too small for the number format, or for the optimizer's eps."""

import math

from fadeout.records import Evidence, Finding, Reading, WontHelp
from fadeout.rules.build import advise, listed, remark
from fadeout.rules.limits import Limits
from fadeout.rules.persistence import lasting, probes


def flushed(reading: Reading, limits: Limits) -> Finding | None:
    """Layers most of whose gradient float16 turns to zero under one scale for the whole pass.  Source: trials."""
    paths = lasting(reading, lambda probe: _flushed(probe, limits))
    if not paths:
        return None
    half = reading.dtype == "float16"
    known = [layer.underflow.fp16 for layer in probes(reading)[-1].layers]
    worst = max((share for share in known if not math.isnan(share)), default=1.0)
    worst = 1.0 if half and worst <= limits.flushed else worst  # what float16 flushed is zero already
    return remark(
        reading,
        code="FO205",
        label="vanishing",
        level="warning" if half else "note",
        claim=f"float16 {'flushes' if half else 'would flush'} {worst:.0%} of the gradient at {listed(paths)}, "
        "even with the best loss scale",
        where=paths,
        evidence=(Evidence(name="values flushed in float16", value=worst, bound=limits.flushed, unit="share"),),
        helps=(
            advise("bf16, whose range is float32's", "bf16"),
            "bringing the gradient back first: the flush follows the fade",
        ),
        wont=(WontHelp(what="a larger loss scale", why="the largest gradient is at the format's maximum already"),),
    )


def _flushed(probe: Reading, limits: Limits) -> tuple[str, ...]:
    half = probe.dtype == "float16"
    gone = [r.path for r in probe.layers if half and r.trained and r.reached and r.gradient_norm < limits.gone]
    return tuple(r.path for r in probe.layers if r.underflow.fp16 > limits.flushed or r.path in gone)


def below_eps(reading: Reading, limits: Limits) -> Finding | None:
    """Layers whose gradient is mostly below ten eps, where Adam's step shrinks with it.  Source: trials."""
    paths = lasting(reading, lambda probe: _faint(probe, limits))
    if not paths:
        return None
    rows = [layer for layer in probes(reading)[-1].layers if layer.path in paths]
    worst = max(layer.below_eps for layer in rows)
    return remark(
        reading,
        code="FO206",
        label="vanishing",
        claim=f"{worst:.0%} of the gradient at {listed(paths)} is below ten times the eps of {reading.optimizer}: "
        "those weights move less and less",
        where=paths,
        evidence=(Evidence(name="entries below 10 eps", value=worst, bound=limits.faint, unit="share"),),
        helps=(advise("a smaller eps, 1e-12 and below", "adam_eps"), "Muon on the matrices"),
        wont=(WontHelp(what="a larger learning rate", why="it moves the layers that move already"),),
    )


def _faint(probe: Reading, limits: Limits) -> tuple[str, ...]:
    """A part only: where every layer is faint, the task is solved or the loss is scaled."""
    known = [layer for layer in probe.layers if layer.trained and not math.isnan(layer.below_eps)]
    faint = tuple(layer.path for layer in known if layer.below_eps > limits.faint)
    return faint if len(faint) < len(known) else ()
