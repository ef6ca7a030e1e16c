"""Records of the account: operations, stages, ends, the ledger."""

from dataclasses import dataclass
from typing import Any, Literal

from fadeout.records.words import Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Edge:
    """One operation on the backward path, priced in decades.

    Attributes:
        path: Dotted path of the module that owns the operation, as in `named_modules`;
            "" for the root module or the loss.
        op: The operation as a person knows it: "linear", "relu", "add".
        line: The user's own source line, "model.py:41"; "" where none was seen.
        kind: What the operation does to the gradient.
        log_gain: log10 of J after over J before; on the trunk, of the gradient on the data
            side over that on the loss side.
    """

    path: str
    op: str
    line: str
    kind: Kind
    log_gain: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """One of the branches whose gradients meet at the data side of a stage.

    Attributes:
        share: <g_branch, g_total> / |g_total|^2.  Signed; the shares of a stage add to 1.
    """

    path: str
    op: str
    share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The part of a network between two narrowest fronts, loss side first.

    Attributes:
        start: Label of the operation at the loss side ("from" in JSON).
        to: Label of the operation at the data side.
        width: Gradients in flight at the data side of the stage, ends not counted.
        log_gain: log10 of J at its data side over J at its loss side.
    """

    start: str
    to: str
    width: int
    log_gain: float
    branches: tuple[Branch, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """Where the account stops on the data side.

    Attributes:
        what: "input": a float input of the model; "embedding": the output of an embedding;
            "weight": where a trained part begins that no data enters - the output of the first
            operation that is trained, or the parameter that it reads.
        decades: log10 of the norm of the gradient that arrived, the loss's own being 1.
    """

    path: str
    what: Literal["input", "embedding", "weight"]
    decades: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unaccounted:
    """Something the ledger can't price, said instead of hidden."""

    path: str
    op: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Trunk:
    """The way from loss to data through most weight layers, loss side first."""

    log_gain: float
    by_kind: tuple[tuple[Kind, float], ...]
    entries: tuple[Edge, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightOp:
    """One use of a weight on the way: what `decades` and the depth profile rest on.

    Attributes:
        path: Module path of the layer.
        norm: log10 of the norm of the gradient that arrives at its output, in decades.
        rms: log10 of the root mean square of the same gradient.
        first: No other weight operation on its data side.
        last: No other weight operation between it and the loss.
        trunk: On the trunk.
        data: Data reaches it; false for parts that read only parameters and constants.
    """

    path: str
    op: str
    line: str
    norm: float
    rms: float
    first: bool
    last: bool
    trunk: bool
    data: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One residual addition with its branch.

    Attributes:
        path: Module that owns the addition.
        share: Branch share s = <g_branch, g_in> / |g_in|^2.
        influence: 1 - mean cosine between the stream before and after; nan if not measured.
        line: The user's source line of the addition.
    """

    path: str
    share: float
    influence: float
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveBlocks:
    """How evenly residual blocks carry the gradient: n = (sum s)^2 / sum s^2."""

    n: float
    branch_total: float
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The exact account of one backward pass.

    Attributes:
        log_gain: log10 J at the ends; J starts as the loss's own gradient, 1.
        decades: log10 of the largest norm at a first weight operation over the largest at
            a last one; nan where there is none.
        shut: The part of `decades` that gates of residual branches make which start nearly shut (LayerScale at
            1e-6) and open by training; 0 where there are none.
        stages: Sum to log_gain.
        by_kind: Sum to log_gain.
        operations: Every executed operation that changed J, in order of execution; their
            log gains sum to log_gain.
        weights: Every use of a weight, data side first.
        closing_error: |log10 J by the account - log10 J of the end gradients that autograd
            itself returned|, decades.
        floor: log10 of the smallest gradient norm this pass could tell from zero.
        beginnings: Where trained parts begin that no data enters, beside those that it does (learned
            queries, towers on constants).  They are not part of J; their layers are in `weights`.
        outside: Parameters that receive a gradient although no operation of the account applies
            them: while there are any, nobody knows that the gradient flows.
    """

    log_gain: float
    decades: float
    stages: tuple[Stage, ...]
    by_kind: tuple[tuple[Kind, float], ...]
    trunk: Trunk
    operations: tuple[Edge, ...]
    ends: tuple[End, ...]
    weights: tuple[WeightOp, ...]
    blocks: EffectiveBlocks | None
    unaccounted: tuple[Unaccounted, ...]
    closing_error: float
    floor: float
    nodes: int
    outside: tuple[str, ...] = ()
    beginnings: tuple[End, ...] = ()
    shut: float = 0.0

    @property
    def opened(self) -> float:
        """`decades` as if nearly shut gates were open: what a verdict is held against."""
        return self.decades - self.shut

    def __repr__(self) -> str:
        from fadeout.render.sentences import ledger_line

        return ledger_line(self)

    def __str__(self) -> str:
        from fadeout.render.ledger_text import LedgerText

        return str(LedgerText(ledger=self))

    def __rich_console__(self, console: Any, options: Any) -> Any:
        from fadeout.render.ledger_text import LedgerText

        return LedgerText(ledger=self).__rich_console__(console, options)

    def _repr_html_(self) -> str:
        from fadeout.render.notebook import ledger_fragment

        return ledger_fragment(self)
