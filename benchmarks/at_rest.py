"""What the whole gateway takes at rest, and how soon it is armed.

At rest: 4 cameras 1080p25 at 4 Mbit/s, rings full, nobody watching; both processes together. Goals: under 250 MB PSS
besides the rings' own bytes, under 8 % of one core. Beside it one `ffmpeg -c copy` per camera writing segments, if installed.
Start to armed: goal 1 s, whatever the cameras do (one case has cameras that never answer). Beside it the least such a
program can take: a Python that imports what is needed to read a site file, keep a database and speak MQTT.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

from benchmarks import rig

CAMERAS = 4
WINDOW_S = 30
MEASURED_S = 20.0
_LEAST = "import asyncio, yaml, pydantic, sqlalchemy, paho.mqtt.client"


def main() -> None:
    with rig.folder() as folder, rig.broker(folder) as port, rig.cameras(CAMERAS) as cameras:
        receiver = rig.Receiver()
        try:
            site = rig.site_yaml(
                broker_port=port, centre_url=receiver.url, points=20, cameras=cameras, window=WINDOW_S
            )
            _starts(folder, site, port, receiver.url)
            with rig.RunningGateway(folder, site) as gateway:
                rig.wait_for_rings(gateway, CAMERAS, WINDOW_S)
                _rest(gateway)
            _ffmpeg(folder, cameras)
        finally:
            receiver.close()


def _starts(folder: Path, site: str, port: int, centre: str) -> None:
    least = []
    for _ in range(5):
        began = time.monotonic()
        subprocess.run([sys.executable, "-P", "-c", _LEAST], check=True, cwd=rig.ROOT)
        least.append(time.monotonic() - began)
    silent = rig.free_port()  # nobody listens there
    dead = [{"id": "dead-1", "url": f"rtsp://127.0.0.1:{silent}/x", "username": "admin"}]
    cases = {
        "first start, making its database": site,
        "started again": site,
        "cameras that do not answer": rig.site_yaml(
            broker_port=port, centre_url=centre, points=20, cameras=dead, window=WINDOW_S
        ),
    }
    print(f"floor: importing the libraries alone {min(least):.2f} s")
    for name, text in cases.items():
        times = []
        for _ in range(1 if name.startswith("first") else 5):
            with rig.RunningGateway(folder, text) as gateway:
                times.append(gateway.armed_s)
        print(
            f"start to armed, {name}: best {min(times):.2f} s, worst {max(times):.2f} s of {len(times)} "
            f"({min(times) / min(least):.1f} times the floor; goal 1 s)"
        )


def _rest(gateway: rig.RunningGateway) -> None:
    pids = rig.family(gateway.process.pid)
    before, began = sum(map(rig.cpu_s, pids)), time.monotonic()
    time.sleep(MEASURED_S)
    used = (sum(map(rig.cpu_s, pids)) - before) / (time.monotonic() - began)
    rings = sum(c["health"]["ring_bytes"] for c in gateway.get("/api/v1/cameras")["cameras"])
    pss = [rig.pss_bytes(pid) for pid in pids]
    print(
        f"at rest, {CAMERAS} cameras 1080p25: {sum(pss) / 1e6:.0f} MB PSS in {len(pids)} processes "
        f"({', '.join(f'{p / 1e6:.0f}' for p in pss)}), of it rings {rings / 1e6:.0f} MB, "
        f"besides {(sum(pss) - rings) / 1e6:.0f} MB (goal 250); {used * 100:.1f} % of one core (goal 8 %)"
    )


def _ffmpeg(folder: Path, cameras: list[dict[str, object]]) -> None:
    binary = shutil.which("ffmpeg")
    if binary is None:
        print("no ffmpeg here to hold it against")
        return
    processes = []
    for camera in cameras:
        url = str(camera["url"]).replace("rtsp://", f"rtsp://{camera['username']}:{rig.CAMERA_PASSWORD}@")
        out = str(folder / f"{camera['id']}-%03d.mp4")
        command = [binary, "-v", "error", "-rtsp_transport", "tcp", "-i", url, "-c", "copy", "-f", "segment"]
        processes.append(subprocess.Popen([*command, "-segment_time", "10", out], stdin=subprocess.DEVNULL))
    try:
        time.sleep(3.0)
        pids = [p.pid for p in processes]
        before, began = sum(map(rig.cpu_s, pids)), time.monotonic()
        time.sleep(MEASURED_S)
        used = (sum(map(rig.cpu_s, pids)) - before) / (time.monotonic() - began)
        pss = sum(map(rig.pss_bytes, pids))
        print(
            f"peer: {CAMERAS} x ffmpeg -c copy to files: {pss / 1e6:.0f} MB PSS, {used * 100:.1f} % of one core"
        )
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(5)


if __name__ == "__main__":
    main()
