"""The short-lived process that asks cameras by ONVIF: ``python -P -m drivers.cameras.onvif_resolve``.

Reads one JSON list of ``{id, host, port, username, password}`` from its standard input and writes one JSON line a camera as
each is done, so that one that hangs holds up nobody.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from dataclasses import asdict
from typing import Any

from drivers.cameras.onvif.device import resolve
from drivers.cameras.spec import OnvifAddress
from drivers.cameras.unforeseen import UNFORESEEN
from gateway.domain.errors import Refused, Unavailable


async def _resolve_one(camera: dict[str, Any]) -> dict[str, Any]:
    name = camera.pop("id")
    try:
        return {"id": name, "resolved": asdict(await resolve(OnvifAddress(**camera)))}
    except Refused as exc:
        return {"id": name, "error": exc.reason, "refused": True}
    except Unavailable as exc:
        return {"id": name, "error": exc.reason, "refused": False}
    except Exception:  # whatever a camera's answers do to this code costs this camera only
        logging.getLogger(__name__).exception("asking camera %s by ONVIF failed", name)
        where = f"ONVIF at {camera.get('host')}:{camera.get('port')}"
        return {"id": name, "error": f"{where}: an answer holds {UNFORESEEN}", "refused": False}


async def main() -> None:
    """Ask all cameras at once."""
    cameras = json.loads(sys.stdin.readline())
    for next_done in asyncio.as_completed([_resolve_one(camera) for camera in cameras]):
        sys.stdout.write(json.dumps(await next_done) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
