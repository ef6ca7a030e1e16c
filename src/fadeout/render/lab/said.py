"""What is said of the lab: verdicts, times and outcomes in words, for terminal, table and book alike."""

import math
from collections.abc import Sequence

from fadeout.records import LabReport, Outcome

TONES = {"reproduced": "good", "depends": "open", "not reproduced": "bad", None: "dim"}
MARKS = {True: "held", False: "did not hold", None: "not asked"}


HEAD = (
    "# The lab: the story of the vanishing gradient, claim by claim",
    "",
    "This page is `claims.md` of a run of `fadeout lab all`. Every expectation was written into the experiment's "
    "file before its first run, and no bound was moved afterwards. Settings were: after first runs, more seeds "
    "were drawn for two expectations of attention, and the networks of `recurrent` train for fewer steps at length "
    "100; the lessons say what came of it. *Reproduced* means that all of them held, *depends* that some did, *not "
    "reproduced* that none did. Intervals in brackets are 95 % intervals over the seeds (Student). The run also "
    "writes `book.html`, which tells the whole story with its charts.",
    "",
)


def verdict(report: LabReport) -> str:
    """'reproduced', 'failed', 'not run', ..."""
    if report.status != "done":
        return report.status
    return report.verdict or ("runs" if report.size == "smoke" else "not judged")


def time(seconds: float) -> str:
    """'4 s', '3 min', 'n/a'."""
    if not math.isfinite(seconds):
        return "n/a"
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def about(report: LabReport) -> str:
    """How it was run."""
    seeds = f"{len(report.seeds)} seed{'s' if len(report.seeds) != 1 else ''}"
    return f"{report.size} run, {report.data}, {seeds}, {time(report.seconds)} of one core"


def held(outcomes: Sequence[Outcome]) -> str:
    """'4 of 5 expectations held'."""
    asked = [outcome.held for outcome in outcomes if outcome.held is not None]
    return f"{sum(asked)} of {len(asked)} expectations held" if asked else "nothing was asked of a run of this size"


def claims(reports: Sequence[LabReport]) -> str:
    """The table of claims in Markdown, with what was expected and measured for each."""
    lines = [*HEAD, "| experiment | claim | verdict | expectations held |", "|---|---|---|---:|"]
    for r in reports:
        asked = [o.held for o in r.outcomes if o.held is not None]
        lines.append(f"| [{r.name}](#{r.name}) | {r.claim} | **{verdict(r)}** | {sum(asked)} of {len(asked)} |")
    for r in reports:
        lines += ["", f"## {r.name}", "", f"**{r.claim}** {r.source}.", "", f"{r.setting} ({about(r)})", ""]
        if r.why:
            lines += [r.why, ""]
        lines += ["| expected, written down before the run | measured | |", "|---|---|---|"]
        lines += [f"| {_cell(o.expected)} | {_cell(o.measured)} | {MARKS[o.held]} |" for o in r.outcomes]
        if r.compared:
            lines += ["", "| paper | what | theirs | ours | what differs |", "|---|---|---|---|---|"]
            lines += [
                "| " + " | ".join(_cell(t) for t in (c.source, c.what, c.theirs, c.ours, c.differs)) + " |"
                for c in r.compared
            ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
