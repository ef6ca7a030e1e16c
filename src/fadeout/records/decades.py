"""Decades: the unit of everything here, log10 of a norm."""

import math


def log10(norm: float) -> float:
    """Decades of a norm: -inf for 0, nan for nan, inf for inf."""
    return math.log10(norm) if norm > 0 else (math.nan if math.isnan(norm) else -math.inf)
