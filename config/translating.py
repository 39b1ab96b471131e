"""From pydantic's errors to ours: what was found, what was expected, what to do, and nothing that is
secret."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from config.findings import Complaint, Path, describe
from config.secret import HIDDEN, Secret
from config.site import Site

_TYPES = {
    "string_type": ("text", "put it in quotes"),
    "int_type": ("a whole number", "write it without quotes, unit, sign or leading zeros"),
    "float_type": ("a number", "write it without quotes and unit"),
    "bool_type": ("true or false", "write true or false, without quotes"),
    "tuple_type": ("a list", "write [a, b], or lines that begin with -"),
    "model_type": ("a mapping", "write its keys below it, indented, or in braces"),
}


def fields_of(path: Path) -> dict[str, str] | None:
    """The keys legal in the mapping at `path`, with their descriptions; None if there is no such mapping."""
    model = type_at(path)
    if isinstance(model, type) and issubclass(model, BaseModel):
        return {name: field.description or "" for name, field in model.model_fields.items()}
    return None


def shown(path: Path) -> Path:
    """The path as far as it may be shown: what stands below a secret's key may be the secret itself."""
    for length in range(1, len(path) + 1):
        if type_at(path[:length]) is Secret:
            return path[:length]
    return path


def complaint_of(error: ErrorDetails, prefix: Path) -> Complaint:
    """One pydantic error as a complaint; `prefix` is the path of what was validated."""
    path = (*prefix, *error["loc"])
    context: Mapping[str, Any] = error.get("ctx") or {}
    kind = error["type"]
    if kind == "extra_forbidden":
        return unknown_key(path)
    if kind == "missing":
        return missing_key(path)
    if kind in _TYPES:
        return wrong_type(path, kind, error["input"])
    found = context.get("found") or _found(path, error["input"])
    if kind == "site_rule":
        expected, advice = context["expected"], context["advice"]
    elif kind == "literal_error":
        expected, advice = _choice(error["input"], _literals(type_at(path)))
    elif kind == "too_long":
        found, expected, advice = "more entries", f"at most {context['max_length']}", "remove some"
    else:
        expected, advice = _limit(kind, context) or error["msg"], "correct it"
    return Complaint(path=path, found=found, expected=expected, advice=advice)


def missing_key(path: Path) -> Complaint:
    """A key that has no default is not there."""
    meaning = (fields_of(path[:-1]) or {}).get(str(path[-1]), "")
    return Complaint(path=path, found="nothing", expected="this key", advice=meaning or "add it")


def wrong_type(path: Path, kind: str, value: object) -> Complaint:
    """A value of another type than the key's; `kind` as pydantic names it."""
    expected, advice = _TYPES[kind]
    return Complaint(path=path, found=_found(path, value), expected=expected, advice=advice)


def _found(path: Path, value: object) -> str:
    return HIDDEN if shown(path) != path or type_at(path) is Secret else describe(value)


def _limit(kind: str, context: Mapping[str, Any]) -> str | None:
    words = {
        "greater_than_equal": ("ge", "{} or more"),
        "less_than_equal": ("le", "{} or less"),
        "string_too_short": ("min_length", "at least {} character"),
        "string_too_long": ("max_length", "at most {} characters"),
        "too_short": ("min_length", "at least {} entry"),
    }
    if kind == "finite_number":
        return "a finite number"
    if kind not in words:
        return None
    name, sentence = words[kind]
    return sentence.format(context[name])


def _choice(given: object, legal: tuple[str, ...]) -> tuple[str, str]:
    close = difflib.get_close_matches(str(given), legal, n=1)
    return f"one of {', '.join(legal)}", f"did you mean {close[0]}?" if close else "choose one of them"


def unknown_key(path: Path) -> Complaint:
    """A key the site file does not have, with the one that may have been meant."""
    legal = fields_of(path[:-1]) or {}
    key = str(path[-1])
    close = difflib.get_close_matches(key.lower(), legal, n=1, cutoff=0.6)
    owners = sorted(owner for owner, name in _all_keys() if name == key)
    if "\uff1a" in key:
        advice = "YAML needs the ASCII colon and a space (: ), not the full-width \uff1a"
    elif key == "<<":
        advice = "merge keys are not supported: write the keys out"
    elif close:
        advice = f"did you mean {close[0]}?"
    elif owners:
        advice = f"it is a key of {' and '.join(owners)}: check the indentation"
    else:
        advice = "remove it"
    return Complaint(
        path=path,
        found="an unknown key",
        expected=f"one of {', '.join(legal)}",
        advice=advice,
        of_key=True,
        meant=close[0] if close else "",
    )


def _all_keys() -> Iterator[tuple[str, str]]:
    """Every key of the site file with the dotted name of the mapping it belongs to."""
    waiting: list[tuple[str, type[BaseModel]]] = [("", Site)]
    while waiting:
        owner, model = waiting.pop()
        for name, field in model.model_fields.items():
            yield owner or "the file itself", name
            inner, is_list = unwrapped(field.annotation)
            if isinstance(inner, type) and issubclass(inner, BaseModel):
                waiting.append((f"{owner}.{name}".lstrip(".") + ("[]" if is_list else ""), inner))


def type_at(path: Path) -> Any:
    """The declared type of the value at `path`; None where the models declare none."""
    here: Any = Site
    for step in path:
        inner, is_list = unwrapped(here)
        if isinstance(step, int):
            if not is_list:
                return None
            here = inner
        elif (
            not is_list
            and isinstance(inner, type)
            and issubclass(inner, BaseModel)
            and step in inner.model_fields
        ):
            here = inner.model_fields[step].annotation
        else:
            return None
    inner, is_list = unwrapped(here)
    return None if is_list else inner


def unwrapped(declared: Any) -> tuple[Any, bool]:
    """Strip Annotated, `| None` and one tuple; whether there was a tuple."""
    is_list = False
    while True:
        origin = typing.get_origin(declared)
        if origin is typing.Annotated:
            declared = typing.get_args(declared)[0]
        elif origin in (types.UnionType, typing.Union):
            declared = next(part for part in typing.get_args(declared) if part is not type(None))
        elif origin is tuple and not is_list:
            declared, is_list = typing.get_args(declared)[0], True
        else:
            return declared, is_list


def _literals(declared: Any) -> tuple[str, ...]:
    return typing.get_args(declared) if typing.get_origin(declared) is typing.Literal else ()
