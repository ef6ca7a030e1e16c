"""FO101: the gradient fades out between the last weight layer and the first."""

import math
from itertools import pairwise
from statistics import median

from fadeout.records import Advice, Chain, Evidence, Finding, Kind, Level, Reading, WeightOp, WontHelp
from fadeout.rules.build import advise, advised, named
from fadeout.rules.causes import causes_by_account
from fadeout.rules.factors import main_factor, near_one
from fadeout.rules.few_values import of_pairs, on_this_batch
from fadeout.rules.limits import Limits
from fadeout.rules.persistence import all_along, learning, plateau, probes, stands
from fadeout.rules.signs import CEILING, chain_fade, unjudged

_HELPS: dict[Kind, tuple[Advice | str, ...]] = {
    "slope": (
        advise("ReLU or GELU with He initialisation", "relu", "gelu"),
        advise("residual connections", "residual"),
        advise("tanh with Glorot initialisation", "tanh"),
    ),
    "weight": (
        advise("He or Glorot initialisation, by the activation", "critical_init"),
        advise("residual connections", "residual"),
        advise("normalisation layers", "layer_norm", "batch_norm"),
    ),
    "norm": (
        advise("moving the normalisation into the branch (pre-norm)", "pre_norm"),
        advise("residual connections", "residual"),
    ),
    "mix": (advise("residual connections around the mixing", "residual"), "attention instead of repeated averaging"),
}
STEEP = 1.5  # times the median loss of a layer, from which one is named for it
_RECTIFIERS = {"relu", "leaky_relu", "gelu", "silu", "elu", "selu", "mish", "relu6"}


def vanishing(reading: Reading, limits: Limits) -> Finding | None:
    """A gradient that arrives at the first layers, or behind a chain of layers, many decades smaller than at the last.

    Judged by gradients of activations, never of weights: on 280 programs the first-over-last
    ratio of weight gradients told sick from healthy no better than chance.
    """
    return _over_all(reading, limits) or _in_a_chain(reading, limits)


def _over_all(reading: Reading, limits: Limits) -> Finding | None:
    flags = [fades(probe, limits) for probe in probes(reading)]
    level: Level = "alarm"
    still = reading.course is not None and reading.course.travelled == 0
    if still and reading.layers and not any(layer.trained for layer in reading.layers):
        return None  # a fade to layers that nobody trains, in a training that moves nothing
    if reading.course is None:
        if not flags[0]:
            return None
        carried = _carried(reading, reading.ledger.opened, limits)
        level = "warning" if carried or unjudged(reading, reading.ledger.opened, limits) else "alarm"
    else:
        found = _level(reading, flags, reading.ledger.opened, limits)
        if found is None:
            return None
        level = found
    probe = reading if flags[0] else next(p for p, flag in zip(probes(reading), flags, strict=True) if flag)
    decades = probe.ledger.opened
    chance = ""
    if of_pairs(probe):
        level, chance = "warning", on_this_batch(probe)
    causes = causes_by_account(probe, sign=-1, without=("skip", "loss"))
    out = out_of_reach(probe, limits)
    slope = probe.profile.slope if probe.profile else math.nan
    main = causes[0].kind if causes else "other"
    return Finding(
        code="FO101",
        label="vanishing",
        level=level,
        claim=f"the gradient loses {-decades:.1f} decades between the last weight layer and the first{chance}",
        where=tuple(dict.fromkeys([*_culprit(probe), *(w.path for w in out)])),
        line=out[0].line if out else "",
        decades=decades,
        expected=math.nan,
        since=probe.step,
        confidence=math.nan,
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
        advice=advised(_helps(probe, main)),
        wont_help=_wont_help(probe, main),
    )


def _culprit(probe: Reading) -> list[str]:
    """The layer that takes most of what is lost on the trunk, where it takes clearly more than layers usually do."""
    lost: dict[str, float] = {}
    layers = {layer.path for layer in probe.layers}
    waiting = 0.0
    for entry in probe.ledger.trunk.entries:  # loss side first: what reads a layer's output counts with that layer
        if entry.kind == "loss" or not math.isfinite(entry.log_gain):
            continue
        waiting += entry.log_gain
        if entry.kind == "weight" and entry.path in layers:
            lost[entry.path] = lost.get(entry.path, 0.0) + waiting
            waiting = 0.0
    total = math.fsum(v for v in lost.values() if v < 0)
    worst = min(lost, key=lambda path: lost[path], default="")
    usual = median(lost.values()) if lost else 0.0
    return [worst] if total < 0 and lost[worst] < STEEP * min(usual, 0.0) else []


def _in_a_chain(reading: Reading, limits: Limits) -> Finding | None:
    """A side branch, or a stretch in the middle, that fades though the first layers are reached another way."""
    flags = [chain_fades(probe, limits) for probe in probes(reading)]
    shown = next((p for p, flag in zip(probes(reading), flags, strict=True) if flag), reading)
    chain = chain_fade(shown)
    if chain is None or not any(flags):
        return None
    if reading.course is None:
        # in one step a branch may be quiet on purpose; a fade from layer to layer inside it is none
        # and where the chain is the trunk itself, grown as much before, the verdict is the whole way's
        level: Level = "alarm" if chain.fade <= limits.surely and not chain.below > limits.vanishing else "note"
    else:
        found = _level(reading, flags, chain.lost, limits)
        if found is None:
            return None
        level = found
    chance = ""
    if of_pairs(reading):
        level, chance = "warning" if level == "alarm" else level, on_this_batch(reading)
    causes = causes_by_account(reading, sign=-1, without=("skip", "loss"))
    start = next((p.step for p, flag in zip(probes(reading), flags, strict=True) if flag), 0)
    return Finding(
        code="FO101",
        label="vanishing",
        level=level,
        claim=f"the gradient loses {-chain.lost:.1f} decades in the chain from {named(chain.layers[0])} "
        f"to {named(chain.lowest)}{chance}",
        where=tuple(dict.fromkeys((*_steepest(shown, chain), chain.lowest, *reversed(chain.layers)))),
        line=next((w.line for w in reading.ledger.weights if w.path == chain.lowest), ""),
        decades=chain.lost,
        expected=math.nan,
        since=start,
        confidence=math.nan,
        cause=causes,
        status="account",
        evidence=(Evidence(name="decades in the chain", value=chain.lost, bound=limits.chain, unit="decades"),),
        chain=chain.layers,
        advice=advised(_HELPS["weight"]),
        wont_help=_wont_help(reading, "weight"),
    )


def _steepest(reading: Reading, chain: Chain) -> list[str]:
    """The layer of a chain through which most is lost: from the gradient at its output to that at the one before."""
    norms = {w.path: w.norm for w in reading.ledger.weights}
    lost = [
        (norms[before] - norms[layer], layer)
        for layer, before in pairwise(chain.layers)
        if layer in norms and before in norms and math.isfinite(norms[layer])
    ]
    return [min(lost)[1]] if lost else []


def fades(probe: Reading, limits: Limits) -> bool:
    """The sign of the whole way back; exactly nothing counts where no zero-initialised part makes it."""
    return probe.ledger.opened <= limits.vanishing and (math.isfinite(probe.ledger.decades) or _faded_out(probe))


def _faded_out(probe: Reading) -> bool:
    """Nothing arrives at the first layers, though something leaves the last ones, and no part is zero by design."""
    ledger = probe.ledger
    alive = any(w.last and w.norm > -math.inf for w in ledger.weights)
    killed = any(entry.log_gain == -math.inf for entry in ledger.trunk.entries)
    return ledger.decades == -math.inf and alive and not killed and not probe.zero_weights


def chain_fades(probe: Reading, limits: Limits) -> bool:
    """The sign of a run of layers."""
    found = chain_fade(probe)
    return found is not None and -math.inf < found.lost <= limits.chain


def _level(reading: Reading, flags: list[bool], start: float, limits: Limits) -> Level | None:
    """What a fade is worth after a course: an alarm where nothing is learned, a handicap where something is."""
    course = reading.course
    assert course is not None
    how = learning(reading, limits)
    if how == "not" and course.one_class and not flags[0]:
        return None  # one class a batch drives any network out
    if how in ("not", "little"):
        extreme = how == "not" and flags[0] and start <= limits.extreme
        return "alarm" if stands(flags) or extreme else None
    if how == "unknown":
        return "alarm" if all_along(flags) else None
    if not all_along(flags):
        return None
    return "alarm" if plateau(reading, limits) else "warning"


def _carried(reading: Reading, decades: float, limits: Limits) -> bool:
    """A moderate fade that the optimizer in use still carries: every layer sees and moves."""
    if not reading.optimizer or decades <= limits.surely:
        return False
    trained = [layer for layer in reading.layers if layer.trained and layer.reached]
    moved = all(layer.update_ratio >= limits.moves for layer in trained)
    every = reading.depth.layers is not None and reading.depth.layers >= reading.on_paper
    return every or (moved and all(layer.path in reading.depth.seen for layer in trained))


def _helps(reading: Reading, main: Kind) -> tuple[Advice | str, ...]:
    return (*near_one(main_factor(reading, sign=-1)), *_usual(reading, main))


def _usual(reading: Reading, main: Kind) -> tuple[Advice | str, ...]:
    used = {layer.activation for layer in reading.layers if layer.activation}
    if main == "slope" and used and used <= _RECTIFIERS:  # already the activation that others should take
        return (
            advise("residual connections", "residual"),
            advise("normalisation layers", "layer_norm", "batch_norm"),
            "wider layers: chance adds up over depth / width",
        )
    return _HELPS.get(main, _HELPS["weight"])


def out_of_reach(reading: Reading, limits: Limits) -> tuple[WeightOp, ...]:
    """Weight operations whose gradient is far below the loss end's, data side first."""
    ends = [w.norm for w in reading.ledger.weights if w.last and w.data and not math.isnan(w.norm)]
    top = max(ends, default=math.nan)
    return tuple(w for w in reading.ledger.weights if w.norm <= top + limits.reached)


def _wont_help(reading: Reading, main: Kind) -> tuple[WontHelp, ...]:
    found = []
    ceilings = {layer.activation for layer in reading.layers} & CEILING.keys()
    if main == "slope" and ceilings:
        name = sorted(ceilings)[0]
        found.append(
            WontHelp(
                what=f"LayerNorm, He or LSUV while keeping {name}",
                why=f"its slope never exceeds {CEILING[name]:.2g}",
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
