"""Exams with time and tokens, made up for the tests: sequences a report must survive."""

import math
from dataclasses import replace

from exams import NAN, relu6, sigmoid20

from fadeout.records import Exam, GateSpan, TimeProfile, TokenProfile

LSTM_GATES = (("input", 0.5, 0.25), ("forget", 0.49, 0.25), ("candidate", NAN, 0.95), ("output", 0.5, 0.25))


def recurrent(path: str, horizon: float, steps: int, **changes: object) -> TimeProfile:
    """An LSTM layer that loses one decade in `horizon` steps, steadily, first by its cell, then by h."""
    cell = tuple(0.8**lag for lag in range(steps))
    made = TimeProfile(
        path=path,
        horizon=horizon,
        steps=steps,
        log_gain=tuple(-lag / horizon for lag in range(steps)),
        paths=(("cell", cell), ("hidden", tuple(1 - share for share in cell))),
        gates=LSTM_GATES,
        source="loss",
        gate_horizon=GateSpan(median=3.3, slowest=3.9, family="LSTM", heads=64, stuck=0),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def gates(path: str, median: float, **changes: object) -> TimeProfile:
    """A recurrence of which only the parameters were read."""
    made = TimeProfile(
        path=path,
        horizon=NAN,
        steps=0,
        log_gain=(),
        paths=(),
        gates=(),
        source="none",
        gate_horizon=GateSpan(median=median, slowest=4 * median, family="Mamba", heads=8, stuck=0),
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def attention(path: str, live_rows: float = 1.0, apart: float = 0.97) -> TokenProfile:
    return TokenProfile(
        path=path,
        positions=(),
        reach=(),
        distance_curve=(),
        rank_collapse=apart,
        live_rows=live_rows,
        entropy=0.98,
    )


def reach(path: str = "embed", tokens: int = 48, sampled: int = 4) -> TokenProfile:
    """A causal map that fades with the distance, down to -2 decades."""
    curve = tuple(-2 * (1 - 1 / (1 + d)) for d in range(tokens))
    positions = tuple((i + 1) * tokens // sampled - 1 for i in range(sampled))
    return TokenProfile(
        path=path,
        positions=positions,
        reach=tuple(tuple(curve[p - j] if j <= p else -math.inf for j in range(tokens)) for p in positions),
        distance_curve=curve,
        rank_collapse=NAN,
        live_rows=NAN,
        entropy=NAN,
    )


def healthy() -> Exam:
    """An LSTM of two layers and a transformer in one that flows: the short form."""
    made = relu6()
    return replace(
        made,
        sentence=made.sentence + " r.l0 remembers 11 of 200 steps.",
        time=(recurrent("r.l1", 3.0, 200), recurrent("r.l0", 11.0, 200)),
        tokens=(reach(), attention("h.0"), attention("h.1")),
    )


def sequence() -> Exam:
    """Five recurrent layers, two of parameters only, attentions of which two are unusual, a reach map."""
    layers = [recurrent(f"r.l{i}", 20.0 - 3 * i, 200) for i in range(5)]
    layers[1] = replace(
        layers[1],
        source="noise",
        gates=(("state", NAN, 0.9),),
        paths=(("hidden", (1.0,) * 200),),
        gate_horizon=None,
    )
    odd = (attention("h.2", live_rows=0.03), attention("h.3", apart=0.02))
    return replace(
        sigmoid20(),
        time=(*reversed(layers), gates("m.0", 0.23), gates("m.1", 40.0)),
        tokens=(reach(), attention("h.0"), attention("h.1", apart=0.9), *odd),
    )


def broken() -> Exam:
    """Everything that is not a number, not finite, empty or of one step."""
    nan = recurrent("nan", NAN, 30, log_gain=(0.0, -0.1, *(NAN,) * 28))
    cut = recurrent("cut", 2.0, 30, log_gain=(0.0, -0.5, *(-math.inf,) * 28))
    keeps = recurrent("keeps", math.inf, 5000, log_gain=(0.0,) * 5000, paths=(("hidden", (1.0,) * 5000),))
    never = gates(
        "never", math.inf, gate_horizon=GateSpan(median=math.inf, slowest=NAN, family="GRU", heads=4, stuck=4)
    )
    evil = "<script>alert('x')</script>\x1b[31m"
    return replace(
        sigmoid20(),
        time=(nan, cut, keeps, recurrent("one", NAN, 1), recurrent(evil, 4.0, 9), never, gates("unread", NAN)),
        tokens=(
            reach(evil, tokens=1, sampled=1),
            replace(reach("far", 3, 1), distance_curve=(0.0, NAN, -math.inf)),
            *(attention(f"h.{i}", live_rows=0.1, apart=0.01) for i in range(6)),
            attention(evil, NAN, NAN),
        ),
    )


ALONG = {"healthy": healthy, "sequence": sequence, "broken": broken}
