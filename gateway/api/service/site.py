"""The plan with live health: the school, its cameras, its points, its faults, and what could not be read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request

from gateway.api.access import EVERYONE, UPKEEP, RoledRoute, caller_of, parts_of
from gateway.api.descriptions import roled
from gateway.api.schemas import CallerOut, CamerasOut, FaultsOut, PointsOut, QuarantineOut, SiteOut
from gateway.domain.camera import CameraHealth
from gateway.domain.envelope import zone_object
from gateway.domain.plan import Camera

router = APIRouter(prefix="/api/v1", tags=["site"], route_class=RoledRoute)

MOST_LISTED = 500


@router.get("/site", summary="The school", response_model=SiteOut, **roled(EVERYONE))
async def site(request: Request) -> dict[str, Any]:
    parts = parts_of(request)
    plan = parts.site
    ready, degraded = parts.readiness()
    return {
        **parts.envelopes.site_summary(),
        "timezone": plan.timezone,
        "zones": [zone_object(zone) for zone in plan.zones.values()],
        "retention_days": plan.retention_days,
        "before_s": plan.before_s,
        "after_s": plan.after_s,
        "accept_within_s": plan.accept_within_s,
        "ready": ready,
        "degraded": list(degraded),
        "version": parts.version,
    }


@router.get("/caller", summary="Who the token is", response_model=CallerOut, **roled(EVERYONE))
async def caller(request: Request) -> dict[str, str]:
    """Name, unit and role of the access list's entry, so that a page can show what its holder may do."""
    known = caller_of(request)
    return {"name": known.name, "unit": known.unit, "role": known.role}


@router.get("/cameras", summary="Cameras with their health", response_model=CamerasOut, **roled(EVERYONE))
async def cameras(request: Request) -> dict[str, Any]:
    parts = parts_of(request)
    health = parts.cameras.health()

    def one(camera: Camera) -> dict[str, Any]:
        return {
            "id": camera.id,
            "name": camera.name,
            "zone": zone_object(parts.site.zones[camera.zone]),
            "continuous": camera.continuous,
            "health": _health(health.get(camera.id), parts.envelopes.stamp),
        }

    return {"cameras": [one(camera) for camera in parts.site.cameras.values()]}


def _health(known: CameraHealth | None, stamp: Any) -> dict[str, Any]:
    return {
        "healthy": known is not None and known.healthy,
        "cause": known.cause if known is not None else "the camera process has not reported yet",
        "since": stamp(known.since) if known is not None else None,
        "last_frame_at": stamp(known.last_frame_at) if known is not None and known.last_frame_at else None,
        "codec": known.codec if known else None,
        "width": known.width if known else None,
        "height": known.height if known else None,
        "clock_offset_s": known.clock_offset_s if known else None,
        "offers_snapshot": known is not None and known.offers_snapshot,
        "ring_s": known.ring_s if known else 0.0,
        "ring_bytes": known.ring_bytes if known else 0,
        "sessions": known.sessions if known else 0,
        "key_frames_apart_s": known.key_frames_apart_s if known else None,
        "live_codec": known.live_codec if known else None,
        "live_note": known.live_note if known else "",
        "recorded_stream": _recorded_stream(known),
    }


def _recorded_stream(known: CameraHealth | None) -> str | None:
    if known is None or known.recording != "":
        return None
    return "sub" if known.recorded_substream else "main"


@router.get("/points", summary="Points with what was last seen", response_model=PointsOut, **roled(EVERYONE))
async def points(request: Request) -> dict[str, Any]:
    """``open_alarm`` is the id of the point's open alarm; ``last_seen`` is kept over restarts; ``health`` says whether a press
    would be heard."""
    parts = parts_of(request)
    seen, health = parts.last_seen(), parts.contact_health()
    open_alarms = {alarm.point: alarm.id for alarm in await parts.store.read(lambda tx: tx.alarms.open())}

    def stamped(value: object) -> object:
        return parts.envelopes.stamp(value) if isinstance(value, datetime) else value

    def unreadable(told: object) -> object:
        return {"at": stamped(told["at"]), "reason": told["reason"]} if isinstance(told, Mapping) else None

    def one(point: str) -> dict[str, Any]:
        known = parts.site.points[point]
        told, now = seen.get(point, {}), health.get(point, {})
        return {
            **parts.envelopes.point(known),
            "severity": known.severity.value,
            "cameras": list(known.cameras),
            "last_seen": {key: stamped(told.get(key)) for key in ("at", "battery", "tamper", "test")},
            "health": {
                "healthy": not now.get("causes"),
                "state": now.get("state", "unheard"),
                "causes": now.get("causes", ()),
                "unreadable": unreadable(now.get("unreadable")),
                "online": now.get("online"),
                "online_since": stamped(now.get("online_since")),
                "qos": now.get("qos"),
                "other_words": now.get("other_words", ()),
                "copied_at": stamped(now.get("copied_at")),
            },
            "open_alarm": open_alarms.get(point),
        }

    return {"points": [one(point) for point in parts.site.points]}


@router.get("/faults", summary="What is not as it should be", response_model=FaultsOut, **roled(UPKEEP, 422))
async def faults(
    request: Request, everything: Annotated[bool, Query(alias="all", description="Cleared ones too.")] = False
) -> dict[str, Any]:
    """Open faults, oldest first; with ``all`` the newest 500, cleared ones included."""
    parts = parts_of(request)
    found = await parts.store.read(
        lambda tx: tx.faults.listed(MOST_LISTED) if everything else tx.faults.open()
    )
    return {"faults": [parts.envelopes.fault(fault)["fault"] for fault in found]}


@router.get(
    "/quarantine", summary="Contact messages nobody could read", response_model=QuarantineOut, **roled(UPKEEP)
)
async def quarantine(request: Request) -> dict[str, Any]:
    """The newest 100, so that a contact which speaks another format is seen on the day it is mounted."""
    parts = parts_of(request)
    found = await parts.store.read(lambda tx: tx.inbox.quarantined(100))
    return {
        "quarantine": [
            {
                "at": parts.envelopes.stamp(row["at"]),
                "topic": row["topic"],
                "reason": row["reason"],
                "bytes": row["size"],
                "sha256": row["sha256"],
                "head": bytes(row["head"]).decode("utf-8", "replace"),
            }
            for row in found
        ]
    }
