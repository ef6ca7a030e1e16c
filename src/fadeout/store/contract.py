"""The JSON contract: an Exam as plain dicts and back, schema `fadeout.exam/1`."""

import dataclasses
import json
import math
import types
import typing
from typing import Any

from fadeout import records
from fadeout.errors import FadeoutError
from fadeout.records import Exam

SCHEMA = "fadeout.exam/1"
_RENAMED = {("Stage", "start"): "from"}
_PAIRS = ("by_kind", "paths")  # tuples of (name, value) are objects in JSON


def to_dict(exam: Exam) -> dict[str, Any]:
    """The exam as dicts, lists, strings, numbers and None.

    Undefined numbers are None; -inf stays a float: exactly nothing arrived.
    """
    return {"schema": SCHEMA, **plain(exam)}


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
    except (KeyError, TypeError, ValueError) as error:
        raise FadeoutError(f"load: the exam is damaged at {error}; save it again") from error
    assert isinstance(exam, Exam)
    return exam


def to_json(exam: Exam, *, indent: int | None = 2) -> str:
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
    try:
        data = json.loads(text)
    except json.JSONDecodeError as error:
        raise FadeoutError(
            f"load: not JSON (line {error.lineno}: {error.msg}); pass a file that fadeout saved"
        ) from error
    return from_dict(data)


def plain(value: Any) -> Any:
    """Any record as dicts, lists, strings and numbers."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        name = type(value).__name__
        return {
            _RENAMED.get((name, f.name), f.name): _pairs(getattr(value, f.name))
            if f.name in _PAIRS
            else plain(getattr(value, f.name))
            for f in dataclasses.fields(value)
        }
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


def build(kind: Any, data: Any) -> Any:
    """A value of the annotated type from its plain form; keys that are not known are passed over."""
    origin = typing.get_origin(kind)
    if dataclasses.is_dataclass(kind) and isinstance(kind, type):
        hints = typing.get_type_hints(kind)
        values = {}
        for f in dataclasses.fields(kind):
            key = _RENAMED.get((kind.__name__, f.name), f.name)
            if key not in data:
                if f.default is not dataclasses.MISSING or f.default_factory is not dataclasses.MISSING:
                    continue
                raise KeyError(f"{kind.__name__}.{key}")
            if f.name in _PAIRS:
                inner = typing.get_args(typing.get_args(hints[f.name])[0])[1]
                values[f.name] = tuple((k, build(inner, v)) for k, v in data[key].items())
            else:
                values[f.name] = build(hints[f.name], data[key])
        return kind(**values)
    if origin in (types.UnionType, typing.Union):
        options = [option for option in typing.get_args(kind) if option is not type(None)]
        if data is None and len(options) < len(typing.get_args(kind)):
            return None
        return build(options[0], data)
    if origin is tuple:
        inner = typing.get_args(kind)
        if len(inner) == 2 and inner[1] is Ellipsis:
            return tuple(build(inner[0], item) for item in data)
        return tuple(build(part, item) for part, item in zip(inner, data, strict=True))
    if kind is float:
        return math.nan if data is None else float(data)
    return data


def schema() -> dict[str, Any]:
    """The JSON schema of the contract, made from the records themselves."""
    definitions: dict[str, Any] = {}
    body = _describe(Exam, definitions)
    definition = definitions.pop("Exam")
    assert body == {"$ref": "#/$defs/Exam"}
    definition["properties"] = {"schema": {"const": SCHEMA}, **definition["properties"]}
    definition["required"] = ["schema", *definition["required"]]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "fadeout.exam/1",
        "title": "fadeout exam",
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
