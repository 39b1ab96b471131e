"""Addresses, stores, TLS and the centre: what is unsafe or cannot work is refused with line, key and expectation."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.site_text import check_refused

# (what the file says, what it says instead with the line marked, the key, a word of the message)
CASES = {
    # addresses
    "password in RTSP": (
        "url: rtsp://192.168.1.12/cam2",
        "url: rtsp://u:hunter2@192.168.1.12/cam2 # HERE",
        "cameras[1].stream.url",
        "use the keys username and password",
    ),
    "password in query": (
        "url: rtsp://192.168.1.12/cam2",
        "url: rtsp://192.168.1.12/c?user=u&password=hunter2 # HERE",
        "cameras[1].stream.url",
        "use the keys username",
    ),
    "second stream is the first": (
        "url: rtsp://192.168.1.12/cam2",
        "url: rtsp://192.168.1.12/cam2\n      sub_url: rtsp://192.168.1.12/cam2",
        "cameras[1].stream",
        "another address than url",
    ),
    "second stream elsewhere": (
        "url: rtsp://192.168.1.12/cam2",
        "url: rtsp://192.168.1.12/cam2\n      sub_url: rtsp://192.168.1.13/sub",
        "cameras[1].stream",
        "on the host of url",
    ),
    "password in second stream": (
        "url: rtsp://192.168.1.12/cam2",
        "url: rtsp://192.168.1.12/cam2\n      sub_url: rtsp://u:hunter2@192.168.1.12/sub # HERE",
        "cameras[1].stream.sub_url",
        "use the keys username and password",
    ),
    "http stream": (
        "url: rtsp://192.168.1.12/cam2",
        "url: http://192.168.1.12/cam2 # HERE",
        "cameras[1].stream.url",
        "rtsp://",
    ),
    "host with port": (
        "host: 192.168.1.11",
        "host: 192.168.1.11:80 # HERE",
        "cameras[0].onvif.host",
        "without scheme, port",
    ),
    "short IP address": (
        "host: 192.168.1.11",
        "host: 192.168.11 # HERE",
        "cameras[0].onvif.host",
        "host name or IP address",
    ),
    "plain webhook": ("url: https://110", "url: http://110", "centre.webhook.url", "legal on loopback only"),
    "plain webhook, alike loopback": (
        "url: https://110.example.gov.cn",
        "url: http://127.0.0.1.example.cn",
        "centre.webhook.url",
        "loopback only",
    ),
    "user in webhook": (
        "url: https://110",
        "url: https://u:hunter2@110",
        "centre.webhook.url",
        "inside the address",
    ),
    "broken port": (
        "url: https://110.example.gov.cn/",
        "url: https://110.example.gov.cn:99999/",
        "centre.webhook.url",
        "cannot be read",
    ),
    "second path, plain": (
        "    secret: {env: CENTRE_SECRET}",
        "    backup_url: http://110.example/b # HERE\n    secret: {env: CENTRE_SECRET}",
        "centre.webhook.backup_url",
        "loopback only",
    ),
    "second path, same": (
        "    secret: {env: CENTRE_SECRET}",
        "    backup_url: https://110.example.gov.cn/campus # HERE\n    secret: {env: CENTRE_SECRET}",
        "centre.webhook.backup_url",
        "a second path",
    ),
    "plain broker": (
        "url: mqtt://127.0.0.1:1883",
        "url: mqtt://10.0.0.5:1883 # HERE",
        "mqtt.url",
        "legal on loopback only",
    ),
    "broker path": (
        "url: mqtt://127.0.0.1:1883",
        "url: mqtt://127.0.0.1/a # HERE",
        "mqtt.url",
        "no meaning for a broker",
    ),
    "broker protocol": ("url: mqtt://127.0.0.1:1883", "url: tcp://127.0.0.1 # HERE", "mqtt.url", "mqtts://"),
    "embedded broker for all": (
        "  url: mqtt://127.0.0.1:1883",
        "  url: embedded\n  listen: 0.0.0.0:1883 # HERE",
        "mqtt.listen",
        "loopback",
    ),
    "plain public address": (
        "public_url: https://school.example",
        "public_url: http://school.example # HERE",
        "http.public_url",
        "loopback only",
    ),
    "query in public address": (
        "public_url: https://school.example",
        "public_url: https://school.example?x=1 # HERE",
        "http.public_url",
        "without a query",
    ),
    "listening for all": (
        "listen: 127.0.0.1:8080",
        "listen: 0.0.0.0:8080 # HERE",
        "http.listen",
        "plain http is legal on loopback only",
    ),
    "listening nowhere": ("listen: 127.0.0.1:8080", "listen: 8080 # HERE", "http.listen", "put it in quotes"),
    "listening on a name only": (
        "listen: 127.0.0.1:8080",
        "listen: localhost # HERE",
        "http.listen",
        "HOST:PORT",
    ),
    "listening too high": (
        "listen: 127.0.0.1:8080",
        "listen: 127.0.0.1:65536 # HERE",
        "http.listen",
        "0 to 65535",
    ),
    "IPv6 without brackets": ("listen: 127.0.0.1:8080", "listen: ::1:8080 # HERE", "http.listen", "brackets"),
    # stores
    "plain store": (
        "  retention_days: 30",
        "  objects: s3+http://store.example/bucket # HERE\n  access_key: {env: CAM_PASSWORD}\n  secret_key: {env: CAM_PASSWORD}",
        "storage.objects",
        "loopback only",
    ),
    "store without bucket": (
        "  retention_days: 30",
        "  objects: s3+https://store.example # HERE",
        "storage.objects",
        "bucket",
    ),
    "store without keys": (
        "  retention_days: 30",
        "  objects: s3+https://store.example/bucket\n  access_key: {env: CAM_PASSWORD}",
        "storage.secret_key",
        "S3 store needs it",
    ),
    "store by //": (
        "  retention_days: 30",
        "  objects: file://objects # HERE",
        "storage.objects",
        "without //",
    ),
    "database in memory": (
        "  retention_days: 30",
        '  database: "sqlite::memory:" # HERE',
        "storage.database",
        "nothing survives",
    ),
    "database unknown": (
        "  retention_days: 30",
        "  database: mysql://h/d # HERE",
        "storage.database",
        "sqlite:FILE",
    ),
    "password in database": (
        "  retention_days: 30",
        "  database: postgresql://u:hunter2@h/d # HERE",
        "storage.database",
        "database_password",
    ),
    "after stop": (
        "  retention_days: 30",
        "  when_full: [stop, keyframes] # HERE",
        "storage.when_full",
        "nothing after stop",
    ),
    "reserve": ("  retention_days: 30", "  reserve_gb: -1 # HERE", "storage.reserve_gb", "0 or more"),
    # TLS
    "TLS without key": (
        "  public_url: https://school.example",
        "  public_url: https://school.example\n  tls:\n    cert: c.pem",
        "http.tls.key",
        "this key",
    ),
    "TLS file missing": (
        "    drill_secret:",
        "    ca: nowhere/ca.pem # HERE\n    drill_secret:",
        "centre.webhook.ca",
        "no readable file",
    ),
    "CA without TLS": (
        "  username: gateway",
        "  ca: site.yaml # HERE\n  username: gateway",
        "mqtt.ca",
        "an mqtts:// address",
    ),
    "certificate without key": (
        "    drill_secret:",
        "    cert: site.yaml\n    drill_secret:",
        "centre.webhook.key",
        "there is a cert",
    ),
    # the rest of the centre
    "push without address": (
        "  webhook:",
        "  media: push\n  media_token: {env: MEDIA_TOKEN}\n  webhook:",
        "centre.media_url",
        "push needs it",
    ),
    "push without token": (
        "  webhook:",
        "  media: push\n  media_url: https://m.example\n  webhook:",
        "centre.media_token",
        "push needs it",
    ),
    "password without user": ("  username: gateway\n", "", "mqtt.username", "there is a password"),
    "evidence too short": (
        "storage:",
        "evidence:\n  before_s: 4 # HERE\nstorage:",
        "evidence.before_s",
        "5 or more",
    ),
    "evidence too long": (
        "storage:",
        "evidence:\n  after_s: 601 # HERE\nstorage:",
        "evidence.after_s",
        "600 or less",
    ),
    "before too long": (
        "storage:",
        "evidence:\n  before_s: 121 # HERE\nstorage:",
        "evidence.before_s",
        "120 or less",
    ),
    "role": ("    role: centre", "    role: center # HERE", "access[0].role", "did you mean centre?"),
}


@pytest.mark.parametrize("name", CASES)
def test_a_broken_rule_is_refused_with_line_key_and_expectation(name: str, tmp_path: Path) -> None:
    """One fault gives one finding, at its line and under its key, that says what was expected and echoes no secret."""
    old, new, key, words = CASES[name]
    check_refused(tmp_path, old, new, key, words)
