"""What becomes of an accepted site file: defaults, mapped cameras, warnings, resolved paths, the kept copy."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from config.loading import SiteRefused, load_site
from config.settings import resolve
from config.unbuilt import unbuilt
from gateway.app.accepted import keep_accepted, load_accepted
from gateway.app.siteplan import compile_plan
from tests.support.site_text import ENVIRON, SITE, changed, load


def test_defaults_are_those_of_the_contract(tmp_path: Path) -> None:
    """What the file leaves out has the documented value."""
    site = load(tmp_path, changed(("storage:\n  retention_days: 30\n", ""))).site
    assert site.site.timezone == "Asia/Shanghai"
    assert (site.evidence.before_s, site.evidence.after_s) == (30, 30)
    assert (site.storage.retention_days, site.storage.reserve_gb) == (30, 5)
    assert (site.storage.objects, site.storage.database) == ("file:objects", "sqlite:gateway.db")
    assert site.storage.when_full == ("substream", "keyframes", "stop")
    assert (site.http.media_link_s, site.http.live_link_s) == (604800, 86400)
    assert site.centre.accept_within_s == 60
    assert (site.cameras[1].record, site.cameras[1].audio) == ("alarms-only", False)
    assert site.points[1].severity == "panic"
    assert site.points[1].mqtt is not None
    assert (site.points[1].mqtt.contact, site.points[1].mqtt.input) == ("normally-open", None)


def test_a_designated_key_target_keeps_ninety_days_and_less_is_refused(tmp_path: Path) -> None:
    """By itself where the file names no period; at the period's own line where it names a shorter one."""
    key_target = ("  location:\n", "  key_target: true\n  location:\n")
    unsaid = load(tmp_path, changed(key_target, ("storage:\n  retention_days: 30\n", ""))).site
    assert compile_plan(unsaid, ()).retention_days == unsaid.retention_days == 90
    more = load(tmp_path, changed(key_target, ("retention_days: 30", "retention_days: 180"))).site
    assert compile_plan(more, ()).retention_days == 180
    assert compile_plan(load(tmp_path, SITE).site, ()).retention_days == 30
    with pytest.raises(SiteRefused) as refused:
        load(tmp_path, changed(key_target, ("retention_days: 30", "retention_days: 89")))
    (finding,) = refused.value.findings
    assert (finding.key, finding.line) == ("storage.retention_days", finding_line(changed(key_target)))
    assert "90 or more" in str(finding)
    assert "Art. 32" in str(finding)


def finding_line(text: str) -> int:
    return 1 + [line.strip() for line in text.splitlines()].index("retention_days: 30")


def test_a_point_is_seen_by_its_zone_and_its_list(tmp_path: Path) -> None:
    """The cameras of the own zone and the listed ones, each once, in the order of the file."""
    site = load(tmp_path, changed(("cameras: [cam-gate]", "cameras: [cam-corridor, cam-gate]"))).site
    assert [camera.id for camera in site.cameras_of(site.points[0])] == ["cam-gate", "cam-corridor"]
    assert [camera.id for camera in site.cameras_of(site.points[1])] == ["cam-gate"]


def test_addresses_come_taken_apart(tmp_path: Path) -> None:
    """Readers get host and port, not text to take apart once more."""
    site = load(tmp_path, changed(("listen: 127.0.0.1:8080", 'listen: "[::1]:0"'))).site
    assert site.http.address == ("::1", 0)
    assert site.mqtt.address is not None
    assert (site.mqtt.address.scheme, site.mqtt.address.host, site.mqtt.address.port) == (
        "mqtt",
        "127.0.0.1",
        1883,
    )
    assert site.cameras[1].stream is not None
    assert site.cameras[1].stream.address.port == 554
    assert [camera.host for camera in site.cameras] == ["192.168.1.11", "192.168.1.12"]


WARNED = {
    "embedded broker": (
        ("  url: mqtt://127.0.0.1:1883", "  url: embedded"),
        "mqtt.url",
        "demo and bench only",
    ),
    "listen without use": (
        ("mqtt:\n  url", "mqtt:\n  listen: 127.0.0.1:1\n  url"),
        "mqtt.listen",
        "only the embedded",
    ),
    "unseen point": (
        ("    zone: gate-south\n    mqtt", "    zone: hall\n    mqtt"),
        "points[1].cameras",
        "without stills",
    ),
    "no drills": (
        ("    drill_secret: {env: CENTRE_DRILL_SECRET}\n", ""),
        "centre.webhook.drill_secret",
        "no drill",
    ),
    "no unit": (("    unit: 指挥中心\n", ""), "access[0].unit", "Art. 16"),
    "address without use": (
        ("  webhook:", "  media_url: https://m.example\n  webhook:"),
        "centre.media_url",
        "media: link does not use it",
    ),
    "region without use": (("  retention_days: 30", "  region: cn"), "storage.region", "file: store"),
    "user without password": (("  password: {env: MQTT_PASSWORD}\n", ""), "mqtt.password", "empty password"),
}


@pytest.mark.parametrize("name", WARNED)
def test_what_is_legal_and_doubtful_is_a_warning(name: str, tmp_path: Path) -> None:
    """The site loads, with one warning that names the key and what follows from it."""
    change, key, words = WARNED[name]
    text = SITE.replace("cameras:\n  - id", "  - id: hall\n    name: 大厅\n    kind: other\ncameras:\n  - id")
    (warning,) = load(tmp_path, changed(change, text=text)).warnings
    assert (warning.key, warning.blocking) == (key, False)
    assert warning.line > 0
    assert words in str(warning)
    assert f"{key}: warning: found " in str(warning)


def test_a_point_seen_from_another_zone_is_seen(tmp_path: Path) -> None:
    """A corridor's camera on the list is enough for a room without one."""
    hall = "  - id: hall\n    name: 大厅\n    kind: other\ncameras:\n  - id"
    text = changed(("cameras:\n  - id", hall), ("    zone: corridor-3\n    mqtt", "    zone: hall\n    mqtt"))
    assert load(tmp_path, text).warnings == []


def test_two_cameras_on_one_address_are_a_warning(tmp_path: Path) -> None:
    """One recorder may serve several cameras on one address, but more often it is one camera entered twice."""
    again = "  - {id: c3, name: x, zone: corridor-3, onvif: {host: 192.168.1.11}}\n"
    again += "  - {id: c4, name: x, zone: corridor-3, stream: {url: 'rtsp://192.168.1.12:554/cam2'}}\n"
    again += "  - {id: c5, name: x, zone: corridor-3, stream: {url: 'rtsp://192.168.1.12:554/cam3'}}\n"
    warnings = load(tmp_path, changed(("points:\n", f"{again}points:\n"))).warnings
    assert [warning.key for warning in warnings] == ["cameras[2].onvif.host", "cameras[3].stream.url"]


def test_a_school_without_points_is_a_warning(tmp_path: Path) -> None:
    """No contact, no alarm: legal, since a school is built in steps, and said."""
    text = SITE[: SITE.index("points:")] + SITE[SITE.index("centre:") :]
    (warning,) = load(tmp_path, text).warnings
    assert (warning.key, warning.advice) == ("points", "no alarm can ever be raised")


def test_paths_start_from_the_data_folder_and_the_site_file(tmp_path: Path) -> None:
    """Data goes below the data folder, which is `data` beside the site file if none is given."""
    loaded = load(tmp_path, SITE)
    settings = resolve(loaded, None)
    assert settings.data_dir == tmp_path / "data"
    assert settings.objects_dir == tmp_path / "data" / "objects"
    assert settings.database_file == tmp_path / "data" / "gateway.db"
    assert settings.beside_site_file("tls/ca.pem") == tmp_path / "tls" / "ca.pem"
    assert settings.beside_site_file("/etc/ca.pem") == Path("/etc/ca.pem")
    assert settings.mqtt_client_id == "campus-gateway-jms-no3-middle"
    assert not settings.data_dir.exists()
    elsewhere = changed(("  retention_days: 30", "  objects: file:/srv/objects\n  database: sqlite:db/g.db"))
    settings = resolve(load(tmp_path, elsewhere), tmp_path / "d")
    assert (settings.objects_dir, settings.database_file) == (
        Path("/srv/objects"),
        tmp_path / "d" / "db" / "g.db",
    )


def test_other_stores_have_no_folder(tmp_path: Path) -> None:
    """S3 and PostgreSQL are no files."""
    settings = resolve(load(tmp_path, OTHER_STORES), None)
    assert (settings.objects_dir, settings.database_file) == (None, None)
    store = settings.site.storage.object_store
    assert store is not None
    assert (store[0].host, store[0].port, store[1]) == ("s3.example", 443, "bucket")


OTHER_STORES = changed(
    (
        "  retention_days: 30",
        "  objects: s3+https://s3.example/bucket\n  access_key: id\n  secret_key: {env: MEDIA_TOKEN}\n"
        "  database: postgresql://gw@db.example/gw\n  database_password: {env: MEDIA_TOKEN}",
    )
)


def test_the_accepted_file_is_kept_and_used_when_the_next_is_refused(tmp_path: Path) -> None:
    """The copy is private, survives a refusal, and finds the files the original named."""
    site_dir, data_dir = tmp_path / "etc", tmp_path / "var" / "gateway"
    site_dir.mkdir()
    (site_dir / "cam.secret").write_text("from-a-file\n")
    (site_dir / "cam.secret").chmod(0o600)
    text = changed(("{env: CAM_PASSWORD}\n    record", "{file: cam.secret}\n    record"))
    loaded = load(site_dir, text)
    assert load_accepted(data_dir, loaded.path, ENVIRON) is None
    kept = keep_accepted(data_dir, loaded.text)
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert kept.read_text(encoding="utf-8") == text

    with pytest.raises(SiteRefused):
        load(site_dir, text.replace("kind: gate", "kind: gat"))
    fallback = load_accepted(data_dir, loaded.path, ENVIRON)
    assert fallback is not None
    assert fallback.site == loaded.site
    settings = resolve(fallback, data_dir, site_path=loaded.path)
    assert (settings.site_path, settings.data_dir) == (loaded.path, data_dir)
    assert settings.beside_site_file("ca.pem") == site_dir / "ca.pem"

    with pytest.raises(SiteRefused) as refused:
        load_accepted(data_dir, loaded.path, {})
    assert refused.value.findings[0].file == str(kept)


def test_keeping_replaces_the_former_copy_in_one_step(tmp_path: Path) -> None:
    """A later text replaces the former; a leftover of a crash or a planted link is not written through."""
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    keep_accepted(tmp_path, "first")
    (tmp_path / ".accepted-site.yaml.new").symlink_to(victim)
    kept = keep_accepted(tmp_path, "第二\r\n")
    assert kept.read_bytes() == "第二\r\n".encode()
    assert victim.read_text() == "untouched"
    assert sorted(os.listdir(tmp_path)) == ["accepted-site.yaml", "victim"]


def test_a_copy_that_cannot_be_written_leaves_the_former_one(tmp_path: Path) -> None:
    """A text that cannot be encoded fails, and neither harms the copy nor leaves a fragment."""
    kept = keep_accepted(tmp_path, "first")
    with pytest.raises(UnicodeEncodeError):
        keep_accepted(tmp_path, "\ud800")
    assert kept.read_text() == "first"
    assert os.listdir(tmp_path) == ["accepted-site.yaml"]


def test_what_is_not_built_is_said_with_its_line(tmp_path: Path) -> None:
    """Nothing legal is silently ignored: each finding names key and line and what happens instead."""
    text = changed(
        ("format: zigbee2mqtt", "format: esphome"),
        ("    mqtt:\n      topic: campus/gate", "    onvif_input: {camera: cam-gate, token: a}"),
        (
            "  webhook:",
            "  media: push\n  media_url: https://m.example\n  media_token: {env: MEDIA_TOKEN}\n  webhook:",
        ),
    )
    loaded = load(tmp_path, text)
    findings = unbuilt(loaded.site, loaded.places)
    assert {finding.key for finding in findings} == {
        "points[0].mqtt.format",
        "points[1].onvif_input",
    }
    lines = text.splitlines()
    for finding in findings:
        assert not finding.blocking
        assert finding.key.rpartition(".")[2] in lines[finding.line - 1]
    silent = [finding for finding in findings if finding.key.startswith("points")]
    assert all("RAISES AN ALARM" in finding.advice for finding in silent)


def test_a_recorded_bare_stream_without_a_second_one_is_told_where_the_file_asks_for_it(
    tmp_path: Path,
) -> None:
    """A warning at the camera's stream, so that nobody learns on a full disk that the step passes over it."""
    asks = ("  retention_days: 30", "  when_full: [substream, stop]")
    bare = ("    zone: corridor-3\n    stream:", "    zone: corridor-3\n    record: continuous\n    stream:")
    (warning,) = load(tmp_path, changed(asks, bare)).warnings
    assert warning.key == "cameras[1].stream"
    assert "passes over this camera" in str(warning)
    second = (
        "url: rtsp://192.168.1.12/cam2",
        "url: rtsp://192.168.1.12/cam2\n      sub_url: rtsp://192.168.1.12/sub",
    )
    loaded = load(tmp_path, changed(asks, bare, second))
    assert loaded.warnings == []
    assert loaded.site.cameras[1].stream is not None
    assert loaded.site.cameras[1].stream.sub_url == "rtsp://192.168.1.12/sub"
    assert load(tmp_path, changed(bare)).warnings == [], "it is the default, nobody asked for it"
    assert load(tmp_path, changed(asks)).warnings == [], "nothing of it is recorded"


def test_stores_that_are_not_built_stop_the_start(tmp_path: Path) -> None:
    """Without a place to keep its records the gateway cannot run: that finding blocks; S3 is built."""
    loaded = load(tmp_path, OTHER_STORES)
    found = {finding.key: finding.blocking for finding in unbuilt(loaded.site)}
    assert found == {"storage.database": True}


def test_a_site_file_without_surprises_has_nothing_unbuilt(tmp_path: Path) -> None:
    """A finding is about what the file asks for, never about defaults."""
    text = changed(("    kind: gate", "    kind: office"), ("    record: continuous\n", ""))
    assert unbuilt(load(tmp_path, text).site) == []


def test_a_path_relative_to_the_working_folder_is_fine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--config site.yaml` means the file here, and its data folder does not follow a later chdir."""
    (tmp_path / "site.yaml").write_text(SITE, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    settings = resolve(load_site(Path("site.yaml"), ENVIRON), None)
    assert settings.data_dir == tmp_path / "data"


@pytest.mark.parametrize(
    ("format_", "topic", "silent"),
    [
        ("shelly-gen1", "shellies/b/longpush/0", True),
        ("shelly-gen1", "shellies/b/input_event", True),
        ("shelly-gen1", "shellies/b/input_event/0", False),
        ("shelly-gen1", "shellies/b/input/1", False),
        ("shelly-gen1", "shellies/d/sensor/state", False),
        ("shelly-gen2", "shelly-4/rpc", True),
        ("shelly-gen2", "shelly-4/events/rpc", False),
        ("shelly-gen2", "school/i4/status/input:0", False),
        ("tasmota", "tele/t/LWT", True),
        ("tasmota", "tele/t/STATE", True),
        ("tasmota", "stat/t/RESULT", False),
        ("tasmota", "anything/else", False),
    ],
)
def test_a_topic_on_which_a_make_publishes_no_press_is_a_warning(
    tmp_path: Path, format_: str, topic: str, silent: bool
) -> None:
    """Otherwise nobody notices before the press that is not heard; where the firmware lets the topic be chosen, none."""
    text = changed(("topic: campus/gate", f'topic: "{topic}"\n      format: {format_}'))
    warnings = load(tmp_path, text).warnings
    assert [w.key for w in warnings] == ["points[1].mqtt.topic"] * silent
    assert all("publishes no press there" in str(w) for w in warnings)


def test_different_inputs_of_one_topic_are_different_points(tmp_path: Path) -> None:
    """A switch and a button of one number are two."""
    text = changed(
        ("input: left", "input: Switch2"),
        ("topic: campus/gate", "topic: zigbee2mqtt/sos-301\n      input: Button2\n      format: zigbee2mqtt"),
    )
    assert load(tmp_path, text).warnings == []
