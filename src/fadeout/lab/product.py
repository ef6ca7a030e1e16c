"""Gradients multiply: ten layers that each pass on a tenth leave 0.0000000001."""

import math
from collections.abc import Iterator
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import fadeout
from fadeout.lab import nets
from fadeout.lab.data import load
from fadeout.lab.experiment import Expectation, Experiment, Found, Published, Task, grid
from fadeout.records import Figure, Reference, Row, Size, Table

NAME = "product"
TENTH = "a tenth a layer"
LAYERS = 10  # between the first and the last layer
ARMS: dict[str, tuple[type[nn.Module], nets.Start]] = {
    "sigmoid": (nn.Sigmoid, nets.default),
    "tanh": (nn.Tanh, nets.default),
    "ReLU": (nn.ReLU, nets.default),
    "ReLU, He": (nn.ReLU, nets.he),
}
SEEDS: dict[Size, range] = {"smoke": range(3), "quick": range(5), "full": range(20)}
ROWS = 256


def tasks(size: Size) -> tuple[Task, ...]:
    return grid(NAME, size, (TENTH, *ARMS), SEEDS[size])


def network(arm: str) -> nn.Sequential:
    """Eleven layers, so that ten lie between the first layer's output and the last one's."""
    if arm == TENTH:
        layers = [nn.Linear(64, 64) for _ in range(LAYERS + 1)]
        for layer in layers:
            nets.orthogonal(0.1)(layer)
        return nn.Sequential(*layers)
    activation, start = ARMS[arm]
    return nets.plain(activation, LAYERS, start=start)


def measure(task: Task) -> Iterator[Row]:
    data = load(task.data)
    model = network(task.arm)
    x = data.x[:ROWS]
    y = torch.randn(ROWS, 64) if task.arm == TENTH else data.y[:ROWS]
    loss = F.mse_loss if task.arm == TENTH else F.cross_entropy
    exam = fadeout.examine(model, (x, y), loss=loss)
    norms = [layer.gradient_norm for layer in exam.layers]
    gains = [math.log10(a / b) for a, b in pairwise(norms)]

    def row(quantity: str, value: float, x: float = math.nan) -> Row:
        return Row(quantity=quantity, arm=task.arm, value=value, seed=task.seed, x=x)

    for i, gain in enumerate(gains, start=1):
        yield row("gain of a layer", gain, float(i))
    for i, norm in enumerate(norms, start=1):
        yield row("norm", math.log10(norm / norms[-1]), float(i))
    yield row("sum of gains", sum(gains))
    yield row("decades", exam.decades)
    yield row("decades by hand", by_hand(model, loss, x, y))
    yield row("decades of the account", sum(stage.log_gain for stage in exam.ledger.stages[1:]))
    yield row("account from the last layer to the data", exam.ledger.log_gain - exam.ledger.stages[0].log_gain)
    foreseen = exam.forecast
    if foreseen is not None and foreseen.decades is not None and foreseen.band is not None:
        yield row("decades predicted", foreseen.decades)
        yield row("inside the band", float(foreseen.band[0] <= exam.decades <= foreseen.band[1]))
    if task.arm == "sigmoid":
        yield row("mean slope", sum(layer.mean_slope for layer in exam.layers[:-1]) / LAYERS / 4)


def by_hand(model: nn.Sequential, loss: object, x: Tensor, y: Tensor) -> float:
    """The same decades by plain autograd in float64, without any of our instruments."""
    twin = network_like(model)
    kept: list[Tensor] = []
    h = x.double()
    for part in twin:
        h = part(h)
        if isinstance(part, nn.Linear):
            h.retain_grad()
            kept.append(h)
    value = loss(h, y.double() if y.is_floating_point() else y)  # type: ignore[operator]
    value.backward()
    first, last = (float(t.grad.norm()) for t in (kept[0], kept[-1]) if t.grad is not None)
    return math.log10(first / last)


def network_like(model: nn.Sequential) -> nn.Sequential:
    """A float64 copy with parameters of its own."""
    twin = nn.Sequential(*(nn.Linear(p.in_features, p.out_features) if isinstance(p, nn.Linear) else p for p in model))
    twin.load_state_dict(model.state_dict())
    return twin.double()


def ten_decades(table: Table) -> Found:
    found = table.of("decades", TENTH)
    return Found(
        held=all(abs(value + LAYERS) < 0.001 for value in table.values("decades", TENTH)),
        measured=f"Ten layers that pass on a tenth lose {-found.mean:.4f} decades.",
    )


def adds_up(table: Table) -> Found:
    worst = max(
        abs(a - b)
        for arm in table.arms("decades")
        for other in ("sum of gains", "decades by hand")
        for a, b in zip(table.values("decades", arm), table.values(other, arm), strict=True)
    )
    account = max(
        abs(a - b)
        for arm in table.arms("decades")
        for a, b in zip(
            table.values("decades of the account", arm),
            table.values("account from the last layer to the data", arm),
            strict=True,
        )
    )
    worst = max(worst, account)
    return Found(held=worst < 0.001, measured=f"The largest difference is {worst:.1e} decades.")


def foretold(table: Table) -> Found:
    inside = [value for arm in ARMS for value in table.values("inside the band", arm)]
    said = ", ".join(
        f"{arm} {table.mean('decades predicted', arm):+.1f} predicted and {table.mean('decades', arm):+.1f} measured"
        for arm in ARMS
    )
    share = sum(inside) / len(inside)
    return Found(held=share >= 0.8, measured=f"{said}; {100 * share:.0f} % lie inside the stated band.")


def ordered(table: Table) -> Found:
    lost = {arm: table.of("decades", arm) for arm in ARMS}
    held = lost["sigmoid"].high < lost["ReLU"].low and lost["ReLU"].high < lost["ReLU, He"].low
    said = ", ".join(f"{arm} {v.mean:+.2f} [{v.low:+.2f}, {v.high:+.2f}]" for arm, v in lost.items())
    return Found(held=held and lost["sigmoid"].mean < -7, measured=f"Decades over ten layers: {said}.")


EXPERIMENT = Experiment(
    name=NAME,
    title="Gradients multiply",
    chapter="The disease",
    claim="A gradient that passes ten layers, each of which keeps a tenth of it, arrives ten decades smaller.",
    source="Hochreiter 1991; Bengio, Simard and Frasconi 1994; Glorot and Bengio 2010; Pascanu et al. 2013, 1211.5063",
    story=(
        "A network learns by asking, for every one of its weights, in which direction and how strongly the error would "
        "change if that weight changed a little. This answer is the gradient. It is computed backwards: from the error "
        "to the last layer, from there to the layer before, and so on to the first.",
        "Each step backwards multiplies the gradient by a factor. If every layer passes on a tenth of what it gets, "
        "two layers pass on a hundredth, and ten layers pass on 0.0000000001. We count such factors in decades: one "
        "decade is a factor of ten, so these ten layers lose ten decades.",
        "The factor of a layer has two parts: its weights, and the slope of its activation. The slope of the sigmoid "
        "is never larger than a quarter. So a sigmoid layer loses more than half a decade by its slope alone, "
        "whatever its weights are doing in a network of ordinary scale.",
    ),
    lesson=(
        "What is lost is a product over layers, so the loss grows in proportion to depth: a network of twice the "
        "depth loses twice the decades. That is why five layers of sigmoids can be trained with patience, and twenty "
        "cannot be trained at all.",
        "The amount is no accident. From the way the weights are drawn and the shape of the activation, theory "
        "predicts the decades before anything is trained, and the measurement falls where theory says.",
    ),
    setting=dict.fromkeys(
        SEEDS,
        "11 linear layers of width 64, 256 digits, at the start of training. The first arm has weights of 0.1 times "
        "an orthogonal matrix and no activation.",
    ),
    seconds={"smoke": 3.0, "quick": 2.0, "full": 20.0},
    tasks=tasks,
    measure=measure,
    expectations=(
        Expectation(
            says="Ten layers with gain 0.1 lose 10 decades, to within 0.001.", check=ten_decades, needs="smoke"
        ),
        Expectation(
            says="The gains of the layers, multiplied, give the loss of the whole network, and plain autograd without "
            "any instrument of ours gives the same, to within 0.001 decades.",
            check=adds_up,
            needs="smoke",
        ),
        Expectation(
            says="Theory predicts the decades of every network within its stated band in at least 80 % of the draws.",
            check=foretold,
            needs="smoke",
        ),
        Expectation(
            says="Sigmoid loses more than 7 decades over ten layers, ReLU less than sigmoid, and ReLU as He et al. "
            "start it less than ReLU as torch starts it.",
            check=ordered,
            needs="smoke",
        ),
    ),
    published=(
        Published(
            source="Glorot and Bengio 2010, section 4.2",
            what="Back-propagated gradients under the standard start",
            theirs="smaller in lower layers; variance falls by depth when n Var[W] = 1/3",
            ours=lambda table: (
                f"tanh with torch's start, n Var[W] = 1/3: {table.mean('decades', 'tanh') / LAYERS:+.2f} "
                "decades a layer (1/3 would give -0.24 with slopes of 1)"
            ),
            differs="they show histograms on Shapeset; we have digits and eleven layers",
        ),
    ),
    figures=(
        Figure(
            title="The gradient on its way from the last layer back to the first",
            quantity="norm",
            x="layer, from the data (left) to the loss (right)",
            y="gradient, decades below the last layer",
            references=(Reference(says="nothing lost", value=0.0),),
            caption="Every step to the left is one more layer for the gradient to pass. On this scale of decades a "
            "constant factor is a straight line. The band around each line holds all seeds.",
        ),
    ),
)
