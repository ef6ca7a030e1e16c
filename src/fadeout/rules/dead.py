"""FO105: units whose slope is zero on every row, so that nothing behind them learns."""

import math

from fadeout.records import Advice, Evidence, Finding, Layer, Level, Reading, WontHelp
from fadeout.rules.build import advise, named, remark
from fadeout.rules.limits import Limits
from fadeout.rules.persistence import all_along, learning, probes, since, stands
from fadeout.rules.signs import Dead, dead, raw_first

RECTIFIERS = frozenset({"relu", "relu6", "rectified", "threshold", "clamp", "clamp_min"})
_HELPS = (
    advise("a smaller learning rate from a fresh start: dead units do not come back", "slower"),
    advise("He initialisation with zero biases", "he_init"),
    advise("LeakyReLU, GELU or ELU, whose slope is never zero on a whole side", "leaky_relu", "gelu"),
)
_AT_START = (  # dead before the first step: no rate has done it
    advise("He initialisation with zero biases", "he_init"),
    "looking at the biases before these units, and at the size of the inputs: what reaches them is below zero on "
    "every row",
    advise("LeakyReLU, GELU or ELU, whose slope is never zero on a whole side", "leaky_relu", "gelu"),
)
_SLOWER_WONT = WontHelp(
    what="a smaller learning rate", why="the units are dead before the first step, so no step has killed them"
)
_WONT = (
    WontHelp(what="training longer", why="a unit without a slope on any row gets no gradient to come back by"),
    WontHelp(what="a larger learning rate", why="it moves the units that live, and kills more of them"),
)


def dead_units(reading: Reading, limits: Limits) -> Finding | None:
    """A dead layer, or half of all rectified units dead, where nothing is learned; a dead part where something is."""
    seen = [dead(probe) for probe in probes(reading)]
    whole = [_whole(d, limits) for d in seen]
    how = learning(reading, limits)
    level: Level = "alarm"
    if reading.course is None:
        start = seen[0]
        if start.worst is None or start.share < limits.part or start.worst.units < limits.units:
            return None
        level = "alarm" if start.worst.path not in reading.bypassed else "warning"
    elif how == "not" and reading.course.one_class and not whole[0]:
        return None  # one class a batch drives any network out
    elif how in ("not", "little", "unknown") and stands(whole):
        if how == "unknown" and not all_along(whole):
            return None
        if how == "little" and not all_along(whole[1:] or whole) and not whole[-1]:
            return None
        if _slowly(reading, whole, limits):
            level = "warning"
    else:
        if not _part(reading, limits):
            return None
    flags = whole if any(whole) else [_gone(probe, limits) is not None for probe in probes(reading)]
    at = next((i for i in range(len(flags) - 1, -1, -1) if flags[i]), 0)
    probe = probes(reading)[at]
    found = _gone(probe, limits) or seen[at].worst
    if found is None:
        return None
    return _finding(reading, probe, seen[at], found, level, limits)


def _slowly(reading: Reading, whole: list[bool], limits: Limits) -> bool:
    """Units that lived for some steps and that no hot step has killed: they die of what they are taught, too."""
    died = next(probe.step for probe, flag in zip(probes(reading), whole, strict=True) if flag)
    return died >= limits.stays and not _hot(reading, limits)


def _whole(found: Dead, limits: Limits) -> bool:
    """The sign: a layer nearly all dead, or half of everything."""
    if found.worst is None:
        return False
    layer = found.share >= limits.dead and found.worst.units >= limits.units
    return layer or found.overall >= limits.dead_overall


def _part(reading: Reading, limits: Limits) -> bool:
    """In a network that learns: one layer all dead, or nearly so beside a way around, in most probes from step 3 on."""
    later = [probe for probe in probes(reading) if probe.step >= 3]
    flags = [_gone(probe, limits) is not None for probe in later]
    return len(flags) >= 3 and all_along(flags)


def _gone(probe: Reading, limits: Limits) -> Layer | None:
    """The first layer, data side first, that is dead by the limit for its place."""
    for layer in probe.layers:
        if math.isnan(layer.dead) or layer.units < limits.units:
            continue
        bound = limits.bypassed if layer.path in probe.bypassed else limits.part
        if layer.dead >= bound:
            return layer
    return None


def _is_gone(start: Reading, path: str, limits: Limits) -> bool:
    """Whether the layer was dead before the first step."""
    return start.step == 0 and any(row.path == path and row.dead >= limits.dead for row in start.layers)


def _finding(reading: Reading, probe: Reading, found: Dead, layer: Layer, level: Level, limits: Limits) -> Finding:
    born = reading.course is not None and _is_gone(probes(reading)[0], layer.path, limits)
    rows = [r for r in probe.layers if not math.isnan(r.dead) and r.dead >= limits.dead]
    paths = tuple(dict.fromkeys([layer.path, *(r.path for r in rows)]))
    more = f" ({len(paths):,} such layers)" if len(paths) > 1 else ""
    return remark(
        probe,
        code="FO105",
        label="dead",
        level=level,
        claim=_claim(found, layer, more, limits)
        + _pushed(probe, layer, limits)
        + ("" if born else _hot(reading, limits)),
        where=paths,
        since=since(reading, lambda p: _whole(dead(p), limits) or _gone(p, limits) is not None),
        evidence=(
            Evidence(
                name="dead units of the layer",
                value=layer.dead,
                bound=limits.part if reading.course is None else limits.dead,
                unit="share",
            ),
            Evidence(name="dead units overall", value=found.overall, bound=limits.dead_overall, unit="share"),
        ),
        helps=_helps(reading, probe, layer, born, limits),
        wont=(_SLOWER_WONT, *_WONT) if born else _WONT,
    )


def _helps(reading: Reading, probe: Reading, layer: Layer, born: bool, limits: Limits) -> tuple[Advice | str, ...]:
    """By what was measured: a bias that shuts the layer, raw inputs, a start that is dead already, a rate too high."""
    first: list[Advice | str] = []
    if _pushed(probe, layer, limits):
        first.append(advise(f"a bias of zero at {named(layer.path)}", "he_init"))
    first += raw_first(reading, limits)
    if layer.activation and layer.activation not in RECTIFIERS:  # flat on both sides: no start brings a slope
        first.append(advise("an activation with a slope: LeakyReLU or GELU", "leaky_relu", "gelu"))
    return (*first, *(_AT_START if born or reading.course is None else _HELPS))


def _pushed(probe: Reading, layer: Layer, limits: Limits) -> str:
    """'; its bias, -10 on average, is what shuts it'."""
    mean = dict(probe.biases).get(layer.path, math.nan)
    if not mean < -limits.bias * layer.activation_rms:
        return ""
    return f"; its bias, {mean:.3g} on average, is what shuts it"


def _hot(reading: Reading, limits: Limits) -> str:
    """'; the first steps changed fc1 by 24 times its weights: the rate is too high'."""
    ratios = reading.course.updates if reading.course is not None else ()
    path, ratio = max(ratios, key=lambda item: item[1], default=("", 0.0))
    if not (math.isfinite(ratio) and ratio > limits.update):
        return ""
    return f"; the first steps changed {named(path)} by {ratio:.1f} times its weights: the rate is too high"


def _claim(found: Dead, layer: Layer, more: str, limits: Limits) -> str:
    if layer.dead < limits.dead:
        whole = f"{found.overall:.0%} of all rectified units are dead on every row"
        return f"{whole}, {layer.dead:.0%} behind {named(layer.path)}"
    kind = layer.activation or "rectified"
    return f"{layer.dead:.0%} of the {kind} units behind {named(layer.path)} are dead on every row{more}"
