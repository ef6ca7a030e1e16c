"""Words: how numbers, counts, ranges and names are written in every report."""

import math
from collections.abc import Iterable, Sequence

from fadeout.records import Kind, Verdict

NO_GRADIENT = "no gradient"
NOT_REACHED = "not reached"
UNKNOWN = "n/a"

KIND_WORDS: dict[Kind, str] = {
    "weight": "weights",
    "slope": "slopes",
    "norm": "norms",
    "skip": "skips",
    "mix": "mixing",
    "loss": "loss",
    "other": "other",
}
VERDICT_WORDS: dict[Verdict, str] = {
    "flows": "FLOWS",
    "vanishing": "VANISHING",
    "exploding": "EXPLODING",
    "dead": "DEAD",
    "saturated": "SATURATED",
    "bad_init": "BAD INIT",
    "severed": "SEVERED",
    "not_finite": "NOT FINITE",
    "undetermined": "UNDETERMINED",
}


def decades(value: float) -> str:
    """A log gain: with its sign, two decimals below one decade and one above."""
    if math.isnan(value):
        return UNKNOWN
    if math.isinf(value):
        return NO_GRADIENT if value < 0 else "infinite"
    if abs(value) < 0.005:
        return "0"
    return f"{value:+.2f}" if abs(value) < 0.995 else f"{value:+.1f}"


def level(value: float, *, floor: float = -math.inf) -> str:
    """log10 of a norm; what lies below the pass's floor reads as a bound, never as 0."""
    if math.isnan(value):
        return UNKNOWN
    if math.isinf(value):
        return NO_GRADIENT if value < 0 else "infinite"
    if value < floor:
        return below(floor)
    return f"{value:.1f}" if abs(value) >= 0.05 else "0.0"


def below(floor: float) -> str:
    """What a pass with this floor (log10) can say of a norm that it could not see."""
    return f"< 1e{floor:.0f}"


def share(value: float) -> str:
    """A part of a whole in percent, with its sign where it is negative."""
    if not math.isfinite(value):
        return UNKNOWN
    if value == 0:
        return "0 %"
    if abs(value) < 0.01:
        return "< 1 %" if value > 0 else "> -1 %"
    return f"{100 * value:.0f} %"


def number(value: float) -> str:
    """Any other measured number, to three significant digits."""
    if math.isnan(value):
        return UNKNOWN
    if math.isinf(value):
        return "-infinite" if value < 0 else "infinite"
    if value == 0:
        return "0"
    size = abs(value)
    if 1e-3 <= size < 1e5:
        places = max(0, 2 - math.floor(math.log10(size)))
        digits = f"{value:,.{places}f}"
        return digits.rstrip("0").rstrip(".") if "." in digits else digits
    return f"{value:.2g}"


def seconds(value: float) -> str:
    """A duration, to two significant digits below ten seconds."""
    if not math.isfinite(value):
        return UNKNOWN
    if value < 0.0095:
        return "< 0.01 s"
    return f"{value:.2f} s" if value < 1 else f"{value:.1f} s" if value < 10 else f"{value:,.0f} s"


def count(n: int, noun: str) -> str:
    """'1 layer', '1,000 layers'; plurals with -s, and '-es' after a hiss."""
    if n == 1:
        return f"1 {noun}"
    return f"{n:,} {noun}{'es' if noun.endswith(('s', 'x', 'ch', 'sh')) else 's'}"


def ranges(indices: Iterable[int]) -> list[str]:
    """Sorted numbers with neighbours joined: [1, 2, 3, 7] -> ['1-3', '7']."""
    runs: list[list[int]] = []
    for i in sorted(set(indices)):
        if runs and i == runs[-1][1] + 1:
            runs[-1][1] = i
        else:
            runs.append([i, i])
    return [f"{a}-{b}" if a != b else f"{a}" for a, b in runs]


def layers(indices: Sequence[int], *, most: int = 4) -> str:
    """'layers 1-4 and 12-21'; only their number once there are more than `most` runs."""
    runs = ranges(indices)
    if len(runs) > most:
        return count(len(set(indices)), "layer")
    head = "layer" if len(set(indices)) == 1 else "layers"
    return f"{head} {series(runs)}"


def numbered(indices: Sequence[int], kind: str, *, most: int = 4) -> str:
    """'[6] Linear', '[1-4, 12-21] Linear': layers by their numbers, 1 at the data side."""
    runs = ranges(indices)
    if len(runs) > most:
        return f"{len(set(indices)):,} {kind}"
    return f"[{', '.join(runs)}] {kind}"


def series(words: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def plain(text: str) -> str:
    """Text safe to print: control and other unprintable characters become '?'."""
    return "".join(c if c.isprintable() else "?" for c in text)


def shorten(text: str, width: int) -> str:
    """At most `width` characters; the end of a dotted path says more than its start."""
    if len(text) <= width:
        return text
    return "…" + text[len(text) - width + 1 :] if width > 1 else "…"[:width]


def clip(text: str, width: int) -> str:
    """At most `width` characters, cut at the end: for words that are read from their start."""
    return text if len(text) <= width else text[: max(0, width - 1)] + "…"[:width]
