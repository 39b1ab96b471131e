"""What the HTTP interface works with: the stages of a running gateway, and what is measured of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from importlib.metadata import version

from gateway.api.parts import ApiParts
from gateway.app.http import callers, contact_health
from gateway.app.stages import AlarmStages, ContactStages, Neighbours, RecordingStages, WatchStages
from gateway.app.telemetry import prometheus_text, samples
from gateway.domain.links import LinkSigner


def api_parts(
    near: Neighbours,
    recording: RecordingStages,
    alarm: AlarmStages,
    contacts: ContactStages,
    watch: WatchStages,
    links: LinkSigner,
    readiness: Callable[[], tuple[bool, list[str]]],
) -> ApiParts:
    """For the interface of a gateway of these stages."""
    site = near.settings.site
    return ApiParts(
        site=near.plan,
        store=near.store,
        clock=near.clock,
        answering=alarm.answering,
        drilling=alarm.drilling,
        registering=watch.registering,
        exporting=recording.exporting,
        keeping=recording.keeping,
        cameras=near.cameras,
        objects=near.objects,
        envelopes=near.envelopes,
        links=links,
        tokens=callers(site.access),
        readiness=readiness,
        last_seen=contacts.watching.last_seen,
        contact_health=partial(contact_health, contacts.watching, contacts.doubting, contacts.intake),
        metrics=partial(_metrics, near, alarm, contacts, watch),
        version=version("campus-gateway"),
        centre_name=site.centre.name,
    )


def _metrics(near: Neighbours, alarm: AlarmStages, contacts: ContactStages, watch: WatchStages) -> bytes:
    return prometheus_text(
        samples(
            armed=contacts.feed.armed,
            presses=contacts.intake.admitted_total,
            quarantined=contacts.intake.quarantined_total,
            undelivered=alarm.delivering.undelivered,
            paths=alarm.path_health(),
            cameras=near.cameras.health(),
            fault_kinds=[kind.value for kind, _ in watch.supervising.open_faults],
        )
    )
