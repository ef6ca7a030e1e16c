"""Value types every layer shares.  Imports nothing but the standard library.

Decades are log10 of Euclidean norms; negative fades.  `-inf` means that exactly nothing
arrives; `nan` that the quantity is not defined (0/0, or not finite).  Tuples run from the
loss towards the data where they hold operations, and from the data towards the loss where
they hold layers.
"""

from fadeout.records.exam import Chain, Course, Environment, Exam, Gap, LayerTrace, Reading, Signal, Training
from fadeout.records.finding import Advice, Cause, Evidence, Finding, WontHelp
from fadeout.records.forecast import Forecast, ForecastLayer, Surprise
from fadeout.records.layer import EffectiveDepth, Layer, NotFinite, Origin, Profile, Underflow
from fadeout.records.ledger import (
    Block,
    Branch,
    Edge,
    EffectiveBlocks,
    End,
    Ledger,
    Stage,
    Trunk,
    Unaccounted,
    WeightOp,
)
from fadeout.records.sequence import Cut, GateSpan, StepSpectrum, Streams, TimeProfile, TokenProfile
from fadeout.records.trial import (
    Arm,
    Board,
    Difference,
    Interval,
    Lane,
    Measured,
    Piece,
    Plan,
    Planned,
    Role,
    State,
    Trial,
    Unhelpful,
)
from fadeout.records.words import KINDS, Kind, Level, Progress, Status, Verdict

__all__ = [
    "KINDS",
    "Advice",
    "Arm",
    "Block",
    "Board",
    "Branch",
    "Cause",
    "Chain",
    "Course",
    "Cut",
    "Difference",
    "Edge",
    "EffectiveBlocks",
    "EffectiveDepth",
    "End",
    "Environment",
    "Evidence",
    "Exam",
    "Finding",
    "Forecast",
    "ForecastLayer",
    "Gap",
    "GateSpan",
    "Interval",
    "Kind",
    "Lane",
    "Layer",
    "LayerTrace",
    "Ledger",
    "Level",
    "Measured",
    "NotFinite",
    "Origin",
    "Piece",
    "Plan",
    "Planned",
    "Profile",
    "Progress",
    "Reading",
    "Role",
    "Signal",
    "Stage",
    "State",
    "Status",
    "StepSpectrum",
    "Streams",
    "Surprise",
    "TimeProfile",
    "TokenProfile",
    "Training",
    "Trial",
    "Trunk",
    "Unaccounted",
    "Underflow",
    "Unhelpful",
    "Verdict",
    "WeightOp",
    "WontHelp",
]
