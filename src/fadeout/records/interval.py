"""Intervals: a mean over seeds with Student's 95 % interval."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)  # of 97.5 %, for 1 to 9 degrees of freedom
_Z = 1.959964


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A mean over seeds with its 95 % interval; low and high are the mean where there is one seed."""

    mean: float
    low: float
    high: float


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t; beyond 9 by its expansion in 1 / freedom, right to 0.003."""
    if freedom <= len(_T):
        return _T[freedom - 1]
    z = _Z
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)


def interval(values: Sequence[float]) -> Interval:
    """Mean and 95 % interval of one value a seed; what is not a number is left out."""
    kept = [v for v in values if math.isfinite(v)]
    if not kept:
        return Interval(mean=math.nan, low=math.nan, high=math.nan)
    mean = statistics.fmean(kept)
    half = student(len(kept) - 1) * statistics.stdev(kept) / math.sqrt(len(kept)) if len(kept) > 1 else 0.0
    return Interval(mean=mean, low=mean - half, high=mean + half)
