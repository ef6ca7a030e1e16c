"""Exams made up for the tests of rendering: one for every kind of network a report must survive."""

import math
from dataclasses import replace

from fadeout.records import (
    KINDS,
    Advice,
    Block,
    Branch,
    Cause,
    Edge,
    EffectiveBlocks,
    EffectiveDepth,
    End,
    Environment,
    Evidence,
    Exam,
    Finding,
    Forecast,
    ForecastLayer,
    Kind,
    Layer,
    Ledger,
    NotFinite,
    Profile,
    Stage,
    Trunk,
    Unaccounted,
    Underflow,
    WeightOp,
    WontHelp,
)

NAN = math.nan


def layer(path: str, level: float, **changes: object) -> Layer:
    """A Linear layer that a gradient of 10^level reaches."""
    norm = NAN if math.isnan(level) else 10.0**level if level > -math.inf else 0.0
    made = Layer(
        path=path,
        kind="Linear",
        gradient_norm=norm,
        gradient_rms=norm / 90,
        weight_gradient_norm=norm * 3,
        activation_rms=0.28,
        weight_rms=0.072,
        mean_slope=NAN,
        dead=NAN,
        saturated=NAN,
        activation="",
        gated=False,
        between_samples=0.3,
        update_ratio=0.01,
        underflow=Underflow(fp16=0.0, bf16=0.0),
        not_finite=NotFinite(),
        trained=True,
        reached=True,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def environment(**changes: object) -> Environment:
    made = Environment(
        fadeout="0.1.0",
        torch="2.13.0",
        python="3.11.7",
        device="cpu",
        dtype="float32",
        seed=0,
        seconds=0.042,
        batches=1,
        samples=128,
        spread=NAN,
        optimizer="Adam lr 0.001",
        model="Net",
        loss=2.31,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def by_kind(entries: tuple[Edge, ...]) -> tuple[tuple[Kind, float], ...]:
    return tuple((kind, sum((e.log_gain for e in entries if e.kind == kind), 0.0)) for kind in KINDS)


def exam(
    layers: list[Layer],
    entries: list[Edge],
    stages: list[Stage],
    *,
    verdict: str = "flows",
    sentence: str = "",
    **changes: object,
) -> Exam:
    """An exam that is consistent in itself: the sums close, the first and last layer give the decades."""
    edges = tuple(entries)
    kinds = by_kind(edges)
    total = sum(e.log_gain for e in edges)
    levels = [math.log10(la.gradient_norm) if la.gradient_norm > 0 else -math.inf for la in layers]
    decades = levels[0] - levels[-1]
    ledger = Ledger(
        log_gain=total,
        decades=decades,
        stages=tuple(stages),
        by_kind=kinds,
        trunk=Trunk(log_gain=total, by_kind=kinds, entries=edges),
        operations=edges,
        ends=(End(path="x", what="input", decades=total),),
        weights=tuple(
            WeightOp(
                path=la.path,
                op="linear",
                line="net.py:12",
                norm=level,
                rms=level - 2,
                first=i == 0,
                last=i == len(layers) - 1,
                trunk=True,
            )
            for i, (la, level) in enumerate(zip(layers, levels, strict=True))
        ),
        blocks=None,
        unaccounted=(),
        closing_error=1.2e-8,
        floor=-37.9,
        nodes=len(edges),
    )
    paths = tuple(la.path for la in layers)
    made = Exam(
        verdict=verdict,  # type: ignore[arg-type]
        sentence=sentence or f"The gradient flows: {decades:+.1f} decades from the last weight layer to the first.",
        progress="unknown",
        decades=decades,
        decades_per_layer=Profile(slope=decades / max(1, len(layers) - 1), residual=0.02),
        effective_depth=EffectiveDepth(layers=len(layers), seen=paths, moved=paths),
        weight_layers=len(layers),
        effective_blocks=None,
        ledger=ledger,
        layers=tuple(layers),
        forecast=None,
        findings=(),
        environment=environment(),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def chain(levels: list[float], act: str, slope: float, weight: float) -> tuple[list[Layer], list[Edge], list[Stage]]:
    """A plain net: layers from the data, operations and stages from the loss."""
    n = len(levels)
    layers = [
        layer(f"net.{2 * i}", level, activation=act if i < n - 1 else "", mean_slope=0.98 if i < n - 1 else NAN)
        for i, level in enumerate(levels)
    ]
    entries = [Edge(path="", op="cross_entropy", line="train.py:9", kind="loss", log_gain=-1.1)]
    stages = [Stage(start="loss", to=layers[-1].path, width=1, log_gain=-1.1)]
    for i in range(n - 1, -1, -1):
        entries.append(Edge(path=f"net.{2 * i}", op="linear", line="net.py:12", kind="weight", log_gain=weight))
        if i:
            entries.append(Edge(path=f"net.{2 * i - 1}", op=act, line="net.py:13", kind="slope", log_gain=slope))
        to = f"net.{2 * i - 2}" if i else "x"
        stages.append(Stage(start=f"net.{2 * i}", to=to, width=1, log_gain=weight + (slope if i else 0.0)))
    return layers, entries, stages


def sigmoid20() -> Exam:
    """DESIGN's example: 21 layers, 20 sigmoids, 17 decades gone, a forecast beside it."""
    levels = [-1.1 - 0.85 * (20 - i) for i in range(21)]
    layers, entries, stages = chain(levels, "sigmoid", -12.2 / 20, -5.0 / 21)
    paths = [la.path for la in layers]
    finding = Finding(
        code="FO101",
        label="vanishing",
        level="alarm",
        claim="the gradient loses 17.0 decades between the last weight layer and the first",
        where=tuple(paths[:20]),
        line="net.py:12",
        decades=-17.0,
        expected=NAN,
        since=0,
        confidence=0.9,
        cause=(Cause(kind="slope", share=0.71), Cause(kind="weight", share=0.29)),
        status="confirmed",
        evidence=(
            Evidence(name="decades a layer", value=-0.85, bound=NAN, unit="decades"),
            Evidence(name="decades, first over last weight layer", value=-17.0, bound=-3.0, unit="decades"),
        ),
        advice=tuple(
            Advice(words=w) for w in ("ReLU with He initialisation", "residual connections", "tanh with Glorot")
        ),
        wont_help=(WontHelp(what="LayerNorm, He or LSUV while keeping sigmoid", why="its slope never exceeds 0.25"),),
    )
    made = exam(
        layers,
        entries,
        stages,
        verdict="vanishing",
        sentence="VANISHING: the gradient loses 17.0 decades between the last weight layer and the first.",
        effective_depth=EffectiveDepth(layers=0, seen=tuple(paths[:4]), moved=tuple(paths[11:])),
        findings=(finding,),
        forecast=Forecast(
            decades=-17.0,
            band=(-17.4, -16.6),
            layers=tuple(
                ForecastLayer(path=p, q=0.3, decades=0.85 * (i - 20), band=(0.87 * (i - 20), 0.83 * (i - 20)))
                for i, p in enumerate(paths)
            ),
        ),
    )
    return replace(made, ledger=replace(made.ledger, floor=-307.0))


def relu6() -> Exam:
    """A healthy net of six layers."""
    return exam(*chain([-1.5, -1.5, -1.4, -1.5, -1.4, -1.1], "relu", -0.16, 0.08))


def chain60() -> Exam:
    """A sick net of 60 layers."""
    levels = [-1.1 - 0.24 * (59 - i) for i in range(60)]
    sentence = "VANISHING: the gradient loses 14.2 decades between the last weight layer and the first."
    return exam(*chain(levels, "tanh", -0.01, -0.23), verdict="vanishing", sentence=sentence)


def resnet(blocks: int = 16) -> Exam:
    """A healthy residual net whose forks and joins cancel on the trunk."""
    layers = [layer("stem", -1.0)]
    entries = [Edge(path="", op="cross_entropy", line="", kind="loss", log_gain=-1.1)]
    stages = [Stage(start="loss", to="head", width=1, log_gain=-1.1)]
    for i in range(blocks):
        layers += [layer(f"blocks.{i}.1", -1.4, activation="relu"), layer(f"blocks.{i}.3", -1.1)]
        j = blocks - 1 - i
        entries += [
            Edge(path=f"blocks.{j}.3", op="linear", line="res.py:9", kind="weight", log_gain=-0.25),
            Edge(path=f"blocks.{j}.2", op="relu", line="res.py:9", kind="slope", log_gain=-0.15),
            Edge(path=f"blocks.{j}.1", op="linear", line="res.py:9", kind="weight", log_gain=-0.25),
            Edge(path="", op="add", line="res.py:9", kind="skip", log_gain=0.66),
        ]
        stages.append(
            Stage(
                start=f"add {j}",
                to=f"add {j - 1}" if j else "stem",
                width=1,
                log_gain=0.01,
                branches=(
                    Branch(path="", op="add", share=0.95),
                    Branch(path=f"blocks.{j}.0", op="layer_norm", share=0.05),
                ),
            )
        )
    layers.append(layer("head", -1.1))
    many = EffectiveBlocks(
        n=blocks * 0.7,
        branch_total=0.05 * blocks,
        blocks=tuple(Block(path=f"blocks.{i}", share=0.05, influence=0.1, line="res.py:9") for i in range(blocks)),
    )
    made = exam(layers, entries, stages, effective_blocks=many)
    return replace(made, ledger=replace(made.ledger, blocks=many))


def deep1000() -> Exam:
    """A steady fade over 1,000 layers with one layer that is off, number 500."""
    levels = [-1.0 - 0.012 * (999 - i) for i in range(1000)]
    levels[499] -= 5.0
    sentence = "VANISHING: the gradient loses 12.0 decades between the last weight layer and the first."
    return exam(*chain(levels, "relu", -0.15, 0.138), verdict="vanishing", sentence=sentence)


def severed() -> Exam:
    """No gradient below layer 4; a custom function stands outside the account."""
    layers, entries, stages = chain([-math.inf, -math.inf, -math.inf, -1.5, -1.1], "relu", -0.2, 0.1)
    entries[4] = replace(entries[4], log_gain=-math.inf)
    stages[2] = replace(stages[2], log_gain=-math.inf)
    finding = Finding(
        code="FO103",
        label="severed",
        level="alarm",
        claim="the gradient ends at net.5 (relu): exactly zero from there to the first layer",
        where=("net.0", "net.2", "net.4"),
        line="net.py:13",
        decades=-math.inf,
        expected=NAN,
        since=0,
        confidence=1.0,
        cause=(),
        status="account",
        evidence=(Evidence(name="layers that receive nothing", value=3, bound=0, unit="layers"),),
    )
    made = exam(
        layers,
        entries,
        stages,
        verdict="severed",
        sentence="SEVERED: the gradient ends at net.5 (relu): exactly zero from there to the first layer.",
        findings=(finding,),
        decades_per_layer=None,
        effective_depth=EffectiveDepth(layers=None, seen=(), moved=()),
    )
    lost = Unaccounted(path="net.5", op="Clamp", why="a custom function returned no gradient")
    return replace(made, ledger=replace(made.ledger, unaccounted=(lost,)))


def not_finite() -> Exam:
    """Everything nan from layer 3 on; no layer has a defined level."""
    layers, entries, stages = chain([NAN] * 5, "relu", NAN, NAN)
    layers = [replace(la, not_finite=NotFinite(activation=12, gradient=4096)) for la in layers]
    return exam(
        layers,
        entries,
        stages,
        verdict="not_finite",
        sentence="NOT FINITE: the output of net.4 (linear) is the first that is not finite.",
        decades=NAN,
        decades_per_layer=None,
        effective_depth=EffectiveDepth(layers=None, seen=(), moved=()),
        environment=environment(loss=NAN, optimizer="", samples=0),
    )


def unseen() -> Exam:
    """A fade that runs out of float32: the zeros were lost by the pass, not by the network."""
    levels = [-math.inf, -math.inf, -37.0, -30.0, -20.0, -1.0]
    layers, entries, stages = chain(levels, "sigmoid", -6.0, -1.0)
    return exam(layers, entries, stages, verdict="vanishing", sentence="VANISHING: more than 36 decades are gone.")


def bare() -> Exam:
    """Nothing known: no layer, no stage, an empty forecast."""
    one = exam([layer("", -1.0)], [], [], forecast=Forecast(decades=None, band=None))
    return replace(
        one,
        layers=(),
        weight_layers=0,
        verdict="undetermined",
        sentence="Undetermined: no operation with weights lies between the loss and the data.",
        decades=NAN,
        decades_per_layer=None,
        effective_depth=EffectiveDepth(layers=None, seen=(), moved=()),
        environment=environment(optimizer="", model=""),
    )


def hostile() -> Exam:
    """Module names made to break a page or a terminal."""
    made = sigmoid20()
    evil = "<script>alert('x')</script>&\"\x1b[31m\n[bold]"
    layers = (replace(made.layers[0], path=evil, kind="<b>Linear</b>"), *made.layers[1:])
    ledger = replace(
        made.ledger,
        stages=(replace(made.ledger.stages[0], to=evil), *made.ledger.stages[1:]),
        trunk=replace(
            made.ledger.trunk,
            entries=(
                *made.ledger.trunk.entries,
                Edge(path=evil, op=evil, line=evil, kind="other", log_gain=-2.0),
            ),
        ),
        unaccounted=(Unaccounted(path=evil, op=evil, why=evil),),
        ends=(End(path=evil, what="input", decades=-3.0),),
    )
    finding = replace(made.findings[0], where=(evil,), claim=evil, line=evil, advice=(Advice(words=evil),))
    return replace(
        made,
        layers=layers,
        ledger=ledger,
        findings=(finding,),
        sentence="VANISHING: it fades at " + evil,
        environment=environment(model=evil, notes=(evil,)),
    )


EXAMS = {
    "sigmoid20": sigmoid20,
    "relu6": relu6,
    "chain60": chain60,
    "resnet": resnet,
    "deep1000": deep1000,
    "severed": severed,
    "not_finite": not_finite,
    "unseen": unseen,
    "bare": bare,
    "hostile": hostile,
}
