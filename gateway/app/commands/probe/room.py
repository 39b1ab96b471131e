"""Whether the disk of `storage.objects` holds the period of what the cameras were just seen to send."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from config.settings import Settings
from gateway.app.commands.probe.machine import existing
from gateway.app.commands.probe.table import Line, Result, Tell

DAY_S = 86_400
WHAT = "room 容量"


async def probe_room(settings: Settings, rates: Mapping[str, float], tell: Tell) -> None:
    """One line, if anything is recorded continuously. ``rates`` is what was seen of each camera, in bytes a second; a camera of
    which nothing was seen is named, for nothing is known of what it will take."""
    site, days = settings.site, settings.site.storage.retention_days
    recorded = [camera.id for camera in site.cameras if camera.record == "continuous"]
    if not recorded:
        return
    unseen = [camera for camera in recorded if camera not in rates]
    rate = sum(rates[camera] for camera in recorded if camera in rates)
    needed = rate * DAY_S * days + site.storage.reserve_gb * 1e9
    asked = (
        f"{days} days of {len(recorded) - len(unseen)} camera(s) at the {rate * 8 / 1e6:.1f} Mbit/s just seen, and the reserve, "
        f"take {needed / 1e12:.2f} TB"
    )
    if unseen:
        asked += f", without {', '.join(unseen)}, of which nothing was seen"
    if settings.objects_dir is None:
        detail = f"{asked}; how much room {site.storage.objects} has is not known: compare it with the store's quota"
        tell(Line(WHAT, Result.WARN, detail))
        return
    place = existing(settings.objects_dir)
    disk = shutil.disk_usage(place)
    shown = (
        f"{asked}; the disk of {place} has {disk.total / 1e12:.2f} TB, {disk.free / 1e12:.2f} TB of it free"
    )
    # What is kept already goes by its period and makes room again; what others keep there does not.
    ours = await asyncio.to_thread(_kept, settings.objects_dir) if needed > disk.free else 0
    room = disk.free + ours
    if needed > room:
        lasts = max(0.0, room - site.storage.reserve_gb * 1e9) / (rate * DAY_S)
        advice = f"full after {lasts:.1f} of {days} days: a larger disk, a lower bit rate, or an S3 store (storage.objects)"
        tell(Line(WHAT, Result.WARN, f"{shown}: {advice}"))
    elif unseen:
        tell(Line(WHAT, Result.WARN, shown))
    else:
        tell(Line(WHAT, Result.OK, shown))


def _kept(folder: Path) -> int:
    """Bytes of all that lies below the folder; what may not be looked at counts nothing. Blocks."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += (Path(place) / name).stat().st_size
    return total
