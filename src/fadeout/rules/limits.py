"""Limits: every threshold of every rule, with its unit and where it comes from.  No torch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Scale-free bounds; give your own to `diagnose(reading, limits=Limits(vanishing=-4))`.

    "Tuned" below: on one half of 280 training programs of other people, where each bound was flat
    over a wide range.

    Attributes:
        vanishing: `decades` at or below which the gradient vanishes.  Tuned (flat from -1.3 to -5);
            healthy networks reach -2.3.
        surely: Below this an alarm stands by itself in one step; between the two, with an optimizer
            given, only where it leaves layers unmoved or blind (Adam carried depth-10 ReLU nets at
            -3.8 to 70-88 %, and failed from -4 on).
        exploding: `decades` at or above which it explodes.  Tuned; healthy networks reach +1.5.
        reached: Decades below the loss end from which a layer counts as out of reach.  Tuned.
        chain: Fade inside a chain of layers with no way around, decades.  Tuned.
        time: `early` of a recurrent layer, decades.  Tuned (flat from -2 to -6).
        extreme: Decades at step 0 from which a fade counts without persistence if nothing is
            learned.  Source: lessons of 442 further programs.
        dead: Share of one layer's units.  Tuned (flat from .7 to .99).
        dead_overall: Share of all rectified units.  Tuned.
        part: Share of a layer's units that are dead in a network that learns.  Tuned.
        bypassed: The same of a layer that a way around exists for.  Tuned.
        units: Units that a layer must have for its death to count.  Tuned.
        saturated: Share of a hidden activation's elements.  Tuned (flat from .2 to .9); healthy
            networks reach .85, so only where nothing is learned.
        saturated_at_start: The same in one step, where progress is unknown.
        output_saturated: Share of the output activation's elements.  Tuned.
        shut: Share of a gate's elements from which it is shut or open for good.
        outputs: rms of the output over that of the targets, at step 0.  Tuned (flat from 10 to 100).
        inputs: rms of the input above which a large output is the data's doing.  Tuned.
        diverged: Last loss over the larger of the first and the best constant's.  Tuned (flat from
            1.5 to 10).
        grown: Norm of the parameters at the end over the start, where losses can't be compared.
        learned: Progress that counts as learning well, 0 to 1.  Tuned (flat from .2 to .7).
        learns: Progress below which nothing is learned.
        plateau: Progress that a long plateau stays below.  Tuned.
        plateau_steps: Steps such a plateau lasts at least.  Tuned.
        update: Update ratio of one step above which a learning rate is suspect; healthy networks
            reached .83.
        branches: Sum of all branch shares below which effective blocks mean nothing.  ArXiv:2502.05795 and trials.
        composite: |log10| of a composite gain of residual streams.  ArXiv:2512.24880 and trials: free mixings reach
            4e28, constrained ones 1.6.
        distinct: What is left of the differences between streams.  ArXiv:2512.24880 and trials.
        live_rows: Share of a softmax's rows.  ArXiv:2303.06296 and trials.
        none_live: Share of a softmax's rows below which nothing gets through.
        entropy: Of a softmax's rows over the largest.  ArXiv:2303.06296 and trials.
        alike: Distance of tokens from their mean, share of the stream.
        token: Tokens to one decade of a gate's median head.  Trials: 0.1 to 0.2 as shipped, 240
            and more as published.
        flushed: Share of a layer's gradient below float16's range.  Trials.
        faint: Share of a layer's gradient below ten eps.  Trials.
        neighbours: Cosine between the gradients of neighbouring inputs.
        signal: Mean over deviation of the gradient between batches.
        collapsed: Rank of the last features over the start's below which dormant units are an alarm, else a
            warning.  Trials: .4 where a network learns the wrong thing, .2 and less where its units die.
        dormant: Share of units that hardly respond.  ArXiv:2302.12902 and trials: .12 to .63 where plasticity is lost.
        live: Share of elements of a DyT with a slope above 1 % of its largest.  ArXiv:2503.10622 and trials.
        enough: Steps after which "nothing is learned" is worth a word.
        caught_up: Best progress of a course after which `kept` at its end still counts as learning well.
            Tuned.
        kept: See caught_up.
        solved: Last loss over the first that counts as solved, if it is not above the constant's.  Tuned.
        wild: Update ratio of the first steps that makes a later break no surprise.
        loud: Growth of a layer's output over its input from which it is blamed for a divergence.
        stays: Steps after which units that are still alike were never told apart: zero-initialised
            parts (LoRA, ReZero, heads) leave their symmetry with the first steps.
        halfway: Progress below which a severe sign that was there all along is an alarm, though something is learned.
        leaves: The same where nothing is learned.
        calm_low, calm_high: `decades` between which a gradient is no suspect.  Tuned: healthy networks.
        slack: Progress above which an activation that the loss applies again is not blamed.
        moves: Update ratio from which a layer moves whatever the others do: a tenth of the usual 1e-3.
        crawl: Largest update ratio below which nothing can be learned in thousands of steps.
        clipped: Share of the steps at which clipping bites.
        usual: Update over weight in one step, a rule of thumb; for advice only.
        gone: Norm of a layer's gradient below which float16 has nothing left of it: half of its smallest subnormal.
        deep: Blocks below which a residual network has no depth to dilute.
        steep: Growth of a layer's output over its input from which it is named for a large output.
        wide: rms of the input from which standardising it is the first advice.
        rises: Progress by the fall of a loss alone, below which it rises: no sign of learning, nor of its absence.
        swells: Norm of the parameters at the end over the start from which a rising loss that nothing else can be
            held against is a divergence.
        leaps: The same of the loss itself, last over first.
        first_loss: Loss at the start over the best constant output's, from which the start is at fault where
            nothing is learned.
        skipped: Share of the steps that a loss scaler leaves out, from which there is no training.
        still: Largest distance of a layer's weights from their start, as a share of their size, below which the
            steps were too small to learn anything.
        silenced: Decades that the loss sends back less than at the start, from which it no longer pushes.
        flat: Mean slope over the largest, below which nothing gets through an activation or a gate.
        bias: Mean bias over the size of a dead layer's output from which the bias has done it.
        silent_rows: Share of the rows that are wrong and send a thousandth of the largest, from which it is said.
        faint_loss: Decades that the loss itself takes, from which it is named as what sends nothing.
    """

    vanishing: float = -3.0
    surely: float = -4.0
    exploding: float = 3.0
    reached: float = -3.0
    chain: float = -3.5
    time: float = -3.5
    extreme: float = -4.0
    dead: float = 0.9
    dead_overall: float = 0.5
    part: float = 1.0
    bypassed: float = 0.9
    units: int = 4
    saturated: float = 0.5
    saturated_at_start: float = 0.9
    output_saturated: float = 0.8
    shut: float = 0.98
    outputs: float = 30.0
    inputs: float = 10.0
    diverged: float = 3.0
    grown: float = 30.0
    learned: float = 0.35
    learns: float = 0.05
    plateau: float = 0.05
    plateau_steps: int = 100
    update: float = 1.0
    branches: float = 0.1
    composite: float = 1.0
    distinct: float = 1e-3
    live_rows: float = 0.5
    none_live: float = 0.05
    entropy: float = 0.05
    alike: float = 0.01
    token: float = 1.0
    flushed: float = 0.5
    faint: float = 0.5
    neighbours: float = 0.3
    signal: float = 0.1
    collapsed: float = 0.3
    dormant: float = 0.5
    live: float = 0.2
    enough: int = 20
    caught_up: float = 0.5
    kept: float = 0.1
    solved: float = 1e-3
    wild: float = 0.5
    loud: float = 10.0
    stays: int = 11
    halfway: float = 0.45
    leaves: int = 3
    calm_low: float = -2.3
    calm_high: float = 1.5
    slack: float = 0.6
    moves: float = 1e-4
    crawl: float = 1e-6
    clipped: float = 0.9
    usual: float = 1e-3
    gone: float = 2.0**-25
    deep: int = 8
    steep: float = 5.0
    wide: float = 3.0
    rises: float = -0.2
    swells: float = 3.0
    leaps: float = 1e4
    first_loss: float = 5.0
    skipped: float = 0.5
    still: float = 2e-3
    silenced: float = -4.0
    flat: float = 0.01
    bias: float = 0.8
    silent_rows: float = 0.1
    faint_loss: float = -6.0


LIMITS = Limits()
