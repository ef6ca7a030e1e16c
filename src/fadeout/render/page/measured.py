"""Measured: where and how the exam was made, and how exact its account is."""

from fadeout.records import Exam
from fadeout.render import tags, words
from fadeout.render.page.section import Section


def section(exam: Exam) -> Section:
    env = exam.environment
    rows = [
        ("model", env.model),
        ("optimizer", env.optimizer),
        ("loss", words.number(env.loss)),
        ("samples", f"{env.samples:,}"),
        ("batches", f"{env.batches:,}"),
        ("spread between batches' losses", words.number(env.spread)),
        ("device", f"{env.device} {env.dtype}"),
        ("seed", f"{env.seed}"),
        ("time", words.seconds(env.seconds)),
        ("fadeout", env.fadeout),
        ("torch", env.torch),
        ("python", env.python),
    ]
    kept = [(name, words.plain(value)) for name, value in rows if value not in ("", words.UNKNOWN)]
    body = "\n".join(f"<tr>{tags.tag('th', name)}{tags.tag('td', value)}</tr>" for name, value in kept)
    notes = "".join(tags.tag("li", words.plain(note)) for note in env.notes)
    shown = f"<table>{body}</table>" + (f"<ul>{notes}</ul>" if notes else "")
    return Section(title="How it was measured", parts=(shown, _closing(exam)), aside=True)


def _closing(exam: Exam) -> str:
    error = exam.ledger.closing_error
    if not error >= 0:
        return ""
    text = f"The account differs from autograd's own end gradients by {words.number(error)} decades"
    return tags.prose(f"{text}, over {words.count(exam.ledger.nodes, 'operation')}.", of="dim")
