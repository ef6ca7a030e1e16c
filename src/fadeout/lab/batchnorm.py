"""Batch norm: it cures fading at moderate depth, and makes the gradient explode in deep networks."""

from fadeout.lab.batchnorm_runs import ARMS, LAYERS, NAME, NORM, PLAIN, RANGES, SHIFTED, measure, tasks
from fadeout.lab.experiment import Expectation, Experiment, Found, Published
from fadeout.records import Figure, Interval, Reference, Table


def share(value: Interval) -> str:
    low, high = max(value.low, 0.0), min(value.high, 1.0)
    return f"{100 * value.mean:.0f} % [{100 * low:.0f}, {100 * high:.0f}]"


def in_range(table: Table) -> Found:
    last = float(LAYERS)
    held = all(
        max(map(abs, table.values("size of the signal", arm))) < 0.3
        if norm is not None
        else min(map(abs, table.values("size of the signal", arm, last))) > 5
        for arm, (_, norm) in RANGES.items()
    )
    told = "; ".join(
        f"{arm}: signal {table.mean('size of the signal', arm, last):+.2f}, gradient "
        f"{table.mean('decades of wrong weights', arm):+.1f}"
        for arm in RANGES
    )
    return Found(held=held, measured=f"Decades from the first to the last of {LAYERS} layers: {told}.")


def rate_foretold(table: Table) -> Found:
    arms = table.arms("gain of a layer")
    off = {arm: table.mean("gain of a layer", arm) - table.mean("gain by theory", arm) for arm in arms}
    curved = [arm for arm in arms if arm != "none"]
    grows = all(min(table.values("gain of a layer", arm)) > 1 for arm in curved)
    told = ", ".join(
        f"{arm} {table.mean('gain of a layer', arm):.4f} ({table.mean('gain by theory', arm):.4f})" for arm in arms
    )
    return Found(held=grows and all(abs(v) < 0.015 for v in off.values()), measured=f"Factor a layer (theory): {told}.")


def small_batches(table: Table) -> Found:
    sizes = table.xs("gain by batch", "ReLU")
    pairs = {
        (arm, size): (table.mean("gain by batch", arm, size), table.mean("gain by batch, theory", arm, size))
        for arm in ("ReLU", "none")
        for size in sizes
    }
    worst = max(abs(found / exact - 1) for found, exact in pairs.values())
    falls = [pairs["ReLU", size][0] for size in sizes]
    told = ", ".join(
        f"batch of {size:.0f} {pairs['ReLU', size][0]:.3f} ({pairs['ReLU', size][1]:.3f})" for size in sizes
    )
    return Found(
        held=worst < 0.05 and falls == sorted(falls, reverse=True),
        measured=f"ReLU, factor a layer (theory): {told}; the largest difference, no activation included, is "
        f"{100 * worst:.1f} %.",
    )


def cures(table: Table) -> Found:
    plain, norm = (table.values("accuracy", arm, 20.0) for arm in (PLAIN, NORM))
    lost = [table.mean("decades", arm, 20.0) for arm in (PLAIN, NORM)]
    return Found(
        held=max(plain) < 0.3 and min(norm) > 0.6,
        measured=f"20 layers: plain {share(table.of('accuracy', PLAIN, 20.0))}, with batch norm "
        f"{share(table.of('accuracy', NORM, 20.0))}; their gradients had changed by {lost[0]:+.1f} and {lost[1]:+.1f} "
        "decades before training.",
    )


def too_deep(table: Table) -> Found:
    norm, straight = (table.values("accuracy", arm, 100.0) for arm in (NORM, SHIFTED))
    lost = [table.mean("decades", arm, 100.0) for arm in (NORM, SHIFTED)]
    return Found(
        held=max(norm) < 0.3 and min(straight) > 0.5,
        measured=f"100 layers: batch norm {share(table.of('accuracy', NORM, 100.0))} ({lost[0]:+.1f} decades), shifted "
        f"{share(table.of('accuracy', SHIFTED, 100.0))} ({lost[1]:+.1f} decades).",
    )


EXPERIMENT = Experiment(
    name=NAME,
    title="Batch norm cures, and explodes",
    chapter="The cures",
    claim="Batch norm cures fading at moderate depth, but in deep networks it makes the gradient explode.",
    source="Ioffe and Szegedy 2015, 1502.03167; Yang et al. 2019, 1902.08129",
    story=(
        "Batch norm looks at a whole batch of pictures at once. For each unit it subtracts the mean over the batch and "
        "divides by the spread. So whatever the weights are, what enters the next activation has mean 0 and spread 1.",
        "Weights of the wrong size can then do no harm. Weights that are too small would shrink the signal from layer "
        "to layer, and the gradient with it. Batch norm divides by that smaller spread, forwards and backwards, and "
        "both are back at their size. This made networks of 20 and more layers easy to train, whatever their start.",
        "Yang and others found the price. A ReLU passes on half of the gradient, measured by its square, but only a "
        "third of the signal's variance, because part of the signal becomes a mean that batch norm subtracts. Batch "
        "norm stretches the variance back to 1, and the gradient by the same factor: by more than it had lost. At the "
        "start of training each layer of ReLU therefore multiplies the gradient by 1.21. That is a factor of 7 in 10 "
        "layers, which does no harm, and of more than a hundred million in 100. No choice of weights changes this "
        "number, because batch norm undoes it.",
        "If this is what stops deep networks, then a network without the stretching must train. So we start one whose "
        "batch norm adds 2 before the ReLU. Nearly all inputs of the ReLU are then above zero, where it is a straight "
        "line and loses nothing.",
    ),
    lesson=(
        "Batch norm is a cure for a certain range of depth. It saves networks of 20 layers that could not learn a "
        "thing, and it makes the size of the weights at the start unimportant. It does so by putting a gain of its own "
        "in place of that of the weights, and this gain is always above 1 unless the activation is a straight line.",
        "Theory knows the gain to the third digit, for every activation and every size of the batch. Small batches are "
        "worse: with four rows the gradient grows by about 1.7 a layer.",
        "The network of 100 layers with the shift has the same weights and the same number of norms. Its gradient "
        "hardly grows, and it learns. So the explosion and the failure go together. Which of the two follows from the "
        "other this trial does not say: where the gradient grows, small differences between pictures grow as well, "
        "and that alone can hinder learning. In practice deep networks have batch norm together with residual "
        "connections, where it normalises only the branches.",
    ),
    setting={
        "smoke": "Rates of growth at the start; training only for a few steps.",
        "quick": "Digits 8 x 8, width 64, weights as torch draws them, 6 passes of Adam at 0.001, batch 64. Rates: 20 "
        "layers of width 512 (1,000 for the sizes of batches) on rows of noise, measured from the sixth layer on. "
        "Weights of the wrong size: 20 layers of width 128, half and twice those of He et al.",
        "full": "As quick, with 20 passes over the data, more depths, and ten seeds.",
    },
    seconds={"smoke": 5.0, "quick": 102.0, "full": 1800.0},
    tasks=tasks,
    measure=measure,
    expectations=(
        Expectation(
            says="In 20 plain layers, weights half or twice as large as He's change the signal by more than 5 decades. "
            "With batch norm every layer's output is as large as the first one's, to within 0.3 decades.",
            check=in_range,
            needs="smoke",
        ),
        Expectation(
            says="With batch norm the gradient grows at every layer, for each activation, by the factor of theory to "
            "within 0.015; for ReLU this is 1.2112.",
            check=rate_foretold,
            needs="smoke",
        ),
        Expectation(
            says="Smaller batches explode faster, as theorem 8 of Yang et al. says, to within 5 %.",
            check=small_batches,
            needs="smoke",
        ),
        Expectation(
            says="In every seed a plain ReLU network of 20 layers, as torch starts it, stays below 30 %, and the same "
            "network with batch norm gets more than 60 % right.",
            check=cures,
        ),
        Expectation(
            says="In every seed the network of 100 layers with batch norm stays below 30 %, and that whose batch norm "
            "is shifted to the straight part of ReLU gets more than 50 % right.",
            check=too_deep,
        ),
    ),
    published=(
        Published(
            source="Yang et al. 2019, 1902.08129, theorem 8",
            what="Growth of the squared gradient a layer, ReLU, large batch",
            theirs="pi / (pi - 1) = 1.467, so 1.211 for the gradient",
            ours=lambda table: (
                f"{table.mean('gain of a layer', 'ReLU') ** 2:.3f}, so {table.mean('gain of a layer', 'ReLU'):.3f}"
            ),
            differs="theirs is for endlessly wide layers and batches; ours have width 512 and a batch of 256 rows of "
            "noise",
        ),
        Published(
            source="Yang et al. 2019, 1902.08129, section 4 and figure 2",
            what="Depth up to which ReLU networks with batch norm train",
            theirs="about 50 layers, whatever the batch",
            ours=lambda table: ", ".join(
                f"{100 * table.mean('accuracy', NORM, depth):.0f} % at {depth:.0f} layers"
                for depth in (20.0, 50.0, 100.0)
            ),
            differs="they train width 384 on MNIST for 10 passes with plain gradient descent; we train width 64 on "
            "digits with Adam",
        ),
        Published(
            source="Ioffe and Szegedy 2015, 1502.03167, section 3.3",
            what="What the size of the weights does to the gradient's way back",
            theirs="nothing; they suppose that layers pass it on with factors close to 1",
            ours=lambda table: (
                "nothing: "
                + ", ".join(
                    f"{arm} {table.mean('decades of wrong weights', arm):+.2f} decades"
                    for arm, (_, norm) in RANGES.items()
                    if norm is not None
                )
                + f"; but the factor is {table.mean('gain of a layer', 'ReLU'):.2f}"
            ),
            differs="they supposed it for whole training; ours is the start",
        ),
    ),
    figures=(
        Figure(
            title="The gradient between the last and the first layer, before training",
            quantity="decades",
            theory="decades by theory",
            x="layers",
            y="decades",
            arms=ARMS,
            references=(Reference(says="kept", value=0.0),),
            caption="Without norm the gradient fades. With batch norm it grows, by 8 decades in 100 layers. "
            "With the shifted batch norm it grows little, though more than theory says, which speaks of inputs that "
            "have nothing in common.",
        ),
        Figure(
            title="Accuracy on new digits over the number of layers",
            quantity="accuracy",
            x="layers",
            y="digits recognised",
            arms=ARMS,
            x_log=True,
            percent=True,
            low=0.0,
            high=1.0,
            references=(Reference(says="guessing", value=0.1),),
            caption="Batch norm carries the network further than it gets without, and then fails as well. The one that "
            "is shifted to the straight part of ReLU still learns at 100 layers.",
        ),
        Figure(
            title="Size of what the layers put out, when the weights have the wrong size",
            quantity="size of the signal",
            x="layer",
            y="decades from the first layer",
            references=(Reference(says="as large as the first", value=0.0),),
            caption="Plain layers multiply the error in the size of the weights. Batch norm takes it out at every "
            "layer.",
        ),
    ),
)
