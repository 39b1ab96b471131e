"""What could leak or be forged: secrets written out, secrets used twice, services in the clear, files that
are missing."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path as FilePath

from config.addresses import is_loopback, parse_url
from config.findings import Complaint, Path
from config.rules import Parts
from config.secret import HIDDEN, Secret, webhook_key
from config.site import Centre, Http, Mqtt, Storage

# 16 characters of base64 are 96 random bits: beyond guessing over a network.
TOKEN_CHARACTERS_MIN = 16
_TOKEN = re.compile(r"[\x21-\x7e]+")  # RFC 6750, 2.1, and a little more; a header cannot carry anything else
_BY_REFERENCE = "write {env: NAME} or {file: PATH}"


def exposure_rules(parts: Parts, base_dir: FilePath) -> Iterator[Complaint]:
    """Every breach of a rule about secrets and plain protocols; `base_dir` is where relative paths start."""
    yield from _cameras(parts)
    if parts.centre is not None:
        yield from _centre(parts.centre)
    if parts.mqtt is not None:
        yield from _mqtt(parts.mqtt)
    if parts.storage is not None:
        yield from _storage(parts.storage)
    if parts.http is not None:
        yield from _http(parts.http)
    yield from _access(parts)
    yield from _files(parts, base_dir)


def _cameras(parts: Parts) -> Iterator[Complaint]:
    for index, camera in parts.cameras.items():
        way, login = ("onvif", camera.onvif) if camera.onvif else ("stream", camera.stream)
        if login is None:
            continue
        path: Path = ("cameras", index, way, "password")
        yield from _written(path, login.password, is_loopback(camera.host), f"the camera {camera.host}")
        yield from _login((*path[:-1], "username"), login.username, path, login.password)


def _centre(centre: Centre) -> Iterator[Complaint]:
    webhook, path = centre.webhook, ("centre", "webhook")
    urls = [url for url in (webhook.url, webhook.backup_url) if url]
    local = all(_local(url) for url in urls)
    kept: dict[str, bytes] = {}
    for name in ("secret", "drill_secret", "answer_secret"):
        secret: Secret | None = getattr(webhook, name)
        yield from _written((*path, name), secret, local, "the centre")
        if secret is not None and secret.given != "missing":
            kept[name] = webhook_key(secret)
    if webhook.drill_secret is None:
        yield Complaint(
            path=(*path, "drill_secret"),
            found="none",
            expected="a secret for drills",
            advice="no drill and no self-test can be sent to the centre",
            blocking=False,
        )
    elif "secret" in kept and kept.get("drill_secret") == kept["secret"]:
        yield _wrong(
            (*path, "drill_secret"),
            "the value of secret again",
            "a secret of its own for drills",
            "with one secret for both a drill could be taken for an alarm",
        )
    if kept.pop("answer_secret", None) in kept.values():
        yield _wrong(
            (*path, "answer_secret"),
            "the value of another secret",
            "a secret of its own",
            "whoever can check the gateway's messages could then forge the centre's answers",
        )
    if webhook.backup_url == webhook.url:
        yield _wrong(
            (*path, "backup_url"), "the address of url again", "a second path", "remove it, or correct it"
        )
    yield from _tls(path, webhook, any(url.startswith("https:") for url in urls), "an https:// address")
    yield from _media(centre)


def _media(centre: Centre) -> Iterator[Complaint]:
    path: Path = ("centre", "media_token")
    target = centre.media_url or centre.webhook.url
    yield from _written(path, centre.media_token, _local(target), "the centre's media store")
    for name in ("media_url", "media_token"):
        given = getattr(centre, name) is not None
        if centre.media == "push" and not given:
            yield _wrong(
                ("centre", name),
                "nothing",
                "this key, for media: push needs it",
                "add it, or write media: link",
            )
        if centre.media == "link" and given:
            yield _unused(("centre", name), "media: link does not use it")


def _mqtt(mqtt: Mqtt) -> Iterator[Complaint]:
    address = mqtt.address
    path: Path = ("mqtt", "password")
    if address is None:
        yield Complaint(
            path=("mqtt", "url"),
            found="embedded",
            expected="a broker of its own for a real site",
            advice="the embedded broker is for demo and bench only; a fault will say so while it runs",
            blocking=False,
        )
    elif "listen" in mqtt.model_fields_set:
        yield _unused(("mqtt", "listen"), "only the embedded broker uses it")
    yield from _written(path, mqtt.password, address is None or address.on_loopback, "the broker")
    yield from _login(("mqtt", "username"), mqtt.username, path, mqtt.password)
    yield from _tls(("mqtt",), mqtt, address is not None and address.scheme == "mqtts", "an mqtts:// address")


def _storage(storage: Storage) -> Iterator[Complaint]:
    store = storage.object_store
    for name in ("access_key", "secret_key", "region", "ca"):
        value = getattr(storage, name)
        if store is None and value is not None:
            yield _unused(("storage", name), "a file: store does not use it")
        if store is not None and value is None and name.endswith("key"):
            yield _wrong(("storage", name), "nothing", "this key, for an S3 store needs it", "add it")
    if store is None and storage.lock == "required":
        yield _wrong(
            ("storage", "lock"),
            "required, with a file: store",
            "an S3 store whose bucket has object lock: files cannot be locked",
            "write lock: wanted, or set storage.objects to s3+https://ENDPOINT/BUCKET",
        )
    if store is not None:
        yield from _written(("storage", "secret_key"), storage.secret_key, store[0].on_loopback, "the store")
        if storage.ca is not None and store[0].scheme == "s3+http":
            yield _wrong(
                ("storage", "ca"),
                "a CA for an s3+http:// store",
                "an s3+https:// address",
                "remove one of the two",
            )
    sqlite = storage.database.startswith("sqlite:")
    if storage.database_password is not None:
        if sqlite:
            yield _unused(("storage", "database_password"), "sqlite does not use it")
        else:
            host = storage.database.partition("://")[2].rpartition("@")[2]
            local = parse_url(f"postgresql://{host}", "postgresql").on_loopback
            yield from _written(
                ("storage", "database_password"), storage.database_password, local, "the database"
            )


def _http(http: Http) -> Iterator[Complaint]:
    host, _ = http.address
    if is_loopback(host):
        return
    if http.tls is None:
        yield _wrong(
            ("http", "listen"),
            f"{http.listen} without tls",
            "a loopback address, or the key tls",
            "plain http is legal on loopback only: add tls: {cert: PATH, key: PATH}, "
            "or put a TLS proxy on this machine",
        )
    if http.public_url is None:
        yield _wrong(
            ("http", "public_url"),
            "nothing",
            "the address under which the centre reaches the gateway",
            "links and reply_url begin with it",
        )


def _access(parts: Parts) -> Iterator[Complaint]:
    http = parts.http
    local = (
        http is not None
        and is_loopback(http.address[0])
        and (http.public_url is None or _local(http.public_url))
    )
    first: dict[Secret, int] = {}
    seen: set[tuple[str, str | None, str]] = set()
    for index, entry in parts.access.items():
        if entry.token.given == "missing":
            continue
        path: Path = ("access", index, "token")
        token = entry.token.reveal()
        if http is not None:
            yield from _written(path, entry.token, local, "the gateway itself")
        if not _TOKEN.fullmatch(token):
            yield _wrong(
                path,
                "a token with spaces or other than ASCII",
                "visible ASCII characters",
                "make a new token",
            )
        elif len(token) < TOKEN_CHARACTERS_MIN:
            yield Complaint(
                path=path,
                found=f"a token of {len(token)} characters",
                expected=f"{TOKEN_CHARACTERS_MIN} or more",
                advice="make one with: python3 -c 'import secrets; print(secrets.token_urlsafe(32))'",
                blocking=not local,
            )
        if entry.token in first:
            yield _wrong(
                path,
                f"the token of access[{first[entry.token]}] again",
                "a token of its own",
                "the access register could not tell the two apart",
            )
        first.setdefault(entry.token, index)
        yield from _register(index, entry.name, entry.unit, (entry.name, entry.unit, entry.role) in seen)
        seen.add((entry.name, entry.unit, entry.role))


def _register(index: int, name: str, unit: str | None, again: bool) -> Iterator[Complaint]:
    # Order 799, Art. 16 item 3: the access register has reason, content, unit and name.
    if unit is None:
        yield Complaint(
            path=("access", index, "unit"),
            found="none",
            expected=f"the unit {name} belongs to",
            advice="the access register must name it (State Council Order 799, Art. 16 item 3)",
            blocking=False,
        )
    if again:
        yield Complaint(
            path=("access", index, "name"),
            found="the same name, unit and role again",
            expected="names that tell people apart",
            advice="the access register could not tell the two apart",
            blocking=False,
        )


def _files(parts: Parts, base_dir: FilePath) -> Iterator[Complaint]:
    """Certificates and keys must be there: found out now rather than by a handshake that fails at night."""
    named: list[tuple[Path, str | None]] = []
    if parts.centre is not None:
        webhook = parts.centre.webhook
        named += [(("centre", "webhook", name), getattr(webhook, name)) for name in ("ca", "cert", "key")]
    if parts.mqtt is not None:
        named += [(("mqtt", name), getattr(parts.mqtt, name)) for name in ("ca", "cert", "key")]
    if parts.storage is not None:
        named.append((("storage", "ca"), parts.storage.ca))
    if parts.http is not None and parts.http.tls is not None:
        named += [
            (("http", "tls", name), getattr(parts.http.tls, name)) for name in ("cert", "key", "client_ca")
        ]
    for path, name in named:
        if name is None:
            continue
        file = base_dir / name
        try:
            if not file.is_file():
                raise FileNotFoundError(2, "no such file")
            with file.open("rb") as opened:
                opened.read(1)
        except (OSError, ValueError) as wrong:
            reason = wrong.strerror if isinstance(wrong, OSError) and wrong.strerror else "not a file"
            yield _wrong(
                path,
                f"no readable file {file} ({reason})",
                "a PEM file",
                "correct the path or its permissions",
            )


def secrets_exposed(secrets: Mapping[Path, Secret]) -> Iterator[Complaint]:
    """A warning for every secret whose file every user of the machine can read."""
    for path, secret in secrets.items():
        if secret.exposed:
            yield Complaint(
                path=path,
                found=f"{secret.name}, which every user of this machine can read",
                expected="a file only the gateway can read",
                advice=f"chmod 600 {secret.name}",
                blocking=False,
            )


def _written(path: Path, secret: Secret | None, local: bool, whose: str) -> Iterator[Complaint]:
    if secret is None or secret.given != "plain":
        return
    why = "" if local else f"; {whose} is not on loopback"
    yield Complaint(
        path=path,
        found=f"{HIDDEN} written in the site file{why}",
        expected="a secret by reference",
        advice=_BY_REFERENCE,
        blocking=not local,
    )


def _login(
    name_path: Path, name: str | None, secret_path: Path, secret: Secret | None
) -> Iterator[Complaint]:
    if secret is not None and name is None:
        yield _wrong(
            name_path, "nothing", "this key, for there is a password", "add it, or remove the password"
        )
    if name is not None and secret is None:
        yield Complaint(
            path=secret_path,
            found="nothing",
            expected="this key, for there is a user name",
            advice="the login is tried with an empty password",
            blocking=False,
        )


def _tls(path: Path, section: object, encrypted: bool, how: str) -> Iterator[Complaint]:
    given = [name for name in ("ca", "cert", "key") if getattr(section, name) is not None]
    if given and not encrypted:
        yield _wrong(
            (*path, given[0]),
            "a TLS file for an address without TLS",
            how,
            "correct the url, or remove the key",
        )
    for name, other in (("cert", "key"), ("key", "cert")):
        if name in given and other not in given:
            yield _wrong(
                (*path, other), "nothing", f"this key, for there is a {name}", "the two belong together"
            )


def _local(url: str) -> bool:
    return parse_url(url, "http", "https").on_loopback


def _unused(path: Path, why: str) -> Complaint:
    return Complaint(path=path, found="a key without effect", expected="", advice=why, blocking=False)


def _wrong(path: Path, found: str, expected: str, advice: str) -> Complaint:
    return Complaint(path=path, found=found, expected=expected, advice=advice)
