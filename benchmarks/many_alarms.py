"""A hundred alarms in one instant with 16 cameras mapped to each: alerts, evidence, memory.

Cameras: 1080p25 H.264, 4 Mbit/s, one key frame a second, served by the bundled simulator in a process of its own. The centre
takes every message and fetches nothing, as fetching is its own affair. The floor is one alarm of the same school in the same run.
Goals: all alerts within 2 s, all evidence of the press within the window plus 30 s; memory is printed.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections import Counter
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks import rig

ALARMS, CAMERAS, WINDOW_S = 100, 16, 10
GOAL_ALERTS_S, GOAL_EVIDENCE_S = 2.0, 30.0
ITEMS = 5  # asked of each camera at a press: three stills and two clips
GIVEN_UP_S = 240.0


def main() -> None:
    with rig.folder() as folder, rig.broker(folder) as port, rig.cameras(CAMERAS) as cameras:
        receiver = rig.Receiver()
        try:
            site = rig.site_yaml(
                broker_port=port, centre_url=receiver.url, points=ALARMS + 1, cameras=cameras, window=WINDOW_S
            )
            with rig.RunningGateway(folder, site) as gateway:
                rig.wait_for_rings(gateway, CAMERAS, WINDOW_S + 5)
                print(f"at rest with {CAMERAS} cameras: {_memory(gateway)}")
                one = _round(gateway, receiver, port, [ALARMS], folder)
                many = _round(gateway, receiver, port, list(range(ALARMS)), folder)
                print(
                    f"{ALARMS} alarms against one: last alert {many[0] / one[0]:.1f} times as late, "
                    f"last evidence {many[1] - one[1]:+.1f} s"
                )
        finally:
            receiver.close()


def _round(
    gateway: rig.RunningGateway, receiver: rig.Receiver, port: int, points: list[int], folder: Path
) -> tuple[float, float]:
    """Press these points at once; seconds from the first press to the last alert and to the last evidence stored."""
    receiver.taken()
    messages = [
        (f"b/p-{n}", json.dumps({"event": "pressed", "id": f"{n} {time.time()}"}).encode()) for n in points
    ]
    pressed = min(rig.publish(port, messages, None).values())
    alerts: dict[str, float] = {}
    evidence: Counter[str] = Counter()
    wanted = len(points) * CAMERAS * ITEMS
    most_bytes, last_s = 0, 0.0
    while len(alerts) < len(points) or evidence.total() < wanted:
        if time.time() - pressed > GIVEN_UP_S:
            print(
                f"GIVEN UP: {len(alerts)} alerts, {evidence.total()} of {wanted} items: {_missing(gateway)}"
            )
            break
        time.sleep(1.0)
        most_bytes = max(most_bytes, sum(rig.pss_bytes(p) for p in rig.family(gateway.process.pid)))
        for at, body in receiver.taken():
            message = json.loads(body)
            if message["type"] == "alarm.raised":
                alerts.setdefault(message["subject"], at - pressed)
            elif message["type"] == "alarm.evidence" and message["data"]["evidence"]["moment"] != "during":
                evidence[message["subject"]] += 1
                stored = datetime.fromisoformat(message["time"]).timestamp()
                last_s = max(last_s, at - pressed, stored - pressed)
    written = _on_disk(folder)
    last_alert = max(alerts.values())
    print(
        f"{len(points)} alarm(s): last alert after {last_alert:.2f} s (goal {GOAL_ALERTS_S:.0f} s); "
        f"{evidence.total()} of {wanted} items told to the centre, the last {last_s:.1f} s after the press, "
        f"{last_s - WINDOW_S:+.1f} s on the window's end (goal {GOAL_EVIDENCE_S:.0f} s); "
        f"most memory {most_bytes / 1e6:.0f} MB PSS; {written / 1e9:.2f} GB of clips on the disk so far"
    )
    return last_alert, last_s


def _on_disk(folder: Path) -> int:
    """Bytes of all clips, each counted once however many names it has."""
    files: dict[int, int] = {}
    for file in folder.rglob("*.mp4"):
        with contextlib.suppress(FileNotFoundError):  # on its way from the spool to the objects
            status = file.stat()
            files[status.st_ino] = status.st_blocks * 512
    return sum(files.values())


def _memory(gateway: rig.RunningGateway) -> str:
    rings = sum(c["health"]["ring_bytes"] for c in gateway.get("/api/v1/cameras")["cameras"])
    pss = sum(rig.pss_bytes(p) for p in rig.family(gateway.process.pid))
    return f"{pss / 1e6:.0f} MB PSS, {rings / 1e6:.0f} MB of it rings"


def _missing(gateway: rig.RunningGateway) -> dict[str, Any]:
    """What was not stored of the newest alarm, by state."""
    newest = gateway.get("/api/v1/alarms?limit=1")["alarms"][0]
    items = gateway.get(f"/api/v1/alarms/{newest['id']}")["evidence"]
    return dict(Counter(f"{i['kind']} {i['moment']} {i['state']}" for i in items))


if __name__ == "__main__":
    main()
