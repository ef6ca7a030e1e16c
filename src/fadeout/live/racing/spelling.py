"""Spelling: a treatment as JSON and back, with its numbers and the parts of a bundle."""

from dataclasses import fields
from typing import Any

from fadeout.treatments import BY_ID, Bundle, Treatment


def _kinds() -> dict[str, type[Treatment]]:
    known = [*BY_ID.values(), *(m for t in BY_ID.values() if isinstance(t, Bundle) for m in t.members)]
    return {type(t).__name__: type(t) for t in known}


def spelled(treatment: Treatment) -> dict[str, Any]:
    """Class and fields."""
    values = {f.name: getattr(treatment, f.name) for f in fields(treatment)}
    if isinstance(treatment, Bundle):
        values["members"] = [spelled(member) for member in treatment.members]
    return {"kind": type(treatment).__name__, "fields": values}


def read(spelling: dict[str, Any]) -> Treatment:
    """The treatment that `spelled` described.

    Raises:
        KeyError: If there is no such class.
    """
    values = dict(spelling["fields"])
    if "members" in values:
        values["members"] = tuple(read(member) for member in values["members"])
    for name, value in values.items():
        if isinstance(value, list) and name != "members":
            values[name] = tuple(value)
    return _kinds()[spelling["kind"]](**values)
