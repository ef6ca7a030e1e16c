"""Idle blocks: how evenly the blocks of a Pre-LN transformer carry the gradient, and what skipping some costs."""

from collections.abc import Iterator

import torch
from torch import nn

import fadeout
from fadeout import theory
from fadeout.lab.experiment import Expectation, Found, Published, Task, grid
from fadeout.lab.today_part import NAME, Part, paired, told
from fadeout.lab.today_text import Batch, Reader, batch, learn, loss_on, nats, new_text
from fadeout.records import Exam, Figure, Row, Size, Table, interval

PLAIN, SCALED, ALIKE = "Pre-LN", "LayerNorm Scaling", "if all blocks shared alike"
DEPTHS: dict[Size, tuple[float, ...]] = {"smoke": (4, 8), "quick": (4, 8, 16, 32), "full": (4, 8, 16, 32, 64)}
# of training; at other depths only the start is examined, and of LayerNorm Scaling only the deepest is trained
STEPS: dict[Size, dict[float, int]] = {
    "smoke": {4: 2},
    "quick": {8: 200, 16: 200},
    "full": {8: 1000, 16: 1000, 32: 1000},
}
SEEDS: dict[Size, range] = {"smoke": range(1), "quick": range(3), "full": range(5)}
QUARTERS = (1, 2, 3, 4)
EMBEDDED = 2 * 0.7**2  # variance of the stream before the first block: two embeddings


def tasks(size: Size) -> tuple[Task, ...]:
    return grid(NAME, size, (PLAIN, SCALED), SEEDS[size], DEPTHS[size])


def measure(task: Task) -> Iterator[Row]:
    depth = int(task.x)
    model, rows = Reader(depth, scaled=task.arm == SCALED), batch(torch.Generator().manual_seed(9), held_out=True)

    def row(quantity: str, value: float, when: str = "", x: float = task.x) -> Row:
        return Row(quantity=quantity, arm=task.arm + when, value=value, seed=task.seed, x=x)

    exam = fadeout.examine(model, rows, loss=nats)
    yield row("effective blocks", theory.effective_blocks(shares(exam, depth)), ", start")
    if task.arm == PLAIN:
        stream = theory.follow_pre_norm(depth, start=EMBEDDED)
        yield row("effective blocks in theory", theory.effective_blocks(stream.shares), ", start")
        yield Row(quantity="effective blocks", arm=ALIKE, value=task.x, seed=task.seed, x=task.x)
    if depth not in STEPS[task.size] or (task.arm == SCALED and depth < max(STEPS[task.size])):
        return
    learn(model, steps=STEPS[task.size][depth], seed=task.seed)
    exam = fadeout.examine(model, rows, loss=nats)
    left = shares(exam, depth)
    yield row("effective blocks", theory.effective_blocks(left), ", trained")
    yield row("share of the last quarter", sum(left[-depth // 4 :]) / (depth // 4))
    yield row("decades", exam.decades)
    yield row("mean square of the stream", stream_size(model, rows))
    text = new_text()
    whole = loss_on(model, text)
    yield row("loss on new text", whole)
    if depth == max(STEPS[task.size]):
        for quarter in QUARTERS:
            yield row("loss added by skipping a quarter", skipped(model, text, quarter) - whole, x=float(quarter))


def shares(exam: Exam, depth: int) -> list[float]:
    """Share of the gradient that came through the branch of each block, data side first."""
    assert exam.effective_blocks is not None
    found = {block.path: block.share for block in exam.effective_blocks.blocks}
    return [found[f"blocks.{n}"] for n in range(depth)]


def quarter_of(blocks: int, quarter: int) -> range:
    """Blocks of one quarter; the first begins with the second block."""
    return range(1, 1 + blocks // 4) if quarter == 1 else range((quarter - 1) * blocks // 4, quarter * blocks // 4)


def skipped(model: Reader, text: list[Batch], quarter: int) -> float:
    """Loss without the blocks of one quarter; the very first block stays."""
    kept, out = model.blocks, quarter_of(len(model.blocks), quarter)
    model.blocks = nn.Sequential(*(block for i, block in enumerate(kept) if i not in out))
    found = loss_on(model, text)
    model.blocks = kept
    return found


@torch.no_grad()
def stream_size(model: Reader, rows: Batch) -> float:
    """Mean square of what enters the last norm."""
    seen: list[float] = []
    hook = model.norm.register_forward_pre_hook(lambda _, args: seen.append(float(args[0].square().mean())))
    model(rows[0])
    hook.remove()
    return seen[0]


def deepest(table: Table) -> float:
    """The depth at which quarters were skipped."""
    return table.xs("loss on new text", PLAIN)[-1]


def as_foreseen(table: Table) -> Found:
    arm = f"{PLAIN}, start"
    found = [
        (x, table.mean("effective blocks", arm, x), table.mean("effective blocks in theory", arm, x))
        for x in table.xs("effective blocks", arm)
    ]
    last = found[-1]
    said = ", ".join(f"{n:.1f} of {x:.0f} (theory {t:.1f})" for x, n, t in found)
    held = all(abs(n / t - 1) < 0.3 for _, n, t in found) and last[1] / last[0] < found[0][1] / found[0][0]
    return Found(held=held, measured=f"At the start as many blocks as this share the work evenly: {said}.")


def less_even(table: Table) -> Found:
    x = deepest(table)
    start, end = (table.values("effective blocks", f"{PLAIN}, {when}", x) for when in ("start", "trained"))
    change = paired(end, start)
    costs = {q: table.values("loss added by skipping a quarter", PLAIN, float(q)) for q in QUARTERS}
    idle = paired(costs[3], [cost / 4 for cost in costs[1]])  # both of the same trained network
    decades = max(abs(value) for value in table.values("decades", PLAIN, x))
    held = change.high < 0 and idle.high < 0 and decades < 1.5
    said = ", ".join(f"{told(interval(v))} without quarter {q}" for q, v in costs.items())
    return Found(
        held=held,
        measured=f"Training changes the effective blocks of {x:.0f} by {told(change, 1)}. The loss rises by {said}. "
        f"The gradient's norm differs by at most {decades:.1f} decades between the two ends.",
    )


def deeper_no_better(table: Table) -> Found:
    shallow, deep = table.xs("loss on new text", PLAIN)[0], deepest(table)
    gain = paired(table.values("loss on new text", PLAIN, shallow), table.values("loss on new text", PLAIN, deep))
    return Found(
        held=gain.high < 0.05,
        measured=f"{deep:.0f} blocks are better than {shallow:.0f} by {told(gain, 3)} nats a character.",
    )


def stream_bounded(table: Table) -> Found:
    size = {arm: table.of("mean square of the stream", arm, deepest(table)) for arm in (PLAIN, SCALED)}
    return Found(
        held=size[SCALED].high < size[PLAIN].low / 2,
        measured=f"After training: {told(size[PLAIN], 0)} without and {told(size[SCALED], 0)} with the scaling.",
    )


def deep_blocks_wake(table: Table) -> Found:
    cost = {arm: table.values("loss added by skipping a quarter", arm, 4.0) for arm in (PLAIN, SCALED)}
    more = paired(cost[SCALED], cost[PLAIN])
    loss = paired(*(table.values("loss on new text", arm, deepest(table)) for arm in (SCALED, PLAIN)))
    blocks = [table.mean("effective blocks", f"{arm}, trained", deepest(table)) for arm in (SCALED, PLAIN)]
    return Found(
        held=more.low > 0,
        measured=f"Skipping the last quarter costs {told(more, 3)} nats more with the scaling than without. "
        f"The loss itself differs by {told(loss, 3)} nats. {blocks[0]:.1f} effective blocks with it, {blocks[1]:.1f} "
        "without.",
    )


PART = Part(
    arms=(PLAIN, SCALED),
    tasks=tasks,
    measure=measure,
    expectations=(
        Expectation(
            says="Idle blocks: before training, the effective blocks of Pre-LN lie within 30 % of what theory "
            "computes from the growing stream, and they are a smaller share of all blocks in a deep network.",
            check=as_foreseen,
            needs="smoke",
        ),
        Expectation(
            says="Idle blocks: training makes the deeper network less even in every pair; skipping its third quarter "
            "costs less than a fourth of what skipping the first costs; and the gradient's norm differs by less "
            "than 1.5 decades between the ends, so the norm doesn't tell.",
            check=less_even,
        ),
        Expectation(
            says="Idle blocks: the deepest network that is trained, with twice the blocks of the shallowest or more, "
            "is better by less than 0.05 nats a character.",
            check=deeper_no_better,
        ),
        Expectation(
            says="LayerNorm Scaling: the stream of the trained network has less than half the mean square.",
            check=stream_bounded,
        ),
        Expectation(
            says="LayerNorm Scaling, as its authors say: the deep blocks contribute, so that skipping the last "
            "quarter costs more than without the scaling (a trial of ours at 32 blocks saw the opposite).",
            check=deep_blocks_wake,
        ),
    ),
    published=(
        Published(
            source="Sun et al. 2025, The Curse of Depth, 2502.05795",
            what="Perplexity (e to the loss) of Pre-LN, and with LayerNorm Scaling",
            theirs="26.73 and 25.76 at 130 million parameters; 17.02 and 15.71 at a billion",
            ours=lambda table: " and ".join(
                f"loss {told(table.of('loss on new text', arm, deepest(table)), 3)} nats" for arm in (PLAIN, SCALED)
            ),
            differs="they train large models on words for a long time; ours has under a million weights, reads "
            "characters, and stops after a few hundred steps",
        ),
    ),
    figures=(
        Figure(
            title="How many blocks share the work evenly",
            quantity="effective blocks",
            theory="effective blocks in theory",
            x="blocks in the network",
            y="effective blocks",
            x_log=True,
            y_log=True,
            arms=(ALIKE, f"{PLAIN}, start", f"{PLAIN}, trained", f"{SCALED}, start"),
            caption="The deeper the network, the smaller the part of its blocks that carry the gradient. Training "
            "makes it smaller still. Dashed: what theory expects before training.",
        ),
        Figure(
            title="What is lost when a quarter of the blocks is skipped",
            quantity="loss added by skipping a quarter",
            x="quarter that is skipped, from the data (1) to the loss (4); the very first block always stays",
            y="added loss, nats a character",
            mark="points",
            arms=(PLAIN, SCALED),
            caption="The trained network is run without some of its blocks. What the middle and late quarters "
            "contribute is small beside the first.",
        ),
    ),
)
