"""A file of secrets as environment variables: one ``NAME=value`` line each, as systemd's ``EnvironmentFile=`` has it.

systemd leaves out a line it does not understand, with a line in its journal that nobody reads; here such a line is refused, with
its number and without what is in it. What is read here systemd reads likewise, and so does Docker where nothing is quoted.
"""

from __future__ import annotations

import re
import stat
from pathlib import Path

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_COMMENT = ("#", ";")
_ESCAPED = re.compile(r"\\(.)")
MOST_BYTES = 64 * 1024


class EnvironmentRefused(Exception):
    """The file cannot be used: ``str()`` names file, line and what to do, and never a value."""


def read_environment(path: Path) -> dict[str, str]:
    """The variables of the file. Raises :class:`EnvironmentRefused`."""
    found: dict[str, str] = {}
    for number, line in enumerate(_text(path).split("\n"), start=1):
        line = line.removesuffix("\r").strip()
        if not line or line.startswith(_COMMENT):
            continue

        def refuse(cause: str, number: int = number) -> EnvironmentRefused:
            return EnvironmentRefused(f"{path}:{number}: {cause}")

        name, equals, value = line.partition("=")
        name = name.rstrip()
        if not equals:
            raise refuse("there is no '='; write NAME=value")
        if name.startswith("export "):
            raise refuse("'export' is for a shell; write NAME=value alone")
        if not _NAME.fullmatch(name):
            raise refuse("the name before '=' is none; use letters, digits and '_', no digit first")
        if name in found:
            raise refuse(f"{name} is there twice; remove one of them")
        if line.endswith("\\"):
            raise refuse("it ends in '\\', which would go on in the next line; write the value in one line")
        try:
            found[name] = _value(value.strip())
        except ValueError as exc:
            raise refuse(f"the value of {name} {exc}") from None
    return found


def readable_by_all(path: Path) -> bool:
    """Whether users who are neither its owner nor of its group may read the file."""
    return bool(path.stat().st_mode & stat.S_IROTH)


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as exc:
        raise EnvironmentRefused(f"{path}: {exc.strerror}; is the path of --env-file right?") from None
    except OSError as exc:
        raise EnvironmentRefused(
            f"{path}: cannot be read by this user ({exc.strerror or exc}); its owner, or root, can change that: "
            "chown root:campus-gateway and chmod 640"
        ) from None
    if len(data) > MOST_BYTES:
        raise EnvironmentRefused(
            f"{path}: is larger than {MOST_BYTES // 1024} KiB; this is no file of variables"
        )
    if b"\0" in data:
        raise EnvironmentRefused(f"{path}: holds a NUL byte; this is no file of variables")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise EnvironmentRefused(f"{path}: is not UTF-8; save it as UTF-8") from None


def _value(text: str) -> str:
    """The value as systemd takes it: quotes around all of it go, and within double ones a backslash escapes."""
    if text[:1] not in ("'", '"'):
        if "\\" in text:
            raise ValueError("holds a '\\', which systemd takes out; put the value into single quotes")
        return text
    quote = text[0]
    if len(text) < 2 or not text.endswith(quote) or (quote == '"' and text.endswith('\\"')):
        raise ValueError(f"begins with {quote} and does not end with it")
    inner = text[1:-1]
    if quote == "'":
        if "'" in inner:
            raise ValueError("holds a ' within single quotes")
        return inner
    if '"' in _ESCAPED.sub("", inner):
        raise ValueError('holds a " within double quotes; write \\" for it')
    return _ESCAPED.sub(r"\1", inner)
