"""A gateway whose evidence goes into S3: away for a whole alarm and the gateway killed meanwhile, played by range, probed."""

from __future__ import annotations

import hashlib
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from simulators.button import SimulatedButton
from tests.support.processes import (
    TECHNICIAN_TOKEN,
    Campus,
    Gateway,
    any_broker,
    run_gateway,
    site_yaml,
    topic,
    wait_for,
)
from tests.support.s3_stores import Rclone, S3Store
from tests.support.small_disk import fill

CAMERAS = 2
ITEMS = CAMERAS * 5  # press, before, after; clips before and whole


def _site(store: S3Store, bucket: str, **site: Any) -> str:
    """The usual site with its objects in a bucket."""
    text = site_yaml(**site)
    keys = f'access_key: "{store.access_key}", secret_key: {{env: S3_SECRET}}, region: us-east-1'
    s3 = f'objects: "s3+http://127.0.0.1:{store.port}/{bucket}", {keys}'
    assert text.count('objects: "file:objects"') == 1
    return text.replace('objects: "file:objects"', s3)


def _environ(store: S3Store) -> Mapping[str, str]:
    return {"S3_SECRET": store.secret_key}


@pytest.mark.slow
def test_a_store_away_for_a_whole_alarm_and_a_kill_lose_no_evidence(tmp_path: Path) -> None:
    """The alert goes out, a fault names the store, what was captured outlives kill -9, and once the store is back all of it is
    there with its own instants and digests, told to the centre, fetched, and played by range."""
    with (
        Rclone(tmp_path) as store,
        any_broker(tmp_path) as broker,
        Campus(tmp_path, cameras=CAMERAS) as campus,
    ):
        bucket = store.bucket()
        site = _site(store, bucket, broker=broker, centre=campus.centre_url, cameras=campus.cameras)
        gateway = Gateway(tmp_path, site, environ=_environ(store))
        spool = gateway.data / "spool"
        with gateway, SimulatedButton(broker) as button:
            wait_for(lambda: gateway.rings_hold(6), within_s=40, what="the rings hold 6 s")
            store.kill()
            pressed = button.press(topic(0))
            alarm = wait_for(campus.alarms, within_s=5, what="the alert")[0]
            assert alarm["raised"]["taken_s"] - pressed.published_s < 2.0
            fault = wait_for(
                lambda: gateway.faults().get(("store", "objects")), within_s=20, what="the fault of the store"
            )
            assert f"127.0.0.1:{store.port}" in fault
            assert "is the store running" in fault
            manifest = wait_for(
                lambda: (campus.alarms()[0]["manifests"] or [None])[-1], within_s=40, what="the manifest"
            )
            for item in manifest["data"]["items"]:
                assert item["evidence"] is None
                assert "safe on the gateway" in item["reason"], item
            captured = _captured(gateway, alarm["id"], spool)
            assert len(captured) == ITEMS
            gateway.kill()

            gateway.start()  # still without its store
            wait_for(
                lambda: gateway.log.read_text("utf-8").count('"event": "store.unavailable"') > 1,
                within_s=20,
                what="it tries to store what the killed one had captured",
            )
            assert _captured(gateway, alarm["id"], spool) == captured
            store.start()
            wait_for(
                lambda: sum(1 for e in campus.alarms()[0]["evidence"] if e["fetched_s"]) >= ITEMS,
                within_s=60,
                what="everything fetched by the centre",
            )
            told = {e["announced"]["id"]: e for e in campus.alarms()[0]["evidence"]}
            assert all(e["sha256_right"] for e in told.values() if e["fetched_s"])
            kept = store.content(bucket)
            for name, sha256 in captured.items():
                announced = told[name.rpartition(".")[0]]["announced"]
                assert announced["sha256"] == sha256
                assert announced["clock"] in (
                    "rtcp",
                    "arrival",
                )  # its instants are its own, not the restart's
                assert announced["taken_at"]
                (key,) = (key for key in kept if key.endswith("/" + name))
                assert hashlib.sha256(kept[key]).hexdigest() == sha256
            last = wait_for(
                lambda: next(
                    (
                        m["data"]["items"]
                        for m in reversed(campus.alarms()[0]["manifests"])
                        if sum(1 for i in m["data"]["items"] if i["evidence"]) >= ITEMS
                    ),
                    None,
                ),
                within_s=20,
                what="a manifest with all of it",
            )
            assert {i["evidence"] for i in last if i["evidence"]} >= {n.rpartition(".")[0] for n in captured}
            wait_for(
                lambda: ("store", "objects") not in gateway.faults(), within_s=40, what="no fault any more"
            )
            wait_for(
                lambda: not set(captured) & {file.name for file in spool.iterdir()},
                within_s=10,
                what="the spool is empty",
            )
            _plays_by_range(gateway, alarm["id"], kept)


def _captured(gateway: Gateway, alarm: str, spool: Path) -> dict[str, str]:
    """Name and digest of every file in the spool that is on record as captured; each is what its record says."""
    found = {}
    for item in gateway.get(f"/api/v1/alarms/{alarm}")["evidence"]:
        if item["sha256"] is not None:
            name = f"{item['id']}.{'jpg' if item['kind'] == 'still' else 'mp4'}"
            found[name] = hashlib.sha256((spool / name).read_bytes()).hexdigest()
            assert found[name] == item["sha256"]
    return found


def _plays_by_range(gateway: Gateway, alarm: str, kept: Mapping[str, bytes]) -> None:
    clip = next(e for e in gateway.get(f"/api/v1/alarms/{alarm}")["evidence"] if e["kind"] == "clip")
    (key,) = (key for key in kept if key.endswith(f"/{clip['id']}.mp4"))
    for asked, status, wanted in (
        ("bytes=100-299", 206, kept[key][100:300]),
        ("bytes=-50", 206, kept[key][-50:]),
        (None, 200, kept[key]),
    ):
        request = urllib.request.Request(f"{gateway.http}/media/{key}")
        request.add_header("Authorization", f"Bearer {TECHNICIAN_TOKEN}")
        if asked:
            request.add_header("Range", asked)
        with urllib.request.urlopen(request, timeout=20) as answer:
            assert answer.status == status
            assert answer.read() == wanted


def test_a_store_that_lets_nobody_in_keeps_evidence_until_it_is_mended(tmp_path: Path) -> None:
    """No bucket: a fault says what to create, nothing is given up; once it is created everything is stored."""
    with Rclone(tmp_path) as store, any_broker(tmp_path) as broker, Campus(tmp_path, cameras=1) as campus:
        site = _site(
            store, "school-evidence", broker=broker, centre=campus.centre_url, cameras=campus.cameras
        )
        with Gateway(tmp_path, site, environ=_environ(store)) as gateway, SimulatedButton(broker) as button:
            wait_for(lambda: gateway.rings_hold(2), within_s=40, what="the ring holds 2 s")
            button.press(topic(0))
            fault = wait_for(
                lambda: gateway.faults().get(("store", "objects")), within_s=20, what="the fault of the store"
            )
            assert "create-bucket --bucket school-evidence" in fault
            store.client().make_bucket("school-evidence")
            wait_for(
                lambda: [e for a in campus.alarms() for e in a["evidence"] if e["fetched_s"]],
                within_s=20,
                what="evidence after the bucket was made",
            )
            wait_for(
                lambda: ("store", "objects") not in gateway.faults(), within_s=40, what="no fault any more"
            )
            assert store.secret_key not in gateway.log.read_text("utf-8")


@pytest.mark.slow
def test_a_full_disk_here_does_not_hold_up_a_store_elsewhere(tmp_path: Path, small_disk: Path) -> None:
    """Not a byte can be kept on the box: the alert goes out, and its stills reach the centre by way of the store."""
    with Rclone(tmp_path) as store, any_broker(tmp_path) as broker, Campus(tmp_path, cameras=1) as campus:
        bucket = store.bucket()
        site = _site(store, bucket, broker=broker, centre=campus.centre_url, cameras=campus.cameras)
        gateway = Gateway(tmp_path, site, environ=_environ(store), data=small_disk / "data")
        with gateway, SimulatedButton(broker) as button:
            wait_for(lambda: gateway.rings_hold(3), within_s=40, what="the ring holds 3 s")
            fill(small_disk / "somebody-elses.bin")
            pressed = button.press(topic(0))
            alarm = wait_for(campus.alarms, within_s=5, what="the alert")[0]
            assert alarm["raised"]["taken_s"] - pressed.published_s < 2.0
            stills = wait_for(
                lambda: [
                    s
                    for s in campus.alarms()[0]["evidence"]
                    if s["announced"]["kind"] == "still" and s["fetched_s"]
                ][2:],
                within_s=30,
                what="three stills at the centre",
            )
            assert all(s["sha256_right"] for s in stills)
            assert ("store", "objects") in gateway.faults()
            manifest = wait_for(
                lambda: (campus.alarms()[0]["manifests"] or [None])[-1], within_s=60, what="the manifest"
            )
            for item in manifest["data"]["items"]:
                assert item["evidence"] or item["reason"], item


def test_the_probe_says_what_the_store_says(tmp_path: Path) -> None:
    """An object is written, read back and removed; without the bucket, with a wrong secret or nobody there: FAIL, exit 1."""
    with Rclone(tmp_path) as store:
        bucket = store.bucket()

        def probed(bucket: str, environ: Mapping[str, str]) -> tuple[int, str]:
            site = _site(store, bucket, broker="mqtt://127.0.0.1:1", centre="http://127.0.0.1:1/campus")
            config = tmp_path / "probed.yaml"
            config.write_text(site, "utf-8")
            words = ("check", "--config", str(config), "--data-dir", str(tmp_path / "data"), "--probe")
            done = run_gateway(*words, environ=environ)
            (line,) = (line for line in done.stdout.splitlines() if line.startswith("objects 证据存储"))
            assert store.secret_key not in done.stdout + done.stderr
            return done.returncode, line

        _, line = probed(bucket, _environ(store))
        assert " OK " in line
        assert "written, read back and removed" in line
        assert store.content(bucket) == {}
        code, line = probed("never-made", _environ(store))
        assert code == 1
        assert " FAIL " in line
        assert "create-bucket --bucket never-made" in line
        code, line = probed(bucket, {"S3_SECRET": "wrong-secret-of-16"})
        assert (code, " FAIL " in line, "storage.secret_key" in line) == (1, True, True)
        store.kill()
        code, line = probed(bucket, _environ(store))
        assert (code, " FAIL " in line, "is the store running" in line) == (1, True, True)
