"""`campus-simulators campus`: everything outside of the gateway in one process, cameras and a 110 centre.

Buttons are not in it: a button is pressed by `campus-simulators button`, on whatever broker the system uses.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import json
import os
import sys
from typing import TYPE_CHECKING

from simulators.centre.cli import (
    PREFERRED_PAGE_PORT,
    PREFERRED_PORT,
    Keys,
    add_behaviour,
    addresses,
    centre_from,
    keys_from_environment,
)
from simulators.lifetime import stop_asked

if TYPE_CHECKING:
    from simulators.camera.simulated import SimulatedCamera

DESCRIPTION = """\
Several ONVIF cameras with a clock in the picture, and a 110 centre. Prints ONE JSON line with every address when
all of it answers, then runs until SIGTERM (exit status 0). A busy port moves on to a free one: read the line.

Secrets come from the environment: CENTRE_SECRET, CENTRE_DRILL_SECRET (whsec_…), CENTRE_TOKEN, CENTRE_MEDIA_TOKEN, and
CAM_PASSWORD for all cameras. What is not set is made up for this run and printed in the line.
"""
EXAMPLES = """\
examples
  campus-simulators campus --cameras 4 --auto accepted+1,closed@manifest+1
  campus-simulators campus --cameras 0 --with-parent --quiet    as a child of a test: ends with its parent

the line
  {"cameras": [{"id": "cam-1", "host": "127.0.0.1", "onvif_port": 8081, "rtsp_url": "rtsp://…",
                "username": "admin", "password": "…"}, …],
   "centre": {"url": "http://…/campus", "backup_url": "…", "media_url": "…", "page": "http://…/", "made_for_this_run": {…}}}

The centre's control API lies below its page's address (campus-simulators centre --help); a camera's faults are
set at http://127.0.0.1:ONVIF_PORT/_faults (campus-simulators camera --help).
"""
_PASSWORD = "camera-password"
_USERNAME = "admin"
_STOP_WITHIN_S = 1.8


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's options."""
    parser.add_argument("--cameras", type=int, default=4, help="how many (default %(default)s)")
    parser.add_argument(
        "--onvif-port", type=int, default=8081, help="of the first camera (default %(default)s)"
    )
    parser.add_argument(
        "--rtsp-port", type=int, default=8554, help="of the first camera (default %(default)s)"
    )
    parser.add_argument(
        "--port", type=int, default=PREFERRED_PORT, help="of the centre (default %(default)s)"
    )
    parser.add_argument("--page-port", type=int, default=PREFERRED_PAGE_PORT, help="of its page")
    parser.add_argument("--with-parent", action="store_true", help="end when standard input is closed")
    parser.add_argument("--quiet", action="store_true", help="no line per event on standard error")
    add_behaviour(parser)


def run(args: argparse.Namespace) -> int:
    """Run until SIGTERM. 0, or 2 if an argument or a secret is wrong."""
    keys = keys_from_environment(answers_only=args.answers_only)
    try:
        return asyncio.run(_run(args, keys))
    except (ValueError, OSError) as error:
        print(f"campus-simulators campus: {error}", file=sys.stderr)
        return 2


async def _run(args: argparse.Namespace, keys: Keys) -> int:
    stopped = stop_asked(with_parent=args.with_parent)
    stack = contextlib.AsyncExitStack()
    try:
        centre = await stack.enter_async_context(centre_from(args, keys))
        password = os.environ.get("CAM_PASSWORD") or _PASSWORD
        cameras = []
        for n in range(args.cameras):
            camera = await _start_camera(n, args.rtsp_port, args.onvif_port, password)
            stack.push_async_callback(camera.stop)
            cameras.append(camera)
        line = {
            "cameras": [_camera_json(camera) for camera in cameras],
            "centre": addresses(centre, keys),
        }
        print(json.dumps(line, ensure_ascii=False), flush=True)
        await stopped.wait()
    finally:
        async with asyncio.timeout(_STOP_WITHIN_S):
            await stack.aclose()
    return 0


async def _start_camera(n: int, rtsp_port: int, onvif_port: int, password: str) -> SimulatedCamera:
    from simulators.camera.simulated import SimulatedCamera  # brings the video libraries: not for --cameras 0

    for wanted in ((rtsp_port and rtsp_port + n, onvif_port and onvif_port + n), (0, 0)):
        camera = SimulatedCamera(
            name=f"cam-{n + 1}",
            rtsp_port=wanted[0],
            http_port=wanted[1],
            username=_USERNAME,
            password=password,
        )
        try:
            await camera.start()
        except OSError as error:
            if error.errno != errno.EADDRINUSE or wanted == (0, 0):
                raise
        else:
            return camera
    raise AssertionError("unreachable: ports chosen by the system are never busy")


def _camera_json(camera: SimulatedCamera) -> dict[str, object]:
    return {
        "id": camera.name,
        "host": camera.host,
        "onvif_port": camera.http_port,
        "rtsp_url": camera.rtsp_url,
        "username": camera.username,
        "password": camera.password,
    }
