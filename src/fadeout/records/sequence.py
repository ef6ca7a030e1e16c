"""Records along a sequence: through time, and across tokens."""

from dataclasses import dataclass


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
class StepSpectrum:
    """The Jacobian of one time step, d state_t / d state_(t-1), beside what theory bounds it by.

    Attributes:
        step: The step t.
        singular: Leading singular values, largest first.
        spectral_radius: Of the recurrent weight (of the candidate's part in gated cells); nan
            where that is not square.
        bound: s_max(W_hh) sup|phi'|; below 1 the gradient must vanish (Pascanu 2013).  nan for
            gated cells, for which it says nothing.
    """

    step: int
    singular: tuple[float, ...]
    spectral_radius: float
    bound: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """Where the way back through time ends because the graph does.

    Attributes:
        step: The first step that still receives a gradient; those before it get none.
        op: "detach", or "" where the graph ends without one (no_grad, .data).
        line: The user's source line, "net.py:12".
    """

    step: int
    op: str
    line: str


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
        gates: (name, mean openness 0 to 1, mean slope).  Of a loop that multiplies each element of its
            state by a gate or a fixed decay: ("keep" or "decay", mean factor kept a step, nan).
        source: "loss", or "noise" where the loss does not read the last step.
        gate_horizon: What the parameters alone say.
        cause: What ends the reach: "recurrent weight", "slope", "forget gates closed", "forget gates half
            open" (as torch starts them), "decay" (a fixed factor below 1) or "truncation"; "" where a
            decade is never lost, or no cause could be told.
        spectrum: The Jacobian of the last step; None where it was not measured.
        cut: Where the graph ends before the sequence does; None where it does not.
        early: log10 of the largest gradient of the whole loss in the first tenth of the steps over
            the largest in any step; nan where not measured.
        line: The user's source line that carries the state of a hand-written loop, "net.py:12".
    """

    path: str
    horizon: float
    steps: int
    log_gain: tuple[float, ...]
    paths: tuple[tuple[str, tuple[float, ...]], ...]
    gates: tuple[tuple[str, float, float], ...]
    source: str
    gate_horizon: GateSpan | None
    cause: str = ""
    spectrum: StepSpectrum | None = None
    cut: Cut | None = None
    early: float = float("nan")
    line: str = ""


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
        live_heads: `live_rows` of each head.
        branch_share: Share of the gradient that goes through the attention's branch; the
            residual stream carries the rest.  nan without a residual addition.
        influence: 1 - mean cosine between the stream before and after that addition.
    """

    path: str
    positions: tuple[int, ...]
    reach: tuple[tuple[float, ...], ...]
    distance_curve: tuple[float, ...]
    rank_collapse: float
    live_rows: float
    entropy: float
    live_heads: tuple[float, ...] = ()
    branch_share: float = float("nan")
    influence: float = float("nan")


@dataclass(frozen=True, slots=True, kw_only=True)
class Streams:
    """Several residual streams that are mixed at every layer: what their product does over depth.

    Attributes:
        path: Module that holds the first mixing.
        width: Streams.
        layers: Mixings in a row.
        forward: Largest |row sum| of the product of all mixings, mean over tokens.
        backward: Largest |column sum| of the same.
        columns: Largest |log10 |column sum||, decades: a largest sum hides a starved stream.
        distinct: What is left of the differences between streams: second over first singular
            value of the product.
    """

    path: str
    width: int
    layers: int
    forward: float
    backward: float
    columns: float
    distinct: float
