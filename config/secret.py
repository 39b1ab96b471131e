"""Secrets by reference: `{env: NAME}`, `{file: PATH}`, or plain text where the rules allow it.

A secret prints as `<secret>` wherever it is shown; only `reveal()` gives the value. Errors name the
variable or the file, never what stands in it.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import GetCoreSchemaHandler
from pydantic_core import PydanticCustomError, core_schema

HIDDEN = "<secret>"
WEBHOOK_PREFIX = "whsec_"
# Standard Webhooks 1.0.0, "Signature scheme": the secret has 24 to 64 random bytes.
WEBHOOK_BYTES_MIN, WEBHOOK_BYTES_MAX = 24, 64
Given = Literal["plain", "env", "file", "missing"]
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_FILE_BYTES_MAX = 64 * 1024
_HOW = "write {env: NAME} or {file: PATH}"


class SecretRefused(Exception):
    """No secret could be had; the three texts say why and name no secret."""

    def __init__(self, found: str, expected: str, advice: str) -> None:
        super().__init__(f"found {found}; expected {expected}; {advice}")
        self.found, self.expected, self.advice = found, expected, advice


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretSources:
    """Where references lead: the environment, and the folder relative paths start from."""

    environ: Mapping[str, str]
    base_dir: Path


class Secret:
    """A value that never shows itself.

    `given` says how the site file gave it, `name` the variable or file. `missing` stands in for a secret that
    could not be had, so that the rest of its section is still judged; no accepted site has one.
    """

    __slots__ = ("_value", "exposed", "given", "name")

    def __init__(
        self,
        value: str,
        *,
        given: Given = "plain",
        name: str = "",
        exposed: bool = False,
    ) -> None:
        self._value = value
        self.given = given
        self.name = name
        self.exposed = exposed
        """Whether the file it came from can be read by every user of the machine."""

    def reveal(self) -> str:
        """The value itself, for the one place that needs it."""
        return self._value

    def again(self) -> Secret:
        """The secret as its file has it now; this one where it is in no file. Reads the disk. SecretRefused if it is in none any
        more."""
        return (
            _from_file(self.name, SecretSources(environ={}, base_dir=Path()))
            if self.given == "file"
            else self
        )

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(self._value.encode(), other._value.encode())

    def __hash__(self) -> int:
        return hash((Secret, self._value))

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.no_info_plain_validator_function(
            _accept, serialization=core_schema.to_string_ser_schema(when_used="json")
        )


def webhook_key(secret: Secret) -> bytes:
    """The bytes of a Standard Webhooks secret; ValueError (without the value) if it is none."""
    text = secret.reveal()
    if not text.startswith(WEBHOOK_PREFIX):
        raise ValueError(f"does not begin with {WEBHOOK_PREFIX}")
    try:
        key = base64.b64decode(text.removeprefix(WEBHOOK_PREFIX).encode(), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"is not base64 after {WEBHOOK_PREFIX}") from None
    if not WEBHOOK_BYTES_MIN <= len(key) <= WEBHOOK_BYTES_MAX:
        raise ValueError(f"has {len(key)} bytes")
    return key


def check_webhook_secret(secret: Secret) -> Secret:
    """Refuse what is not a Standard Webhooks secret (for pydantic)."""
    try:
        if secret.given != "missing":
            webhook_key(secret)
    except ValueError as wrong:
        refusal = SecretRefused(
            f"a secret that {wrong}",
            f"{WEBHOOK_PREFIX} and the base64 of {WEBHOOK_BYTES_MIN} to {WEBHOOK_BYTES_MAX} bytes "
            "(Standard Webhooks)",
            'make one with: echo "whsec_$(head -c 32 /dev/urandom | base64)"',
        )
        raise _for_pydantic(refusal) from None
    return secret


def resolve(given: object, sources: SecretSources) -> Secret:
    """The secret a site file's value means; SecretRefused if there is none."""
    if isinstance(given, str):
        return Secret(_checked(given, "an empty text", "the plain text"))
    if not isinstance(given, Mapping):
        raise SecretRefused("neither text nor a reference", "a secret by reference", _HOW)
    if len(given) != 1 or next(iter(given)) not in ("env", "file"):
        raise SecretRefused("a mapping that is no reference", "exactly one of the keys env and file", _HOW)
    way, name = next(iter(given.items()))
    if not isinstance(name, str) or not name:
        raise SecretRefused(f"no name after {way}:", "a name in text", _HOW)
    return _from_environment(name, sources) if way == "env" else _from_file(name, sources)


def _accept(given: object) -> Secret:
    if isinstance(given, Secret):
        return given
    try:
        if given is None:
            raise SecretRefused("nothing (null)", "a secret by reference", _HOW)
        if not isinstance(given, str):
            raise SecretRefused("no text", "a secret already resolved", "load the site file with load_site")
        return Secret(_checked(given, "an empty text", "the plain text"))
    except SecretRefused as wrong:
        refusal = wrong
    raise _for_pydantic(refusal)


def _from_environment(name: str, sources: SecretSources) -> Secret:
    if not _VARIABLE.fullmatch(name):
        # Not echoed: whoever writes something else here may have written the secret itself.
        raise SecretRefused(
            "no name of an environment variable", "letters, digits and _", "write {env: NAME}"
        )
    value = sources.environ.get(name)
    if value is None:
        raise SecretRefused(
            f"no environment variable {name}",
            "a secret",
            f"set {name} in the gateway's environment (--env-file FILE, or the service's), or correct the name",
        )
    checked = _checked(value, f"an empty environment variable {name}", f"the environment variable {name}")
    return Secret(checked, given="env", name=name)


def _from_file(name: str, sources: SecretSources) -> Secret:
    path = sources.base_dir / name
    try:
        status = path.stat()
        # Before opening: a named pipe would keep the reader waiting for ever.
        if not stat.S_ISREG(status.st_mode):
            raise SecretRefused(
                f"{path}, which is no regular file", "a file with the secret", "correct the path"
            )
        with path.open("rb") as file:
            raw = file.read(_FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as wrong:
        reason = wrong.strerror if isinstance(wrong, OSError) and wrong.strerror else "not a path"
        raise SecretRefused(
            f"no readable file {path} ({reason})",
            "a file with the secret",
            "correct the path or its permissions",
        ) from None
    if len(raw) > _FILE_BYTES_MAX:
        raise SecretRefused(
            f"{path}, larger than {_FILE_BYTES_MAX} bytes", "a file with the secret only", "correct the path"
        )
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError:
        text = "\x00"
    checked = _checked(text.rstrip("\r\n"), f"an empty file {path}", f"the file {path}")
    return Secret(checked, given="file", name=str(path), exposed=bool(status.st_mode & stat.S_IROTH))


def _checked(value: str, when_empty: str, where: str) -> str:
    if not value:
        raise SecretRefused(when_empty, "a secret", "fill it, or remove the key")
    if _CONTROL.search(value):
        raise SecretRefused(
            f"line breaks, control characters or no UTF-8 in {where}", "one line of text", "correct it"
        )
    return value


def _for_pydantic(refusal: SecretRefused) -> PydanticCustomError:
    said = {"found": refusal.found, "expected": refusal.expected, "advice": refusal.advice}
    return PydanticCustomError("site_rule", "{expected}", said)
