"""Playlists, problem documents and times, as pure functions."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from pydantic import TypeAdapter, ValidationError

from gateway.api.alarm.live import Epochs, written
from gateway.api.bodies import Instant
from gateway.api.keyring import Keyring
from gateway.api.parts import Caller
from gateway.api.problems import KINDS, Problem, invalid, unavailable
from gateway.domain.camera import LivePlaylist, LiveSegment

AT = datetime(2026, 3, 2, 2, 15, 7, 123000, tzinfo=UTC)


def playlist(*durations_s: float, epoch: int = 3_590_915_389) -> LivePlaylist:
    return LivePlaylist(
        codec="avc1.42e01f",
        init="init-3.mp4",
        epoch=epoch,
        segments=[
            LiveSegment(name=f"3-{n}.m4s", sequence=n, duration_s=d, begins_at=AT + timedelta(seconds=n))
            for n, d in enumerate(durations_s, start=40)
        ],
    )


def test_a_playlist_says_all_that_a_player_needs() -> None:
    """Version, target duration, sequence, epoch, codec, initialisation, and each segment with its time and signed address."""
    text = written(playlist(1.0, 1.04), 3, lambda name: name + "?signed", lambda at: at.isoformat())
    assert text.splitlines() == [
        "#EXTM3U",
        "#EXT-X-VERSION:7",
        "#EXT-X-TARGETDURATION:2",
        "#EXT-X-MEDIA-SEQUENCE:40",
        "#EXT-X-DISCONTINUITY-SEQUENCE:3",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        "# codec: avc1.42e01f",
        '#EXT-X-MAP:URI="init-3.mp4?signed"',
        "#EXT-X-PROGRAM-DATE-TIME:2026-03-02T02:15:47.123000+00:00",
        "#EXTINF:1.000,",
        "3-40.m4s?signed",
        "#EXT-X-PROGRAM-DATE-TIME:2026-03-02T02:15:48.123000+00:00",
        "#EXTINF:1.040,",
        "3-41.m4s?signed",
    ]
    assert text.endswith("\n")


def test_reopened_streams_are_counted_from_zero_for_each_camera() -> None:
    """Whatever numbers a driver gives its epochs, players see 0, 1, 2: they walk through all of them."""
    epochs = Epochs()
    seen = [epochs.count("a", n) for n in (3_590_915_389, 3_590_915_389, 3_590_915_500, 3_590_915_500, 7)]
    assert seen == [0, 0, 1, 1, 2]
    assert epochs.count("b", 7) == 0


def test_no_problem_is_without_advice() -> None:
    """Every kind of problem has a fitting status, a title, and says what to do."""
    for kind in KINDS:
        problem = Problem(kind)
        document = json.loads(problem.response().body)
        assert document["type"] == f"urn:campus-gateway:problem:{kind}"
        assert 400 <= document["status"] == problem.response().status_code < 600
        assert document["title"]
        assert document["detail"].endswith(".")
        assert problem.response().media_type == "application/problem+json"


def test_a_wrong_value_is_shown_short_and_never_as_a_document() -> None:
    """Where, what was found and what was expected; long values are cut, documents and lists only named."""
    document = invalid("body.x", "y" * 500, "less").document()
    assert document["errors"][0]["where"] == "body.x"
    assert len(document["errors"][0]["found"]) < 100
    assert invalid("body", {"secret": "s"}, "a word").document()["errors"][0]["found"] == "an object"
    assert invalid("body", ["secret"], "a word").document()["errors"][0]["found"] == "a list"
    lone = invalid("body", "\ud800", "a word").response()
    json.loads(lone.body)


def test_unavailable_says_when_to_come_again() -> None:
    """Retry-After is whole seconds, at least one."""
    assert unavailable("x", 0.2).headers["Retry-After"] == "1"
    assert unavailable("x", 7.4).headers["Retry-After"] == "7"
    assert int(unavailable("x").headers["Retry-After"]) >= 1


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2026-03-02T10:15:07+08:00", datetime(2026, 3, 2, 2, 15, 7, tzinfo=UTC)),
        ("2026-03-02T10:15:07.123+08:00", AT),
        ("2026-03-02T10:15:07 08:00", datetime(2026, 3, 2, 2, 15, 7, tzinfo=UTC)),
        ("2026-03-02t02:15:07z", datetime(2026, 3, 2, 2, 15, 7, tzinfo=UTC)),
    ],
)
def test_times_are_rfc_3339_with_an_offset(text: str, at: datetime) -> None:
    """Any offset is understood, and the space that an unescaped plus sign becomes in a query string."""
    assert TypeAdapter(Instant).validate_python(text) == at


@pytest.mark.parametrize(
    "text",
    ["2026-03-02T10:15:07", "2026-03-02", "1772417707", 1772417707, "2026-13-02T10:15:07Z", "now", "", None,
     "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2026-03-02T10:15:07+25:00"],
)  # fmt: skip
def test_other_times_are_refused(text: object) -> None:
    """A time without an offset has no meaning here, and one out of all bounds must not reach the database."""
    with pytest.raises(ValidationError, match="RFC 3339"):
        TypeAdapter(Instant).validate_python(text)


def test_a_token_finds_its_caller_and_nothing_else_does() -> None:
    """Only the whole token opens; every other string, the empty one included, does not."""
    centre = Caller(name="110", unit="x", role="centre")
    keyring = Keyring({"t" * 20: centre, "u" * 20: Caller(name="g", unit="y", role="guard")})
    assert keyring.holder("t" * 20) is centre
    for wrong in ("", "t", "t" * 19, "t" * 21, "T" * 20, " " + "t" * 20):
        assert keyring.holder(wrong) is None
