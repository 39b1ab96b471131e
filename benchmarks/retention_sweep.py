"""A sweep over a ledger of 1.5 million objects: 32 cameras, a month, and two days and a half of it due at once.

Objects are real files, tiny; the ledger says they are 30 MB. The floor is the least that deletes: for as many objects at a time
their rows by one statement, one commit (WAL, synchronous=FULL), the files unlinked, one sync of their folder; no holds, no
record, no sums.
Goals: under 60 s, under 200 MB, and presses unaffected meanwhile (press to alert at 50/s beside the same without a sweep).
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import resource
import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

from benchmarks import ledger, rig
from gateway.box.clock import SystemClock
from gateway.domain.hold import due_before
from gateway.recording.deletion import BATCH, Sweeping
from storage.objects.local import LocalObjects
from storage.sql.store import SqlStore

DAYS = 30
FLOOR_OBJECTS = 10_000
PRESSES = 250
SETTLED_S = 3.0  # after a start: what is imported then is not to be measured
GOAL_S, GOAL_MB = 60.0, 200.0


def main() -> None:
    with rig.folder() as folder:
        began = time.monotonic()
        due = due_before(datetime.now(UTC), DAYS)
        made = ledger.build(folder / "data", datetime.now(UTC), due_before=due)
        size = (folder / "data" / "gateway.db").stat().st_size
        took = time.monotonic() - began
        print(f"{ledger.OBJECTS} rows ({size / 1e6:.0f} MB), {made} objects due, made in {took:.0f} s")
        floor_s = _floor(folder / "data", FLOOR_OBJECTS, due)
        print(
            f"floor: {FLOOR_OBJECTS} objects in {floor_s:.1f} s, {floor_s / FLOOR_OBJECTS * 1e3:.2f} ms each"
        )
        _presses(folder)
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            objects, took, peak_mb = pool.apply(_sweep, (folder / "data",))
        print(
            f"sweep: {objects} objects in {took:.1f} s (goal {GOAL_S:.0f} s), {took / objects * 1e3:.2f} ms each, "
            f"{(took / objects) / (floor_s / FLOOR_OBJECTS):.1f} times the floor; the process took {peak_mb:.0f} MB at most "
            f"(goal {GOAL_MB:.0f} MB)"
        )


def _floor(data: Path, count: int, due: datetime) -> float:
    """Delete so many objects of the last cameras; seconds."""
    with closing(sqlite3.connect(data / "gateway.db", isolation_level=None)) as database:
        database.execute("PRAGMA synchronous=FULL")
        rows = database.execute(
            "SELECT n, key FROM segment WHERE camera >= 'cam-28' AND \"end\" < ? ORDER BY camera, start LIMIT ?",
            (round(due.timestamp() * 1e6), count),
        ).fetchall()
        began = time.perf_counter()
        for at in range(0, count, BATCH):
            batch = rows[at : at + BATCH]
            database.execute("BEGIN IMMEDIATE")
            database.executemany("DELETE FROM segment WHERE n = ?", [(n,) for n, _ in batch])
            database.execute("COMMIT")
            folders = set()
            for _, key in batch:
                path = data / "objects" / key
                path.unlink(missing_ok=True)
                folders.add(path.parent)
            for folder in folders:
                handle = os.open(folder, os.O_RDONLY)
                os.fsync(handle)
                os.close(handle)
        return time.perf_counter() - began


def _close_alarms(data: Path) -> None:
    """And let them be old: a sweep waits while an alarm is fresh."""
    with closing(sqlite3.connect(data / "gateway.db")) as database:
        database.execute("UPDATE alarm SET state = 'closed', last_press_at = last_press_at - 600000000")
        database.commit()


def _sweep(data: Path) -> tuple[int, float, float]:
    """In a process of its own: objects deleted, seconds, and the most memory it had."""

    async def work() -> tuple[int, float]:
        store = SqlStore(data / "gateway.db")
        await store.start()
        clock = SystemClock()
        sweeping = Sweeping(
            store=store, clock=clock, objects=LocalObjects(data / "objects"), retention_days=DAYS
        )
        began = time.perf_counter()
        swept = await sweeping.sweep(clock.now())
        took = time.perf_counter() - began
        await store.stop()
        return swept.objects, took

    objects, took = asyncio.run(work())
    return objects, took, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _presses(folder: Path) -> None:
    """Press to alert on the same ledger: with nothing due, beside a sweep, and beside one that waits for no alarm."""
    with rig.broker(folder) as port:
        receiver = rig.Receiver()
        try:
            times: dict[str, list[float]] = {}
            for number, name in enumerate(("no sweep", "a sweep", "a sweep that never waits")):
                place = folder / f"round-{number}"
                place.mkdir()
                (folder / "data").rename(place / "data")
                site = rig.site_yaml(broker_port=port, centre_url=receiver.url, points=3 * PRESSES)
                if number == 0:
                    site = site.replace("storage: {", "storage: {retention_days: 40, ")
                module = "benchmarks.never_waiting" if number == 2 else "gateway"
                with rig.RunningGateway(place, site, module=module):
                    time.sleep(SETTLED_S)
                    receiver.taken()
                    before = _objects(place)
                    points = range(number * PRESSES, (number + 1) * PRESSES)
                    messages = [
                        (f"b/p-{n}", json.dumps({"event": "pressed", "id": f"press {n}"}).encode())
                        for n in points
                    ]
                    sent = rig.publish(port, messages, 50.0)
                    times[name] = _arrivals(receiver, sent)
                    gone = before - _objects(place)
                print(
                    rig.line(f"press to alert, {name}", times[name]) + f"   {gone} objects went meanwhile",
                    flush=True,
                )
                (place / "data").rename(folder / "data")
                _close_alarms(folder / "data")
            for name in list(times)[1:]:
                for label, part in (("p50", 0.5), ("p99", 0.99)):
                    ratio = rig.percentile(times[name], part) / rig.percentile(times["no sweep"], part)
                    print(f"  {name}: {label} {ratio:.2f} times that of no sweep")
        finally:
            receiver.close()


def _objects(place: Path) -> int:
    return sum(1 for _ in (place / "data" / "objects").rglob("*.mp4"))


def _arrivals(receiver: rig.Receiver, sent: dict[str, float]) -> list[float]:
    found: dict[str, float] = {}
    deadline = time.monotonic() + 60
    while len(found) < len(sent) and time.monotonic() < deadline:
        time.sleep(0.2)
        for at, body in receiver.taken():
            message = json.loads(body)
            if message["type"] == "alarm.raised":
                topic = f"b/{message['data']['point']['id']}"
                found.setdefault(topic, at - sent[topic])
    if len(found) < len(sent):
        raise SystemExit(f"{len(sent) - len(found)} presses never became an alert")
    return list(found.values())


if __name__ == "__main__":
    main()
