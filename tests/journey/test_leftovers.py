"""What earlier runs left behind is taken up at a start, also by a site file that records nothing any more."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from storage.objects.local import MARK, LocalObjects
from tests.support.clock import run
from tests.support.footage import recorded
from tests.support.processes import Gateway, site_yaml, wait_for
from tests.support.stores import opened

CAMERA = "cam-old"


def test_what_waited_of_a_camera_that_left_the_plan_is_kept_and_its_ledger_ends(tmp_path: Path) -> None:
    """The store was away as the camera was taken out of the site file, or set to alarms only: its last minutes are registered
    and get their ceiling, and from now on nothing of it is expected."""
    data = tmp_path / "data"
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=5)
    stem = f"{start.timestamp() * 1000:.0f}"
    spooled = data / "recording" / CAMERA / f"{stem}.mp4"
    spooled.parent.mkdir(parents=True)
    spooled.write_bytes(b"its last minute")
    facts = {
        "camera": CAMERA,
        "start": start.timestamp(),
        "end": start.timestamp() + 60,
        "frames": 1500,
        "bytes": spooled.stat().st_size,
        "sha256": hashlib.sha256(spooled.read_bytes()).hexdigest(),
        "pauses": [],
    }
    spooled.with_suffix(".json").write_text(json.dumps(facts))

    async def begin() -> None:
        async with opened(data) as store:
            await store.write(lambda tx: tx.recordings.begin(CAMERA, start))

    run(begin())
    site = site_yaml(broker="embedded", centre="http://127.0.0.1:1/campus")
    with Gateway(tmp_path, site) as gateway:
        found = wait_for(
            lambda: [c for c in gateway.get("/api/v1/retention")["cameras"] if c["bytes"]],
            within_s=20,
            what="its last minute is in the ledger",
        )
        assert [(c["id"], c["in_plan"]) for c in found] == [(CAMERA, False)]
        assert found[0]["recorded_until"] is not None
        wait_for(lambda: not list(spooled.parent.iterdir()), within_s=10, what="the spool forgets it")


def missing_disk_is_told(gateway: Gateway, mount_point: Path) -> None:
    """The running gateway has a fault that asks for it, and writes nothing where it is to be."""
    cause = wait_for(
        lambda: gateway.faults().get(("store", "objects")), within_s=20, what="the missing disk is a fault"
    )
    assert "mounted" in cause
    assert list(mount_point.iterdir()) == []


def test_a_disk_that_is_not_mounted_at_a_start_is_waited_for(tmp_path: Path) -> None:
    """The gateway is armed all the same, says what is missing, and writes nothing below the mount point."""
    site = site_yaml(broker="embedded", centre="http://127.0.0.1:1/campus")
    gateway, root = Gateway(tmp_path, site), tmp_path / "data" / "objects"
    with gateway:
        wait_for(lambda: list(root.glob("*")), within_s=20, what="the store is marked")
    root.rename(tmp_path / "disk")
    root.mkdir()
    with gateway:
        missing_disk_is_told(gateway, root)


def test_a_disk_that_is_not_mounted_at_the_first_start_after_an_upgrade_is_waited_for(tmp_path: Path) -> None:
    """Its store bears no mark yet, and the mount point gets none, since a minute is on record."""
    data, site = tmp_path / "data", site_yaml(broker="embedded", centre="http://127.0.0.1:1/campus")
    root, disk = data / "objects", tmp_path / "disk"

    async def kept() -> None:
        async with opened(data) as store:
            await recorded(store, LocalObjects(disk), CAMERA, datetime.now(UTC) - timedelta(minutes=5), 1)

    root.mkdir(parents=True)
    run(kept())
    with Gateway(tmp_path, site) as gateway:
        missing_disk_is_told(gateway, root)
        root.rmdir()
        disk.rename(root)
        wait_for(lambda: (root / MARK).exists(), within_s=20, what="the store is marked")


def test_an_export_that_nobody_fetched_to_its_end_is_gone_after_a_start(tmp_path: Path) -> None:
    """Its films can be as large as hours of recordings, and they are copies that no ledger has."""
    left = tmp_path / "data" / "exports" / "exp_1" / "export-1.mp4"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"hours of it")
    site = site_yaml(broker="embedded", centre="http://127.0.0.1:1/campus")
    with Gateway(tmp_path, site):
        wait_for(lambda: not left.parent.exists(), within_s=20, what="it is removed")
