"""FO101: the gradient fades out between the last weight layer and the first."""

import math

from fadeout.records import Evidence, Finding, Kind, Reading, WeightOp, WontHelp
from fadeout.rules.causes import causes_by_account
from fadeout.rules.limits import Limits

_HELPS: dict[Kind, tuple[str, ...]] = {
    "slope": (
        "ReLU or GELU with He initialisation",
        "residual connections",
        "tanh with Glorot initialisation",
    ),
    "weight": (
        "He or Glorot initialisation, by the activation",
        "residual connections",
        "normalisation layers",
    ),
    "norm": ("moving the normalisation into the branch (pre-norm)", "residual connections"),
    "mix": ("residual connections around the mixing", "attention instead of repeated averaging"),
}
_RECTIFIERS = {"relu", "leaky_relu", "gelu", "silu", "elu", "selu", "mish", "relu6"}
_CEILING = {"sigmoid": 0.25, "hardsigmoid": 1 / 6}


def vanishing(reading: Reading, limits: Limits) -> Finding | None:
    """A gradient that arrives at the first layers many decades smaller than at the last.

    Judged by gradients of activations, never of weights: on 280 programs the first-over-last
    ratio of weight gradients told sick from healthy no better than chance.
    """
    decades = reading.ledger.decades
    if not (math.isfinite(decades) and decades <= limits.vanishing):
        return None
    causes = causes_by_account(reading, sign=-1, without=("skip", "loss"))
    out = out_of_reach(reading, limits)
    slope = reading.profile.slope if reading.profile else math.nan
    main = causes[0].kind if causes else "other"
    claim = f"the gradient loses {-decades:.1f} decades between the last weight layer and the first"
    return Finding(
        code="FO101",
        label="vanishing",
        level="warning" if _carried(reading, decades, limits) else "alarm",
        claim=claim,
        where=tuple(dict.fromkeys(w.path for w in out)),
        line=out[0].line if out else "",
        decades=decades,
        expected=math.nan,
        since=reading.step,
        confidence=0.9 if decades <= limits.vanishing - 1 else 0.7,
        cause=causes,
        status="account",
        evidence=(
            Evidence(
                name="decades, first over last weight layer",
                value=decades,
                bound=limits.vanishing,
                unit="decades",
            ),
            Evidence(name="decades a layer", value=slope, bound=math.nan, unit="decades"),
        ),
        helps=_helps(reading, main),
        wont_help=_wont_help(reading, main),
    )


def _carried(reading: Reading, decades: float, limits: Limits) -> bool:
    """A moderate fade that the optimizer in use still carries: every layer sees and moves."""
    every = reading.depth.layers is not None and reading.depth.layers >= reading.on_paper
    return bool(reading.optimizer) and decades > limits.surely and every


def _helps(reading: Reading, main: Kind) -> tuple[str, ...]:
    used = {layer.activation for layer in reading.layers if layer.activation}
    if main == "slope" and used and used <= _RECTIFIERS:  # already the activation that others should take
        return (
            "residual connections",
            "normalisation layers",
            "wider layers: chance adds up over depth / width",
        )
    return _HELPS.get(main, _HELPS["weight"])


def out_of_reach(reading: Reading, limits: Limits) -> tuple[WeightOp, ...]:
    """Weight operations whose gradient is far below the loss end's, data side first."""
    ends = [w.norm for w in reading.ledger.weights if w.last and not math.isnan(w.norm)]
    top = max(ends, default=math.nan)
    return tuple(w for w in reading.ledger.weights if w.norm <= top + limits.reached)


def _wont_help(reading: Reading, main: Kind) -> tuple[WontHelp, ...]:
    found = []
    ceilings = {layer.activation for layer in reading.layers} & _CEILING.keys()
    if main == "slope" and ceilings:
        name = sorted(ceilings)[0]
        found.append(
            WontHelp(
                what=f"LayerNorm, He or LSUV while keeping {name}",
                why=f"its slope never exceeds {_CEILING[name]:.2g}",
            )
        )
    found.append(
        WontHelp(
            what="a larger learning rate, or scaling the loss",
            why="every layer's gradient grows alike; the ratio between first and last stays",
        )
    )
    found.append(WontHelp(what="gradient clipping", why="it only ever makes gradients smaller"))
    return tuple(found)
