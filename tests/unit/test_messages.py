"""Messages to the centre: classes, schedule, what an answer means, how they are signed and written."""

from __future__ import annotations

import base64
import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cloudevents.core.bindings.http import HTTPMessage, from_http_event
from cloudevents.core.formats.json import JSONFormat
from hypothesis import given
from hypothesis import strategies as st
from standardwebhooks import Webhook

from drivers.uplinks.signing import secret_bytes, signed_headers
from gateway.domain.evidence import Evidence, EvidenceState, Kind, Moment
from gateway.domain.fault import Fault, FaultKind
from gateway.domain.message import (
    CLASS_OF,
    Answer,
    Message,
    MessageType,
    Outcome,
    judge,
    next_due_s,
    scheduled_s,
    understand,
)
from tests.support.builders import PUBLIC_URL, alarm, envelopes, point, site
from tests.support.clock import MORNING

# Schedule.


def test_the_schedule_is_the_contracts() -> None:
    """0, 1, 2, 4, 8, 15, 30, then every 30 s."""
    assert [scheduled_s(n) for n in range(11)] == [0, 1, 2, 4, 8, 15, 30, 60, 90, 120, 150]


@given(seed=st.integers(), attempts=st.integers(1, 5000))
def test_jitter_only_delays_and_by_a_tenth_of_the_step(seed: int, attempts: int) -> None:
    """On time, the next attempt is never early and at most 3 s late."""
    now_s = scheduled_s(attempts - 1)
    due_s = next_due_s(0.0, attempts, now_s, random.Random(seed))
    step_s = scheduled_s(attempts) - scheduled_s(attempts - 1)
    assert scheduled_s(attempts) <= due_s <= scheduled_s(attempts) + 0.1 * step_s + 1e-6


@given(
    first_s=st.floats(-1e9, 1e9),
    now_s=st.floats(-1e9, 1e9),
    attempts=st.integers(0, 100_000),
    seed=st.integers(),
)
def test_the_next_attempt_is_never_now_and_never_more_than_33_s_away(
    first_s: float, now_s: float, attempts: int, seed: int
) -> None:
    """However far a message is behind or ahead of its schedule."""
    wait_s = next_due_s(first_s, attempts, now_s, random.Random(seed)) - now_s
    assert 0.49 <= wait_s <= 33.01


@given(retry_after_s=st.floats(allow_nan=False))
def test_retry_after_is_honoured_up_to_30_s_and_never_hurries(retry_after_s: float) -> None:
    """Nonsense from the centre bends nothing."""
    due_s = next_due_s(0.0, 1, 0.0, random.Random(1), retry_after_s)
    assert max(1.0, min(retry_after_s, 30.0)) - 0.2 <= due_s <= 33.0


def test_the_classes_stand_in_the_contracts_order() -> None:
    """Raised and repeated; notes, escalations and results; faults; evidence and manifests; drills; plan."""
    order = [
        {"alarm.raised", "alarm.repeated"},
        {"alarm.note", "alarm.escalated", "request.result"},
        {"fault.raised", "fault.cleared"},
        {"alarm.evidence", "alarm.manifest"},
        {"drill.raised", "drill.evidence", "drill.manifest", "drill.note", "drill.window"},
        {"site.plan", "link.heartbeat", "link.probe"},
    ]
    classes = sorted(set(CLASS_OF.values()))
    assert [{t.value for t, c in CLASS_OF.items() if c is k} for k in classes] == order
    assert set(CLASS_OF) == set(MessageType)


def test_rank_is_class_then_age_then_sequence() -> None:
    """An older note goes after a newer press; within an alarm, in sequence."""

    def make(type_: MessageType, at_s: int, sequence: int) -> Message:
        at = MORNING + timedelta(seconds=at_s)
        return envelopes().message(type_, {}, at=at, now=at, subject="alm_1", sequence=sequence)

    ordered = [
        make(MessageType.ALARM_RAISED, 9, 1),
        make(MessageType.ALARM_REPEATED, 9, 2),
        make(MessageType.ALARM_REPEATED, 10, 3),
        make(MessageType.ALARM_NOTE, 0, 1),
        make(MessageType.FAULT_RAISED, 0, 1),
    ]
    shuffled = random.Random(3).sample(ordered, len(ordered))
    assert sorted(shuffled, key=lambda m: m.rank) == ordered


# Answers.


@pytest.mark.parametrize("may_have_it", [False, True])
@pytest.mark.parametrize(
    "status", [None, 100, 199, *range(200, 210), 299, 300, 301, 400, 401, 404, 409, 410, 429, 500, 503, 599]
)
def test_received_is_any_2xx_or_409_where_it_may_be_there(status: int | None, may_have_it: bool) -> None:
    """410 is gone; everything else has failed."""
    received = status is not None and (200 <= status < 300 or (status == 409 and may_have_it))
    wanted = Outcome.RECEIVED if received else Outcome.GONE if status == 410 else Outcome.FAILED
    assert judge(Answer(status=status), may_have_it) is wanted
    assert judge(Answer(status=None, sent=True), may_have_it) is Outcome.UNANSWERED


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"", ""),
        (b"OK", "text/plain"),
        (b"<html>", "text/html"),
        (b"\xff\x00", ""),
        (b"  \n", "application/json"),
        (b"17", ""),
    ],
)
def test_a_body_that_is_not_json_is_ignored(body: bytes, content_type: str) -> None:
    """Nothing is read into it, and it is no fault."""
    assert not understand(Answer(status=200, body=body, content_type=content_type))


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"replies": [', ""),
        (b"{nonsense}", "application/json"),
        (b'{"replies": 7}', "application/json"),
        (b'{"requests": {"a": 1}}', ""),
        (b"[1, 2]", "application/json"),
        (b"[" * 100_000, "application/json; charset=utf-8"),
        (b'{"a": \xff}', "application/json"),
    ],
)
def test_json_that_cannot_be_understood_is_said(body: bytes, content_type: str) -> None:
    """A centre that means to say something is not misheard in silence."""
    with pytest.raises(ValueError, match="answer"):
        understand(Answer(status=200, body=body, content_type=content_type))


@given(st.binary(max_size=200), st.sampled_from(["", "text/plain", "application/json", "text/JSON;x"]))
def test_garbage_in_an_answer_is_understood_ignored_or_refused(body: bytes, content_type: str) -> None:
    """Whatever bytes come, the outcome is one of three."""
    try:
        document = understand(Answer(status=200, body=body, content_type=content_type))
    except ValueError:
        return
    assert document is None or isinstance(document, dict)


# Signatures.


def test_the_published_vector() -> None:
    """The vector that the reference libraries share."""
    headers = signed_headers(
        secret_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"),
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(key=st.binary(min_size=24, max_size=64), body=st.text(st.characters(codec="utf-8"), max_size=300))
def test_the_published_library_accepts_what_we_sign(key: bytes, body: str) -> None:
    """Any legal secret, any text."""
    secret = "whsec_" + base64.b64encode(key).decode()
    now = int(datetime.now(UTC).timestamp())
    headers = signed_headers(secret_bytes(secret), "msg_1", now, json.dumps(body).encode())
    assert Webhook(secret).verify(json.dumps(body).encode(), headers) == body


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_!!!", "whsec_" + "A" * 16, "whsec_" + "A" * 100, "镜头"]
)
def test_a_secret_that_is_none_is_refused(secret: str) -> None:
    """Too short, too long, or not base64."""
    with pytest.raises(ValueError, match="webhook secret"):
        secret_bytes(secret)


# Bodies.


def _every_body() -> list[Message]:
    plan = site()
    make, one = envelopes(plan), alarm()
    item = Evidence(
        id="evd_1",
        alarm=one.id,
        camera="cam-a",
        kind=Kind.STILL,
        moment=Moment.PRESS,
        start=MORNING,
        end=MORNING,
        state=EvidenceState.STORED,
        taken_at=MORNING,
        offset_ms=-12,
        clock="rtcp",
        source="ring",
        media_type="image/jpeg",
        bytes=5,
        sha256="ab",
        key="jms/alarms/镜.jpg",
        stored_at=MORNING,
    )
    fault = Fault(id="flt_1", kind=FaultKind.DISK, subject="data", cause="磁盘满", since=MORNING)
    data: dict[MessageType, dict[str, Any]] = {
        MessageType.ALARM_RAISED: make.raised(one, point(), {"cam-a": True}, MORNING),
        MessageType.ALARM_REPEATED: make.repeated(one, point(), MORNING, MORNING),
        MessageType.ALARM_EVIDENCE: make.evidence(item, MORNING),
        MessageType.ALARM_MANIFEST: make.manifest(one, [item, item.failed("没有画面")], 1),
        MessageType.FAULT_RAISED: make.fault(fault),
        MessageType.SITE_PLAN: make.plan(),
    }
    said = []
    for type_, body in data.items():
        if type_.value.startswith("alarm."):
            one, message = make.about_alarm(one, type_, body, at=MORNING, now=MORNING)
        else:
            message = make.message(type_, body, at=MORNING, now=MORNING, subject=None)
        said.append(message)
    return said


@pytest.mark.parametrize("message", _every_body(), ids=lambda m: m.type.value)
def test_the_cloudevents_sdk_parses_every_body(message: Message) -> None:
    """Structured JSON, CloudEvents 1.0, the id that is signed, times with the school's own offset."""
    http = HTTPMessage(headers={"content-type": "application/cloudevents+json"}, body=message.body)
    event = from_http_event(http, JSONFormat())
    assert (event.get_id(), event.get_type()) == (message.id, message.type.value)
    assert event.get_source() == "/campus/jms-no3-middle"
    assert event.get_time() == MORNING
    assert event.get_subject() == message.subject
    document = json.loads(message.body)
    assert document["time"] == "2026-03-02T10:15:07.123+08:00"
    assert document["specversion"] == "1.0"
    assert ("sequence" in document) == (message.sequence is not None)
    assert None not in document.values()


def test_the_sequence_of_an_alarm_begins_with_the_text_1() -> None:
    """An extension attribute is text."""
    about = [json.loads(m.body)["sequence"] for m in _every_body() if m.type.value.startswith("alarm.")]
    assert about == ["1", "2", "3", "4"]


def test_alarm_raised_has_every_field_of_the_contract() -> None:
    """Names and shapes of the contract's example, and a camera unknown to health is not called healthy."""
    one = alarm(pressed_at=MORNING - timedelta(seconds=90))
    data = envelopes().raised(one, point(), {"cam-a": True}, MORNING)
    assert data["alarm"] == {
        "id": "alm_1",
        "state": "raised",
        "severity": "panic",
        "pressed_at": "2026-03-02T10:13:37.123+08:00",
        "raised_at": "2026-03-02T10:15:07.123+08:00",
        "late_s": 90.0,
        "presses": 1,
    }
    assert data["site"]["location"] == {"lat": 46.8085, "lon": 130.3653}
    assert data["point"]["zone"] == {
        "id": "b1-301",
        "name": "301 教室",
        "kind": "classroom",
        "building": "一号楼",
        "floor": 3,
    }
    assert [(c["id"], c["healthy"], set(c["live"])) for c in data["cameras"]] == [
        ("cam-a", True, {"page", "hls", "expires_at"}),
        ("cam-b", False, {"page", "hls", "expires_at"}),
    ]
    assert data["reply_url"] == f"{PUBLIC_URL}/api/v1/alarms/alm_1/replies"
