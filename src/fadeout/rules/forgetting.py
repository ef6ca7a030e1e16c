"""FO108: the gradient fades out along time, before it reaches the first steps of a sequence."""

import math

from fadeout.records import Advice, Cause, Evidence, Finding, Kind, Reading, TimeProfile, WontHelp
from fadeout.rules.build import advise, advised, named
from fadeout.rules.limits import Limits
from fadeout.rules.persistence import all_along, hindered, learning, plateau, probes, since, stands
from fadeout.rules.signs import CEILING, gated, time_fade

_KINDS: dict[str, Kind] = {
    "recurrent weight": "weight",
    "slope": "slope",
    "forget gates closed": "slope",
    "forget gates half open": "slope",
    "decay": "weight",
}
_GATED = advise("an LSTM or GRU", "lstm", "gru")
_HELPS: dict[str, tuple[Advice | str, ...]] = {
    "recurrent weight": (
        advise("an identity or orthogonal recurrent weight", "identity_recurrence", "orthogonal_init"),
        _GATED,
    ),
    "slope": ("smaller input weights, so that the state stays off the flat sides of its activation", _GATED),
    "forget gates closed": (advise("a forget bias of 1 or more, or chrono initialisation", "forget_bias", "chrono"),),
    "forget gates half open": (
        advise("a forget bias of 1 or more, or chrono initialisation: torch starts it near 0", "forget_bias", "chrono"),
    ),
    "decay": ("a decay nearer to 1, a longer time constant for some of the units",),
    "truncation": (advise("longer chunks between detach() calls", "keep_graph"),),
}


def forgetting(reading: Reading, limits: Limits) -> Finding | None:
    """A recurrent layer whose first steps get less than 1e-4 of the largest gradient, where nothing is learned.

    A gated layer can learn with a small reach at the start, so it must first sit on a long plateau.
    """
    flags = [_fades(probe, limits) for probe in probes(reading)]
    found = time_fade(next((p for p, f in zip(probes(reading), flags, strict=True) if f), reading))
    if found is None or not any(flags):
        return None
    if reading.course is None:
        return _finding(reading, found, "warning" if not gated(found) else "note", limits)
    how = learning(reading, limits)
    if how in ("not", "little") and stands(flags):
        long = hindered(reading, limits) and all_along(flags) and reading.course.steps >= limits.plateau_steps
        if gated(found) and not plateau(reading, limits) and not long:
            return _finding(reading, found, "warning", limits)
        return _finding(reading, found, "alarm", limits)
    return _finding(reading, found, "note", limits) if all_along(flags) else None


def _fades(probe: Reading, limits: Limits) -> bool:
    found = time_fade(probe)
    return found is not None and found.early <= limits.time


def _finding(reading: Reading, row: TimeProfile, level: str, limits: Limits) -> Finding:
    cause = row.cause or "recurrent weight"
    kind = _KINDS.get(cause)
    lost = f"{-row.early:.1f} decades" if row.early > -math.inf else "everything"
    return Finding(
        code="FO108",
        label="vanishing",
        level=level,  # type: ignore[arg-type]
        claim=f"the gradient loses {lost} on its way back through {row.steps:,} steps of {named(row.path)}: {cause}",
        where=_places(reading, row),
        line=row.cut.line if row.cut is not None else row.line,
        decades=row.early,
        expected=math.nan,
        since=since(reading, lambda p: _fades(p, limits)),
        confidence=math.nan,
        cause=(Cause(kind=kind, share=1.0),) if kind is not None else (),
        status="account",
        evidence=(
            Evidence(
                name="first tenth of the steps over the largest", value=row.early, bound=limits.time, unit="decades"
            ),
            Evidence(name="horizon", value=row.horizon, bound=math.nan, unit="steps"),
        ),
        advice=advised((*_low_ceiling(reading, row, cause), *_HELPS.get(cause, ()))),
        wont_help=(WontHelp(what="a longer sequence", why="the first steps are out of reach already"),),
    )


def _places(reading: Reading, row: TimeProfile) -> tuple[str, ...]:
    """The module; of a loop of the user's own the layers whose weights its line applies."""
    lines = {row.path, row.line} - {""}
    applied = [w.path for w in reading.ledger.weights if w.line in lines and w.path]
    layers = {layer.path for layer in reading.layers}
    named = [_module(row.path), row.path]
    return tuple(dict.fromkeys(named if not applied or _module(row.path) in layers else [*applied, *named]))


def _low_ceiling(reading: Reading, row: TimeProfile, cause: str) -> list[str]:
    """A state behind a sigmoid loses by its slope wherever it stands."""
    places = set(_places(reading, row))
    used = {layer.activation for layer in reading.layers if layer.path in places and not layer.gated} & CEILING.keys()
    if cause != "slope" or gated(row) or not used:
        return []
    name = sorted(used)[0]
    return [f"tanh or ReLU on the state: the slope of {name} never exceeds {CEILING[name]:.2g}"]


def _module(path: str) -> str:
    """The module of 'rnn.l0' or 'rnn.l1_reverse'."""
    head, _, tail = path.rpartition(".")
    return head if tail[:1] == "l" and tail[1:2].isdigit() else path
