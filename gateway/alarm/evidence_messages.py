"""What the centre is told of an item of evidence, in the very transaction that makes it true.

Where the centre fetches (``media: link``) an item is told as it is stored; where it is PUT (``media: push``) it is told, and a
request for it answered, once the centre has it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from gateway.domain.alarm import Alarm
from gateway.domain.envelope import Envelopes
from gateway.domain.evidence import Evidence, EvidenceState
from gateway.domain.message import MessageType
from gateway.ports.store import Transaction

TOLD_AT_ONCE = 100  # items in one commit: a press must not wait for a month of them
LATE_ITEMS_TOGETHER_S = 3.0  # late items within this share one revision; longer than a retry of the store


def tell_of(tx: Transaction, envelopes: Envelopes, alarm: Alarm, item: Evidence, now: datetime) -> Alarm:
    """Save the item; add ``alarm.evidence`` if it is stored, ``request.result`` if it was requested, and let a further manifest
    be made if there was one. Each is told once. Returns the alarm counted on; the caller saves it."""
    stored = item.state is EvidenceState.STORED
    first = item.told_at is None
    if stored and first:
        alarm, message = envelopes.about_alarm(
            alarm,
            MessageType.ALARM_EVIDENCE,
            envelopes.evidence(item, now),
            at=item.taken_at or now,
            now=now,
        )
        tx.messages.add(message)
        item = replace(item, told_at=now)
    tx.evidence.save(item)
    if item.request is not None and first:
        alarm = _answer(tx, envelopes, alarm, item, now)
    if alarm.manifest_revision > 0 and alarm.manifest_due_at is None:
        alarm = replace(alarm, manifest_due_at=now + timedelta(seconds=LATE_ITEMS_TOGETHER_S))
    return alarm


def has_it(tx: Transaction, envelopes: Envelopes, evidence: str, now: datetime, step: str) -> bool:
    """The centre has the whole of an item: from now on it counts as uploaded, and with ``push`` it is told now. ``step`` is the
    word in the timeline. False, and nothing changed, if it had it before."""
    item = tx.evidence.get(evidence)
    if item is None or item.uploaded_at is not None:
        return False
    item = replace(item, uploaded_at=now)
    tx.alarms.note(item.alarm, now, step, {"evidence": item.id, "camera": item.camera})
    if not envelopes.pushes:
        tx.evidence.save(item)
        return True
    alarm = tx.alarms.get(item.alarm)
    assert alarm is not None
    tx.alarms.save(tell_of(tx, envelopes, alarm, item, now))
    return True


def tell_left(tx: Transaction, envelopes: Envelopes, now: datetime) -> bool:
    """Tell of some of what is stored and was not told. True if there may be more."""
    items = tx.evidence.untold(TOLD_AT_ONCE)
    for item in items:
        alarm = tx.alarms.get(item.alarm)
        assert alarm is not None
        tx.alarms.save(tell_of(tx, envelopes, alarm, item, now))
    return len(items) == TOLD_AT_ONCE


def _answer(tx: Transaction, envelopes: Envelopes, alarm: Alarm, item: Evidence, now: datetime) -> Alarm:
    """What came of the request that asked for the item."""
    assert item.request is not None
    stored = item.state is EvidenceState.STORED
    asked = tx.requests.get(item.request)
    assert asked is not None
    tx.requests.save(replace(asked, ok=stored, result=item.reason or ""))
    data = {
        "request": item.request,
        "ok": stored,
        "reason": item.reason,
        "evidence": item.id if stored else None,
        "item": asked.item,
    }
    alarm, message = envelopes.about_alarm(alarm, MessageType.REQUEST_RESULT, data, at=now, now=now)
    tx.messages.add(message)
    return alarm
