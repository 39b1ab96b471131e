"""Evidence: 16 cameras' press stills stored and `before` clips offered, from the press on.

Cameras: 1080p25 H.264, 4 Mbit/s, one key frame a second, served by the bundled simulator in a process of its own. The floor is
decoding one such group of pictures to its middle and writing a JPEG, 16 times on all cores, and copying the clips' bytes to disk.
Goals: stills stored within 2 s, `before` clips within 4 s.
"""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path

from benchmarks import rig

CAMERAS = 16
WINDOW_S = 10
ROUNDS = 3


def main() -> None:
    with rig.folder() as folder, rig.broker(folder) as port, rig.cameras(CAMERAS) as cameras:
        receiver = rig.Receiver()
        try:
            site = rig.site_yaml(
                broker_port=port, centre_url=receiver.url, points=ROUNDS, cameras=cameras, window=WINDOW_S
            )
            with rig.RunningGateway(folder, site) as gateway:
                print(f"armed {gateway.armed_s:.2f} s after the start, with {CAMERAS} cameras (goal: 1 s)")
                rig.wait_for_rings(gateway, CAMERAS, WINDOW_S)
                floor = _floor(folder, cameras[0]["url"], str(cameras[0]["username"]))
                print(
                    f"floor: {CAMERAS} decodes to mid-group and JPEGs on {os.cpu_count()} cores {floor:.2f} s"
                )
                for number in range(ROUNDS):
                    _round(gateway, port, number, floor)
        finally:
            receiver.close()


def _round(gateway: rig.RunningGateway, port: int, number: int, floor: float) -> None:
    payload = json.dumps({"event": "pressed", "id": f"{time.time()}"}).encode()
    pressed = rig.publish(port, [(f"b/p-{number}", payload)], None)[f"b/p-{number}"]
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        time.sleep(1.0)
        alarms = [a for a in gateway.get("/api/v1/alarms")["alarms"] if a["point"]["id"] == f"p-{number}"]
        if not alarms:
            continue
        alarm = gateway.get(f"/api/v1/alarms/{alarms[0]['id']}")
        stored = {
            kind: [
                datetime.fromisoformat(e["at"]).timestamp() - pressed
                for e in alarm["timeline"]
                if e["what"] == "stored" and (e["detail"]["kind"], e["detail"]["moment"]) == kind
            ]
            for kind in (("still", "press"), ("clip", "before"))
        }
        if all(len(times) >= CAMERAS for times in stored.values()):
            break
    else:
        raise SystemExit(f"not everything was stored: { {k: len(v) for k, v in stored.items()} }")
    stills, clips = stored["still", "press"], stored["clip", "before"]
    offsets = [
        e["detail"]["offset_ms"]
        for e in alarm["timeline"]
        if e["what"] == "stored" and (e["detail"]["kind"], e["detail"]["moment"]) == ("still", "press")
    ]
    print(
        f"round {number + 1}: press stills of {CAMERAS} cameras stored, first {min(stills):.2f} s, last {max(stills):.2f} s "
        f"(goal 2 s; {max(stills) / floor:.1f} times the floor); offsets {min(offsets):+d} to {max(offsets):+d} ms; "
        f"before clips, last {max(clips):.2f} s (goal 4 s)"
    )


def _floor(folder: Path, url: str, username: str) -> float:
    """The decoding itself: one group captured from a camera, decoded to its middle, one JPEG; as often as there are cameras."""
    import av
    import cv2

    address = url.replace("rtsp://", f"rtsp://{username}:{rig.CAMERA_PASSWORD}@")
    packets = []
    with av.open(address, options={"rtsp_transport": "tcp"}) as source:
        stream = source.streams.video[0]
        extradata = stream.codec_context.extradata
        for packet in source.demux(stream):
            if packet.is_keyframe and packets:
                break
            if packet.is_keyframe or packets:
                packets.append(bytes(packet))
    half = packets[: len(packets) // 2 + 1]

    def one(number: int) -> None:
        decoder = av.CodecContext.create("h264", "r")
        decoder.extradata = extradata
        decoder.thread_type = "AUTO"
        frame = None
        for data in half:
            for got in decoder.decode(av.Packet(data)):
                frame = got
        for got in decoder.decode(None):
            frame = got
        assert frame is not None
        _, jpeg = cv2.imencode(".jpg", frame.to_ndarray(format="bgr24"))
        (folder / f"floor-{number}.jpg").write_bytes(jpeg.tobytes())

    one(0)
    began = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(one, range(CAMERAS)))
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
