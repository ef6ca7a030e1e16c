"""The JSON contract: an Exam or a Trial as plain dicts and back, schemas `fadeout.exam/1` and `fadeout.trial/1`."""

import dataclasses
import functools
import json
import math
import types
import typing
from typing import Any

from fadeout import records
from fadeout.errors import FadeoutError
from fadeout.records import Exam, Finding, Trial

SCHEMA = "fadeout.exam/1"
TRIAL_SCHEMA = "fadeout.trial/1"
_SCHEMAS: dict[type[Exam] | type[Trial], str] = {Exam: SCHEMA, Trial: TRIAL_SCHEMA}
_RENAMED = {("Stage", "start"): "from"}
_DERIVED = {"Finding": ("helps", "treatments")}  # read by others; made from what the record holds
_PAIRS = ("by_kind", "paths")  # tuples of (name, value) are objects in JSON


def to_dict(exam: Exam | Trial) -> dict[str, Any]:
    """The exam, or the trial, as dicts, lists, strings, numbers and None.

    Undefined numbers are None; -inf stays a float: exactly nothing arrived.
    """
    return {"schema": _SCHEMAS[type(exam)], **plain(exam)}


def from_dict(data: dict[str, Any]) -> Exam:
    """The exam that `to_dict` described.

    Raises:
        FadeoutError: If it is no exam of this schema.
    """
    if not isinstance(data, dict) or data.get("schema") != SCHEMA:
        found = data.get("schema") if isinstance(data, dict) else type(data).__name__
        raise FadeoutError(f"load: expected schema {SCHEMA!r}, found {found!r}; is this a file that fadeout saved?")
    try:
        exam = build(Exam, data)
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise FadeoutError(f"load: the exam is damaged at {str(error)[:200]}; save it again") from error
    assert isinstance(exam, Exam)
    return exam


def trial_from_dict(data: dict[str, Any]) -> Trial:
    """The trial that `to_dict` described.

    Raises:
        FadeoutError: If it is no trial of this schema.
    """
    if not isinstance(data, dict) or data.get("schema") != TRIAL_SCHEMA:
        found = data.get("schema") if isinstance(data, dict) else type(data).__name__
        raise FadeoutError(f"load: expected schema {TRIAL_SCHEMA!r}, found {found!r}; is this a trial that was saved?")
    try:
        trial = build(Trial, data, at="trial")
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise FadeoutError(f"load: the trial is damaged at {str(error)[:200]}; save it again") from error
    assert isinstance(trial, Trial)
    return trial


def to_json(exam: Exam | Trial, *, indent: int | None = 2) -> str:
    """Strict JSON text.  Infinities are written -1e999, a number that every parser reads as -inf."""
    return json_text(to_dict(exam), indent=indent)


def json_text(value: Any, *, indent: int | None = 2) -> str:
    """Strict JSON text of records, dicts, lists, strings and numbers; see `to_json`."""
    text = json.dumps(_tokens(plain(value)), indent=indent, ensure_ascii=False, allow_nan=False)
    return text.replace('"\\u0001-inf"', "-1e999").replace('"\\u0001inf"', "1e999")


def from_json(text: str) -> Exam:
    """The exam in a JSON text.

    Raises:
        FadeoutError: If the text is no JSON or no exam.
    """
    return from_dict(parsed(text))


def parsed(text: str) -> Any:
    """What a JSON text holds.

    Raises:
        FadeoutError: If it is none.
    """
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise FadeoutError(
            f"load: not JSON (line {error.lineno}: {error.msg}); pass a file that fadeout saved"
        ) from error
    except (RecursionError, ValueError) as error:  # nested without end; a number of a million digits
        raise FadeoutError(f"load: not an exam ({type(error).__name__}); pass a file that fadeout saved") from error


def plain(value: Any) -> Any:
    """Any record as dicts, lists, strings and numbers."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        name = type(value).__name__
        return {
            _RENAMED.get((name, f.name), f.name): _pairs(getattr(value, f.name))
            if f.name in _PAIRS
            else plain(getattr(value, f.name))
            for f in dataclasses.fields(value)
        } | {key: list(getattr(value, key)) for key in _DERIVED.get(name, ())}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def _pairs(pairs: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    return {kind: plain(gain) for kind, gain in pairs}


def _tokens(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tokens(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_tokens(item) for item in value]
    if isinstance(value, float) and math.isinf(value):
        return "\x01inf" if value > 0 else "\x01-inf"
    return value


def build(kind: Any, data: Any, *, at: str = "exam") -> Any:
    """A value of the annotated type from its plain form; keys that are not known are passed over.

    Raises:
        ValueError: If a value is missing or of another type; the message is its place.
    """
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        return _record(kind, data, at)
    if origin in (types.UnionType, typing.Union):
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        if data is None and len(options) < len(typing.get_args(kind)):
            return None
        return build(options[0], data, at=at)
    if origin is tuple or origin is frozenset:
        items = _of(data, (list, tuple, set, frozenset), at)
        inner = typing.get_args(kind)
        if origin is frozenset:
            return frozenset(build(inner[0], item, at=at) for item in items)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(build(inner[0], item, at=f"{at}[{n}]") for n, item in enumerate(items))
        if len(items) != len(inner):
            raise ValueError(at)
        return tuple(
            build(part, item, at=f"{at}[{n}]") for n, (part, item) in enumerate(zip(inner, items, strict=True))
        )
    if origin is typing.Literal:
        if data not in typing.get_args(kind) or isinstance(data, bool):
            raise ValueError(at)
        return data
    if kind is float:
        return math.nan if data is None else _number(data, at)
    if kind is bool:
        return _of(data, bool, at)
    if kind is str:
        return _text(data, at)
    if kind is int:
        if isinstance(data, bool) or not isinstance(data, int) or abs(data) > _LARGEST:
            raise ValueError(at)
        return data
    raise ValueError(at)


_LARGEST = 1 << 64  # no count and no seed is larger


def _record(kind: type, data: Any, at: str) -> Any:
    _of(data, dict, at)
    if kind is Finding and "advice" not in data:  # as it was written before advice had treatments
        data = {**data, "advice": [{"words": words} for words in _of(data.get("helps", []), list, f"{at}.helps")]}
    hints = _hints(kind)
    values = {}
    for f in dataclasses.fields(kind):
        key = _RENAMED.get((kind.__name__, f.name), f.name)
        place = f"{at}.{key}"
        if key not in data:
            if f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING:
                continue
            raise ValueError(place)
        if f.name in _PAIRS:
            given = _of(data[key], dict, place)
            name, inner = typing.get_args(typing.get_args(hints[f.name])[0])
            values[f.name] = tuple(
                (build(name, k, at=place), build(inner, v, at=f"{place}.{k}")) for k, v in given.items()
            )
            if f.name == "by_kind" and {k for k, _ in values[f.name]} != set(records.KINDS):
                raise ValueError(place)
        else:
            values[f.name] = build(hints[f.name], data[key], at=place)
    return kind(**values)


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind)


def _of(data: Any, kind: Any, at: str) -> Any:
    if not isinstance(data, kind):
        raise ValueError(at)
    return data


def _text(data: Any, at: str) -> str:
    try:
        found: str = _of(data, str, at)
        found.encode("utf-8")
    except UnicodeEncodeError:  # half a character, which no file and no terminal can show
        raise ValueError(at) from None
    return found


def _number(data: Any, at: str) -> float:
    if isinstance(data, bool) or not isinstance(data, (int, float)):
        raise ValueError(at)
    try:
        return float(data)
    except OverflowError:
        raise ValueError(at) from None


def schema(kind: type[Exam] | type[Trial] = Exam) -> dict[str, Any]:
    """The JSON schema of the contract, made from the records themselves."""
    definitions: dict[str, Any] = {}
    body = _describe(kind, definitions)
    definition = definitions.pop(kind.__name__)
    assert body == {"$ref": f"#/$defs/{kind.__name__}"}
    definition["properties"] = {"schema": {"const": _SCHEMAS[kind]}, **definition["properties"]}
    definition["required"] = ["schema", *definition["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": _SCHEMAS[kind],
        "title": f"fadeout {kind.__name__.lower()}",
        "description": "null: not measured or not defined.  -1e999 (-inf): exactly nothing.  Decades are log10.",
        **definition,
        "$defs": definitions,
    }


def _describe(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}
            hints = typing.get_type_hints(kind)
            properties = {}
            for f in dataclasses.fields(kind):
                name = _RENAMED.get((kind.__name__, f.name), f.name)
                properties[name] = _property(f.name, hints[f.name], definitions)
            for name in _DERIVED.get(kind.__name__, ()):
                properties[name] = {"type": "array", "items": {"type": "string"}}
            definitions[kind.__name__] = {
                "type": "object",
                "description": (kind.__doc__ or "").splitlines()[0],
                "properties": properties,
                "required": [
                    _RENAMED.get((kind.__name__, f.name), f.name)
                    for f in dataclasses.fields(kind)
                    if f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
                ],
            }
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if origin in (types.UnionType, typing.Union):
        options = [o for o in typing.get_args(kind) if o is not type(None)]
        return {"anyOf": [*(_describe(o, definitions) for o in options), {"type": "null"}]}
    if origin is typing.Literal:
        return {"enum": list(typing.get_args(kind))}
    if origin is tuple:
        inner = typing.get_args(kind)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return {"type": "array", "items": _describe(inner[0], definitions)}
        return {
            "type": "array",
            "prefixItems": [_describe(i, definitions) for i in inner],
            "minItems": len(inner),
        }
    if kind is float:
        return {"type": ["number", "null"]}
    if kind is bool:
        return {"type": "boolean"}
    if kind is int:
        return {"type": "integer"}
    if kind is str:
        return {"type": "string"}
    return {}


def _property(name: str, hint: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if name == "by_kind":
        return _by_kind()
    if name in _PAIRS:
        inner = typing.get_args(typing.get_args(hint)[0])[1]
        return {"type": "object", "additionalProperties": _describe(inner, definitions)}
    return _describe(hint, definitions)


def _by_kind() -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {kind: {"type": ["number", "null"]} for kind in records.KINDS},
        "required": list(records.KINDS),
    }
