"""Records of a whole: one step as it was read, and the exam that is shown and saved."""

import math
from dataclasses import dataclass
from typing import Any

from fadeout.records.finding import Finding
from fadeout.records.forecast import Forecast
from fadeout.records.layer import EffectiveDepth, Layer, Origin, Profile
from fadeout.records.ledger import EffectiveBlocks, Ledger
from fadeout.records.sequence import Streams, TimeProfile, TokenProfile
from fadeout.records.trial import Planned
from fadeout.records.words import Progress, Verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Weight operations one behind another with no way around, loss side first.

    Attributes:
        fade: log10 of the smallest gradient in the run over that at its loss side, decades.
        below: The same over the largest at any last layer: a whole branch that receives nothing.
        around: Some way from the loss to the data avoids it.
        lowest: Path of the layer that receives the smallest.
    """

    layers: tuple[str, ...]
    fade: float
    lowest: str
    below: float = float("nan")
    around: bool = False

    @property
    def lost(self) -> float:
        """Decades lost inside the chain; of a side branch also before it, from the last layer on."""
        return min(self.fade, self.below) if self.around and self.below > -math.inf else self.fade


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A place in the forward where the graph is let go.

    Attributes:
        op: "detach", "argmax", "data", "no_grad"; "" where a module took a gradient in and gave none out.
        layers: Trained modules that lose their gradient by it.
    """

    path: str
    op: str
    line: str
    layers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FewValues:
    """A batch norm that takes its statistics from a few values a channel.

    Attributes:
        values: How many.
        excess: Decades by which its gain lies above that of a large batch, by chance: channels whose values happen
            to lie close together carry them, and another batch would not; 0 for two values, which pass nothing.
    """

    path: str
    values: int
    excess: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """What enters and leaves the network, as root mean squares; nan where unknown.

    Attributes:
        target: Of the answers; 1 for classes.
        output_op: The operation that made the output.
        loss_ops: Operations of the loss that read it, nearest first.
        constant: Loss of the best constant output; nan where it can't be judged.
        ignores_targets: The loss stays what it is when the answers are others.
        bends_twice: "ReLU" where the loss holds derivatives of the network through it, whose own derivative is 0.
        shapes: Of output and answers, where they differ and broadcast: "(64, 1) against (64,)".
    """

    input: float
    output: float
    target: float
    output_op: str
    loss_ops: tuple[str, ...]
    constant: float = float("nan")
    ignores_targets: bool = False
    bends_twice: str = ""
    shapes: str = ""


DETACHED = "a detached number"


@dataclass(frozen=True, slots=True, kw_only=True)
class LossTerm:
    """One term of a loss that is a sum.

    Attributes:
        op: The operation that made it, "mse_loss".
        norm: Length of the gradient that it alone sends to the matrices that are trained; nan where not measured.
        first: The same at the first layer.
        reaches: Trained layers that it depends on.
        idle: It depends on none of what the step trains.
    """

    op: str
    line: str
    norm: float
    first: float
    reaches: int
    idle: bool = False

    @property
    def detached(self) -> bool:
        """Whether it has no graph, though the network has made it."""
        return self.op == DETACHED


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Everything measured in one step: what rules read.

    Attributes:
        step: Optimizer steps done before it.
        layers: Modules with weights, data side first.
        on_paper: Layers that ran.
        detached: Trained layers that ran with gradients on, yet no path leads to them.
        unrecorded: Layers that could be trained and ran with gradients off (no_grad).
        zero_weights: Parameters that are all zero and receive a gradient: a zero-initialised
            head or gate, behind which zero gradient says nothing yet.
        origin: Where the first value that is not finite was made; None where all are finite.
        loss: Value of the scalar.
        optimizer: Class name, "" without one.
        chains: Runs of weight layers with no way around.
        bypassed: Layers that some way from the loss to the data avoids.
        equal_units: Hidden layers whose units all start with the same weights.
        dtype: Number format that gradients pass through, "float16".
        norms: (path, what is wrong) of batch norms whose statistics mean nothing.
        few_values: Batch norms that see a few values only on this batch.
        live: (path, share of elements with a slope) of tanh-like stand-ins for norms.
        zero_gradients: Trained parameters whose gradient is exactly zero, or that receive none.
        silent: Those among them that receive one, of exact zeros.
        unheld: Layers with trained weights that the optimizer given does not hold.
        moves: Layers that the training loop's step behind this backward pass moves; empty where that is not known.
        unregistered: Layers that run inside the model, which does not know them: "hids[0]".
        dormant: Share of all units that hardly respond; nan where not measured.
        rank: Effective rank of the last features; nan where not measured.
        gaps: Where the forward lets go of the graph.
        terms: Of the loss, where it is a sum.
        silent_rows: Share of the batch's rows that are wrong and send next to nothing back; nan where not known.
        biases: (layer, mean of its bias) where that is far from 0.
        course: What the steps after this one showed; None in one step.
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
    chains: tuple[Chain, ...] = ()
    bypassed: frozenset[str] = frozenset()
    equal_units: tuple[str, ...] = ()
    signal: Signal | None = None
    dtype: str = ""
    norms: tuple[tuple[str, str], ...] = ()
    few_values: tuple[FewValues, ...] = ()
    live: tuple[tuple[str, float], ...] = ()
    zero_gradients: tuple[str, ...] = ()
    silent: tuple[str, ...] = ()
    unheld: tuple[str, ...] = ()
    moves: tuple[str, ...] = ()
    unregistered: tuple[str, ...] = ()
    dormant: float = float("nan")
    rank: float = float("nan")
    gaps: tuple[Gap, ...] = ()
    unrecorded: tuple[str, ...] = ()
    biases: tuple[tuple[str, float], ...] = ()
    terms: tuple[LossTerm, ...] = ()
    silent_rows: float = float("nan")
    course: "Course | None" = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """Training steps on a copy, and what was seen on the way.

    Attributes:
        steps: Optimizer steps done; fewer than asked for where training stopped being finite.
        losses: Loss of every step's own batch.
        probes: Readings on the same rows after growing numbers of steps; the first is step 0's.
        learned: For each probe, 0 for the best constant output to 1 for nothing left: by loss,
            explained variance or accuracy, whichever is largest; by the fall of the loss where no
            constant can be judged.
        constant: Loss of the best constant output on the probes' rows; nan where unknown.
        updates: Largest relative change of each layer's weights in the first three steps.
        growth: Norm of all parameters at the end over the start.
        broken: Step at which a loss, or at a probe a parameter, was found not finite; None if never.
        backwards: Backward passes a step: more than one where losses alternate.
        ignores_targets: The loss does not change when the answers are permuted.
        clipped: Share of the steps whose gradient was clipped; nan where nothing clips.
        signal_to_noise: |mean| over deviation of the gradient between batches, at step 0.
        neighbours: Cosine between the input gradients of neighbouring inputs, at step 0.
        one_class: Every batch holds one class only, though there are several.
        spoilt: The batch at which training broke holds nan or inf.
        batches: Different batches that the steps read.
        unmoved: No parameter differs from what it was at the start.
        skipped: Optimizer steps that a loss scaler left out.
        scaled: Optimizer steps that went through one.
        stale: The optimizer steps with the gradients of earlier steps added: nothing clears them.
        rate_gone: Step from which on the learning rate is a thousandth of its largest and less; None if never.
        travelled: Largest distance of a layer's weights from where they started, over their size there; nan where
            nothing was measured.
        fatal: The step at which training stopped being finite, taken again from the last sound weights on its own
            batch; None where it never did, or can't be had again.
    """

    steps: int
    losses: tuple[float, ...]
    probes: tuple[Reading, ...]
    learned: tuple[float, ...]
    constant: float
    updates: tuple[tuple[str, float], ...]
    growth: float
    broken: int | None
    backwards: int
    ignores_targets: bool
    clipped: float
    batches: int = 0
    unmoved: bool = False
    spoilt: bool = False
    one_class: bool = False
    signal_to_noise: float = float("nan")
    neighbours: float = float("nan")
    skipped: int = 0
    scaled: int = 0
    stale: bool = False
    rate_gone: int | None = None
    travelled: float = float("nan")
    fatal: Reading | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerTrace:
    """One layer while a copy is trained.

    Attributes:
        gradient_norm: Norm of dL/dz at each probe, the same rows every time; nan where it did not run.
    """

    path: str
    gradient_norm: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """What an exam keeps of the steps it did on a copy.

    Attributes:
        losses: Of every step's own batch.
        probes: Steps after which a probe was taken.
        learned: Progress at each probe: 0 like the best constant output, 1 nothing left; nan unknown.
        constant: Loss of the best constant output; nan where none can be judged.
        broken: Step at which a loss or parameter was found not finite; None if never.
        layers: The gradient of every layer at each probe, data side first.
    """

    steps: int
    losses: tuple[float, ...]
    probes: tuple[int, ...]
    learned: tuple[float, ...]
    constant: float
    broken: int | None
    layers: tuple[LayerTrace, ...] = ()


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

    Shows itself in a terminal (`print`, which takes the terminal's width and colours; `rich.print`), in a
    notebook, and through the dataframe interchange (one row a layer); its `repr` is one line; `to_dict` is
    the documented JSON contract.
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
    terms: tuple[LossTerm, ...] = ()
    course: Training | None = None
    plan: tuple[Planned, ...] | None = None
    wont_help: tuple[Planned, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract, schema `fadeout.exam/1`: plain dicts, lists, strings and numbers."""
        from fadeout.store.contract import to_dict

        return to_dict(self)

    def __repr__(self) -> str:
        from fadeout.render.sentences import one_line

        return one_line(self)

    def __str__(self) -> str:
        from fadeout.render.terminal import report

        return str(report(self))

    def __rich_console__(self, console: Any, options: Any) -> Any:
        from fadeout.render.terminal import report

        return report(self).__rich_console__(console, options)

    def _repr_html_(self) -> str:
        from fadeout.render.notebook import fragment

        return fragment(self)

    def __dataframe__(self, nan_as_null: bool = False, allow_copy: bool = True) -> Any:
        from fadeout.render.frame import interchange

        return interchange(self, nan_as_null=nan_as_null, allow_copy=allow_copy)

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        from fadeout.render.frame import table

        return table(self).__arrow_c_stream__(requested_schema)
