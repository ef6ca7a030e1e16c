"""What is measured along time: profiles of recurrent layers, one step's Jacobian, horizons of gates.

Imports nothing but the standard library.  Lags count steps back from the last step that a
direction processes: lag 0 is that step itself; for the reverse direction it is t = 0.
"""

from dataclasses import dataclass
from typing import Literal

Source = Literal["loss", "noise", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimePath:
    """One way on which the gradient of the last step comes back through time.

    Attributes:
        name: "cell": by the cell alone (the product of the forget gates; in a GRU of the keep
            gates z); "hidden": at least once through this layer's recurrent weight; "above":
            came down from the layer above at an earlier step, and from there by the cell alone.
        log_gain: log10 |g_path| at each lag, the joint gradient at lag 0 being 1.  -inf also
            where it is more than 38 decades below the whole.
        share: <g_path, g> / |g|^2 at each lag.  Signed; the shares of a lag add to 1.
    """

    name: Literal["cell", "hidden", "above"]
    log_gain: tuple[float, ...]
    share: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class GateState:
    """One gate over all valid steps and units.

    Attributes:
        openness: Mean value, 0 to 1; nan for what is no gate (the candidate, a plain RNN's state).
        slope: Mean derivative of its activation (at most 1/4 for a sigmoid, 1 for a tanh or relu).
    """

    name: str
    openness: float
    slope: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Walked:
    """One layer and direction of a recurrent module, along time.

    Attributes:
        path: Dotted path of the module.
        layer: Layer within the module, the data side being 0.
        direction: "forward" or "reverse".
        steps: Length of the longest sequence, T.
        source: What the gradient at lag 0 was: "loss": the loss's own at the last valid step;
            "noise": fixed Gaussian at the module's last output, because the loss does not read
            that step; "none": the loss reads other layers only, nothing comes back here.
        log_norm: log10 of the joint (h, c) gradient norm of the whole loss at each lag, joint
            over the batch; empty when no gradient was given.
        log_gain: log10 gain from lag 0 to each lag of the last valid step's loss alone.  With
            ragged lengths over the sequences that are long enough, at both lags.
        horizon: Steps back until log_gain has lost one decade, interpolated in the logarithm;
            None if it never does.
        reach: Share of the sequence within the horizon, horizon / steps; 1 without a horizon.
        paths: cell and hidden, and above where a layer stands above; they add up at each lag.
        gates: The gates' mean openness and slopes.
    """

    path: str
    layer: int
    direction: Literal["forward", "reverse"]
    steps: int
    source: Source
    log_norm: tuple[float, ...]
    log_gain: tuple[float, ...]
    horizon: float | None
    reach: float
    paths: tuple[TimePath, ...]
    gates: tuple[GateState, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StepJacobian:
    """The Jacobian of one time step, d state_t / d state_(t-1), state being h or (h, c).

    Attributes:
        step: The step t.
        singular: Leading singular values, each the median over the samples, largest first.
        largest: The largest singular value of any sample.
        spectral_radius: Of the recurrent weight; of the candidate's part (g, n) in gated cells;
            nan where that is not square (projections).
        bound: s_max(W_hh) sup|phi'|; below 1 the gradient must vanish.  None for gated cells,
            for which it says nothing.
    """

    path: str
    layer: int
    direction: Literal["forward", "reverse"]
    step: int
    singular: tuple[float, ...]
    largest: float
    spectral_radius: float
    bound: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GateHorizon:
    """Tokens until a gated or linear recurrence has lost one decade, read off its parameters.

    What the gate does at pre-activation zero from the input: the parameters' own say.

    Attributes:
        path: Dotted path of the module that owns the decay.
        part: torch's suffix of a layer and direction ("l0", "l1_reverse"); "" elsewhere.
        family: The family as its paper calls it.
        median: Tokens to one decade, median over the heads or units; inf where it never forgets.
        slowest: The same of the slowest head or unit that forgets at all.
        pooled: Lag at which the rms gain over all heads and units, sqrt(mean a^2k), has lost one
            decade: between the two, and nearest to a measured reach.
        heads: Heads or units counted.
        stuck: Of these, those with a factor of exactly 0, exactly 1 or not a number: no gradient
            moves such a gate.
        formula: The decay factor a of one token.
        source: Where the formula stands.
    """

    path: str
    part: str
    family: str
    median: float
    slowest: float
    pooled: float
    heads: int
    stuck: int
    formula: str
    source: str
