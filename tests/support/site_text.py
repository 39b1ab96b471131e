"""A site file in block style, to be changed line by line: `# HERE` marks the line an error must name."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest

from config.loading import Finding, Loaded, SiteRefused, load_site

ENVIRON = {
    "CAM_PASSWORD": "cam-password-9f2c",
    "CENTRE_SECRET": "whsec_" + base64.b64encode(b"live" * 8).decode(),
    "CENTRE_DRILL_SECRET": "whsec_" + base64.b64encode(b"dril" * 8).decode(),
    "CENTRE_TOKEN": "centre-token-0123456789abcdef",
    "GUARD_TOKEN": "guard-token-0123456789abcdef",
    "MQTT_PASSWORD": "mqtt-password-77aa",
    "MEDIA_TOKEN": "media-token-0123456789",
    "TECHNICIAN_TOKEN": "technician-token-0123456789",
}

SITE = """\
site:
  id: jms-no3-middle
  name: 第三中学
  address: 长安路 86 号
  location:
    lat: 46.8085
    lon: 130.3653
zones:
  - id: gate-south
    name: 南门
    kind: gate
  - id: corridor-3
    name: 三层走廊
    kind: corridor
    building: 一号楼
    floor: 3
cameras:
  - id: cam-gate
    name: 南门枪机
    zone: gate-south
    onvif:
      host: 192.168.1.11
      username: admin
      password: {env: CAM_PASSWORD}
    record: continuous
  - id: cam-corridor
    name: 三层走廊
    zone: corridor-3
    stream:
      url: rtsp://192.168.1.12/cam2
      username: admin
      password: {env: CAM_PASSWORD}
points:
  - id: p-301
    name: 301 教室讲台
    zone: corridor-3
    mqtt:
      topic: zigbee2mqtt/sos-301
      format: zigbee2mqtt
      input: left
    cameras: [cam-gate]
  - id: p-gate
    name: 门卫室
    zone: gate-south
    mqtt:
      topic: campus/gate
centre:
  id: jms-110
  name: 110 指挥中心
  webhook:
    url: https://110.example.gov.cn/campus
    secret: {env: CENTRE_SECRET}
    drill_secret: {env: CENTRE_DRILL_SECRET}
mqtt:
  url: mqtt://127.0.0.1:1883
  username: gateway
  password: {env: MQTT_PASSWORD}
storage:
  retention_days: 30
http:
  listen: 127.0.0.1:8080
  public_url: https://school.example
access:
  - name: "110"
    unit: 指挥中心
    role: centre
    token: {env: CENTRE_TOKEN}
"""


def changed(*changes: tuple[str, str], text: str = SITE) -> str:
    """The site file with each old text, which must be there exactly once, replaced by the new one."""
    for old, new in changes:
        assert text.count(old) == 1, f"{old!r} is there {text.count(old)} times"
        text = text.replace(old, new)
    return text


def load(folder: Path, text: str | bytes, environ: dict[str, str] | None = None) -> Loaded:
    """Write the text into the folder and load it."""
    path = folder / "site.yaml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return load_site(path, ENVIRON if environ is None else environ)


def refusal(folder: Path, text: str | bytes, environ: dict[str, str] | None = None) -> tuple[Finding, ...]:
    """The findings with which the text is refused."""
    with pytest.raises(SiteRefused) as refused:
        load(folder, text, environ)
    findings = refused.value.findings
    assert findings
    assert all(finding.blocking for finding in findings)
    return findings


def marked_line(text: str) -> int:
    """The line marked with # HERE."""
    lines = [number for number, line in enumerate(text.splitlines(), 1) if "# HERE" in line]
    assert len(lines) == 1, f"{len(lines)} lines are marked"
    return lines[0]


def check_refused(folder: Path, old: str, new: str, key: str, words: str) -> None:
    """The changed file is refused by one finding, under this key, at the marked line, with these words."""
    text = changed((old, new))
    findings = refusal(folder, text)
    assert [finding.key for finding in findings] == [key], "\n".join(map(str, findings))
    printed = str(findings[0])
    assert words in printed
    assert "hunter2" not in printed
    assert findings[0].expected
    assert findings[0].advice
    assert findings[0].line > 0
    assert findings[0].column > 0
    if "# HERE" in text:
        assert findings[0].line == marked_line(text)
    assert printed.startswith(f"{folder / 'site.yaml'}:{findings[0].line}: {key}: found ")
