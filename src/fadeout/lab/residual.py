"""A way around: residual connections carry the gradient past hundreds of layers, along short paths."""

import copy
import math
import statistics
from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn

import fadeout
from fadeout.lab import residual_paths as paths
from fadeout.lab.data import Data, load
from fadeout.lab.experiment import Expectation, Experiment, Found, Published, Task, grid
from fadeout.lab.residual_nets import DRAWN, FIXUP, LINEAR, PLAIN, REZERO, SCALED, SKIP, Pictures
from fadeout.lab.training import epochs, train
from fadeout.records import Figure, Reference, Row, Size, Table
from fadeout.theory.residual import follow_residual

NAME = "residual"
LINEAR_AT: dict[Size, dict[int, tuple[str, ...]]] = {  # how many layers, of which networks
    "smoke": {100: tuple(LINEAR)},
    "quick": {1000: (SCALED,), 300: (PLAIN, DRAWN, SCALED), 100: tuple(LINEAR)},
    "full": {1000: tuple(LINEAR), 300: tuple(LINEAR), 100: tuple(LINEAR)},
}
STEPS: dict[Size, dict[int, int]] = {
    "smoke": {100: 2},
    "quick": {1000: 60, 300: 100, 100: 220},
    "full": {1000: 440, 300: 660, 100: 660},
}
CONV_PLAIN, CONV_RESIDUAL = "plain, convolutions", "residual, convolutions"
CONV_AT: dict[Size, tuple[float, ...]] = {"smoke": (8,), "quick": (20, 56), "full": (20, 32, 44, 56)}
EPOCHS: dict[Size, float] = {"smoke": 0.1, "quick": 7, "full": 30}
ROWS = 32  # for the paths through a convolutional network
SEEDS: dict[Size, range] = {"smoke": range(1), "quick": range(3), "full": range(5)}
DELETED = "accuracy without a block"


def tasks(size: Size) -> tuple[Task, ...]:
    linear = [t for at, arms in LINEAR_AT[size].items() for t in grid(NAME, size, arms, SEEDS[size], (float(at),))]
    pictures = grid(NAME, size, (CONV_PLAIN, CONV_RESIDUAL), SEEDS[size], CONV_AT[size])
    return tuple(sorted((*linear, *pictures), key=lambda task: -task.x))


def measure(task: Task) -> Iterator[Row]:
    data, layers = load(task.data), int(task.x)
    return pictures(task, data, layers) if task.arm in (CONV_PLAIN, CONV_RESIDUAL) else linear(task, data, layers)


def _row(task: Task, quantity: str, value: float) -> Row:
    return Row(quantity=quantity, arm=task.arm, value=value, seed=task.seed, x=task.x)


def linear(task: Task, data: Data, layers: int) -> Iterator[Row]:
    model = LINEAR[task.arm](layers, data.features)
    if task.arm != FIXUP:  # whose head starts at zero: nothing but the head has a gradient before the first step
        wide = copy.deepcopy(model).double()  # an explosion passes the end of float32 after 250 layers
        ledger = fadeout.measure(wide, (data.x[:64].double(), data.y[:64]), loss=F.cross_entropy)
        # without the stages of the loss, of the head and of the first layer
        yield _row(task, "growth", sum(stage.log_gain for stage in ledger.stages[2:-1]))
        if ledger.blocks is not None:
            yield _row(task, "branch share", statistics.fmean(block.share for block in ledger.blocks.blocks))
    rate = 1e-3 * math.sqrt(min(1.0, 100 / layers))
    optimizer = torch.optim.Adam(model.parameters(), rate, fused=True)
    done = train(model, data, optimizer, steps=STEPS[task.size][layers], seed=task.seed, clip=1.0)
    yield _row(task, "accuracy", done.accuracy)
    yield _row(task, "training error", 1 - done.train_accuracy)


def pictures(task: Task, data: Data, layers: int) -> Iterator[Row]:
    residual = task.arm == CONV_RESIDUAL
    net = Pictures((layers - 2) // 6, skip=residual, shape=data.shape)
    x, y = data.x[:ROWS], data.y[:ROWS]
    ledger = fadeout.measure(net, (x, y), loss=F.cross_entropy)
    yield _row(task, "decades", ledger.weights[0].norm - ledger.weights[-2].norm)
    deepest = residual and task.x == max(CONV_AT[task.size])
    if deepest:
        yield from paths.lengths_before(task.seed, net, x, y)
    optimizer = torch.optim.SGD(net.parameters(), 0.02, momentum=0.9, fused=True)
    done = train(net, data, optimizer, steps=epochs(data, EPOCHS[task.size]), seed=task.seed)
    yield _row(task, "accuracy", done.accuracy)
    yield _row(task, "training error", 1 - done.train_accuracy)
    if deepest:
        yield from paths.lengths_after(task.seed, net, x, y)
    if residual or done.train_accuracy > 0.5:  # a network that has not learned has nothing to lose
        found = paths.without_each(net, data)
        for place, kept in found:
            arm = f"{task.arm}, {layers} layers"
            yield Row(quantity=DELETED, arm=arm, value=kept, seed=task.seed, x=place)
        yield _row(task, "lost by a block", statistics.median(done.accuracy - kept for _, kept in found))


def _percent(table: Table, quantity: str, arm: str, x: float) -> str:
    v = table.of(quantity, arm, x)
    return f"{100 * v.mean:.0f} % [{100 * max(0.0, v.low):.0f}, {100 * min(1.0, v.high):.0f}]"


def grows(table: Table) -> Found:
    stream = follow_residual(nn.ReLU(), scales=[1.0] * 100, sigma_w=math.sqrt(2.0))
    theory, share = stream.decades, statistics.fmean(stream.shares)
    drawn, scaled = (table.mean("growth", arm, 100.0) for arm in (DRAWN, SCALED))
    still = max(abs(v) for arm in (SKIP, REZERO) for v in table.values("growth", arm, 100.0))
    carried = table.mean("branch share", DRAWN, 100.0)
    held = abs(drawn / theory - 1) < 0.1 and abs(carried / share - 1) < 0.1 and 0 < scaled < 0.3 and still < 0.001
    return Found(
        held=held,
        measured=f"As drawn {drawn:+.1f} decades over 100 layers (theory {theory:+.1f}), {drawn / 100:+.3f} a layer, "
        f"and each branch carries {carried:.2f} of the gradient (theory {share:.2f}); with small branches "
        f"{scaled:+.2f} decades; with branches that start at zero {still:.4f}.",
    )


def trains(table: Table) -> Found:
    bad = {arm: table.of("accuracy", arm, 100.0) for arm in (PLAIN, DRAWN)}
    good = {arm: table.of("accuracy", arm, 100.0) for arm in (SCALED, FIXUP, SKIP, REZERO)}
    deeper = {at: table.of("accuracy", SCALED, at) for at in (300.0, 1000.0)}
    held = (
        all(v.high < 0.6 for v in bad.values())
        and all(v.low > 0.85 for v in good.values())
        and table.of("accuracy", PLAIN, 300.0).high < 0.3
        and all(v.low > 0.8 for v in deeper.values())
    )
    said = "; ".join(f"{arm} {_percent(table, 'accuracy', arm, 100.0)}" for arm in (*bad, *good))
    more = ", ".join(f"{_percent(table, 'accuracy', SCALED, at)} with {at:.0f}" for at in deeper)
    return Found(
        held=held,
        measured=f"Digits recognised with 100 layers: {said}. With 300 layers plain "
        f"{_percent(table, 'accuracy', PLAIN, 300.0)}; small branches {more} layers.",
    )


def degrades(table: Table) -> Found:
    def errors(arm: str, at: float) -> tuple[float, ...]:
        return table.values("training error", arm, at)

    worse = [b - a for a, b in zip(errors(CONV_PLAIN, 20.0), errors(CONV_PLAIN, 56.0), strict=True)]
    same = [b - a for a, b in zip(errors(CONV_RESIDUAL, 20.0), errors(CONV_RESIDUAL, 56.0), strict=True)]
    said = "; ".join(
        f"{arm} {_percent(table, 'training error', arm, 20.0)} with 20 layers and "
        f"{_percent(table, 'training error', arm, 56.0)} with 56"
        for arm in (CONV_PLAIN, CONV_RESIDUAL)
    )
    return Found(held=min(worse) > 0.1 and max(same) < 0.05, measured=f"Training error: {said}.")


def short(table: Table) -> Found:
    """Mean and interval of what short paths carry, by hand and by the account."""
    found = {arm: table.of("in a third of the blocks", arm) for arm in (paths.AFTER, paths.ACCOUNT)}
    hand, account = (table.of("mean length", arm).mean for arm in (paths.AFTER, paths.ACCOUNT))
    single = table.of("mean length", paths.VEIT).mean
    a, b = (f"{100 * v.mean:.0f} % [{100 * v.low:.0f}, {100 * v.high:.0f}]" for v in found.values())
    return Found(
        held=all(v.low >= 0.9 for v in found.values()),
        measured=f"Paths through at most 9 of 27 blocks carry {a} of the gradient by plain autograd and {b} by the "
        f"account's shares. The mean path passes {hand:.1f} blocks by autograd and {account:.1f} by the account; "
        f"{single:.1f} if single paths are weighed by their norms; 13.5 if all paths are counted.",
    )


def survives(table: Table) -> Found:
    residual, plain = table.of("lost by a block", CONV_RESIDUAL, 56.0), table.of("lost by a block", CONV_PLAIN, 20.0)
    return Found(
        held=residual.high < 0.05 and plain.low > 0.4,
        measured=f"Leaving out one block costs, in the median, {100 * residual.mean:.1f} points "
        f"[{100 * residual.low:.1f}, {100 * residual.high:.1f}] of the residual network's accuracy and "
        f"{100 * plain.mean:.0f} points [{100 * plain.low:.0f}, {100 * plain.high:.0f}] of the plain one's.",
    )


EXPERIMENT = Experiment(
    name=NAME,
    title="A way around every layer",
    chapter="The cures",
    claim="With a way around every layer, networks of hundreds of layers train: the gradient takes short paths.",
    source="He et al. 2015, 1512.03385; Veit et al. 2016, 1605.06431; Zhang et al. 2019, 1901.09321; De and Smith "
    "2020, 2002.10444; Bachlechner et al. 2020, 2003.04887",
    story=(
        "An ordinary layer replaces what it gets by something new. A residual layer adds something to what it gets: "
        "its output is the input plus the result of a branch. Going backwards, the gradient therefore splits in two. "
        "One part passes through the branch and its weights, the other goes around them and arrives unchanged.",
        "The addition alone is not enough. If the branches are as large as ordinary layers, each addition multiplies "
        "the gradient by about 1.4, and after 300 layers it is larger than a computer's usual numbers can hold. The "
        "branches must start small. One can divide their weights by a number that grows with depth, or multiply "
        "each branch by a number that starts at zero and is learned (SkipInit, ReZero), or start the last layer of "
        "each branch at zero (Fixup).",
        "We train networks of 100 to 1,000 layers with and without these changes. We then repeat the comparison that "
        "made residual networks famous: the same convolutions with 20 and 56 layers, with and without a way around "
        "each pair. Convolutions are layers for pictures, and all of these have batch normalization, which keeps the "
        "outputs of a layer in one range.",
        "Last we ask which way the gradient takes. At each of 27 blocks it can go through or around, so there are "
        "2 to the power of 27 paths from the error to the picture. If each path counted the same, a typical one would "
        "pass half of the blocks. Veit et al. found that the paths which carry the gradient are much shorter.",
    ),
    lesson=(
        "Two things belong together. The way around carries the gradient past every layer, and small branches keep it "
        "from growing. With both, 1,000 layers train on an ordinary computer without any normalization. With the "
        "additions alone the gradient explodes as fast as theory says, and nothing is learned. The famous failure of "
        "the plain network with 56 layers is often told as a vanishing gradient. It is not one, and He et al. said so: "
        "with batch normalization the gradient even grows on its way back, here by more than three decades before "
        "training. The failure is real all the same, and the way around removes it.",
        "The gradient does take short paths. If all paths counted alike, the mean would be 13.5 of the 27 blocks; the "
        "gradient's own mean is about 6. Our bound was sharper: 90 % of the gradient on paths through at most a "
        "third of the blocks, by both ways of measuring. Plain autograd is near or above it, but three seeds leave "
        "room for doubt. The account's shares stay a little below, because multiplying them assumes that each block "
        "splits the gradient alike whatever came before. Before training the mean is about 8, so the paths are "
        "short by construction, and training shortens them further. Weighed as Veit et al. weigh them, by the norms "
        "of single paths, they look longer, because paths that cancel each other are counted too.",
        "Leaving out a block shows the other side. The plain network falls to guessing whichever block is taken. The "
        "residual one hardly notices the loss of most blocks, but it needs the first ones, next to the picture, and "
        "the fewer blocks it has the more it needs each.",
    ),
    setting={
        "smoke": "Two steps of training: only whether it runs, and the gradient before training with 100 layers.",
        "quick": "Digits 8 x 8. Linear layers of width 32, Adam 0.001 (times the root of 100 / layers), gradients "
        "clipped at norm 1, batch 64: 220 steps with 100 layers, 100 with 300, 60 with 1,000. Convolutions of 8, 16 "
        "and 32 channels with batch normalization, momentum SGD 0.02, 7 passes over the data, batch 64.",
        "full": "As quick, with all networks at 100, 300 and 1,000 layers, 660 steps (440 with 1,000 layers), "
        "convolutions of 20, 32, 44 and 56 layers for 30 passes, five seeds.",
    },
    seconds={"smoke": 4.0, "quick": 187.0, "full": 7000.0},
    tasks=tasks,
    measure=measure,
    expectations=(
        Expectation(
            says="Residual branches as drawn multiply the gradient over 100 layers by what theory says, about 15 "
            "decades, within 10 %, and carry half of it each; branches scaled by 1 / sqrt(2 x layers) let it grow by "
            "less than 0.3 decades, and branches that start at zero not at all.",
            check=grows,
            needs="smoke",
        ),
        Expectation(
            says="With 100 layers and no normalization the plain network and the residual one as drawn stay below "
            "60 %, while small branches, Fixup, SkipInit and ReZero all get more than 85 % right; with 300 layers "
            "plain is below 30 % and small branches above 80 %, with 1,000 layers too.",
            check=trains,
        ),
        Expectation(
            says="The training error of the plain convolutional network rises by more than 10 points from 20 to 56 "
            "layers with every seed; that of the residual one by less than 5 points.",
            check=degrades,
        ),
        Expectation(
            says="In the trained residual network of 56 layers, at least 90 % of the gradient runs along paths "
            "through at most 9 of the 27 blocks (Veit et al.: almost all through 5 to 17 of 54), by plain autograd "
            "and by the shares of fadeout's account.",
            check=short,
        ),
        Expectation(
            says="Leaving out one trained block costs the residual network of 56 layers less than 5 points of "
            "accuracy in the median, and the plain network of 20 layers more than 40.",
            check=survives,
        ),
    ),
    published=(
        Published(
            source="He et al. 2015, section 4.2 and figures 1 and 6",
            what="Training error of plain networks, CIFAR-10, 20 against 56 layers",
            theirs="higher with 56 layers than with 20; above 60 % with 110; residual networks gain from depth",
            ours=lambda table: (
                f"plain {_percent(table, 'training error', CONV_PLAIN, 20.0)} and "
                f"{_percent(table, 'training error', CONV_PLAIN, 56.0)}, residual "
                f"{_percent(table, 'training error', CONV_RESIDUAL, 20.0)} and "
                f"{_percent(table, 'training error', CONV_RESIDUAL, 56.0)}"
            ),
            differs="they train 64,000 steps on larger pictures, with the norm behind each convolution; ours is a "
            "short training, so the plain network of 56 layers fails outright",
        ),
        Published(
            source="He et al. 2015, section 4.1",
            what="Whether the gradient of the deep plain network vanishes",
            theirs="unlikely: with batch normalization the gradients have healthy norms",
            ours=lambda table: (
                "from the last convolution to the first, before training: plain "
                f"{table.mean('decades', CONV_PLAIN, 56.0):+.1f} decades, residual "
                f"{table.mean('decades', CONV_RESIDUAL, 56.0):+.1f}"
            ),
            differs="they speak of ImageNet with 34 layers, and give no figure",
        ),
        Published(
            source="Veit et al. 2016, abstract and section 5",
            what="Length of the paths that carry the gradient",
            theirs="almost all through 5 to 17 of 54 blocks (10 to 34 of 110 layers)",
            ours=lambda table: (
                f"27 blocks: mean {table.mean('mean length', paths.AFTER):.1f} by the gradient itself, "
                f"{table.mean('mean length', paths.VEIT):.1f} weighed as they do, "
                f"{table.mean('mean length', paths.BEFORE):.1f} before training"
            ),
            differs="CIFAR-10 and 110 layers; they weigh a length by the norm along one path times the number of "
            "paths, which counts paths that cancel each other",
        ),
        Published(
            source="Veit et al. 2016, section 4.1",
            what="Leaving out one block after training",
            theirs="no noticeable change in a residual network of 110 layers; chance level in VGG",
            ours=lambda table: (
                f"median loss {100 * table.mean('lost by a block', CONV_RESIDUAL, 56.0):.1f} points with 56 residual "
                f"layers, {100 * table.mean('lost by a block', CONV_RESIDUAL, 20.0):.1f} with 20, "
                f"{100 * table.mean('lost by a block', CONV_PLAIN, 20.0):.0f} with 20 plain layers"
            ),
            differs="their plain network is VGG with 15 layers, of which they take one layer; we take the same two "
            "layers from both kinds",
        ),
    ),
    figures=(
        Figure(
            title="Error on the training data over the number of layers",
            quantity="training error",
            x="layers",
            y="training error",
            x_log=True,
            percent=True,
            low=0.0,
            high=1.0,
            arms=(CONV_PLAIN, CONV_RESIDUAL, PLAIN, DRAWN, SCALED, FIXUP, REZERO),
            references=(Reference(says="guessing", value=0.9),),
            caption="On the left convolutions with batch normalization, on the right linear layers without any. Plain "
            "networks fail on the very data they are trained on. Residual networks do not, if their branches start "
            "small. SkipInit is left out of the chart; it lies with ReZero.",
        ),
        Figure(
            title="How many blocks do the paths pass that carry the gradient?",
            quantity=paths.PATHS,
            x="blocks on the path, of 27",
            y="share of the gradient",
            arms=(paths.COUNTED, paths.BEFORE, paths.AFTER, paths.ACCOUNT, paths.VEIT),
            references=(Reference(says="a third of the blocks", value=9.0, upright=True),),
            caption="The residual network of 56 layers. The first line only counts paths: most pass about half of the "
            "blocks. The others say what share of the gradient the paths of each length carry.",
        ),
        Figure(
            title="Accuracy when one block is left out after training",
            quantity=DELETED,
            x="where the block is, from the picture (0) to the output (1)",
            y="digits recognised",
            percent=True,
            low=0.0,
            high=1.0,
            arms=tuple(
                f"{arm}, {at} layers" for arm, at in ((CONV_PLAIN, 20), (CONV_RESIDUAL, 20), (CONV_RESIDUAL, 56))
            ),
            references=(Reference(says="guessing", value=0.1),),
            caption="Each point is the same trained network with another pair of layers left out. Nothing is trained "
            "again.",
        ),
    ),
)
