"""Secrets of a site file: where they may stand, what they must be, and that nothing ever shows them."""

from __future__ import annotations

import base64
import logging
import os
import pickle
import traceback
from pathlib import Path

import pytest

from config.findings import dotted
from config.loading import Loaded, SiteRefused
from config.secret import Secret
from config.settings import resolve
from config.translating import shown, wrong_type
from tests.support.site_text import ENVIRON, SITE, changed, load, marked_line, refusal

PLAIN = "Tr0ub4dor-and-3-more"
LOOPBACK_CENTRE = (
    ("url: https://110.example.gov.cn/campus", "url: http://127.0.0.1:9110/campus"),
    ("public_url: https://school.example", "public_url: http://127.0.0.1:8080"),
)


def whsec(length: int, fill: bytes = b"k") -> str:
    return "whsec_" + base64.b64encode(fill * length).decode()


def keys(loaded: Loaded) -> list[str]:
    return [warning.key for warning in loaded.warnings]


PLAIN_SECRETS = {
    "onvif": (
        "      password: {env: CAM_PASSWORD}\n    record",
        f"      password: {PLAIN} # HERE\n    record",
        "cameras[0].onvif.password",
        ("host: 192.168.1.11", "host: 127.0.0.1"),
    ),
    "stream": (
        "      password: {env: CAM_PASSWORD}\npoints",
        f"      password: {PLAIN} # HERE\npoints",
        "cameras[1].stream.password",
        ("rtsp://192.168.1.12/cam2", "rtsp://[::1]:8554/cam2"),
    ),
    "webhook": (
        "secret: {env: CENTRE_SECRET}",
        f"secret: {whsec(24)} # HERE",
        "centre.webhook.secret",
        LOOPBACK_CENTRE[0],
    ),
    "drill": (
        "drill_secret: {env: CENTRE_DRILL_SECRET}",
        f"drill_secret: {whsec(24)} # HERE",
        "centre.webhook.drill_secret",
        LOOPBACK_CENTRE[0],
    ),
    "token": ("token: {env: CENTRE_TOKEN}", f"token: {PLAIN} # HERE", "access[0].token", LOOPBACK_CENTRE[1]),
    "media token": (
        "  webhook:\n",
        f"  media: push\n  media_token: {PLAIN} # HERE\n  media_url: https://m.example/x\n  webhook:\n",
        "centre.media_token",
        ("https://m.example/x", "http://localhost:9110/media"),
    ),
    "broker": (
        "  url: mqtt://127.0.0.1:1883\n  username: gateway\n  password: {env: MQTT_PASSWORD}",
        f"  url: mqtts://broker.example\n  username: gateway\n  password: {PLAIN} # HERE",
        "mqtt.password",
        ("mqtts://broker.example", "mqtt://127.7.7.7"),
    ),
    "store": (
        "  retention_days: 30",
        f"  objects: s3+https://s3.example/bucket\n  access_key: id\n  secret_key: {PLAIN} # HERE",
        "storage.secret_key",
        ("s3+https://s3.example", "s3+http://127.0.0.1:9000"),
    ),
    "database": (
        "  retention_days: 30",
        f"  database: postgresql://gateway@db.example/gw\n  database_password: {PLAIN} # HERE",
        "storage.database_password",
        ("@db.example", "@localhost"),
    ),
}


@pytest.mark.parametrize("name", PLAIN_SECRETS)
def test_a_plain_secret_is_legal_on_loopback_only(name: str, tmp_path: Path) -> None:
    """Off loopback it is refused at its line, on loopback it is a warning; neither shows it."""
    old, new, key, to_loopback = PLAIN_SECRETS[name]
    text = changed((old, new))
    (finding,) = refusal(tmp_path, text)
    assert (finding.key, finding.line) == (key, marked_line(text))
    assert "write {env: NAME} or {file: PATH}" in str(finding)
    loaded = load(
        tmp_path, changed((old, new), to_loopback) if to_loopback[0] in SITE else text.replace(*to_loopback)
    )
    assert key in keys(loaded)
    for text in (str(finding), repr(finding), repr(loaded), *map(str, loaded.warnings)):
        assert PLAIN not in text
        assert whsec(24) not in text


def test_a_plain_token_needs_both_addresses_on_loopback(tmp_path: Path) -> None:
    """Listening on loopback behind a proxy for the world is not loopback; nor is a second path elsewhere."""
    token = ("token: {env: CENTRE_TOKEN}", f"token: {PLAIN}")
    assert [finding.key for finding in refusal(tmp_path, changed(token))] == ["access[0].token"]
    load(tmp_path, changed(token, ("  public_url: https://school.example\n", "")))
    (tmp_path / "c.pem").write_text("a certificate")
    served = (
        "listen: 127.0.0.1:8080\n  public_url: https://school.example",
        "listen: 0.0.0.0:8443\n  public_url: https://127.0.0.1:8443\n  tls: {cert: c.pem, key: c.pem}",
    )
    load(tmp_path, changed(served))
    assert [finding.key for finding in refusal(tmp_path, changed(served, token))] == ["access[0].token"]
    paths = (
        "    secret: {env: CENTRE_SECRET}",
        f"    secret: {whsec(24)}\n    backup_url: https://b.example",
    )
    found = refusal(tmp_path, changed(paths, LOOPBACK_CENTRE[0]))
    assert [finding.key for finding in found] == ["centre.webhook.secret"]


def test_references_are_followed(tmp_path: Path) -> None:
    """An environment variable is taken as it is, a file without the line break at its end, from beside the site file."""
    (tmp_path / "secrets").mkdir()
    file = tmp_path / "secrets" / "cam"
    file.write_text(" päss wörd \r\n", encoding="utf-8")
    file.chmod(0o600)
    old = "      password: {env: CAM_PASSWORD}\n    record"
    loaded = load(tmp_path, changed((old, "      password: {file: secrets/cam}\n    record")))
    first, second = loaded.site.cameras
    assert first.onvif is not None
    assert second.stream is not None
    assert first.onvif.password is not None
    assert second.stream.password is not None
    assert first.onvif.password.reveal() == " päss wörd "
    assert second.stream.password.reveal() == ENVIRON["CAM_PASSWORD"]
    assert loaded.warnings == []
    file.chmod(0o644)
    (warning,) = load(tmp_path, changed((old, "      password: {file: secrets/cam}\n    record"))).warnings
    assert warning.key == "cameras[0].onvif.password"
    assert f"chmod 600 {file}" in str(warning)


BAD_REFERENCES = {
    "variable not set": ("{env: NOT_SET}", "no environment variable NOT_SET"),
    "variable empty": ("{env: EMPTY}", "an empty environment variable EMPTY"),
    "variable of two lines": ("{env: LINES}", "control characters"),
    "no variable's name": ("{env: Tr0ub4dor-and-3-more}", "no name of an environment variable"),
    "variable without name": ("{env: }", "no name after env:"),
    "number as name": ("{file: 7}", "no name after file:"),
    "file not there": ("{file: nowhere}", "no readable file"),
    "file is a folder": ("{file: .}", "no regular file"),
    "file is a pipe": ("{file: pipe}", "no regular file"),
    "file empty": ("{file: empty}", "an empty file"),
    "file of bytes": ("{file: bytes}", "no UTF-8"),
    "file too large": ("{file: large}", "larger than"),
    "file with NUL in its name": ('{file: "a\\0b"}', "U+0000"),
    "both": ("{env: CAM_PASSWORD, file: x}", "exactly one of the keys env and file"),
    "another way": ("{vault: Tr0ub4dor-and-3-more}", "exactly one of the keys env and file"),
    "password in braces": ("{Tr0ub4dor-and-3-more}", "exactly one of the keys env and file"),
    "password in brackets": ("[Tr0ub4dor-and-3-more]", "neither text nor a reference"),
    "number": ("1234567890", "neither text nor a reference"),
    "empty": ('""', "an empty text"),
    "password as alias": ("*Tr0ub4dor-and-3-more", "an alias"),
    "password as tag": ("!Tr0ub4dor-and-3-more", "a tag"),
    "password as anchor": ("&Tr0ub4dor-and-3-more", "an anchor"),
}


@pytest.mark.parametrize("name", BAD_REFERENCES)
def test_a_reference_that_leads_nowhere_is_named(name: str, tmp_path: Path) -> None:
    """The error names the variable or the file, its line and key, and never a value."""
    (tmp_path / "empty").write_text("\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")
    (tmp_path / "large").write_text("x" * 70_000)
    os.mkfifo(tmp_path / "pipe")
    reference, words = BAD_REFERENCES[name]
    text = changed(("password: {env: CAM_PASSWORD}\n    record", f"password: {reference} # HERE\n    record"))
    found = refusal(tmp_path, text, ENVIRON | {"EMPTY": "", "LINES": f"{PLAIN}\n{PLAIN}"})
    assert {(finding.key, finding.line) for finding in found} == {
        ("cameras[0].onvif.password", marked_line(text))
    }
    printed = "".join(map(str, found))
    assert words in printed
    assert PLAIN not in printed
    assert printed.isprintable()


@pytest.mark.parametrize(
    ("secret", "words"),
    [
        ("swordfish-swordfish-swordfish", "does not begin with whsec_"),
        ("whsec_swordfish!", "is not base64"),
        ("whsec_", "has 0 bytes"),
        (whsec(23), "has 23 bytes"),
        (whsec(65), "has 65 bytes"),
    ],
)
def test_a_webhook_secret_is_of_standard_webhooks(secret: str, words: str, tmp_path: Path) -> None:
    """whsec_ and the base64 of 24 to 64 bytes; anything else is refused without being shown."""
    (finding,) = refusal(tmp_path, SITE, ENVIRON | {"CENTRE_SECRET": secret})
    assert finding.key == "centre.webhook.secret"
    assert words in finding.found
    assert "24 to 64 bytes" in finding.expected
    assert secret == "whsec_" or secret not in repr(finding)


@pytest.mark.parametrize("length", [24, 64])
def test_the_shortest_and_the_longest_webhook_secret_are_accepted(length: int, tmp_path: Path) -> None:
    """The bounds themselves are legal."""
    load(tmp_path, SITE, ENVIRON | {"CENTRE_SECRET": whsec(length)})


def test_equal_live_and_drill_secrets_are_refused(tmp_path: Path) -> None:
    """What counts are the bytes of the secrets, not where they came from or how they are spelled."""
    live = "whsec_" + "A" * 35 + "B"  # 26 bytes and bits that mean nothing
    drill = "whsec_" + "A" * 35 + "B"
    (finding,) = refusal(tmp_path, SITE, ENVIRON | {"CENTRE_SECRET": live, "CENTRE_DRILL_SECRET": drill})
    assert finding.key == "centre.webhook.drill_secret"
    assert "could be taken for an alarm" in str(finding)
    padded = base64.b64encode(b"k" * 25).decode()  # …w==, whose last bits mean nothing
    assert padded.endswith("aw==")
    other = padded.replace("aw==", "ax==")
    (finding,) = refusal(
        tmp_path,
        SITE,
        ENVIRON | {"CENTRE_SECRET": f"whsec_{padded}", "CENTRE_DRILL_SECRET": f"whsec_{other}"},
    )
    assert finding.key == "centre.webhook.drill_secret"


@pytest.mark.parametrize("other", ["CENTRE_SECRET", "CENTRE_DRILL_SECRET"])
def test_an_answer_secret_used_twice_is_refused(tmp_path: Path, other: str) -> None:
    """Whoever can check the gateway's messages could forge answers with it."""
    text = changed(("    drill_secret:", f"    answer_secret: {{env: {other}}}\n    drill_secret:"))
    (finding,) = refusal(tmp_path, text)
    assert finding.key == "centre.webhook.answer_secret"


def test_tokens_are_unlike_and_long_enough(tmp_path: Path) -> None:
    """Two equal tokens are refused; a short one is refused off loopback and a warning on it."""
    guard = "access:\n  - name: guard\n    unit: 门卫\n    role: guard\n    token: {env: GUARD_TOKEN}\n"
    text = changed(("access:\n", guard))
    load(tmp_path, text)
    (finding,) = refusal(tmp_path, text, ENVIRON | {"GUARD_TOKEN": ENVIRON["CENTRE_TOKEN"]})
    assert finding.key == "access[1].token"
    assert "the token of access[0] again" in str(finding)
    short = ENVIRON | {"CENTRE_TOKEN": "t" * 15}
    (finding,) = refusal(tmp_path, SITE, short)
    assert (finding.key, finding.expected) == ("access[0].token", "16 or more")
    assert keys(load(tmp_path, changed(LOOPBACK_CENTRE[1]), short)) == ["access[0].token"]
    load(tmp_path, SITE, ENVIRON | {"CENTRE_TOKEN": "t" * 16})


def test_a_secret_left_empty_is_asked_for(tmp_path: Path) -> None:
    """`token:` with nothing after it is a missing secret, and the error says how to give one."""
    text = changed(("token: {env: CENTRE_TOKEN}", "token: # HERE"))
    (finding,) = refusal(tmp_path, text)
    assert (finding.key, finding.line) == ("access[0].token", marked_line(text))
    assert (finding.found, finding.advice) == ("nothing (null)", "write {env: NAME} or {file: PATH}")


def test_no_error_about_a_secret_s_key_shows_its_value() -> None:
    """Even if models and loading changed places: a value of a secret's key, or below it, is never described."""
    for path in (
        ("access", 0, "token"),
        ("access", 0, "token", PLAIN),
        ("centre", "webhook", "secret", "file"),
    ):
        complaint = wrong_type(path, "string_type", PLAIN)
        assert complaint.found == "<secret>"
        assert PLAIN not in dotted(shown(path))


@pytest.mark.parametrize("token", ["with space 0123456789", "令牌令牌令牌令牌令牌令牌令牌令牌令牌"])
def test_a_token_must_fit_a_header(token: str, tmp_path: Path) -> None:
    """Authorization carries visible ASCII only."""
    (finding,) = refusal(tmp_path, SITE, ENVIRON | {"CENTRE_TOKEN": token})
    assert finding.key == "access[0].token"
    assert token not in repr(finding)


def test_nothing_shows_a_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """repr, str, format, logging, dumps to JSON and settings print <secret>; only reveal() tells."""
    loaded = load(tmp_path, SITE)
    secret = loaded.site.centre.webhook.secret
    logging.getLogger("test").warning("%s %r %s", secret, secret, loaded)
    shown = [
        repr(loaded), str(loaded), repr(loaded.site), f"{secret}", f"{secret!r:>20}", caplog.text,
        loaded.site.model_dump_json(), repr(loaded.site.model_dump()), repr(resolve(loaded, None)),
    ]  # fmt: skip
    for text in shown:
        assert not any(value in text for value in ENVIRON.values())
    assert secret.reveal() == ENVIRON["CENTRE_SECRET"]
    assert secret == Secret(ENVIRON["CENTRE_SECRET"])
    assert secret != ENVIRON["CENTRE_SECRET"]
    assert pickle.loads(pickle.dumps(secret)) == secret


def test_a_refused_file_leaves_no_secret_in_its_traceback(tmp_path: Path) -> None:
    """Neither the printed traceback nor any chained exception carries what the file or the environment says."""
    text = changed(
        ("    password: {env: CAM_PASSWORD}\npoints", f"    password: {PLAIN}\npoints"),
        ("url: https://110.example.gov.cn", f"url: https://user:{PLAIN}@110.example.gov.cn"),
        ("token: {env: CENTRE_TOKEN}", f"token: {PLAIN}"),
        ("name: 第三中学", "name: 7"),
    )
    with pytest.raises(SiteRefused) as refused:
        load(tmp_path, text)
    seen: BaseException | None = refused.value
    assert seen is not None
    assert seen.__cause__ is None
    assert seen.__context__ is None
    printed = (
        "".join(traceback.format_exception(refused.value)) + repr(refused.value) + repr(refused.value.args)
    )
    assert not any(value in printed for value in (PLAIN, *ENVIRON.values()))
