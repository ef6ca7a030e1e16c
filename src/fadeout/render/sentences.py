"""Sentences: the short lines of text that terminal and page share."""

import math

from fadeout.records import Exam, Finding, Forecast, Ledger, Status, Training, Verdict
from fadeout.render import words
from fadeout.render.tones import STEPS, TONES, Tone

HEALTHY: tuple[Verdict, ...] = ("flows",)

LEGEND_LAYERS = "[1] is the layer nearest the data."
LEGEND_LEVEL = "log10 is of the norm of the gradient at the layer's output: -3 means 0.001."
LEGEND_SEES = "A layer sees if its output still tells the samples apart."
LEGEND_MOVES = "It moves if the optimizer's next step changes it."
LEGEND_SHADE = "A row stands for neighbours that behave alike; {shade} runs from its smallest to its largest."
LEGEND_DECADES = "a decade is a factor of ten"
THEORY_BAND = "where theory expects the gradient: 95 % of random draws of such weights"
TRACES = "The gradient of every layer, on the same rows after growing numbers of steps."
FORECAST_LEGEND = (
    "[1] is the layer nearest the data. Decades are powers of ten of the gradient, compared with the last layer's; "
    "95 % of random draws of such weights fall into the band. q is the mean square that theory expects of the "
    "layer's output."
)


def one_line(exam: Exam) -> str:
    """The exam as its `repr`: verdict, decades, layers, findings."""
    parts = [words.VERDICT_WORDS[exam.verdict].lower()]
    if not math.isnan(exam.decades):
        parts.append(f"{words.decades(exam.decades)} decades")
    parts.append(words.count(exam.weight_layers, "layer"))
    if exam.progress != "unknown":
        parts.append(exam.progress.replace("_", " "))
    parts.append(", ".join(words.plain(f.code) for f in exam.findings) or "no findings")
    name = words.plain(exam.environment.model)
    return f"<Exam{f' of {name}' if name else ''}: {' · '.join(parts)}>"


def ledger(found: Ledger) -> str:
    """What `measure` found, in one sentence."""
    said = f"{words.decades(found.log_gain)} decades from the loss to the data"
    if not math.isnan(found.decades):
        said += f", {words.decades(found.decades)} from the last weight layer to the first"
    return f"The account of {words.count(found.nodes, 'operation')}: {said}."


def ledger_line(found: Ledger) -> str:
    """The ledger as its `repr`."""
    parts = [words.count(found.nodes, "operation"), f"{words.decades(found.log_gain)} decades from loss to data"]
    if not math.isnan(found.decades):
        parts.append(f"{words.decades(found.decades)} from the last layer to the first")
    return f"<Ledger of {' · '.join(parts)}>"


def foreseen(found: Forecast) -> str:
    """What `predict` found, in one sentence."""
    if found.decades is None or math.isnan(found.decades):
        why = next((words.plain(row.why) for row in found.layers if row.decades is None and row.why), "no weights")
        return f"Theory can't tell how much of the gradient arrives at the first layer: {why}."
    said = (
        f"Before a single step, theory expects {words.decades(found.decades)} decades from the last layer to the first"
    )
    if found.band is not None:
        said += f", between {words.decades(found.band[0])} and {words.decades(found.band[1])}"
    return said + "."


def forecast_line(found: Forecast) -> str:
    """The forecast as its `repr`."""
    said = "can't tell"
    if found.decades is not None:
        said = f"{words.decades(found.decades)} decades"
        if found.band is not None:
            said += f", band {words.decades(found.band[0])} .. {words.decades(found.band[1])}"
    return f"<Forecast of {words.count(len(found.layers), 'layer')}: {said}>"


def training(course: Training) -> str:
    """What the steps on a copy did to the loss, and what that is worth."""
    finite = [value for value in course.losses if math.isfinite(value)]
    said = f"A copy was trained for {words.count(course.steps, 'step')}"
    if finite:
        said += f": its loss went from {words.number(finite[0])} to {words.number(finite[-1])}"
    if course.broken is not None:
        return f"{said}, and stopped being finite at step {course.broken:,}."
    known = [p for p in course.learned if math.isfinite(p)]
    if known and math.isfinite(course.constant) and known[-1] < 0.005:
        said += ". That is no better than the best constant output"
    elif known and math.isfinite(course.constant):
        said += (
            f". Its progress is {words.share(known[-1])}: 0 % is the best constant output, 100 % nothing left to learn"
        )
    return said + "."


def some_of(shown: int, total: int, noun: str) -> str:
    """'30 of 200 layers are drawn'."""
    return f"{shown:,} of {words.count(total, noun)} are drawn"


def tone_words(tone: Tone, sign: int) -> str:
    """What a colour in the profile says: '2 to 4 decades below the last layer'."""
    side = "below" if sign < 0 else "above"
    low = STEPS.get(tone, 0.0)
    if tone == "plain":
        return f"within {STEPS['mild']:g} decades of the last layer" if sign else "a layer"
    above = [STEPS[t] for t in TONES[TONES.index(tone) + 1 :]]
    return f"{low:g} to {above[0]:g} decades {side}" if above else f"more than {low:g} decades {side}"


def explains(finding: Finding, exam: Exam) -> bool:
    """Whether a finding is spelled out even for a healthy network: it says why nothing is learned."""
    return exam.progress == "does_not_learn" or finding.level == "alarm"


def headline(exam: Exam) -> tuple[str, str]:
    """The words of the sentence that name the verdict ('VANISHING:'), and the rest."""
    word = words.VERDICT_WORDS[exam.verdict]
    sentence = words.plain(exam.sentence).strip()
    head, colon, rest = sentence.partition(":")
    if colon and word in head.upper():
        return f"{head}:", rest.strip()
    return f"{word}:", sentence


def lines_of(sentence: str) -> tuple[str, ...]:
    """The first sentence, which carries the verdict, and what follows it."""
    first, stop, rest = sentence.partition(". ")
    return (f"{first}.", rest) if stop else (sentence,)


def about(exam: Exam) -> tuple[str, ...]:
    """What was examined, and how: parts for one header line."""
    env = exam.environment
    parts = [words.count(exam.weight_layers, "layer") + " with weights"]
    if env.model:
        parts.append(words.plain(env.model))
    if env.optimizer:
        parts.append(words.plain(env.optimizer))
    if env.samples > 0:
        parts.append(words.count(env.samples, "sample"))
    parts.append(f"{words.plain(env.device)} {words.plain(env.dtype)}")
    if env.batches > 1:
        parts.append(words.count(env.batches, "batch"))
    if env.seconds > 0:  # a watched run has no time of its own
        parts.append(words.seconds(env.seconds))
    parts += [words.plain(note) for note in env.notes if note.startswith("no loss given")]
    return tuple(parts)


def effective_depth(exam: Exam) -> str:
    """How many layers are really trained; "" where unknown or already said."""
    depth = exam.effective_depth
    if depth.layers is None or not exam.weight_layers or "on paper" in exam.sentence:
        return ""
    if exam.verdict in ("not_finite", "undetermined"):
        return ""  # what moves is decided by gradients that are not there
    if not exam.environment.optimizer and exam.verdict == "flows":
        return ""  # which layers move is the optimizer's business, and none was given
    if depth.layers >= exam.weight_layers:
        when = "" if exam.progress == "unknown" else " at the start"
        if depth.layers == 1:
            return f"The layer sees the input and moves{when}."
        return f"All {words.count(exam.weight_layers, 'layer')} see the input and move{when}."
    seen, moved = set(depth.seen), set(depth.moved)
    groups: dict[str, list[int]] = {}
    for i, layer in enumerate(exam.layers):
        if layer.trained:
            sees, moves = layer.path in seen, layer.path in moved
            if not (sees and moves):
                phrase = _PHRASES[sees, moves]
                groups.setdefault(phrase, []).append(i + 1)
    parts = []
    for phrase, indices in groups.items():
        text = f"{words.layers(indices)} {phrase}"
        parts.append(_singular(text) if len(indices) == 1 else text)
    frozen = sum(not layer.trained for layer in exam.layers[: exam.weight_layers])
    if frozen:
        parts.append(f"{words.count(frozen, 'layer')} {'are' if frozen > 1 else 'is'} frozen")
    on_paper = words.count(exam.weight_layers, "layer")
    practice = f"{depth.layers:,}" if depth.layers else "none"
    tail = f": {', '.join(parts)}" if parts else ""
    return f"{on_paper} on paper, {practice} in practice{tail}."


_PHRASES = {
    (True, False): "still see the input but do not move",
    (False, True): "move but no longer see the input",
    (False, False): "do neither",
}


def _singular(text: str) -> str:
    for many, one in (
        ("do not", "does not"),
        (" see ", " sees "),
        ("move but", "moves but"),
        ("do n", "does n"),
    ):
        text = text.replace(many, one, 1)
    return text


def effective_blocks(exam: Exam) -> str:
    """'64 residual blocks carry like 18'; only where branches carry something and none cancels."""
    blocks = exam.effective_blocks
    if blocks is None or len(blocks.blocks) < 4 or not math.isfinite(blocks.n) or "blocks carry" in exam.sentence:
        return ""
    if not blocks.branch_total >= 0.1 or any(block.share < -0.05 for block in blocks.blocks):
        return ""
    return f"{len(blocks.blocks)} residual blocks carry like {blocks.n:.0f}."


def forecast(exam: Exam) -> str:
    """Theory beside the measurement; "" where there is no theory."""
    if exam.verdict in ("severed", "not_finite"):
        return ""  # theory knows no cut
    if exam.forecast is None or exam.forecast.decades is None or math.isnan(exam.forecast.decades):
        return ""
    text = f"Theory predicts {words.decades(exam.forecast.decades)} decades"
    band = exam.forecast.band
    if band is None:
        return text + "."
    text += f" (band {words.decades(band[0])} .. {words.decades(band[1])})"
    if math.isnan(exam.decades):
        return text + "."
    inside = band[0] <= exam.decades <= band[1]
    measured = f"measured {words.decades(exam.decades)}"
    return f"{text}, {measured}: " + ("as designed." if inside else "off the prediction.")


def causes(finding: Finding) -> str:
    """'slopes 71 %, weights 29 %'."""
    return ", ".join(f"{words.KIND_WORDS[c.kind]} {words.share(c.share)}" for c in finding.cause if c.share >= 0.005)


def where(finding: Finding, exam: Exam) -> tuple[str, ...]:
    """'[1-20] Linear' where the paths are layers, else the paths themselves; with the source line."""
    order = {layer.path: (i + 1, layer.kind) for i, layer in enumerate(exam.layers)}
    paths = list(dict.fromkeys(finding.where))
    known = [order[path] for path in paths if path in order]
    parts = []
    if known:
        names = [path for path in paths if path in order]
        kinds = {kind for _, kind in known}
        label = words.numbered([i for i, _ in known], words.plain(kinds.pop()) if len(kinds) == 1 else "layers")
        if len(names) == 1:
            label += f" ({words.plain(names[0]) or 'the model itself'})"
        elif len(words.ranges(i for i, _ in known)) == 1:
            first, last = min(names, key=order.__getitem__), max(names, key=order.__getitem__)
            label += f" ({words.plain(first)} .. {words.plain(last)})"
        parts.append(label)
    rest = [words.plain(path) for path in paths if path not in order and path]
    if rest:
        parts.append(", ".join(rest[:3]) + (f" and {len(rest) - 3:,} more" if len(rest) > 3 else ""))
    if finding.line:
        parts.append(words.plain(finding.line))
    return tuple(parts)


STATUS_WORDS: dict[Status, str] = {
    "confirmed": "cause confirmed: the gradient comes back in a changed copy",
    "refuted": "cause refuted: the gradient does not come back in a changed copy",
    "inconclusive": "cause tested on a changed copy, without an answer",
    "account": "measured, but not yet tested by changing the network",
}


def evidence(finding: Finding) -> tuple[str, ...]:
    """'decades a layer -0.85', with the bound where there is one."""
    lines = []
    for item in finding.evidence:
        if math.isnan(item.value):
            continue
        lines.append(f"{words.plain(item.name)} {quantity(item.value, item.unit)}")
        if not math.isnan(item.bound):
            lines[-1] += f" (limit {quantity(item.bound, item.unit)})"
    return tuple(lines)


def quantity(value: float, unit: str) -> str:
    """A number in its unit; decades carry a sign and shares read in percent."""
    if unit == "decades":
        return words.decades(value)
    if unit == "share":
        return words.share(value)
    text = words.number(value)
    if unit in ("", "ratio", "cosine") or text == words.UNKNOWN:
        return text
    return f"{text} {words.plain(unit[:-1] if value == 1 and unit.endswith('s') else unit)}"


def helps(exam: Exam) -> tuple[str, ...]:
    """What will help against the gravest findings, best first."""
    return tuple(dict.fromkeys(words.plain(what) for finding in gravest(exam) for what in finding.helps))


def wont_help(exam: Exam) -> tuple[tuple[str, str], ...]:
    """(what people try, why it will not help) against the gravest findings."""
    pairs = ((words.plain(w.what), words.plain(w.why)) for finding in gravest(exam) for w in finding.wont_help)
    return tuple(dict.fromkeys(pairs))


def gravest(exam: Exam) -> tuple[Finding, ...]:
    """The alarm that moved the verdict; all findings where there is none."""
    alarms = tuple(f for f in exam.findings if f.level == "alarm")
    return alarms[:1] or exam.findings


def unaccounted(found: Ledger) -> tuple[str, ...]:
    """What the ledger could not price."""
    return tuple(
        " · ".join(part for part in (words.plain(u.path), words.plain(u.op), words.plain(u.why)) if part)
        for u in found.unaccounted
    )
