"""Does the optimizer cure it? SGD, momentum, Adam with three values of eps, and Muon on a network that fades."""

import copy
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, Optimizer

import fadeout
from fadeout.lab import nets
from fadeout.lab.data import load
from fadeout.lab.experiment import Expectation, Experiment, Found, Published, Task, grid
from fadeout.lab.muon import Muon
from fadeout.lab.training import Trained, train
from fadeout.records import Exam, Figure, Layer, Reference, Row, Size, Table

NAME = "optimizers"
PLAIN, MOMENTUM, MUON = "SGD", "SGD with momentum", "Muon"
ADAM, COARSE, FINE, LONG = "Adam", "Adam, eps 1e-4", "Adam, eps 1e-15", "Adam, ten times as long"


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One optimizer with the rates that are tried; the one with the best training accuracy counts."""

    make: Callable[[nn.Sequential, float], Optimizer]
    rates: tuple[float, ...]
    eps: float = math.nan  # Adam's


def _adam(eps: float) -> Way:
    return Way(
        make=lambda model, rate: Adam(model.parameters(), rate, eps=eps, fused=True), rates=(0.001, 0.003), eps=eps
    )


ARMS: dict[str, Way] = {
    PLAIN: Way(make=lambda model, rate: SGD(model.parameters(), rate, fused=True), rates=(0.2, 0.8)),
    MOMENTUM: Way(make=lambda model, rate: SGD(model.parameters(), rate, momentum=0.9, fused=True), rates=(0.05, 0.2)),
    ADAM: _adam(1e-8),
    COARSE: _adam(1e-4),
    FINE: _adam(1e-15),
    MUON: Way(make=lambda model, rate: Muon(model, rate), rates=(0.01,)),  # 0.03 was worse at every depth
}
LONG_WAY, LONGER = Way(make=ARMS[ADAM].make, rates=(0.001,), eps=1e-8), 10
LONG_AT: dict[Size, tuple[float, ...]] = {"smoke": (), "quick": (20,), "full": (14, 20, 30)}
DEPTHS: dict[Size, tuple[float, ...]] = {
    "smoke": (30,),
    "quick": (2, 5, 10, 14, 20, 30),
    "full": (2, 3, 5, 7, 10, 12, 14, 17, 20, 25, 30, 40),
}
SEEDS: dict[Size, range] = {"smoke": range(1), "quick": range(3), "full": range(10)}
STEPS: dict[Size, int] = {"smoke": 2, "quick": 300, "full": 2000}
SHOWN = 30  # layers of the network whose updates are shown layer by layer
ROWS = 256


def tasks(size: Size) -> tuple[Task, ...]:
    return (*grid(NAME, size, (LONG,), SEEDS[size], LONG_AT[size]), *grid(NAME, size, ARMS, SEEDS[size], DEPTHS[size]))


def measure(task: Task) -> Iterator[Row]:
    data, way = load(task.data), LONG_WAY if task.arm == LONG else ARMS[task.arm]
    start = nets.plain(nn.Tanh, int(task.x), features=data.features)
    before = examined(start, way, data.x[:ROWS], data.y[:ROWS])

    def row(quantity: str, value: float, x: float = task.x) -> Row:
        return Row(quantity=quantity, arm=task.arm, value=value, seed=task.seed, x=x)

    yield row("decades", before.decades)
    if task.x == SHOWN and task.arm != LONG:
        for quantity, x, value in updates(before.layers, by_hand(start, way, data.x[:ROWS], data.y[:ROWS]), way):
            yield row(quantity, value, x)
    steps = STEPS[task.size] * (LONGER if task.arm == LONG else 1)
    best: tuple[Trained, nn.Sequential, float] | None = None
    for rate in way.rates[: 1 if task.size == "smoke" else None]:
        model = copy.deepcopy(start)
        done = train(model, data, way.make(model, rate), steps=steps, seed=task.seed)
        if best is None or done.train_accuracy > best[0].train_accuracy:
            best = done, model, rate
    assert best is not None
    done, model, rate = best
    after = examined(model, way, data.x[:ROWS], data.y[:ROWS])
    yield row("accuracy", done.accuracy)
    yield row("rate", rate)
    yield row("moved, first layer", moved(start[0], model[0]))
    yield row("moved, last hidden layer", moved(start[-3], model[-3]))
    yield row("differs before", before.layers[-2].between_samples)
    yield row("differs after", after.layers[-2].between_samples)


def examined(model: nn.Sequential, way: Way, x: Tensor, y: Tensor) -> Exam:
    return fadeout.examine(model, (x, y), loss=F.cross_entropy, optimizer=way.make(model, way.rates[0]))


def updates(
    layers: tuple[Layer, ...], by_hand: list[tuple[int, float]], way: Way
) -> Iterable[tuple[str, float, float]]:
    """(quantity, x, value): how far the first step moves each hidden layer."""
    hidden = layers[:-1]
    for i, (layer, (count, moves)) in enumerate(zip(hidden, by_hand, strict=False), start=1):
        yield "update", float(i), math.log10(layer.update_ratio / hidden[-1].update_ratio)
        if math.isfinite(way.eps):
            over = layer.weight_gradient_norm / math.sqrt(count) / way.eps
            yield "strength", math.log10(over), layer.update_ratio * layer.weight_rms / way.rates[0]
            yield "strength by hand", math.log10(over), moves
            yield "strength of a normal gradient", math.log10(over), strength(over)


def by_hand(model: nn.Sequential, way: Way, x: Tensor, y: Tensor) -> list[tuple[int, float]]:
    """(weights, root mean square of |g| / (|g| + eps)) of each layer, by plain autograd."""
    twin = copy.deepcopy(model)
    F.cross_entropy(twin(x), y).backward()  # type: ignore[no-untyped-call]
    gradients = [part.weight.grad.double().abs() for part in twin if isinstance(part, nn.Linear)]  # type: ignore[union-attr]
    return [(g.numel(), float((g / (g + way.eps)).square().mean().sqrt())) for g in gradients]


def strength(over: float) -> float:
    """Root mean square of |g| / (|g| + eps), Adam's first step over its rate, for normal g of rms `over` times eps."""
    g = torch.special.ndtri(0.5 + (torch.arange(4000, dtype=torch.float64) + 0.5) / 8000) * over
    return float((g / (g + 1)).square().mean().sqrt())


def moved(before: nn.Module, after: nn.Module) -> float:
    """|W - W_0| / |W_0|."""
    assert isinstance(before, nn.Linear) and isinstance(after, nn.Linear)
    with torch.no_grad():
        return float((after.weight - before.weight).norm() / before.weight.norm())


def _percent(table: Table, arm: str, depth: float) -> str:
    v = table.of("accuracy", arm, depth)
    return f"{arm} {100 * v.mean:.0f} % [{100 * max(0.0, v.low):.0f}, {100 * min(1.0, v.high):.0f}]"


def reaches(table: Table) -> Found:
    """Update of the first layer against the last hidden one, decades, before training."""
    found = {arm: table.of("update", arm, 1.0) for arm in (PLAIN, COARSE, ADAM, FINE, MUON)}
    held = (
        found[PLAIN].high < -5
        and found[COARSE].high < -3
        and found[COARSE].high < found[ADAM].low
        and found[ADAM].high < -0.5
        and all(abs(v) < 0.5 for arm in (FINE, MUON) for v in (found[arm].low, found[arm].high))
    )
    said = ", ".join(f"{arm} {v.mean:+.1f}" for arm, v in found.items())
    return Found(held=held, measured=f"First layer against last hidden layer, in decades: {said}.")


def by_eps(table: Table) -> Found:
    """The step that the exam foresees against |g| / (|g| + eps) of every single weight."""
    rows = [r for r in table.rows if r.quantity == "strength"]
    theory = {(r.arm, r.seed, r.x): r.value for r in table.rows if r.quantity == "strength by hand"}
    off = max(abs(r.value - theory[r.arm, r.seed, r.x]) for r in rows)
    strong, weak = min(r.value for r in rows if r.x > 2), max(r.value for r in rows if r.x < 0)
    return Found(
        held=off < 0.1 and strong > 0.9 and weak < 0.6,
        measured=f"Gradients above 100 eps: at least {100 * strong:.0f} % of the full step; below eps: at most "
        f"{100 * weak:.0f} %. The largest distance from |g| / (|g| + eps), taken weight by weight, is "
        f"{100 * off:.1f} points.",
    )


def still_fails(table: Table) -> Found:
    shallow = {arm: table.of("accuracy", arm, 2.0) for arm in ARMS}
    ten = {arm: table.of("accuracy", arm, 10.0) for arm in (MOMENTUM, ADAM)}
    twenty = {arm: table.of("accuracy", arm, 20.0) for arm in ARMS}
    held = (
        all(v.low > 0.9 for v in shallow.values())
        and ten[ADAM].low > 0.8
        and ten[MOMENTUM].high < 0.5
        and all(twenty[arm].high < 0.5 for arm in (PLAIN, MOMENTUM, ADAM, COARSE))
    )
    return Found(
        held=held,
        measured=f"With 2 layers the worst is {100 * min(v.mean for v in shallow.values()):.0f} %. With 10 layers "
        f"({table.mean('decades', ADAM, 10.0):+.1f} decades): {', '.join(_percent(table, a, 10.0) for a in ten)}. "
        f"With 20 ({table.mean('decades', ADAM, 20.0):+.1f}): "
        f"{', '.join(_percent(table, a, 20.0) for a in (PLAIN, MOMENTUM, ADAM, COARSE))}.",
    )


def moving_is_not_learning(table: Table) -> Found:
    gained = [b - a for a, b in zip(*(table.values("accuracy", arm, 20.0) for arm in (ADAM, FINE)), strict=True)]
    first = table.mean("moved, first layer", FINE, 20.0)
    last = table.mean("moved, last hidden layer", FINE, 20.0)
    return Found(
        held=max(gained) < 0.15 and first > last / 3,
        measured=f"With 20 layers and eps 1e-15 the first layer moves by {first:.2f} of its size, the last hidden one "
        f"by {last:.2f}. Accuracy: {'; '.join(_percent(table, arm, 20.0) for arm in (FINE, ADAM, LONG))}.",
    )


def rebuilds(table: Table) -> Found:
    before = max(v for arm in ARMS for v in table.values("differs before", arm, 20.0))
    after = {arm: table.values("differs after", arm, 20.0) for arm in (PLAIN, ADAM, MUON)}
    learns = table.of("accuracy", MUON, 20.0)
    said = ", ".join(f"{arm} {min(v):.0e} to {max(v):.0e}" for arm, v in after.items())
    return Found(
        held=learns.low > 0.6 and before < 1e-6 and min(after[MUON]) > 0.01 and max(after[PLAIN]) < 0.001,
        measured=f"{_percent(table, MUON, 20.0)} with 20 layers. Of the last hidden layer's output {before:.0e} "
        f"differs between digits before training; after it: {said}.",
    )


EXPERIMENT = Experiment(
    name=NAME,
    title="Does the optimizer cure it?",
    chapter="In practice",
    claim="Adam makes up for small gradients, so one might think that with Adam they no longer matter.",
    source="Kingma and Ba 2014, 1412.6980; Jordan et al. 2024 (Muon); Schoenholz et al. 2017, 1611.01232",
    story=(
        "An optimizer turns gradients into changes of the weights. Plain SGD changes each weight by its gradient times "
        "one fixed rate, so a gradient that is a million times smaller moves its weight a million times less. Momentum "
        "adds up recent gradients, which makes all steps larger but keeps their proportions.",
        "Adam divides each gradient by its own recent size. A small gradient then moves its weight as far as a large "
        "one. To avoid a division by zero, Adam adds a small number to the size, called eps, usually 0.00000001. A "
        "gradient that is smaller than eps is therefore not made up for. Muon goes further: it takes the gradients of "
        "a whole layer, a matrix, and makes all directions in it equally strong.",
        "If a vanishing gradient were only a matter of size, Adam would cure it. We take networks of tanh layers as "
        "the library makes them, which lose about a quarter of a decade a layer, and train them at growing depth "
        "with each optimizer. SGD and Adam may choose the better of two rates.",
    ),
    lesson=(
        "Adam keeps its promise about size. Until gradients come within about a hundred times its eps, every layer is "
        "moved alike, however small its gradient. Below that its strength goes, and with an eps of 0.0001 the first "
        "layers stand almost as still as with SGD.",
        "It is no cure all the same. With 20 layers Adam moves the first layer about as far as the last, with a tiny "
        "eps too, and recognises hardly more than by guessing. Ten times as many steps change nothing. Size is not all "
        "that was lost: in such a network what reaches the last layer hardly depends on the picture, so its gradients "
        "all point one way. Adam does bring back differences between the pictures, but not those that tell ten digits "
        "apart. Muon learns up to 30 layers. It makes all directions within a layer equally strong, and then the last "
        "layer gets an output that tells the digits apart.",
        "Two of our expectations were too sharp. Muon does not move the first layer as far as the last one but "
        "several times as far, because it finds many directions there and only one in the last layers. And at its "
        "better rate momentum gets nearly as far as Adam with 10 layers, where results differ a lot between seeds. The "
        "advice stays: a start that neither shrinks nor stretches, or a way around each layer, removes the cause. "
        "An optimizer of the usual kind only buys some layers.",
    ),
    setting={
        "smoke": "30 layers, two steps: only whether it runs, and the first step of each optimizer.",
        "quick": "Digits 8 x 8, tanh layers of width 64 with torch's start, 300 steps, batch 64. Rates: SGD 0.2, "
        "0.8; momentum 0.05, 0.2; Adam 0.001, 0.003; Muon 0.01 (its biases and last layer: Adam 0.001). "
        "For each network the rate with the best training accuracy counts.",
        "full": "As quick, 2,000 steps, depths 2 to 40, ten seeds.",
    },
    seconds={"smoke": 1.5, "quick": 178.0, "full": 10000.0},
    tasks=tasks,
    measure=measure,
    expectations=(
        Expectation(
            says="With 30 layers SGD's first step moves the first layer at least 5 decades less than the last hidden "
            "one, Adam with eps 1e-4 at least 3, Adam as shipped at least half a decade; Adam with eps 1e-15 and Muon "
            "move both alike, to within half a decade.",
            check=reaches,
            needs="smoke",
        ),
        Expectation(
            says="Adam's first step is |g| / (|g| + eps) of the full one, within 10 points, whatever eps: above 90 % "
            "in layers whose gradients are larger than 100 eps, below 60 % where they are smaller than eps.",
            check=by_eps,
            needs="smoke",
        ),
        Expectation(
            says="All optimizers get more than 90 % right with 2 layers. With 10 layers Adam gets more than 80 % and "
            "momentum less than 50 %; with 20 layers SGD, momentum and Adam get less than 50 %.",
            check=still_fails,
        ),
        Expectation(
            says="A smaller eps moves the first of 20 layers at least a third as far as the last hidden one, and still "
            "gains less than 15 points over Adam as shipped.",
            check=moving_is_not_learning,
        ),
        Expectation(
            says="With 20 layers Muon gets more than 60 %, and it rebuilds the way forward: the share of the last "
            "hidden layer's output that differs between digits rises from below 1e-6 to above 1e-2, and stays below "
            "1e-3 with SGD.",
            check=rebuilds,
        ),
    ),
    published=(
        Published(
            source="Kingma and Ba 2014, section 1",
            what="How the size of the gradient affects the step",
            theirs="the magnitudes of parameter updates are invariant to rescaling of the gradient",
            ours=lambda table: (
                f"first layer against last hidden one of 30: {table.mean('update', FINE, 1.0):+.1f} decades with eps "
                f"1e-15, {table.mean('update', ADAM, 1.0):+.1f} with 1e-8, {table.mean('update', COARSE, 1.0):+.1f} "
                "with 1e-4"
            ),
            differs="true while gradients are far larger than eps; eps sets the end of it",
        ),
        Published(
            source="Karpathy's nanochat, its optimizer settings",
            what="The eps that is used for language models beside Muon",
            theirs="1e-10 instead of 1e-8",
            ours=lambda table: (
                f"20 layers: {_percent(table, ADAM, 20.0)} with 1e-8, {_percent(table, FINE, 20.0)} with 1e-15"
            ),
            differs="code, not a paper; its networks are residual transformers",
        ),
    ),
    figures=(
        Figure(
            title="How far does the first step move each layer?",
            quantity="update",
            x="layer, from the data (left) to the loss (right)",
            y="relative change, decades below the last hidden layer",
            arms=(PLAIN, COARSE, ADAM, FINE, MUON),
            references=(Reference(says="as far as the last hidden layer", value=0.0),),
            caption="30 tanh layers before training. SGD leaves the first layers where they are. Adam moves all layers "
            "alike until the gradients come near its eps. Momentum takes the same first step as SGD.",
        ),
        Figure(
            title="Adam loses its strength where gradients come near eps",
            quantity="strength",
            mark="points",
            theory="strength of a normal gradient",
            x="size of a layer's gradients over eps, in decades",
            y="first step, share of a full one",
            percent=True,
            low=0.0,
            high=1.0,
            arms=(COARSE, ADAM, FINE),
            references=(Reference(says="100 eps", value=2.0, upright=True),),
            caption="Each point is one layer of the network above. All values of eps lie on one curve: what counts is "
            "how large the gradients are compared with eps.",
        ),
        Figure(
            title="Accuracy over the number of layers",
            quantity="accuracy",
            x="layers",
            y="digits recognised",
            x_log=True,
            percent=True,
            low=0.0,
            high=1.0,
            arms=(*ARMS, LONG),
            references=(Reference(says="guessing", value=0.1),),
            caption="The gradient loses about a quarter of a decade a layer. Each optimizer carries on a little longer "
            "than the one before it.",
        ),
    ),
)
