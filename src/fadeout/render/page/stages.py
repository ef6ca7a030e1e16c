"""Stages: what each part of a branching network does, and what its branches carry."""

from fadeout.records import Exam
from fadeout.render import charts, tags, views, words
from fadeout.render.page.section import Section

MOST = 40
NOTE = "The network cut where the fewest gradients are on their way at once, from data to loss."


def section(exam: Exam) -> Section | None:
    """None for a plain chain: its stages are its layers, which the profile shows."""
    if not views.branched(exam):
        return None
    total = len(exam.ledger.stages)
    note = NOTE
    own = [stage.log_gain for stage in exam.ledger.stages if stage.start == "loss"]
    if own:
        note += f" The loss's own stage ({words.decades(own[0])}) is not drawn."
    carried = charts.shares(exam)
    title = f"The {MOST} largest of {total:,} stages" if total > MOST else f"All {total} stages"
    return Section(
        title="Stages",
        parts=(
            tags.prose(note, of="dim"),
            charts.stages(exam),
            *((tags.prose("What each branch carries where branches meet.", of="dim"), carried) if carried else ()),
            tags.folded(title, _table(exam)),
        ),
    )


def _table(exam: Exam) -> str:
    body = [
        (
            f"{row.number:,}",
            words.plain(row.stage.to),
            words.plain(row.stage.start),
            ", ".join(f"{who or 'input'} {words.share(share)}" for who, share in views.branches(row.stage)),
            f"{row.stage.width}",
            words.decades(row.stage.log_gain),
        )
        for row in views.stages(exam, most=MOST)
    ]
    return tags.table(["#", "data side", "loss side", "shares", "width", "decades"], body, left=4, paths=(1, 2))
