"""What recording round the clock takes: 16 and 32 cameras 1080p25 at 4 Mbit/s for two minutes, to files and to S3.

The gateway does all it always does: rings, recording, SHA-256, ledger, moving to the store. Beside it, in the same run and in
turn, one `ffmpeg -c copy -f segment` per camera, which writes files and nothing else. Processor: all processes together, of a
core, per camera. Memory: PSS per camera, the gateway's besides its rings' own bytes. Goals: no more processor than ffmpeg; a
third of its memory. Every moment of the span has to be in the ledger, or the figures would be of something less.

The S3 server runs on this machine as well (plain http on loopback): its processor time is printed beside and is not the
gateway's, though on a small machine both want the same cores.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from benchmarks import rig, s3_server

MEASURED_S = 120.0
CLOSED_S = 65.0  # the last files of the span are closed within a minute
WINDOW_S = 10
FPS = 25
CAMERA_BYTES_PER_S = 500_000
STORES = ("file", "s3")


@dataclass(frozen=True, slots=True, kw_only=True)
class Store:
    """Where the gateway puts what it records. ``words`` stand in the site file; ``server`` is none for files."""

    name: str
    words: str
    server: s3_server.Server | None = None


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0] if __doc__ else None)
    parser.add_argument("--cameras", type=int, nargs="*", default=[16, 32])
    parser.add_argument("--seconds", type=float, default=MEASURED_S)
    parser.add_argument("--store", choices=STORES, nargs="*", default=list(STORES))
    args = parser.parse_args(argv if argv is not None else [])
    for count in args.cameras:
        _compare(count, args.seconds, args.store)


def _compare(count: int, seconds: float, stores: Sequence[str]) -> None:
    with rig.folder() as folder, rig.broker(folder) as port, rig.cameras(count) as cameras:
        receiver = rig.Receiver()
        ours: dict[str, tuple[float, float]] = {}
        try:
            for kind in stores:
                place = folder / kind
                place.mkdir()
                with _store(kind, place, count, seconds) as store:
                    site = rig.site_yaml(
                        broker_port=port,
                        centre_url=receiver.url,
                        points=20,
                        cameras=cameras,
                        window=WINDOW_S,
                    ).replace("zone: y, stream", "zone: y, record: continuous, stream")
                    site = site.replace('objects: "file:objects"', store.words)
                    environ = store.server.environ if store.server is not None else {}
                    with rig.RunningGateway(place, site, environ) as gateway:
                        rig.wait_for_rings(gateway, count, WINDOW_S)
                        ours[store.name] = _gateway(gateway, cameras, seconds, store)
                shutil.rmtree(place, ignore_errors=True)
            theirs = _ffmpeg(folder, cameras, seconds)
        finally:
            receiver.close()
    for name, (used, memory) in ours.items():
        print(
            f"{count} cameras to {name}: processor {used / count:.2f} % of a core a camera, ffmpeg {theirs[0] / count:.2f} % "
            f"({used / theirs[0]:.2f} times; goal 1); memory besides rings {memory / count / 1e6:.1f} MB a camera, "
            f"ffmpeg {theirs[1] / count / 1e6:.1f} MB ({memory / theirs[1]:.2f} times; goal 0.33)"
        )
    sys.stdout.flush()


@contextmanager
def _store(kind: str, folder: Path, cameras: int, seconds: float) -> Iterator[Store]:
    if kind == "file":
        yield Store(name="files", words='objects: "file:objects"')
        return
    room = int(1.5 * cameras * CAMERA_BYTES_PER_S * (seconds + CLOSED_S + 60))
    with s3_server.server(folder / "store", room) as server:
        words = server.site_words(server.store.bucket())
        yield Store(name=f"S3 ({server.name})", words=words, server=server)


def _gateway(
    gateway: rig.RunningGateway, cameras: list[dict[str, Any]], seconds: float, store: Store
) -> tuple[float, float]:
    """Processor in per cent of a core, and memory besides the rings in bytes."""
    pids, server = rig.family(gateway.process.pid), store.server
    begin, before, began = datetime.now(UTC), sum(map(rig.cpu_s, pids)), time.monotonic()
    server_before = server.cpu_s() if server is not None else 0.0
    time.sleep(seconds)
    passed = time.monotonic() - began
    used = (sum(map(rig.cpu_s, pids)) - before) / passed * 100
    beside = ""
    if server is not None:
        of_server = (server.cpu_s() - server_before) / passed * 100
        beside = f"; beside it {server.name}, {len(server.pids)} process(es), {of_server:.1f} % of a core"
    end = begin + timedelta(seconds=seconds)
    rings = sum(c["health"]["ring_bytes"] for c in gateway.get("/api/v1/cameras")["cameras"])
    pss = sum(rig.pss_bytes(pid) for pid in rig.family(gateway.process.pid))
    time.sleep(CLOSED_S)
    lost_ms, frames = 0.0, 0
    for camera in cameras:
        query = urlencode({"from": begin.isoformat(), "to": end.isoformat(), "reason": "benchmark"})
        found = gateway.get(f"/api/v1/cameras/{camera['id']}/recordings?{query}")
        spans = sorted((_at(s["from"]), _at(s["to"])) for s in found["segments"])
        at = begin
        for start, stop in spans:
            lost_ms += max(0.0, (min(start, end) - at).total_seconds() * 1000) if start > at else 0.0
            at = max(at, stop)
        lost_ms += max(0.0, (end - at).total_seconds() * 1000)
        frames += sum(s["frames"] for s in found["segments"])
    whole_ms = 1000 * seconds * len(cameras)
    print(
        f"gateway to {store.name}: {used:.1f} % of a core, {pss / 1e6:.0f} MB PSS of which rings {rings / 1e6:.0f} MB; "
        f"in the ledger {100 * (1 - lost_ms / whole_ms):.3f} % of the span, {frames} frames in the segments that touch it{beside}"
    )
    return used, pss - rings


def _at(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _ffmpeg(folder: Path, cameras: list[dict[str, Any]], seconds: float) -> tuple[float, float]:
    binary = shutil.which("ffmpeg")
    if binary is None:
        raise SystemExit("no ffmpeg here to hold it against (Debian: ffmpeg)")
    processes = []
    for camera in cameras:
        url = str(camera["url"]).replace("rtsp://", f"rtsp://{camera['username']}:{rig.CAMERA_PASSWORD}@")
        out = str(folder / f"{camera['id']}-%03d.mp4")
        command = [binary, "-v", "error", "-rtsp_transport", "tcp", "-i", url, "-c", "copy", "-f", "segment"]
        processes.append(subprocess.Popen([*command, "-segment_time", "60", out], stdin=subprocess.DEVNULL))
    try:
        time.sleep(5.0)
        pids = [p.pid for p in processes]
        before, began = sum(map(rig.cpu_s, pids)), time.monotonic()
        time.sleep(seconds)
        used = (sum(map(rig.cpu_s, pids)) - before) / (time.monotonic() - began) * 100
        pss = float(sum(map(rig.pss_bytes, pids)))
        print(
            f"peer: {len(pids)} x ffmpeg -c copy -f segment: {used:.1f} % of a core, {pss / 1e6:.0f} MB PSS"
        )
        return used, pss
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(10)


if __name__ == "__main__":
    main(sys.argv[1:])
