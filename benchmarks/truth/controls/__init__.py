"""Healthy controls: every program as it is, and what healthy programs do that naive rules call sick."""

from collections.abc import Iterator
from functools import partial

from benchmarks.truth.case import Case
from benchmarks.truth.controls import architectures, inits, loops, objectives, plain
from benchmarks.truth.program import Program, build

SOURCES = (plain.programs, inits.programs, architectures.programs, objectives.programs, loops.programs)


def healthy_case(program: Program) -> Case:
    """A program as it is."""
    return Case(
        name=f"healthy:{program.name}",
        program=program.name,
        group="healthy",
        steps=program.steps,
        build=partial(build, program),
        skill=program.skill,
        bar=program.bar,
    )


def cases() -> Iterator[Case]:
    """All controls; training says which are healthy indeed."""
    for source in SOURCES:
        yield from map(healthy_case, source())
