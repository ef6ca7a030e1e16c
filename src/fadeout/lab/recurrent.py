"""The same disease along time: how far back a recurrent network's gradient reaches, and what it learns."""

import statistics

from fadeout.lab.experiment import Expectation, Experiment, Found, Published
from fadeout.lab.recurrent_nets import spearman
from fadeout.lab.recurrent_runs import (
    CHRONO,
    CLOSED,
    FOUR,
    GAINS,
    GRU,
    HOLDS,
    LATCH,
    NAME,
    NETS,
    OPEN,
    RANDOM,
    RNN,
    SHOWN,
    SMALL,
    measure,
    tasks,
)  # fmt: skip
from fadeout.records import Figure, Reference, Table

PIXELS_SAID = ("accuracy", "reach before training", "reach after training")


def agrees(table: Table) -> Found:
    nets = table.arms("off the twin")
    worst = max(value for net in nets for value in table.values("off the twin", net))
    said = ", ".join(f"{net} {table.mean('decades a step by hand', net):+.3f}" for net in nets)
    return Found(
        held=worst < 0.001,
        measured=f"The largest difference at any of 40 steps is {worst:.1e} decades. Decades a step: {said}.",
    )


def foretold(table: Table) -> Found:
    pairs = [
        abs(a - b)
        for gain in GAINS
        if gain <= SMALL
        for a, b in zip(
            table.values("decades a step", RANDOM, gain),
            table.values("decades a step, theory", RANDOM, gain),
            strict=True,
        )
    ]
    latch, theory = table.of("decades a step", LATCH), table.mean("decades a step, theory", LATCH)
    above = max(value for arm in (RANDOM, LATCH) for value in table.values("above the bound", arm))
    held = max(pairs) < 0.03 and max(abs(latch.low - theory), abs(latch.high - theory)) < 0.01 and above < 0.001
    return Found(
        held=held,
        measured=f"Random weights: at most {max(pairs):.3f} decades a step from the spectral radius; with torch's own "
        f"start {table.mean('decades a step', RANDOM, 0.577):+.3f} a step. Latch: {latch.mean:+.4f} a step, theory "
        f"{theory:+.4f}. The closest that any of them came to Pascanu's bound is {-above:.2f} decades below it.",
    )


def who_learns(table: Table) -> Found:
    error = {net: table.of("error", net, SHOWN) for net in NETS}
    learned = {net: table.values("learned", net, SHOWN) for net in NETS}
    recall = {net: table.of("symbols recalled", net) for net in FOUR}
    held = min(table.values("error", RNN, SHOWN)) > 0.15 and all(min(learned[net]) == 1 for net in (CHRONO, GRU))
    held = held and all(recall[net].low > recall[RNN].high for net in (CHRONO, GRU))
    said = ", ".join(f"{net} {v.mean:.3f} (learned by {sum(learned[net]):.0f})" for net, v in error.items())
    again = ", ".join(
        f"{net} {100 * v.mean:.0f} % [{100 * v.low:.0f}, {100 * v.high:.0f}]" for net, v in recall.items()
    )
    return Found(
        held=held,
        measured=f"Error at 100 steps, of {len(learned[RNN])} runs each: {said}. Symbols recalled: {again}.",
    )


def gates_help(table: Table) -> Found:
    held, said = True, []
    for x in table.xs("steps needed", OPEN):
        closed, open_, chrono = (table.values("steps needed", net, x) for net in (CLOSED, OPEN, CHRONO))
        held = held and all(c < b <= a for a, b, c in zip(closed, open_, chrono, strict=True))
        means = " / ".join(f"{statistics.fmean(v):.0f}" for v in (closed, open_, chrono))
        said.append(f"{means} at length {x:.0f}")
    return Found(
        held=held,
        measured="Steps that an LSTM needs with forget bias 0 / 1 / chrono, a run that did not learn counting as all "
        f"its steps: {', '.join(said)}.",
    )


def reach_ranks(table: Table) -> Found:
    runs = [
        (-before, -after, needed)
        for net in NETS
        for before, after, needed in zip(
            table.values("reach before training", net, SHOWN),
            table.values("reach after training", net, SHOWN),
            table.values("steps needed", net, SHOWN),
            strict=True,
        )
    ]
    lost_before, lost_after, needed = zip(*runs, strict=True)
    start, end = spearman(lost_before, needed), spearman(lost_after, needed)
    gru = table.of("reach before training", GRU, SHOWN)
    held = end >= 0.5 and start < end and gru.high < -8 and min(table.values("learned", GRU, SHOWN)) == 1
    return Found(
        held=held,
        measured=f"Rank correlation of the decades lost over 100 steps with the training steps needed, over "
        f"{len(runs)} runs: {start:+.2f} before training, {end:+.2f} after. The GRU starts at {gru.mean:.0f} decades "
        f"[{gru.low:.0f}, {gru.high:.0f}] and ends at {table.mean('reach after training', GRU, SHOWN):+.1f}.",
    )


def digits(table: Table) -> str:
    nets = table.arms("pixels, accuracy")
    found = {net: [table.mean(f"pixels, {what}", net) for what in PIXELS_SAID] for net in nets}
    return ", ".join(
        f"{net} {100 * a:.0f} % ({b:+.1f} decades before, {c:+.1f} after)" for net, (a, b, c) in found.items()
    )


EXPERIMENT = Experiment(
    name=NAME,
    title="The same disease along time",
    chapter="Along time",
    claim="A plain recurrent network loses a part of the gradient at every step back in time and cannot learn what "
    "depends on the distant past; gates let it.",
    source="Hochreiter 1991; Bengio, Simard and Frasconi 1994; Hochreiter and Schmidhuber 1997; Pascanu et al. 2013, "
    "1211.5063; Le et al. 2015, 1504.00941; Tallec and Ollivier 2018, 1804.11188",
    story=(
        "A recurrent network reads a sequence one step at a time and keeps a state, a list of numbers that it changes "
        "at every step. To learn that something at the end depends on something at the beginning, the gradient has to "
        "travel back through every step in between. A sequence of a hundred steps is, for the gradient, a network of a "
        "hundred layers that all have the same weights. How many steps back it gets we call its reach.",
        "So the same thing happens as in deep networks, and it was found here first: Hochreiter described it in 1991, "
        "Bengio, Simard and Frasconi in 1994. What a step does to the gradient depends on the weights from state to "
        "state. Two numbers describe them. Their spectral radius is the factor a step that remains in the long run, as "
        "long as the state is small. Pascanu's bound is the most by which they can stretch anything in a single step: "
        "if it is below 1, the gradient must vanish.",
        "Bengio and his colleagues also showed a dilemma. A unit that keeps a bit, a yes or no, safe against "
        "noise must "
        "pull its state back to where it was, whatever disturbs it a little. But then a little change long ago makes "
        "no difference today, and that is just what a vanished gradient says. We call such a unit a latch.",
        "The LSTM of 1997 and the later GRU put gates into the state: numbers between 0 and 1, computed at every step, "
        "that decide how much of the old state is kept. The forget bias says how far open the keeping gate is before "
        "training. The chrono start draws it so that the units remember for different times, up to the length of the "
        "sequence. The IRNN has no gates; it starts by copying its state unchanged at every step.",
        "We measure how much of the gradient of the last step is left at each earlier step, before and after training, "
        "and we train on three kinds of task. In the adding problem two numbers out of a long row are marked, and the "
        "answer is their sum; always answering 1 makes an error of 1/6, 0.167. In the copy problem ten symbols must be "
        "repeated after a pause. Digits are read row by row, in 8 steps, or pixel by pixel, in 64.",
        "To see whether the reach tells who learns, we put all runs in order by reach, and again by the training steps "
        "that they needed. The rank correlation is 1 where both orders are the same, and 0 where they have nothing to "
        "do with each other.",
    ),
    lesson=(
        "A plain recurrent network loses its gradient at a rate that its weights fix before training, and theory says "
        "which. With torch's own start it is 0.24 decades a step, so a hundred steps back 20 decades and more are "
        "gone. A latch loses 0.21 decades a step although its weights to itself are larger than 1: Bengio's dilemma. "
        "On the adding and the copy problem the plain network still guesses at the end, while the GRU and the chrono "
        "LSTM learn both.",
        "How far the gradient reaches before training does not say who will learn. The GRU starts 19 decades down, "
        "like the tanh RNN, and needs the fewest steps of all. The IRNN loses nearly nothing and comes late: at length "
        "50 one of three seeds got near the goal in 2,500 steps. After training the reach does tell them apart, since "
        "a network that has learned to use the beginning has opened the way there. So a short reach before training is "
        "a reason to look closer, and no verdict; that is why fadeout gives none for it.",
        "When something near the end already helps, even the plain network opens its way. It starts 14 decades down on "
        "digits read pixel by pixel, learns from the last pixels first, and after 400 steps the gradient reaches the "
        "first pixel nearly undiminished, with more than half of the digits right. Here the network with the farthest "
        "reach, the IRNN, is the worst.",
        "One thing that is often told did not come out. A forget bias of 1 did make the LSTM reach farther than a bias "
        "of 0, 4 decades down instead of 10 at length 50, but it did not learn sooner: on three seeds it was once "
        "slower, once faster and once about equal. At length 100 neither learned in 800 steps. The chrono start, whose "
        "reach covers the whole sequence, halved the steps on every seed; but it has to be told the length.",
    ),
    setting={
        "smoke": "Theory and the comparison with plain autograd in full; training for 2 steps: only whether it runs.",
        "quick": "64 units, batch 32, Adam 0.001 (RNN, IRNN) or 0.005, gradients clipped at norm 1. Adding: length 50 "
        "for at most 2,500 steps, length 100 for at most 800. Copy: 20 blank steps, 800 training steps. Digits: 300 "
        "training steps by rows, 400 by pixels, batch 64, Adam 0.001 or 0.002.",
        "full": "As quick with five seeds. Adding: lengths 50 to 1,000 for at most 5,000 steps, 3,000 from length 500 "
        "on. Copy: 100 blank steps, 5,000 training steps. Digits: 2,000 and 5,000 training steps.",
    },
    seconds={"smoke": 5.4, "quick": 468.0, "full": 27000.0},
    tasks=tasks,
    measure=measure,
    expectations=(
        Expectation(
            says="At each of 40 steps back, the decades that an exam measures are those of plain autograd in float64, "
            "to within 0.001, for a tanh RNN, an LSTM and a GRU.",
            check=agrees,
            needs="smoke",
        ),
        Expectation(
            says="A tanh RNN loses what theory says: never less than Pascanu's bound demands; while its state is "
            "small, the logarithm of the spectral radius of its recurrent weights, to within 0.03 decades a step; and "
            "as a latch, the rate of its fixed point, to within 0.01.",
            check=foretold,
            needs="smoke",
        ),
        Expectation(
            says="At length 100 the tanh RNN does not learn the adding problem, with an error above 0.15 on every "
            "seed, while GRU and chrono LSTM do on every seed; and both recall more symbols than the tanh RNN.",
            check=who_learns,
        ),
        Expectation(
            says="The farther open the forget gate starts, the sooner an LSTM learns to add: on every seed and length "
            "chrono needs fewer steps than bias 1, and bias 1 no more than bias 0.",
            check=gates_help,
        ),
        Expectation(
            says="At length 100 the decades that a network loses after training rank the runs by the steps that they "
            "needed, with a rank correlation of at least 0.5. Before training they rank them worse, since the GRU "
            "learns although it starts more than 8 decades down.",
            check=reach_ranks,
        ),
    ),
    published=(
        Published(
            source="Bengio, Simard and Frasconi 1994; as retold by Hochreiter et al. 2001, section 4",
            what="A unit that keeps a bit safe",
            theirs="what makes the gradient decay is necessary for storing a bit safely",
            ours=lambda table: (
                f"a latch of gain {HOLDS} loses {-table.mean('decades a step', LATCH):.3f} decades a step, although "
                "its recurrent weights are larger than 1"
            ),
            differs="a theorem on any such system; ours is one example",
        ),
        Published(
            source="Le et al. 2015, 1504.00941",
            what="Digits pixel by pixel, accuracy of an IRNN",
            theirs="97 % (93 % after 900 passes over the data in a reproduction that Keras shipped)",
            ours=lambda table: digits(table),
            differs="MNIST has 784 pixels and 60,000 digits, and they trained for very long; ours have 64 pixels and "
            "1,437 digits, and few hundred steps",
        ),
        Published(
            source="Tallec and Ollivier 2018, 1804.11188, abstract",
            what="The chrono start",
            theirs="greatly improves learning of long term dependencies",
            ours=lambda table: (
                "steps needed at length 100: "
                + ", ".join(f"{net} {table.mean('steps needed', net, SHOWN):.0f}" for net in (OPEN, CHRONO))
            ),
            differs="their sequences are longer and their networks larger; a run that did not learn counts as all its "
            "steps here",
        ),
    ),
    figures=(
        Figure(
            title="What is left of the gradient so many steps back, before training",
            quantity="left before training",
            x="steps back from the end",
            y="decades",
            low=-30.0,
            high=2.0,
            references=(Reference(says="nothing lost", value=0.0),),
            caption="The adding problem at length 100. A straight line that falls means that every step back costs "
            "the same factor. From this chart alone one would expect the GRU to fail like the tanh RNN.",
        ),
        Figure(
            title="The same networks after training",
            quantity="left after training",
            x="steps back from the end",
            y="decades",
            low=-30.0,
            high=2.0,
            references=(Reference(says="nothing lost", value=0.0),),
            caption="Networks that have learned the task have moved up to the dashed line: while they learned, they "
            "opened the way back. Those that have not are where they were.",
        ),
        Figure(
            title="Error of the adding problem after training, length 100",
            quantity="error at 100 steps",
            y="mean squared error on new sequences",
            mark="bars",
            low=0.0,
            references=(Reference(says="always answering 1", value=1 / 6),),
            caption="Who learned within 800 training steps. Compare with the two charts above: the chart after "
            "training tells who is at the dashed line of guessing, the chart before does not.",
        ),
    ),
)
