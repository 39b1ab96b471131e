"""Each rule of the site file: what breaks it is refused with the line, the key and what was expected."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.site_text import ENVIRON, SITE, changed, check_refused, load, marked_line, refusal

# (what the file says, what it says instead with the line marked, the key, a word of the message)
CASES = {
    # keys
    "unknown key": (
        "    record: continuous",
        "    recrod: continuous # HERE",
        "cameras[0].recrod",
        "mean record?",
    ),
    "unknown section": ("storage:", "storrage: # HERE", "storrage", "did you mean storage?"),
    "key of another section": (
        "    role: centre",
        "    role: centre\n    topic: x # HERE",
        "access[0].topic",
        "a key of points[].confirm and points[].mqtt",
    ),
    "missing key": ("  address: 长安路 86 号\n", "", "site.address", "found nothing; expected this key"),
    "key twice": ("    lat: 46.8085", "    lat: 46.8085\n    lat: 46 # HERE", "site.location.lat", "line 6"),
    "merge key": ("    kind: gate", "    kind: gate\n    <<: x # HERE", "zones[0].<<", "merge keys"),
    # types
    "number for text": (
        "  name: 第三中学",
        "  name: 110 # HERE",
        "site.name",
        "expected text; put it in quotes",
    ),
    "text for number": ("    floor: 3", "    floor: three # HERE", "zones[1].floor", "a whole number"),
    "leading zero": (
        "    floor: 3",
        "    floor: 03 # HERE",
        "zones[1].floor",
        'found "03"; expected a whole number',
    ),
    "fraction": (
        "retention_days: 30",
        "retention_days: 30.5 # HERE",
        "storage.retention_days",
        "whole number",
    ),
    "yes": (
        "    record: continuous",
        "    record: continuous\n    audio: yes # HERE",
        "cameras[0].audio",
        "true or false",
    ),
    "null": ("  listen: 127.0.0.1:8080", "  listen: # HERE", "http.listen", "nothing (null)"),
    "text for mapping": (
        "  location:\n    lat: 46.8085\n    lon: 130.3653",
        "  location: here # HERE",
        "site.location",
        "a mapping",
    ),
    "text for list": (
        "    cameras: [cam-gate]",
        "    cameras: cam-gate # HERE",
        "points[0].cameras",
        "a list",
    ),
    "choice": ("    kind: corridor", "    kind: coridor # HERE", "zones[1].kind", "did you mean corridor?"),
    # values of the site
    "id": ("  id: jms-no3-middle", "  id: JMS_3 # HERE", "site.id", "a-z, 0-9 and -"),
    "number as id": ("  - id: p-gate", "  - id: 7 # HERE", "points[1].id", "put it in quotes"),
    "latitude": ("lat: 46.8085", "lat: 146.8 # HERE", "site.location.lat", "-90 to 90"),
    "longitude": ("lon: 130.3653", "lon: -180.1 # HERE", "site.location.lon", "-180 to 180"),
    "infinity": ("lon: 130.3653", "lon: 1.0e999 # HERE", "site.location.lon", "finite"),
    "time zone": (
        "  name: 第三中学",
        "  name: 第三中学\n  timezone: Asia/Jiamusi # HERE",
        "site.timezone",
        "Asia/Shanghai",
    ),
    "time zone folder": (
        "  name: 第三中学",
        "  name: 第三中学\n  timezone: Asia # HERE",
        "site.timezone",
        "IANA",
    ),
    "time zone escape": (
        "  name: 第三中学",
        "  name: 第三中学\n  timezone: ../etc # HERE",
        "site.timezone",
        "IANA",
    ),
    # references and duplicates
    "zone of camera": (
        "    zone: gate-south\n    onvif",
        "    zone: gate-east # HERE\n    onvif",
        "cameras[0].zone",
        "one of the zones",
    ),
    "zone of point": (
        "    zone: gate-south\n    mqtt",
        "    zone: gate-east # HERE\n    mqtt",
        "points[1].zone",
        "one of the zones",
    ),
    "camera of point": (
        "[cam-gate]",
        "[cam-gate, cam-x] # HERE",
        "points[0].cameras[1]",
        "one of the cameras",
    ),
    "camera twice": ("[cam-gate]", "[cam-gate, cam-gate] # HERE", "points[0].cameras[1]", "each camera once"),
    "zone id twice": (
        "cameras:\n",
        "  - id: gate-south # HERE\n    name: x\n    kind: gate\ncameras:\n",
        "zones[2].id",
        "zones[0] has it already",
    ),
    "camera id twice": (
        "  - id: cam-corridor",
        "  - id: cam-gate # HERE",
        "cameras[1].id",
        "cameras[0] has it",
    ),
    "point id twice": ("  - id: p-gate", "  - id: p-301 # HERE", "points[1].id", "points[0] has it already"),
    # liveness and confirmation
    "liveness where presses are": (
        "      input: left",
        "      input: left\n      liveness: campus/gate # HERE",
        "points[0].mqtt.liveness",
        "the presses of p-gate",
    ),
    "silence too short": (
        "      input: left",
        "      input: left\n      silent_after_s: 59 # HERE",
        "points[0].mqtt.silent_after_s",
        "60 or more",
    ),
    "confirmation of duress": (
        "    zone: gate-south\n    mqtt",
        "    zone: gate-south\n    severity: duress\n    confirm: {topic: lamp} # HERE\n    mqtt",
        "points[1].confirm",
        "must not see that help was called",
    ),
    "confirmation where presses are": (
        "    cameras: [cam-gate]",
        "    cameras: [cam-gate]\n    confirm: {topic: campus/gate} # HERE",
        "points[0].confirm.topic",
        "the presses of p-gate",
    ),
    "confirmation where liveness is": (
        "    cameras: [cam-gate]",
        "    cameras: [cam-gate]\n    confirm: {topic: zigbee2mqtt/bridge/state} # HERE",
        "points[0].confirm.topic",
        "the liveness topic of p-301",
    ),
    "confirmation to the broker itself": (
        "    cameras: [cam-gate]",
        "    cameras: [cam-gate]\n    confirm: {topic: $SYS/lamp} # HERE",
        "points[0].confirm.topic",
        "does not begin with $",
    ),
    "confirmation to a wildcard": (
        "    cameras: [cam-gate]",
        "    cameras: [cam-gate]\n    confirm: {topic: lamps/+} # HERE",
        "points[0].confirm.topic",
        "without the wildcards",
    ),
    "confirmation kept without an end": (
        "    cameras: [cam-gate]",
        '    cameras: [cam-gate]\n    confirm: {topic: lamp, received: "ON", retain: true} # HERE',
        "points[0].confirm",
        "a word for closed beside retain",
    ),
    # the law
    "camera in toilet": ("    kind: corridor", "    kind: toilet", "cameras[1].zone", "Art. 8 items 2–4"),
    "camera in dormitory room": (
        "    kind: corridor",
        "    kind: dormitory-room",
        "cameras[1].zone",
        "公共安全视频图像信息系统管理条例",
    ),
    "camera in changing room": (
        "    kind: corridor",
        "    kind: changing",
        "cameras[1].zone",
        "State Council Order 799",
    ),
    "gate not continuous": (
        "    record: continuous",
        "    record: alarms-only # HERE",
        "cameras[0].record",
        "Art. 17",
    ),
    "gate by default": ("    record: continuous\n", "", "cameras[0].record", "expected continuous"),
    "passage not continuous": (
        "    kind: corridor",
        "    kind: passage",
        "cameras[1].record",
        "30 days or more",
    ),
    "retention": ("retention_days: 30", "retention_days: 29 # HERE", "storage.retention_days", "Art. 17"),
    # sources
    "camera by both": (
        "    stream:",
        "    onvif:\n      host: x\n    stream:",
        "cameras[1]",
        "exactly one of the keys onvif and stream",
    ),
    "a colon in a camera's user name": (
        "      host: 192.168.1.11\n      username: admin",
        '      host: 192.168.1.11\n      username: "ad:min" # HERE',
        "cameras[0].onvif.username",
        "part name and password at the first colon",
    ),
    "a colon in a stream's user name": (
        "/cam2\n      username: admin",
        '/cam2\n      username: "管理:员" # HERE',
        "cameras[1].stream.username",
        "a user name without :",
    ),
    "point by nothing": (
        "    mqtt:\n      topic: campus/gate\n",
        "",
        "points[1]",
        "exactly one of the keys mqtt and onvif_input",
    ),
    "topic twice": (
        "topic: campus/gate",
        "topic: zigbee2mqtt/sos-301 # HERE",
        "points[1].mqtt.topic",
        "points[0] (p-301)",
    ),
    "topic and input twice": (
        "topic: campus/gate",
        "topic: zigbee2mqtt/sos-301 # HERE\n      input: left\n      format: zigbee2mqtt",
        "points[1].mqtt.topic",
        "a different input each",
    ),
    "one input in two spellings": (
        "      input: left\n    cameras: [cam-gate]\n  - id: p-gate\n    name: 门卫室\n    zone: gate-south\n    mqtt:\n"
        "      topic: campus/gate",
        "      input: Switch2\n    cameras: [cam-gate]\n  - id: p-gate\n    name: 门卫室\n    zone: gate-south\n    mqtt:\n"
        "      topic: zigbee2mqtt/sos-301 # HERE\n      input: 2\n      format: zigbee2mqtt",
        "points[1].mqtt.topic",
        "a different input each",
    ),
    "topic in two formats": (
        "topic: campus/gate",
        "topic: zigbee2mqtt/sos-301\n      input: right\n      format: gateway # HERE",
        "points[1].mqtt.format",
        "one device writes one format",
    ),
    "wildcard +": ("topic: campus/gate", "topic: campus/+/gate # HERE", "points[1].mqtt.topic", "wildcards"),
    "wildcard #": ("topic: campus/gate", 'topic: "campus/#" # HERE', "points[1].mqtt.topic", "wildcards"),
    "shared topic": ("topic: campus/gate", "topic: $share/g/gate # HERE", "points[1].mqtt.topic", "$share/"),
    "empty topic": ("topic: campus/gate", 'topic: "" # HERE', "points[1].mqtt.topic", "1 to 65535 bytes"),
    "long topic": (
        "topic: campus/gate",
        f"topic: {'触' * 21846} # HERE",
        "points[1].mqtt.topic",
        "1 to 65535 bytes",
    ),
    "NUL in topic": ("topic: campus/gate", 'topic: "campus\\0gate" # HERE', "points[1].mqtt.topic", "U+0000"),
    "input of a stream": (
        "    mqtt:\n      topic: campus/gate",
        "    onvif_input:\n      camera: cam-corridor # HERE\n      token: '1'",
        "points[1].onvif_input.camera",
        "alarm inputs are read by ONVIF",
    ),
    "input of no camera": (
        "    mqtt:\n      topic: campus/gate",
        "    onvif_input:\n      camera: cam-x # HERE\n      token: '1'",
        "points[1].onvif_input.camera",
        "one of the cameras",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_a_broken_rule_is_refused_with_line_key_and_expectation(name: str, tmp_path: Path) -> None:
    """One fault gives one finding, at its line and under its key, that says what was expected and echoes no secret."""
    old, new, key, words = CASES[name]
    check_refused(tmp_path, old, new, key, words)


def test_the_unbroken_file_loads_without_warnings(tmp_path: Path) -> None:
    """The file all cases start from is sound, so that each case shows its own fault only."""
    loaded = load(tmp_path, SITE)
    assert [str(warning) for warning in loaded.warnings] == []
    assert loaded.text == SITE


def test_all_faults_are_named_in_the_order_of_the_file(tmp_path: Path) -> None:
    """Nobody has to mend one fault to learn of the next, not even within one entry."""
    text = changed(
        ("lat: 46.8085", "lat: 99"),
        ("kind: corridor", "kind: toilet"),
        ("    record: continuous", "    audio: on\n    record: continuous"),
        ("    zone: gate-south\n    onvif", "    zone: nowhere\n    onvif"),
        ("cameras: [cam-gate]", "cameras: [cam-x]\n    severity: bad"),
        ("retention_days: 30", "retention_days: 7"),
        ("listen: 127.0.0.1:8080", "listen: 0.0.0.0:8080"),
    )
    environ = {
        name: value for name, value in ENVIRON.items() if name not in ("CAM_PASSWORD", "CENTRE_SECRET")
    }
    findings = refusal(tmp_path, text, environ)
    assert [finding.key for finding in findings] == [
        "site.location.lat",
        "cameras[0].zone",
        "cameras[0].onvif.password",
        "cameras[0].audio",
        "cameras[1].zone",
        "cameras[1].stream.password",
        "points[0].cameras[0]",
        "points[0].severity",
        "centre.webhook.secret",
        "storage.retention_days",
        "http.listen",
    ]
    assert [finding.line for finding in findings] == sorted(finding.line for finding in findings)


def test_two_inputs_of_one_device_are_two_sources(tmp_path: Path) -> None:
    """Points share a topic if each names an input of its own; a number names the same input as its text."""
    other = "topic: zigbee2mqtt/sos-301\n      format: zigbee2mqtt\n      input: "
    load(tmp_path, changed(("topic: campus/gate", other + "right")))
    one = changed(("topic: campus/gate", other + '"1"'), ("input: left", "input: 1"))
    assert [finding.key for finding in refusal(tmp_path, one)] == ["points[1].mqtt.topic"]


def test_one_onvif_input_is_one_source(tmp_path: Path) -> None:
    """Two points on one camera's alarm input are refused, two inputs of one camera are not."""
    first = "    mqtt:\n      topic: zigbee2mqtt/sos-301\n      format: zigbee2mqtt\n      input: left\n"
    second = "    mqtt:\n      topic: campus/gate\n"
    wired = "    onvif_input:\n      camera: cam-gate\n      token: "
    load(tmp_path, changed((first, f'{wired}"1"\n'), (second, f'{wired}"2"\n')))
    text = changed((first, f'{wired}"1"\n'), (second, f'{wired}"1" # HERE\n'))
    (finding,) = refusal(tmp_path, text)
    assert (finding.key, finding.line) == ("points[1].onvif_input.token", marked_line(text))


def test_no_more_entries_than_the_gateway_is_made_for(tmp_path: Path) -> None:
    """2,000 zones are accepted, one more is refused at its list."""
    zones = "".join(f"  - {{id: z-{number}, name: z, kind: office}}\n" for number in range(1998))
    text = changed(("cameras:\n  - id", f"{zones}cameras:\n  - id"))
    assert len(load(tmp_path, text).site.zones) == 2000
    text = text.replace("zones:", "zones:\n  - {id: z-more, name: z, kind: office}")
    (finding,) = refusal(tmp_path, text)
    assert (finding.key, finding.line, finding.expected) == ("zones", 8, "at most 2000")
