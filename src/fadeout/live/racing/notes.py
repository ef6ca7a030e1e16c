"""Notes of a race of scripts: what was compared, on what, and what was not done, a sentence each."""

from pathlib import Path

from fadeout.live.racing.heats import Heats, metric_in, same_inputs
from fadeout.live.racing.order import Report
from fadeout.live.racing.scale import Series
from fadeout.live.racing.scouting import Scouted
from fadeout.records import Trial
from fadeout.render import words
from fadeout.treatments.draws import FOLLOWS

SHOWN = 4  # files that are named


def undecided(heats: Heats) -> str:
    """Why no winner can be named by loss; "" where one can."""
    if heats.decides:
        return ""
    ran = {arm for (arm, _), one in heats.ran.items() if one.main is not None and one.main.marks}
    control = next((ran.main for key, ran in heats.ran.items() if key[0] == "none" and ran.main is not None), None)
    again = next((ran.main for key, ran in heats.ran.items() if key[0] == "none again" and ran.main is not None), None)
    optimizers = len(control.steps) if control is not None else 0
    ask = "Name what it prints or logs with --metric to race by that."
    if control is not None and again is not None and not same_inputs(control, again):
        return (
            "Two runs without treatment saw different data, although they began with the same seeds, so losses can't "
            f"be compared. Let the script seed its loaders, or read its data in one process. {ask}"
        )
    others = bool(heats.other) and ran - {"none", "none again"} <= set(heats.other)
    if optimizers > 1 and (heats.several or others):
        return (
            f"The script trains {optimizers} networks or parts against or beside each other with losses of their own, "
            f"as an adversarial game does: a lower loss of one need not be better. {ask}"
        )
    if control is not None and control.sampled:
        return (
            "The script draws from what its network computes and learns from what comes of it, as in reinforcement "
            f"learning: a lower loss need not be better. {ask}"
        )
    if others:
        return (
            "What the script feeds its network depends on how the network was treated, as in reinforcement learning: "
            f"losses on other data can't be compared. {ask}"
        )
    return ""


def notes_of(heats: Heats, seen: Report, scouted: Scouted, trial: Trial) -> tuple[str, ...]:
    """For the reader."""
    found = [f"The scout says of the network: {scouted.sentence}"]
    found += _same(heats)
    if scouted.why and scouted.refused:
        found.append(
            f"{words.count(len(scouted.refused), 'treatment')} of the plan refused, because {scouted.why}: "
            f"{_listed(scouted.refused)}."
        )
    partly = [
        f"{arm}: {main.expected - 1} of {main.expected} networks"
        for (arm, _), ran in heats.ran.items()
        if (main := ran.main) is not None and main.failed and main.expected > 1
    ]
    if partly:
        found.append(f"Not given everywhere: {'; '.join(partly)}.")
    found += _not_done(heats, trial)
    found += _metric(heats, trial)
    found += _files(heats, seen)
    for note in dict.fromkeys(note for ran in heats.ran.values() if ran.main is not None for note in ran.main.notes):
        if note.startswith("the network is compiled in place"):
            found.append(f"{note[:1].upper()}{note[1:]}.")
    if heats.steps > trial.steps:
        found.append(f"The script ends by itself after {trial.steps:,} steps.")
    if trial.winner is not None:
        found.append(
            "Short races favour what starts fast, and large rates. Run the winner to the end before you rely on it."
        )
    return tuple(found)


def _same(heats: Heats) -> list[str]:
    if undecided(heats):
        return []
    if heats.other:
        return [
            f"Left out of the comparison, as they saw other data than the untreated script: {_listed(heats.other)}."
        ]
    main = next((ran.main for ran in heats.ran.values() if ran.main is not None), None)
    if main is None or not any(main.inputs):
        return []
    return ["All runs were given the same data: digests of the network's inputs agree at every step."]


def _not_done(heats: Heats, trial: Trial) -> list[str]:
    """What the winner could not change."""
    if trial.winner is None:
        return []
    ran = next((ran for (arm, _), ran in heats.ran.items() if arm == trial.winner), None)
    if ran is None or ran.main is None:
        return []
    left = [n for n in ran.main.notes if n != FOLLOWS and not n.startswith("the network is compiled")]
    places, networks = words.count(len(ran.main.treated), "place"), words.count(max(1, ran.main.expected), "network")
    done = f"The winner changed {places} in {networks}"
    return [f"{done}." if not left else f"{done}. Not done: {'; '.join(left[:SHOWN])}."]


def _metric(heats: Heats, trial: Trial) -> list[str]:
    """A metric that the script prints besides, without and with the winner."""
    if heats.decides or trial.winner is None:
        return []
    both: list[Series] = []
    for arm in ("none", trial.winner):
        ran = next((ran for (name, _), ran in heats.ran.items() if name == arm), None)
        series = metric_in(ran, heats.metric) if ran is not None else None
        if series is None:
            return []
        both.append(series)
    if both[0].name != both[1].name:
        return []
    was, now = both[0].values[-1], both[1].values[-1]
    worse = now > was if both[0].falls else now < was
    end = " It is worse, although the loss is better." if worse else ""
    return [f"Last {both[0].name} that the script shows: {was:g} without treatment, {now:g} with the winner.{end}"]


def _files(heats: Heats, seen: Report) -> list[str]:
    reports = [seen, *(ran.main for ran in heats.ran.values() if ran.main is not None)]
    saved = list(dict.fromkeys(path for r in reports for path in r.saved))
    written = list(dict.fromkeys(path for r in reports for path in r.written if path not in saved))
    found = []
    if saved:
        found.append(f"Your files were not written over: what the runs put into {_paths(saved)} was thrown away.")
    trackers = list(dict.fromkeys(name for r in reports for name in r.trackers))
    if trackers:
        found.append(
            f"What the runs gave to {words.series(trackers)} was not kept: none of them stands beside your own runs."
        )
    if written:
        found.append(f"The runs made new files: {_paths(written)}.")
    return found


def _paths(paths: list[str]) -> str:
    return _listed([Path(path).name for path in paths])


def _listed(items: list[str] | tuple[str, ...]) -> str:
    rest = len(items) - SHOWN
    return ", ".join(items[:SHOWN]) + (f" and {rest} more" if rest > 0 else "")
