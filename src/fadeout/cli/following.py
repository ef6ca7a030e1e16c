"""What to type next, after an exam that found a fault."""

import shlex
import sys

from fadeout.records import Exam

SHARED = frozenset({"--data", "--shape", "--tokens", "--batch", "--loss", "--optimizer", "--lr"})  # with treat


def _shared(given: list[str]) -> list[str]:
    """The arguments of examine that treat takes as well."""
    kept, rest = [], iter(given)
    for arg in rest:
        if arg.partition("=")[0] in SHARED:
            kept += [arg] if "=" in arg else [arg, next(rest, "")]
        elif not arg.startswith("-"):
            if not kept:
                kept.append(arg)
        elif arg in ("--steps", "--seed", "--reach", "--within", "--html", "--save"):
            next(rest, None)
    return kept


def next_steps(exam: Exam) -> tuple[str, ...]:
    if exam.verdict in ("flows", "undetermined"):
        return ()
    explain = [f"fadeout explain {exam.findings[0].code}"] if exam.findings else []
    if not any(arg.endswith(".json") for arg in sys.argv[2:3]) and any(f.treatments for f in exam.findings):
        explain.insert(0, shlex.join(["fadeout", "treat", *_shared(sys.argv[2:])]))
    if "--html" in sys.argv or "--save" in sys.argv:
        return tuple(explain)
    return (f"{shlex.join(['fadeout', *sys.argv[1:]])} --html page.html", *explain)
