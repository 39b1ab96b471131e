"""Playback over HTTP: a span is opened by who says why, and what its link gives is what was recorded and nothing else."""

from __future__ import annotations

import hashlib
import re
from datetime import timedelta
from typing import Any

import pytest

from gateway.api.recording.playback import shown, written
from gateway.domain.recording import Segment
from storage.objects.local import LocalObjects
from tests.integration.test_exports import TEN, film, recorded, three
from tests.support.http_face import OTHER, Answer, Face, on_face
from tests.support.stores import overwrite

PATH = f"/api/v1/cameras/{OTHER}/playback"
BY = {"name": "李老师", "unit": "第三中学"}


async def play(face: Face, begin_s: float, end_s: float, *, role: str = "guard", **changes: Any) -> Answer:
    body = {
        "from": (TEN + timedelta(seconds=begin_s)).isoformat(),
        "to": (TEN + timedelta(seconds=end_s)).isoformat(),
        "by": BY,
        "reason": "案件 2026-17",
    }
    return await face.say(PATH, body | changes, role=role)


async def lines(face: Face) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await face.ask("/api/v1/access-register", role="inspector")).json["lines"]
    return found


def entries(text: str) -> list[str]:
    """Heads and pictures as a playlist names them, in their order."""
    return [
        head or part
        for head, part in re.findall(r'^#EXT-X-MAP:URI="([^"]+)"|^([^#\n].*)', text, re.MULTILINE)
    ]


@on_face
async def test_a_span_is_opened_once_and_its_link_gives_the_very_recordings(face: Face) -> None:
    """One line of the register however often the link is read; heads and pictures together are the objects, byte for byte; the
    gap is said, and where to begin."""
    segments = await three(face, face.directory)
    opened = await play(face, 1, 16)
    assert opened.status == 201
    assert (opened.json["first"], opened.json["last"]) == (
        "2026-03-02T10:00:00.000+08:00",
        "2026-03-02T10:00:16.000+08:00",
    )
    link = opened.json["playlist"]
    assert "token" not in link
    for _ in range(2):
        answer = await face.ask(link)
        assert (answer.status, answer.headers["content-type"]) == (200, "application/vnd.apple.mpegurl")
    text = answer.body.decode()
    assert "#EXT-X-START:TIME-OFFSET=1.000,PRECISE=YES" in text
    assert text.count("#EXT-X-DISCONTINUITY") == 2
    assert [line for line in text.splitlines() if line.startswith("# gap")] == ["# gap: 4.000 s"]
    assert "#EXT-X-PROGRAM-DATE-TIME:2026-03-02T10:00:12.000+08:00" in text
    base = link.rpartition("/")[0]
    parts = [await face.ask(f"{base}/{name}") for name in entries(text)]
    assert [one.status for one in parts] == [200] * 6
    for one, head, pictures in zip(segments, parts[::2], parts[1::2], strict=True):
        assert head.body + pictures.body == (face.directory / "objects" / one.key).read_bytes()
        assert (head.body[4:8], pictures.body[4:8]) == (b"ftyp", b"moof")
    (line,) = await lines(face)
    assert {key: line[key] for key in ("act", "name", "unit", "right", "content", "reason")} == {
        "act": "played",
        **BY,
        "right": "guard",
        "content": OTHER,
        "reason": "案件 2026-17",
    }
    assert line["detail"] == {"from": "2026-03-02T02:00:01+00:00", "to": "2026-03-02T02:00:16+00:00"}


@on_face
async def test_parts_of_a_second_are_rounded_outwards(face: Face) -> None:
    """An hour that begins and ends within a second is an hour, and all of it is opened."""
    await three(face, face.directory)
    opened = await play(face, 0.345, 3600.345)
    assert (opened.status, opened.json["from"], opened.json["to"]) == (
        201,
        "2026-03-02T10:00:00.000+08:00",
        "2026-03-02T11:00:01.000+08:00",
    )


@on_face
async def test_every_opening_is_a_line_of_its_own(face: Face) -> None:
    """The same span again, and another person, are further openings."""
    await three(face, face.directory)
    await play(face, 0, 4)
    await play(face, 0, 4)
    await play(face, 0, 4, by={"name": "张三", "unit": "教育局"}, role="inspector")
    assert [(line["name"], line["right"]) for line in await lines(face)] == [
        ("李老师", "guard"),
        ("李老师", "guard"),
        ("张三", "inspector"),
    ]


@on_face
async def test_a_link_opens_its_own_span_until_its_time_and_nothing_more(face: Face) -> None:
    """Altered in any way it is 403, expired 410; without one there is no way in, for no role."""
    await three(face, face.directory)
    link = (await play(face, 0, 4)).json["playlist"]
    entry = f"{link.rpartition('/')[0]}/{entries((await face.ask(link)).body.decode())[1]}"
    longer = link.replace("T020004Z.m3u8", "T025900Z.m3u8")
    assert longer != link
    for wrong in (longer, link + "x", entry + "x", entry.replace("020000Z", "020004Z")):
        assert (await face.ask(wrong)).problem == "altered-link", wrong
    for bare in (link.partition("?")[0], entry.partition("?")[0]):
        assert (await face.ask(bare)).problem == "no-token"
        assert (await face.ask(bare, role="technician")).status == 401
    face.clock.advance(hours=3, seconds=1)
    for late in (link, entry):
        assert (await face.ask(late)).problem == "link-expired"


@on_face
async def test_what_cannot_be_opened_says_why_and_leaves_no_line(face: Face) -> None:
    """Too long, the future, backwards, nothing kept, nobody named, no reason; and the centre has no business there."""
    await three(face, face.directory)
    for changes in (
        {"to": (TEN + timedelta(minutes=61)).isoformat()},
        {"to": TEN.isoformat()},
        {"from": (TEN + timedelta(hours=2)).isoformat(), "to": (TEN + timedelta(hours=3)).isoformat()},
        {"by": {"name": "李老师"}},
        {"reason": " "},
    ):
        assert (await play(face, 0, 4, **changes)).problem == "invalid", changes
    assert (await play(face, 100, 130)).problem == "not-found"
    assert (await play(face, 0, 4, role="centre")).problem == "wrong-role"
    assert await lines(face) == []


@on_face
async def test_what_was_altered_breaks_off_and_what_is_gone_says_so(face: Face) -> None:
    """No changed picture arrives as a whole one; an object that is away is 503; a deleted one is 410."""
    segments = await three(face, face.directory)
    link = (await play(face, 0, 16)).json["playlist"]
    base, names = link.rpartition("/")[0], entries((await face.ask(link)).body.decode())
    path = face.directory / "objects" / segments[0].key
    data = bytearray(path.read_bytes())
    data[-20] ^= 1
    overwrite(path, bytes(data))
    with pytest.raises(Exception, match=r"payload|disconnected|closed"):
        await face.ask(f"{base}/{names[1]}")
    path.unlink()
    assert (await face.ask(f"{base}/{names[0]}")).problem == "unavailable"
    await face.store.write(lambda tx: tx.recordings.forget(OTHER, segments[:1]))
    assert (await face.ask(f"{base}/{names[1]}")).problem == "deleted"


@on_face
async def test_the_version_on_record_is_played(face: Face, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever somebody laid over it in the bucket, head and pictures are asked for by their version."""
    await three(face, face.directory)
    (one, *_) = await face.store.read(
        lambda tx: tx.recordings.segments(OTHER, TEN, TEN + timedelta(seconds=1))
    )
    await face.store.write(lambda tx: tx.recordings.locked(one.key, None, "v1"))
    asked: list[str | None] = []
    read = LocalObjects.read

    def watched(objects: LocalObjects, key: str, *span: Any, version: str | None = None) -> Any:
        asked.append(version)
        return read(objects, key, *span)

    monkeypatch.setattr(LocalObjects, "read", watched)
    link = (await play(face, 0, 1)).json["playlist"]
    for name in entries((await face.ask(link)).body.decode()):
        assert (await face.ask(f"{link.rpartition('/')[0]}/{name}")).status == 200
    assert asked
    assert set(asked) == {"v1"}


def test_what_was_recorded_twice_is_shown_once_and_is_no_gap() -> None:
    """The second stream fell a second after its file had begun; the main stream's file goes from before that on to the minute."""

    def one(start_s: int, end_s: int) -> Segment:
        at = TEN + timedelta(seconds=start_s)
        return Segment(
            id=f"seg_{start_s}",
            camera=OTHER,
            start=at,
            end=TEN + timedelta(seconds=end_s),
            frames=10,
            bytes=1000,
            key=f"{start_s}.mp4",
            sha256="ab" * 32,
            stored_at=at,
        )

    segments = shown([one(0, 60), one(57, 120), one(60, 61), one(120, 180)])
    assert [each.key for each in segments] == ["0.mp4", "57.mp4", "120.mp4"]
    assert "# gap" not in written(segments, TEN, lambda each, ending: each.key + ending, str)


@on_face
async def test_a_file_that_is_no_recording_is_not_given_out(face: Face) -> None:
    """Bytes without a fragment are told as what they are not."""
    face.clock.at = TEN + timedelta(hours=1)
    one = await recorded(face, 0, b"\0\0\0\x08ftyp" + b"\0\0\0\x08moov")
    assert hashlib.sha256((face.directory / "objects" / one.key).read_bytes()).hexdigest() == one.sha256
    link = (await play(face, 0, 4)).json["playlist"]
    for name in entries((await face.ask(link)).body.decode()):
        assert (await face.ask(f"{link.rpartition('/')[0]}/{name}")).status == 503


@on_face
async def test_the_length_of_an_export_is_said_in_advance(face: Face) -> None:
    """To the byte, so that a page can show how far it is."""
    face.clock.at = TEN + timedelta(hours=1)
    await recorded(face, 0, film(face.directory / "a.mp4"))
    span = {"from": TEN.isoformat(), "to": (TEN + timedelta(seconds=4)).isoformat(), "reason": "核查"}
    answer = await face.ask(f"/api/v1/cameras/{OTHER}/export", role="technician", params={**span, **BY})
    assert int(answer.headers["content-length"]) == len(answer.body)
    (line,) = await lines(face)
    assert (line["act"], line["name"], line["unit"]) == ("exported", "李老师", "第三中学")


@on_face
async def test_the_minutes_are_registered_with_name_unit_and_reason(face: Face) -> None:
    """Once for an opening that goes on; for another reason it is another one."""
    await three(face, face.directory)
    await face.store.write(lambda tx: tx.recordings.begin(OTHER, TEN))
    span = {"from": TEN.isoformat(), "to": (TEN + timedelta(minutes=5)).isoformat()}
    for reason in ("纠纷", "纠纷", "失物"):
        params = {**span, "reason": reason, **BY}
        answer = await face.ask(f"/api/v1/cameras/{OTHER}/recordings", role="guard", params=params)
        assert answer.status == 200
    assert [(x["act"], x["name"], x["unit"], x["reason"]) for x in await lines(face)] == [
        ("viewed", "李老师", "第三中学", "纠纷"),
        ("viewed", "李老师", "第三中学", "失物"),
    ]
