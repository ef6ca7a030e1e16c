"""Initialisation: the right start for each activation, how deep it carries, and plain networks of great depth."""

from fadeout.lab.experiment import Expectation, Experiment, Found, Published
from fadeout.lab.initialisation_nets import ACTIVATIONS, CRITICAL, GLOROT, HE, STARTS, TORCH
from fadeout.lab.initialisation_runs import DRAWN, GAUSS, HALF, LAYERS, NAME, ORTH, SHARE, SIX, measure, tasks
from fadeout.records import Figure, Interval, Reference, Table


def said(value: Interval, form: str = "+.2f") -> str:
    return f"{value.mean:{form}} [{value.low:{form}}, {value.high:{form}}]"


def foretold(table: Table) -> Found:
    off = {
        (arm, name): table.mean(f"decades a layer, {name}", arm) - table.mean(f"decades a layer by theory, {name}", arm)
        for arm in STARTS
        for name in ACTIVATIONS
    }
    (arm, name), worst = max(off.items(), key=lambda pair: abs(pair[1]))
    middle = sorted(map(abs, off.values()))[len(off) // 2]
    return Found(
        held=abs(worst) < 0.05,
        measured=f"Half of the {len(off)} pairs are off by less than {middle:.3f} decades a layer, the worst, {name} "
        f"with the start {arm}, by {abs(worst):.3f}.",
    )


def each_its_own(table: Table) -> Found:
    hops = LAYERS - 1
    worst = {}
    for arm in STARTS:
        lost = {name: hops * table.mean(f"decades a layer, {name}", arm) for name in ACTIVATIONS}
        worst[arm] = max(lost.items(), key=lambda pair: abs(pair[1]))
    held = abs(worst[CRITICAL][1]) < 1.3 and all(abs(worst[arm][1]) > 5 for arm in STARTS if arm != CRITICAL)
    told = ", ".join(f"{arm} {value:+.1f} ({name})" for arm, (name, value) in worst.items())
    return Found(held=held, measured=f"Worst activation of each start, decades over {hops} layers: {told}.")


def six_scales(table: Table) -> Found:
    arms = table.arms(HALF)
    near = [arm for arm in arms if table.mean(SIX, arm) < 75]
    ratio = {arm: table.mean(HALF, arm) / table.mean(SIX, arm) for arm in near}
    edge = [arm for arm in arms if table.mean(SIX, arm) >= 150]
    seeds = range(len(table.values(HALF, arms[0])))
    deeper = all(
        min(table.values(HALF, arm)[i] for arm in edge) > max(table.values(HALF, arm)[i] for arm in (arms[0], arms[-1]))
        for i in seeds
    )
    told = ", ".join(
        f"{table.of(HALF, arm).mean:.0f} layers for {table.mean(SIX, arm):.0f} (variance {arm})" for arm in near
    )
    best = max(edge, key=lambda arm: table.mean(HALF, arm))
    return Found(
        held=all(0.5 < value < 2 for value in ratio.values()) and deeper,
        measured=f"Half of the accuracy is lost at {told}. That is {min(ratio.values()):.2f} to "
        f"{max(ratio.values()):.2f} times six depth scales. Deepest is variance {best} with "
        f"{said(table.of(HALF, best), '.0f')} layers.",
    )


def plain_and_deep(table: Table) -> Found:
    good, bad = (table.values("accuracy of the trained", arm, 200.0) for arm in (ORTH, GAUSS))
    a, b = (table.of("accuracy of the trained", arm, 200.0) for arm in (ORTH, GAUSS))
    lost = [table.mean("decades of the trained", arm, 200.0) for arm in (ORTH, GAUSS)]
    left = [table.mean("directions after the last layer", arm, 200.0) for arm in (ORTH, GAUSS)]
    return Found(
        held=min(good) > 0.8 and max(bad) < 0.5,
        measured=f"Orthogonal {100 * a.mean:.0f} % [{100 * a.low:.0f}, {100 * a.high:.0f}], Gaussian "
        f"{100 * b.mean:.0f} % [{100 * b.low:.0f}, {100 * b.high:.0f}]. Before training the gradient had changed by "
        f"{lost[0]:+.1f} and {lost[1]:+.1f} decades, and after the last layer digits differed in {left[0]:.1f} and "
        f"{left[1]:.1f} directions.",
    )


def ten_thousand(table: Table) -> Found:
    depth = table.xs("decades by depth", ORTH)[-1]
    good, bad = table.values("decades by depth", ORTH, depth), table.values("decades by depth", GAUSS, depth)
    torch_ = table.values("decades by depth", TORCH, 100.0)
    held = all(-3 < v < -1 for v in good) and all(b < a - 5 for a, b in zip(good, bad, strict=True))
    return Found(
        held=held and max(torch_) < -20,
        measured=f"{depth:,.0f} layers: orthogonal {said(table.of('decades by depth', ORTH, depth))} decades (theory "
        f"{table.mean('decades by theory', ORTH, depth):+.2f}), Gaussian "
        f"{said(table.of('decades by depth', GAUSS, depth), '+.0f')}; torch's own start at 100 layers "
        f"{table.mean('decades by depth', TORCH, 100.0):+.1f}.",
    )


EXPERIMENT = Experiment(
    name=NAME,
    title="The right start",
    chapter="The cures",
    claim="Weights drawn at the right size for their activation carry the gradient through hundreds of plain layers.",
    source="Glorot and Bengio 2010; Saxe et al. 2014, 1312.6120; He et al. 2015, 1502.01852; Mishkin and Matas 2016, "
    "1511.06422; Schoenholz et al. 2017, 1611.01232; Xiao et al. 2018, 1806.05393",
    story=(
        "What a layer does to the gradient depends on the size of its weights. Small weights shrink it at every "
        "layer, large ones let it grow. So the way the weights are drawn, before a single step of training, decides "
        "how deep the gradient gets.",
        "Several recipes are in use. For a layer with n inputs, torch draws weights of variance 1 / (3 n), whatever "
        "the activation. LeCun takes 1 / n. Glorot takes 2 / (inputs + outputs), which is the same where all layers "
        "are equally wide. He takes 2 / n, because ReLU sets half of what it gets to zero. An orthogonal matrix turns "
        "what it gets and stretches no direction. LSUV sends a batch through the network and rescales each layer "
        "until its output has variance 1. Theory offers one more: for a given activation it finds the size at which a "
        "wide layer neither shrinks the gradient nor lets it grow. This is called the critical start.",
        "The same theory says how deep a network may be if its start is not critical. With weights that are too small "
        "all pictures look more alike from layer to layer. With weights that are too large they become equally unlike, "
        "however similar they were. Either way the last layer no longer knows which picture was shown. The number of "
        "layers in which the remaining difference falls to about a third is the depth scale. Schoenholz and others "
        "found that networks can be trained up to about six depth scales.",
        "At the critical start the depth scale is infinite. Then even a plain network of hundreds of layers should "
        "learn. We train one of 200 layers, and follow the gradient through one of 10,000.",
    ),
    lesson=(
        "No recipe is right for every activation. He suits ReLU, LeCun suits tanh, and none of the common ones helps "
        "the sigmoid, whose slope is at most a quarter. The critical start of the sigmoid needs weights ten times as "
        "large as LeCun's. The gradient then passes, but more than half of the units work like switches that are "
        "fully on or off.",
        "Theory foretells the loss before a weight is drawn. Only GELU with He's start differs from draw to draw: "
        "there a small change of the signal grows from layer to layer.",
        "Six depth scales are a guide to within a factor of two. Our networks with the smallest weights train deeper "
        "than that, those with large weights less deep. At the critical size theory sets no limit, and yet they end "
        "near 80 layers: the training is short, the layers are narrow, and the weights are Gaussian.",
        "The right size alone is not enough. In 200 layers, Gaussian weights of the same variance lose "
        "hardly more of the gradient than orthogonal ones, and yet the network does not learn. Each Gaussian matrix "
        "stretches some directions and squeezes others. After many layers only the most stretched direction is left, "
        "and all digits lie nearly on one line. An orthogonal matrix treats all directions the same. Smaller "
        "and larger steps of Adam, 0.00003 to 0.001, did not help the Gaussian network in one trial each.",
        "In 10,000 layers of tanh the orthogonal start loses about two decades: half a decade for each tenfold depth, "
        "because tanh bends a little at every layer. We have examined this network and not trained it: "
        "one step takes about two seconds on one core, and thousands are needed. Xiao and others did train one.",
    ),
    setting={
        "smoke": "Gains of 20 layers of width 256 at the start; everything else only for a few steps.",
        "quick": "Digits 8 x 8. Gains: 20 layers, width 256. Map: tanh, width 64, 150 steps of Adam at 0.001 times "
        "10 / depth (0.001 at most), accuracy on 500 training digits. Trained: tanh, 200 layers, width 64, 200 steps "
        "of Adam at 0.0001. Examined: tanh, width 16, up to 10,000 layers, double precision.",
        "full": "As quick, with 600 steps on a finer map, 2,000 steps for 200, 500 and 1,000 layers, and five seeds.",
    },
    seconds={"smoke": 5.0, "quick": 205.0, "full": 14000.0},
    tasks=tasks,
    measure=measure,
    expectations=(
        Expectation(
            says="For seven starts and five activations the gradient's change a layer, mean over the seeds, lies "
            "within 0.05 decades of what theory predicts before a weight is drawn.",
            check=foretold,
            needs="smoke",
        ),
        Expectation(
            says="The critical start changes the gradient by less than 1.3 decades over the whole network, whatever "
            "the activation; each other start changes it by more than 5 for at least one activation.",
            check=each_its_own,
            needs="smoke",
        ),
        Expectation(
            says="On the map, half of the accuracy is lost between half and twice six depth scales (where these are "
            "below 75 layers), and in every seed the starts near the critical one train deeper than the outermost.",
            check=six_scales,
        ),
        Expectation(
            says="In every seed a plain tanh network of 200 layers gets more than 80 % right with orthogonal weights "
            "and less than 50 % with Gaussian weights of the same variance.",
            check=plain_and_deep,
        ),
        Expectation(
            says="In every seed the gradient loses 1 to 3 decades on its way through the deepest orthogonal network, "
            "at least 5 more through the Gaussian one, and more than 20 in 100 layers as torch starts them.",
            check=ten_thousand,
            needs="smoke",
        ),
    ),
    published=(
        Published(
            source="Schoenholz et al. 2017, 1611.01232",
            what="Depth up to which tanh networks train",
            theirs="about six depth scales",
            ours=lambda table: ", ".join(
                f"{table.mean(HALF, arm) / table.mean(SIX, arm):.1f} times that at variance {arm}"
                for arm in table.arms(HALF)
                if table.mean(SIX, arm) < 75
            ),
            differs="we take the depth at which half of the accuracy is lost after a short training; the factor six "
            "is quoted from later papers and code that use it, not read in the paper itself",
        ),
        Published(
            source="He et al. 2015, 1502.01852, 30-layer model",
            what="ReLU network under Glorot's start and under He's",
            theirs="Glorot's stalls with diminishing gradients, He's learns",
            ours=lambda table: ", ".join(
                f"{arm} {29 * table.mean('decades a layer, ReLU', arm):+.1f} decades in 30 layers"
                for arm in (GLOROT, HE)
            ),
            differs="they train convolutions on ImageNet; ours is the gain of 20 linear layers, scaled to 30; "
            "their result is quoted from a summary",
        ),
        Published(
            source="Xiao et al. 2018, 1806.05393, abstract",
            what="Depth of a plain network with orthogonal start",
            theirs="10,000 layers or more can be trained",
            ours=lambda table: (
                f"200 layers trained to {100 * table.mean('accuracy of the trained', ORTH, 200.0):.0f} %; in 10,000 "
                f"layers the gradient changes by {table.mean('decades by depth', ORTH, 10_000.0):+.1f} decades"
            ),
            differs="they train convolutional networks with orthogonal kernels; ours are linear layers, and "
            "the deepest is only examined",
        ),
    ),
    figures=(
        Figure(
            title="Does theory know the loss before the weights are drawn?",
            quantity="decades a layer",
            mark="points",
            x="predicted, decades a layer",
            y="measured, decades a layer",
            references=(Reference(says="gradient kept", value=0.0),),
            caption="Each dot is one network of 20 layers: one way to draw the weights with one of five activations. "
            "The dots lie on the diagonal, so the prediction is right. The dots of the critical start lie near zero "
            "for all activations; every other start has some far to the left.",
        ),
        Figure(
            title="How deep a network can be trained, over the size of its weights",
            quantity=SHARE,
            mark="heat",
            theory=DRAWN,
            x="layers",
            y="variance of the weights, times width",
            percent=True,
            low=0.0,
            high=1.0,
            caption="Light: the network learns. Dark: it guesses. Each row is one size of the weights; 1.76 is the "
            "critical one. The red marks are six depth scales; where a row has none, they lie beyond the map.",
        ),
        Figure(
            title="What is left of the gradient after a very deep plain network",
            quantity="decades by depth",
            theory="decades by theory",
            arms=(ORTH, GAUSS, TORCH),
            x="layers",
            y="decades between last and first layer",
            x_log=True,
            low=-30.0,
            high=0.0,
            caption="With orthogonal weights a tenfold depth costs half a decade, as theory says. Gaussian weights of "
            "the same variance lose more than a hundred decades on the way to 10,000 layers; what falls below the "
            "chart is drawn at its edge. As torch starts them, 100 layers are too many.",
        ),
    ),
)
