"""The scale of a race of scripts: skill from the script's own losses, or from a metric that it prints.

A script has no rows held out for us, so skill is made of what it shows itself. From the losses: 0 is the loss of the
best output that ignores the input, where the script's loss function shows it, else the loss that the untreated script
began with; 1 is a loss of zero. Where losses go below zero there is no best one: a gain as large as the
untreated script's own then counts 0.5, and more of it comes closer to 1. From a metric: one between 0 and 1 (or in per
cent) is its own scale; one that falls is measured like a loss, from its first value; others from the untreated script's
first value, a gain as large as its size counting 0.5.
"""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from fadeout.live.racing.order import Report
from fadeout.live.racing.rounds import losses_by_group

SMOOTHED = 10  # the last tenth of the steps, at least LEAST of them
LEAST = 5
FALLS = re.compile(r"loss|err|perplexity|\bppl\b|mse|mae|rmse|wer|fid|nll|bpc|bpb", re.IGNORECASE)
NUMBER = r"([-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?)\s*(%?)"
AFTER = re.compile(r"[^\w\n.+-]{0,8}" + NUMBER)  # "val_acc=0.5", "'val_acc': 0.5"
METRIC = re.compile(
    r"\b((?:val(?:id(?:ation)?)?|test|eval(?:uation)?|dev)[ _/\-]*(?:set[: ]*)?(?:acc(?:uracy)?|loss|f1|auc|ppl|"
    r"perplexity|error)(?:@\d)?|acc(?:uracy)?(?:@\d)?|top-?1|f1|auc)['\"]?\s*(?:=|:|is)?\s*" + NUMBER,
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """What a script showed along its way: losses a step, or a metric as often as it was printed.

    Attributes:
        falls: Less is better.
    """

    name: str
    values: tuple[float, ...]
    falls: bool = True
    percent: bool = False

    @property
    def end(self) -> float:
        """Smoothed where there are many."""
        return smoothed(self.values, len(self.values)) if self.name == "loss" else self.values[-1]


def smoothed(values: Sequence[float], until: int) -> float:
    """The mean of the last tenth of the values before `until`."""
    count = max(LEAST, until // SMOOTHED)
    last = values[max(0, until - count) : until]
    return sum(last) / len(last) if last else math.nan


def losses_of(report: Report) -> tuple[tuple[float, ...], ...]:
    """A loss for every step, of every group of optimizers that train together."""
    return losses_by_group(report.losses, report.marks)


def metric_of(output: str, pattern: str) -> Series | None:
    """The metric in a script's output: the last group of the pattern, or one of the common forms."""
    found: dict[str, list[tuple[float, bool]]] = {}
    if pattern:
        for match in re.finditer(pattern, output):
            value = _number(match.group(match.re.groups or 0))
            if value is None and not match.re.groups:
                value = _after(match)
            if value is not None:
                found.setdefault(pattern, []).append((value, match.group(0).rstrip().endswith("%")))
    else:
        for match in METRIC.finditer(output):
            name = re.sub(r"[ _/\-]+", " ", match.group(1)).strip().lower()
            value = _number(match.group(2))
            if value is not None:
                found.setdefault(name, []).append((value, match.group(3) == "%"))
    if not found:
        return None
    name = max(found, key=lambda key: len(found[key]))
    values = tuple(value for value, _ in found[name])
    return Series(name=name, values=values, falls=bool(FALLS.search(name)), percent=any(p for _, p in found[name]))


def _number(text: str) -> float | None:
    match = re.search(NUMBER, text or "")
    return float(match.group(1)) if match else None


def _after(match: re.Match[str]) -> float | None:
    """The number that follows a name."""
    following = AFTER.match(match.string, match.end())
    return _number(following.group(1)) if following else None


class Scale:
    """Skill by the untreated script's own numbers.

    Args:
        control: The untreated script's losses or metric.
        constant: The same for the best constant output; nan where not known.
    """

    def __init__(self, control: Series, constant: float = math.nan) -> None:
        self.control = control
        values = [v for v in control.values if math.isfinite(v)]
        self.start = sum(values[:LEAST]) / len(values[:LEAST]) if control.name == "loss" else (values or [math.nan])[0]
        self.constant = math.isfinite(constant) and constant > 0
        if self.constant:
            self.start = constant
        self.end = control.end if values else math.nan
        self.below_zero = any(v < 0 for v in values)

    def skill(self, value: float) -> float:
        """Of a loss or a value of the metric."""
        if not math.isfinite(value) or not math.isfinite(self.start):
            return math.nan
        if not self.control.falls:
            if self.control.percent or (1 < value <= 100 and 1 < self.start <= 100 and "acc" in self.control.name):
                return value / 100
            if 0 <= value <= 1 and 0 <= self.start <= 1:
                return value
        gain = self.start - value if self.control.falls else value - self.start
        if self.control.falls and not self.below_zero and self.start > 0:
            return gain / self.start
        unit = abs(self.start - self.end) or abs(self.start) or 1.0
        return gain / (gain + unit) if gain >= 0 else gain / unit

    @property
    def said(self) -> str:
        """What skill means here."""
        if self.control.name != "loss":
            how = (
                "" if not self.control.falls else f": 0 is its first value without treatment ({self.start:.4g}), 1 is 0"
            )
            return f"the metric that the script shows ({self.control.name}){how}"
        if self.below_zero:
            begins = f"0 is where it begins ({self.start:.4g})"
            return f"the script's own losses: {begins}, 0.5 as much gained as without treatment"
        zero = "the best output that ignores the input" if self.constant else "where the untreated script begins"
        return f"the script's own losses: 0 is {zero} ({self.start:.4g}), 1 a loss of zero"
