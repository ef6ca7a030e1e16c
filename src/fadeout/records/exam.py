"""Records of a whole: one step as it was read, and the exam that is shown and saved."""

from dataclasses import dataclass
from typing import Any

from fadeout.records.finding import Finding
from fadeout.records.forecast import Forecast
from fadeout.records.layer import EffectiveDepth, Layer, Origin, Profile
from fadeout.records.ledger import EffectiveBlocks, Ledger
from fadeout.records.sequence import Streams, TimeProfile, TokenProfile
from fadeout.records.words import Progress, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Everything measured in one step: what rules read.

    Attributes:
        step: Optimizer steps done before it.
        layers: Modules with weights, data side first.
        on_paper: Layers that ran.
        detached: Trained layers that ran with gradients on, yet no path leads to them.
        zero_weights: Parameters that are all zero and receive a gradient: a zero-initialised
            head or gate, behind which zero gradient says nothing yet.
        origin: Where the first value that is not finite was made; None where all are finite.
        loss: Value of the scalar.
        optimizer: Class name, "" without one.
    """

    step: int
    ledger: Ledger
    layers: tuple[Layer, ...]
    profile: Profile | None
    depth: EffectiveDepth
    on_paper: int
    detached: tuple[str, ...]
    zero_weights: tuple[str, ...]
    origin: Origin | None
    loss: float
    optimizer: str
    time: tuple[TimeProfile, ...] = ()
    tokens: tuple[TokenProfile, ...] = ()
    streams: Streams | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """Where and how an exam was made."""

    fadeout: str
    torch: str
    python: str
    device: str
    dtype: str
    seed: int
    seconds: float
    batches: int
    samples: int
    spread: float
    optimizer: str
    model: str
    loss: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Exam:
    """One examined network: what was measured, what it means, and where it was made.

    Shows itself in a terminal (`print`), in a notebook, and through the dataframe interchange
    (one row a layer); `to_dict` is the documented JSON contract.
    """

    verdict: Verdict
    sentence: str
    progress: Progress
    decades: float
    decades_per_layer: Profile | None
    effective_depth: EffectiveDepth
    weight_layers: int
    effective_blocks: EffectiveBlocks | None
    ledger: Ledger
    layers: tuple[Layer, ...]
    forecast: Forecast | None
    findings: tuple[Finding, ...]
    environment: Environment
    time: tuple[TimeProfile, ...] = ()
    tokens: tuple[TokenProfile, ...] = ()
    streams: Streams | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract, schema `fadeout.exam/1`: plain dicts, lists, strings and numbers."""
        from fadeout.store.contract import to_dict

        return to_dict(self)

    def __str__(self) -> str:
        from fadeout.render.terminal import text

        return text(self)

    def _repr_html_(self) -> str:
        from fadeout.render.html import fragment

        return fragment(self)

    def __dataframe__(self, nan_as_null: bool = False, allow_copy: bool = True) -> Any:
        from fadeout.render.frame import interchange

        return interchange(self, nan_as_null=nan_as_null, allow_copy=allow_copy)

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        from fadeout.render.frame import table

        return table(self).__arrow_c_stream__(requested_schema)
