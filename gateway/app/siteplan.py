"""Compiles the site file into the plan the domain works with, once, at the start."""

from __future__ import annotations

from collections.abc import Collection
from datetime import time

from config import site as file
from config.attributes import read_bare
from config.liveness import announcements, liveness_topics
from gateway.domain.flag import FlagIs
from gateway.domain.plan import Camera, Confirm, ContactSource, Point, SelfTest, Severity, Site, Zone


def compile_plan(site: file.Site, built_formats: Collection[str]) -> Site:
    """The plan. A point whose source this version cannot read has ``source=None``: it is in the plan, and a fault says that
    no press of it is heard."""
    zones = {
        z.id: Zone(id=z.id, name=z.name, kind=z.kind, building=z.building, floor=z.floor) for z in site.zones
    }
    cameras = {
        c.id: Camera(
            id=c.id,
            name=c.name,
            zone=c.zone,
            continuous=c.record == "continuous",
            offers_snapshot=c.onvif is not None,
        )
        for c in site.cameras
    }
    points = {
        p.id: Point(
            id=p.id,
            name=p.name,
            zone=zones[p.zone],
            cameras=tuple(c.id for c in site.cameras_of(p)),
            severity=Severity(p.severity),
            source=_source(p, built_formats),
            confirm=_confirm(p),
        )
        for p in site.points
    }
    return Site(
        id=site.site.id,
        name=site.site.name,
        address=site.site.address,
        lat=site.site.location.lat,
        lon=site.site.location.lon,
        timezone=str(site.site.timezone),
        zones=zones,
        cameras=cameras,
        points=points,
        retention_days=site.retention_days,
        before_s=site.evidence.before_s,
        after_s=site.evidence.after_s,
        accept_within_s=site.centre.accept_within_s,
        self_test=SelfTest(
            point=site.self_test.point,
            at=time.fromisoformat(site.self_test.at),
            answered_within_s=site.self_test.answered_within_s,
        )
        if site.self_test
        else None,
    )


def _source(point: file.Point, built_formats: Collection[str]) -> ContactSource | None:
    wired = point.mqtt
    if wired is None or wired.format not in built_formats:
        return None
    liveness = liveness_topics(wired.format, wired.topic, wired.liveness)
    device, announced = announcements(wired.format, wired.topic)
    return ContactSource(
        topic=wired.topic,
        format=wired.format,
        input=wired.input,
        normally_open=wired.contact == "normally-open",
        liveness_topic=liveness.device,
        bridge_topic=liveness.bridge,
        silent_after_s=wired.silent_after_s,
        presses=wired.press,
        flag=FlagIs(wired.flag) if wired.flag is not None else None,
        attribute=read_bare(wired.format, wired.topic),
        device=device,
        announce_topics=announced,
    )


def _confirm(point: file.Point) -> Confirm | None:
    """``None`` for duress whatever the file says: its rules refuse it, and here it is refused once more."""
    wanted = point.confirm
    if wanted is None or point.severity == "duress":
        return None
    return Confirm(
        topic=wanted.topic,
        received=wanted.received,
        accepted=wanted.accepted,
        closed=wanted.closed,
        qos=wanted.qos,
        retain=wanted.retain,
    )
