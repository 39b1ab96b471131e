"""The manifest of an alarm's evidence, and the clips that are asked for while it is open: written in one transaction each."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from gateway.domain.alarm import Alarm
from gateway.domain.envelope import Envelopes
from gateway.domain.evidence import DURING_CLIP_S, Evidence, EvidenceState, Kind, Moment
from gateway.domain.ids import new_id
from gateway.domain.message import MessageType
from gateway.ports.store import Transaction

MANIFEST_WAITS_S = 15.0  # for items still on their way when the window is over
MANIFEST_AGAIN_S = 0.5


def make_manifest(
    tx: Transaction, *, envelopes: Envelopes, alarm_id: str, now: datetime, then: datetime
) -> bool:
    """Add the next revision of the alarm's manifest, or put it off by :data:`MANIFEST_AGAIN_S` while items are on their way;
    returns whether there is one. ``then`` is ``now`` by the clock that the alarm's window was reckoned by."""
    alarm = tx.alarms.get(alarm_id)
    assert alarm is not None
    items = tx.evidence.of(alarm_id)
    ends_at = alarm.window_ends_at
    missing = any(_comes(e, envelopes) and (e.wanted_end or e.end) <= ends_at for e in items)
    window_over_s = (then - max(ends_at, alarm.raised_at)).total_seconds()
    if missing and alarm.manifest_revision == 0 and window_over_s < MANIFEST_WAITS_S:
        tx.alarms.save(replace(alarm, manifest_due_at=now + timedelta(seconds=MANIFEST_AGAIN_S)))
        return False
    # Items still under way for a later span come with a later revision.
    listed = [e for e in items if e.state is not EvidenceState.WANTED or e.end <= then]
    revision = alarm.manifest_revision + 1
    data = envelopes.manifest(alarm, listed, revision)
    alarm = replace(alarm, manifest_revision=revision, manifest_due_at=None)
    alarm, message = envelopes.about_alarm(alarm, MessageType.ALARM_MANIFEST, data, at=now, now=now)
    tx.alarms.save(alarm)
    tx.alarms.note(alarm_id, now, "manifest", {"revision": revision, "items": len(listed)})
    tx.messages.add(message)
    return True


def _comes(item: Evidence, envelopes: Envelopes) -> bool:
    """Whether an item is still on its way to where the manifest will say it is."""
    if item.state is EvidenceState.WANTED:
        return True
    return envelopes.pushes and item.state is EvidenceState.STORED and item.uploaded_at is None


def want_during(tx: Transaction, *, due: Alarm, set_by: timedelta) -> None:
    """Ask every camera of the alarm for its next `during` clip. ``set_by`` is by how much the clock was set since it was
    planned."""
    alarm = tx.alarms.get(due.id)
    if alarm is None or alarm.during_next_at is None:
        return  # closed meanwhile
    if set_by and alarm.during_next_at == due.during_next_at:
        alarm = alarm.set_clock(set_by)
    start = alarm.during_next_at
    assert start is not None
    tx.alarms.save(alarm.during_taken())
    tx.evidence.add(
        [
            Evidence(
                id=new_id("evd", start),
                alarm=alarm.id,
                camera=camera,
                kind=Kind.CLIP,
                moment=Moment.DURING,
                start=start,
                end=start + timedelta(seconds=DURING_CLIP_S),
            )
            for camera in alarm.cameras
        ]
    )
