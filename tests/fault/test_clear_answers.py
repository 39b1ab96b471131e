"""What is set up wrongly, or goes wrong outside, gets a clear answer, and nothing is lost by it."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import pytest

from simulators.button import SimulatedButton
from simulators.centre.signatures import new_secret
from tests.support.processes import (
    FAULT_GONE_S,
    Campus,
    Gateway,
    any_broker,
    memory_mb,
    run_gateway,
    sampled,
    site_yaml,
    topic,
    wait_for,
)
from tests.support.small_disk import fill

_LONG_PAYLOAD_BYTES = 100_000_000


@pytest.mark.parametrize(
    ("good", "bad", "key", "found"),
    [
        ("  media: link", "  media: link\n  medai: push", "centre.medai", "medai"),
        ("cameras: []}", "cameras: [cam-gone]}", "points[0].cameras[0]", "cam-gone"),
        ("topic: campus/journey/p-1", "topic: campus/journey/p-0", "points[1].mqtt.topic", "points[0] (p-0)"),
    ],
    ids=["unknown key", "dangling camera", "two points on one topic"],
)
def test_a_wrong_site_file_is_refused_with_its_place(
    tmp_path: Path, good: str, bad: str, key: str, found: str
) -> None:
    """`run` and `check` end with 2 and name file, line, key and what was found; no data folder is made."""
    text = site_yaml(broker="mqtt://127.0.0.1:1", centre="http://127.0.0.1:1/campus", points=2)
    assert good in text
    text = text.replace(good, bad, 1)
    changed = next(n for n, each in enumerate(text.splitlines(), 1) if bad.splitlines()[-1] in each)
    line = changed + 1 if key.startswith("points[1]") else changed
    site = tmp_path / "site.yaml"
    site.write_text(text, "utf-8")
    for command in ("run", "check"):
        done = run_gateway(command, "--config", str(site))
        assert done.returncode == 2, done.stderr
        assert f"{site}:{line}: {key}" in done.stderr, done.stderr
        assert found in done.stderr
    assert not (tmp_path / "data").exists()


def test_a_wrong_secret_is_tried_for_ever_and_loses_nothing(tmp_path: Path) -> None:
    """The centre refuses every signature: a path fault says so; with the right secret the press is delivered, once."""
    with any_broker(tmp_path) as broker, Campus(tmp_path) as campus, SimulatedButton(broker) as button:
        site = site_yaml(broker=broker, centre=campus.centre_url)
        wrong = Gateway(tmp_path, site, environ={"CENTRE_SECRET": new_secret()})
        with wrong:
            button.press(topic(0))
            wait_for(lambda: ("path", "first") in wrong.faults(), within_s=15, what="a fault of the path")
            cause = wrong.faults()["path", "first"]
            assert "401" in cause, cause
            assert "centre.webhook.secret" in cause, cause
            (alarm,) = wrong.alarms()
            attempts = _raised(wrong, alarm["id"])["attempts"]
            wait_for(
                lambda: len(_raised(wrong, alarm["id"])["attempts"]) > len(attempts),
                within_s=20,
                what="one attempt more",
            )
            assert campus.alarms() == []
        with Gateway(tmp_path, site) as right:
            wait_for(campus.alarms, within_s=10, what="the press, now rightly signed")
            assert [a["id"] for a in campus.alarms()] == [alarm["id"]]
            wait_for(lambda: right.undelivered() == 0, within_s=20, what="nothing undelivered")
            wait_for(
                lambda: ("path", "first") not in right.faults(),
                within_s=FAULT_GONE_S,
                what="the fault is gone",
            )


@pytest.mark.slow
def test_a_payload_of_100_mb_is_quarantined_and_the_next_press_counts(tmp_path: Path) -> None:
    """It is kept as unreadable with its size, does not hold up the queue, and its memory is given back."""
    with any_broker(tmp_path) as broker, Campus(tmp_path) as campus:
        site = site_yaml(broker=broker, centre=campus.centre_url, points=2)
        with Gateway(tmp_path, site) as gateway, SimulatedButton(broker) as button:
            wait_for(lambda: campus.state()["plan"], within_s=10, what="the plan at the centre")
            before_mb = memory_mb(gateway.pid)
            with sampled(lambda: memory_mb(gateway.pid)) as seen_mb:
                button.publish(topic(0), b"\1" * _LONG_PAYLOAD_BYTES).wait(60)
                pressed = button.press(topic(1), timeout_s=60)
                wait_for(campus.alarms, within_s=60, what="the press behind it")
                kept = wait_for(
                    lambda: gateway.get("/api/v1/quarantine")["quarantine"], within_s=30, what="quarantine"
                )
            taken_s = campus.alarms()[0]["raised"]["taken_s"]
            assert [(row["topic"], row["bytes"]) for row in kept] == [(topic(0), _LONG_PAYLOAD_BYTES)]
            assert [a["point"]["id"] for a in gateway.alarms()] == ["p-1"]
            wait_for(
                lambda: memory_mb(gateway.pid) < before_mb + 30, within_s=20, what="its memory is given back"
            )
            print(
                f"memory before {before_mb:.0f}, at most {max(seen_mb):.0f}, after {memory_mb(gateway.pid):.0f} MB; "
                f"press behind it {taken_s - pressed.published_s:.2f} s"
            )


@pytest.mark.slow
def test_cameras_that_refuse_or_lie_are_named_and_left_alone(tmp_path: Path) -> None:
    """401 is asked once and not again; JPEG for H.264 is told as such; the third camera's evidence is whole."""
    with (
        any_broker(tmp_path) as broker,
        Campus(tmp_path, cameras=3) as campus,
        SimulatedButton(broker) as button,
    ):
        campus.camera_fault(0, reject_login=True)
        campus.camera_fault(1, wrong_codec=True)
        site = site_yaml(broker=broker, centre=campus.centre_url, cameras=campus.cameras)
        with Gateway(tmp_path, site) as gateway:
            wait_for(
                lambda: {("camera", "cam-1"), ("camera", "cam-2")} <= set(gateway.faults()),
                within_s=40,
                what="faults of both cameras",
            )
            faults = gateway.faults()
            assert "401" in faults["camera", "cam-1"], faults
            assert "JPEG" in faults["camera", "cam-2"], faults
            assert "H.264" in faults["camera", "cam-2"], faults
            asked = campus.camera_status(0)["refused_logins"]
            button.press(topic(0))
            alarm = wait_for(
                lambda: next((a for a in campus.alarms() if a["manifests"]), None),
                within_s=45,
                what="the manifest",
            )
            items = alarm["manifests"][-1]["data"]["items"]
            for camera, word in (("cam-1", "401"), ("cam-2", "JPEG")):
                reasons = [i["reason"] for i in items if i["camera"] == camera]
                assert reasons
                assert all(word in (reason or "") for reason in reasons), reasons
            assert all(i["evidence"] for i in items if i["camera"] == "cam-3"), items
            # One request with credentials more than the first 401 would lock accounts on real cameras.
            assert campus.camera_status(0)["refused_logins"] == asked
            assert asked <= 2, f"{asked} log-ins tried"


def test_a_centre_that_answers_garbage_has_received_and_is_told_of(tmp_path: Path) -> None:
    """200 with JSON that cannot be understood: received, not sent again, no state changed, and a fault says so."""
    with any_broker(tmp_path) as broker, Campus(tmp_path) as campus:
        site = site_yaml(broker=broker, centre=campus.centre_url)
        with Gateway(tmp_path, site) as gateway, SimulatedButton(broker) as button:
            wait_for(lambda: gateway.undelivered() == 0, within_s=10, what="the plan is out")
            campus.misbehave(answer="truncated")
            button.press(topic(0))
            wait_for(
                lambda: ("centre", "answers") in gateway.faults(), within_s=10, what="a fault of the answers"
            )
            wait_for(lambda: gateway.undelivered() == 0, within_s=10, what="everything counts as received")
            (alarm,) = gateway.alarms()
            raised = _raised(gateway, alarm["id"])
            assert [a["outcome"] for a in raised["attempts"]] == ["received"]
            assert alarm["state"] == "raised"


def test_a_centre_that_was_away_gets_everything_at_once(tmp_path: Path) -> None:
    """Twenty presses while nobody listens are delivered within seconds of its return, none twice, in their order."""
    presses = 20
    with any_broker(tmp_path) as broker, Campus(tmp_path) as campus, SimulatedButton(broker) as button:
        site = site_yaml(broker=broker, centre=campus.centre_url, points=presses)
        with Gateway(tmp_path, site) as gateway:
            wait_for(lambda: gateway.undelivered() == 0, within_s=10, what="the plan is out")
            campus.misbehave(refuse=True)
            for number in range(presses):
                button.press(topic(number))
            wait_for(lambda: len(gateway.alarms()) == presses, within_s=10, what="every press committed")
            wait_for(lambda: ("path", "first") in gateway.faults(), within_s=15, what="a fault of the path")
            campus.misbehave(refuse=False)
            back_s = time.monotonic()
            wait_for(lambda: campus.state()["alarms_total"] == presses, within_s=10, what="all alarms")
            took_s = time.monotonic() - back_s
            print(f"{presses} alarms {took_s:.2f} s after the centre's return")
            wait_for(lambda: gateway.undelivered() == 0, within_s=10, what="nothing undelivered")
            # The first to come is whatever was due next; its answer makes all the rest due, alerts before all else. Attempts
            # are answered side by side, so a few of a lower class may overtake, and most must not.
            taken = [(e["at_s"], e["about"]["type"]) for e in campus.events() if e["what"] == "received"]
            back = [(at_s, kind) for at_s, kind in taken if kind in ("alarm.raised", "alarm.manifest")]
            alerts_s = [at_s - back[0][0] for at_s, kind in back if kind == "alarm.raised"]
            others_s = [at_s - back[0][0] for at_s, kind in back if kind == "alarm.manifest"]
            assert max(alerts_s) < 1.0, back
            assert statistics.median(alerts_s) <= statistics.median(others_s), back
            assert campus.state()["problems"] == []


def test_a_site_in_a_path_with_spaces_and_chinese_works(tmp_path: Path) -> None:
    """Site file and data in `三中 的 网关 (new)`: armed, a press delivered, a still fetched by its link."""
    folder = tmp_path / "三中 的 网关 (new)"
    folder.mkdir()
    with any_broker(tmp_path) as broker, Campus(tmp_path, cameras=1) as campus:
        site = site_yaml(broker=broker, centre=campus.centre_url, cameras=campus.cameras)
        with Gateway(folder, site) as gateway, SimulatedButton(broker) as button:
            wait_for(lambda: gateway.rings_hold(1), within_s=30, what="the camera delivers")
            button.press(topic(0))
            fetched = wait_for(
                lambda: [e for a in campus.alarms() for e in a["evidence"] if e["fetched_s"]],
                within_s=15,
                what="a still at the centre",
            )
            assert fetched[0]["sha256_right"]
        checked = run_gateway("check", "--config", str(gateway.config), "--data-dir", str(gateway.data))
        assert checked.returncode == 0, checked.stderr


@pytest.mark.slow
def test_a_full_disk_delays_evidence_and_no_alert(tmp_path: Path, small_disk: Path) -> None:
    """Presses on a full disk alert as ever; what was captured waits and is stored once there is room; a fault says so."""
    with (
        any_broker(tmp_path) as broker,
        Campus(tmp_path, cameras=1) as campus,
        SimulatedButton(broker) as button,
    ):
        site = site_yaml(broker=broker, centre=campus.centre_url, points=6, cameras=campus.cameras)
        gateway = Gateway(tmp_path, site, data=small_disk / "data")
        with gateway:
            wait_for(lambda: gateway.rings_hold(5), within_s=40, what="the ring holds 5 s")
            filling = small_disk / "somebody-elses.bin"
            fill(filling)
            for number in range(5):
                pressed = button.press(topic(number))
                wait_for(
                    lambda n=number: campus.state()["alarms_total"] == n + 1, within_s=10, what="the alert"
                )
                took_s = campus.alarms()[0]["raised"]["taken_s"] - pressed.published_s
                print(f"press {number} on a full disk: alert after {took_s:.3f} s")
                assert took_s < 2.0
            wait_for(
                lambda: {kind for kind, _ in gateway.faults()} & {"disk", "store"},
                within_s=20,
                what="a fault of disk or store",
            )
            wait_for(
                lambda: ("store", "objects") in gateway.faults(),
                within_s=20,
                what="a fault of the object store",
            )
            stored = [e for a in campus.alarms() for e in a["evidence"]]
            print(f"{len(stored)} items stored on the full disk")
            filling.unlink()
            wait_for(lambda: all(a["manifests"] for a in campus.alarms()), within_s=60, what="all manifests")
            pressed = button.press(topic(5))
            wait_for(
                lambda: campus.state()["alarms_total"] == 6, within_s=10, what="the alert with room again"
            )
            last = campus.alarms()[0]["id"]
            wait_for(
                lambda: any(e["fetched_s"] for e in _alarm(campus, last)["evidence"]),
                within_s=30,
                what="evidence of the alarm with room again",
            )
            wait_for(
                lambda: not {kind for kind, _ in gateway.faults()} & {"store", "disk"},
                within_s=20,
                what="both faults are gone",
            )
            for alarm in campus.alarms():
                for item in alarm["manifests"][-1]["data"]["items"] if alarm["manifests"] else []:
                    assert item["evidence"] or item["reason"], item


def _alarm(campus: Campus, alarm: str) -> dict[str, Any]:
    return next(a for a in campus.alarms() if a["id"] == alarm)


def _raised(gateway: Gateway, alarm: str) -> dict[str, Any]:
    deliveries = gateway.get(f"/api/v1/alarms/{alarm}")["deliveries"]
    found: dict[str, Any] = next(d for d in deliveries if d["type"] == "alarm.raised")
    return found
