"""Findings: each with its place and cause, what helps, a line to paste, and the evidence."""

import math
from html import escape

from fadeout.records import Exam, Finding
from fadeout.render import paste, sentences, tags, words
from fadeout.render.page.section import Section


def section(exam: Exam) -> Section | None:
    if not exam.findings:
        return None
    gravest = sentences.gravest(exam)
    return Section(title="Findings", parts=tuple(_finding(f, exam, spelled_out=f in gravest) for f in exam.findings))


def _finding(item: Finding, exam: Exam, *, spelled_out: bool) -> str:
    label = words.VERDICT_WORDS[item.label].lower() + ", " if item.label != "flows" else ""
    place = " · ".join(filter(None, (*sentences.where(item, exam), sentences.causes(item))))
    claim = words.plain(item.claim)
    claim = "" if claim in words.plain(exam.sentence) else claim  # the head of the page has said it
    parts = [
        f'<div class="finding {escape(item.level)}">',
        tags.tag("h3", f"{item.code} · {label}{item.level}"),
        tags.prose(claim),
        tags.prose(place, of="dim"),
        *_advice(item, exam),
    ]
    table = _evidence(item)
    if table:
        parts.append(tags.folded("Evidence", table, opened=spelled_out))
    confidence = "" if math.isnan(item.confidence) else f" · confidence {words.share(item.confidence)}"
    explain = f" · <code>fadeout explain {escape(words.plain(item.code))}</code>"
    parts.append(f'<p class="dim">{escape(sentences.STATUS_WORDS[item.status] + confidence)}{explain}</p>')
    return "\n".join([*parts, "</div>"])


def _advice(item: Finding, exam: Exam) -> list[str]:
    parts = []
    if item.helps:
        items = "".join(tags.tag("li", words.plain(what)) for what in item.helps)
        parts.append(f'<p><b class="good">Will help</b></p><ol>{items}</ol>')
    code = paste.line(item, exam)
    if code:
        parts.append(f"<pre><code>{escape(code)}</code></pre>")
    if item.wont_help:
        items = "".join(tags.tag("li", f"{words.plain(w.what)}: {words.plain(w.why)}") for w in item.wont_help)
        parts.append(f'<p><b class="open">Will not help</b></p><ul>{items}</ul>')
    return parts


def _evidence(item: Finding) -> str:
    known = [e for e in item.evidence if not math.isnan(e.value)]
    if not known:
        return ""
    rows = [
        (
            words.plain(e.name),
            sentences.quantity(e.value, e.unit),
            "" if math.isnan(e.bound) else sentences.quantity(e.bound, e.unit),
        )
        for e in known
    ]
    return tags.table(["measured", "value", "limit"], rows)
