"""The head: the verdict first, what it rests on, and what was examined."""

from html import escape

from fadeout.records import Exam
from fadeout.render import sentences, tags, tones
from fadeout.render.definitions import marked
from fadeout.render.page.section import Section


def section(exam: Exam) -> Section:
    word, rest = sentences.headline(exam)
    said, *more = sentences.lines_of(rest)
    colour = tones.verdict_tone(exam)
    said_of = (*more, sentences.effective_depth(exam), sentences.effective_blocks(exam), sentences.forecast(exam))
    parts = [f'<h1><b class="{colour}">{escape(word)}</b> {marked(said)}</h1>']
    parts += [tags.prose(sentence) for sentence in said_of if sentence]
    parts.append(tags.tag("p", " · ".join(sentences.about(exam)), of="dim"))
    return Section(title="", parts=tuple(parts))
