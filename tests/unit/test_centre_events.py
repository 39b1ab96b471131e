"""How the simulated centre reads messages: what is refused, and what is only noted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from simulators.centre.events import EnvelopeRefused, Event, read_event
from tests.support.school import School

SCHOOL = School(secret="whsec_AAAA", drill_secret="whsec_BBBB")


def read(
    envelope: Any, *, content_type: str = "application/cloudevents+json", webhook_id: str = "msg_alm_1_1"
) -> Event:
    return read_event(json.dumps(envelope).encode(), content_type=content_type, webhook_id=webhook_id)


def test_complete_messages_have_no_findings() -> None:
    """Messages as the contract has them are read without a finding."""
    for envelope in (
        SCHOOL.raised(1),
        SCHOOL.raised(1, drill=True),
        SCHOOL.evidence(1, 2, b"x"),
        SCHOOL.manifest(1, 3),
    ):
        event = read(envelope, webhook_id=envelope["id"])
        assert event.findings == ()
        assert event.sequence == int(envelope["sequence"])
        assert event.drill == envelope["type"].startswith("drill.")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"specversion": "0.3"}, "specversion"),
        ({"id": "msg_other"}, "id: found 'msg_other'"),
        ({"type": ""}, "type"),
        ({"source": "jms"}, "source"),
        ({"sequence": 1}, "sequence: found 1,"),
        ({"sequence": "0"}, "sequence"),
        ({"sequence": None}, "sequence"),
        ({"subject": None}, "subject"),
        ({"time": "2026-03-02 10:15"}, "time"),
        ({"time": "2026-03-02T10:15:07"}, "offset"),
        ({"time": "2026-13-02T10:15:07Z"}, "no date"),
        ({"data": []}, "data"),
        ({"datacontenttype": "text/plain"}, "datacontenttype"),
        ({"traceParent": "x"}, "traceParent"),
    ],
)
def test_broken_envelope(changes: dict[str, Any], said: str) -> None:
    """An envelope that breaks CloudEvents or the contract is refused by the attribute's name."""
    with pytest.raises(EnvelopeRefused, match=said):
        read(SCHOOL.raised(1) | changes)


def test_wrong_body() -> None:
    """A body that is no JSON object, or another media type, is refused with its own status."""
    with pytest.raises(EnvelopeRefused) as refused:
        read(SCHOOL.raised(1), content_type="application/json")
    assert refused.value.status == 415
    for body in (b"{", b"[]", b"\xff", b"[" * 100_000):
        with pytest.raises(EnvelopeRefused) as refused:
            read_event(body, content_type="application/cloudevents+json; charset=utf-8", webhook_id="m")
        assert refused.value.status == 400


def test_missing_data_is_noted_by_its_path() -> None:
    """Data that lacks something is taken, and each missing name is noted with its path."""
    envelope = SCHOOL.raised(1)
    del envelope["data"]["site"]["location"]["lat"]
    del envelope["data"]["cameras"][0]["live"]["hls"]
    del envelope["data"]["reply_url"]
    assert set(read(envelope).findings) == {
        "data.site.location.lat: missing",
        "data.cameras[0].live.hls: missing",
        "data.reply_url: missing",
    }
    envelope = SCHOOL.raised(1) | {"subject": "alm_2"}
    assert any("subject" in finding for finding in read(envelope).findings)
    assert read(SCHOOL.raised(1) | {"type": "alarm.whispered"}).findings == (
        "type alarm.whispered: not known here",
    )
