"""FO216 to FO219: shattered and noisy gradients, dormant units, and saturated stand-ins for norms."""

from fadeout.records import Evidence, Finding, Reading
from fadeout.rules.build import advise, listed, remark
from fadeout.rules.limits import Limits
from fadeout.rules.persistence import blamed, learning, probes, settled


def shattered(reading: Reading, limits: Limits) -> Finding | None:
    """FO216: neighbouring inputs receive unrelated gradients, and nothing is learned."""
    course = reading.course
    if course is None or not course.neighbours < limits.neighbours:
        return None
    learned = learning(reading, limits) == "well"
    return remark(
        reading,
        code="FO216",
        label="flows",
        level="note" if learned else "warning",
        claim="the gradient is shattered: inputs a hundredth of their spread apart receive gradients with a "
        f"cosine of {course.neighbours:.2f}"
        + ("; what it learns may be its training data by heart, and nothing else" if learned else ""),
        evidence=(
            Evidence(name="cosine between neighbours", value=course.neighbours, bound=limits.neighbours, unit="cosine"),
        ),
        helps=(
            advise("residual connections", "residual"),
            advise("smaller initial weights: the network is in its chaotic phase", "critical_init"),
        ),
    )


def noisy(reading: Reading, limits: Limits) -> Finding | None:
    """FO217: batches disagree about the direction so much that their mean says nothing."""
    course = reading.course
    if course is None or not course.signal_to_noise < limits.signal or learning(reading, limits) != "not":
        return None
    return remark(
        reading,
        code="FO217",
        label="flows",
        level="note",
        claim=f"noise dominates the gradient: its mean over batches is {course.signal_to_noise:.2f} of one batch's "
        "deviation",
        evidence=(Evidence(name="signal over noise", value=course.signal_to_noise, bound=limits.signal, unit="ratio"),),
        helps=("larger batches, or accumulated gradients", "looking at the labels: random ones give no signal"),
    )


def dormant(reading: Reading, limits: Limits) -> Finding | None:
    """FO218: units fall asleep and the features lose rank while training goes on.

    Source: arXiv:2302.12902 and trials.
    """
    rows = [probe for probe in probes(reading) if probe.dormant >= 0]
    if len(rows) < 3:
        return None
    first, last = rows[0], rows[-1]
    if last.dormant < limits.dormant or last.dormant < first.dormant + 0.2 or not last.rank < 0.7 * first.rank:
        return None
    return remark(
        reading,
        code="FO218",
        label="dead",
        level=blamed(reading, limits) if last.rank < limits.collapsed * first.rank else "warning",
        claim=f"{last.dormant:.0%} of the units have gone dormant, {first.dormant:.0%} at the start; the last features "
        f"span {last.rank:.0f} directions instead of {first.rank:.0f}",
        evidence=(
            Evidence(name="dormant units", value=last.dormant, bound=limits.dormant, unit="share"),
            Evidence(name="effective rank of the features", value=last.rank, bound=first.rank, unit="directions"),
        ),
        helps=(
            "fresh incoming and zero outgoing weights for dormant units (ReDo)",
            advise("a normalisation layer", "layer_norm"),
        ),
        since=last.step,
    )


def tanh_for_norm(reading: Reading, limits: Limits) -> Finding | None:
    """FO219: a DyT or Derf of which most elements pass no slope.  Source: arXiv:2503.10622 and trials."""
    flags = [any(live < limits.live for _, live in probe.live) for probe in probes(reading)]
    rows = [(path, live) for path, live in probes(reading)[-1].live if live < limits.live]
    if not rows or not settled(flags):
        return None
    worst = min(rows, key=lambda row: row[1])
    return remark(
        reading,
        code="FO219",
        label="saturated",
        level=blamed(reading, limits),
        claim=f"only {worst[1]:.0%} of the elements in {listed([path for path, _ in rows])} have a slope above 1 %: "
        "the stream is too wide for its alpha",
        where=[path for path, _ in rows],
        evidence=(Evidence(name="live elements", value=worst[1], bound=limits.live, unit="share"),),
        helps=("a smaller alpha", advise("a normalisation in its place", "layer_norm")),
    )


def norm_statistics(reading: Reading, limits: Limits) -> Finding | None:
    """FO213: batch norm with a batch of one, or evaluating with statistics that were never taken."""
    if not reading.norms:
        return None
    _, why = reading.norms[0]
    paths = [path for path, said in reading.norms if said == why]
    return remark(
        reading,
        code="FO213",
        label="flows",
        level="warning",
        claim=f"{listed(paths)}: batch norm {why}",
        where=paths,
        helps=(
            ("a larger batch", "GroupNorm or LayerNorm, which do not look across the batch")
            if "one" in why
            else ("model.train() while training", "loading the statistics with the weights")
        ),
    )
