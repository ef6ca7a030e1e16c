"""Through time: the gradient of recurrent layers, step by step back from the last."""

from fadeout.records import Exam
from fadeout.render import along_charts, along_tags, along_time, tags, words
from fadeout.render.drawing import Drawing
from fadeout.render.page.section import Section

SOME = 8  # recurrent layers: as many stand open


def section(exam: Exam) -> Section | None:
    rows, gates = along_time.measured(exam), along_time.gates_only(exam)
    if not rows and not gates:
        return None
    parts: list[str | Drawing] = []
    several = [row for row in rows if len(row.lags) > 1]
    if several:
        said = along_time.about_lines(several)
        if len(several) > along_charts.LINES:
            said += f" The {along_charts.LINES} longest of {len(several):,} layers are drawn."
        parts += [tags.prose(said, of="dim"), along_charts.lines(several)]
        first = next((row for row in several if row.paths), None)
        if first is not None:
            parts += [tags.prose(along_time.about_paths(first), of="dim"), along_charts.paths(first)]
    shown = along_tags.recurrent(rows, gates)
    if len(rows) + len(gates) > SOME:
        shown = tags.folded(f"All {words.count(len(rows) + len(gates), 'recurrent layer')}", shown)
    return Section(title="Gradient along time", parts=(*parts, shown))
