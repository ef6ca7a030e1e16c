"""Hand-made readings: plain numbers, no network, no torch."""

import math
from dataclasses import replace

from fadeout.records import (
    Course,
    EffectiveDepth,
    Layer,
    Ledger,
    NotFinite,
    Reading,
    Signal,
    Trunk,
    Underflow,
    WeightOp,
)

KINDS = ("weight", "slope", "norm", "skip", "mix", "loss", "other")


def layer(path, **values):
    """A healthy hidden layer of 32 tanh units."""
    healthy = {
        "path": path, "kind": "Linear", "gradient_norm": 1e-2, "gradient_rms": 1e-4, "weight_gradient_norm": 1e-2,
        "activation_rms": 1.0, "weight_rms": 0.1, "mean_slope": 0.7, "dead": math.nan, "saturated": 0.1,
        "activation": "tanh", "gated": False, "between_samples": 0.5, "update_ratio": 1e-3,
        "underflow": Underflow(fp16=0.0, bf16=0.0), "not_finite": NotFinite(), "trained": True, "reached": True,
        "units": 32,
    }  # fmt: skip
    return Layer(**(healthy | values))


def ledger(decades=-0.5, names=("a", "b", "c"), **values):
    """Three weight layers, `decades` apart from the last to the first."""
    count = len(names) - 1
    weights = tuple(
        WeightOp(
            path=name, op="linear", line="net.py:1", norm=decades * (count - i) / count, rms=math.nan,
            first=i == 0, last=i == count, trunk=True,
        )
        for i, name in enumerate(names)
    )  # fmt: skip
    whole = {
        "log_gain": decades, "decades": decades, "stages": (), "by_kind": tuple((k, 0.0) for k in KINDS),
        "trunk": Trunk(
            log_gain=decades, entries=(),
            by_kind=tuple((k, {"slope": 0.7, "weight": 0.3}.get(k, 0.0) * decades) for k in KINDS),
        ),
        "operations": (), "ends": (), "weights": weights, "blocks": None, "unaccounted": (), "closing_error": 0.0,
        "floor": -38.0, "nodes": 9,
    }  # fmt: skip
    return Ledger(**(whole | values))


def reading(decades=-0.5, layers=None, **values):
    """A healthy reading of one step."""
    names = ("a", "b", "c")
    whole = {
        "step": 0, "ledger": ledger(decades), "layers": layers or tuple(layer(n) for n in names), "profile": None,
        "depth": EffectiveDepth(layers=3, seen=names, moved=names), "on_paper": 3, "detached": (), "zero_weights": (),
        "origin": None, "loss": 1.0, "optimizer": "Adam",
        "signal": Signal(input=1.0, output=0.5, target=1.0, output_op="Addmm", loss_ops=("LogSoftmax",)),
    }  # fmt: skip
    return Reading(**(whole | values))


def course(probes, learned, **values):
    """Step 0's reading with what followed; probes after 0, 3, 6, 11, 21, ... steps."""
    steps = (0, 3, 6, 11, 21, 40, 76, 144)[: len(probes)]
    probes = tuple(replace(p, step=n) for p, n in zip(probes, steps, strict=True))
    whole = {
        "steps": steps[-1], "losses": tuple(1.0 - 0.2 * max(0.0, v) for v in learned for _ in range(4)),
        "probes": probes, "learned": tuple(learned), "constant": 1.0, "updates": (("a", 1e-3), ("b", 2e-3)),
        "growth": 1.0, "broken": None, "backwards": 1, "ignores_targets": False, "clipped": math.nan,
    }  # fmt: skip
    return replace(probes[0], course=Course(**(whole | values)))
