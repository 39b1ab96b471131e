"""Answer bodies taken apart: items and complaints, planes, and whose the answer is."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import Any

import pytest
from standardwebhooks import Webhook

from drivers.uplinks.signing import TOLERANCE_S, doubt, secret_bytes, signed_headers
from gateway.api.alarm.items import read_item
from gateway.domain.alarm import State
from gateway.domain.answer import (
    MOST_ID,
    MOST_ITEMS,
    ClipSaid,
    ItemKind,
    MoveSaid,
    Operator,
    ReplySaid,
    StillSaid,
    items_of,
    out_of_plane,
)
from gateway.domain.errors import Malformed
from gateway.domain.message import Answer, MessageType, understand
from tests.support.hearing import OPERATOR, message, reply_item, still_item

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
NOW_S = 1_772_417_707
WANG = Operator(name="王警官", unit="市局 110")


def test_items_come_replies_first_each_with_its_place() -> None:
    """An entry without a usable id is complained of and spoils no other."""
    found, complaints = items_of(
        {"replies": [reply_item("r-1"), reply_item(""), 7], "requests": [still_item("q-1"), {"id": 5}]}
    )
    assert [(i.id, i.kind, i.place, i.alarm) for i in found] == [
        ("r-1", ItemKind.REPLY, "replies[0]", "alm_1"),
        ("q-1", ItemKind.REQUEST, "requests[0]", "alm_1"),
    ]
    assert [c.cause.split(":")[0] for c in complaints] == ["replies[1]", "replies[2]", "requests[1]"]


@pytest.mark.parametrize("id_", ["", " r", "r\n", "\ud800", "x" * (MOST_ID + 1), None, 5, ["r"], {"id": "r"}])
def test_an_id_that_cannot_be_remembered_is_complained_of(id_: Any) -> None:
    """Nothing is applied under it, since it could not be known again."""
    found, complaints = items_of({"replies": [{**reply_item(), "id": id_}]})
    assert found == []
    assert len(complaints) == 1


def test_of_too_many_items_the_rest_is_left_for_another_answer() -> None:
    """The first hundred are read, and the complaint says from where on none was."""
    found, (complaint,) = items_of({"replies": [reply_item(f"r-{n}") for n in range(MOST_ITEMS + 5)]})
    assert [i.id for i in found] == [f"r-{n}" for n in range(MOST_ITEMS)]
    assert complaint.cause.startswith(f"replies[{MOST_ITEMS}] ")


def test_an_item_is_known_again_however_it_is_written() -> None:
    """The order of its keys says nothing; any other value is another item."""
    one = reply_item()
    written = json.loads(json.dumps(dict(reversed(one.items())), indent=3))
    digests = [items_of({"replies": [r]})[0][0].digest for r in (one, written, {**one, "reply": "rejected"})]
    assert digests[0] == digests[1] != digests[2]


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        ("reply", {"reply": "accepted"}, ReplySaid(state=State.ACCEPTED, operator=WANG)),
        ("reply", {"reply": "closed", "reason": " 处结 "}, ReplySaid(state=State.CLOSED, operator=WANG, reason="处结")),
        ("request", {"request": "still", "camera": "c", "reason": "x"}, StillSaid(camera="c", operator=WANG, reason="x")),
        (
            "request",
            {"request": "ptz", "camera": "c", "move": "stop", "reason": "x"},
            MoveSaid(camera="c", operator=WANG, reason="x"),
        ),
        (
            "request",
            {"request": "clip", "camera": "c", "from": "2026-03-02T10:14:00+08:00", "to": "2026-03-02T02:15:00Z", "reason": "x"},
            ClipSaid(
                camera="c",
                start=datetime(2026, 3, 2, 2, 14, tzinfo=UTC),
                end=datetime(2026, 3, 2, 2, 15, tzinfo=UTC),
                operator=WANG,
                reason="x",
            ),
        ),
    ],
)  # fmt: skip
def test_an_item_says_what_a_call_would(kind: str, content: dict[str, Any], said: object) -> None:
    """The same fields as the bodies of the API."""
    assert read_item(ItemKind(kind), {**content, "operator": OPERATOR}) == said


@pytest.mark.parametrize(
    ("kind", "content", "where"),
    [
        ("reply", {"reply": "accepted"}, "operator"),
        ("reply", {"reply": "raised", "operator": OPERATOR}, "reply"),
        ("reply", {"reply": "accepted", "operator": {"name": "王"}}, "operator.unit"),
        ("reply", {"reply": "accepted", "operator": OPERATOR, "raeson": "x"}, "raeson"),
        ("request", {"request": "still", "camera": "c", "operator": OPERATOR}, "reason"),
        ("request", {"request": "burn", "camera": "c", "operator": OPERATOR, "reason": "x"}, "request"),
        ("request", {"request": "ptz", "camera": "c", "operator": OPERATOR, "reason": "x"}, "move"),
        ("request", {"request": "clip", "camera": "c", "operator": OPERATOR, "reason": "x", "from": "2026-03-02T10:14:00",
                     "to": "2026-03-02T02:15:00Z"}, "from"),
        ("request", {}, "request"),
    ],
)  # fmt: skip
def test_an_item_that_a_call_would_not_get_through_with_is_malformed(
    kind: str, content: dict[str, Any], where: str
) -> None:
    """And it says where."""
    with pytest.raises(Malformed, match=where):
        read_item(ItemKind(kind), content)


@pytest.mark.parametrize(
    ("type_", "subject", "alarms", "drills"),
    [
        (MessageType.LINK_HEARTBEAT, None, True, True),
        (MessageType.SITE_PLAN, None, True, True),
        (MessageType.FAULT_RAISED, "flt_1", True, True),
        (MessageType.ALARM_RAISED, "alm_1", True, False),
        (MessageType.ALARM_EVIDENCE, "alm_1", True, False),
        (MessageType.REQUEST_RESULT, "alm_1", True, False),
        (MessageType.REQUEST_RESULT, "drl_1", False, True),
        (MessageType.DRILL_RAISED, "drl_1", False, True),
        (MessageType.DRILL_NOTE, "drl_1", False, True),
        (MessageType.DRILL_WINDOW, "wnd_1", False, True),
    ],
)
def test_each_plane_keeps_to_itself(
    type_: MessageType, subject: str | None, alarms: bool, drills: bool
) -> None:
    """An answer about a drill touches drills only, one about an alarm alarms only, a heartbeat's both."""
    answered = message(type_, subject)
    assert (out_of_plane(answered, "alm_7") == "") is alarms
    assert (out_of_plane(answered, "drl_7") == "") is drills


@pytest.mark.parametrize(
    "body", [b'{"replies": [], "replies": []}', b'{"a": {"b": 1, "b": 2}}', b'{"a": NaN}']
)
def test_json_that_two_readers_read_differently_is_not_understood(body: bytes) -> None:
    """One name twice, or numbers that JSON has not."""
    with pytest.raises(ValueError, match="answer"):
        understand(Answer(status=200, body=body, content_type="application/json"))


# Whose it is.


def test_the_published_librarys_signature_is_believed() -> None:
    """Signed by the reference library with the answered message's id, it is the centre's."""
    body = b'{"replies": []}'
    at = datetime.fromtimestamp(NOW_S, UTC)
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(NOW_S),
        "webhook-signature": "v1a,zzz " + Webhook(SECRET).sign("msg_1", at, body.decode()),
    }
    assert doubt(secret_bytes(SECRET), "msg_1", headers, body, NOW_S) == ""


@pytest.mark.parametrize("off_s", [-TOLERANCE_S, TOLERANCE_S])
def test_five_minutes_either_way_are_allowed(off_s: int) -> None:
    """The bound itself still counts."""
    headers = signed_headers(secret_bytes(SECRET), "msg_1", NOW_S + off_s, b"{}")
    assert doubt(secret_bytes(SECRET), "msg_1", headers, b"{}", NOW_S) == ""


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"webhook-signature": ""}, "not signed"),
        ({"webhook-id": ""}, "not signed"),
        ({"webhook-timestamp": ""}, "not signed"),
        ({"webhook-id": "msg_2"}, "webhook-id"),
        ({"webhook-timestamp": "soon"}, "unix time"),
        ({"webhook-timestamp": "١٧٧٢"}, "unix time"),
        ({"webhook-timestamp": str(NOW_S - 1)}, "does not match"),
        ({"webhook-timestamp": str(NOW_S - TOLERANCE_S - 1)}, "old"),
        ({"webhook-timestamp": str(NOW_S + TOLERANCE_S + 1)}, "ahead"),
        ({"webhook-signature": "v1,\udcff"}, "does not match"),
        ({"webhook-signature": "v1"}, "does not match"),
    ],
)
def test_an_answer_that_is_not_provably_the_centres_says_why(changes: dict[str, str], said: str) -> None:
    """Each header that is missing, altered, of another message or out of time is named."""
    headers = signed_headers(secret_bytes(SECRET), "msg_1", NOW_S, b"{}") | changes
    assert said in doubt(secret_bytes(SECRET), "msg_1", headers, b"{}", NOW_S)


def test_another_secret_body_or_message_is_doubted() -> None:
    """What one message's answer said is no answer to another; a changed byte is no answer at all."""
    key = secret_bytes(SECRET)
    true = signed_headers(key, "msg_1", NOW_S, b"{}")
    assert "does not match" in doubt(key, "msg_1", true, b"{ }", NOW_S)
    assert "does not match" in doubt(secret_bytes(OTHER), "msg_1", true, b"{}", NOW_S)
    assert "webhook-id" in doubt(key, "msg_2", true, b"{}", NOW_S)
    assert "does not match" in doubt(key, "msg_2", true | {"webhook-id": "msg_2"}, b"{}", NOW_S)
