"""Saturated attention: how many rows of a softmax still pass a gradient when its logits are large, and QK-norm."""

import math
import statistics
from collections.abc import Iterator

import torch

import fadeout
from fadeout.lab.experiment import Expectation, Found, Published, Task, grid
from fadeout.lab.today_part import NAME, Part, paired, told
from fadeout.lab.today_text import LENGTH, Reader, batch, learn, loss_on, nats, new_text
from fadeout.records import Figure, Row, Size, Table

PLAIN, NORMED = "attention as usual", "attention with QK-norm"
DEPTH = 2
SHARP: dict[Size, tuple[float, ...]] = {  # deviation of the logits at the start
    "smoke": (1, 1000),
    "quick": (1, 10, 30, 100, 256, 1000),
    "full": (1, 3, 10, 30, 100, 256, 1000),
}
TRAINED = (1.0, 256.0)
STEPS: dict[Size, int] = {"smoke": 0, "quick": 150, "full": 1000}
SEEDS: dict[Size, range] = {"smoke": range(6), "quick": range(10), "full": range(20)}  # of the start, which is cheap
LEARNERS: dict[Size, int] = {"smoke": 0, "quick": 3, "full": 5}  # seeds that are trained as well
THEORY_FROM = 100.0  # below it many rows have more than two places near the top


def tasks(size: Size) -> tuple[Task, ...]:
    return grid(NAME, size, (PLAIN, NORMED), SEEDS[size], SHARP[size])


def measure(task: Task) -> Iterator[Row]:
    model = Reader(DEPTH, qk_norm=task.arm == NORMED, sharp=task.x)
    exam = fadeout.examine(model, batch(torch.Generator().manual_seed(9), held_out=True), loss=nats)
    norms = {layer.path: layer.weight_gradient_norm for layer in exam.layers}

    def row(quantity: str, value: float) -> Row:
        return Row(quantity=quantity, arm=task.arm, value=value, seed=task.seed, x=task.x)

    yield row("live rows", statistics.fmean(tokens.live_rows for tokens in exam.tokens))
    yield row("entropy of attention", statistics.fmean(tokens.entropy for tokens in exam.tokens))
    queries = statistics.fmean(norm for path, norm in norms.items() if path.endswith("attend.query"))
    yield row("gradient of the queries", math.log10(queries))
    if task.arm == PLAIN and task.x >= THEORY_FROM:
        yield row("live rows in theory", live_in_theory(task.x))
    if task.seed < LEARNERS[task.size] and task.x in TRAINED:
        learn(model, steps=STEPS[task.size], seed=task.seed)
        yield row("loss of the attention network", loss_on(model, new_text()))


def live_in_theory(sharp: float) -> float:
    """A row passes a thousandth when its two largest logits lie within 7 of each other: 7 sqrt(2 ln T) / s of them."""
    return 7 * math.sqrt(2 * math.log(LENGTH)) / sharp


def one_in_s(table: Table) -> Found:
    found = [
        (x, table.mean("live rows", PLAIN, x), table.mean("live rows in theory", PLAIN, x))
        for x in table.xs("live rows in theory", PLAIN)
    ]
    said = ", ".join(f"{100 * live:.1f} % at {x:g} (theory {100 * foreseen:.1f} %)" for x, live, foreseen in found)
    return Found(
        held=all(0.5 < live / foreseen < 2 for _, live, foreseen in found),
        measured=f"Live rows by the deviation of the scores: {said}.",
    )


def norm_says_nothing(table: Table) -> Found:
    low, high = table.xs("live rows", PLAIN)[0], table.xs("live rows", PLAIN)[-1]
    change = paired(*(table.values("gradient of the queries", PLAIN, x) for x in (high, low)))
    lost = math.log10(table.mean("live rows", PLAIN, high) / table.mean("live rows", PLAIN, low))
    kept = [table.mean("live rows", NORMED, x) for x in (low, high)]
    return Found(
        held=change.low > -0.5 and lost < -1 and kept[1] > 0.9 * kept[0],
        measured=f"From deviation {low:g} to {high:g} the live rows change by {lost:+.1f} decades, the gradient of the "
        f"query weights by {change.mean:+.1f}. With QK-norm {100 * kept[0]:.0f} and {100 * kept[1]:.0f} % are live.",
    )


def qk_norm_cures(table: Table) -> Found:
    healthy, sick = TRAINED
    loss = "loss of the attention network"
    harm = paired(*(table.values(loss, PLAIN, x) for x in (sick, healthy)))
    normed = paired(*(table.values(loss, NORMED, x) for x in (sick, healthy)))
    return Found(
        held=harm.low > 0.1 and normed.high < 0.05,
        measured=f"Starting at {sick:g} rather than {healthy:g} costs {told(harm, 3)} nats without QK-norm and "
        f"{told(normed, 3)} with it.",
    )


PART = Part(
    arms=(PLAIN, NORMED),
    tasks=tasks,
    measure=measure,
    expectations=(
        Expectation(
            says="Attention: with scores of deviation 100 and more, the share of live rows is 7 sqrt(2 ln 64) over "
            "the deviation, to within a factor of two.",
            check=one_in_s,
            needs="smoke",
        ),
        Expectation(
            says="Attention: from deviation 1 to 1000 more than nine tenths of the rows die, yet the gradient of the "
            "query weights doesn't fall by even half a decade; with QK-norm at least nine tenths of them stay.",
            check=norm_says_nothing,
            needs="smoke",
        ),
        Expectation(
            says="Attention: a start at deviation 256 rather than 1 costs more than 0.1 nats a character, and less "
            "than 0.05 with QK-norm.",
            check=qk_norm_cures,
        ),
    ),
    published=(
        Published(
            source="Dehghani et al. 2023, ViT-22B, 2302.05442",
            what="Large attention scores, and normalised queries and keys",
            theirs="training diverges at about 8 billion parameters with attention of nearly zero entropy; with the "
            "norm it doesn't",
            ours=lambda table: (
                f"entropy falls from {table.mean('entropy of attention', PLAIN, 1.0):.2f} of the largest possible to "
                f"{table.mean('entropy of attention', PLAIN, 256.0):.3f} at deviation 256; with the norm it stays "
                f"{table.mean('entropy of attention', NORMED, 256.0):.2f}"
            ),
            differs="their scores grow while a huge network trains; we start a small one with large scores. Ours "
            "learns worse but doesn't diverge. Their statement was read in a review, not in the paper.",
        ),
    ),
    figures=(
        Figure(
            title="Rows of attention that still pass a gradient",
            quantity="live rows",
            theory="live rows in theory",
            x="standard deviation of the scores at the start",
            y="live rows",
            x_log=True,
            y_log=True,
            percent=True,
            arms=(PLAIN, NORMED),
            caption="A row is one character that chooses where to look. It is live if its gradient is more than a "
            "thousandth of what an undecided row would pass. Dashed: theory for large scores.",
        ),
    ),
)
