"""Training: what the steps on a copy did - the loss, and the gradient of every layer."""

from fadeout.records import Exam
from fadeout.render import sentences, tags, training_charts
from fadeout.render.drawing import Drawing
from fadeout.render.page.section import Section


def section(exam: Exam) -> Section | None:
    if exam.course is None or not exam.course.losses:
        return None
    drawn = training_charts.gradients(exam)
    parts: list[str | Drawing] = [tags.prose(sentences.training(exam.course)), training_charts.losses(exam.course)]
    if drawn is not None:
        parts += [tags.prose(sentences.TRACES, of="dim"), drawn]
    return Section(title="While a copy is trained", parts=tuple(parts))
