"""A month's coverage of 32 cameras asked over HTTP, on a ledger of 1.5 million objects.

The floor is the same sums by one SQL statement on a connection of its own. Goal: 200 ms at p95.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from datetime import UTC, datetime

from benchmarks import ledger, rig

ASKED = 50
GOAL_S = 0.200


def main() -> None:
    with rig.folder() as folder, rig.broker(folder) as port:
        now = datetime.now(UTC)
        ledger.build(folder / "data", now)
        receiver = rig.Receiver()
        try:
            site = rig.site_yaml(broker_port=port, centre_url=receiver.url, points=1)
            # Nothing is due: what is asked is not to stand in a sweep's way.
            site = site.replace("storage: {", "storage: {retention_days: 40, ")
            with rig.RunningGateway(folder, site) as gateway:
                floor, ours = [], []
                for _ in range(ASKED):
                    floor.append(_floor(folder / "data" / "gateway.db"))
                    began = time.perf_counter()
                    answer = gateway.get("/api/v1/retention")
                    ours.append(time.perf_counter() - began)
                told = [c for c in answer["cameras"] if c["coverage"] is not None]
                if len(told) != ledger.CAMERAS or any(c["coverage"] < 0.99 for c in told):
                    raise SystemExit(
                        f"{len(told)} cameras told, the least {min(c['coverage'] for c in told)}"
                    )
        finally:
            receiver.close()
        print(rig.line("floor: one SQL statement", floor))
        print(rig.line("GET /api/v1/retention", ours))
        p95 = rig.percentile(ours, 0.95)
        print(
            f"  p95 {p95 * 1e3:.0f} ms (goal {GOAL_S * 1e3:.0f} ms), {p95 / rig.percentile(floor, 0.95):.1f} times the floor"
        )


def _floor(path: object) -> float:
    began = time.perf_counter()
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        rows = database.execute(
            "SELECT camera, sum(covered_ms), sum(frames), sum(bytes), min(hour) FROM coverage GROUP BY camera"
        ).fetchall()
    if len(rows) != ledger.CAMERAS:
        raise SystemExit(f"{len(rows)} cameras in the ledger")
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
