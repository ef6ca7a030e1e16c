"""FO203 and FO208: attention whose softmax passes no gradient, and tokens that have become alike."""

from fadeout.records import Evidence, Finding, Reading, TokenProfile, WontHelp
from fadeout.rules.build import advise, listed, remark
from fadeout.rules.limits import Limits
from fadeout.rules.persistence import all_along, blamed, hindered, lasting, probes, settled, since


def attention_saturated(reading: Reading, limits: Limits) -> Finding | None:
    """Heads with few live rows and little entropy; never judged by |dW_Q|, which grows.

    Source: arXiv:2303.06296 and trials.
    """
    paths = lasting(reading, lambda probe: _saturated(probe, limits), settled)
    if not paths:
        return None
    newest = next(probe for probe in reversed(probes(reading)) if _saturated(probe, limits))
    rows = {row.path: row for row in newest.tokens}
    worst = min(paths, key=lambda path: _live(rows[path]))
    live = _live(rows[worst])
    return remark(
        reading,
        code="FO203",
        label="saturated",
        level="alarm" if live < limits.none_live and hindered(reading, limits) else blamed(reading, limits),
        since=since(reading, lambda probe: bool(_saturated(probe, limits))),
        claim=f"attention is saturated in {listed(paths)}: {live:.0%} of the softmax's rows still pass a gradient",
        where=paths,
        evidence=(
            Evidence(name="live rows", value=live, bound=limits.live_rows, unit="share"),
            Evidence(name="entropy over its largest", value=rows[worst].entropy, bound=limits.entropy, unit="share"),
        ),
        helps=(advise("QK-norm", "qk_norm"), "smaller query and key weights, or a clip of their logits"),
        wont=(WontHelp(what="a larger learning rate", why="it drives the logits further apart"),),
    )


def _saturated(probe: Reading, limits: Limits) -> tuple[str, ...]:
    return tuple(
        row.path
        for row in probe.tokens
        if not row.positions
        and row.entropy < limits.entropy * (4 if row.live_rows < limits.live_rows else 1)
        and _live(row) < limits.live_rows
    )


def _live(row: TokenProfile) -> float:
    """Of the head that passes least."""
    return min((row.live_rows, *row.live_heads))


def tokens_alike(reading: Reading, limits: Limits) -> Finding | None:
    """Rank collapse: behind an attention the tokens hardly differ from their mean."""
    flags = []
    for probe in probes(reading):
        rows = [row for row in probe.tokens if not row.positions and row.rank_collapse < limits.alike]
        flags.append(rows)
    if not flags[-1] or not all_along([bool(rows) for rows in flags]):
        return None
    worst = min(flags[-1], key=lambda row: row.rank_collapse)
    return remark(
        reading,
        code="FO208",
        label="vanishing",
        level="note",
        claim=f"tokens become alike behind {worst.path}: {worst.rank_collapse:.1g} of the stream differs between them",
        where=[row.path for row in flags[-1]],
        evidence=(
            Evidence(name="distance from the token mean", value=worst.rank_collapse, bound=limits.alike, unit="share"),
        ),
        helps=(advise("residual connections around attention", "residual"), "an MLP between attentions"),
    )
