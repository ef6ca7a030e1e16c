"""Number formats end: what is smaller than their smallest number becomes zero, and a faded gradient is small."""

import math
from collections.abc import Iterator

import torch
from torch import nn

from fadeout.lab import nets
from fadeout.lab.data import Data, load
from fadeout.lab.experiment import Expectation, Experiment, Found, Published, Task, grid
from fadeout.lab.precision_nets import (
    BRAIN,
    E4M3,
    E5M2,
    HALF,
    RANGES,
    RECIPES,
    cast,
    decades,
    flushed,
    foretold,
    gradients,
    in_half,
    learn,
)
from fadeout.lab.training import epochs
from fadeout.records import Figure, Reference, Row, Size, Table
from fadeout.records.interval import Interval, interval

NAME = "precision"
FADING, HEALTHY = "ReLU", "ReLU, He"
NETWORKS: dict[str, tuple[type[nn.Module], nets.Start]] = {
    "sigmoid": (nn.Sigmoid, nets.default),
    "tanh": (nn.Tanh, nets.default),
    FADING: (nn.ReLU, nets.default),
    HEALTHY: (nn.ReLU, nets.he),
}
DEPTH = 20
DEPTHS: dict[Size, tuple[int, ...]] = {"smoke": (10, 20), "quick": (5, 10, 20, 30, 40), "full": (5, 10, 15, 20, 30, 40)}
SEEDS: dict[Size, range] = {"smoke": range(1), "quick": range(5), "full": range(20)}
EPOCHS: dict[Size, float] = {"smoke": 0.1, "quick": 20, "full": 60}
ROWS = 240  # an exam looks at every 15th value of a layer's gradient then, and so at all of its units


def tasks(size: Size) -> tuple[Task, ...]:
    return grid(NAME, size, (*RECIPES, *NETWORKS), SEEDS[size])


def measure(task: Task) -> Iterator[Row]:
    data = load(task.data)
    if task.arm in RECIPES:
        yield from trained(task, data)
        return
    if task.arm == FADING:
        yield from (row(task, "decades of the format", decades(kind), arm=arm) for arm, (kind, _) in RANGES.items())
    yield from layers(task, data)
    yield from depths(task, data)


def row(task: Task, quantity: str, value: float, x: float = math.nan, arm: str = "") -> Row:
    return Row(quantity=quantity, arm=arm or task.arm, value=value, seed=task.seed, x=float(x))


def layers(task: Task, data: Data) -> Iterator[Row]:
    """One network of twenty layers: what each format flushes at each layer, foretold, cast, and in a real pass."""
    activation, start = NETWORKS[task.arm]
    model = nets.plain(activation, DEPTH, start=start, features=data.features)
    x, y = data.x[:ROWS], data.y[:ROWS]
    said = foretold(model, x, y)
    exact = gradients(model, x, y, dtype=torch.float64)
    top = max(float(g.nan_to_num().abs().max()) for g in exact)
    best = in_half(model, x, y, top)
    found = {
        "fp16": [flushed(a, b) for a, b in zip(gradients(model, x, y, dtype=HALF), exact, strict=True)],
        "fp16, loss scaled": [flushed(a, b) for a, b in zip(best, exact, strict=True)],
        "bf16": [flushed(a, b) for a, b in zip(gradients(model, x, y, dtype=BRAIN), exact, strict=True)],
        "fp8 E5M2, loss scaled": cast(exact, E5M2, top, power=True),
        "fp8 E4M3, loss scaled": cast(exact, E4M3, top, power=True),
        "fp8 E4M3, each tensor scaled": cast(exact, E4M3, None),
    }
    for arm, shares in found.items():
        yield from (row(task, f"flushed in {task.arm}", share, i, arm) for i, share in enumerate(shares, start=1))
    by_hand = cast(exact, HALF, top)
    yield from (row(task, "foretold at a layer", half, i) for i, (half, _) in enumerate(said, start=1))
    for name, there in (("cast", by_hand), ("pass", found["fp16, loss scaled"])):
        off = [abs(half - b) for (half, _), b in zip(said, there, strict=True) if not math.isnan(half - b)]
        yield row(task, f"exam against {name}", max(off))
    yield row(task, "foretold for bf16", max(brain for _, brain in said if not math.isnan(brain)))


def depths(task: Task, data: Data) -> Iterator[Row]:
    activation, start = NETWORKS[task.arm]
    x, y = data.x[:ROWS], data.y[:ROWS]
    for depth in DEPTHS[task.size]:
        model = nets.plain(activation, depth, start=start, features=data.features)
        exact = gradients(model, x, y, dtype=torch.float64)
        yield row(task, "flushed at the first layer", foretold(model, x, y)[0][0], depth)
        top = max(float(g.nan_to_num().abs().max()) for g in exact)
        yield row(task, "flushed at the first layer, by hand", cast(exact[:1], HALF, top)[0], depth)


def trained(task: Task, data: Data) -> Iterator[Row]:
    recipe = RECIPES[task.arm]
    model = nets.plain(nn.ReLU, DEPTH, start=recipe.start, features=data.features)
    steps = epochs(data, EPOCHS[task.size])
    done = learn(model, recipe.form, data, scale=recipe.scale, steps=steps, seed=task.seed)
    yield row(task, "accuracy", done.accuracy)
    yield row(task, "steps left out", done.skipped)


def ranges(table: Table) -> Found:
    found = {arm: table.mean("decades of the format", arm) for arm in RANGES}
    held = all(abs(found[arm] - known) < 0.05 for arm, (_, known) in RANGES.items())
    return Found(held=held, measured="Decades: " + ", ".join(f"{arm} {v:.1f}" for arm, v in found.items()) + ".")


def exam_is_right(table: Table) -> Found:
    worst = {
        name: max(v for arm in NETWORKS for v in table.values(f"exam against {name}", arm)) for name in ("cast", "pass")
    }
    return Found(
        held=worst["cast"] < 0.06 and worst["pass"] < 0.1,
        measured=f"Over all networks, layers and seeds the exam is off by at most {100 * worst['cast']:.0f} points "
        f"from a cast of all values, and by at most {100 * worst['pass']:.0f} from a pass that ran in fp16.",
    )


def follows_depth(table: Table) -> Found:
    """At the first of twenty layers."""
    at = {
        (network, arm): table.of(f"flushed in {network}", arm, 1.0)
        for network in NETWORKS
        for arm in ("fp16", "fp16, loss scaled")
    }
    brain = max(v for network in NETWORKS for v in table.values(f"flushed in {network}", "bf16") if v == v)
    brain = max(brain, *(v for network in NETWORKS for v in table.values("foretold for bf16", network)))
    held = at["sigmoid", "fp16, loss scaled"].low > 0.9 and at[FADING, "fp16"].low > 0.9 and brain < 0.001
    held = held and all(at[network, "fp16, loss scaled"].high < 0.01 for network in ("tanh", FADING, HEALTHY))
    said = ", ".join(
        f"{network} {100 * at[network, 'fp16'].mean:.0f} % and {100 * at[network, 'fp16, loss scaled'].mean:.0f} %"
        for network in NETWORKS
    )
    return Found(
        held=held,
        measured=f"Turned to zero at the first of 20 layers, without and with the best loss scale: {said}. bf16: at "
        f"most {100 * brain:.2g} % at any layer.",
    )


def scale_for_each(table: Table) -> Found:
    one = {network: table.of(f"flushed in {network}", "fp8 E4M3, loss scaled", 1.0) for network in ("tanh", FADING)}
    each = max(
        table.mean(f"flushed in {network}", "fp8 E4M3, each tensor scaled", float(i))
        for network in NETWORKS
        for i in range(1, DEPTH + 2)
    )
    said = ", ".join(f"{network} {100 * v.mean:.0f} %" for network, v in one.items())
    return Found(
        held=all(v.low > 0.9 for v in one.values()) and each < 0.05,
        measured=f"E4M3, first layer, one scale for all: {said}. A scale for each tensor: at most {100 * each:.1f} % "
        "at any layer of any of the four networks.",
    )


def against_float32(table: Table, arm: str) -> Interval:
    """By how much an arm is better than float32, seed by seed."""
    pairs = zip(table.values("accuracy", arm), table.values("accuracy", "float32"), strict=True)
    return interval([a - b for a, b in pairs])


def what_is_learned(table: Table) -> Found:
    lost = {arm: against_float32(table, arm) for arm in RECIPES}
    held = lost["fp16"].high < -0.3 and lost["fp8 E4M3, loss scaled"].high < -0.2
    held = held and all(lost[a].low > -0.15 for a in ("bf16", "fp16, loss scaled", "fp8 E4M3, each tensor scaled"))
    healthy = table.of("accuracy", "fp16, start of He")
    said = ", ".join(f"{arm} {100 * table.mean('accuracy', arm):.0f} %" for arm in RECIPES)
    gap = ", ".join(
        f"{arm} {100 * lost[arm].mean:+.0f} [{100 * lost[arm].low:+.0f}, {100 * lost[arm].high:+.0f}]"
        for arm in ("bf16", "fp16", "fp16, loss scaled", "fp8 E4M3, loss scaled", "fp8 E4M3, each tensor scaled")
    )
    return Found(
        held=held and healthy.low > 0.85,
        measured=f"New digits right: {said}. Points against float32, seed by seed: {gap}.",
    )


EXPERIMENT = Experiment(
    name=NAME,
    title="Where numbers end",
    chapter="In practice",
    claim="A gradient that fades by twelve decades does not fit into half precision: its small end becomes zero. "
    "Scaling the loss brings back what fits, a format with more range or a scale for each tensor brings back the rest.",
    source="Micikevicius et al. 2018, 1710.03740; Kalamkar et al. 2019, 1905.12322; Micikevicius et al. 2022, "
    "2209.05433",
    story=(
        "Computers keep numbers in formats of limited range. The usual one, float32, reaches so far down that a "
        "gradient may fade by dozens of decades and is still a number, which an optimizer, the rule that turns "
        "gradients into steps, can make large again. Training today uses shorter formats, because they are faster and "
        "take half of the memory or less. What is smaller than half of a format's smallest number is turned into zero. "
        "This is called underflow, and nothing brings it back.",
        "Half precision, fp16, holds 12.3 decades between its largest number and its end. bf16 has as many bits but "
        "spends more of them on range, and holds 79 decades. The two formats of 8 bits are E5M2 with 9.9 decades and "
        "E4M3 with 5.7.",
        "Gradients are small to begin with, so they lie near the low end and the room above them is empty. Loss "
        "scaling multiplies the loss by a large number before the gradient is computed. Then the whole gradient is "
        "larger by this number, and is divided by it at the end. But one number moves all layers together. If the "
        "first layer's gradient lies further below the last one's than the format reaches, no loss scale fits both.",
        "We run networks of 20 layers through real passes in fp16 and bf16 and count the zeros, layer by layer. An "
        "exam of the same network in float32 foretells these counts. Then we train a network whose gradient fades by 8 "
        "decades, and round each of its gradients to each of the formats.",
    ),
    lesson=(
        "Underflow follows the fade. Twenty ReLU layers as torch starts them lose 8 decades, and fp16 without a loss "
        "scale turns the gradient of the first eight layers into nothing. Trained like this, the network stays at "
        "guessing, 8 % right. In float32 the same tiny gradient is enough for about 70 %, because the optimizer we use "
        "makes its steps equally large however small the gradient is. What has become zero, no optimizer can enlarge.",
        "Loss scaling brings the gradient back as long as all layers together fit into the format. For ReLU and tanh "
        "with 20 layers they do. For the sigmoid they do not: its gradient fades by 17 decades, fp16 holds 12, so the "
        "best loss scale there is still turns the first six layers to zero. bf16 needs no scale. For training, bf16, "
        "scaled fp16 and float32 cannot be told apart here: the differences lie within what another draw of the "
        "weights would give.",
        "Eight bits are enough for the gradient if every tensor of it gets a scale of its own. This also means that "
        "such a format no longer shows a fading gradient: nothing is turned to zero in a sigmoid network of 20 layers "
        "either, although its first layer gets 17 decades less than its last. The fade itself is not cured by it. "
        "Where it is cured, by the start that He and others proposed, plain fp16 learns 95 % without any scale.",
        "All of this can be known beforehand. An exam in float32 foretells the share that fp16 would turn to zero at "
        "each layer, and in passes that really ran in fp16 it was off by 3 points at most.",
    ),
    setting={
        "smoke": "As quick with one seed, 10 and 20 layers only, and 2 steps of training.",
        "quick": "Digits 8 x 8, width 64, 240 digits a pass. Training: 20 ReLU layers as torch starts them, Adam 0.002 "
        "with eps 1e-12, 20 passes over the data, batch 64; weights and forward pass in float32, every gradient of a "
        "layer's output and of its weights rounded. Loss scaling begins at 2^24 and is halved whenever a value is too "
        "large. Five seeds.",
        "full": "As quick, with 20 seeds and 60 passes over the data.",
    },
    seconds={"smoke": 4.0, "quick": 91.0, "full": 1400.0},
    tasks=tasks,
    measure=measure,
    expectations=(
        Expectation(
            says="From its largest number to half of its smallest, fp16 holds 12.3 decades, bf16 78.9, E5M2 9.9 and "
            "E4M3 5.7, to within 0.05.",
            check=ranges,
            needs="smoke",
        ),
        Expectation(
            says="What an exam in float32 foretells for fp16 agrees at every layer to 6 points with a cast of all "
            "values, and to 10 points with a pass that really runs in fp16.",
            check=exam_is_right,
            needs="smoke",
        ),
        Expectation(
            says="Without a loss scale, fp16 turns more than 90 % of the first layer's gradient into zero in 20 ReLU "
            "layers as torch starts them; with the best one, less than 1 % there and in the tanh network. In the "
            "sigmoid network it is more than 90 % even with the best one. bf16 loses less than 0.1 % at any layer.",
            check=follows_depth,
            needs="smoke",
        ),
        Expectation(
            says="With one scale for the pass, E4M3 turns more than 90 % of the first layer's gradient into zero in "
            "the tanh and the ReLU network; with a scale for each tensor less than 5 % at any layer of any network.",
            check=scale_for_each,
            needs="smoke",
        ),
        Expectation(
            says="Trained with fp16 gradients and no loss scale, the fading network gets at least 30 points less than "
            "with float32, and E4M3 under one scale at least 20 less. bf16, fp16 with loss scaling, and E4M3 with a "
            "scale for each tensor stay within 15 points of float32. The network that starts as He proposed needs no "
            "scaling: more than 85 % right.",
            check=what_is_learned,
        ),
    ),
    published=(
        Published(
            source="Micikevicius et al. 2018, 1710.03740, section 3.2 and table of detection networks",
            what="Training with fp16 gradients with and without loss scaling",
            theirs="Multibox SSD, mAP: 76.9 % in float32, diverges in fp16, 77.1 % with the loss times 8; classifiers "
            "of ImageNet need no scaling",
            ours=lambda table: (
                "new digits right: "
                + ", ".join(
                    f"{arm} {100 * table.mean('accuracy', arm):.0f} %"
                    for arm in ("float32", "fp16", "fp16, loss scaled", "fp16, start of He")
                )
            ),
            differs="their network is trained on real tensor units and its gradient is small for other reasons; ours "
            "fades with depth. Their figures are taken from notes on the paper, not from the paper itself",
        ),
        Published(
            source="Kalamkar et al. 2019, 1905.12322, abstract",
            what="bf16 in place of float32",
            theirs='"the same state-of-the-art (SOTA) results across domains as FP32 tensors in the same number of '
            'iterations and with no changes to hyper-parameters"',
            ours=lambda table: f"{100 * against_float32(table, 'bf16').mean:+.0f} points against float32",
            differs="they round weights and activations as well, in large networks",
        ),
        Published(
            source="Micikevicius et al. 2022, 2209.05433, abstract",
            what="8-bit formats, with a scale for each tensor",
            theirs='"effectively matching the result quality achieved by 16-bit training sessions"',
            ours=lambda table: (
                f"E4M3: {100 * against_float32(table, 'fp8 E4M3, each tensor scaled').mean:+.0f} points against "
                f"float32; under one scale {100 * against_float32(table, 'fp8 E4M3, loss scaled').mean:+.0f}"
            ),
            differs="they keep gradients in E5M2, and round weights and activations too",
        ),
    ),
    figures=(
        Figure(
            title="Share of the gradient that becomes zero, by layer: 20 ReLU layers as torch starts them",
            quantity=f"flushed in {FADING}",
            x="layer, from the data (left) to the loss (right)",
            y="turned to zero",
            percent=True,
            low=0.0,
            high=1.0,
            caption="The gradient enters on the right and fades by 8 decades on its way to the left. Without a loss "
            "scale fp16 loses the first eight layers. With one it keeps all, as bf16 does without. E4M3 reaches 5.7 "
            "decades under one scale, and everything under a scale for each tensor.",
        ),
        Figure(
            title="Share of the first layer's gradient that fp16 turns to zero with the best loss scale, over depth",
            quantity="flushed at the first layer",
            theory="flushed at the first layer, by hand",
            x="layers",
            y="turned to zero",
            percent=True,
            low=0.0,
            high=1.0,
            references=(Reference(says="FO205 reports from here", value=0.5),),
            caption="Solid lines are what an exam foretells in float32, dashed lines a cast of all values. The sigmoid "
            "loses a decade in little more than a layer, so 20 layers are beyond fp16. ReLU gets there between 20 and "
            "40 layers.",
        ),
        Figure(
            title="What 20 ReLU layers learn with gradients in each format",
            quantity="accuracy",
            mark="bars",
            y="new digits recognised",
            percent=True,
            low=0.0,
            high=1.0,
            references=(Reference(says="guessing", value=0.1),),
            caption="Only gradients are rounded; weights and the forward pass are in float32.",
        ),
    ),
)
