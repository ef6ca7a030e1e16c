"""The page of a run: verdict and findings of its last probe, and what happened over the steps."""

from html import escape
from typing import Any

from fadeout.records import Run, Track
from fadeout.render import tags, words
from fadeout.render.drawing import Drawing
from fadeout.render.page import SECTIONS, document, training
from fadeout.render.page.section import Section
from fadeout.render.run import charts
from fadeout.render.run.facts import labels, took

HEAT = (
    "Every row is a layer, the data at the top and the loss at the bottom; every column a step or a few. "
    "A gradient that fades makes the rows darker from the bottom to the top."
)


def run_page(run: Run, *, title: str = "") -> str:
    """The whole report as one file that needs no network."""
    drawn: dict[str, Any] = {}
    name = words.plain(title or run.script) or "run"
    parts = [tags.tag("p", f"fadeout · {name}", of="name")]
    several = len(run.tracks) > 1
    for number, (track, label) in enumerate(zip(run.tracks, labels(run), strict=True)):
        prefix = f"t{number}-"
        if several:
            parts.append(tags.tag("h1", f"{label}, {track.optimizer}"))
        parts.append(document.placed(_sections(run, track), drawn, prefix))
    if not run.tracks:
        parts.append("<h1>No optimizer step was seen</h1>")
    body = "\n".join(part for part in parts if part)
    verdict = next((t.exam.verdict for t in run.tracks if t.exam is not None), None)
    said = f"{name}: {words.VERDICT_WORDS[verdict].lower()}" if verdict is not None else name
    return document.whole(said, body, drawn)


def _sections(run: Run, track: Track) -> list[Section]:
    over = over_the_steps(track)
    about = _about(run, track)
    if track.exam is None:
        head = f"<h1>No verdict: no probe could be taken in {words.count(track.steps, 'step')}</h1>"
        return [Section(title="", parts=(head,)), about, over]
    made = [section for make in SECTIONS if make is not training.section and (section := make(track.exam)) is not None]
    return [made[0], about, *made[1:2], over, *made[2:]]


def over_the_steps(track: Track) -> Section:
    """The map of layers and steps, the loss and the updates."""
    parts: list[str | Drawing] = []
    found = charts.heat(track)
    if found is not None:
        parts += [tags.tag("p", HEAT, of="dim"), found]
    told = [n for n in track.noticed if n.code]
    if told:
        rows = [(f"{n.step:,}", f"{n.code} {n.level}", words.plain(n.text) or "no longer found") for n in told]
        parts.append(tags.table(["step", "finding", "what was told"], rows, left=3))
    for heading, drawing in (("Loss", charts.loss(track)), ("How far a step moves", charts.updates(track))):
        if drawing is not None:
            parts += [f"<h3>{escape(heading)}</h3>", drawing]
    return Section(title="Over the steps", parts=tuple(parts) or (tags.tag("p", "Nothing was recorded.", of="dim"),))


def _about(run: Run, track: Track) -> Section:
    facts = [words.count(track.steps, "optimizer step"), track.optimizer]
    if track.skipped:
        facts.append(f"{track.skipped:,} left out by the loss scaler")
    if track.probes:
        facts.append(f"probes after {_steps(track.probes)} steps")
    if took(run):
        facts.append(took(run))
    if run.exit_code is not None:
        facts.append(f"exit code {run.exit_code}")
    if track.ranks > 1:
        facts.append(f"norms of {track.ranks} processes together")
    parts = [tags.tag("p", " · ".join(facts), of="dim"), *(tags.tag("p", f"{w}.", of="dim") for w in run.words)]
    return Section(title="", parts=tuple(parts))


def _steps(probes: tuple[int, ...]) -> str:
    some = [f"{p:,}" for p in probes]
    return words.series(some) if len(some) <= 6 else f"{', '.join(some[:5])}, ... {some[-1]}"
