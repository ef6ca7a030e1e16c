"""Along time: the recurrent layers of an exam as plain series, and the sentences about them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from fadeout.records import Exam, GateSpan, StepSpectrum, TimeProfile
from fadeout.render import words

ROWS = 8  # lags in a small profile
POINTS = 400  # of a line in a chart: more than its width has pixels to tell apart
LEAST_SHARE = 0.005  # a path that carries less at every lag is left out
_COMES = {
    "cell": "through the cell, by the forget gates alone",
    "hidden": "through the recurrent weight",
    "above": "down from the layer above",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Lag:
    """One lag of a layer: decades since lag 0, and each path's share of the gradient there."""

    steps: int
    decades: float
    shares: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeRow:
    """A recurrent layer whose steps were measured.

    Attributes:
        remembers: 'remembers 6 of 200 steps'.
        paths: Names of the paths, in the order of `Lag.shares`; empty where there is only one.
        lags: Every lag, from 0.
        one_step: 'one step: singular values 0.97, 0.92, spectral radius 0.65'; "" where not measured.
    """

    path: str
    horizon: float
    steps: int
    remembers: str
    paths: tuple[str, ...]
    lags: tuple[Lag, ...]
    gates: tuple[tuple[str, float, float], ...]
    by_noise: bool
    gate_horizon: GateSpan | None
    one_step: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GateRow:
    """A recurrence of which only the parameters were read."""

    path: str
    span: GateSpan


def measured(exam: Exam) -> tuple[TimeRow, ...]:
    """Recurrent layers with steps, the longest horizon first; what is not known last."""
    rows = [_row(profile) for profile in exam.time if profile.steps > 0]
    return tuple(sorted(rows, key=lambda row: -_reach(row)))


def gates_only(exam: Exam) -> tuple[GateRow, ...]:
    """Recurrences of which only the parameters were read, the longest memory first."""
    found = [
        GateRow(path=words.plain(row.path) or "(model)", span=row.gate_horizon)
        for row in exam.time
        if row.steps == 0 and row.gate_horizon is not None
    ]
    return tuple(sorted(found, key=lambda row: -row.span.median if not math.isnan(row.span.median) else 1.0))


def _reach(row: TimeRow) -> float:
    return -1.0 if math.isnan(row.horizon) else row.horizon


def _row(profile: TimeProfile) -> TimeRow:
    kept = [(name, s) for name, s in profile.paths if any(abs(v) >= LEAST_SHARE for v in s[1:])]
    if len(kept) < 2:
        kept = []
    return TimeRow(
        path=words.plain(profile.path) or "(model)",
        horizon=profile.horizon,
        steps=profile.steps,
        remembers=_remembers(profile),
        paths=tuple(words.plain(name) for name, _ in kept),
        lags=tuple(
            Lag(steps=i, decades=value, shares=tuple(s[i] if i < len(s) else math.nan for _, s in kept))
            for i, value in enumerate(profile.log_gain)
        ),
        gates=tuple((words.plain(name), is_open, slope) for name, is_open, slope in profile.gates),
        by_noise=profile.source == "noise",
        gate_horizon=profile.gate_horizon,
        one_step=_one_step(profile.spectrum),
    )


def _one_step(spectrum: StepSpectrum | None) -> str:
    if spectrum is None:
        return ""
    said = "one step multiplies by at most " + words.number(spectrum.singular[0])
    if len(spectrum.singular) > 1:
        said += f" (then {', '.join(words.number(v) for v in spectrum.singular[1:])})"
    if math.isfinite(spectrum.spectral_radius):
        said += f"; spectral radius {words.number(spectrum.spectral_radius)}"
    if math.isfinite(spectrum.bound):
        must = ", below 1: it must fade" if spectrum.bound < 1 else ""
        said += f", bound {words.number(spectrum.bound)}{must}"
    return said


def _remembers(profile: TimeProfile) -> str:
    if math.isnan(profile.horizon):
        lost = next((lag for lag, value in enumerate(profile.log_gain) if math.isnan(value)), None)
        if lost is not None and profile.steps > 1:
            return f"is not a number {words.count(lost, 'step')} back, of {words.count(profile.steps, 'step')}"
        return f"has no horizon that could be measured over {words.count(profile.steps, 'step')}"
    if profile.steps == 1:
        return "has one step only"
    whole = profile.horizon >= profile.steps - 1
    many = "all" if whole else f"{profile.horizon:.0f} of"
    return f"remembers {many} {words.count(profile.steps, 'step')}{_why(profile)}"


def _why(profile: TimeProfile) -> str:
    """': forget gates closed', ': cut by detach() before step 58, net.py:12'."""
    if profile.cut is None:
        return f": {words.plain(profile.cause)}" if profile.cause else ""
    cut = profile.cut
    said = f"cut by {words.plain(cut.op)}()" if cut.op else "the graph ends"
    said += f" before step {cut.step:,}" + (f", {words.plain(cut.line)}" if cut.line else "")
    return f": {said}" if profile.cause == "truncation" else f": {words.plain(profile.cause)}; {said}"


def some_lags(row: TimeRow, *, most: int = ROWS) -> tuple[Lag, ...]:
    """Lag 0, the last, and between them lags of the series 1, 2, 5, 10 that are spread evenly."""
    return tuple(row.lags[i] for i in steps_to_show(len(row.lags), most=most))


def steps_to_show(n: int, *, most: int = ROWS) -> tuple[int, ...]:
    """At most `most` of the numbers 0 .. n - 1: both ends, and between them 1, 2, 5, 10, 20, ..."""
    if n <= most:
        return tuple(range(n))
    inner = [m * 10**e for e in range(len(str(n))) for m in (1, 2, 5) if m * 10**e <= (n - 1) / 1.5]
    room = most - 2
    if len(inner) > room:
        inner = [inner[round(i * (len(inner) - 1) / (room - 1))] for i in range(room)]
    return (0, *inner, n - 1)


def thinned(row: TimeRow, *, most: int = POINTS) -> tuple[Lag, ...]:
    """The lags of a line: all while they are few, else spread evenly with both ends."""
    n = len(row.lags)
    if n <= most:
        return row.lags
    return tuple(row.lags[round(i * (n - 1) / (most - 1))] for i in range(most))


def part(share: float) -> str:
    """A path's share; a sign on what rounds to nothing would only draw the eye."""
    return words.share(abs(share) if abs(share) < 0.01 else share)


def openness(row: TimeRow) -> tuple[str, ...]:
    """'input 50 % open, slope 0.25', 'decay 80 % kept'; a candidate has no openness."""
    said = []
    for name, is_open, slope in row.gates:
        parts = []
        if not math.isnan(is_open):
            parts.append(f"{words.share(is_open)} {'kept' if name == 'decay' else 'open'}")
        if not math.isnan(slope):
            parts.append(f"slope {slope:.2f}")
        if parts:
            said.append(f"{name} {', '.join(parts)}")
    return tuple(said)


def forgets(span: GateSpan, *, unit: str = "tokens", of: str = "head") -> str:
    """'forgets a decade in 0.23 tokens (median), 0.92 (slowest of 8 heads)'."""
    if math.isnan(span.median):
        return f"none of its {words.count(span.heads, of)} has a memory that could be read"
    slowest = f"{words.number(span.slowest)} (slowest of {words.count(span.heads, of)})"
    stuck = f"; {span.stuck:,} stuck, keeping all or nothing" if span.stuck else ""
    if math.isinf(span.median):
        rest = "" if not math.isfinite(span.slowest) else f", of those that forget {slowest}"
        return f"never forgets (median){rest}{stuck}"
    said = f"forgets a decade in {words.number(span.median)} {unit} (median)"
    return said + (f", {slowest}" if math.isfinite(span.slowest) else "") + stuck


def rest_of(rows: Sequence[TimeRow]) -> str:
    """'and 5 more recurrent layers, horizons 3 to 6 steps'; "" for none."""
    if not rows:
        return ""
    said = f"and {words.count(len(rows), 'more recurrent layer')}"
    known = sorted(row.horizon for row in rows if not math.isnan(row.horizon))
    return said + (
        f", {'horizon' if len(known) == 1 else 'horizons'} {_span(_steps(known[0]), _steps(known[-1]))}"
        if known
        else ""
    )


def rest_of_gates(rows: Sequence[GateRow]) -> str:
    """'and 33 more recurrences, medians 0.21 to 0.25 tokens'; "" for none."""
    if not rows:
        return ""
    known = sorted(row.span.median for row in rows if not math.isnan(row.span.median))
    said = f"and {words.count(len(rows), 'more recurrence')}"
    if not known:
        return said
    span = _span(words.number(known[0]), words.number(known[-1]))
    return f"{said}, {'median' if len(known) == 1 else 'medians'} {span} tokens"


def _steps(horizon: float) -> str:
    return "beyond the sequence" if math.isinf(horizon) else words.count(round(horizon), "step")


def _span(low: str, high: str) -> str:
    return low if low == high else f"{low} to {high}"


def short(exam: Exam) -> str:
    """A healthy network's one line: what its verdict sentence leaves out; "" where nothing is."""
    rows = [row for row in measured(exam) if not math.isnan(row.horizon)]
    forgetful = [row for row in rows[1:] if row.horizon < row.steps - 1]
    if forgetful:
        if len(forgetful) <= 2:
            said = words.series([f"{row.path} {row.remembers}" for row in forgetful])
        else:
            low, high = (f"{row.horizon:.0f}" for row in (forgetful[-1], forgetful[0]))
            span = _span(low, high)
            said = f"{len(forgetful):,} other recurrent layers remember {span} of {forgetful[0].steps:,} steps"
        return f"Along time: {said}."
    gates = gates_only(exam)
    if rows or not gates or "recurrence" in exam.sentence:
        return ""
    worst = gates[-1]
    more = f", the first of {len(gates):,} to forget" if len(gates) > 1 else ""
    return f"Along time: {worst.path} {forgets(worst.span)}{more}."


def about_lines(rows: Sequence[TimeRow]) -> str:
    """The sentence under the chart of all layers over the lag."""
    first = rows[0]
    if len(rows) == 1 or math.isnan(first.horizon):
        return f"{first.path} {first.remembers}; the dashed line is one decade below the last step."
    return f"{first.path} reaches furthest and {first.remembers}; the dashed line is one decade below the last step."


def about_paths(row: TimeRow) -> str:
    """The sentence under the chart of one layer's paths: which carries most at the horizon."""
    at = min(max(1, round(row.horizon)) if math.isfinite(row.horizon) else len(row.lags) - 1, len(row.lags) - 1)
    known = [(share, name) for share, name in zip(row.lags[at].shares, row.paths, strict=True) if math.isfinite(share)]
    if not known:
        return f"How the gradient of {row.path} splits between its paths."
    share, name = max(known)
    part = f"{words.share(share)} of the gradient in {row.path}"
    return f"{words.count(at, 'step')} back, {part} comes {_COMES.get(name, f'by {name}')}."
