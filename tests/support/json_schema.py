"""As much of JSON Schema as the project's own documents use; an unknown keyword is an error, never passed over."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,),
    "array": (list,),
    "string": (str,),
    "integer": (int,),
    "number": (int, float),
    "boolean": (bool,),
    "null": (type(None),),
}
_SAID = {"description", "summary", "title"}
_KNOWN = _SAID | {
    *(
        "$ref",
        "allOf",
        "type",
        "enum",
        "pattern",
        "format",
        "minimum",
        "required",
        "properties",
        "items",
        "maxItems",
    ),
}


def misfits(
    value: Any, schema: Mapping[str, Any], document: Mapping[str, Any], where: str = "$"
) -> list[str]:
    """What of ``value`` is not as ``schema`` says, members that it does not describe included."""
    return [*_broken(value, schema, document, where), *_undescribed(value, [schema], document, where)]


def _resolved(schema: Mapping[str, Any], document: Mapping[str, Any]) -> Mapping[str, Any]:
    while "$ref" in schema:
        assert set(schema) == {"$ref"}
        found: Any = document
        for step in schema["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        schema = found
    return schema


def _broken(value: Any, schema: Mapping[str, Any], document: Mapping[str, Any], where: str) -> Iterator[str]:
    schema = _resolved(schema, document)
    assert set(schema) <= _KNOWN, f"{where}: the test knows no {set(schema) - _KNOWN}"
    for part in schema.get("allOf", ()):
        yield from _broken(value, part, document, where)
    wanted = schema.get("type", [])
    wanted = [wanted] if isinstance(wanted, str) else wanted
    if wanted and not any(
        isinstance(value, _TYPES[t]) and (t == "boolean") >= isinstance(value, bool) for t in wanted
    ):
        yield f"{where} is {value!r}, no {wanted}"
        return
    if "enum" in schema and value not in schema["enum"]:
        yield f"{where} is {value!r}, none of {schema['enum']}"
    if isinstance(value, str):
        if "pattern" in schema and not re.search(schema["pattern"], value):
            yield f"{where} is {value!r}, unlike {schema['pattern']}"
        if schema.get("format") == "date-time" and datetime.fromisoformat(value).tzinfo is None:
            yield f"{where} is {value!r}, without an offset"
        if schema.get("format") == "uri" and not urlsplit(value).scheme:
            yield f"{where} is {value!r}, no address"
    if "minimum" in schema and value is not None and value < schema["minimum"]:
        yield f"{where} is {value!r}, below {schema['minimum']}"
    if isinstance(value, dict):
        yield from (f"{where}.{name} is missing" for name in schema.get("required", ()) if name not in value)
        for name, part in schema.get("properties", {}).items():
            if name in value:
                yield from _broken(value[name], part, document, f"{where}.{name}")
    if isinstance(value, list) and len(value) > schema.get("maxItems", len(value)):
        yield f"{where} has {len(value)} items, more than {schema['maxItems']}"
    if isinstance(value, list) and "items" in schema:
        for n, item in enumerate(value):
            yield from _broken(item, schema["items"], document, f"{where}[{n}]")


def _undescribed(
    value: Any, schemas: list[Mapping[str, Any]], document: Mapping[str, Any], where: str
) -> Iterator[str]:
    """Members that none of the schemas, which hold all together, describes."""
    flat: list[Mapping[str, Any]] = []
    waiting = list(schemas)
    while waiting:
        schema = _resolved(waiting.pop(), document)
        flat.append(schema)
        waiting += schema.get("allOf", [])
    if isinstance(value, dict):
        for name, member in value.items():
            about = [s["properties"][name] for s in flat if name in s.get("properties", {})]
            if about:
                yield from _undescribed(member, about, document, f"{where}.{name}")
            else:
                yield f"{where}.{name} is not described"
    if isinstance(value, list):
        about = [s["items"] for s in flat if "items" in s]
        for n, item in enumerate(value):
            yield from _undescribed(item, about, document, f"{where}[{n}]")
