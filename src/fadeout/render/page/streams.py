"""Streams: what the mixing of several residual streams does over depth."""

from fadeout.records import Exam
from fadeout.render import across_tokens, tags
from fadeout.render.page.section import Section


def section(exam: Exam) -> Section | None:
    if exam.streams is None:
        return None
    return Section(title="Residual streams", parts=(tags.prose(across_tokens.streams(exam.streams)),))
