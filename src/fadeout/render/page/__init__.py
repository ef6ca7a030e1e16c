"""The page of an exam: a section a file, in the order in which a reader meets them.

To add one, write a file with a function `section(exam)` and name it in SECTIONS.
"""

from fadeout.records import Exam
from fadeout.render.page import (
    account,
    between_tokens,
    findings,
    head,
    layers,
    loss_terms,
    measured,
    profile,
    stages,
    streams,
    through_time,
    training,
)
from fadeout.render.page.section import Maker, Section

SECTIONS: tuple[Maker, ...] = (
    head.section,
    findings.section,
    profile.section,
    training.section,
    account.section,
    loss_terms.section,
    through_time.section,
    streams.section,
    between_tokens.section,
    stages.section,
    layers.section,
    measured.section,
)


def sections(exam: Exam) -> tuple[Section, ...]:
    """The sections that have something to show of this exam."""
    made = (make(exam) for make in SECTIONS)
    return tuple(section for section in made if section is not None)
