"""Value types every layer shares.  Imports nothing but the standard library.

Decades are log10 of Euclidean norms; negative fades.  `-inf` means that exactly nothing
arrives; `nan` that the quantity is not defined (0/0, or not finite).  Tuples run from the
loss towards the data where they hold operations, and from the data towards the loss where
they hold layers.
"""

from dataclasses import dataclass
from typing import Any, Literal

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
Status = Literal["confirmed", "refuted", "account"]


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
            "weight": the output of the first operation that is trained.
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
    """

    path: str
    op: str
    line: str
    norm: float
    rms: float
    first: bool
    last: bool
    trunk: bool


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
        stages: Sum to log_gain.
        by_kind: Sum to log_gain.
        operations: Every executed operation that changed J, in order of execution; their
            log gains sum to log_gain.
        weights: Every use of a weight, data side first.
        closing_error: |log10 J by the account - log10 J of the end gradients that autograd
            itself returned|, decades.
        floor: log10 of the smallest gradient norm this pass could tell from zero.
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

    def __str__(self) -> str:
        kinds = ", ".join(f"{kind} {gain:+.2f}" for kind, gain in self.by_kind if abs(gain) >= 0.005)
        ends = ", ".join(f"{end.path} ({end.what}) {end.decades:+.2f}" for end in self.ends[:4])
        return (
            f"ledger of {len(self.operations)} operations: {self.log_gain:+.2f} decades from the loss to the data, "
            f"{self.decades:+.2f} from the last weight layer to the first\n"
            f"  by kind  {kinds}\n  ends     {ends}\n"
            f"  stages   {len(self.stages)}, closing error {self.closing_error:.0e}"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Underflow:
    """Share of non-zero gradient values flushed in each format, 0 to 1."""

    fp16: float
    bf16: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NotFinite:
    """Counts of values that are inf or nan."""

    activation: int = 0
    gradient: int = 0
    weight: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One module with weights, data side first.  `nan`: not measured or not defined.

    Attributes:
        path: Dotted module path.
        kind: Class of the module, "Linear".
        gradient_norm: Norm of dL/dz, z the output of the layer; all its uses together.
        gradient_rms: Root mean square of the same.
        weight_gradient_norm: Norm of dL/dW.
        activation_rms: Root mean square of z.
        weight_rms: Root mean square of W.
        mean_slope: Mean |slope| of the activation that reads z, over its supremum; 0 to 1.
        dead: Share of units whose slope is exactly 0 on every row seen, 0 to 1.
        saturated: Share of elements whose slope is below 8 % of the supremum, 0 to 1; of
            bounded activations only (sigmoid, tanh and their like).
        activation: Name of that activation, "" where there is none.
        gated: The activation's output is multiplied by something: a gate.
        between_samples: Share of z's energy that differs between samples, 0 to 1.
        update_ratio: rms of the next update over rms of W; needs an optimizer.
        trained: The layer has a weight that requires a gradient.
        reached: A gradient arrived, were it zero; false for layers outside the account.
    """

    path: str
    kind: str
    gradient_norm: float
    gradient_rms: float
    weight_gradient_norm: float
    activation_rms: float
    weight_rms: float
    mean_slope: float
    dead: float
    saturated: float
    activation: str
    gated: bool
    between_samples: float
    update_ratio: float
    underflow: Underflow
    not_finite: NotFinite
    trained: bool
    reached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """The first operation whose result is not finite though its inputs are."""

    path: str
    op: str
    line: str
    where: Literal["parameters", "input", "forward", "loss", "backward"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """The straight line through log10 |dL/dz| over the weight layers of the trunk.

    Attributes:
        slope: Decades gained per layer towards the data (Theil-Sen); negative fades.
        residual: Median absolute distance from the line, decades.
    """

    slope: float
    residual: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectiveDepth:
    """How many weight layers are really trained.

    Attributes:
        layers: Layers that both see the input and move; None where unknown.
        seen: Paths of the layers whose output still tells samples apart.
        moved: Paths of the layers whose update ratio is within two decades of the largest.
    """

    layers: int | None
    seen: tuple[str, ...]
    moved: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Surprise:
    """A layer that is off the predicted band, and what it means."""

    path: str
    quantity: str
    measured: float
    predicted: float
    meaning: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ForecastLayer:
    """Theory beside one layer: decades of dL/dz relative to the last layer.  None: can't tell."""

    path: str
    q: float | None
    decades: float | None
    band: tuple[float, float] | None
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What mean-field theory expects of this network; None where it can't tell."""

    decades: float | None
    band: tuple[float, float] | None
    layers: tuple[ForecastLayer, ...] = ()
    surprises: tuple[Surprise, ...] = ()

    def __str__(self) -> str:
        if self.decades is None or self.band is None:
            why = next((row.why for row in self.layers if row.decades is None), "no weights")
            return f"forecast: theory can't tell ({why})"
        return f"forecast: {self.decades:+.2f} decades, band {self.band[0]:+.2f} .. {self.band[1]:+.2f}"


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
class Finding:
    """A claim about an exam that a reader can check and act on."""

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
    helps: tuple[str, ...] = ()
    wont_help: tuple[WontHelp, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class GateSpan:
    """Tokens until a gate or linear recurrence has lost one decade, read off its parameters.

    Attributes:
        median: Over heads or units; inf where it never forgets.
        slowest: Of the slowest head or unit that forgets at all.
        family: The recurrence as its paper calls it.
        heads: Heads or units counted; `stuck` of them never move.
    """

    median: float
    slowest: float
    family: str
    heads: int
    stuck: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeProfile:
    """One recurrent layer and direction along time; lags count steps back from the last one.

    Attributes:
        path: Module, with torch's suffix of layer and direction ("rnn.l0", "rnn.l1_reverse").
        horizon: Steps back until the joint (h, c) gradient of the last valid step's loss has
            lost one decade; inf if it never does; nan where only parameters were read.
        steps: Length of the longest sequence; 0 where only parameters were read.
        log_gain: Decades from lag 0 to each lag.
        paths: (name, share of the gradient at each lag): "cell" by the product of the forget
            gates alone, "hidden" through the recurrent weight, "above" through the layer above.
        gates: (name, mean openness 0 to 1, mean slope).
        source: "loss", or "noise" where the loss does not read the last step.
        gate_horizon: What the parameters alone say.
    """

    path: str
    horizon: float
    steps: int
    log_gain: tuple[float, ...]
    paths: tuple[tuple[str, tuple[float, ...]], ...]
    gates: tuple[tuple[str, float, float], ...]
    source: str
    gate_horizon: GateSpan | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenProfile:
    """One attention, or the reach map of the whole model, across tokens.

    Attributes:
        path: Module of the attention; for the reach map, of what holds the positions.
        positions: Output positions whose reach was measured; empty for an attention.
        reach: [sampled position][input position]: log10 norm of the gradient of a fixed random
            projection of the output there; -inf where nothing is reached.
        distance_curve: Mean reach at each distance back, relative to distance 0, decades.
        rank_collapse: Distance of the stream from its token mean after the attention's addition,
            over its size: 1 tokens apart, 0 all alike.
        live_rows: Share of the softmax's rows whose gradient exceeds a thousandth of what even
            attention would pass.
        entropy: Mean entropy of the rows over the largest possible, 0 to 1.
    """

    path: str
    positions: tuple[int, ...]
    reach: tuple[tuple[float, ...], ...]
    distance_curve: tuple[float, ...]
    rank_collapse: float
    live_rows: float
    entropy: float


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
