"""The profile: the gradient at every layer, from data to loss, with what theory expects."""

from fadeout.records import Exam
from fadeout.render import charts, tags, views
from fadeout.render.page.section import Section

NOTE = "Every tick is a power of ten, so that a steady fade is a straight line. The gradient comes from the right."


def section(exam: Exam) -> Section | None:
    depth = views.depth(exam)
    if not depth.points:
        return None
    return Section(title="Gradient from data to loss", parts=(tags.prose(NOTE, of="dim"), charts.profile(depth)))
