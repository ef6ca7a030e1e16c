"""Terms of the findings: levels, statuses, and what a claim rests on."""

from fadeout.terms.term import Term, term

FINDINGS: tuple[Term, ...] = (
    term(
        "finding",
        "One claim about a network: what is wrong, where, by how much, which numbers it rests on, what helps and what "
        "does not. Each kind has a code and a page of its own; `fadeout explain FO101` prints one.",
        also="findings, code",
        more="docs/findings/index.md",
    ),
    term(
        "alarm",
        "The gravest level of a finding: this keeps the network from learning. Only an alarm changes the verdict. Of "
        "several the one whose sign began first stands first and gives the verdict its word.",
        also="alarms",
    ),
    term(
        "warning",
        "The middle level of a finding: a handicap in a network that may learn all the same. It does not change the "
        "verdict.",
        also="warnings",
    ),
    term(
        "note",
        "The lowest level of a finding: something worth knowing, which need not be a fault. It does not change the "
        "verdict.",
        also="notes",
    ),
    term(
        "status",
        "Whether the cause of a finding was tested by changing a copy of the network. It is 'confirmed', 'refuted', "
        "'inconclusive', or 'account' where nothing was tested.",
    ),
    term(
        "confirmed",
        "The cause was tested: in a copy of the network without it, at least two thirds of the lost decades come back.",
        also="cause confirmed",
    ),
    term(
        "refuted",
        "The cause was tested and is not the cause: in a copy of the network without it, less than a third of the "
        "lost decades come back.",
        also="cause refuted",
    ),
    term(
        "inconclusive",
        "The cause was tested without a clear answer, because the gradient came back only partly, the copy exploded, "
        "or the unchanged copy beside it did not show the fault.",
    ),
    term(
        "account",
        "As the status of a finding: measured, but not yet tested by changing the network. In general the account is "
        "the ledger, the exact list of what every operation does to the gradient.",
        also="by account",
    ),
    term(
        "confidence",
        "How often alarms of this kind were right on programs that the rules were not made on. It is the lower end of "
        "a 95 % interval. Warnings and notes have none.",
        more="docs/truth.md",
    ),
    term(
        "evidence",
        "The measured numbers that a finding rests on, each with the limit it was held against.",
    ),
    term(
        "limit",
        "The bound that a measured number is held against. All limits stand in one table, with their unit and source, "
        "and can be changed: `examine(..., limits=fadeout.Limits(vanishing=-4))`.",
        also="limits, bound, threshold",
        more="docs/findings/index.md",
    ),
    term(
        "cause",
        "What takes the decades that are lost, by kind of operation: for example 'slopes 71 %, weights 29 %'. It is "
        "read from the ledger and, for a vanishing gradient, tested on a changed copy.",
        also="causes, by kind",
    ),
    term(
        "counterfactual",
        "A test of a cause: a copy of the network with one thing changed (new weights, another activation), measured "
        "beside an unchanged copy, the control.",
        also="changed copy, control, untreated, replay",
    ),
)
