"""What a site file may ask for and this version does not do yet: said before the start, never passed over in silence."""

from __future__ import annotations

from collections.abc import Iterator

from config.findings import Complaint, Finding, Path, Places
from config.site import Point, Site

BUILT_FORMATS = ("gateway", "zigbee2mqtt", "tasmota", "shelly-gen1", "shelly-gen2")
_LATER = "something this version does"


def unbuilt(site: Site, places: Places | None = None) -> list[Finding]:
    """What of `site` will not happen, and what happens instead; `places` (of `Loaded`) gives the lines.

    A blocking finding means that the gateway cannot run with it at all: `run` must refuse with its text.
    """
    where = places or Places()
    return [where.finding(complaint) for complaint in _unbuilt(site)]


def _unbuilt(site: Site) -> Iterator[Complaint]:
    for index, point in enumerate(site.points):
        yield from _point(("points", index), point)
    yield from _storage(site)


def _point(path: Path, point: Point) -> Iterator[Complaint]:
    silent = f"NO PRESS OF {point.id} RAISES AN ALARM"
    if point.onvif_input is not None:
        yield _later(
            (*path, "onvif_input"), "an ONVIF alarm input", f"it is not read: {silent}; wire it to MQTT"
        )
    if point.mqtt is not None and point.mqtt.format not in BUILT_FORMATS:
        yield _later(
            (*path, "mqtt", "format"),
            point.mqtt.format,
            f"its payloads are kept as unreadable: {silent}; formats built: {', '.join(BUILT_FORMATS)}",
        )


def _storage(site: Site) -> Iterator[Complaint]:
    storage = site.storage
    if storage.database.startswith("postgresql:"):
        yield _later(
            ("storage", "database"), "PostgreSQL", "nothing could be kept: write sqlite:FILE", blocking=True
        )


def _later(path: Path, found: str, instead: str, *, blocking: bool = False) -> Complaint:
    return Complaint(path=path, found=found, expected=_LATER, advice=instead, blocking=blocking)
