"""A gateway whose evidence is locked in its store, and one whose store only says so."""

from __future__ import annotations

import hashlib
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from minio.error import S3Error

from simulators.button import SimulatedButton
from tests.journey.test_s3 import _environ, _site
from tests.support.processes import Campus, Gateway, any_broker, run_gateway, topic, wait_for
from tests.support.s3_stores import Rclone, S3Store

STILLS = 3


def _make_bucket(folder: Path, store: S3Store, bucket: str) -> tuple[int, str]:
    config = folder / "bucket.yaml"
    config.write_text(_site(store, bucket, broker="mqtt://127.0.0.1:1", centre="http://127.0.0.1:1/campus"))
    done = run_gateway("make-bucket", "--config", str(config), environ=_environ(store))
    assert store.secret_key not in done.stdout + done.stderr
    return done.returncode, done.stdout + done.stderr


@pytest.mark.slow
def test_evidence_is_locked_as_it_is_stored(ceph: S3Store, tmp_path: Path) -> None:
    """The command makes a bucket that locks; what a press brings there cannot be deleted by its owner, and no fault is raised."""
    bucket = f"school-{random.SystemRandom().randrange(10**9)}"
    code, said = _make_bucket(tmp_path, ceph, bucket)
    assert (code, "made, with object lock" in said, "deleting it was refused" in said) == (0, True, True), (
        said
    )
    code, said = _make_bucket(tmp_path, ceph, bucket)
    assert (code, "was there already" in said) == (0, True), said

    with any_broker(tmp_path) as broker, Campus(tmp_path, cameras=1) as campus:
        site = _site(ceph, bucket, broker=broker, centre=campus.centre_url, cameras=campus.cameras)
        with Gateway(tmp_path, site, environ=_environ(ceph)) as gateway, SimulatedButton(broker) as button:
            wait_for(lambda: gateway.rings_hold(4), within_s=40, what="the ring holds 4 s")
            wait_for(
                lambda: gateway.get("/api/v1/retention")["clock"]["confirmed_by"],
                within_s=40,
                what="the centre confirmed the clock",
            )
            button.press(topic(0))
            wait_for(
                lambda: (
                    sum(1 for a in campus.alarms() for e in a["evidence"] if e["fetched_s"]) >= STILLS + 1
                ),
                within_s=40,
                what="stills and a clip fetched by the centre",
            )
            client = ceph.client()
            found = [
                one
                for one in client.list_objects(bucket, recursive=True, include_version=True)
                if "/alarms/" in (one.object_name or "")
            ]
            assert len(found) > STILLS
            alarm = campus.alarms()[0]["id"]
            ends = {
                item["id"]: datetime.fromisoformat(item["to"])
                for item in gateway.get(f"/api/v1/alarms/{alarm}")["evidence"]
            }
            for one in found:
                assert one.object_name is not None
                head = client.stat_object(bucket, one.object_name, version_id=one.version_id).metadata
                assert head is not None
                assert head["x-amz-object-lock-mode"] == "COMPLIANCE"
                until = datetime.fromisoformat(head["x-amz-object-lock-retain-until-date"][:19])
                ended_at = ends[one.object_name.rpartition("/")[2].rpartition(".")[0]]
                beyond = until.replace(tzinfo=UTC) - ended_at - timedelta(days=30)
                assert timedelta(0) <= beyond < timedelta(seconds=1), one.object_name
                with pytest.raises(S3Error, match="AccessDenied"):
                    client.remove_object(bucket, one.object_name, version_id=one.version_id)
            assert [key for key in gateway.faults() if key[0] == "store"] == []


@pytest.mark.slow
def test_a_store_that_pretends_is_a_fault_and_loses_nothing(tmp_path: Path) -> None:
    """rclone says that it locks and overwrites: the fault says so, evidence is kept and told all the same, byte for byte."""
    with Rclone(tmp_path) as store, any_broker(tmp_path) as broker, Campus(tmp_path, cameras=1) as campus:
        bucket = store.bucket()
        code, said = _make_bucket(tmp_path, store, bucket)
        assert (code, "put other bytes in its place" in said) == (1, True), said
        site = _site(store, bucket, broker=broker, centre=campus.centre_url, cameras=campus.cameras)
        with Gateway(tmp_path, site, environ=_environ(store)) as gateway, SimulatedButton(broker) as button:
            fault = wait_for(
                lambda: gateway.faults().get(("store", "lock")), within_s=30, what="the fault of the lock"
            )
            assert "put other bytes in its place" in fault
            assert "30 days" in fault
            wait_for(lambda: gateway.rings_hold(4), within_s=40, what="the ring holds 4 s")
            button.press(topic(0))
            alarm = wait_for(campus.alarms, within_s=5, what="the alert")[0]
            wait_for(
                lambda: (
                    sum(1 for a in campus.alarms() for e in a["evidence"] if e["fetched_s"]) >= STILLS + 1
                ),
                within_s=40,
                what="stills and a clip fetched by the centre",
            )
            on_record = {
                item["id"]: item["sha256"]
                for item in gateway.get(f"/api/v1/alarms/{alarm['id']}")["evidence"]
                if item["state"] == "stored"
            }
            kept = store.content(bucket)
            assert len(on_record) > STILLS
            for key, data in kept.items():
                name = key.rpartition("/")[2].rpartition(".")[0]
                assert (
                    on_record.get(name, hashlib.sha256(data).hexdigest()) == hashlib.sha256(data).hexdigest()
                )
            assert set(on_record) <= {key.rpartition("/")[2].rpartition(".")[0] for key in kept}
            assert ("store", "lock") in gateway.faults()


def test_a_lock_that_is_required_needs_a_store_that_can(tmp_path: Path) -> None:
    """With files it is refused with the key's name; with a bucket that does not lock the probe fails and says what follows."""
    with Rclone(tmp_path) as store:
        site = _site(store, store.bucket(), broker="mqtt://127.0.0.1:1", centre="http://127.0.0.1:1/campus")
        config = tmp_path / "required.yaml"

        def probed(text: str, *more: str) -> tuple[int, str]:
            config.write_text(text, "utf-8")
            done = run_gateway("check", "--config", str(config), *more, environ=_environ(store))
            return done.returncode, done.stdout + done.stderr

        required = site.replace('objects: "s3', 'lock: required, objects: "s3', 1)
        assert required != site
        code, said = probed(required, "--data-dir", str(tmp_path / "data"), "--probe")
        (line,) = (line for line in said.splitlines() if line.startswith("lock 存储锁定"))
        assert (code, " FAIL " in line, "nothing is stored there" in line) == (1, True, True)
        _, said = probed(site, "--data-dir", str(tmp_path / "data"), "--probe")
        (line,) = (line for line in said.splitlines() if line.startswith("lock 存储锁定"))
        assert (" WARN " in line, "put other bytes in its place" in line) == (True, True)

        files = '{lock: required, objects: "file:objects"}'
        start = required.index("storage:")
        end = required.index("\n", start)
        code, said = probed(required[:start] + f"storage: {files}" + required[end:])
        assert code == 2
        assert "storage.lock" in said
        assert "files cannot be locked" in said
