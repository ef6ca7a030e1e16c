"""Terms of the loss: what each of them sends back by itself."""

from fadeout.records import Exam
from fadeout.render import loss_terms, tags
from fadeout.render.page.section import Section


def section(exam: Exam) -> Section | None:
    if not exam.terms:
        return None
    return Section(title="Terms of the loss", parts=tuple(tags.prose(f"{loss_terms.said(t)}.") for t in exam.terms))
