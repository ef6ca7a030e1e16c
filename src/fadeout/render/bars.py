"""Bars: lengths as block characters, or as ASCII where the console has no blocks."""

import math
from dataclasses import dataclass

EIGHTHS = " ▏▎▍▌▋▊▉"
LEAST = 4.0  # decades: a narrower scale would make an even profile look steep


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """A linear scale over decades, `width` characters wide."""

    low: float
    high: float
    width: int

    def part(self, value: float) -> float:
        """Where a value lies, 0 to 1."""
        if math.isnan(value) or value == -math.inf:
            return 0.0
        if value == math.inf or self.high == self.low:
            return 1.0
        return min(1.0, max(0.0, (value - self.low) / (self.high - self.low)))


def scale(values: list[float], width: int) -> Scale:
    """A scale in whole decades around the finite values, at least four decades long."""
    finite = [value for value in values if math.isfinite(value)]
    high = float(math.ceil(max(finite, default=0.0)))
    low = float(math.floor(min(finite, default=0.0) - 0.3))
    return Scale(low=min(low, high - LEAST), high=high, width=width)


def bar(part: float, width: int, *, ascii_only: bool) -> str:
    """A bar over `part` (0 to 1) of `width` characters, never empty where part is not 0."""
    if part <= 0:
        return ""
    if ascii_only:
        return "=" * max(1, round(part * width))
    eighths = max(1, round(part * width * 8))
    whole, rest = divmod(eighths, 8)
    return "█" * whole + (EIGHTHS[rest] if rest else "")


def span(low: float, high: float, width: int, *, ascii_only: bool) -> tuple[str, str]:
    """A bar up to `low` and its lighter continuation up to `high`, both 0 to 1."""
    solid = bar(low, width, ascii_only=ascii_only)
    light = max(0, round(high * width) - len(solid))
    return solid, ("-" if ascii_only else "░") * light


def axis(scale: Scale) -> str:
    """Tick labels over a scale: both ends, and the middle where there is room; the right end alone in a narrow one."""
    marks = [(0, _power(scale.low)), (scale.width, _power(scale.high))]
    if scale.width < sum(len(label) for _, label in marks) + 2:
        return _power(scale.high).rjust(scale.width)
    middle = round((scale.low + scale.high) / 2)
    if scale.width >= 30:
        marks.insert(1, (round(scale.part(middle) * scale.width), _power(middle)))
    line = [" "] * scale.width
    for at, label in marks:
        start = min(max(0, at - len(label) // 2), scale.width - len(label))
        line[start : start + len(label)] = label
    return "".join(line)


def _power(value: float) -> str:
    return f"1e{value:+.0f}".replace("+", "")
