"""`campus-simulators camera`: one or more cameras on a technician's bench."""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import sys
from contextlib import AsyncExitStack
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from simulators.camera.faults import CameraFaults
from simulators.camera.settings import AUDIO_CODECS, MEDIA1_H265, VIDEO_CODECS, StreamSettings
from simulators.lifetime import stop_asked

if TYPE_CHECKING:
    from simulators.camera.simulated import SimulatedCamera

DESCRIPTION = """\
A simulated ONVIF camera: H.264 or H.265 and sound over RTSP (TCP interleaved, digest log-in), ONVIF device, media and
media2 service, a snapshot, a picture with a clock that proves when it was taken, and a tone at each whole second.
Prints one JSON line per camera once it answers and runs until SIGTERM (exit 0; 2 if a value or a port cannot be used).
"""
EXAMPLES = """\
examples:
  campus-simulators camera --name gate                         then play rtsp://admin:camera-password@127.0.0.1:8554/live
  campus-simulators camera --count 16 --source encoded --log sent.jsonl        16 times 4 Mbit/s, almost for free
  campus-simulators camera --codec h265 --sub h264:640x360@15 --audio aac      an H.265 camera with a sub stream at /sub
  campus-simulators camera --b-frames 2 --change-gop-s 10                      B-frames, a key frame in ten seconds
  campus-simulators camera --clock-skew-s 90 --snapshot-hangs                  a camera with two faults
  curl -d '{"freeze": true}' http://127.0.0.1:8081/_faults     a fault while it runs; '{}' heals it
  curl -d '{"change_width": 320, "change_height": 180}' http://127.0.0.1:8081/_faults     another size within the session
  curl http://127.0.0.1:8081/_status                           connections and sessions so far
"""

_FAULT_HELP = {
    "freeze": "connections stay open, no frame is sent",
    "reject_login": "401 to every log-in",
    "wrong_codec": "serve JPEG where H.264 was promised",
    "refuse_connections": "close the RTSP port, answer nothing by HTTP",
    "drop_connections": "accept and reset every connection",
    "clock_skew_s": "seconds by which the camera's clock (not the picture) runs ahead",
    "snapshot_delay_s": "seconds before a snapshot is answered",
    "snapshot_hangs": "begin a snapshot and never finish it",
    "snapshot_cut": "reset a snapshot's connection in the middle of the picture",
    "onvif_delay_s": "seconds before an ONVIF request is answered",
    "wrong_host": "host that ONVIF answers name in their URIs",
    "wrong_port": "port that ONVIF answers name in their URIs",
    "cut_after_frames": "cut each session after so many frames",
    "lose_every_packets": "lose every so many-th RTP packet of the pictures",
    "repeat_every_packets": "send every so many-th RTP packet of the pictures twice",
    "swap_every_packets": "send every so many-th RTP packet of the pictures behind the next one",
    "frame_delay_s": "seconds by which pictures and sound are sent late",
    "change_codec": "h264 or h265: another codec; open sessions are cut",
    "change_width": "another width, within open sessions",
    "change_height": "another height, within open sessions",
    "change_fps": "another frame rate, within open sessions",
    "change_gop_s": "seconds from key frame to key frame, none on demand",
    "change_b_frames": "another number of B-frames, within open sessions",
    "change_cuts_sessions": "changes cut open sessions",
}
_FAULT_TYPES = {"float": float, "float | None": float, "str | None": str, "int | None": int}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `campus-simulators camera`."""
    parser.add_argument(
        "--name", default="camera", help="name in the picture and in ONVIF (default: %(default)s)"
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    parser.add_argument("--rtsp-port", type=int, default=8554, help="0: any free one (default: %(default)s)")
    parser.add_argument("--http-port", type=int, default=8081, help="0: any free one (default: %(default)s)")
    parser.add_argument("--username", default="admin", help="(default: %(default)s)")
    parser.add_argument(
        "--password", default="camera-password", help="empty: no log-in (default: %(default)s)"
    )
    parser.add_argument(
        "--codec", choices=VIDEO_CODECS, default="h264", help="of the main stream (default: %(default)s)"
    )
    parser.add_argument("--width", type=int, help="default: 640 live, 1920 encoded")
    parser.add_argument("--height", type=int, help="default: 360 live, 1080 encoded")
    parser.add_argument("--fps", type=int, default=25, help="frames a second (default: %(default)s)")
    parser.add_argument("--gop", type=int, help="frames from key frame to key frame (default: one second's)")
    parser.add_argument(
        "--b-frames", type=int, default=0, help="B-frames between two others, 0 to 3 (default: %(default)s)"
    )
    parser.add_argument(
        "--audio",
        choices=AUDIO_CODECS,
        help="sound on every stream: a tone at each whole second (default: none)",
    )
    parser.add_argument(
        "--sub",
        type=_sub_settings,
        metavar="CODEC:WxH@FPS",
        help="a second stream at /sub with an ONVIF profile of its own, for example h264:640x360@15 (default: none)",
    )
    parser.add_argument(
        "--no-media2", action="store_true", help="leave ONVIF Media2 out, as cameras of before 2018 do"
    )
    parser.add_argument(
        "--media1-h265",
        choices=MEDIA1_H265,
        default="h264",
        help="what ONVIF Media (version 10) says of an H.265 profile: that it is H.264, nothing (omit), or a profile "
        "without an encoder (bare) (default: %(default)s)",
    )
    parser.add_argument(
        "--source",
        choices=["live", "encoded"],
        default="live",
        help="live: a clock drawn and encoded now; encoded: a loop of 10 s at 4 Mbit/s made at the start, for heavy "
        "loads (default: %(default)s)",
    )
    parser.add_argument(
        "--cache", type=Path, metavar="DIR", help="keep the encoded loop here for the next start"
    )
    parser.add_argument(
        "--count", type=int, default=1, help="so many cameras, on consecutive ports, named NAME-1, NAME-2, …"
    )
    parser.add_argument(
        "--log",
        type=Path,
        metavar="FILE",
        help="append one JSON line per frame sent: frame, sent_at, rtp, key",
    )
    parser.add_argument(
        "--with-parent", action="store_true", help="end when standard input is closed as well"
    )
    faults = parser.add_argument_group("faults from the start")
    for field in fields(CameraFaults):
        option, wanted = f"--{field.name.replace('_', '-')}", str(field.type)
        if wanted == "bool":
            faults.add_argument(option, action="store_true", help=_FAULT_HELP[field.name])
        else:
            faults.add_argument(
                option, type=_FAULT_TYPES[wanted], default=field.default, help=_FAULT_HELP[field.name]
            )


def run(args: argparse.Namespace) -> int:
    """Run the cameras until SIGTERM or SIGINT; 0 then, 2 for values or ports that cannot be used."""
    try:
        return asyncio.run(_run(args))
    except (OSError, ValueError) as error:
        print(f"campus-simulators camera: {error}", file=sys.stderr)
        return 2


async def _run(args: argparse.Namespace) -> int:
    stopped = stop_asked(with_parent=args.with_parent)
    async with AsyncExitStack() as running:
        for camera in await asyncio.to_thread(_cameras, args):
            await running.enter_async_context(camera)
            print(json.dumps(_addresses(camera), ensure_ascii=False), flush=True)
        await stopped.wait()
    return 0


def _cameras(args: argparse.Namespace) -> list[SimulatedCamera]:
    # Video libraries are loaded only now: help and mistakes are answered at once.
    from simulators.camera.encoded import EncodedStream
    from simulators.camera.simulated import SimulatedCamera

    if args.count < 1 or args.fps < 1:
        raise ValueError(f"--count {args.count}, --fps {args.fps}: expected at least 1")
    encoded = args.source == "encoded"
    width, height = args.width or (1920 if encoded else 640), args.height or (1080 if encoded else 360)
    gop = args.gop or args.fps
    stream = (
        EncodedStream.make(
            codec=args.codec,
            width=width,
            height=height,
            fps=args.fps,
            gop=gop,
            b_frames=args.b_frames,
            cache=args.cache,
        )
        if encoded
        else None
    )
    faults = CameraFaults.from_json({field.name: getattr(args, field.name) for field in fields(CameraFaults)})
    return [
        SimulatedCamera(
            name=args.name if args.count == 1 else f"{args.name}-{index + 1}",
            host=args.host,
            rtsp_port=args.rtsp_port + index if args.rtsp_port else 0,
            http_port=args.http_port + index if args.http_port else 0,
            username=args.username,
            password=args.password,
            codec=args.codec,
            width=width,
            height=height,
            fps=args.fps,
            gop=gop,
            b_frames=args.b_frames,
            audio=args.audio,
            sub=args.sub,
            media2=not args.no_media2,
            media1_h265=args.media1_h265,
            source=stream,
            # Key frames of neighbours lie apart, as those of real cameras do.
            loop_offset=index * 7,
            send_log=args.log,
            faults=faults,
        )
        for index in range(args.count)
    ]


def _sub_settings(text: str) -> StreamSettings:
    """Read CODEC:WIDTHxHEIGHT@FPS; raises ArgumentTypeError."""
    found = re.fullmatch(r"(\w+):(\d+)x(\d+)@(\d+)", text)
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r}: expected CODEC:WIDTHxHEIGHT@FPS, as in h264:640x360@15")
    width, height, fps = (int(each) for each in found.groups()[1:])
    try:
        return StreamSettings(codec=found[1], width=width, height=height, fps=fps, gop=max(1, fps))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _addresses(camera: SimulatedCamera) -> dict[str, object]:
    return {
        "name": camera.name,
        "rtsp_url": camera.rtsp_url,
        **({"sub_url": camera.sub_url} if camera.has_sub else {}),
        "onvif_url": camera.onvif_url,
        "snapshot_url": camera.snapshot_url,
        "host": camera.host,
        "rtsp_port": camera.rtsp_port,
        "http_port": camera.http_port,
        "username": camera.username,
    }
