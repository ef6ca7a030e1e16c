"""FO107: initial weights that training can't leave: units all alike, or outputs far larger than the targets."""

import math
from dataclasses import replace

from fadeout.records import Advice, Evidence, Finding, Reading, WontHelp
from fadeout.rules.build import advise, listed, remark
from fadeout.rules.limits import Limits
from fadeout.rules.persistence import hindered, learning, probes
from fadeout.rules.signs import growth, hidden_saturation, last_layers

_UNITS = frozenset("Linear Conv1d Conv2d Conv3d RNN LSTM GRU RNNCell LSTMCell GRUCell".split())  # a row is a unit


def bad_init(reading: Reading, limits: Limits) -> Finding | None:
    """Equal units that stay equal, or a first output tens of times too large, where nothing is learned."""
    return _equal(reading, limits) or _blank(reading, limits) or _huge(reading, limits)


def _equal(reading: Reading, limits: Limits) -> Finding | None:
    """Hidden units that start alike and are still alike later: symmetry that nothing breaks."""
    if not reading.equal_units:
        return None
    how = learning(reading, limits)
    if reading.course is None:
        if reading.zero_weights:  # LoRA, ReZero and zero heads start so, and leave it with the first step
            return None
        kinds = {layer.path: layer.kind for layer in reading.layers if layer.weight_rms > 0}
        left = tuple(path for path in reading.equal_units if kinds.get(path) in _UNITS)
        if len(left) < len(reading.equal_units):  # a module of the user's own may scale by ones; zeros may be gates
            return None
    else:
        # rounding tells units apart in the end; parts that are zero by design (LoRA, ReZero) within a step or two
        from_step = limits.leaves if how == "not" else limits.stays
        later = [p for p in reading.course.probes if p.step >= from_step]
        left = tuple(path for path in reading.equal_units if any(path in p.equal_units for p in later))
        if not left:
            return None
    return _finding(
        reading,
        claim=_alike(reading, left),
        where=left,
        name="layers whose units are alike",
        value=float(len(left)),
        bound=0.0,
        unit="layers",
        helps=(
            advise(
                f"random initial weights (He or Glorot) in {listed(left)}: units that start alike stay alike",
                "critical_init",
            ),
        ),
        wont=WontHelp(what="training longer", why="equal units receive equal gradients at every step"),
    )


def _blank(reading: Reading, limits: Limits) -> Finding | None:
    """Embeddings that all start as zeros, so that every token looks the same; one beside others may be meant."""
    if reading.course is None:
        return None
    tables = [layer for layer in reading.layers if layer.kind == "Embedding"]
    stuck = learning(reading, limits) in ("not", "little") or hindered(reading, limits)
    if not tables or not stuck or any(layer.weight_rms != 0 for layer in tables):
        return None
    paths = [layer.path for layer in tables]
    return _finding(
        reading,
        claim=f"{listed(paths)} start{'s' if len(paths) == 1 else ''} as zeros: every token looks the same",
        where=tuple(paths),
        name="embeddings that start as zeros",
        value=float(len(paths)),
        bound=0.0,
        unit="layers",
        helps=("random embeddings, with a standard deviation of 0.02 to 1",),
        wont=WontHelp(what="a larger learning rate", why="tokens that look the same are moved the same way"),
    )


def _alike(reading: Reading, paths: tuple[str, ...]) -> str:
    sizes = {layer.path: layer.weight_rms for layer in reading.layers}
    zeros = all(sizes.get(path) == 0 for path in paths)
    how = "start as zeros" if zeros else "start with the same weights"
    return f"the units of {listed(paths)} {how} and cannot be told apart"


def _huge(reading: Reading, limits: Limits) -> Finding | None:
    """An output tens of times larger than anything it is compared with."""
    signal = reading.signal
    if signal is None or signal.ignores_targets or signal.target == 0:
        return None
    if not signal.output > limits.outputs * max(signal.target, _least(signal.target)):
        return _dear(reading, limits)
    if signal.input >= limits.inputs or _saturated(reading, limits):
        return None
    how = learning(reading, limits)
    if reading.course is not None and (how in ("well", "unknown") or reading.course.ignores_targets):
        return None
    if reading.course is None and math.isnan(signal.target):
        return None
    last = [w.path for w in reading.ledger.weights if w.trunk]
    return _finding(
        reading,
        claim=f"the untrained output is {signal.output / max(signal.target, _least(signal.target)):.0f} times "
        "as large as the targets",
        where=tuple(dict.fromkeys(_largest(reading, limits) + last[-1:])),
        name="rms of the output over the targets",
        value=signal.output / max(signal.target, _least(signal.target)),
        bound=limits.outputs,
        unit="ratio",
        helps=(
            advise("smaller initial weights (He or Glorot, by the activation)", "critical_init"),
            advise("a normalisation before the last layer", "layer_norm"),
        ),
        wont=WontHelp(what="a smaller learning rate alone", why="the first steps go into shrinking the output"),
    )


def _dear(reading: Reading, limits: Limits) -> Finding | None:
    """A first loss far above that of the best constant output: logits too large, from weights or embeddings."""
    course, signal = reading.course, reading.signal
    assert signal is not None
    constant = course.constant if course is not None else signal.constant
    first = course.probes[0].loss if course is not None else reading.loss
    if not constant > 0 or not first > limits.first_loss * constant or signal.input >= limits.inputs:
        return None
    if course is not None and (learning(reading, limits) != "not" or course.ignores_targets):
        return None
    if math.isnan(signal.output) or not signal.output > max(signal.target, 1.0) or _saturated(reading, limits):
        return None  # a small output with a large loss has the wrong place, and no wrong size
    found = _finding(
        reading,
        claim=f"the first loss is {first / constant:.0f} times that of the best output that ignores the input: the "
        "untrained output is too large",
        where=tuple(dict.fromkeys([*_largest(reading, limits), *_tied(reading), *last_layers(reading)])),
        name="first loss over the best constant output's",
        value=first / constant,
        bound=limits.first_loss,
        unit="ratio",
        helps=(
            advise("smaller initial weights (He or Glorot, by the activation)", "critical_init"),
            "an embedding with a standard deviation of 0.02 to 0.1, above all where the output layer shares it",
        ),
        wont=WontHelp(what="a smaller learning rate alone", why="the first steps go into shrinking the output"),
    )
    return found if course is not None else replace(found, level="warning")


def _tied(reading: Reading) -> list[str]:
    """Embeddings as large as torch draws them."""
    return [layer.path for layer in reading.layers if layer.kind == "Embedding" and layer.weight_rms > 0.5]


def _least(target: float) -> float:
    """Classes are compared with 1; a real target with itself."""
    return 1.0 if math.isnan(target) else 1e-30


def _largest(reading: Reading, limits: Limits) -> list[str]:
    """The layers whose output grows most over the one before, the data side first."""
    grown = sorted(((factor, path) for path, factor in growth(reading)), reverse=True)
    return [path for factor, path in grown if factor > limits.steep][:6]


def _saturated(reading: Reading, limits: Limits) -> bool:
    found = hidden_saturation(probes(reading)[0])
    return found is not None and found.saturated > limits.saturated


def _finding(
    reading: Reading,
    *,
    claim: str,
    where: tuple[str, ...],
    name: str,
    value: float,
    bound: float,
    unit: str,
    helps: tuple[Advice | str, ...],
    wont: WontHelp,
) -> Finding:
    return remark(
        reading,
        code="FO107",
        label="bad_init",
        level="alarm",
        claim=claim,
        where=where,
        evidence=(Evidence(name=name, value=value, bound=bound, unit=unit),),
        helps=helps,
        wont=(wont,),
    )
