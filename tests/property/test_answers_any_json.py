"""Whatever stands in an answer's body, hearing it raises nothing, and only what is well formed and signed changes anything."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.uplinks.signing import doubt, secret_bytes, signed_headers
from gateway.domain.message import Answer
from tests.support.builders import alarm
from tests.support.clock import ManualClock
from tests.support.hearing import OPERATOR, Ear, ear, message, reply_item, saying, still_item
from tests.support.stores import opened

KEY = secret_bytes("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
NOW_S = 1_772_417_707

NOTHING_WORTH = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
ANY = st.recursive(
    NOTHING_WORTH,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)
GOOD = st.sampled_from(
    [
        reply_item(),
        reply_item("r-2", "dispatched"),
        reply_item("r-3", "rejected", reason="误报"),
        still_item(),
        still_item("q-2", request="ptz", move="stop"),
    ]
)
NEEDED = ("id", "alarm", "reply", "request", "operator", "camera")


@st.composite
def near_misses(draw: st.DrawFn) -> dict[str, Any]:
    """An item with one of the things it needs left out, of another kind, or with a key too many."""
    item = dict(draw(GOOD))
    name = draw(st.sampled_from([n for n in NEEDED if n in item]))
    match draw(st.sampled_from(["out", "kind", "more", "nobody", "nowhere"])):
        case "out":
            del item[name]
        case "kind":
            item[name] = draw(
                st.none() | st.integers() | st.lists(st.text(max_size=3)) | st.just({}) | st.just("")
            )
        case "more":
            item["raeson"] = draw(ANY)
        case "nobody":
            item["operator"] = draw(
                st.sampled_from([{}, {"name": "王"}, {**OPERATOR, "name": "  "}, [OPERATOR], "王"])
            )
        case "nowhere":
            item["alarm"] = draw(st.sampled_from(["alm_2", "ALM_1", " alm_1", "drl_1", "alm_1\n", "x" * 500]))
    return item


DOCUMENTS = ANY | st.fixed_dictionaries(
    {}, optional={n: st.lists(near_misses() | ANY, max_size=4) | ANY for n in ("replies", "requests")}
)


@pytest.fixture
def heard(tmp_path: Path) -> Iterator[tuple[asyncio.Runner, Ear]]:
    """The stages on a real database, with one raised alarm, in one loop for all examples."""
    with asyncio.Runner() as runner:
        place = opened(tmp_path)
        store = runner.run(place.__aenter__())
        runner.run(store.write(lambda tx: tx.alarms.add(alarm())))
        yield runner, ear(store, ManualClock())
        runner.run(place.__aexit__(None, None, None))


def _everything(runner: asyncio.Runner, e: Ear) -> Any:
    def look(tx: Any) -> Any:
        parts = tx.alarms.timeline("alm_1"), tx.evidence.of("alm_1"), tx.requests.about("alm_1")
        return tx.alarms.listed(), *parts, tx.messages.undelivered()

    return runner.run(e.store.read(look))


@given(st.lists(DOCUMENTS, min_size=1, max_size=8))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_document_that_is_not_well_formed_changes_anything(
    heard: tuple[asyncio.Runner, Ear], documents: list[Any]
) -> None:
    """Signed rightly, and with a thing or two missing: the alarm stays as it is."""
    runner, e = heard
    before = _everything(runner, e)
    for document in documents:
        body = json.dumps(document).encode()
        runner.run(
            e.hearing.take(
                message(), Answer(status=200, body=body, content_type="application/json", doubt="")
            )
        )
    assert _everything(runner, e) == before


@given(st.lists(GOOD | near_misses(), min_size=1, max_size=4), st.data())
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_forged_answer_changes_anything(
    heard: tuple[asyncio.Runner, Ear], items: list[dict[str, Any]], data: st.DataObject
) -> None:
    """Right in every word, and with one bit of body, signature, id or time not as the centre signed it."""
    runner, e = heard
    before = _everything(runner, e)
    body = saying(
        replies=[i for i in items if "reply" in i], requests=[i for i in items if "request" in i]
    ).body
    signed = signed_headers(KEY, "msg_1", NOW_S, body)
    name = data.draw(st.sampled_from(["body", *signed]))
    bit = data.draw(st.integers(0, 2**16))
    if name == "body":
        body = _flipped(body, bit)
    else:
        signed[name] = _flipped(signed[name].encode(), bit).decode("utf-8", "surrogateescape")
    found = doubt(KEY, "msg_1", signed, body, NOW_S)
    assert found
    runner.run(e.hearing.take(message(), Answer(status=200, body=body, content_type="", doubt=found)))
    assert _everything(runner, e) == before


@given(
    st.binary(max_size=300),
    st.sampled_from(["", "text/html", "application/json"]),
    st.sampled_from(["", "no"]),
)
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_raise_anything(
    heard: tuple[asyncio.Runner, Ear], body: bytes, content_type: str, doubted: str
) -> None:
    """Whatever comes over the wire."""
    runner, e = heard
    runner.run(
        e.hearing.take(message(), Answer(status=200, body=body, content_type=content_type, doubt=doubted))
    )


def _flipped(text: bytes, bit: int) -> bytes:
    place, which = divmod(bit % (len(text) * 8), 8)
    return text[:place] + bytes([text[place] ^ (1 << which)]) + text[place + 1 :]


#: JSON that is legal and hard to keep or to reckon with, as it stands in a body.
HARD = [
    '"\\ud800"',
    '"a\\udfffb"',
    '"\\u0000"',
    '"' + "9" * 250 + '"',
    "9" * 30,
    "-" + "9" * 400,
    "1e999",
    "-1e999",
    "1e-999",
    "[" * 900 + "]" * 900,
    '{"a":' * 400 + "1" + "}" * 400,
    '"9999-12-31T23:59:59-23:59"',
    '"0001-01-01T00:00:00+23:59"',
    '"2026-03-02T10:15:07+99:99"',
    '"2026-03-02T10:15:07.123456789123456789+08:00"',
    '"\\u202e"',
    "true",
    "null",
]
CLIP = still_item("q-3", request="clip") | {
    "from": "2026-03-02T10:15:00+08:00",
    "to": "2026-03-02T10:15:07+08:00",
}
MOVE = still_item("q-4", request="ptz", move={"pan": 0.1, "tilt": 0.1, "zoom": 0.1, "for_s": 1})


def _fields(item: Any, place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name, value in item.items():
        yield (*place, name)
        if isinstance(value, dict):
            yield from _fields(value, (*place, name))


def _with(item: dict[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    head, *rest = place
    return item | {head: _with(item[head], tuple(rest), value) if rest else value}


EVERY_FIELD = [
    pytest.param(item, place, id=f"{item.get('request', 'reply')}-{'.'.join(place)}")
    for item in (reply_item(reason="x"), still_item(), CLIP, MOVE)
    for place in _fields(item)
]


@pytest.mark.parametrize(("item", "place"), EVERY_FIELD)
def test_no_value_of_any_field_raises_or_cannot_be_told(
    heard: tuple[asyncio.Runner, Ear], item: dict[str, Any], place: tuple[str, ...]
) -> None:
    """What is complained of can be kept as a fault; what is kept can be told in a heartbeat; nothing raises."""
    runner, e = heard
    for number, value in enumerate(HARD):
        fresh = item if place == ("id",) else item | {"id": f"i-{number}"}
        text = json.dumps({"replies" if "reply" in item else "requests": [_with(fresh, place, "HARD")]})
        body = text.replace('"HARD"', value).encode()
        answer = Answer(status=200, body=body, content_type="application/json", doubt="")
        given = e.hearing.hear(message(), answer)
        runner.run(e.store.write(given.apply))
        given.committed()
        runner.run(e.hearing.take(message(), answer))
    for subject, cause in e.refused.items():
        assert (subject + cause).encode()
    untold = runner.run(e.store.read(lambda tx: tx.answer_items.untold(1000)))
    assert json.dumps([(i.id, i.reason, i.state, i.request) for i in untold], ensure_ascii=False).encode()
