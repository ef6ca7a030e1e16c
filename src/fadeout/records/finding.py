"""Records of findings: claims that a reader can check and act on."""

from dataclasses import dataclass

from fadeout.records.words import Kind, Level, Status, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One number a finding rests on, with the bound it was held against."""

    name: str
    value: float
    bound: float
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Cause:
    """One kind's part of the decades lost, 0 to 1."""

    kind: Kind
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class WontHelp:
    """A treatment people try, and why it will not help here."""

    what: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """What is likely to help.

    Attributes:
        words: As a reader is told.
        treatments: Ids of the treatments that do it, in the order to try them in; () for what only a person can do.
    """

    words: str
    treatments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """A claim about an exam that a reader can check and act on.

    Attributes:
        chain: The layers that it is about, loss side first, where it is about a run of them.
        confidence: Share of such alarms that were right on the scoreboard (docs/truth.md), the lower
            end of its 95 % interval; nan for warnings and notes.
    """

    code: str
    label: Verdict
    level: Level
    claim: str
    where: tuple[str, ...]
    line: str
    decades: float
    expected: float
    since: int
    confidence: float
    cause: tuple[Cause, ...]
    status: Status
    evidence: tuple[Evidence, ...]
    advice: tuple[Advice, ...] = ()
    wont_help: tuple[WontHelp, ...] = ()
    chain: tuple[str, ...] = ()

    @property
    def helps(self) -> tuple[str, ...]:
        """The advice in words."""
        return tuple(one.words for one in self.advice)

    @property
    def treatments(self) -> tuple[str, ...]:
        """Ids of the treatments in the advice, in its order."""
        return tuple(dict.fromkeys(name for one in self.advice for name in one.treatments))
