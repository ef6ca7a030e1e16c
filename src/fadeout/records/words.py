"""The words of the contract: kinds, verdicts, levels."""

from typing import Literal

Kind = Literal["weight", "slope", "norm", "skip", "mix", "loss", "other"]
KINDS: tuple[Kind, ...] = ("weight", "slope", "norm", "skip", "mix", "loss", "other")
Verdict = Literal[
    "flows",
    "vanishing",
    "exploding",
    "dead",
    "saturated",
    "bad_init",
    "severed",
    "not_finite",
    "undetermined",
]
Level = Literal["alarm", "warning", "note"]
Progress = Literal["unknown", "learns", "handicapped", "does_not_learn"]
Status = Literal["confirmed", "refuted", "inconclusive", "account"]
