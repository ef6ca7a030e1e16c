"""Between tokens: attentions, and how far an output reaches back."""

from fadeout.records import Exam
from fadeout.render import across_tokens, along_charts, along_tags, tags, words
from fadeout.render.drawing import Drawing
from fadeout.render.page.section import Section

SOME = 8  # unusual attentions: as many are spelled out


def section(exam: Exam) -> Section | None:
    rows, maps = across_tokens.attentions(exam), across_tokens.reaches(exam)
    if not rows and not maps:
        return None
    parts: list[str | Drawing] = []
    for i, reach in enumerate(maps):
        name = f"-{i + 1}" if i else ""
        if reach.cells:
            said = (
                f"What each input position at {reach.path} receives from the sampled output positions; blank: nothing."
            )
            parts += [tags.prose(said, of="dim"), along_charts.reach_map(reach, name="reach" + name)]
        if len(reach.curve) > 1:
            said = f"With distance the reach {across_tokens.about(reach)}."
            parts += [tags.prose(said, of="dim"), along_charts.distance(reach, name="far" + name)]
    if rows:
        parts.append(tags.prose(across_tokens.folded(rows) + "."))
        parts += [tags.tag("p", f"{row.path}: {row.unusual}.") for row in rows if row.unusual][:SOME]
        parts.append(tags.folded(words.count(len(rows), "attention"), along_tags.attentions(rows)))
    return Section(title="Gradient across tokens", parts=tuple(parts))
