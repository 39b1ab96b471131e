"""A disk that hangs, fails or takes no writes: alerts go out all the same, once each, and are on record when it is well again."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from simulators.button import SimulatedButton
from tests.fault.test_database_lost import ARMED_WITHIN_S, POINTS, School
from tests.support.bad_disk import BadDisk
from tests.support.processes import Broker, Campus, Gateway, get_json, site_yaml, wait_for

HANGS_S = 25.0


@contextmanager
def school(tmp_path: Path, *, everything: bool = False) -> Iterator[tuple[School, BadDisk]]:
    """The database on a disk of its own that can fail; with ``everything`` all that the gateway keeps is on it."""
    data = tmp_path / "data"
    disk = BadDisk(tmp_path, data if everything else data / "disk")
    with (
        Broker(tmp_path) as broker,
        Campus(tmp_path) as campus,
        SimulatedButton(broker.url) as button,
    ):
        site = site_yaml(broker=broker.url, centre=campus.centre_url, points=POINTS).replace(
            "sqlite:gateway.db", "sqlite:disk/gateway.db"
        )
        with Gateway(tmp_path, site, environ=disk.environ) as gateway:
            one = School(gateway, campus, button)
            one.database = data / "disk" / "gateway.db"
            wait_for(lambda: gateway.undelivered() == 0, within_s=20, what="the plan is out")
            one.press()
            one.nothing_lost_or_doubled()
            try:
                yield one, disk
            finally:
                disk.turn("sound")


def all_on_record(one: School) -> None:
    """The database has every alarm of the centre under its id, with the very message that the centre has, and no other."""
    one.gateway.stop()
    with closing(sqlite3.connect(one.database)) as database:
        alarms = {row[0] for row in database.execute("SELECT id FROM alarm")}
        messages = {row[0] for row in database.execute("SELECT id FROM message WHERE type = 'alarm.raised'")}
    at_centre = one.campus.alarms()
    assert alarms == {alarm["id"] for alarm in at_centre}
    assert messages == {alarm["raised"]["id"] for alarm in at_centre}
    code, said = one.fsck()
    assert code == 0, said


@pytest.mark.slow
@pytest.mark.parametrize("everything", [False, True], ids=["database", "everything"])
@pytest.mark.parametrize("how", ["hang", "syncs-hang"])
def test_a_disk_that_hangs_holds_up_no_alert_for_longer_than_its_deadline(
    tmp_path: Path, how: str, everything: bool
) -> None:
    """25 s: the fault is at the centre while it hangs, alerts are marked, and afterwards each is one alarm, on disk."""
    with school(tmp_path, everything=everything) as (one, disk):
        disk.turn(how)
        began_s = time.monotonic()
        longest_s, marked = 0.0, 0
        while time.monotonic() - began_s < HANGS_S and one.pressed < POINTS - 2:
            pressed_s = time.monotonic()
            number = one.press()
            wait_for(lambda n=number: one.alerted(n), within_s=20, what="the alert")  # type: ignore[misc]
            longest_s = max(longest_s, time.monotonic() - pressed_s)
            alarm = next(
                a for a in one.campus.alarms() if a["raised"]["data"]["point"]["id"] == f"p-{number}"
            )
            marked += alarm["raised"]["data"]["alarm"].get("durable") is False
        print(f"{how}: {one.pressed - 1} presses, the longest alert took {longest_s:.2f} s, {marked} marked")
        assert longest_s < ARMED_WITHIN_S
        assert marked == one.pressed - 1
        one.fault_everywhere("database")
        disk.turn("sound")
        wait_for(lambda: ("store", "database") not in one.gateway.faults(), within_s=60, what="durable again")
        one.press()
        one.nothing_lost_or_doubled()
        all_on_record(one)


@pytest.mark.slow
@pytest.mark.parametrize("how", ["hang", "syncs-hang"])
def test_a_start_does_not_wait_for_a_disk_that_hangs(tmp_path: Path, how: str) -> None:
    """It takes presses from memory, and goes back to the disk when that answers."""
    with school(tmp_path) as (one, disk):
        one.gateway.stop()
        disk.turn(how)
        number = one.press()
        began_s = time.monotonic()
        one.gateway.start()
        wait_for(lambda: one.alerted(number), within_s=20, what="the alert")
        print(f"{how}: an alert {time.monotonic() - began_s:.2f} s after a start")
        assert time.monotonic() - began_s < ARMED_WITHIN_S
        assert "in memory" in one.fault_everywhere("database")
        disk.turn("sound")
        wait_for(lambda: ("store", "database") not in one.gateway.faults(), within_s=60, what="durable again")
        one.press()
        one.nothing_lost_or_doubled()
        all_on_record(one)


@pytest.mark.slow
def test_a_disk_that_hangs_is_known_before_anybody_presses(tmp_path: Path) -> None:
    """Readiness and heartbeats do not go by what is in memory: a commit is tried every few seconds."""
    with school(tmp_path) as (one, disk):
        disk.turn("syncs-hang")
        began_s = time.monotonic()
        one.fault_everywhere("database")
        print(
            f"known, in /readyz and at the centre {time.monotonic() - began_s:.1f} s after the disk began to hang"
        )
        assert get_json(f"{one.gateway.http}/readyz")["degraded"]


@pytest.mark.slow
@pytest.mark.parametrize("everything", [False, True], ids=["database", "everything"])
@pytest.mark.parametrize("how", ["eio", "writes-eio", "erofs"])
def test_a_dead_disk_stops_no_alert_and_the_press_stays_at_the_broker(
    tmp_path: Path, how: str, everything: bool
) -> None:
    """Over a kill as well: what the broker sends again is known, and when the disk is back everything is on it, once."""
    with school(tmp_path, everything=everything) as (one, disk):
        disk.turn(how)
        for _ in range(3):
            pressed_s = time.monotonic()
            number = one.press()
            wait_for(lambda n=number: one.alerted(n), within_s=20, what="the alert")  # type: ignore[misc]
            print(f"{how}: an alert {time.monotonic() - pressed_s:.2f} s after the press")
            assert time.monotonic() - pressed_s < ARMED_WITHIN_S
        cause = one.fault_everywhere("database")
        assert "full" not in cause
        if not everything:  # what else a start needs is not the database's
            one.gateway.kill()
            number = one.press()
            began_s = time.monotonic()
            one.gateway.start()
            wait_for(lambda: one.alerted(number), within_s=20, what="the alert of the next process")
            print(f"{how}: an alert {time.monotonic() - began_s:.2f} s after a start on it")
            assert time.monotonic() - began_s < ARMED_WITHIN_S
        one.nothing_lost_or_doubled()
        disk.turn("sound")
        wait_for(lambda: ("store", "database") not in one.gateway.faults(), within_s=60, what="durable again")
        one.press()
        one.nothing_lost_or_doubled()
        all_on_record(one)
