"""Faults of the gradient put into healthy programs; a family a file."""

from collections.abc import Iterator
from dataclasses import replace

from benchmarks.truth.case import Case
from benchmarks.truth.faults import bad_init, dead, exploding, not_finite, saturated, severed, vanishing

FAMILIES = {
    "vanishing": vanishing.cases,
    "exploding": exploding.cases,
    "not_finite": not_finite.cases,
    "dead": dead.cases,
    "saturated": saturated.cases,
    "bad_init": bad_init.cases,
    "severed": severed.cases,
}


def grid() -> Iterator[tuple[str, Case]]:
    """(family, case) for every fault, strength and place."""
    for family, cases in FAMILIES.items():
        for case in cases():
            yield family, replace(case, fault=f"{family}/{case.fault.rstrip('-') if case.fault else ''}")
